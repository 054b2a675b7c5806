//! Files under a passphrase.
//!
//! A random master key seals every file; `passphrase.json` holds that key, sealed under one that Argon2id makes of the
//! passphrase. A sealed file is a record of format 2, which programs from before passphrases refuse as newer:
//!
//! ```text
//! {"version":2,"sealed":"nonce(24) ‖ XChaCha20-Poly1305(master, AAD = "hushwire keystore" ‖ 0 ‖ name, plain file) ‖ tag(16)"}
//! ```
//!
//! The nonce is random (24 bytes, draft-irtf-cfrg-xchacha-03), so nothing has to be counted over crashes. The name in the
//! associated data keeps sealed files from being exchanged. An older copy of the *same* file does open.
//!
//! `passphrase.json` also says, authenticated, which of four [`Stage`]s the keystore is in. Setting, changing and
//! removing first write that file, then carry one file over after the other, then write or remove that file again. So
//! at each moment one passphrase, or none, opens everything, and an interrupted change is finished by the next opening.

use std::fmt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::passphrase::{Cost, NoMemory, Passphrase, SALT_LEN, stretch};
use super::record::{HexBytes, Record, decode, decode_up_to, encode, encode_with_room};
use super::record::{RECORD_BYTES_MAX, RecordError};
use crate::suite::kdf::Key;
use crate::suite::random::{OsRandom, draw};

/// The format of a sealed file.
const VERSION_SEALED: u32 = 2;
const VERSION_PASSPHRASE: u32 = 1;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;
/// Room for a sealed record: twice its bytes in hexadecimal, and what is around them.
pub(super) const SEALED_BYTES_MAX: usize = 2 * (RECORD_BYTES_MAX + NONCE_LEN + TAG_LEN) + 256;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedRecord {
    version: u32,
    sealed: HexBytes,
}

/// `passphrase.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PassphraseRecord {
    version: u32,
    argon2id: CostRecord,
    salt: HexBytes,
    stage: Stage,
    /// The master key, and behind it the one before where the stage has one.
    keys: HexBytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CostRecord {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Record for SealedRecord {}
impl Record for PassphraseRecord {}

/// Where a keystore with a `passphrase.json` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// Every file is sealed.
    Sealed,
    /// On the way there: files are sealed or still plain.
    Setting,
    /// Files are sealed under the master key or under the one before.
    Changing,
    /// On the way out: files are plain or still sealed.
    Removing,
}

impl Stage {
    const fn context(self) -> &'static [u8] {
        match self {
            Self::Sealed => b"hushwire keystore passphrase\0sealed",
            Self::Setting => b"hushwire keystore passphrase\0setting",
            Self::Changing => b"hushwire keystore passphrase\0changing",
            Self::Removing => b"hushwire keystore passphrase\0removing",
        }
    }
}

/// The key that a passphrase makes, and what it was made with.
pub(super) struct Wrap {
    salt: [u8; SALT_LEN],
    cost: Cost,
    key: Key,
}

impl Wrap {
    /// A wrap with a new salt.
    pub(super) fn new(passphrase: &Passphrase, cost: Cost) -> Result<Self, NoMemory> {
        let salt = draw(&mut OsRandom);
        Ok(Self { salt, cost, key: stretch(passphrase, &salt, cost)? })
    }
}

/// The keys of a keystore with a passphrase, and how they are locked away.
pub(super) struct Vault {
    wrap: Wrap,
    stage: Stage,
    master: Key,
    /// Only while changing.
    previous: Option<Key>,
}

/// Why a `passphrase.json` does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VaultError {
    Record(RecordError),
    /// No software of ours wrote this cost.
    Absurd,
    NoMemory,
    WrongPassphrase,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({:?}, ..)", self.stage)
    }
}

impl Vault {
    /// A vault with a new master key. `before` is what it takes the place of.
    pub(super) fn new(wrap: Wrap, stage: Stage, before: Option<&Self>) -> Self {
        let previous = before.map(|vault| vault.master.clone());
        assert_eq!(previous.is_some(), stage == Stage::Changing);
        Self { wrap, stage, master: Zeroizing::new(draw(&mut OsRandom)), previous }
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// The same keys at a stage that has no second one.
    pub(super) fn at(self, stage: Stage) -> Self {
        assert_ne!(stage, Stage::Changing);
        Self { stage, previous: None, ..self }
    }

    /// The contents of `passphrase.json`.
    pub(super) fn to_file(&self, stage: Stage) -> Zeroizing<Vec<u8>> {
        let mut keys = Zeroizing::new(Vec::with_capacity(2 * KEY_LEN));
        keys.extend_from_slice(&*self.master);
        if stage == Stage::Changing {
            let previous = self.previous.as_ref().expect("a change has a key before");
            keys.extend_from_slice(&**previous);
        }
        encode(&PassphraseRecord {
            version: VERSION_PASSPHRASE,
            argon2id: CostRecord {
                memory_kib: self.wrap.cost.memory_kib(),
                passes: self.wrap.cost.passes(),
                lanes: self.wrap.cost.lanes(),
            },
            salt: HexBytes(Zeroizing::new(self.wrap.salt.to_vec())),
            stage,
            keys: HexBytes(seal(&self.wrap.key, stage.context(), &keys)),
        })
    }
}

/// A `passphrase.json` that was read and whose cost is within its bounds.
pub(super) struct LockedVault {
    cost: Cost,
    salt: [u8; SALT_LEN],
    stage: Stage,
    keys: HexBytes,
}

impl LockedVault {
    pub(super) fn from_file(bytes: &[u8]) -> Result<Self, VaultError> {
        let record: PassphraseRecord = decode(bytes).map_err(VaultError::Record)?;
        let CostRecord { memory_kib, passes, lanes } = record.argon2id;
        let cost = Cost::new(memory_kib, passes, lanes).ok_or(VaultError::Absurd)?;
        let salt = record.salt.0.as_slice().try_into().map_err(|_| CORRUPT)?;
        Ok(Self { cost, salt, stage: record.stage, keys: record.keys })
    }

