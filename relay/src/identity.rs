//! The relay's TLS identity: a certificate, its private key, and the pin devices know it by.
//!
//! Without configured files a self-signed certificate (ECDSA P-256) is made at the first start and
//! kept in the data directory. Devices that came by an invite trust the *key*: the pin is SHA-256 of
//! the SubjectPublicKeyInfo (RFC 5280 §4.1), so a renewed certificate over the same key changes nothing.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use crate::config::{HostPort, Tls};

/// File of the self-signed certificate in the data directory.
pub const CERTIFICATE_FILE: &str = "certificate.pem";
/// File of its private key.
pub const KEY_FILE: &str = "key.pem";

/// Name in the certificate when no public address is configured.
const NAME_DEFAULT: &str = "hushwire.invalid";
/// Life of a self-signed certificate. Devices pin its key and do not look at dates.
const LIFE_S: u64 = 10 * 365 * 86_400;
/// The year 9999, the last a certificate can name; a wrong clock is no reason to fail.
const DATE_UNIX_S_MAX: u64 = 253_370_764_800;
/// Clocks of devices may be behind.
const BACKDATED_S: u64 = 86_400;
/// Longest PEM file that is read, in bytes.
const PEM_BYTES_MAX: u64 = 1024 * 1024;
/// Certificates in a chain.
const CHAIN_MAX: usize = 16;

/// SHA-256 of a SubjectPublicKeyInfo in DER: what invites carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.0;
        write!(f, "Pin({a:02x}{b:02x})")
    }
}

/// Why there is no identity. All are for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The private key can be read by others.
    #[error("the private key {} can be read by other users (mode {mode:03o}): `chmod 600 {}`", .path.display(), .path.display())]
    KeyOpen {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The private key is somebody else's file.
    #[error("the private key {} belongs to user {owner}: `chown {user} {}`", .path.display(), .path.display())]
    KeyOwner {
        /// The key file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// The data directory can be entered by others.
    #[error("{} can be entered by other users (mode {mode:03o}): `chmod 700 {}`", .path.display(), .path.display())]
    DirectoryOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key of the self-signed identity is gone, the certificate is not.
    #[error("{} is missing beside {}: restore it from a backup, or remove the certificate too and have a new identity made (devices then need new invites)", .key.display(), .certificate.display())]
    KeyMissing {
        /// What is missing.
        key: PathBuf,
        /// What is there.
        certificate: PathBuf,
    },
    /// The system refused a file.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The certificate is for another key.
    #[error("{} is not the certificate of the key {}: set [tls] certificate and key to a pair", .certificate.display(), .key.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The library could not make a certificate.
    #[error("no self-signed certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A chain with its key, ready for rustls.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    pin: Pin,
    self_signed: bool,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl Identity {
    /// The configured certificate and key, or the self-signed ones of the data directory, which are
    /// made if there are none. A missing certificate is made anew over the key that is there, so
    /// removing it renews it under the same pin. `now_unix_s` dates a new certificate.
    ///
    /// Calling it again reloads: a bad new file is an error and the old [`Identity`] stays usable.
    ///
    /// # Errors
    /// [`IdentityError`], with the remedy.
    pub fn load_or_make(
        tls: &Tls,
        data_dir: &Path,
        public_address: Option<&HostPort>,
        now_unix_s: u64,
    ) -> Result<Self, IdentityError> {
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            return Self::load(certificate, key);
        }
        let (certificate, key) = (data_dir.join(CERTIFICATE_FILE), data_dir.join(KEY_FILE));
        match (exists(&certificate)?, exists(&key)?) {
            (true, true) => {}
            (true, false) => return Err(IdentityError::KeyMissing { key, certificate }),
            (false, true) => {
                let pair = read_pair(&key)?;
                write_certificate(&certificate, &pair, public_address, now_unix_s)?;
            }
            (false, false) => {
                let pair = make_key(data_dir, &key)?;
                write_certificate(&certificate, &pair, public_address, now_unix_s)?;
            }
        }
        Ok(Self { self_signed: true, ..Self::load(&certificate, &key)? })
    }

    /// A chain and its key from PEM files.
    ///
    /// # Errors
    /// [`IdentityError`], with the remedy.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain = read_chain(certificate)?;
        let private = read_key(key)?;
        let content = |what: String| IdentityError::Content { path: certificate.to_owned(), what };
        let spki = {
            let first = chain.first().ok_or_else(|| content("it has no certificate".into()))?;
            let parsed = ParsedCertificate::try_from(first)
                .map_err(|error| content(format!("its first certificate is damaged ({error})")))?;
            parsed.subject_public_key_info()
        };
        let provider = default_provider();
        let certified = CertifiedKey::from_der(chain, private, &provider).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                let (certificate, key) = (certificate.to_owned(), key.to_owned());
                return IdentityError::Mismatch { certificate, key };
            }
            let what = format!("this private key cannot be used ({error})");
            IdentityError::Content { path: key.to_owned(), what }
        })?;
        let mut pin = [0; 32];
        let hash = digest::digest(&digest::SHA256, &spki);
        for (to, from) in pin.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Ok(Self { certified: Arc::new(certified), pin: Pin(pin), self_signed: false })
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo.
    #[must_use]
    pub const fn pin(&self) -> Pin {
        self.pin
    }

    /// For a rustls certificate resolver, e.g. `rustls::sign::SingleCertAndKey::from`.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Whether the relay made it itself, so that devices need the pin.
    #[must_use]
    pub const fn is_self_signed(&self) -> bool {
        self.self_signed
    }
}

