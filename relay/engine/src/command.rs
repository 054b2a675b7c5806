//! What the engine says to the I/O layer.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use hushwire_wire::cell::{Class, LaneCounters};
use hushwire_wire::control::{Control, CoverMode, Transport};
use hushwire_wire::id::DeviceId;

use crate::id::{ConnId, KeyId, ShardId, Slot, Ticket};
use crate::port::{Envelope, PortMessage};
use crate::store::StoreQuestion;
use crate::time::Time;

/// Where a cell goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To a connection of this shard.
    Forward {
        /// The recipient.
        to: ConnId,
        /// How.
        stage: Stage,
    },
    /// To another shard's inbox. If that is full: [`Engine::handle_port_full`].
    ///
    /// [`Engine::handle_port_full`]: crate::Engine::handle_port_full
    Port {
        /// The recipient's home.
        to: ShardId,
        /// What goes with the cell.
        envelope: Envelope,
    },
    /// Its body is for the relay: decode it and call [`Engine::handle_hello`],
    /// [`Engine::handle_control`] or [`Engine::handle_malformed_control`].
    ///
    /// [`Engine::handle_hello`]: crate::Engine::handle_hello
    /// [`Engine::handle_control`]: crate::Engine::handle_control
    /// [`Engine::handle_malformed_control`]: crate::Engine::handle_malformed_control
    ReadControl,
    /// Nowhere. Whoever must hear of it hears of it.
    Drop,
    /// Nowhere, and nothing more is to be read from this connection. The last words and
    /// [`Command::Close`] follow as commands.
    Close(Why),
}

/// How a cell leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Seal it now into the recipient's output. Its bytes are already charged
    /// ([`EngineLimits::sealed_len`]).
    ///
    /// [`EngineLimits::sealed_len`]: crate::EngineLimits::sealed_len
    Sealed,
    /// Copy it into a pooled slot and call [`Engine::handle_queued`] before anything else.
    ///
    /// [`Engine::handle_queued`]: crate::Engine::handle_queued
    Queued,
}

/// A plaintext cell that waits in the I/O layer's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it is.
    pub slot: Slot,
    /// The key it is wrapped with, if any.
    pub wrapped: Option<KeyId>,
}

/// What a connection sends next. The bytes are charged when it is handed out; the counter is given when
/// it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// A control message.
    Control(Control),
    /// A queued cell; its slot is free again once it is sealed.
    Real(Stored),
    /// Random bytes of this class, lane 0.
    Cover(Class),
    /// Nothing now.
    Nothing,
}

/// Something the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Seal this control message into the connection's output. Its bytes are already charged.
    Send {
        /// To whom.
        conn: ConnId,
        /// What.
        control: Control,
    },
    /// Close this connection and call [`Engine::handle_closed`] when it is gone. The second one for the
    /// same connection, if any, has `after_flush` false: the peer took too long.
    ///
    /// [`Engine::handle_closed`]: crate::Engine::handle_closed
    Close {
        /// Which.
        conn: ConnId,
        /// Whether sealed output is to be sent first.
        after_flush: bool,
        /// For counters and debug logs; the peer has been told what it needs.
        why: Why,
    },
    /// Move this connection to its home, which gets [`Engine::handle_hand_over`]. Its ID is already stale.
    ///
    /// [`Engine::handle_hand_over`]: crate::Engine::handle_hand_over
    HandOver {
        /// Which.
        conn: ConnId,
        /// Its home.
        to: ShardId,
        /// What the engine there must know.
        handed: Box<HandedOver>,
    },
    /// Ask the store; the answer comes by [`Engine::handle_store`].
    ///
    /// [`Engine::handle_store`]: crate::Engine::handle_store
    AskStore {
        /// To be returned.
        ticket: Ticket,
        /// What.
        question: StoreQuestion,
    },
    /// Post this to another shard's control inbox.
    Post {
        /// Where.
        to: ShardId,
        /// What.
        message: PortMessage,
    },
    /// The cell in this slot will not be sent: the slot is free again.
    Release(Slot),
    /// A person should know.
    Alarm(Alarm),
}

/// Something an operator should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Connections of one device displace each other: two machines share its keys, or somebody stole
    /// them.
    Displacements {
        /// Whose.
        device: DeviceId,
        /// How often in the last ten minutes.
        count: u32,
    },
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The peer broke the protocol.
    Malformed,
    /// The proof, the device or its token was not accepted.
    Unauthenticated,
    /// It did not introduce itself in time.
    Deadline,
    /// Nothing was heard for the idle time.
    Idle,
    /// A newer connection of the device won.
    Superseded,
    /// The device was revoked.
    Revoked,
    /// The relay is stopping.
    Draining,
    /// It does not read what it is told.
    Backlog,
    /// The store cannot answer, or a table is full: try again.
    Busy,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turned {
    /// Too many handshakes from its address.
    Source,
    /// Too many connections that have not introduced themselves.
    Unauthenticated,
    /// Too many connections.
    Full,
    /// The relay is stopping.
    Draining,
}

/// A HELLO whose proof and version the I/O layer has verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Who it is.
    pub device: DeviceId,
    /// How it came.
    pub transport: Transport,
    /// Cover asked for.
    pub cover: CoverMode,
    /// An invite's secret (16 bytes), if any.
    pub token: Option<Vec<u8>>,
    /// A name for people.
    pub name: Option<String>,
    /// Software and version.
    pub software: String,
}

impl core::fmt::Debug for Introduction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Introduction")
            .field("device", &self.device)
            .field("transport", &self.transport)
            .field("token", &self.token.as_ref().map(|_| "present"))
            .finish_non_exhaustive()
    }
}

/// What goes with a connection to its home shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOver {
    /// Who it is.
    pub introduction: Introduction,
    /// The counters expected next of it.
    pub received: LaneCounters,
    /// Bytes sealed for it that are not yet drained.
    pub sealed_bytes: u32,
    /// When it must be welcome: moving gives it no more time.
    pub deadline: Time,
}
