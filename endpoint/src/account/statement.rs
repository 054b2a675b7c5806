//! The statement by which a device's key is replaced: signed by the old key and by the new one (annex A.8).

use std::fmt;

use hushwire_wire::id::DeviceId;

use super::codec::Reader;
use crate::identity::{ForeignSignature, Identity, SIGNATURE_LEN, verify};
use crate::suite::kdf::expand;
use crate::suite::keys::PairKey;

/// Length of a statement in bytes.
pub const STATEMENT_LEN: usize = SIGNED_LEN + 2 * SIGNATURE_LEN;

const SIGNED_LEN: usize = 8 + 8 + 32 + 32;
const VERSION: u8 = 1;
const OLD: &str = "hushwire/1 rotate";
const NEW: &str = "hushwire/1 rotate new";

/// "My key was `old` and is `new`": signed by both, the new one's signature over the old one's as well. A value of this
/// type has been verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    old: DeviceId,
    new: DeviceId,
    time_ns: u64,
    old_signature: [u8; SIGNATURE_LEN],
    new_signature: [u8; SIGNATURE_LEN],
}

/// Why bytes are no statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The layout is not that of annex A.8.
    #[error("the key rotation is not laid out as one; upgrade the older of both devices")]
    Malformed,
    /// Not signed by both keys.
    #[error("the key rotation is not signed by the keys it names: it was forged or damaged")]
    Unsigned,
}

impl From<ForeignSignature> for StatementError {
    fn from(_: ForeignSignature) -> Self {
        Self::Unsigned
    }
}

impl Statement {
    /// Replaces the key of `old` by that of `new`, at a unix time in nanoseconds.
    ///
    /// # Panics
    /// Where both are the same identity.
    #[must_use]
    pub fn sign(old: &Identity, new: &Identity, time_ns: u64) -> Self {
        let (old_id, new_id) = (old.device_id(), new.device_id());
        assert_ne!(old_id, new_id, "a key is replaced by another one");
        let signed = signed(&old_id, &new_id, time_ns);
        let old_signature = old.sign(OLD, &[&signed]);
        let new_signature = new.sign(NEW, &[&signed, &old_signature]);
        Self { old: old_id, new: new_id, time_ns, old_signature, new_signature }
    }

    /// The device as it was known.
    #[must_use]
    pub const fn old(&self) -> DeviceId {
        self.old
    }

    /// The device as it is to be known.
    #[must_use]
    pub const fn new_device(&self) -> DeviceId {
        self.new
    }

    /// Whether it speaks of this device, as it was or is to be.
    pub(crate) fn is_of(&self, device: &DeviceId) -> bool {
        self.old == *device || self.new == *device
    }

    /// When it was signed, unix ns, by the device's own clock.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; STATEMENT_LEN] {
        let mut bytes = [0; STATEMENT_LEN];
        bytes[..SIGNED_LEN].copy_from_slice(&signed(&self.old, &self.new, self.time_ns));
        bytes[SIGNED_LEN..SIGNED_LEN + SIGNATURE_LEN].copy_from_slice(&self.old_signature);
        bytes[SIGNED_LEN + SIGNATURE_LEN..].copy_from_slice(&self.new_signature);
        bytes
    }

    /// Reads and verifies.
    ///
    /// # Errors
    /// [`StatementError`], the fault of whoever sent it.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let parse = || {
            let mut reader = Reader(bytes);
            let head: [u8; 8] = reader.array()?;
            let time_ns = u64::from_le_bytes(reader.array()?);
            let (old, new) = (reader.device()?, reader.device()?);
            let (old_signature, new_signature) = (reader.array()?, reader.array()?);
            let fits = head == [VERSION, 0, 0, 0, 0, 0, 0, 0] && old != new && reader.0.is_empty();
            fits.then_some(Self { old, new, time_ns, old_signature, new_signature })
        };
        let statement = parse().ok_or(StatementError::Malformed)?;
        let signed = signed(&statement.old, &statement.new, statement.time_ns);
        verify(&statement.old, OLD, &[&signed], &statement.old_signature)?;
        let parts: [&[u8]; 2] = [&signed, &statement.old_signature];
        verify(&statement.new, NEW, &parts, &statement.new_signature)?;
        Ok(statement)
    }

    /// The key of a pair whose one end this statement replaces. Both ends derive the same one, and nobody the old
    /// one from it.
    #[must_use]
    pub fn next_pair_key(&self, pair_key: &PairKey) -> PairKey {
        let mut context = [0; 64];
        context[..32].copy_from_slice(self.old.as_bytes());
        context[32..].copy_from_slice(self.new.as_bytes());
        PairKey::new(*expand(pair_key.as_bytes(), "hw1 rotate", &context))
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({:?} → {:?})", self.old, self.new)
    }
}

fn signed(old: &DeviceId, new: &DeviceId, time_ns: u64) -> [u8; SIGNED_LEN] {
    let mut bytes = [0; SIGNED_LEN];
    bytes[0] = VERSION;
    bytes[8..16].copy_from_slice(&time_ns.to_le_bytes());
    bytes[16..48].copy_from_slice(old.as_bytes());
    bytes[48..80].copy_from_slice(new.as_bytes());
    bytes
}
