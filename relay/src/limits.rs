//! Every pool and queue with its number, and what they can take together.
//!
//! [`Limits`] comes from the configuration; what is not worth a key there is a constant here. A full
//! queue is a designed outcome, and admission stops before the [`Bill`] is exceeded.

use std::fmt;

use hushwire_wire::cell::Class;
use hushwire_wire::limits::{EGRESS_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX};

use crate::config::Config;
use crate::store;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The one buffer of a shard into which sockets are read and in which records are opened.
pub const SCRATCH_BYTES: usize = 64 * KIB;
/// The next send of one connection: a pooled buffer.
pub const OUTPUT_BUFFER_BYTES: usize = 64 * KIB;
/// Entries of a shard's submission queue.
pub const RING_ENTRIES: u32 = 4_096;
/// Entries of its completion queue.
pub const RING_COMPLETIONS: u32 = 4 * RING_ENTRIES;
/// Hand-overs, presence and revocations that may wait between two shards, in each direction.
pub const MESH_CONTROL_MAX: usize = 256;
/// Answers of the store that may wait for a shard: what it has asked.
pub const STORE_ANSWERS_MAX: usize = 4_096;
/// First request head of an HTTP connection.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 * KIB;
/// Largest record on the wire: 2^14 bytes, header and tag (RFC 8446 §5.2).
pub const RECORD_BYTES_MAX: usize = (1 << 14) + 256 + 5;
/// Cells of a slot in the egress pool are cut to multiples of this.
pub const EGRESS_SLOT_BYTES: usize = 256;
/// `SO_SNDBUF` of a connection, as set; the kernel keeps books of twice as much.
pub const SEND_BUFFER_BYTES: usize = 128 * KIB;
/// `SO_RCVBUF` of a connection, as set.
pub const RECEIVE_BUFFER_BYTES: usize = 64 * KIB;
/// `TCP_NOTSENT_LOWAT` of a connection.
pub const NOT_SENT_BYTES: usize = 64 * KIB;

/// State of one connection in the engine and the shard: slot, record keys, counters, rates.
const CONNECTION_BYTES: usize = 1_024;
/// The row and the entry in the device table of a connected device without grants.
const DEVICE_BYTES: usize = 256;
/// A rustls connection in its handshake, with an ML-KEM share and its transcript; partly aws-lc.
const HANDSHAKE_BYTES: usize = 40 * KIB;
/// Two cached AES-GCM contexts of a busy connection, in aws-lc.
const CIPHER_BYTES: usize = 2 * 640;
/// What an idle TCP connection takes in the kernel: socket, file, inode, poll.
const KERNEL_CONNECTION_BYTES: usize = 4 * KIB;
/// Socket buffers that are full at the same time: one connection in this many.
const BUSY_SHARE: usize = 64;
const SUBMISSION_BYTES: usize = 64;
const COMPLETION_BYTES: usize = 16;
/// An absent destination, remembered.
const ABSENT_BYTES: usize = 64;
const PAIRING_BYTES: usize = 256;
/// A cell in a queue of the mesh: its header and its box.
const MESH_ENTRY_BYTES: usize = 96;
/// A control message of the mesh.
const MESH_CONTROL_BYTES: usize = 512;
const STORE_MESSAGE_BYTES: usize = 256;
/// A row with all the grants it can have.
const STORE_ROW_BYTES: usize = 32 * 1_024 + 256;
/// Stack, program, tokio, metrics.
const PROCESS_BYTES: usize = 24 * MIB;
const SHARD_STACK_BYTES: usize = 2 * MIB;

const _: () = assert!(SCRATCH_BYTES >= 2 * RECORD_BYTES_MAX, "a record that is carried fits");
const _: () = assert!(SCRATCH_BYTES >= Class::C7.cell_len() + RECORD_BYTES_MAX);
const _: () =
    assert!(OUTPUT_BUFFER_BYTES >= Class::C7.cell_len() + 2 * (RECORD_BYTES_MAX - (1 << 14)));
