//! The relay's certificate and key on disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use hushwire_relay::config::{HostPort, Tls};
use hushwire_relay::identity::{CERTIFICATE_FILE, Identity, IdentityError, KEY_FILE};

const NOW: u64 = 1_800_000_000;

fn load(data_dir: &Path) -> Result<Identity, IdentityError> {
    load_for(data_dir, None)
}

fn load_for(data_dir: &Path, address: Option<&str>) -> Result<Identity, IdentityError> {
    let address: Option<HostPort> = address.map(|text| text.parse().unwrap());
    Identity::load_or_make(&Tls::default(), data_dir, address.as_ref(), NOW)
}

fn made() -> (tempfile::TempDir, PathBuf, Identity) {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("data");
    let identity = load(&data_dir).unwrap();
    (parent, data_dir, identity)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_is_made_once_and_kept() {
    let (_parent, data_dir, first) = made();
    assert!(first.is_self_signed());
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(mode(&data_dir.join(KEY_FILE)), 0o600);
    let again = load(&data_dir).unwrap();
    assert_eq!(again.pin(), first.pin());
    assert_eq!(again.certified_key().cert, first.certified_key().cert);
    let mut files: Vec<_> =
        fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, [CERTIFICATE_FILE, KEY_FILE], "nothing unfinished is left");
    let (_parent, _data_dir, other) = made();
    assert_ne!(other.pin(), first.pin());
}

#[test]
fn the_pin_is_the_hash_of_the_public_key() {
    let (_parent, data_dir, identity) = made();
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(
            "openssl x509 -in \"$1\" -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum",
        )
        .arg("sh")
        .arg(data_dir.join(CERTIFICATE_FILE))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.split(' ').next(), Some(identity.pin().to_string().as_str()));
}

#[test]
fn the_certificate_names_the_public_address() {
    let check = |address: Option<&str>, name: &str, expect: bool| {
        let parent = tempfile::tempdir().unwrap();
        let identity = load_for(&parent.path().join("data"), address).unwrap();
        let key = identity.certified_key();
        let parsed = rustls::server::ParsedCertificate::try_from(&key.cert[0]).unwrap();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let verified = rustls::client::verify_server_name(&parsed, &name).is_ok();
        assert_eq!(verified, expect, "{address:?} {name:?}");
    };
    check(Some("relay.example.org:4433"), "relay.example.org", true);
    check(Some("relay.example.org:4433"), "other.example.org", false);
    check(Some("192.0.2.7:4433"), "192.0.2.7", true);
    check(Some("[2001:db8::7]:4433"), "2001:db8::7", true);
    check(None, "hushwire.invalid", true);
}

#[test]
fn a_removed_certificate_is_renewed_under_the_same_pin() {
    let (_parent, data_dir, first) = made();
    fs::remove_file(data_dir.join(CERTIFICATE_FILE)).unwrap();
    // What an interrupted write leaves behind is in nobody's way.
    fs::write(data_dir.join("certificate.new"), "half").unwrap();
    let renewed = load_for(&data_dir, Some("relay.example.org:4433")).unwrap();
    assert_eq!(renewed.pin(), first.pin());
    assert_ne!(renewed.certified_key().cert, first.certified_key().cert);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (_parent, data_dir, _) = made();
    let key = data_dir.join(KEY_FILE);
    for mode in [0o644, 0o640, 0o604, 0o660, 0o666] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let error = load(&data_dir).unwrap_err();
        assert!(matches!(error, IdentityError::KeyOpen { mode: found, .. } if found == mode));
        let remedy = format!("`chmod 600 {}`", key.display());
        assert!(error.to_string().ends_with(&remedy), "{error}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        load(&data_dir).unwrap();
    }
}

