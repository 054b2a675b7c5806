//! The engine: one shard's whole state.

use alloc::collections::VecDeque;
use alloc::string::String;

use hushwire_wire::cell::{Class, Header, HeaderError};
use hushwire_wire::control::{Control, ControlError, ErrorCode};
use hushwire_wire::id::{DeviceId, RelayId};

use crate::audit::Audit;
use crate::command::{Command, Egress, HandedOver, Introduction, Stored, Turned, Verdict};
use crate::counters::Counters;
use crate::hash::home_of;
use crate::id::{ConnId, ShardId, SourcePrefix, Ticket};
use crate::limits::EngineLimits;
use crate::port::{Envelope, PortMessage};
use crate::store::StoreAnswer;
use crate::time::Time;

/// What an engine is told once.
#[derive(Clone)]
pub struct Config {
    /// Which shard this is.
    pub shard: ShardId,
    /// Shards in all, at least 1.
    pub shards: u16,
    /// Places devices on shards; the same for all shards of a relay, kept in the store.
    pub home_key: [u8; 16],
    /// Places devices in this shard's tables; fresh at every start.
    pub table_key: [u8; 16],
    /// Which relay this is.
    pub relay: RelayId,
    /// The operator's name for the place, for WELCOME.
    pub region: String,
    /// Bounds.
    pub limits: EngineLimits,
    /// Seed of jitter; nothing secret comes from it.
    pub seed: u64,
    /// Milliseconds since 1970-01-01 UTC at [`Time::ZERO`].
    pub unix_ms_at_zero: u64,
}

impl core::fmt::Debug for Config {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Config")
            .field("shard", &self.shard)
            .field("shards", &self.shards)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Constant cover for one connection: every `interval_nanos` one slot of the class's size, filled
/// exactly with whole cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Size of a slot, at least [`crate::limits::SLOT_CLASS_MIN`].
    pub class: Class,
    /// Time between two slots in nanoseconds, above zero.
    pub interval_nanos: u64,
}

/// One shard's whole state.
pub struct Engine {
    config: Config,
    commands: VecDeque<Command>,
    counters: Counters,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

#[expect(unused_variables, reason = "signatures first")]
impl Engine {
    /// An engine with no connections. Its tables take their full size now.
    ///
    /// # Panics
    /// If `shards` is zero, `shard` is not below it, or a limit is zero.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, commands: VecDeque::new(), counters: Counters::default() }
    }

    /// The home shard of a device.
    #[must_use]
    pub fn home_of(&self, device: &DeviceId) -> ShardId {
        home_of(&self.config.home_key, self.config.shards, device)
    }

    /// A connection is there, before or after its TLS handshake. It must be welcomed within
    /// [`EngineLimits::unauthenticated_ms_max`].
    ///
    /// # Errors
    /// Why it is not taken: close it.
    pub fn handle_accept(&mut self, source: SourcePrefix, now: Time) -> Result<ConnId, Turned> {
        Err(Turned::Full)
    }

    /// A connection has introduced itself, and its proof, version and relay ID are right. Answered by
    /// commands: a hand-over, or a question to the store and then WELCOME or ERROR and close.
    pub fn handle_hello(&mut self, conn: ConnId, introduction: Introduction, now: Time) {}

    /// A connection has introduced itself to another shard, but lives here.
    ///
    /// # Errors
    /// Why it is not taken: close it.
    pub fn handle_hand_over(&mut self, handed: HandedOver, now: Time) -> Result<ConnId, Turned> {
        Err(Turned::Full)
    }

    /// A connection that the I/O layer does not let in (a wrong proof, version or relay): sends the
    /// error, then closes.
    pub fn refuse(&mut self, conn: ConnId, code: ErrorCode, sentence: &str, now: Time) {}

    /// The store has answered. A ticket whose connection is gone is ignored.
    ///
    /// # Panics
    /// If the answer is of another kind than its question.
    pub fn handle_store(&mut self, ticket: Ticket, answer: StoreAnswer, now: Time) {}

    /// The connection is gone: by its peer, by the network or by [`Command::Close`]. Its queued cells
    /// are reported to their senders and their slots released. A stale ID is ignored.
    pub fn handle_closed(&mut self, conn: ConnId, now: Time) {}

