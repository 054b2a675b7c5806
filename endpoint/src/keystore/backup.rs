//! Backups: 24 words on paper for the identity, and a file that those words open for relay and peers.
//!
//! The file is `{"version":1,"device":ID,"sealed":…}` and its sum. Its key is
//! `Expand(Extract("hushwire/1 backup", secret key), "hw1 backup file", device ID)`; inside are the records of relay and
//! peers with pins and pair keys, and when it was made. It shows whose it is and roughly how many peers there are.
//!
//! An old copy is safe to come back from. Sessions never take a key twice: each handshake draws new ephemeral keys at
//! both ends, whatever the pair key. The times in HS1 must not go back, or peers drop our handshakes: so a file that
//! was made in this clock's future is refused, and every peer's time of our last HS1 begins at the time of restoring.
//! The times of *their* handshakes are those of the file: an HS1 of theirs from after the backup can be replayed to us
//! once, which costs us one answer that nobody can finish. That a pair has used a hybrid suite is known from its
//! pairing or from the file. The journal is not in it; peers notice that and are told (a new incarnation).

use std::collections::BTreeSet;
use std::path::Path;

use hushwire_wire::id::DeviceId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::account::{LOG, ROTATION, SUPERSEDED};
use super::burnt::CODES;
use super::disk::Disk;
use super::error::KeystoreError;
use super::record::{
    BackupRecord, CountersRecord, HexBytes, PeerRecord, RECORD_BYTES_MAX, Record, RecordError,
    RelayRecord, decode, encode, encode_with_room,
};
use super::sealing::{open, seal};
use super::unpaired::UNPAIRED;
use super::{
    BACKUP, COUNTERS, Cost, JOURNAL, Keystore, PEERS, PEERS_MAX, Passphrase, Peer, RELAY, Relay,
    SUFFIX, peer_path,
};
use crate::identity::{Identity, WORDS, Words};
use crate::suite::kdf::{Key, expand, extract};

const VERSION: u32 = 1;
/// Room for one peer in a backup file.
const PEER_BYTES_MAX: usize = 2 * 1_024;
/// The longest backup file that is read.
pub const BACKUP_BYTES_MAX: usize = 2 * (RECORD_BYTES_MAX + PEERS_MAX * PEER_BYTES_MAX) + 1_024;
const NS_PER_S: u64 = 1_000_000_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedBackup {
    version: u32,
    device: String,
    sealed: HexBytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    made_at_s: u64,
    relay: Option<RelayRecord>,
    failed_confirmations: u64,
    peers: Vec<PeerRecord>,
}

impl Record for SealedBackup {}
impl Record for Contents {}

/// What a backup file holds. `Debug` shows no key.
#[derive(Debug)]
pub struct BackupFile {
    made_at_s: u64,
    pub(super) relay: Option<Relay>,
    pub(super) failed_confirmations: u64,
    pub(super) peers: Vec<Peer>,
}

/// Why bytes are no backup file for these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Not what was written.
    #[error("this is no backup file, or it is damaged; take another copy of it")]
    Corrupt,
    /// A newer version of this software wrote it.
    #[error(
        "the backup file was written by a newer version of this software (format {0}); upgrade"
    )]
    Newer(u32),
    /// Other words belong to it.
    #[error("the backup file is of device {found}, but the words are those of {words}")]
    OtherDevice {
        /// Whose it is.
        found: DeviceId,
        /// Whose words these are.
        words: DeviceId,
    },
    /// It was made in the future of this clock.
    #[error(
        "the backup file was made {by_s} seconds after this device's present time; set the clock, or peers will not answer"
    )]
    Clock {
        /// How far the clock is behind it.
        by_s: u64,
    },
}

/// Why a rehearsal was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// Not 24 of them.
    #[error("a backup has 24 words, these are {found}; the backup does not count as rehearsed")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// One is not what this keystore's words say.
    #[error("word {position} is not the right one; correct the paper and rehearse again")]
    Differs {
        /// The first one that differs, from 1.
        position: usize,
    },
    /// It was right and could not be recorded.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

