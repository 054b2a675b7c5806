//! The handshake (annex A.3): SIGMA-I over X25519 and ML-KEM-768, salted with a pre-shared key.
//!
//! ```text
//! initiator                                   responder
//! Initiator::start  ──────── HS1 ───────▶  Responder::on_hs1
//! AwaitHs2::on_hs2  ◀─────── HS2 ────────  AwaitHs3
//!    = Established  ──────── HS3 ───────▶  AwaitHs3::on_hs3 = Established
//! ```
//!
//! Messages go in and out as contents: inside an [`OuterSeal`](super::seal::OuterSeal) of class 3, or, for the
//! renewal of a session, inside a HANDSHAKE frame. Each state is consumed by the message it waits for; a message
//! that is refused gives it back ([`Refused`]), since a replayed one must not end a handshake.

mod error;
mod initiator;
mod inspecting;
mod message;
mod responder;
mod schedule;
mod versions;

use std::fmt;

use hushwire_wire::cell::Class;
use hushwire_wire::id::DeviceId;

pub use error::{HandshakeError, Refused};
pub use initiator::{AwaitHs2, Initiator};
pub use responder::{AwaitHs3, Responder};
pub use schedule::SessionKeys;
pub use versions::Incompatible;

pub(crate) use inspecting::inspect_states;
pub(crate) use message::inspect;
pub(crate) use schedule::DirectionKeys;
pub(crate) use versions::{VERSIONS, answer as versions_answer};

use super::keys::{PairKey, Psk};
use super::{Minimum, Suite};
use schedule::Secrets;

/// What a side brings to a handshake beside its identity.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The peer, pinned: any other is refused by name.
    pub peer: DeviceId,
    /// What both share already.
    pub psk: Psk,
    /// The weakest suite that will do.
    pub minimum: Minimum,
    /// The largest class this side wants to receive.
    pub class_max: Class,
}

/// Which side of a handshake, and so of a session, a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sent HS1. Its streams have even numbers.
    Initiator,
    /// Answered it.
    Responder,
}

/// Of two handshakes that crossed, whether ours goes on: the one started by the smaller device ID does.
#[must_use]
pub fn ours_goes_on(ours: &DeviceId, peer: &DeviceId) -> bool {
    ours < peer
}

/// A handshake that both identities have signed.
pub struct Established {
    role: Role,
    suite: Suite,
    peer: DeviceId,
    peer_class_max: Class,
    time_ns: u64,
    secrets: Secrets,
}

impl Established {
    /// Which side this device was.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The suite both agreed on. After a hybrid one the pair stays at [`Minimum::Hybrid`].
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The peer, proven.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// The largest class the peer wants to receive.
    #[must_use]
    pub const fn peer_class_max(&self) -> Class {
        self.peer_class_max
    }

    /// The initiator's monotone time in HS1, unix nanoseconds: what both ends remember against replays.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// The keys of a session.
    #[must_use]
    pub fn session_keys(&self) -> SessionKeys {
        self.secrets.session_keys(self.role, self.suite)
    }

    pub(crate) fn pair_key(&self) -> PairKey {
        self.secrets.pair_key()
    }

    pub(crate) fn sas(&self) -> u32 {
        self.secrets.sas()
    }
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("role", &self.role)
            .field("suite", &self.suite)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
