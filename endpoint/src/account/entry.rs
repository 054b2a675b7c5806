//! One entry of an account log: its bytes (annex A.7), its hash, its signatures.

use std::fmt;

use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::NAME_BYTES_MAX;
use hushwire_wire::text::plain;

use super::codec::Reader;
use super::error::LogError;
use super::statement::{STATEMENT_LEN, Statement};
use crate::identity::{Identity, verify};
use crate::suite::kdf::sha256;

pub(super) use crate::identity::SIGNATURE_LEN;

/// The fields in front of what an operation has of its own.
pub(super) const HEAD_LEN: usize = 112;

const VERSION: u8 = 1;
const CONTEXT: &str = "hushwire/1 account";
const JOIN: &str = "hushwire/1 account join";

/// SHA-256 of an entry's bytes, its signature included.
pub type EntryHash = [u8; 32];

/// Which log: the hash of its first entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountLogId(pub [u8; 32]);

impl fmt::Debug for AccountLogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountLogId({:02x}{:02x})", self.0[0], self.0[1])
    }
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The first device begins the log.
    Genesis {
        /// Its name.
        name: String,
    },
    /// A member adds a device.
    Add {
        /// The new device.
        device: DeviceId,
        /// Its name, 0 to 64 bytes of plain text.
        name: String,
        /// Its own signature: that it holds its key and joins this very log.
        proof: Proof,
    },
    /// A member ends a member, itself perhaps, for good.
    Remove {
        /// The member.
        device: DeviceId,
    },
    /// A member goes on under a new key, whose entry this is.
    Rotate(Statement),
}

impl Operation {
    const fn code(&self) -> u8 {
        match self {
            Self::Genesis { .. } => 1,
            Self::Add { .. } => 2,
            Self::Remove { .. } => 3,
            Self::Rotate(_) => 4,
        }
    }
}

/// A new device's consent to join one log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub [u8; SIGNATURE_LEN]);

impl Proof {
    /// Signed by the device that is to be added, which holds `identity`.
    #[must_use]
    pub fn sign(identity: &Identity, log: &AccountLogId) -> Self {
        Self(identity.sign(JOIN, &[&log.0, identity.device_id().as_bytes()]))
    }

    pub(super) fn verify(&self, device: &DeviceId, log: &AccountLogId) -> Result<(), LogError> {
        verify(device, JOIN, &[&log.0, device.as_bytes()], &self.0).map_err(|_| LogError::Unsigned)
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// One entry. Its signatures have been verified where it is part of an [`AccountLog`](super::AccountLog).
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub(super) log: [u8; 32],
    pub(super) before: EntryHash,
    pub(super) index: u32,
    pub(super) time_ms: u64,
    pub(super) actor: DeviceId,
    pub(super) operation: Operation,
    bytes: Vec<u8>,
}

impl Entry {
    pub(super) fn sign(
        identity: &Identity,
        log: [u8; 32],
        (index, before): (u32, EntryHash),
        operation: Operation,
        time_ms: u64,
    ) -> Self {
        let actor = identity.device_id();
        let own = own_part(&operation);
        let mut bytes = Vec::with_capacity(HEAD_LEN + own.len() + SIGNATURE_LEN);
        let length = u16::try_from(own.len()).expect("an operation has at most 208 bytes");
        bytes.extend_from_slice(&[VERSION, operation.code()]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&time_ms.to_le_bytes());
        bytes.extend_from_slice(&log);
        bytes.extend_from_slice(&before);
        bytes.extend_from_slice(actor.as_bytes());
        bytes.extend_from_slice(&own);
        let signature = identity.sign(CONTEXT, &[&sha256(&[&bytes])]);
        bytes.extend_from_slice(&signature);
        Self { log, before, index, time_ms, actor, operation, bytes }
    }

    /// The entry at the front of `reader`. Only its layout is checked, and the signatures of a statement.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, LogError> {
        let all = reader.0;
        let entry = Self::parse(reader).ok_or(LogError::Malformed)??;
        let length = all.len() - reader.0.len();
        Ok(Self { bytes: all[..length].to_vec(), ..entry })
    }

