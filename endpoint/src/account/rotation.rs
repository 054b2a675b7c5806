//! A device's way to a new key, step by step; each is safe to take again after a crash.
//!
//! ```text
//! prepared ──── the new key is on the disk, nobody has heard of it
//!    │ the old device registers the new one at the relay
//! registered ── peers are told, each in its session, and acknowledge
//!    │ the device switches: what it must not lose was written first
//! switched ──── it is the new device; the old one is revoked at the relay
//!    │
//! (no rotation)
//! ```

use std::fmt;

use hushwire_wire::id::DeviceId;

use super::statement::Statement;
use crate::identity::Identity;
use crate::keystore::KeystoreError;

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The new key exists. The relay does not know it; this can still be called off.
    Prepared,
    /// The relay lets the new device in. Peers are being told.
    Registered,
    /// This is the new device. The relay is to revoke the old one.
    Switched,
}

/// A rotation under way. The secret of the new key is part of it.
pub struct Rotation {
    pub(crate) statement: Statement,
    pub(crate) new: Identity,
    pub(crate) phase: Phase,
}

impl Rotation {
    /// What peers are told.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Who this device will be, or is since it has switched.
    #[must_use]
    pub const fn new_identity(&self) -> &Identity {
        &self.new
    }

    /// How far it has come.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The same, further on.
    pub(crate) fn in_phase(&self, phase: Phase) -> Self {
        let new = Identity::from_secret(&self.new.secret());
        Self { statement: self.statement, new, phase }
    }

    /// Whether a peer that replaces its own key at the same time has to wait for this device: the smaller old ID goes
    /// first, and who has acknowledged ours can only speak with the new device. The order of two rotations changes the
    /// key that both derive.
    pub(crate) fn goes_before(&self, peer: &DeviceId, acknowledged: bool) -> bool {
        match self.phase {
            Phase::Prepared | Phase::Switched => false,
            Phase::Registered => acknowledged || self.statement.old() < *peer,
        }
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rotation({:?}, {:?})", self.statement, self.phase)
    }
}

/// What became of a peer's statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repinned {
    /// The peer is known under its new key now.
    Now,
    /// It was before: the statement came twice.
    Before,
}

/// Why a rotation, of a peer or of this device, did not go on. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The statement's old device is not who has sent it, or no peer.
    #[error("a key rotation of device {0} came from somebody else; it is not believed")]
    NotThePeer(DeviceId),
    /// One old key, two new ones: the old key is in two hands.
    #[error(
        "device {old} has named {known} as its new key and now names {claimed}: its old key is in two hands. Pair with \
         it anew, in person if you can"
    )]
    Conflict {
        /// The old device.
        old: DeviceId,
        /// Its new key, as it is pinned.
        known: DeviceId,
        /// What was refused.
        claimed: DeviceId,
    },
    /// The new key is one that was replaced, or is in use already.
    #[error("device {0} was replaced or is known already; a key rotation cannot lead to it")]
    Used(DeviceId),
    /// Both ends rotate at once; the other one is first.
    #[error("this device replaces its own key at present; the peer's new key is taken afterwards")]
    Later,
    /// A peer has changed its key too often, or all peers together.
    #[error("too many keys were replaced: pair with the device anew")]
    TooMany,
    /// There is one already.
    #[error("this device's key is being replaced already; finish that first")]
    UnderWay,
    /// There is none, or it has not come so far, or too far.
    #[error("this device's key is not being replaced, or not at that point")]
    NotThere,
    /// The keystore says why.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}