const _: () = assert!(EGRESS_BYTES_MAX >= 8 * OUTPUT_BUFFER_BYTES, "both stages of egress fit");
const _: () = assert!(UNAUTHENTICATED_BYTES_MAX <= SCRATCH_BYTES);
const _: () = assert!(HTTP_HEAD_BYTES_MAX <= UNAUTHENTICATED_BYTES_MAX);
const _: () = assert!(Class::C0.cell_len().is_multiple_of(EGRESS_SLOT_BYTES));
const _: () = assert!(NOT_SENT_BYTES <= SEND_BUFFER_BYTES, "or the low-water mark means nothing");
const _: () = assert!(STORE_ANSWERS_MAX <= store::READS_MAX);
const _: () = assert!(RING_COMPLETIONS > RING_ENTRIES);
const _: () = assert!(store::SEEN_BATCH_MAX <= STORE_ANSWERS_MAX);

/// The numbers of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub connections_max: usize,
    /// Of these, connections that are not welcomed.
    pub unauthenticated_connections_max: usize,
    /// Of these, handshakes in progress; beyond, accepting pauses.
    pub handshakes_in_progress_max: usize,
    /// Full handshakes from one source address.
    pub handshakes_per_s: u32,
    /// Life of a connection that is not welcomed.
    pub unauthenticated_ms_max: u64,
    /// Silence that closes a connection.
    pub idle_ms: u64,
    /// Cells from one device.
    pub cells_per_s: u32,
    /// Bytes from one device.
    pub bytes_per_s: u64,
    /// Seconds of both rates that may be saved up.
    pub burst_s: u32,
    /// Bytes that may wait for one device.
    pub egress_bytes_max: usize,
    /// Bytes that may wait for all devices.
    pub egress_pool_bytes: usize,
    /// Buffers of [`OUTPUT_BUFFER_BYTES`].
    pub output_buffers_max: usize,
    /// Output held back for fewer sends.
    pub output_held_bytes_max: usize,
    /// Incomplete records.
    pub carry_pool_bytes: usize,
    /// Cells waiting for each other shard.
    pub mesh_cells_max: usize,
    /// Bytes of cells on their way to other shards.
    pub mesh_pool_bytes: usize,
    /// Absent destinations remembered.
    pub absent_max: usize,
    /// Open pairings.
    pub pairings_max: usize,
    /// Longest life of a pairing.
    pub pair_ttl_s_max: u32,
    /// Cells over a pairing.
    pub pair_cells_max: u32,
    /// Pairings joined by one account.
    pub pair_joins_per_minute: u32,
    /// Refusals answered to one device.
    pub refusals_per_minute: u32,
    /// Operations of one account.
    pub operations_per_minute: u32,
    /// The store's map, for all shards together.
    pub map_bytes_max: usize,
}

