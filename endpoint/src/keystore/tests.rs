//! Each way a keystore can be wrong. Owner and file creation are arguments, so every test means the same to root and
//! to an ordinary user.

mod backup;
mod protect;
mod rotation;
mod wishes;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use hushwire_wire::code::{RelayAddress, Trust};
use hushwire_wire::id::{DeviceId, RelayId};
use tempfile::TempDir;

use super::disk::Disk;
use super::record::{RecordError, decode, encode};
use super::*;
use crate::pairing::spoken::SpokenCode;
use crate::pairing::{Join, Offer, Qr, Terms, Verified};
use crate::suite::handshake::{Initiator, Responder, Setup};
use crate::suite::keys::Psk;
use crate::suite::random::OsRandom;
use crate::suite::{Minimum, Suite};

fn identity() -> Identity {
    Identity::from_secret(&[1; 32])
}

/// A directory that is gone with the test, and the path of a keystore in it.
fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("devices").join("one");
    (directory, path)
}

fn created() -> (TempDir, PathBuf, Keystore) {
    let (directory, path) = place();
    let keystore = Keystore::create(&path, identity()).expect("a new keystore");
    (directory, path, keystore)
}

fn paired(peer: &Identity, suite: Suite) -> Paired {
    let relay = relay_address();
    let terms = Terms { suite, minimum: Minimum::Any, ..Terms::default() };
    let offer: Offer<Qr> = Offer::new(peer, relay, terms, &mut OsRandom);
    let (joining, mut body) =
        Join::start::<Qr>(offer.code(), &identity(), &terms, 5, &mut OsRandom).expect("HS1");
    let ours = identity().device_id();
    let (_, mut body) = offer.on_hs1(peer, ours, &mut body, &mut OsRandom).expect("HS2");
    let (joined, _) = joining.on_hs2(&identity(), &mut body, &mut OsRandom).expect("HS3");
    joined.trust_camera()
}

fn relay_address() -> RelayAddress {
    RelayAddress::new(Trust::Pin([7; 32]), RelayId::new([8; 32]), "r:1").expect("an address")
}

fn peer(number: u8) -> Identity {
    Identity::from_secret(&[number; 32])
}

fn spoken(text: &str) -> SpokenCode {
    SpokenCode::from_text(text).expect("a code")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the owner may");
}

#[test]
fn what_was_stored_is_there_again() {
    let (_directory, path, mut keystore) = created();
    let relay = Relay::new(&relay_address(), "me at example");
    keystore.set_relay(relay.clone()).expect("stored");
    let stored = paired(&peer(2), Suite::HybridAes);
    keystore.add_peer(&stored, "laptop", 77).expect("stored");
    keystore.record_sent(&peer(2).device_id(), 123).expect("stored");
    assert_eq!(keystore.count_failed_confirmation().expect("stored"), 1);
    drop(keystore);

    let keystore = Keystore::open(&path).expect("the same keystore");
    assert_eq!(keystore.path(), path);
    assert_eq!(keystore.identity().device_id(), identity().device_id());
    assert_eq!(keystore.relay(), Some(&relay));
    assert_eq!(keystore.failed_confirmations(), 1);
    assert_eq!(keystore.peers().count(), 1);
    let peer = keystore.peer_named("laptop").expect("stored");
    assert_eq!(peer.device(), stored.peer());
    assert_eq!(peer.pair_key(), stored.pair_key());
    assert_eq!((peer.verified(), peer.verified_at_s()), (Verified::Camera, 77));
    assert_eq!((peer.last_seen_ns(), peer.last_sent_ns()), (0, 123));
    assert_eq!((peer.hybrid_seen(), peer.minimum()), (true, Minimum::Hybrid));
}

#[test]
fn everything_is_private_and_nothing_temporary_stays() {
    let (_directory, path, mut keystore) = created();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "laptop", 0).expect("stored");
    assert_eq!((mode(&path), mode(&path.join(PEERS))), (0o700, 0o700));
    let mut files = Vec::new();
    for directory in [path.clone(), path.join(PEERS)] {
        for entry in fs::read_dir(directory).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                files.push(path);
            }
        }
    }
    assert_eq!(files.len(), 4, "{files:?}");
    let text = format!("{keystore:?}");
    assert!(!text.contains("01, 1") && !text.contains("pair_key: PairKey(["), "{text}");
}

