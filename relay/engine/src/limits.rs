//! Every bound of the engine, unit last. Those of the protocol itself stand in [`hushwire_wire::limits`].

use hushwire_wire::cell::Class;
use hushwire_wire::limits as wire;

/// Bytes a TLS 1.3 record adds to a cell: header 5, content type 1, tag 16 (RFC 8446 §5.2).
pub const RECORD_OVERHEAD_BYTES: u32 = 22;
/// Bytes sealed for the next sends of one connection: two of the largest cells, and what control messages have left. With
/// less, the second of two that come together would be copied into the queue and sealed from there.
pub const SEALED_BYTES_MAX: u32 = 72 * 1024;
/// The part of [`SEALED_BYTES_MAX`] that only control messages may use.
pub const SEALED_CONTROL_RESERVE_BYTES: u32 = 4 * 1024;
/// Control messages that wait for one connection; one more closes it.
pub const CONTROL_BACKLOG_MAX: usize = 256;
/// Control messages that wait on one shard; one more closes the connection it is for.
pub const CONTROL_BACKLOG_SHARD_MAX: usize = 64 * 1024;
/// The share of a device's queue that one sender may hold: one of so many parts.
pub const SENDER_SHARE_PARTS: u32 = 4;
/// Life of a connection whose last words are on their way.
pub const CLOSING_MS_MAX: u64 = 2_000;
/// Time a refusal needs to settle before the tick that answers it, so that a look into the store does
/// not show as one more tick.
pub const REFUSAL_SETTLE_MS: u64 = 50;
/// Life of an answer about an absent device.
pub const ABSENT_MS: u64 = 5_000;
/// Absent devices whose answers are kept.
pub const ABSENT_DEVICES_MAX: usize = 16 * 1024;
/// Senders whose answers are kept for one absent device.
pub const ABSENT_SENDERS_MAX: usize = 16;
/// Questions about absent devices that one shard has open.
pub const REACH_QUESTIONS_MAX: usize = 1_024;
/// Questions about absent devices that one sender has open.
pub const REACH_QUESTIONS_PER_SENDER_MAX: usize = 16;
/// Cells that wait for one such question.
pub const REACH_CELLS_MAX: usize = 32;
/// Requests of one shard that the store is working on.
pub const OPERATIONS_PENDING_MAX: usize = 4_096;
/// Admissions of one shard that the store is working on; their answers hold whole rows. One more is told
/// to come back.
pub const ADMISSIONS_PENDING_MAX: usize = 1_024;
/// Grants in the rows of all members of one shard; a device whose row does not fit is told to come back.
pub const GRANTS_HELD_MAX: usize = 1024 * 1024;
/// Sealed bytes that one connection may have although the pool of its shard is used up: a control message
/// where nothing else is under way, and a KeyUpdate.
pub const SEALED_BEYOND_POOL_BYTES: usize =
    sealed_len(SLOT_CLASS_MIN) as usize + sealed_len(Class::C0) as usize;
/// Accounts whose operations are counted at a time.
pub const ACCOUNTS_COUNTED_MAX: usize = 16 * 1024;
/// Rendezvous of one shard.
pub const RENDEZVOUS_MAX: usize = 8_192;
/// Pairs of devices on one shard that a pairing lets exchange cells.
pub const PERMITS_MAX: usize = 8_192;
/// Cells of a pairing that one of its two devices may receive: half of what both may exchange, so that
/// two homes need not agree on each.
pub const PERMIT_CELLS: u32 = wire::PAIR_CELLS_MAX / 2;
/// Devices of which something is remembered between two connections (refusals, displacements).
pub const REMEMBERED_MAX: usize = 16 * 1024;
/// The time over which displacements are counted.
pub const DISPLACEMENT_WINDOW_MS: u64 = 10 * 60 * 1_000;
/// Buckets in each of the two rows of the table of sources.
pub const SOURCE_BUCKETS: usize = 8 * 1024;
/// Commands one input can cause: the death of a connection whose queue is full of the smallest cells,
/// each one reported and released, beside a few for the connection itself.
pub const COMMANDS_PER_INPUT_MAX: usize = 2 * wire::EGRESS_BYTES_MAX / Class::C0.cell_len() + 1_024;
/// Commands after which [`Engine::handle_timeout`](crate::Engine::handle_timeout) takes a rest.
pub const COMMANDS_SOFT_MAX: usize = 1_024;
/// Refusals of one shard that wait for their tick; further ones meet silence.
pub const REFUSALS_WAITING_MAX: usize = 64 * 1024;
/// Time between two sweeps of what has passed its time.
pub const SWEEP_MS: u64 = 10_000;
/// Granularity of deadlines: one of the wheel's ticks, 2^26 ns.
pub const TICK_NANOS: u64 = 1 << 26;
/// Buckets of the wheel: its horizon is just above the idle time.
pub const WHEEL_BUCKETS: usize = 1_024;
/// The smallest slot of constant cover: any control message must fit.
pub const SLOT_CLASS_MIN: Class = Class::C2;