impl Limits {
    /// Takes the numbers from a configuration that was checked.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            connections_max: limits.connections_max,
            unauthenticated_connections_max: limits.unauthenticated_connections_max,
            handshakes_in_progress_max: limits.handshakes_in_progress_max,
            handshakes_per_s: limits.handshakes_per_s,
            unauthenticated_ms_max: limits.unauthenticated_ms_max,
            idle_ms: limits.idle_ms,
            cells_per_s: limits.cells_per_s,
            bytes_per_s: limits.bytes_per_s,
            burst_s: limits.burst_s,
            egress_bytes_max: limits.egress_bytes_max,
            egress_pool_bytes: limits.egress_pool_bytes,
            output_buffers_max: limits.output_pool_bytes / OUTPUT_BUFFER_BYTES,
            output_held_bytes_max: limits.output_held_bytes_max,
            carry_pool_bytes: limits.carry_pool_bytes,
            mesh_cells_max: limits.mesh_cells_max,
            mesh_pool_bytes: limits.mesh_pool_bytes,
            absent_max: limits.absent_max,
            pairings_max: limits.pairings_max,
            pair_ttl_s_max: limits.pair_ttl_s_max,
            pair_cells_max: limits.pair_cells_max,
            pair_joins_per_minute: limits.pair_joins_per_minute,
            refusals_per_minute: limits.refusals_per_minute,
            operations_per_minute: limits.operations_per_minute,
            map_bytes_max: config.store.map_bytes_max,
        }
    }

    /// What everything takes when everything is full.
    #[must_use]
    pub fn memory_bill(&self, shards: usize) -> Bill {
        let shards = shards.max(1);
        let connections = shards.saturating_mul(self.connections_max);
        let pairs = shards * (shards - 1);
        let mut bill = Bill { shards, lines: Vec::new() };
        bill.relay("scratch buffers", shards, SCRATCH_BYTES);
        bill.relay("carry pools", shards, self.carry_pool_bytes);
        let handshakes = shards.saturating_mul(self.handshakes_in_progress_max);
        bill.relay("handshakes in progress", handshakes, HANDSHAKE_BYTES);
        let unauthenticated = shards.saturating_mul(self.unauthenticated_connections_max);
        bill.relay("input before welcome", unauthenticated, UNAUTHENTICATED_BYTES_MAX);
        let slots = shards.saturating_mul(self.egress_pool_bytes / EGRESS_SLOT_BYTES);
        bill.relay("egress pool slots", slots, EGRESS_SLOT_BYTES);
        let buffers = shards.saturating_mul(self.output_buffers_max);
        bill.relay("output buffers", buffers, OUTPUT_BUFFER_BYTES);
        bill.relay("connections", connections, CONNECTION_BYTES);
        bill.relay("device table", connections, DEVICE_BYTES);
        bill.relay("absent destinations", shards.saturating_mul(self.absent_max), ABSENT_BYTES);
        bill.relay("open pairings", shards.saturating_mul(self.pairings_max), PAIRING_BYTES);
        let mesh_cells = pairs.saturating_mul(self.mesh_cells_max);
        let crossing = if shards > 1 { shards } else { 0 };
        bill.relay("mesh: cells", crossing, self.mesh_pool_bytes);
        bill.relay("mesh: queues", mesh_cells, MESH_ENTRY_BYTES);
        bill.relay("mesh: control", pairs * MESH_CONTROL_MAX, MESH_CONTROL_BYTES);
        bill.relay("rings: submissions", shards * RING_ENTRIES as usize, SUBMISSION_BYTES);
        bill.relay("rings: completions", shards * RING_COMPLETIONS as usize, COMPLETION_BYTES);
        let inboxes = store::READERS * store::READS_MAX + store::CHANGES_MAX;
        bill.relay("store inboxes", inboxes, STORE_MESSAGE_BYTES);
        bill.relay("store answers", shards * STORE_ANSWERS_MAX, STORE_MESSAGE_BYTES);
        bill.relay("store rows in flight", store::READERS + 1, STORE_ROW_BYTES);
        bill.relay("aws-lc: cipher contexts", connections, CIPHER_BYTES);
        bill.relay("stacks of shards", shards, SHARD_STACK_BYTES);
        bill.relay("program and control", 1, PROCESS_BYTES);
        bill.kernel("connections", connections, KERNEL_CONNECTION_BYTES);
        let sockets = 2 * (SEND_BUFFER_BYTES + RECEIVE_BUFFER_BYTES);
        bill.kernel("full socket buffers", connections.div_ceil(BUSY_SHARE), sockets);
        bill.kernel("store map (page cache)", 1, self.map_bytes_max);
        bill
    }
}

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// The process: resident memory.
    Relay,
    /// The kernel: not counted as the process's, and page cache is given back under pressure.
    Kernel,
}

/// One line of a [`Bill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// What it is for.
    pub what: &'static str,
    /// Who pays.
    pub payer: Payer,
    /// How many.
    pub count: usize,
    /// Bytes each.
    pub size_bytes: usize,
}

impl BillLine {
    /// Bytes of all.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.count.saturating_mul(self.size_bytes)
    }
}

/// The most that each pool and queue can take. [`Display`](fmt::Display) is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    shards: usize,
    lines: Vec<BillLine>,
}

impl Bill {
    fn relay(&mut self, what: &'static str, count: usize, size_bytes: usize) {
        self.lines.push(BillLine { what, payer: Payer::Relay, count, size_bytes });
    }

