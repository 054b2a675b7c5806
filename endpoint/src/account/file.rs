//! A log as it stands in the keystore: the entries, and what only this device knows of them.
//!
//! ```text
//! 0x01 ‖ entries ‖ other branch ‖ operations that wait ‖ entries signed ‖ devices refused ‖ SHA-256 of it all
//! ```
//!
//! Each part has its length in bytes (u32) in front; operations that wait are entries whose places mean nothing.

use super::chain::{read_entries, write_entries};
use super::codec::{Reader, put_length};
use super::entry::Entry;
use super::error::LogError;
use super::limits::{ENTRIES_MAX, REFUSED_MAX, SIGNED_MAX};
use super::log::{AccountLog, common, read_chain};
use super::own::Own;
use crate::suite::kdf::sha256;

const VERSION: u8 = 1;

impl AccountLog {
    /// What belongs on the disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let other = self.other.as_ref().map(|other| write_entries(other.entries()));
        let waiting: Vec<u8> = self.own.waiting().iter().flat_map(Entry::unplaced).collect();
        let refused: Vec<u8> = self.refused.iter().flat_map(|device| *device.as_bytes()).collect();
        for part in [
            write_entries(self.entries()),
            other.unwrap_or_default(),
            waiting,
            write_entries(self.own.signed()),
            refused,
        ] {
            put_length(&mut bytes, part.len());
            bytes.extend_from_slice(&part);
        }
        let sum = sha256(&[&bytes]);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// Reads what [`AccountLog::encode`] wrote and verifies every signature anew.
    ///
    /// # Errors
    /// [`LogError::Version`] where a newer version wrote it, else that the file is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let (line, sum) = bytes.split_last_chunk::<32>().ok_or(LogError::Malformed)?;
        if sha256(&[line]) != *sum {
            return Err(LogError::Malformed);
        }
        let mut reader = Reader(line);
        match reader.byte() {
            Some(VERSION) => {}
            Some(version) => return Err(LogError::Version(version)),
            None => return Err(LogError::Malformed),
        }
        let mut part = || {
            let length = reader.length().ok_or(LogError::Malformed)?;
            reader.take(length).ok_or(LogError::Malformed)
        };
        let (ours, other, waiting, signed, refused) = (part()?, part()?, part()?, part()?, part()?);
        if !reader.0.is_empty() {
            return Err(LogError::Malformed);
        }
        let chain = read_chain(ours)?;
        let other = if other.is_empty() { None } else { Some(Box::new(read_chain(other)?)) };
        if let Some(other) = &other {
            let shared = common(&chain, other);
            if shared == 0 || shared == chain.entries().len() || shared == other.entries().len() {
                return Err(LogError::Malformed);
            }
        }
        let waiting = read_entries(waiting, ENTRIES_MAX)?;
        let waiting = waiting.into_iter().map(|entry| entry.operation).collect();
        let own = Own::restore(waiting, read_entries(signed, SIGNED_MAX)?);
        let mut reader = Reader(refused);
        let mut refused = Vec::new();
        while !reader.0.is_empty() && refused.len() < REFUSED_MAX {
            refused.push(reader.device().ok_or(LogError::Malformed)?);
        }
        if !reader.0.is_empty() {
            return Err(LogError::Malformed);
        }
        let log = Self { chain, own, other, refused };
        if log.encode() == bytes { Ok(log) } else { Err(LogError::Malformed) }
    }
}
