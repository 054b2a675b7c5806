//! Looking at a keystore that another process may have open: without its lock, and without a change or a repair.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hushwire_wire::id::DeviceId;

use super::disk::{Disk, LOCK};
use super::protect::{protection_of, unlock};
use super::record::{BackupRecord, IdentityRecord, RelayRecord, StorageRecord};
use super::{
    BACKUP, IDENTITY, JOURNAL, Keystore, KeystoreError, PEERS, Passphrase, Peer, Protection, RELAY,
    Relay, STORAGE, load, load_peers,
};
use crate::journal::{Journal, JournalError, Logs};
use crate::suite::keys::StorageKey;

/// Times that a keystore is read while whoever has it open changes its passphrase, before it is taken for damaged.
const LOOKS_MAX: u32 = 2;
/// Of the list of locks; with some 50 bytes each there are 20 000 of them.
const LOCKS_BYTES_MAX: u64 = 1 << 20;

/// What a keystore held when it was looked at. Each file was read whole; between two of them the owner may have changed
/// something. `Debug` shows no secret.
#[derive(Debug)]
pub struct Look {
    path: PathBuf,
    device: DeviceId,
    relay: Option<Relay>,
    peers: BTreeMap<DeviceId, Peer>,
    /// `None` in a keystore from before journals, that nobody has opened since.
    storage_key: Option<StorageKey>,
    protection: Protection,
    backup_rehearsed_at_s: Option<u64>,
}

impl Keystore {
    /// Looks at the keystore at `path`, whether or not a process has it open. Nothing is locked, changed or repaired.
    ///
    /// # Errors
    /// As for [`Keystore::open`] and, with a passphrase, [`Keystore::open_with`]; but never
    /// [`KeystoreError::Locked`].
    pub fn look(path: &Path, passphrase: Option<&Passphrase>) -> Result<Look, KeystoreError> {
        let mut looks = 1;
        loop {
            match look_once(path, passphrase) {
                Err(KeystoreError::Corrupt { .. }) if looks < LOOKS_MAX => looks += 1,
                looked => return looked,
            }
        }
    }

    /// What a look at this keystore shows now.
    #[must_use]
    pub fn seen(&self) -> Look {
        Look {
            path: self.path().into(),
            device: self.identity.device_id(),
            relay: self.relay.clone(),
            peers: self.peers.clone(),
            storage_key: Some(self.storage_key.clone()),
            protection: self.protection(),
            backup_rehearsed_at_s: self.backup_rehearsed_at_s,
        }
    }

    /// The process that has the keystore at `path` open, as the list of locks (`/proc/locks`) names it. `None` where none
    /// is seen there: then either nobody has it open, or somebody in another container or on another machine.
    #[must_use]
    pub fn holder(path: &Path) -> Option<u32> {
        let lock = fs::symlink_metadata(path.join(LOCK)).ok()?;
        let mut locks = String::new();
        File::open("/proc/locks").ok()?.take(LOCKS_BYTES_MAX).read_to_string(&mut locks).ok()?;
        holder_in(&locks, lock.dev(), lock.ino())
    }
}

fn look_once(path: &Path, passphrase: Option<&Passphrase>) -> Result<Look, KeystoreError> {
    let mut disk = Disk::system(path);
    disk.check_directory(Path::new(""))?;
    let missing = || KeystoreError::Missing { path: path.into() };
    if !disk.exists(Path::new(IDENTITY)) {
        return Err(missing());
    }
    let vault = unlock(&mut disk, passphrase)?;
    let identity = load(&disk, Path::new(IDENTITY), IdentityRecord::into_identity)?;
    let storage = |record: StorageRecord| Some(record.into_key());
    let storage_key = load(&disk, Path::new(STORAGE), storage)?;
    if storage_key.is_none() && disk.exists(Path::new(JOURNAL)) {
        return Err(KeystoreError::Corrupt { path: path.join(STORAGE) });
    }
    let backup = load(&disk, Path::new(BACKUP), |record: BackupRecord| Some(record))?;
    disk.check_directory(Path::new(PEERS))?;
    Ok(Look {
        path: path.into(),
        device: identity.ok_or_else(missing)?.device_id(),
        relay: load(&disk, Path::new(RELAY), RelayRecord::into_relay)?,
        peers: load_peers(&disk)?,
        storage_key,
        protection: protection_of(vault.as_ref()),
        backup_rehearsed_at_s: backup.map(|record| record.rehearsed_at_s),
    })
}

impl Look {
    /// Where the keystore is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who this device is.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// The relay this device is enrolled at.
    #[must_use]
    pub const fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
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

    /// How it is protected.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// When somebody last showed that the 24 words are on paper, unix seconds.
    #[must_use]
    pub const fn backup_rehearsed_at_s(&self) -> Option<u64> {
        self.backup_rehearsed_at_s
    }