    fn kernel(&mut self, what: &'static str, count: usize, size_bytes: usize) {
        self.lines.push(BillLine { what, payer: Payer::Kernel, count, size_bytes });
    }

    /// The lines, in the order of the table.
    #[must_use]
    pub fn lines(&self) -> &[BillLine] {
        &self.lines
    }

    /// Bytes that one of the two can be asked for.
    #[must_use]
    pub fn total_bytes(&self, payer: Payer) -> usize {
        let own = self.lines.iter().filter(|line| line.payer == payer);
        own.fold(0, |sum, line| sum.saturating_add(line.bytes()))
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.shards == 1 { "" } else { "s" };
        writeln!(f, "memory when everything is full, {} shard{plural}:", self.shards)?;
        for (payer, title) in [(Payer::Relay, "relay"), (Payer::Kernel, "kernel")] {
            for line in self.lines.iter().filter(|line| line.payer == payer) {
                let BillLine { what, count, size_bytes, .. } = line;
                let (size, bytes) = (Bytes(*size_bytes), Bytes(line.bytes()));
                writeln!(f, "  {what:<26} {count:>10} × {size:>11} = {bytes:>11}")?;
            }
            let total = Bytes(self.total_bytes(payer));
            writeln!(
                f,
                "  {:<26} {:>10}   {:>11} = {total:>11}",
                format!("total, {title}"),
                "",
                ""
            )?;
        }
        Ok(())
    }
}

/// A size for people: at most five digits before the unit.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            bytes if bytes < 10 * KIB => format!("{bytes} B"),
            bytes if bytes < 10 * MIB => format!("{:.1} KiB", bytes as f64 / KIB as f64),
            bytes if bytes < 10 * 1024 * MIB => format!("{:.1} MiB", bytes as f64 / MIB as f64),
            bytes => format!("{:.1} GiB", bytes as f64 / (1024 * MIB) as f64),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_adds_up() {
        let limits = Limits::new(&Config::default());
        for shards in [0, 1, 2, 64] {
            let bill = limits.memory_bill(shards);
            let sum: usize = bill.lines().iter().map(BillLine::bytes).sum();
            assert_eq!(sum, bill.total_bytes(Payer::Relay) + bill.total_bytes(Payer::Kernel));
            let text = bill.to_string();
            assert_eq!(text.lines().count(), bill.lines().len() + 3, "{text}");
            let widths: Vec<_> = text.lines().skip(1).map(|l| l.chars().count()).collect();
            assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        }
    }

    #[test]
    fn what_is_one_for_each_shard_grows_with_them() {
        let limits = Limits::new(&Config::default());
        let line = |shards, what| {
            let bill = limits.memory_bill(shards);
            *bill.lines().iter().find(|line| line.what == what).expect("it is on the bill")
        };
        assert_eq!(line(3, "scratch buffers").bytes(), 3 * SCRATCH_BYTES);
        assert_eq!(line(1, "mesh: cells").bytes(), 0);
        assert_eq!(line(3, "mesh: cells").bytes(), 3 * limits.mesh_pool_bytes);
        assert_eq!(line(3, "mesh: queues").count, 6 * limits.mesh_cells_max);
        assert_eq!(line(3, "store map (page cache)").bytes(), limits.map_bytes_max);
    }

    #[test]
    fn the_largest_configuration_does_not_overflow() {
        let mut config = Config::default();
        config.limits.connections_max = usize::MAX;
        config.limits.egress_pool_bytes = usize::MAX;
        let bill = Limits::new(&config).memory_bill(256);
        assert_eq!(bill.total_bytes(Payer::Relay), usize::MAX);
        assert!(!bill.to_string().is_empty());
    }

    #[test]
    fn sizes_for_people() {
        let check = |bytes, expect: &str| assert_eq!(Bytes(bytes).to_string(), expect);
        check(0, "0 B");
        check(10_239, "10239 B");
        check(10_240, "10.0 KiB");
        check(64 * MIB, "64.0 MiB");
        check(20 * 1024 * MIB, "20.0 GiB");
    }
}