    /// Tries a passphrase, for what the cost says.
    pub(super) fn unlock(self, passphrase: &Passphrase) -> Result<Vault, VaultError> {
        let Self { cost, salt, stage, keys } = self;
        let key = stretch(passphrase, &salt, cost).map_err(|NoMemory| VaultError::NoMemory)?;
        let keys = open(&key, stage.context(), &keys.0).ok_or(VaultError::WrongPassphrase)?;
        let (keys, rest) = keys.as_chunks::<KEY_LEN>();
        let (master, previous) = match (stage, keys) {
            (Stage::Changing, [master, previous]) => (master, Some(Zeroizing::new(*previous))),
            (Stage::Sealed | Stage::Setting | Stage::Removing, [master]) => (master, None),
            (Stage::Sealed | Stage::Setting | Stage::Changing | Stage::Removing, _) => {
                return Err(CORRUPT);
            }
        };
        if !rest.is_empty() {
            return Err(CORRUPT);
        }
        let wrap = Wrap { salt, cost, key };
        Ok(Vault { wrap, stage, master: Zeroizing::new(*master), previous })
    }
}

const CORRUPT: VaultError = VaultError::Record(RecordError::Corrupt);

/// How files are written, and how they may be read.
pub(super) struct Seal {
    write: Form,
    /// What a file that was not carried over yet looks like.
    left: Option<Form>,
}

enum Form {
    Plain,
    Under(Key),
}

/// What a file's bytes are.
pub(super) enum Opened {
    /// As the keystore writes it now.
    Current(Zeroizing<Vec<u8>>),
    /// To be carried over.
    Left(Zeroizing<Vec<u8>>),
}

impl Opened {
    pub(super) fn bytes(self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Current(bytes) | Self::Left(bytes) => bytes,
        }
    }
}

/// Why a file does not open.
pub(super) enum SealError {
    Record(RecordError),
    /// It is sealed, but there is no passphrase.
    Orphan,
}

impl Seal {
    /// For a keystore without a passphrase.
    pub(super) const PLAIN: Self = Self { write: Form::Plain, left: None };

    pub(super) fn of(vault: &Vault) -> Self {
        let under = || Form::Under(vault.master.clone());
        match vault.stage {
            Stage::Sealed => Self { write: under(), left: None },
            Stage::Setting => Self { write: under(), left: Some(Form::Plain) },
            Stage::Changing => {
                Self { write: under(), left: vault.previous.clone().map(Form::Under) }
            }
            Stage::Removing => Self { write: Form::Plain, left: Some(under()) },
        }
    }

    pub(super) fn seal(&self, name: &Path, plain: &[u8]) -> Zeroizing<Vec<u8>> {
        match &self.write {
            Form::Plain => Zeroizing::new(plain.to_vec()),
            Form::Under(key) => {
                let sealed = HexBytes(seal(key, &context(name), plain));
                let record = SealedRecord { version: VERSION_SEALED, sealed };
                encode_with_room(&record, SEALED_BYTES_MAX)
            }
        }
    }

    pub(super) fn open(&self, name: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<Opened, SealError> {
        let sealed = match decode_up_to::<SealedRecord>(&bytes, VERSION_SEALED) {
            Ok(record) => record.sealed.0,
            Err(RecordError::Newer(version)) => {
                return Err(SealError::Record(RecordError::Newer(version)));
            }
            Err(RecordError::Corrupt) => {
                return match (&self.write, &self.left) {
                    (Form::Plain, _) => Ok(Opened::Current(bytes)),
                    (Form::Under(_), Some(Form::Plain)) => Ok(Opened::Left(bytes)),
                    (Form::Under(_), None | Some(Form::Under(_))) => {
                        Err(SealError::Record(RecordError::Corrupt))
                    }
                };
            }
        };
        let under = |form: &Form| match form {
            Form::Plain => None,
            Form::Under(key) => open(key, &context(name), &sealed),
        };
        match (under(&self.write), self.left.as_ref().and_then(under)) {
            (Some(plain), _) => Ok(Opened::Current(plain)),
            (None, Some(plain)) => Ok(Opened::Left(plain)),
            (None, None) => match (&self.write, &self.left) {
                (Form::Plain, None | Some(Form::Plain)) => Err(SealError::Orphan),
                (Form::Plain, Some(Form::Under(_))) | (Form::Under(_), _) => {
                    Err(SealError::Record(RecordError::Corrupt))
                }
            },
        }
    }
}

/// What a file is sealed for: its place in the keystore.
fn context(name: &Path) -> Vec<u8> {
    let mut context = b"hushwire keystore\0".to_vec();
    context.extend_from_slice(name.as_os_str().as_encoded_bytes());
    context
}

/// `nonce ‖ ciphertext ‖ tag` under XChaCha20-Poly1305 with a random nonce.
pub(super) fn seal(key: &Key, context: &[u8], plain: &[u8]) -> Zeroizing<Vec<u8>> {
    let nonce: [u8; NONCE_LEN] = draw(&mut OsRandom);
    let aead = XChaCha20Poly1305::new(&(**key).into());
    let sealed = aead
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: context })
        .expect("a file is shorter than what the AEAD takes");
    Zeroizing::new([&nonce[..], &sealed].concat())
}

/// Opens what [`seal`] made.
pub(super) fn open(key: &Key, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let aead = XChaCha20Poly1305::new(&(**key).into());
    let payload = Payload { msg: sealed, aad: context };
    aead.decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
}