#[test]
fn handshakes_raise_times_and_the_suite() {
    let (_directory, path, mut keystore) = created();
    let theirs = peer(2);
    let id = theirs.device_id();
    let pair = paired(&theirs, Suite::ClassicalAes);
    let minimum = |keystore: &Keystore| keystore.peer(&id).expect("stored").minimum();
    keystore.add_peer(&pair, "phone", 0).expect("stored");
    assert_eq!(minimum(&keystore), Minimum::Any);

    let psk = Psk::Session(pair.pair_key().clone());
    let setup = |peer| Setup {
        peer,
        psk: psk.clone(),
        minimum: Minimum::Any,
        class_max: hushwire_wire::cell::Class::C7,
    };
    let (us, random) = (identity().device_id(), &mut OsRandom);
    let suite = Suite::HybridChaCha;
    let (state, hs1) = Initiator::start(setup(id), suite, &identity(), 50, 0, random).expect("HS1");
    let (_, hs2) = Responder::on_hs1(&setup(us), &theirs, &hs1, 0, random).expect("HS2");
    let (ours, _) = state.on_hs2(&identity(), &hs2).expect("HS3");
    keystore.record_handshake(&ours).expect("stored");
    let (state, hs1) = Initiator::start(setup(us), suite, &theirs, 60, 0, random).expect("HS1");
    let (answer, hs2) = Responder::on_hs1(&setup(id), &identity(), &hs1, 0, random).expect("HS2");
    let (_, hs3) = state.on_hs2(&theirs, &hs2).expect("HS3");
    keystore.record_handshake(&answer.on_hs3(&hs3).expect("the end")).expect("stored");
    drop(keystore);

    let mut keystore = Keystore::open(&path).expect("the same keystore");
    let stored = keystore.peer(&id).expect("stored");
    assert_eq!((stored.last_sent_ns(), stored.last_seen_ns()), (50, 60));
    assert_eq!(minimum(&keystore), Minimum::Hybrid);
    // A new pairing brings a new key, under which old messages do not open; the suite stays.
    let again = paired(&theirs, Suite::ClassicalAes);
    keystore.add_peer(&again, "phone", 9).expect("stored");
    let stored = keystore.peer(&id).expect("stored");
    assert_eq!((stored.last_sent_ns(), stored.last_seen_ns()), (0, 0));
    assert_eq!(stored.pair_key(), again.pair_key());
    assert_eq!(minimum(&keystore), Minimum::Hybrid);
}

#[test]
fn peers_are_renamed_and_forgotten() {
    let (_directory, path, mut keystore) = created();
    let (two, three) = (peer(2).device_id(), peer(3).device_id());
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    keystore.add_peer(&paired(&peer(3), Suite::HybridAes), "three", 0).expect("stored");
    for name in ["", "two", "a\nb", "a\u{202e}b", &"x".repeat(65)] {
        let refused = keystore.rename_peer(&three, name);
        match name {
            "two" => {
                let error = refused.map(|_| ()).expect_err("taken");
                let taken =
                    matches!(error, KeystoreError::NameTaken { device, .. } if device == two);
                assert!(taken && error.to_string().contains("hush unpair \"two\""), "{error}");
            }
            _ => assert!(matches!(refused, Err(KeystoreError::Invalid(_))), "{name:?}"),
        }
    }
    keystore.rename_peer(&three, "three").expect("its own name");
    keystore.rename_peer(&three, "drei \"quoted\"").expect("renamed");
    keystore.remove_peer(&two).expect("removed");
    let unknown = |result| matches!(result, Err(KeystoreError::UnknownPeer(id)) if id == two);
    assert!(unknown(keystore.remove_peer(&two)));
    assert!(unknown(keystore.record_sent(&two, 1)));
    drop(keystore);
    let keystore = Keystore::open(&path).expect("the same keystore");
    let names: Vec<_> = keystore.peers().map(Peer::name).collect();
    assert_eq!(names, ["drei \"quoted\""]);
}

#[test]
fn relays_out_of_range_are_refused() {
    let (_directory, _path, mut keystore) = created();
    let relay = Relay::new(&relay_address(), "me");
    for (wrong, sentence) in [
        (Relay { address: String::new(), ..relay.clone() }, "address"),
        (Relay { address: "x".repeat(256), ..relay.clone() }, "address"),
        (Relay { trust: RelayTrust::Pins(vec![]), ..relay.clone() }, "pins"),
        (Relay { trust: RelayTrust::Pins(vec![[7; 32]; 5]), ..relay.clone() }, "pins"),
        (Relay { trust: RelayTrust::Pins(vec![[7; 32], [0; 32]]), ..relay.clone() }, "zeros"),
        (Relay { address: "no port".into(), ..relay.clone() }, "address"),
        (Relay { account: "\u{1b}[2J".into(), ..relay.clone() }, "label"),
        (Relay { account: "x".repeat(65), ..relay.clone() }, "label"),
    ] {
        let refused = keystore.set_relay(wrong).unwrap_err().to_string();
        assert!(refused.contains(sentence), "{refused}");
    }
    assert_eq!(keystore.relay(), None);
    keystore.set_relay(Relay { trust: RelayTrust::PublicCa, ..relay }).expect("stored");
}