    /// What its journal holds now, by [`Journal::view`]; nothing where there is none.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn logs(&self) -> Result<Logs, JournalError> {
        match &self.storage_key {
            Some(key) => Journal::view(&self.path.join(JOURNAL), key),
            None => Ok(Logs::default()),
        }
    }
}

/// Who has the `flock` of a file, by its device and number:
/// `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF` (proc(5)).
fn holder_in(locks: &str, device: u64, number: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{number}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // A line of somebody who waits has an arrow in the second place; ours never wait.
        let [_, "FLOCK", _, "WRITE", process, found, ..] = fields[..] else { return None };
        // A process that cannot be seen from here has no number, or 0.
        process.parse().ok().filter(|process| *process > 0 && found == file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::journal::{Durability, Entry, MessageId};

    #[test]
    fn who_holds_a_lock() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:5678 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 12 fe:00:5678 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fe:00:5678 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 fe:00:56789 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 15 fe:01:5678 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE -1 fe:00:5678 0 EOF\n\
                     nonsense\n\n6: FLOCK\n\
                     7: FLOCK  ADVISORY  WRITE 16 fe:00:5678 0 EOF\n";
        let check = |minor, number, expect| {
            assert_eq!(holder_in(locks, rustix::fs::makedev(0xfe, minor), number), expect);
        };
        check(0, 5_678, Some(16));
        check(0, 56_789, Some(14));
        check(1, 5_678, Some(15));
        check(1, 1, None);
    }

    #[test]
    fn a_keystore_that_is_open_is_looked_at_and_not_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("one");
        let missing = Keystore::look(&path, None).expect_err("nothing there");
        assert!(matches!(missing, KeystoreError::Missing { .. }), "{missing}");
        let identity = Identity::from_secret(&[1; 32]);
        let device = identity.device_id();
        let keystore = Keystore::create(&path, identity).expect("a keystore");
        let (at, key) = (keystore.journal_path(), keystore.storage_key());
        let (mut journal, _) = Journal::open(&at, key, Durability::Process).expect("a journal");
        let (peer, id) = (DeviceId::new([9; 32]), MessageId { incarnation: 1, sequence: 0 });
        let begun = Entry::LogBegun { peer, incarnation: 1, base: 0 };
        let (queued_s, expires_s, bytes) = (5, None, b"hi".to_vec());
        let queued = Entry::Queued { peer, number: 0, id, queued_s, expires_s, bytes };
        journal.append(&[begun, queued]).expect("written");
        // Half of a file that the owner is writing.
        fs::write(path.join(".relay.json.tmp"), "{").expect("written");
        let before = contents(&path);
        let look = Keystore::look(&path, None).expect("it can be looked at");
        assert_eq!((look.device(), look.path()), (device, path.as_path()));
        assert_eq!((look.protection(), look.peers().count()), (Protection::Permissions, 0));
        assert!(look.relay().is_none() && look.backup_rehearsed_at_s().is_none());
        let logs = look.logs().expect("read");
        let log = logs.peer(&peer).and_then(|logs| logs.outgoing.clone()).expect("a log");
        assert_eq!(log.held[&0].id, id);
        assert_eq!(contents(&path), before);
        assert_eq!(Keystore::holder(&path), Some(std::process::id()));
        drop(keystore);
        assert_eq!(Keystore::holder(&path), None);
    }

    #[test]
    fn a_passphrase_is_needed_to_look_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("one");
        let passphrase = Passphrase::new(b"correct horse".to_vec()).expect("a passphrase");
        let cost = super::super::Cost::new(8, 1, 1).unwrap_or_default();
        let identity = Identity::from_secret(&[1; 32]);
        let _open = Keystore::create_with(&path, identity, &passphrase, cost).expect("a keystore");
        let error = Keystore::look(&path, None).expect_err("not without");
        assert!(matches!(error, KeystoreError::PassphraseNeeded { .. }), "{error}");
        let wrong = Passphrase::new(b"wrong horse".to_vec()).expect("a passphrase");
        let error = Keystore::look(&path, Some(&wrong)).expect_err("not with another");
        assert!(matches!(error, KeystoreError::WrongPassphrase { .. }), "{error}");
        let look = Keystore::look(&path, Some(&passphrase)).expect("looked at");
        assert_eq!(look.protection(), Protection::Passphrase);
        // A file that is damaged is damaged for a looker too, and stays as it is.
        fs::write(path.join(IDENTITY), "nonsense").expect("written");
        let error = Keystore::look(&path, Some(&passphrase)).expect_err("damaged");
        assert!(matches!(error, KeystoreError::Corrupt { .. }), "{error}");
    }

    fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries =
            fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry"));
        let files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
        let mut all: Vec<_> =
            files.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
        all.sort();
        all
    }
}