impl BackupFile {
    /// Opens a backup file with the words of its device. `now_s` is the unix time.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(bytes: &[u8], words: &Words, now_s: u64) -> Result<Self, BackupError> {
        let failed = |error| match error {
            RecordError::Corrupt => BackupError::Corrupt,
            RecordError::Newer(version) => BackupError::Newer(version),
        };
        if bytes.len() > BACKUP_BYTES_MAX {
            return Err(BackupError::Corrupt);
        }
        let identity = Identity::from_words(words);
        let sealed: SealedBackup = decode(bytes).map_err(failed)?;
        let found: DeviceId = sealed.device.parse().map_err(|_| BackupError::Corrupt)?;
        let device = identity.device_id();
        if found != device {
            return Err(BackupError::OtherDevice { found, words: device });
        }
        let contents = open(&key(&identity), &context(&device), &sealed.sealed.0);
        let contents: Contents = decode(&contents.ok_or(BackupError::Corrupt)?).map_err(failed)?;
        let backup = Self::from_contents(contents, &device).ok_or(BackupError::Corrupt)?;
        match backup.made_at_s.saturating_sub(now_s) {
            0 => Ok(backup),
            by_s => Err(BackupError::Clock { by_s }),
        }
    }

    fn from_contents(contents: Contents, ours: &DeviceId) -> Option<Self> {
        let Contents { version: _, made_at_s, relay, failed_confirmations, peers } = contents;
        if peers.len() > PEERS_MAX {
            return None;
        }
        let relay = match relay {
            Some(record) => Some(record.into_relay()?),
            None => None,
        };
        let peers: Vec<Peer> =
            peers.into_iter().map(PeerRecord::into_peer).collect::<Option<_>>()?;
        let mut seen = BTreeSet::from([*ours]);
        let mut names = BTreeSet::new();
        for peer in &peers {
            if !seen.insert(peer.device()) || !names.insert(peer.name()) {
                return None;
            }
        }
        Some(Self { made_at_s, relay, failed_confirmations, peers })
    }

    /// When it was made, unix seconds.
    #[must_use]
    pub const fn made_at_s(&self) -> u64 {
        self.made_at_s
    }

    /// How many peers it holds.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// The relay it holds.
    #[must_use]
    pub const fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }
}

impl Keystore {
    /// The identity as 24 words, which are this device for whoever has them.
    #[must_use]
    pub fn backup_words(&self) -> Words {
        self.identity.words()
    }

    /// Compares what a person wrote down, in any case and spacing, with the words, and records that it was right and
    /// when. `now_s` is the unix time.
    ///
    /// # Errors
    /// [`RehearsalError`]; then nothing is recorded.
    pub fn rehearse(&mut self, typed: &str, now_s: u64) -> Result<(), RehearsalError> {
        let words = self.backup_words();
        let same = |(typed, word): (&str, &str)| typed.eq_ignore_ascii_case(word);
        let mut compared = typed.split_whitespace().zip(words.iter()).map(same);
        if let Some(index) = compared.position(|same| !same) {
            return Err(RehearsalError::Differs { position: index + 1 });
        }
        let found = typed.split_whitespace().take(WORDS + 1).count();
        if found != WORDS {
            return Err(RehearsalError::Count { found });
        }
        self.disk.write(Path::new(BACKUP), &encode(&BackupRecord::new(now_s)))?;
        self.backup_rehearsed_at_s = Some(now_s);
        Ok(())
    }

    /// When the words were last given back without a mistake, unix seconds; `None` where they never were.
    #[must_use]
    pub const fn backup_rehearsed_at_s(&self) -> Option<u64> {
        self.backup_rehearsed_at_s
    }