#[test]
fn missing_and_existing_keystores_say_so() {
    let (_directory, path) = place();
    let missing = Keystore::open(&path).unwrap_err();
    assert!(matches!(missing, KeystoreError::Missing { .. }), "{missing:?}");
    drop(Keystore::create(&path, identity()).expect("a new keystore"));
    let exists = Keystore::create(&path, peer(9)).unwrap_err();
    assert!(matches!(exists, KeystoreError::Exists { .. }), "{exists:?}");
    let keystore = Keystore::open(&path).expect("the first one");
    assert_eq!(keystore.identity().device_id(), identity().device_id());
    drop(keystore);
    fs::remove_file(path.join(IDENTITY)).expect("removed");
    let missing = Keystore::open(&path).unwrap_err();
    assert!(matches!(missing, KeystoreError::Missing { .. }), "{missing:?}");
}

#[test]
fn two_cannot_open_one_keystore() {
    let (_directory, path, keystore) = created();
    let locked = Keystore::open(&path).unwrap_err();
    assert!(matches!(locked, KeystoreError::Locked { .. }), "{locked:?}");
    assert!(locked.to_string().contains("in use by another process"));
    drop(keystore);
    Keystore::open(&path).expect("unlocked again");
}

#[test]
fn a_process_that_is_being_started_does_not_keep_the_lock() {
    let (_directory, path, keystore) = created();
    // What a child has between fork and exec: the same open file.
    let inherited = keystore.lock.as_ref().map(|lock| lock.try_clone());
    let _inherited = inherited.expect("locked").expect("cloned");
    drop(keystore);
    Keystore::open(&path).expect("unlocked");
}

#[test]
fn what_others_can_read_is_refused_with_the_command_that_helps() {
    let (_directory, path, mut keystore) = created();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    drop(keystore);
    let peer_file = path.join(peer_path(&peer(2).device_id()));
    let check = |file: &Path, wrong: u32, right: u32| {
        set_mode(file, wrong);
        let error = Keystore::open(&path).unwrap_err();
        let exposed = matches!(&error, KeystoreError::Exposed { mode, .. } if *mode == wrong);
        assert!(exposed, "{wrong:o}: {error:?}");
        let command = format!("chmod {right:o} {}", file.display());
        assert!(error.to_string().contains(&command), "{error}");
        set_mode(file, right);
        Keystore::open(&path).expect("repaired");
    };
    for wrong in [0o644, 0o640, 0o604, 0o660, 0o602, 0o601] {
        check(&path.join(IDENTITY), wrong, 0o600);
        check(&peer_file, wrong, 0o600);
    }
    check(&path.join("lock"), 0o644, 0o600);
    for wrong in [0o755, 0o750, 0o701] {
        check(&path, wrong, 0o700);
        check(&path.join(PEERS), wrong, 0o700);
    }
}

#[test]
fn what_the_owner_cannot_read_is_refused_with_the_command_that_helps() {
    let (_directory, path, keystore) = created();
    drop(keystore);
    for (file, wrong, right) in [
        (path.join(IDENTITY), 0o000, 0o600),
        (path.join(PEERS), 0o500, 0o700),
        (path.clone(), 0o500, 0o700),
    ] {
        set_mode(&file, wrong);
        let error = Keystore::open(&path).unwrap_err();
        assert!(matches!(error, KeystoreError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("chmod {right:o}")), "{error}");
        set_mode(&file, right);
    }
    Keystore::open(&path).expect("repaired");
}

fn system_create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let (_directory, path, keystore) = created();
    drop(keystore);
    let ours = rustix::process::geteuid().as_raw();
    let error = Keystore::open_on(Disk::new(&path, ours + 1, system_create), None).unwrap_err();
    let expect = matches!(error, KeystoreError::ForeignOwner { owner, user, .. }
        if owner == ours && user == ours + 1);
    assert!(expect, "{error:?}");
    assert!(error.to_string().contains("run as that user"), "{error}");
}