    fn parse(reader: &mut Reader<'_>) -> Option<Result<Self, LogError>> {
        let [version, code] = reader.array()?;
        let length = usize::from(u16::from_le_bytes(reader.array()?));
        let index = u32::from_le_bytes(reader.array()?);
        let time_ms = u64::from_le_bytes(reader.array()?);
        let (log, before) = (reader.array()?, reader.array()?);
        let actor = reader.device()?;
        let mut own = Reader(reader.take(length)?);
        reader.take(SIGNATURE_LEN)?;
        if version != VERSION {
            return Some(Err(LogError::Version(version)));
        }
        let operation = match code {
            1 => Operation::Genesis { name: name(&mut own)? },
            2 => {
                let (device, proof) = (own.device()?, Proof(own.array()?));
                Operation::Add { device, proof, name: name(&mut own)? }
            }
            3 => Operation::Remove { device: own.device()? },
            4 => match Statement::decode(own.take(STATEMENT_LEN)?) {
                Ok(statement) => Operation::Rotate(statement),
                Err(_) => return Some(Err(LogError::Unsigned)),
            },
            _ => return None,
        };
        let entry = Self { log, before, index, time_ms, actor, operation, bytes: Vec::new() };
        own.0.is_empty().then_some(Ok(entry))
    }

    /// An operation without a place and a signature, for the disk only.
    pub(super) fn unplaced(operation: &Operation) -> Vec<u8> {
        let own = own_part(operation);
        let length = u16::try_from(own.len()).expect("an operation has at most 208 bytes");
        let mut bytes = vec![0; HEAD_LEN + own.len() + SIGNATURE_LEN];
        bytes[..2].copy_from_slice(&[VERSION, operation.code()]);
        bytes[2..4].copy_from_slice(&length.to_le_bytes());
        // A device of zeros is none.
        bytes[HEAD_LEN - 1] = 1;
        bytes[HEAD_LEN..HEAD_LEN + own.len()].copy_from_slice(&own);
        bytes
    }

    /// Checks the signature of the acting device.
    pub(super) fn verify(&self) -> Result<(), LogError> {
        let (signed, signature) =
            self.bytes.split_last_chunk().expect("an entry ends with its signature");
        verify(&self.actor, CONTEXT, &[&sha256(&[signed])], signature)
            .map_err(|_| LogError::Unsigned)
    }

    /// Where in the log it stands; the genesis is 0.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// When it was signed, unix ms, by the acting device's own clock.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Who signed it.
    #[must_use]
    pub const fn actor(&self) -> DeviceId {
        self.actor
    }

    /// What it does.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        sha256(&[&self.bytes])
    }

    /// By whose membership it exists: the acting device, or the one that a rotation replaces.
    pub(super) const fn authority(&self) -> DeviceId {
        match &self.operation {
            Operation::Genesis { .. } | Operation::Add { .. } | Operation::Remove { .. } => {
                self.actor
            }
            Operation::Rotate(statement) => statement.old(),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, {:?}, {:?})", self.index, self.actor, self.operation)
    }
}

fn own_part(operation: &Operation) -> Vec<u8> {
    match operation {
        Operation::Genesis { name } => name.as_bytes().to_vec(),
        Operation::Add { device, name, proof } => {
            [device.as_bytes(), &proof.0[..], name.as_bytes()].concat()
        }
        Operation::Remove { device } => device.as_bytes().to_vec(),
        Operation::Rotate(statement) => statement.encode().to_vec(),
    }
}

/// All that is left, as a name.
fn name(own: &mut Reader<'_>) -> Option<String> {
    let bytes = own.take(own.0.len())?;
    let text = std::str::from_utf8(bytes).ok()?;
    is_name(text).then(|| text.to_owned())
}

pub(super) fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && plain(text, NAME_BYTES_MAX) == text
}
