//! The directory that keeps what a device must not lose or show: its identity, the relay it trusts, its peers.
//!
//! ```text
//! KEYSTORE/            0700
//!   lock               held (flock) while the keystore is open: one process at a time
//!   passphrase.json    the key that seals the files, locked away by the passphrase where there is one
//!   identity.json      the secret key
//!   storage.json       the key of the journal
//!   journal            messages that have not ended, and cursors (see [`crate::journal`])
//!   relay.json         address, pins, relay ID, account label
//!   counters.json      failed confirmations
//!   backup.json        when the 24 words were last rehearsed
//!   codes.json         spoken codes that were tried
//!   peers/ID.json      pin, pair key, times of handshakes, whether it may send here
//!   unpaired/ID.json   whose right to send the relay has still to take back
//!   peers/ID.superseded.json
//!                      a key that a peer has replaced
//!   account.log        the devices of the account (see [`crate::account`])
//!   rotation.json      this device's next key, while it is being replaced
//! ```
//!
//! Files have mode 0600. Each is a line of JSON and a line with its SHA-256, written beside and renamed over, so a
//! crash leaves the old or the new one. A change is made on disk first; where that fails, memory is as it was. Keys
//! and counters of sessions are never written. Every call blocks on the disk.
//!
//! With a passphrase ([`Keystore::set_passphrase`]) every file but `lock`, the journal, which has a key of its own in
//! `storage.json`, and `account.log`, which other devices have as well, is sealed. File names stay readable, and with them the IDs of peers.
//!
//! The identity fits 24 words on paper ([`Keystore::backup_words`]); relay and peers fit a file that those words open
//! ([`Keystore::backup_file`]).

pub mod account;
mod backup;
mod burnt;
pub(crate) mod disk;
mod error;
mod look;
mod passphrase;
mod peer;
mod protect;
mod record;
mod relay;
mod sealing;
#[cfg(test)]
mod tests;
mod unpaired;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hushwire_wire::id::DeviceId;
use zeroize::Zeroizing;

use backup::Origin;
pub use backup::{BACKUP_BYTES_MAX, BackupError, BackupFile, RehearsalError};
pub use error::KeystoreError;
pub use look::Look;
pub use passphrase::{Cost, PASSPHRASE_BYTES_MAX, Passphrase, PassphraseError};
pub use peer::{Grant, Peer};
pub use protect::Protection;
pub use relay::{Relay, RelayTrust};

use crate::exclusive::Exclusive;
use crate::identity::Identity;
use crate::pairing::Paired;
use crate::pairing::spoken::CodeMark;
use crate::suite::handshake::{Established, Role};
use crate::suite::keys::StorageKey;
use crate::suite::random::{OsRandom, draw};
use account::Account;
use disk::Disk;
use protect::{lock_new, unlock};
use record::{
    BackupRecord, CountersRecord, IdentityRecord, PeerRecord, RelayRecord, StorageRecord, decode,
    encode,
};
use sealing::Vault;

/// Peers of one device.
pub const PEERS_MAX: usize = 1_024;

const PASSPHRASE: &str = "passphrase.json";
const IDENTITY: &str = "identity.json";
const STORAGE: &str = "storage.json";
const JOURNAL: &str = "journal";
const RELAY: &str = "relay.json";
const COUNTERS: &str = "counters.json";
const BACKUP: &str = "backup.json";
const PEERS: &str = "peers";
const SUFFIX: &str = ".json";

/// An open keystore. `Debug` shows its path and no secret.
#[derive(Debug)]
pub struct Keystore {
    disk: Disk,
    /// Where there is a passphrase.
    vault: Option<Vault>,
    identity: Identity,
    storage_key: StorageKey,
    relay: Option<Relay>,
    peers: BTreeMap<DeviceId, Peer>,
    failed_confirmations: u64,
    backup_rehearsed_at_s: Option<u64>,
    /// Spoken codes that were tried, and until when (unix seconds) they are remembered.
    burnt: Vec<(CodeMark, u64)>,
    /// Devices that are no peers any more, whose right to send the relay has not taken back yet.
    unpaired: BTreeSet<DeviceId>,
    account: Account,
    /// Unlocks when it is dropped.
    lock: Option<Exclusive>,
}