#[test]
fn damage_is_found_wherever_it_is() {
    let (_directory, path, mut keystore) = created();
    keystore.set_relay(Relay::new(&relay_address(), "me")).expect("stored");
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    keystore.count_failed_confirmation().expect("stored");
    drop(keystore);
    let peer_file = peer_path(&peer(2).device_id());
    for name in [Path::new(IDENTITY), Path::new(RELAY), Path::new(COUNTERS), &peer_file] {
        let file = path.join(name);
        let whole = fs::read(&file).expect("written");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let mut sum = whole.clone();
        sum[whole.len() - 3] ^= 1;
        let cut = whole[..whole.len() / 2].to_vec();
        for damaged in [flipped, sum, cut, Vec::new(), vec![b'x'; 20_000]] {
            fs::write(&file, damaged).expect("the owner may");
            let error = Keystore::open(&path).unwrap_err();
            let here = matches!(&error, KeystoreError::Corrupt { path } if *path == file);
            assert!(here, "{}: {error:?}", name.display());
        }
        fs::write(&file, whole).expect("the owner may");
        Keystore::open(&path).expect("repaired");
    }
}

#[test]
fn a_record_under_another_name_is_damage() {
    let (_directory, path, mut keystore) = created();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    drop(keystore);
    let moved = path.join(peer_path(&DeviceId::new([9; 32])));
    fs::rename(path.join(peer_path(&peer(2).device_id())), moved).expect("renamed");
    let error = Keystore::open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn links_and_fifos_are_not_followed() {
    let (directory, path, keystore) = created();
    drop(keystore);
    let file = path.join(IDENTITY);
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&file, &elsewhere).expect("moved");
    symlink(&elsewhere, &file).expect("linked");
    let error = Keystore::open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::Corrupt { .. }), "{error:?}");
    fs::remove_file(&file).expect("removed");
    let fifo = rustix::fs::FileType::Fifo;
    let private = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &file, fifo, private, 0).expect("a fifo");
    let error = Keystore::open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::Corrupt { .. }), "{error:?}");
}

fn write_record(file: &Path, line: &str) {
    let sum: String = crate::suite::kdf::sha256(&[line.as_bytes()])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::write(file, format!("{line}\n{sum}\n")).expect("the owner may");
    set_mode(file, 0o600);
}

#[test]
fn newer_formats_ask_for_an_upgrade() {
    let (_directory, path, keystore) = created();
    drop(keystore);
    write_record(&path.join(RELAY), r#"{"version":2,"moon":[1]}"#);
    let error = Keystore::open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::Newer { version: 2, .. }), "{error:?}");
    assert!(error.to_string().ends_with("upgrade"), "{error}");
    for line in [r#"{"version":1,"moon":[1]}"#, "{}", "[]", r#"{"version":-1}"#] {
        write_record(&path.join(RELAY), line);
        let error = Keystore::open(&path).unwrap_err();
        assert!(matches!(error, KeystoreError::Corrupt { .. }), "{line}: {error:?}");
    }
}

#[test]
fn records_of_any_line_are_refused_or_read() {
    let record = encode(&CountersRecord::new(3));
    assert_eq!(decode::<CountersRecord>(&record).map(|record| record.failed_confirmations), Ok(3));
    for bytes in [&b""[..], b"\n", b"\n\n", b"x\ny\n", &record[..record.len() - 1]] {
        let decoded = decode::<CountersRecord>(bytes).map(|_| ());
        assert_eq!(decoded, Err(RecordError::Corrupt), "{bytes:?}");
    }
}

proptest::proptest! {
    /// Whatever is in a file, and whether its sum is right or not: refused or read, never a panic.
    #[test]
    fn any_bytes_are_refused_or_read(
        line in "[ -~]{0,80}|\\{\"version\":[0-9]{1,10}(,\"[a-z_0-9]{1,10}\":(\"[0-9a-f]{0,90}\"|[0-9]{1,12}|\\[\\])){0,5}\\}",
    ) {
        inspect(line.as_bytes());
    }
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    // Whatever is written to this device fails with ENOSPC, for every user.
    fn full(_: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).open("/dev/full")
    }
    let failing = |error: &KeystoreError| matches!(error, KeystoreError::Full { .. });
    changes_fail(full, failing, "free some space");
}

#[test]
fn a_read_only_disk_leaves_everything_as_it_was() {
    fn read_only(_: &Path) -> io::Result<File> {
        Err(rustix::io::Errno::ROFS.into())
    }
    let failing = |error: &KeystoreError| matches!(error, KeystoreError::ReadOnly { .. });
    changes_fail(read_only, failing, "read-only file system");
}