fn exists(path: &Path) -> Result<bool, IdentityError> {
    path.try_exists().map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = read(path, &open(path)?)?;
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem).take(CHAIN_MAX + 1).collect();
    let content = |what: String| IdentityError::Content { path: path.to_owned(), what };
    let chain = chain.map_err(|error| content(format!("it is not a PEM file ({error})")))?;
    if chain.is_empty() {
        return Err(content("it has no PEM section CERTIFICATE".into()));
    }
    if chain.len() > CHAIN_MAX {
        return Err(content(format!("it has more than {CHAIN_MAX} certificates")));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    // Checked on the open file, so that it cannot be another one by the time it is read.
    let file = open(path)?;
    let metadata =
        file.metadata().map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o777;
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    // A key that belongs to root and is readable by the relay's group is how certificate tools do it.
    let by_group = if owner == 0 && user != 0 { 0o040 } else { 0 };
    if mode & 0o077 & !by_group != 0 {
        return Err(IdentityError::KeyOpen { path: path.to_owned(), mode });
    }
    if owner != user && owner != 0 {
        return Err(IdentityError::KeyOwner { path: path.to_owned(), owner, user });
    }
    let pem = zeroize::Zeroizing::new(read(path, &file)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| IdentityError::Content {
        path: path.to_owned(),
        what: if matches!(error, PemError::NoItemsFound) {
            "it has no PEM section PRIVATE KEY (an encrypted key must be decrypted first)".into()
        } else {
            format!("it is not a PEM file ({error})")
        },
    })
}

fn open(path: &Path) -> Result<File, IdentityError> {
    File::open(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn read(path: &Path, file: &File) -> Result<Vec<u8>, IdentityError> {
    // With room for all, so that no copy of a key is left behind by a growing vector.
    let len = file.metadata().map_or(0, |metadata| metadata.len().min(PEM_BYTES_MAX));
    let mut bytes = Vec::with_capacity(len as usize + 1);
    file.take(PEM_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        let what = format!("it is longer than {PEM_BYTES_MAX} bytes");
        return Err(IdentityError::Content { path: path.to_owned(), what });
    }
    Ok(bytes)
}

/// Makes the key, which is the identity, in a directory that nobody else can enter.
fn make_key(data_dir: &Path, path: &Path) -> Result<KeyPair, IdentityError> {
    claim(data_dir)?;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let pem = zeroize::Zeroizing::new(pair.serialize_pem());
    write_new(path, pem.as_bytes())?;
    Ok(pair)
}

/// The key that is there, for a new certificate.
fn read_pair(path: &Path) -> Result<KeyPair, IdentityError> {
    KeyPair::try_from(&read_key(path)?).map_err(|error| IdentityError::Content {
        path: path.to_owned(),
        what: format!("this private key cannot be used ({error})"),
    })
}

fn write_certificate(
    path: &Path,
    pair: &KeyPair,
    public_address: Option<&HostPort>,
    now_unix_s: u64,
) -> Result<(), IdentityError> {
    let host = public_address.map_or(NAME_DEFAULT, HostPort::host);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![match host.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into()?),
    }];
    params.distinguished_name.push(DnType::CommonName, "Hushwire relay");
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |unix_s: u64| epoch + Duration::from_secs(unix_s.min(DATE_UNIX_S_MAX));
    params.not_before = at(now_unix_s.saturating_sub(BACKDATED_S));
    params.not_after = at(now_unix_s.saturating_add(LIFE_S));
    let certificate = params.self_signed(pair)?;
    write_new(path, certificate.pem().as_bytes())
}

/// Makes the data directory if it is missing; refuses one that others can enter.
fn claim(data_dir: &Path) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File { path: data_dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?;
    let mode = fs::metadata(data_dir).map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::DirectoryOpen { path: data_dir.to_owned(), mode });
    }
    Ok(())
}

/// Writes a file that is there whole or not at all, readable by this user only.
fn write_new(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File { path: path.to_owned(), source };
    let unfinished = path.with_extension("new");
    // What an interrupted start left behind.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The name is on disk once the directory is.
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(failed)
}
