//! A verified chain of entries: every one stands on the hash of the one before and was signed by who might.

use super::codec::Reader;
use super::entry::{AccountLogId, Entry, EntryHash, Operation};
use super::error::LogError;
use super::limits::ENTRIES_MAX;
use super::members::Members;

/// Entries from the genesis on; never empty.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    id: AccountLogId,
    entries: Vec<Entry>,
    hashes: Vec<EntryHash>,
    members: Members,
}

impl Chain {
    /// Begins with a genesis that was signed.
    pub(super) fn new(genesis: Entry) -> Result<Self, LogError> {
        let first = genesis.index == 0 && genesis.log == [0; 32] && genesis.before == [0; 32];
        if !first || !matches!(genesis.operation, Operation::Genesis { .. }) {
            return Err(LogError::Broken(0));
        }
        genesis.verify()?;
        let hash = genesis.hash();
        let id = AccountLogId(hash);
        let mut members = Members::default();
        members.apply(&id, &genesis)?;
        Ok(Self { id, entries: vec![genesis], hashes: vec![hash], members })
    }

    /// Appends an entry that stands on the head.
    pub(super) fn push(&mut self, entry: Entry) -> Result<(), LogError> {
        let (index, before) = self.next();
        if self.entries.len() >= ENTRIES_MAX {
            return Err(LogError::EntriesFull);
        }
        if entry.log != self.id.0 {
            return Err(LogError::OtherLog);
        }
        if entry.index != index || entry.before != before {
            return Err(LogError::Broken(index));
        }
        if matches!(entry.operation, Operation::Genesis { .. }) {
            return Err(LogError::Broken(index));
        }
        entry.verify()?;
        self.members.apply(&self.id, &entry)?;
        self.hashes.push(entry.hash());
        self.entries.push(entry);
        Ok(())
    }

    /// The first `length` entries, which were verified before.
    pub(super) fn cut(&self, length: usize) -> Self {
        let (entries, hashes) = (self.entries[..length].to_vec(), self.hashes[..length].to_vec());
        let mut members = Members::default();
        for entry in &entries {
            members.apply(&self.id, entry).expect("the entries were applied before");
        }
        Self { id: self.id, entries, hashes, members }
    }

    pub(super) const fn id(&self) -> AccountLogId {
        self.id
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn hashes(&self) -> &[EntryHash] {
        &self.hashes
    }

    pub(super) const fn members(&self) -> &Members {
        &self.members
    }

    /// Index of the next entry and the hash it stands on.
    pub(super) fn next(&self) -> (u32, EntryHash) {
        let index = u32::try_from(self.entries.len()).expect("a log has at most 1 024 entries");
        (index, *self.hashes.last().expect("a log has a genesis"))
    }
}

/// Entries one behind the other, at most `max`; only their layout is checked.
pub(super) fn read_entries(bytes: &[u8], max: usize) -> Result<Vec<Entry>, LogError> {
    let mut reader = Reader(bytes);
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        if entries.len() >= max {
            return Err(LogError::EntriesFull);
        }
        entries.push(Entry::read(&mut reader)?);
    }
    Ok(entries)
}

pub(super) fn write_entries(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.bytes().len()).sum());
    for entry in entries {
        bytes.extend_from_slice(entry.bytes());
    }
    bytes
}