#[test]
fn a_directory_that_was_closed_meanwhile_leaves_everything_as_it_was() {
    fn denied(_: &Path) -> io::Result<File> {
        Err(rustix::io::Errno::ACCESS.into())
    }
    let failing = |error: &KeystoreError| matches!(error, KeystoreError::Denied { .. });
    changes_fail(denied, failing, "chmod");
}

#[test]
fn other_faults_are_passed_on() {
    fn broken(_: &Path) -> io::Result<File> {
        Err(rustix::io::Errno::IO.into())
    }
    let failing = |error: &KeystoreError| matches!(error, KeystoreError::Io { .. });
    changes_fail(broken, failing, "os error 5");
}

/// Every change fails the same way and is undone; then the keystore still opens with what it had.
fn changes_fail(
    create: fn(&Path) -> io::Result<File>,
    failing: fn(&KeystoreError) -> bool,
    sentence: &str,
) {
    let (_directory, path, mut keystore) = created();
    let two = peer(2).device_id();
    keystore.add_peer(&paired(&peer(2), Suite::HybridAes), "two", 0).expect("stored");
    drop(keystore);
    let user = rustix::process::geteuid().as_raw();
    let mut keystore =
        Keystore::open_on(Disk::new(&path, user, create), None).expect("reading works");
    let passphrase = Passphrase::new(b"one".to_vec()).expect("a passphrase");
    let errors = [
        keystore.set_relay(Relay::new(&relay_address(), "me")).unwrap_err(),
        keystore.add_peer(&paired(&peer(3), Suite::HybridAes), "three", 0).map(|_| ()).unwrap_err(),
        keystore.rename_peer(&two, "other").map(|_| ()).unwrap_err(),
        keystore.record_sent(&two, 99).unwrap_err(),
        keystore.count_failed_confirmation().map(|_| ()).unwrap_err(),
        keystore.set_passphrase(&passphrase, Cost::default()).unwrap_err(),
        keystore.burn(&spoken("7-apple-river"), 5).map(|_| ()).unwrap_err(),
        keystore.set_grant(&two, Grant::Given).unwrap_err(),
        keystore.remove_peer(&two).unwrap_err(),
    ];
    assert_eq!(keystore.protection(), Protection::Permissions);
    let words = keystore.backup_words().to_text();
    let rehearsed = keystore.rehearse(&words, 1).unwrap_err();
    assert!(rehearsed.to_string().contains(sentence), "{rehearsed}");
    assert_eq!(keystore.backup_rehearsed_at_s(), None);
    for error in errors {
        assert!(failing(&error), "{error:?}");
        assert!(error.to_string().contains(sentence), "{error}");
    }
    for again in 0..2 {
        assert_eq!(keystore.relay(), None);
        assert_eq!(keystore.peers().count(), 1);
        assert_eq!(
            keystore.peer(&two).map(|peer| (peer.name(), peer.last_sent_ns())),
            Some(("two", 0))
        );
        assert_eq!(keystore.failed_confirmations(), 0);
        assert!(!keystore.is_burnt(&spoken("7-apple-river"), 5));
        assert_eq!(keystore.peer(&two).map(Peer::grant), Some(Grant::Wanted));
        assert_eq!(keystore.unpaired().count(), 0);
        if again == 0 {
            drop(keystore);
            keystore = Keystore::open(&path).expect("nothing was destroyed");
        }
    }
    let (_other, fresh) = place();
    let disk = Disk::new(&fresh, user, create);
    let error = Keystore::create_on(disk, identity(), None, Origin::New).unwrap_err();
    assert!(failing(&error), "{error:?}");
    let disk = Disk::new(&fresh, user, create);
    let lock = Some((&passphrase, Cost::default()));
    let error = Keystore::create_on(disk, identity(), lock, Origin::New).unwrap_err();
    assert!(failing(&error), "{error:?}");
    Keystore::create(&fresh, identity()).expect("the failure left nothing in the way");
}

#[test]
fn what_a_crash_left_half_written_is_swept_away() {
    let (_directory, path, keystore) = created();
    drop(keystore);
    let left = [path.join(".identity.json.tmp"), path.join(PEERS).join(".x.json.tmp")];
    for file in &left {
        fs::write(file, b"half").expect("written");
    }
    fs::write(path.join(PEERS).join("note.txt"), b"not ours").expect("written");
    let keystore = Keystore::open(&path).expect("opens");
    assert!(left.iter().all(|file| !file.exists()));
    assert_eq!(keystore.peers().count(), 0);
}