    /// A cell has arrived whole, and its header was well formed.
    pub fn handle_cell(&mut self, conn: ConnId, header: &Header, now: Time) -> Verdict {
        Verdict::Drop
    }

    /// A cell's header was not well formed: tells the peer, then closes.
    pub fn handle_malformed_cell(&mut self, conn: ConnId, error: HeaderError, now: Time) {}

    /// A cell has come from another shard.
    pub fn handle_arrival(&mut self, envelope: &Envelope, now: Time) -> Verdict {
        Verdict::Drop
    }

    /// The inbox a verdict named was full: the sender hears `busy`.
    pub fn handle_port_full(&mut self, envelope: &Envelope, now: Time) {}

    /// The body of a control cell ([`Verdict::ReadControl`]) that is not a HELLO.
    pub fn handle_control(&mut self, conn: ConnId, control: Control, now: Time) {}

    /// The body of a control cell was not understood: answered where the operation is only unknown,
    /// else the end of the connection.
    pub fn handle_malformed_control(&mut self, conn: ConnId, error: ControlError, now: Time) {}

    /// The cell of the last verdict, with [`Stage::Queued`](crate::Stage::Queued) for `to`, now waits in
    /// a slot.
    ///
    /// # Panics
    /// If the last verdict was another.
    pub fn handle_queued(&mut self, to: ConnId, stored: Stored, now: Time) {}

    /// The cell of the last verdict should have been queued, but there was no slot: its sender hears
    /// `busy`.
    ///
    /// # Panics
    /// If the last verdict was another.
    pub fn handle_unqueued(&mut self, to: ConnId, now: Time) {}

    /// The I/O layer has sealed bytes of its own for this connection (CHALLENGE, tickets, alerts,
    /// KeyUpdate): they count in its sealed stage.
    pub fn handle_sealed(&mut self, conn: ConnId, bytes: u32) {}

    /// So many sealed bytes have left. True if [`Engine::poll_egress`] has something to seal.
    ///
    /// # Panics
    /// If more left than was sealed.
    pub fn handle_drained(&mut self, conn: ConnId, bytes: u32, now: Time) -> bool {
        false
    }

    /// What to seal next for this connection; call until [`Egress::Nothing`].
    pub fn poll_egress(&mut self, conn: ConnId, now: Time) -> Egress {
        Egress::Nothing
    }

    /// Serves this connection by slots from now on, the first one an interval from now, or no longer.
    ///
    /// # Panics
    /// If the class is below [`crate::limits::SLOT_CLASS_MIN`] or the interval is zero.
    pub fn set_slots(&mut self, conn: ConnId, slots: Option<Slots>, now: Time) {}

    /// A connection whose slot is due: call [`Engine::poll_egress`] until [`Egress::Nothing`], seal all of
    /// it as one unit (`slot + 22` bytes, one record), and come back until `None`.
    pub fn poll_slots(&mut self, now: Time) -> Option<ConnId> {
        None
    }

    /// Another shard says something.
    pub fn handle_port(&mut self, from: ShardId, message: PortMessage, now: Time) {}

    /// A device of this shard or another was revoked by the operator; its connection ends.
    pub fn revoke(&mut self, device: &DeviceId, now: Time) {}

    /// When [`Engine::handle_timeout`] or [`Engine::poll_slots`] next has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// Does what is due: deadlines, idle connections, refusals.
    pub fn handle_timeout(&mut self, now: Time) {}

    /// Tells every device to go and takes no more connections.
    pub fn drain(&mut self, now: Time) {}

    /// The next thing to do. Poll until `None` after every input or small batch of them.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The device of a welcomed connection.
    #[must_use]
    pub fn device_of(&self, conn: ConnId) -> Option<&DeviceId> {
        None
    }

    /// The relay's clock was set: milliseconds since 1970-01-01 UTC at [`Time::ZERO`].
    pub fn set_unix_ms_at_zero(&mut self, unix_ms: u64) {
        self.config.unix_ms_at_zero = unix_ms;
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts everything anew and checks that the engine agrees with itself.
    ///
    /// # Panics
    /// If it does not: a bug of the engine.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::default()
    }
}