impl Keystore {
    /// Makes a keystore at `path`, whose directory is made where it is missing.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] where there is one already; see [`KeystoreError`].
    pub fn create(path: &Path, identity: Identity) -> Result<Self, KeystoreError> {
        Self::create_on(Disk::system(path), identity, None, Origin::New)
    }

    /// Opens the keystore at `path`, which has no passphrase.
    ///
    /// # Errors
    /// [`KeystoreError::Missing`] where there is none, [`KeystoreError::PassphraseNeeded`] where it has a passphrase
    /// ([`Keystore::open_with`]); see [`KeystoreError`].
    pub fn open(path: &Path) -> Result<Self, KeystoreError> {
        Self::open_on(Disk::system(path), None)
    }

    fn create_on(
        mut disk: Disk,
        identity: Identity,
        passphrase: Option<(&Passphrase, Cost)>,
        origin: Origin,
    ) -> Result<Self, KeystoreError> {
        disk.make_directory(Path::new(""))?;
        let lock = disk.lock()?;
        if disk.read_raw(Path::new(IDENTITY))?.is_some() {
            return Err(KeystoreError::Exists { path: disk.root().into() });
        }
        disk.make_directory(Path::new(PEERS))?;
        let vault = lock_new(&mut disk, passphrase)?;
        origin.write(&disk)?;
        new_storage_key(&disk)?;
        // From here on there is a keystore.
        disk.write(Path::new(IDENTITY), &encode(&IdentityRecord::from(&identity)))?;
        Self::load(disk, vault, lock)
    }

    fn open_on(mut disk: Disk, passphrase: Option<&Passphrase>) -> Result<Self, KeystoreError> {
        disk.check_directory(Path::new(""))?;
        if !disk.exists(Path::new(IDENTITY)) {
            return Err(KeystoreError::Missing { path: disk.root().into() });
        }
        let lock = disk.lock()?;
        let vault = unlock(&mut disk, passphrase)?;
        Self::load(disk, vault, lock)
    }

    fn load(disk: Disk, vault: Option<Vault>, lock: Exclusive) -> Result<Self, KeystoreError> {
        let missing = || KeystoreError::Missing { path: disk.root().into() };
        let identity = load(&disk, Path::new(IDENTITY), IdentityRecord::into_identity)?;
        let identity = identity.ok_or_else(missing)?;
        disk.check_directory(Path::new(PEERS))?;
        disk.remove_temporaries(Path::new(""))?;
        disk.remove_temporaries(Path::new(PEERS))?;
        let storage_key =
            load(&disk, Path::new(STORAGE), |record: StorageRecord| Some(record.into_key()))?;
        let storage_key = match storage_key {
            Some(key) => key,
            // Made by a version that had no journal. Where there is one, its key is lost.
            None if disk.exists(Path::new(JOURNAL)) => {
                return Err(KeystoreError::Corrupt { path: disk.root().join(STORAGE) });
            }
            None => new_storage_key(&disk)?,
        };
        let relay = load(&disk, Path::new(RELAY), RelayRecord::into_relay)?;
        let counters = load(&disk, Path::new(COUNTERS), |record: CountersRecord| Some(record))?;
        let failed_confirmations = counters.map_or(0, |record| record.failed_confirmations);
        let backup = load(&disk, Path::new(BACKUP), |record: BackupRecord| Some(record))?;
        let backup_rehearsed_at_s = backup.map(|record| record.rehearsed_at_s);
        let mut peers = load_peers(&disk)?;
        let burnt = burnt::load(&disk)?;
        let unpaired = unpaired::load(&disk)?;
        for device in &unpaired {
            // The device was being removed when something stopped it.
            if peers.remove(device).is_some() {
                disk.remove(&peer_path(device))?;
            }
        }
        let account = Account::load(&disk)?;
        let mut keystore = Self {
            disk,
            vault,
            identity,
            storage_key,
            relay,
            peers,
            failed_confirmations,
            backup_rehearsed_at_s,
            burnt,
            unpaired,
            account,
            lock: Some(lock),
        };
        // A disk that takes no changes now does not keep the owner out; [`Keystore::protection`] tells.
        let _later = keystore.settle();
        keystore.mend()?;
        Ok(keystore)
    }