#[test]
fn a_key_of_somebody_else_is_refused() {
    let (_parent, data_dir, _) = made();
    let key = data_dir.join(KEY_FILE);
    // Only root can give files away; for others, root's own key file is unreadable anyway.
    if chown(&key, Some(1), None).is_ok() {
        let error = load(&data_dir).unwrap_err();
        assert!(matches!(error, IdentityError::KeyOwner { owner: 1, .. }), "{error}");
    } else {
        fs::set_permissions(&key, Permissions::from_mode(0o000)).unwrap();
        assert!(matches!(load(&data_dir).unwrap_err(), IdentityError::File { .. }));
    }
}

#[test]
fn a_directory_that_others_can_enter_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    fs::set_permissions(&data_dir, Permissions::from_mode(0o755)).unwrap();
    let error = load(&data_dir).unwrap_err();
    assert!(matches!(error, IdentityError::DirectoryOpen { mode: 0o755, .. }), "{error}");
    assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 0, "no key was written into it");
}

#[test]
fn a_lost_key_is_not_replaced_silently() {
    let (_parent, data_dir, _) = made();
    fs::remove_file(data_dir.join(KEY_FILE)).unwrap();
    let error = load(&data_dir).unwrap_err();
    assert!(matches!(error, IdentityError::KeyMissing { .. }), "{error}");
    assert!(!data_dir.join(KEY_FILE).exists());
}

#[test]
fn damaged_files_are_told_apart() {
    let check = |file: &str, content: &[u8], expect: &str| {
        let (_parent, data_dir, _) = made();
        fs::write(data_dir.join(file), content).unwrap();
        let error = load(&data_dir).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(expect), "{file}: {error}");
    };
    check(CERTIFICATE_FILE, b"", "no PEM section CERTIFICATE");
    check(CERTIFICATE_FILE, b"-----BEGIN CERTIFICATE-----\nAAA", "not a PEM file");
    let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(CERTIFICATE_FILE, empty, "its first certificate is damaged");
    check(CERTIFICATE_FILE, &empty.repeat(17), "more than 16 certificates");
    check(CERTIFICATE_FILE, &vec![b'x'; 2 << 20], "longer than");
    check(KEY_FILE, b"", "no PEM section PRIVATE KEY");
    check(KEY_FILE, b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n", "not a PEM");
    let empty = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    check(KEY_FILE, empty, "cannot be used");
}

#[test]
fn operators_bring_their_own() {
    let (_one_parent, one, first) = made();
    let (_other_parent, other, second) = made();
    let tls = |certificate: &Path, key: &Path| Tls {
        certificate: Some(certificate.join(CERTIFICATE_FILE)),
        key: Some(key.join(KEY_FILE)),
    };
    let unused = one.join("unused");
    let load = |tls| Identity::load_or_make(&tls, &unused, None, NOW);
    let identity = load(tls(&one, &one)).unwrap();
    assert_eq!(identity.pin(), first.pin());
    assert!(!identity.is_self_signed());
    assert!(!unused.exists(), "nothing is made");
    assert!(matches!(load(tls(&one, &other)).unwrap_err(), IdentityError::Mismatch { .. }));
    assert!(matches!(load(tls(&unused, &one)).unwrap_err(), IdentityError::File { .. }));

    let mut chain = fs::read(one.join(CERTIFICATE_FILE)).unwrap();
    chain.extend(fs::read(other.join(CERTIFICATE_FILE)).unwrap());
    fs::write(one.join(CERTIFICATE_FILE), chain).unwrap();
    let identity = load(tls(&one, &one)).unwrap();
    assert_eq!(identity.certified_key().cert.len(), 2);
    assert_eq!(identity.pin(), first.pin(), "the pin is the first certificate's");
    assert_ne!(identity.pin(), second.pin());
}

#[test]
fn secrets_are_not_shown() {
    let (_parent, _data_dir, identity) = made();
    let shown = format!("{identity:?}");
    let pin = identity.pin().to_string();
    assert_eq!(shown, format!("Identity {{ pin: Pin({}), .. }}", &pin[..4]));
}
