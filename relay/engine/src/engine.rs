//! The engine: one shard's whole state.

mod admission;
mod audit;
mod cells;
mod closing;
mod delivery;
mod egress;
mod memory;
mod pairing;
mod requests;
mod timing;

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use hashbrown::HashMap;
use hushwire_wire::cell::Class;
use hushwire_wire::id::{AccountId, DeviceId, RelayId};
use hushwire_wire::limits::NAME_BYTES_MAX;

use self::delivery::{Queuing, Refusal};
pub use self::memory::MemoryLine;
use self::pairing::Rendezvous;
use self::requests::{Pending, Usage};
use crate::absent::Absent;
use crate::bounded::Bounded;
use crate::command::Command;
use crate::connection::{Connection, Memory};
use crate::counters::Counters;
use crate::devices::Devices;
use crate::hash::{TableKey, home_of};
use crate::id::{ConnId, ShardId, Ticket};
use crate::limits::{
    ACCOUNTS_COUNTED_MAX, EngineLimits, PERMITS_MAX, REMEMBERED_MAX, RENDEZVOUS_MAX,
    SEALED_CONTROL_RESERVE_BYTES, sealed_len,
};
use crate::port::PortMessage;
use crate::queue::Pool;
use crate::random::SplitMix64;
use crate::rate::{Sources, Tariff};
use crate::slab::Slab;
use crate::time::Time;
use crate::wheel::Wheel;

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
    /// Connection IDs of QUIC in a WELCOME: the engine leaves room for so many, and the I/O layer draws them.
    pub quic_ids: usize,
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
    connections: Slab<Connection>,
    tariff: Tariff,
    /// Bytes of a sealed stage that routed cells may fill.
    sealed_cells_max: u32,
    counters: Counters,
    /// The cell of the last verdict, while the I/O layer puts it into a slot.
    queuing: Option<Queuing>,
    devices: Devices,
    pool: Pool,
    wheel: Wheel,
    commands: VecDeque<Command>,
    config: Config,
    table_key: TableKey,
    random: SplitMix64,
    sources: Sources,
    unauthenticated: u32,
    /// Grants in the rows of all members.
    grants_held: usize,
    /// Control messages in all backlogs.
    backlogged: usize,
    /// Connections whose backlog was full when one more message came.
    overflowed: VecDeque<ConnId>,
    absent: Absent,
    pending: HashMap<Ticket, Pending, TableKey>,
    /// Of `pending`, those that are operations of members.
    operations_pending: usize,
    tickets: u64,
    accounts: Bounded<AccountId, Usage>,
    rendezvous: Bounded<[u8; 16], Rendezvous>,
    /// Cells left, by recipient and sender.
    permits: Bounded<(DeviceId, DeviceId), u32>,
    remembered: Bounded<DeviceId, Memory>,
    refusals: Vec<Refusal>,
    refusals_due: Option<Time>,
    /// When each slotted connection is due; entries that no longer hold are skipped.
    slots: BinaryHeap<Reverse<(Time, ConnId)>>,
    slotted: usize,
    /// While draining: the next index to be told to go.
    draining: Option<u32>,
    sweep_at: Time,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with no connections. Its tables of connections and devices take their full size now.
    ///
    /// # Panics
    /// If `shards` is zero, `shard` is not below it, a rate is zero, the region is longer than a name may
    /// be, or the sealed stage cannot hold the largest cell.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let limits = config.limits;
        assert!(config.shard.0 < config.shards, "a shard's number is below their count");
        assert!(
            limits.handshakes_per_s > 0 && limits.cells_per_s > 0 && limits.bytes_per_s > 0,
            "a rate of zero admits nobody"
        );
        assert!(config.region.len() <= NAME_BYTES_MAX, "a region's name fits a welcome");
        let sealed_cells_max = limits.sealed_bytes_max.saturating_sub(SEALED_CONTROL_RESERVE_BYTES);
        assert!(
            sealed_len(Class::C7) <= sealed_cells_max,
            "the largest cell fits the sealed stage"
        );
        let key = TableKey::new(&config.table_key);
        Self {
            connections: Slab::new(limits.connections_max),
            tariff: Tariff::new(&limits),
            sealed_cells_max,
            counters: Counters::default(),
            queuing: None,
            devices: Devices::new(limits.connections_max, key),
            pool: Pool::new(limits.egress_pool_bytes, limits.egress_bytes_max, key),
            wheel: Wheel::new(limits.connections_max),
            commands: VecDeque::new(),
            table_key: key,
            random: SplitMix64::new(config.seed),
            sources: Sources::new(limits.handshakes_per_s),
            unauthenticated: 0,
            grants_held: 0,
            backlogged: 0,
            overflowed: VecDeque::new(),
            absent: Absent::new(key),
            pending: HashMap::with_hasher(key),
            operations_pending: 0,
            tickets: 0,
            accounts: Bounded::new(ACCOUNTS_COUNTED_MAX, key),
            rendezvous: Bounded::new(RENDEZVOUS_MAX, key),
            permits: Bounded::new(PERMITS_MAX, key),
            remembered: Bounded::new(REMEMBERED_MAX, key),
            refusals: Vec::new(),
            refusals_due: None,
            slots: BinaryHeap::new(),
            slotted: 0,
            draining: None,
            sweep_at: Time::ZERO,
            config,
        }
    }

    /// The home shard of a device.
    #[must_use]
    pub fn home_of(&self, device: &DeviceId) -> ShardId {
        home_of(&self.config.home_key, self.config.shards, device)
    }

    /// The next thing to do. Poll until `None` after every input or small batch of them.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The device of a welcomed connection.
    #[must_use]
    pub fn device_of(&self, conn: ConnId) -> Option<&DeviceId> {
        self.connections.get(conn)?.member().map(|member| &member.device)
    }

    /// Connections of this shard, those that are closing included. A drained engine has none.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The relay's clock was set: milliseconds since 1970-01-01 UTC at [`Time::ZERO`].
    pub fn set_unix_ms_at_zero(&mut self, unix_ms: u64) {
        self.config.unix_ms_at_zero = unix_ms;
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.len() as u64,
            unauthenticated: u64::from(self.unauthenticated),
            egress_pool_bytes: self.pool.bytes() as u64,
            egress_pool_bytes_high: self.pool.bytes_high() as u64,
            ..self.counters
        }
    }

    /// Another shard says something.
    pub fn handle_port(&mut self, message: PortMessage, now: Time) {
        match message {
            PortMessage::Undeliverable { origin, reason } => self.report(origin, reason, now),
            PortMessage::Request { asker, request } => self.begin(asker, request, now),
            PortMessage::Rendezvous { asker, tag, open_ttl_s } => {
                self.meet(asker, tag, open_ttl_s, now);
            }
            PortMessage::Paired { device, other, tag, until, joiner } => {
                self.paired(device, other, tag, until, joiner, now);
            }
            PortMessage::Answer { asker, control, effect } => {
                self.finish(asker, control, effect, now);
            }
            PortMessage::Revoked { device } => self.revoke(&device, now),
        }
    }

    /// Says something to a shard, which may be this one.
    fn post(&mut self, to: ShardId, message: PortMessage, now: Time) {
        if to == self.config.shard {
            self.handle_port(message, now);
        } else {
            self.commands.push_back(Command::Post { to, message });
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }
}