    /// Where the keystore is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.disk.root()
    }

    /// Lets go of the lock: another process may have the keystore from now on, and every change through this one fails.
    pub(crate) fn release(&mut self) {
        self.disk.close();
        self.lock = None;
    }

    /// Where the journal is, which is locked with the keystore.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.path().join(JOURNAL)
    }

    /// The key that the journal is sealed under.
    #[must_use]
    pub const fn storage_key(&self) -> &StorageKey {
        &self.storage_key
    }

    /// Who this device is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The relay this device is enrolled at.
    #[must_use]
    pub const fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// Remembers a relay in place of the one before.
    ///
    /// # Errors
    /// [`KeystoreError::Invalid`] where a field is out of its range; see [`KeystoreError`].
    pub fn set_relay(&mut self, relay: Relay) -> Result<(), KeystoreError> {
        relay.check().map_err(KeystoreError::Invalid)?;
        self.disk.write(Path::new(RELAY), &encode(&RelayRecord::from(&relay)))?;
        self.relay = Some(relay);
        Ok(())
    }

    /// All peers, by device ID.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// The peer with this ID.
    #[must_use]
    pub fn peer(&self, device: &DeviceId) -> Option<&Peer> {
        self.peers.get(device)
    }

    /// The peer with this name.
    #[must_use]
    pub fn peer_named(&self, name: &str) -> Option<&Peer> {
        self.peers.values().find(|peer| peer.name() == name)
    }

    /// Stores a peer under a name, and the wish that it may send to this device. A peer that is known already gets the
    /// new pair key, and with it its handshake times begin anew; that it has used a hybrid suite stays known. `now_s` is
    /// the unix time.
    ///
    /// # Errors
    /// [`KeystoreError::Invalid`] where the name is empty, longer than 64 bytes or could steer a terminal, or where
    /// there are [`PEERS_MAX`]; [`KeystoreError::NameTaken`]; see [`KeystoreError`].
    pub fn add_peer(
        &mut self,
        paired: &Paired,
        name: &str,
        now_s: u64,
    ) -> Result<&Peer, KeystoreError> {
        self.add(paired, name, now_s, Grant::Wanted)
    }

    /// As [`Keystore::add_peer`], but the peer may not send to this device. Where it could before, it no longer can.
    ///
    /// # Errors
    /// As for [`Keystore::add_peer`].
    pub fn add_peer_one_way(
        &mut self,
        paired: &Paired,
        name: &str,
        now_s: u64,
    ) -> Result<&Peer, KeystoreError> {
        let device = paired.peer();
        let known = self.peers.contains_key(&device) || self.unpaired.contains(&device);
        self.add(paired, name, now_s, if known { Grant::Withdrawn } else { Grant::None })
    }

    fn add(
        &mut self,
        paired: &Paired,
        name: &str,
        now_s: u64,
        grant: Grant,
    ) -> Result<&Peer, KeystoreError> {
        let device = paired.peer();
        if self.account.is_superseded(&device) {
            return Err(KeystoreError::Invalid(
                "the device has replaced this key: it must use its new one, or a new identity",
            ));
        }
        self.check_name(name, &device)?;
        let known = self.peers.get(&device);
        if known.is_none() && self.peers.len() >= PEERS_MAX {
            return Err(KeystoreError::Invalid("there are 1 024 peers; remove one first"));
        }
        let hybrid_before = known.is_some_and(Peer::hybrid_seen);
        // Before the peer is there: otherwise a crash in between would remove it at the next start.
        self.forget_unpaired(&device)?;
        let ours = self.identity.device_id();
        self.store(Peer::new(paired, name, now_s, hybrid_before, grant).with(ours))
    }

    /// Remembers whether a peer may send to this device, or shall.
    ///
    /// # Errors
    /// [`KeystoreError::UnknownPeer`]; see [`KeystoreError`].
    pub fn set_grant(&mut self, device: &DeviceId, grant: Grant) -> Result<(), KeystoreError> {
        let known = self.known(device)?;
        if known.grant() == grant {
            return Ok(());
        }
        let peer = known.granted(grant);
        self.store(peer).map(|_| ())
    }

    /// Gives a peer another name.
    ///
    /// # Errors
    /// As for [`Keystore::add_peer`], and [`KeystoreError::UnknownPeer`].
    pub fn rename_peer(&mut self, device: &DeviceId, name: &str) -> Result<&Peer, KeystoreError> {
        self.check_name(name, device)?;
        let peer = self.known(device)?.renamed(name);
        self.store(peer)
    }

    /// Remembers the time of an HS1 of ours before it is sent, so that the next one is later even after a crash.
    ///
    /// # Errors
    /// [`KeystoreError::UnknownPeer`]; see [`KeystoreError`].
    pub fn record_sent(&mut self, device: &DeviceId, time_ns: u64) -> Result<(), KeystoreError> {
        let peer = self.known(device)?.sent(time_ns);
        self.store(peer).map(|_| ())
    }

    /// Remembers the time of a peer's HS1 before it is answered: it is not answered again, after a restart neither.
    ///
    /// # Errors
    /// [`KeystoreError::UnknownPeer`]; see [`KeystoreError`].
    pub fn record_seen(&mut self, device: &DeviceId, time_ns: u64) -> Result<(), KeystoreError> {
        let peer = self.known(device)?.seen(time_ns);
        self.store(peer).map(|_| ())
    }

    /// Remembers a handshake that ended: its time against replays, and that the pair has used a hybrid suite.
    ///
    /// # Errors
    /// [`KeystoreError::UnknownPeer`]; see [`KeystoreError`].
    pub fn record_handshake(&mut self, established: &Established) -> Result<(), KeystoreError> {
        let known = self.known(&established.peer())?;
        let peer = known.used(established.suite());
        let peer = match established.role() {
            Role::Initiator => peer.sent(established.time_ns()),
            Role::Responder => peer.seen(established.time_ns()),
        };
        let facts = |peer: &Peer| (peer.last_sent_ns(), peer.last_seen_ns(), peer.hybrid_seen());
        if facts(&peer) == facts(known) {
            return Ok(());
        }
        self.store(peer).map(|_| ())
    }

    /// Forgets a peer: pin, pair key and times. That the relay has to take back its right to send is remembered
    /// ([`Keystore::unpaired`]).
    ///
    /// # Errors
    /// [`KeystoreError::UnknownPeer`]; see [`KeystoreError`].
    pub fn remove_peer(&mut self, device: &DeviceId) -> Result<(), KeystoreError> {
        self.known(device)?;
        self.remember_unpaired(device)?;
        self.disk.remove(&peer_path(device))?;
        self.peers.remove(device);
        Ok(())
    }

    /// Confirmations that failed on this device: digits that differed, spoken codes that the other end did not know.
    #[must_use]
    pub const fn failed_confirmations(&self) -> u64 {
        self.failed_confirmations
    }

    /// Counts a failed confirmation and returns how many there were.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn count_failed_confirmation(&mut self) -> Result<u64, KeystoreError> {
        let record = CountersRecord::new(self.failed_confirmations.saturating_add(1));
        self.disk.write(Path::new(COUNTERS), &encode(&record))?;
        self.failed_confirmations = record.failed_confirmations;
        Ok(self.failed_confirmations)
    }

    fn known(&self, device: &DeviceId) -> Result<&Peer, KeystoreError> {
        self.peers.get(device).ok_or(KeystoreError::UnknownPeer(*device))
    }

    /// Whether a device may be stored under this name.
    ///
    /// # Errors
    /// As for [`Keystore::add_peer`].
    pub fn check_name(&self, name: &str, device: &DeviceId) -> Result<(), KeystoreError> {
        Peer::check_name(name).map_err(KeystoreError::Invalid)?;
        match self.peer_named(name) {
            Some(other) if other.device() != *device => {
                Err(KeystoreError::NameTaken { name: name.into(), device: other.device() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn store(&mut self, peer: Peer) -> Result<&Peer, KeystoreError> {
        let device = peer.device();
        self.disk.write(&peer_path(&device), &encode(&PeerRecord::from(&peer)))?;
        self.peers.insert(device, peer);
        Ok(&self.peers[&device])
    }
}

/// Any bytes as every kind of file, as they are and as a line whose sum is right. For fuzzing.
pub(crate) fn inspect(data: &[u8]) {
    let device = Identity::from_secret(&[1; 32]).words();
    for bytes in [data.to_vec(), record::with_sum(data)] {
        // Refused or read is all the same here.
        let _read = sealing::LockedVault::from_file(&bytes).map(drop);
        let _read = BackupFile::open(&bytes, &device, u64::MAX).map(drop);
        let _read = decode::<IdentityRecord>(&bytes).map(|record| record.into_identity().map(drop));
        let _read = decode::<StorageRecord>(&bytes).map(drop);
        let _read = decode::<RelayRecord>(&bytes).map(|record| record.into_relay().map(drop));
        let _read = decode::<CountersRecord>(&bytes).map(drop);
        let _read = decode::<BackupRecord>(&bytes).map(drop);
        let _read = decode::<PeerRecord>(&bytes).map(|record| record.into_peer().map(drop));
        let _read = sealing::Seal::PLAIN.open(Path::new(RELAY), Zeroizing::new(bytes)).map(drop);
    }
}

fn new_storage_key(disk: &Disk) -> Result<StorageKey, KeystoreError> {
    let key = StorageKey::new(draw(&mut OsRandom));
    disk.write(Path::new(STORAGE), &encode(&StorageRecord::from(&key)))?;
    Ok(key)
}

fn peer_path(device: &DeviceId) -> PathBuf {
    Path::new(PEERS).join(device.to_text() + SUFFIX)
}

/// Reads and checks one record; `None` where there is no file.
fn load<R: record::Record, T>(
    disk: &Disk,
    name: &Path,
    typed: impl FnOnce(R) -> Option<T>,
) -> Result<Option<T>, KeystoreError> {
    let Some(bytes) = disk.read(name)? else { return Ok(None) };
    let path = disk.root().join(name);
    let record = decode::<R>(&bytes).map_err(|error| error.at(&path))?;
    match typed(record) {
        Some(value) => Ok(Some(value)),
        None => Err(KeystoreError::Corrupt { path }),
    }
}

fn load_peers(disk: &Disk) -> Result<BTreeMap<DeviceId, Peer>, KeystoreError> {
    let mut peers = BTreeMap::new();
    for name in disk.names(Path::new(PEERS))? {
        let Some(device) = name.strip_suffix(SUFFIX).and_then(|text| text.parse().ok()) else {
            continue;
        };
        // One may be there under two keys, where a crash came into its rotation.
        if peers.len() > PEERS_MAX {
            return Err(KeystoreError::Invalid("the keystore holds more than 1 024 peers"));
        }
        let path = Path::new(PEERS).join(&name);
        let peer = load(disk, &path, |record: PeerRecord| {
            record.into_peer().filter(|peer| peer.device() == device)
        })?;
        peers.extend(peer.map(|peer| (device, peer)));
    }
    Ok(peers)
}
