//! Who belongs to an account after some entries of its log.

use std::collections::BTreeMap;

use hushwire_wire::id::DeviceId;

use super::entry::{AccountLogId, Entry, Operation};
use super::error::LogError;
use super::limits::DEVICES_MAX;

/// A device of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// What it was called when it was added.
    pub name: String,
    /// Who added it; itself for the first device.
    pub added_by: DeviceId,
    /// The entry that added it, or gave it its present key.
    pub since: u32,
    /// When that was, unix ms, by the clock of the device that signed it.
    pub since_ms: u64,
}

/// Members and those that were.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    active: BTreeMap<DeviceId, Member>,
    /// Removed, or superseded by the device given.
    ended: BTreeMap<DeviceId, Option<DeviceId>>,
}

impl Members {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.active.values()
    }

    pub(super) fn get(&self, device: &DeviceId) -> Option<&Member> {
        self.active.get(device)
    }

    pub(super) fn has(&self, device: &DeviceId) -> bool {
        self.active.contains_key(device)
    }

    pub(super) fn has_ended(&self, device: &DeviceId) -> bool {
        self.ended.contains_key(device)
    }

    /// The device that goes on for `device` today, if one does.
    pub(super) fn successor(&self, device: &DeviceId) -> Option<DeviceId> {
        let mut device = *device;
        // A device ends once, so the chain is no longer than their number.
        while let Some(next) = self.ended.get(&device) {
            device = (*next)?;
        }
        self.has(&device).then_some(device)
    }

    /// Applies an entry whose signatures hold.
    pub(super) fn apply(&mut self, log: &AccountLogId, entry: &Entry) -> Result<(), LogError> {
        match &entry.operation {
            Operation::Genesis { name } => self.insert(entry.actor, name, entry),
            Operation::Add { device, name, proof } => {
                self.need(&entry.actor)?;
                self.need_fresh(device)?;
                if self.active.len() >= DEVICES_MAX {
                    return Err(LogError::DevicesFull);
                }
                proof.verify(device, log)?;
                self.insert(*device, name, entry);
            }
            Operation::Remove { device } => {
                self.need(&entry.actor)?;
                if !self.has(device) {
                    return Err(LogError::NotMember(*device));
                }
                if self.active.len() == 1 {
                    return Err(LogError::Last);
                }
                self.active.remove(device);
                self.ended.insert(*device, None);
            }
            Operation::Rotate(statement) => {
                let (old, new) = (statement.old(), statement.new_device());
                if entry.actor != new {
                    return Err(LogError::NotMember(entry.actor));
                }
                self.need_fresh(&new)?;
                let Some(member) = self.active.remove(&old) else {
                    return Err(LogError::NotMember(old));
                };
                self.ended.insert(old, Some(new));
                let (since, since_ms) = (entry.index, entry.time_ms);
                self.active.insert(new, Member { device: new, since, since_ms, ..member });
            }
        }
        Ok(())
    }

    fn insert(&mut self, device: DeviceId, name: &str, entry: &Entry) {
        let (since, since_ms, added_by) = (entry.index, entry.time_ms, entry.actor);
        let member = Member { device, name: name.to_owned(), added_by, since, since_ms };
        self.active.insert(device, member);
    }

    fn need(&self, device: &DeviceId) -> Result<(), LogError> {
        if self.has(device) { Ok(()) } else { Err(LogError::NotMember(*device)) }
    }

    fn need_fresh(&self, device: &DeviceId) -> Result<(), LogError> {
        if self.has(device) {
            Err(LogError::Present(*device))
        } else if self.has_ended(device) {
            Err(LogError::Ended(*device))
        } else {
            Ok(())
        }
    }
}