    /// The bytes of a backup file: relay and peers with their pair keys, sealed under a key that the 24 words give.
    /// `now_s` is the unix time.
    #[must_use]
    pub fn backup_file(&self, now_s: u64) -> Vec<u8> {
        let contents = Contents {
            version: VERSION,
            made_at_s: now_s,
            relay: self.relay.as_ref().map(RelayRecord::from),
            failed_confirmations: self.failed_confirmations,
            peers: self.peers.values().map(PeerRecord::from).collect(),
        };
        let room = RECORD_BYTES_MAX + self.peers.len() * PEER_BYTES_MAX;
        let plain = encode_with_room(&contents, room);
        let device = self.identity.device_id();
        let sealed = seal(&key(&self.identity), &context(&device), &plain);
        let record =
            SealedBackup { version: VERSION, device: device.to_text(), sealed: HexBytes(sealed) };
        encode_with_room(&record, BACKUP_BYTES_MAX).to_vec()
    }

    /// Makes a keystore at `path` from 24 words and, where there is one, a backup file. Its backup counts as rehearsed.
    /// `now_s` is the unix time.
    ///
    /// Without a file the words bring back who this device is and nothing else. Peers must be paired with anew. The
    /// device before must not run any more: there is one connection of a device at a time.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] where there is a keystore; see [`KeystoreError`].
    pub fn restore(
        path: &Path,
        words: &Words,
        file: Option<BackupFile>,
        passphrase: Option<(&Passphrase, Cost)>,
        now_s: u64,
    ) -> Result<Self, KeystoreError> {
        let origin = Origin::Words { file, now_s };
        Self::create_on(Disk::system(path), Identity::from_words(words), passphrase, origin)
    }
}

/// What a new keystore begins with.
pub(super) enum Origin {
    New,
    Words { file: Option<BackupFile>, now_s: u64 },
}

impl Origin {
    /// Writes all of it before there is an identity, so that a crash leaves no keystore with half of its peers; and
    /// removes first what such a crash left, or an identity that was taken away, so that it never becomes part of another.
    pub(super) fn write(self, disk: &Disk) -> Result<(), KeystoreError> {
        for directory in [PEERS, UNPAIRED].map(Path::new) {
            if !disk.exists(directory) {
                continue;
            }
            for name in disk.names(directory)? {
                let id = name.strip_suffix(SUPERSEDED).or_else(|| name.strip_suffix(SUFFIX));
                if id.is_some_and(|id| id.parse::<DeviceId>().is_ok()) {
                    disk.remove(&directory.join(name))?;
                }
            }
        }
        for name in [RELAY, COUNTERS, BACKUP, CODES, ROTATION, LOG, JOURNAL].map(Path::new) {
            if disk.exists(name) {
                disk.remove(name)?;
            }
        }
        let Self::Words { file, now_s } = self else { return Ok(()) };
        disk.write(Path::new(BACKUP), &encode(&BackupRecord::new(now_s)))?;
        let Some(file) = file else { return Ok(()) };
        if let Some(relay) = &file.relay {
            disk.write(Path::new(RELAY), &encode(&RelayRecord::from(relay)))?;
        }
        let counters = CountersRecord::new(file.failed_confirmations);
        disk.write(Path::new(COUNTERS), &encode(&counters))?;
        for peer in &file.peers {
            let peer = peer.sent(now_s.saturating_mul(NS_PER_S));
            disk.write(&peer_path(&peer.device()), &encode(&PeerRecord::from(&peer)))?;
        }
        Ok(())
    }
}

fn key(identity: &Identity) -> Key {
    let secret: Zeroizing<[u8; 32]> = identity.secret();
    let prk = extract(b"hushwire/1 backup", &[&*secret]);
    expand(&prk, "hw1 backup file", identity.device_id().as_bytes())
}

fn context(device: &DeviceId) -> Vec<u8> {
    let mut context = b"hushwire backup\0".to_vec();
    context.extend_from_slice(device.as_bytes());
    context
}
