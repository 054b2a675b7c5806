//! What this device itself has signed: never two entries on one parent, and what was lost with a branch is signed again.

use std::collections::BTreeSet;

use hushwire_wire::id::DeviceId;

use super::chain::Chain;
use super::entry::{Entry, Operation};
use super::error::LogError;
use super::limits::{ENTRIES_MAX, SIGNED_MAX};
use crate::identity::Identity;

/// This device's part in branches that lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// To be signed again once that is possible, oldest first.
    waiting: Vec<Operation>,
    /// Signed on parents whose branches lost, newest last. Should such a parent be the head again, they are taken up
    /// as they are: a second entry on it would look like a device that signs two logs.
    signed: Vec<Entry>,
}

impl Own {
    pub(super) const fn restore(waiting: Vec<Operation>, signed: Vec<Entry>) -> Self {
        Self { waiting, signed }
    }

    pub(super) fn waiting(&self) -> &[Operation] {
        &self.waiting
    }

    pub(super) fn signed(&self) -> &[Entry] {
        &self.signed
    }

    /// Signs an operation on the head.
    pub(super) fn sign(
        &mut self,
        chain: &mut Chain,
        identity: &Identity,
        operation: &Operation,
        now_ms: u64,
    ) -> Result<(), LogError> {
        loop {
            let (index, before) = chain.next();
            let signed = self
                .signed
                .iter()
                .find(|entry| entry.before == before && entry.actor() == identity.device_id());
            let Some(signed) = signed else {
                let (log, operation) = (chain.id().0, operation.clone());
                let place = (index, before);
                return chain.push(Entry::sign(identity, log, place, operation, now_ms));
            };
            chain.push(signed.clone())?;
            if signed.operation() == operation {
                return Ok(());
            }
        }
    }

    /// Entries that are no longer part of the log.
    pub(super) fn lose(&mut self, me: DeviceId, lost: &[Entry]) {
        let mut ours = BTreeSet::from([me]);
        for entry in lost.iter().rev() {
            if let Operation::Rotate(statement) = entry.operation()
                && ours.contains(&statement.new_device())
            {
                ours.insert(statement.old());
            }
        }
        for entry in lost.iter().filter(|entry| ours.contains(&entry.actor())) {
            if self.waiting.len() < ENTRIES_MAX && !self.waiting.contains(entry.operation()) {
                self.waiting.push(entry.operation().clone());
            }
            if !self.signed.contains(entry) {
                self.signed.push(entry.clone());
            }
        }
        let beyond = self.signed.len().saturating_sub(SIGNED_MAX);
        self.signed.drain(..beyond);
    }

    /// Signs again what can be, forgets what makes no sense any more.
    pub(super) fn resume(&mut self, chain: &mut Chain, identity: &Identity, now_ms: u64) {
        // One operation can make room for one before it, such as a new key for what it is to sign.
        loop {
            let (length, _) = chain.next();
            self.resume_once(chain, identity, now_ms);
            if chain.next().0 == length || self.waiting.is_empty() {
                return;
            }
        }
    }

    fn resume_once(&mut self, chain: &mut Chain, identity: &Identity, now_ms: u64) {
        for operation in std::mem::take(&mut self.waiting) {
            match fate(chain, &identity.device_id(), &operation) {
                Fate::Over => {}
                Fate::Waits => self.waiting.push(operation),
                Fate::Due => {
                    if self.sign(chain, identity, &operation, now_ms).is_err() {
                        self.waiting.push(operation);
                    }
                }
            }
        }
    }
}

enum Fate {
    Over,
    Waits,
    Due,
}

fn fate(chain: &Chain, me: &DeviceId, operation: &Operation) -> Fate {
    let members = chain.members();
    let known = |device: &DeviceId| members.has(device) || members.has_ended(device);
    match operation {
        Operation::Genesis { .. } => Fate::Over,
        Operation::Add { device, .. } if known(device) => Fate::Over,
        Operation::Remove { device } if members.has_ended(device) => Fate::Over,
        Operation::Remove { device } if !members.has(device) => Fate::Waits,
        Operation::Rotate(statement) if known(&statement.new_device()) => Fate::Over,
        Operation::Rotate(statement) if members.has_ended(&statement.old()) => Fate::Over,
        Operation::Rotate(statement) if !members.has(&statement.old()) => Fate::Waits,
        Operation::Rotate(_) => Fate::Due,
        Operation::Add { .. } | Operation::Remove { .. } if members.has_ended(me) => Fate::Over,
        Operation::Add { .. } | Operation::Remove { .. } if !members.has(me) => Fate::Waits,
        Operation::Add { .. } | Operation::Remove { .. } => Fate::Due,
    }
}
