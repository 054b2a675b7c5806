//! The account in the keystore: the log of its devices, this device's own rotation, and the keys of peers that were
//! replaced.
//!
//! Each step writes first the one file from which all others follow; opening a keystore does what a crash left undone.

mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hushwire_wire::id::DeviceId;

use super::disk::Disk;
use super::record::{IdentityRecord, encode};
use super::{BACKUP, IDENTITY, Keystore, KeystoreError, PEERS, load, peer_path};
use crate::account::limits::FILE_BYTES_MAX;
use crate::account::{AccountLog, LogError, Phase, Repinned, Rotation, RotationError, Statement};
use crate::identity::Identity;
pub(super) use record::{RotationRecord, SupersededRecord};

/// Keys of peers that were replaced and are refused for ever.
pub const SUPERSEDED_MAX: usize = 4_096;
/// Keys that one peer may have replaced until it is paired anew.
pub const ROTATIONS_OF_PEER_MAX: usize = 64;

pub(super) const LOG: &str = "account.log";
pub(super) const ROTATION: &str = "rotation.json";
pub(super) const SUPERSEDED: &str = ".superseded.json";

/// What a keystore knows beyond the device and its peers.
#[derive(Debug, Default)]
pub(super) struct Account {
    log: Option<AccountLog>,
    rotation: Option<Rotation>,
    /// By the old key.
    superseded: BTreeMap<DeviceId, Statement>,
}

impl Account {
    pub(super) fn load(disk: &Disk) -> Result<Self, KeystoreError> {
        let log = match disk.read_raw_up_to(Path::new(LOG), FILE_BYTES_MAX)? {
            None => None,
            Some(bytes) => Some(AccountLog::decode(&bytes).map_err(|error| {
                let path = disk.root().join(LOG);
                if let LogError::Version(version) = error {
                    KeystoreError::Newer { path, version: u32::from(version) }
                } else {
                    KeystoreError::Corrupt { path }
                }
            })?),
        };
        let rotation = load(disk, Path::new(ROTATION), RotationRecord::into_rotation)?;
        let mut superseded = BTreeMap::new();
        for name in disk.names(Path::new(PEERS))? {
            let Some(old) = name.strip_suffix(SUPERSEDED).and_then(|text| text.parse().ok()) else {
                continue;
            };
            let statement = load(disk, &superseded_path(&old), |record: SupersededRecord| {
                record.into_statement().filter(|statement| statement.old() == old)
            })?;
            superseded.extend(statement.map(|statement| (old, statement)));
        }
        Ok(Self { log, rotation, superseded })
    }

    /// Whether a peer has given up this key.
    pub(super) fn is_superseded(&self, device: &DeviceId) -> bool {
        self.superseded.contains_key(device)
    }

    /// How often the device of this key has replaced it.
    fn rotations_of(&self, device: &DeviceId) -> usize {
        let mut device = *device;
        let mut count = 0;
        while let Some(before) = self.superseded.values().find(|s| s.new_device() == device)
            && count < ROTATIONS_OF_PEER_MAX
        {
            device = before.old();
            count += 1;
        }
        count
    }
}

impl Keystore {
    /// The devices of this one's account, where there is a log of them.
    #[must_use]
    pub const fn account_log(&self) -> Option<&AccountLog> {
        self.account.log.as_ref()
    }