const _: () = assert!(SEALED_CONTROL_RESERVE_BYTES < SEALED_BYTES_MAX);
const _: () = assert!(
    2 * sealed_len(Class::C7) <= SEALED_BYTES_MAX - SEALED_CONTROL_RESERVE_BYTES,
    "the two largest cells that one receive brings fit the sealed stage together"
);
const _: () = assert!(
    CONTROL_BACKLOG_MAX as u32 >= wire::REFUSALS_PER_MINUTE * 4,
    "answering refusals must not close an honest connection"
);
const _: () = assert!(TICK_NANOS * WHEEL_BUCKETS as u64 > wire::IDLE_MS * 1_000_000);
const _: () = assert!(REFUSAL_SETTLE_MS * 2 < wire::REFUSAL_TICK_MS);
const _: () = assert!(PERMIT_CELLS * 2 <= wire::PAIR_CELLS_MAX);
const _: () = assert!(wire::EGRESS_BYTES_MAX as u32 / SENDER_SHARE_PARTS >= 8 * 32 * 1024);
const _: () = assert!(SOURCE_BUCKETS.is_power_of_two());

/// Bytes of the sealed stage that a cell of this class takes: one TLS record, two for the largest.
#[must_use]
pub const fn sealed_len(class: Class) -> u32 {
    let records = if class as u8 == Class::C7 as u8 { 2 } else { 1 };
    class.cell_len() as u32 + records * RECORD_OVERHEAD_BYTES
}

/// The bounds an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Connections of this shard, welcomed or not; its tables are sized for them at start.
    pub connections_max: u32,
    /// Connections that have not been welcomed.
    pub unauthenticated_max: u32,
    /// Handshakes a second of one source.
    pub handshakes_per_s: u32,
    /// Cells a second of one device.
    pub cells_per_s: u32,
    /// Bytes a second of one device.
    pub bytes_per_s: u64,
    /// The burst both allow.
    pub burst_s: u32,
    /// Bytes that may wait for one device.
    pub egress_bytes_max: u32,
    /// Bytes that may wait on this shard, queued and sealed ones together. What leaves the queue to be
    /// sealed may exceed it by its records' overhead, and each connection by
    /// [`SEALED_BEYOND_POOL_BYTES`].
    pub egress_pool_bytes: usize,
    /// Grants in the rows of all members.
    pub grants_max: usize,
    /// Bytes sealed for one connection.
    pub sealed_bytes_max: u32,
    /// Silence after which a connection is closed.
    pub idle_ms: u64,
    /// Time to introduce itself.
    pub unauthenticated_ms_max: u64,
    /// Operations a minute of one account.
    pub operations_per_minute: u32,
    /// PAIR_JOINs a minute of one account.
    pub pair_joins_per_minute: u32,
    /// First and last delay asked of devices when the relay stops.
    pub reconnect_after_ms: (u32, u32),
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            unauthenticated_max: wire::UNAUTHENTICATED_CONNECTIONS_MAX as u32,
            handshakes_per_s: wire::HANDSHAKES_PER_S,
            cells_per_s: wire::CELLS_PER_S,
            bytes_per_s: wire::BYTES_PER_S,
            burst_s: wire::BURST_S,
            egress_bytes_max: wire::EGRESS_BYTES_MAX as u32,
            egress_pool_bytes: 16 * wire::EGRESS_BYTES_MAX,
            grants_max: GRANTS_HELD_MAX,
            sealed_bytes_max: SEALED_BYTES_MAX,
            idle_ms: wire::IDLE_MS,
            unauthenticated_ms_max: wire::UNAUTHENTICATED_MS_MAX,
            operations_per_minute: wire::OPERATIONS_PER_MINUTE,
            pair_joins_per_minute: wire::PAIR_JOINS_PER_MINUTE,
            reconnect_after_ms: (500, 10_000),
        }
    }
}

impl EngineLimits {
    /// Bytes of the sealed stage that a cell of this class takes.
    #[must_use]
    pub const fn sealed_len(class: Class) -> u32 {
        sealed_len(class)
    }
}