    /// Stores the log. Nothing of it may be sent before.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn set_account_log(&mut self, log: AccountLog) -> Result<(), KeystoreError> {
        self.disk.write_raw(Path::new(LOG), &log.encode())?;
        self.account.log = Some(log);
        Ok(())
    }

    /// The new key that a peer has named for this old one.
    #[must_use]
    pub fn superseded_by(&self, old: &DeviceId) -> Option<DeviceId> {
        self.account.superseded.get(old).map(Statement::new_device)
    }

    /// The peer that this ID is or was one of; `None` where there is none.
    #[must_use]
    pub fn goes_on_as(&self, device: &DeviceId) -> Option<DeviceId> {
        let mut device = *device;
        for _ in 0..=ROTATIONS_OF_PEER_MAX {
            if self.peer(&device).is_some() {
                return Some(device);
            }
            device = self.superseded_by(&device)?;
        }
        None
    }

    /// Whether a device is one of the account's, or goes on for one that is, as it has said in its own session.
    #[must_use]
    pub fn is_of_account(&self, device: &DeviceId) -> bool {
        let Some(log) = &self.account.log else { return false };
        let mut device = *device;
        for _ in 0..=ROTATIONS_OF_PEER_MAX {
            if log.member(&device).is_some() {
                return true;
            }
            let mut before = self.account.superseded.values();
            let Some(before) = before.find(|s| s.new_device() == device) else { return false };
            device = before.old();
        }
        false
    }

    /// Takes a statement that `peer` has sent in its session: from now on it is known by its new key, under a new pair
    /// key, and its old one is refused for ever. The session ends with the old key.
    ///
    /// # Errors
    /// [`RotationError`]; nothing was changed.
    pub fn repin_peer(
        &mut self,
        peer: &DeviceId,
        statement: &Statement,
    ) -> Result<Repinned, RotationError> {
        let (old, new) = (statement.old(), statement.new_device());
        if let Some(known) = self.superseded_by(&old) {
            let claimed = new;
            return if known == claimed {
                Ok(Repinned::Before)
            } else {
                Err(RotationError::Conflict { old, known, claimed })
            };
        }
        let pinned = self.peer(&old).filter(|_| old == *peer);
        let pinned = pinned.ok_or(RotationError::NotThePeer(old))?;
        let own = &self.account.rotation;
        let ours = |device: &DeviceId| own.as_ref().is_some_and(|own| own.statement.is_of(device));
        let taken = self.peer(&new).is_some() || self.account.is_superseded(&new);
        if taken || new == self.identity.device_id() || ours(&new) {
            return Err(RotationError::Used(new));
        }
        if let Some(own) = own
            && own.goes_before(&old, pinned.has_acknowledged(&own.new.device_id()))
        {
            return Err(RotationError::Later);
        }
        let of_peer = self.account.rotations_of(&old);
        if self.account.superseded.len() >= SUPERSEDED_MAX || of_peer >= ROTATIONS_OF_PEER_MAX {
            return Err(RotationError::TooMany);
        }
        self.check_unpaired()?;
        self.disk.write(&superseded_path(&old), &encode(&SupersededRecord::from(statement)))?;
        self.account.superseded.insert(old, *statement);
        self.repin(statement)?;
        Ok(Repinned::Now)
    }

    /// Moves the record of a peer whose statement is on the disk.
    fn repin(&mut self, statement: &Statement) -> Result<(), KeystoreError> {
        let Some(known) = self.peer(&statement.old()) else { return Ok(()) };
        let moved = known.repinned(statement);
        self.store(moved)?;
        // The relay takes back the old ID's right to send. A peer that is remembered so is no peer after a crash, and the
        // new record is there.
        self.remember_unpaired(&statement.old())?;
        self.disk.remove(&peer_path(&statement.old()))?;
        self.peers.remove(&statement.old());
        Ok(())
    }

    /// This device's own rotation, if one is under way.
    #[must_use]
    pub const fn rotation(&self) -> Option<&Rotation> {
        self.account.rotation.as_ref()
    }

    /// Begins to replace this device's key by `new`, at a unix time in nanoseconds.
    ///
    /// # Errors
    /// [`RotationError::UnderWay`]; see [`RotationError`].
    pub fn begin_rotation(&mut self, new: Identity, now_ns: u64) -> Result<(), RotationError> {
        if self.account.rotation.is_some() {
            return Err(RotationError::UnderWay);
        }
        if new.device_id() == self.identity.device_id() {
            return Err(RotationError::Used(new.device_id()));
        }
        let statement = Statement::sign(&self.identity, &new, now_ns);
        Ok(self.write_rotation(Rotation { statement, new, phase: Phase::Prepared })?)
    }

    /// Calls a rotation off that nobody has heard of yet.
    ///
    /// # Errors
    /// [`RotationError::NotThere`]; see [`RotationError`].
    pub fn cancel_rotation(&mut self) -> Result<(), RotationError> {
        self.rotation_in(Phase::Prepared)?;
        self.disk.remove(Path::new(ROTATION))?;
        self.account.rotation = None;
        Ok(())
    }

    /// The relay has registered the new device.
    ///
    /// # Errors
    /// [`RotationError::NotThere`]; see [`RotationError`].
    pub fn rotation_registered(&mut self) -> Result<(), RotationError> {
        let rotation = self.rotation_in(Phase::Prepared)?.in_phase(Phase::Registered);
        Ok(self.write_rotation(rotation)?)
    }

    /// A peer has pinned the new key.
    ///
    /// # Errors
    /// [`RotationError::NotThere`]; see [`RotationError`].
    pub fn rotation_acknowledged(&mut self, peer: &DeviceId) -> Result<(), RotationError> {
        let new = self.rotation_in(Phase::Registered)?.new.device_id();
        let peer = self.known(peer)?.acknowledged(new);
        self.store(peer)?;
        Ok(())
    }

    /// Peers that have not acknowledged the new key. After the switch they have to be paired anew, but for those
    /// whose acknowledgement alone was lost.
    pub fn rotation_unheard(&self) -> impl Iterator<Item = &super::Peer> {
        let new = self.rotation().map(|rotation| rotation.new.device_id());
        self.peers().filter(move |peer| new.is_some_and(|new| !peer.has_acknowledged(&new)))
    }

    /// This device becomes the new one: identity, pair keys and its entry in the account's log.
    ///
    /// # Errors
    /// [`RotationError::NotThere`]; [`RotationError::Keystore`]: where it was not the first write that failed, opening
    /// the keystore again finishes the switch.
    pub fn switch_rotation(&mut self) -> Result<(), RotationError> {
        let rotation = self.rotation_in(Phase::Registered)?.in_phase(Phase::Switched);
        self.write_rotation(rotation)?;
        Ok(self.mend()?)
    }

    /// The relay has revoked the old device.
    ///
    /// # Errors
    /// [`RotationError::NotThere`]; see [`RotationError`].
    pub fn finish_rotation(&mut self) -> Result<(), RotationError> {
        self.rotation_in(Phase::Switched)?;
        self.disk.remove(Path::new(ROTATION))?;
        self.account.rotation = None;
        Ok(())
    }

    /// Does what a crash left undone: of peers' rotations, and of this device's own switch.
    pub(super) fn mend(&mut self) -> Result<(), KeystoreError> {
        let undone: Vec<_> = self
            .account
            .superseded
            .values()
            .filter(|statement| self.peers.contains_key(&statement.old()))
            .copied()
            .collect();
        for statement in undone {
            self.repin(&statement)?;
        }
        let Some(rotation) = &self.account.rotation else { return Ok(()) };
        if rotation.phase != Phase::Switched {
            return Ok(());
        }
        let (statement, new) = (rotation.statement, Identity::from_secret(&rotation.new.secret()));
        if self.identity.device_id() == statement.old() {
            // The words on paper are those of the old key.
            if self.disk.exists(Path::new(BACKUP)) {
                self.disk.remove(Path::new(BACKUP))?;
            }
            self.backup_rehearsed_at_s = None;
            self.disk.write(Path::new(IDENTITY), &encode(&IdentityRecord::from(&new)))?;
            self.identity = new;
        }
        let behind = self.peers().filter(|peer| peer.ours() != Some(statement.new_device()));
        for peer in behind.map(|peer| peer.rekeyed(&statement)).collect::<Vec<_>>() {
            self.store(peer)?;
        }
        self.rotate_log(&statement)
    }

    fn rotate_log(&mut self, statement: &Statement) -> Result<(), KeystoreError> {
        let Some(mut log) = self.account.log.clone() else { return Ok(()) };
        if log.member(&statement.old()).is_none() {
            return Ok(());
        }
        // A log that is full or forked keeps the old key: a person has to look at it anyway.
        match log.rotate(&self.identity, *statement, statement.time_ns() / 1_000_000) {
            Ok(()) => self.set_account_log(log),
            Err(_) => Ok(()),
        }
    }

    fn rotation_in(&self, phase: Phase) -> Result<&Rotation, RotationError> {
        let there = self.account.rotation.as_ref().filter(|rotation| rotation.phase == phase);
        there.ok_or(RotationError::NotThere)
    }

    fn write_rotation(&mut self, rotation: Rotation) -> Result<(), KeystoreError> {
        self.disk.write(Path::new(ROTATION), &encode(&RotationRecord::from(&rotation)))?;
        self.account.rotation = Some(rotation);
        Ok(())
    }
}

fn superseded_path(old: &DeviceId) -> PathBuf {
    Path::new(PEERS).join(old.to_text() + SUPERSEDED)
}
