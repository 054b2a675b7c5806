//! What an operator may set, and what everything can take together.
//!
//! [`Limits`] comes from the configuration. The [`Bill`] is computed from it and from the numbers and
//! types that the code itself works with: those of the engine ([`hushwire_engine::limits`]), the shards,
//! the mesh, TLS and the store. What belongs to other libraries is estimated here, and named so.

mod bill;

use hushwire_engine::limits::{
    ADMISSIONS_PENDING_MAX, OPERATIONS_PENDING_MAX, REACH_QUESTIONS_MAX, SEALED_BYTES_MAX,
};
use hushwire_engine::{EngineLimits, MemoryLine};
use hushwire_uring::limits::{INBOX_BUFFER_BYTES, INBOX_BUFFERS};
use hushwire_wire::cell::Class;
use hushwire_wire::limits::{EGRESS_BYTES_MAX, GRANTS_PER_ACCOUNT};

pub use self::bill::{Bill, BillLine, Payer};
use crate::config::Config;
use crate::shard::limits::{self as shard, ShardLimits};
use crate::transport::limits::{HANDSHAKE_BYTES_MAX, RECORD_OVERHEAD_BYTES, SCRATCH_BYTES};
use crate::transport::quic::limits as quic;
use crate::{mesh, store};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Connections of a shard where the configuration does not say how many and the system allows them.
pub const CONNECTIONS_DEFAULT: usize = 32_768;
/// The least that is tried.
const CONNECTIONS_MIN: usize = 16;
/// Open files beside the connections that each shard has.
const FILES_PER_SHARD: usize = 10;
/// Open files that the process has.
const FILES_OF_PROCESS: usize = 64;

/// Entries of a shard's submission queue.
pub const RING_ENTRIES: u32 = 4_096;
/// Entries of its completion queue.
pub const RING_COMPLETIONS: u32 = 4 * RING_ENTRIES;
/// `SO_SNDBUF` of a connection in bytes, as set; the kernel keeps books of twice as much.
pub const SEND_BUFFER_BYTES: usize = 128 * KIB;
/// `SO_RCVBUF` of a connection in bytes, as set. With 64 KiB a busy connection of large cells is read in
/// many small pieces.
pub const RECEIVE_BUFFER_BYTES: usize = 256 * KIB;
/// `TCP_NOTSENT_LOWAT` of a connection in bytes.
pub const NOT_SENT_BYTES: usize = 64 * KIB;

/// `SO_RCVBUF` and `SO_SNDBUF` of a shard's UDP socket in bytes, as set: all its connections share it.
pub const UDP_RECEIVE_BUFFER_BYTES: usize = 4 * MIB;
/// See above.
pub const UDP_SEND_BUFFER_BYTES: usize = 4 * MIB;

/// Estimated: a rustls connection in its handshake, with an ML-KEM share, its transcript and its flight.
const HANDSHAKE_BYTES: usize = 40 * KIB;
/// Estimated: two AES-GCM contexts of a busy connection.
const CIPHER_BYTES: usize = 2 * 640;
/// Estimated: what an idle TCP connection takes in the kernel: socket, file, inode, poll.
const KERNEL_CONNECTION_BYTES: usize = 4 * KIB;
/// Estimated: socket buffers that are full at the same time: one connection in this many.
const BUSY_SHARE: usize = 64;
/// A submission, and a completion, in memory shared with the kernel (io_uring_setup(2)).
const SUBMISSION_BYTES: usize = 64;
const COMPLETION_BYTES: usize = 16;
/// Estimated: a question or change in an inbox of the store.
const STORE_MESSAGE_BYTES: usize = 256;
/// A row with all the grants it can have.
const STORE_ROW_BYTES: usize = size_of::<store::Row>() + GRANTS_PER_ACCOUNT * 32;
/// Estimated: the program's own pages, its heap's, tokio, metrics.
const PROCESS_BYTES: usize = 24 * MIB;
const SHARD_STACK_BYTES: usize = 2 * MIB;

const _: () = assert!(shard::OUTPUT_BUFFER_BYTES_MAX >= SEALED_BYTES_MAX as usize);
const _: () = assert!(EGRESS_BYTES_MAX >= 8 * SEALED_BYTES_MAX as usize, "both stages fit");
const _: () = assert!(NOT_SENT_BYTES <= SEND_BUFFER_BYTES, "or the low-water mark means nothing");
const _: () = assert!(RING_COMPLETIONS > RING_ENTRIES);
const _: () = assert!(ADMISSIONS_PENDING_MAX + REACH_QUESTIONS_MAX <= store::READS_MAX);
const _: () = assert!(OPERATIONS_PENDING_MAX <= store::CHANGES_MAX);

/// The numbers of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of TCP.
    pub connections_max: usize,
    /// Connections of QUIC, beside those. None: the relay has no QUIC.
    pub quic_connections_max: usize,
    /// Credit of connections of QUIC beyond the least.
    pub quic_window_pool_bytes: usize,
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
    /// Bytes that may wait for all devices, sealed ones included.
    pub egress_pool_bytes: usize,
    /// Output held back for fewer sends.
    pub output_held_bytes_max: usize,
    /// Incomplete records.
    pub carry_pool_bytes: usize,
    /// Bytes of cells on their way to each other shard.
    pub mesh_bytes_max: usize,
    /// Pairings joined by one account.
    pub pair_joins_per_minute: u32,
    /// Operations of one account.
    pub operations_per_minute: u32,
    /// The store's map, for all shards together.
    pub map_bytes_max: usize,
}

impl Limits {
    /// Takes the numbers from a configuration that was checked. Where it does not say how many
    /// connections there may be, they are as many as `files` allow on so many shards, up to
    /// [`CONNECTIONS_DEFAULT`]; `files` is the most that the process may have open, `None` if there is no
    /// such limit.
    #[must_use]
    pub fn new(config: &Config, shards: usize, files: Option<u64>) -> Self {
        let limits = &config.limits;
        let connections_max = match limits.connections_max {
            0 => connections_within(shards, files).clamp(CONNECTIONS_MIN, CONNECTIONS_DEFAULT),
            set => set,
        };
        let unauthenticated = limits.unauthenticated_connections_max.min(connections_max);
        Self {
            connections_max,
            quic_connections_max: limits.quic_connections_max,
            quic_window_pool_bytes: limits.quic_window_pool_bytes,
            unauthenticated_connections_max: unauthenticated,
            handshakes_in_progress_max: limits.handshakes_in_progress_max.min(unauthenticated),
            handshakes_per_s: limits.handshakes_per_s,
            unauthenticated_ms_max: limits.unauthenticated_ms_max,
            idle_ms: limits.idle_ms,
            cells_per_s: limits.cells_per_s,
            bytes_per_s: limits.bytes_per_s,
            burst_s: limits.burst_s,
            egress_bytes_max: limits.egress_bytes_max,
            egress_pool_bytes: limits.egress_pool_bytes,
            output_held_bytes_max: limits.output_held_bytes_max,
            carry_pool_bytes: limits.carry_pool_bytes,
            mesh_bytes_max: limits.mesh_bytes_max,
            pair_joins_per_minute: limits.pair_joins_per_minute,
            operations_per_minute: limits.operations_per_minute,
            map_bytes_max: config.store.map_bytes_max,
        }
    }

    /// Files that so many shards have open when all their connections are taken.
    #[must_use]
    pub fn files(&self, shards: usize) -> u64 {
        let per_shard = self.connections_max.saturating_add(FILES_PER_SHARD);
        shards.saturating_mul(per_shard).saturating_add(FILES_OF_PROCESS) as u64
    }

    /// The engine's part.
    pub(crate) fn engine(&self) -> EngineLimits {
        EngineLimits {
            connections_max: saturated(
                self.connections_max.saturating_add(self.quic_connections_max),
            ),
            unauthenticated_max: saturated(self.unauthenticated_connections_max),
            handshakes_per_s: self.handshakes_per_s,
            cells_per_s: self.cells_per_s,
            bytes_per_s: self.bytes_per_s,
            burst_s: self.burst_s,
            egress_bytes_max: saturated(self.egress_bytes_max),
            egress_pool_bytes: self.egress_pool_bytes,
            idle_ms: self.idle_ms,
            unauthenticated_ms_max: self.unauthenticated_ms_max,
            operations_per_minute: self.operations_per_minute,
            pair_joins_per_minute: self.pair_joins_per_minute,
            ..EngineLimits::default()
        }
    }

    /// The loop's part.
    pub(crate) fn shard(&self) -> ShardLimits {
        ShardLimits {
            handshakes_in_progress_max: self.handshakes_in_progress_max,
            output_held_bytes_max: self.output_held_bytes_max,
            carry_bytes_max: self.carry_pool_bytes,
            tcp_connections_max: self.connections_max,
            quic_connections_max: self.quic_connections_max,
            quic_window_pool_bytes: self.quic_window_pool_bytes,
        }
    }

    /// What everything takes when everything is full.
    #[must_use]
    pub fn memory_bill(&self, shards: usize) -> Bill {
        let shards = shards.max(1);
        let mut bill = Bill { shards, lines: Vec::new() };
        for (what, count, size_bytes) in self.lines_of_shard() {
            bill.relay(what, shards.saturating_mul(count), size_bytes);
        }
        for MemoryLine { what, count, size_bytes } in self.engine().memory() {
            bill.relay(what, shards.saturating_mul(count), size_bytes);
        }
        // Every ordered pair has its queues.
        let pairs = shards * (shards - 1);
        let cells = pairs.saturating_mul(mesh::places(self.mesh_bytes_max));
        bill.relay("mesh: cells and buffers", pairs, self.mesh_bytes_max);
        bill.relay("mesh: queues of cells", cells, mesh::CELL_PLACES_BYTES);
        let control = shard::MESH_CONTROL_MAX + shard::MESH_CONTROL_WAITING_MAX;
        bill.relay("mesh: control", pairs * control, mesh::CONTROL_PLACE_BYTES);
        let inboxes = store::READERS * store::READS_MAX + store::CHANGES_MAX;
        bill.relay("store: inboxes", inboxes, STORE_MESSAGE_BYTES);
        let rows = shards * ADMISSIONS_PENDING_MAX + store::READERS + 1;
        bill.relay("store: rows on their way", rows, STORE_ROW_BYTES);
        bill.relay("program and control", 1, PROCESS_BYTES);

        let connections = shards.saturating_mul(self.connections_max);
        bill.kernel("connections", connections, KERNEL_CONNECTION_BYTES);
        let sockets = 2 * (SEND_BUFFER_BYTES + RECEIVE_BUFFER_BYTES);
        bill.kernel("full socket buffers", connections.div_ceil(BUSY_SHARE), sockets);
        let udp = 2 * (UDP_RECEIVE_BUFFER_BYTES + UDP_SEND_BUFFER_BYTES);
        bill.kernel(
            "UDP socket buffers",
            if self.quic_connections_max > 0 { shards } else { 0 },
            udp,
        );
        bill.kernel("store map (page cache)", 1, self.map_bytes_max);
        bill
    }

    /// What one shard has beside its engine.
    fn lines_of_shard(&self) -> [(&'static str, usize, usize); 22] {
        let connections = self.connections_max;
        let quic = self.quic_connections_max;
        let (unauthenticated, handshakes) =
            (self.unauthenticated_connections_max, self.handshakes_in_progress_max);
        let handshake = HANDSHAKE_BYTES + HANDSHAKE_BYTES_MAX + shard::HANDSHAKING_BYTES;
        let cells = self.egress_pool_bytes / Class::C0.cell_len();
        let asked = OPERATIONS_PENDING_MAX + ADMISSIONS_PENDING_MAX + REACH_QUESTIONS_MAX;
        let completions = RING_COMPLETIONS as usize;
        [
            ("stack", 1, SHARD_STACK_BYTES),
            ("scratch", 1, SCRATCH_BYTES),
            ("ring: submissions", RING_ENTRIES as usize, SUBMISSION_BYTES),
            ("ring: completions", completions, COMPLETION_BYTES + shard::COMPLETION_BYTES),
            ("connections", connections, shard::CONNECTION_BYTES),
            ("contexts of keys", connections, CIPHER_BYTES),
            ("QUIC: connections", quic, shard::QUIC_CONNECTION_BYTES),
            ("QUIC: quinn-proto, rustls", quic, quic::QUINN_CONNECTION_BYTES),
            ("QUIC: least windows", quic, quic::LEAN_WINDOWS_BYTES),
            ("QUIC: larger windows", 1, self.quic_window_pool_bytes),
            ("QUIC: lanes without credit", 1, quic::STUCK_BYTES_MAX),
            (
                "QUIC: datagrams being read",
                if quic > 0 { INBOX_BUFFERS } else { 0 },
                INBOX_BUFFER_BYTES,
            ),
            ("handshakes in progress", handshakes, handshake),
            ("challenges", unauthenticated, shard::CHALLENGED_BYTES),
            ("incomplete records", 1, self.carry_pool_bytes),
            ("output buffers", shard::OUTPUT_BUFFERS_KEPT_MAX, shard::OUTPUT_BUFFER_BYTES_MAX),
            // What is sealed behind a send is one list, which may have grown to twice its size.
            ("sealed output, growth", 1, self.egress_pool_bytes),
            ("records of waiting cells", cells, RECORD_OVERHEAD_BYTES),
            ("places of waiting cells", cells, shard::CELL_PLACE_BYTES),
            ("buffers of cells, kept", 1, shard::CELL_BUFFERS_KEPT_BYTES),
            ("asked of the store", asked, shard::ASKED_BYTES),
            ("inbox", asked, shard::POSTED_BYTES),
        ]
    }
}

/// Connections of one shard for which there are files.
fn connections_within(shards: usize, files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files.saturating_sub(FILES_OF_PROCESS) / shards.max(1)).saturating_sub(FILES_PER_SHARD)
}

fn saturated(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(&Config::default(), 1, None)
    }

    fn line(shards: usize, what: &str) -> BillLine {
        let bill = limits().memory_bill(shards);
        *bill.lines().iter().find(|line| line.what == what).expect("it is on the bill")
    }

    #[test]
    fn the_bill_adds_up() {
        for shards in [0, 1, 2, 64] {
            let bill = limits().memory_bill(shards);
            let sum: usize = bill.lines().iter().map(BillLine::bytes).sum();
            assert_eq!(sum, bill.total_bytes(Payer::Relay) + bill.total_bytes(Payer::Kernel));
            let text = bill.to_string();
            assert_eq!(text.lines().count(), bill.lines().len() + 3, "{text}");
            let widths: Vec<_> = text.lines().skip(1).map(|l| l.chars().count()).collect();
            assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        }
    }

    #[test]
    fn each_line_stands_once_for_each_payer() {
        let bill = limits().memory_bill(2);
        let mut names: Vec<_> =
            bill.lines().iter().map(|line| (line.payer == Payer::Kernel, line.what)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), bill.lines().len());
    }

    #[test]
    fn what_is_one_for_each_shard_grows_with_them() {
        let limits = limits();
        assert_eq!(line(3, "scratch").bytes(), 3 * SCRATCH_BYTES);
        assert_eq!(line(1, "mesh: cells and buffers").bytes(), 0);
        let mesh = 6 * limits.mesh_bytes_max;
        assert_eq!(line(3, "mesh: cells and buffers").bytes(), mesh);
        assert_eq!(line(3, "cells queued and sealed").bytes(), 3 * limits.egress_pool_bytes);
        let connections = limits.connections_max + limits.quic_connections_max;
        assert_eq!(line(3, "engine: connections").count, 3 * connections);
        assert_eq!(line(3, "store map (page cache)").bytes(), limits.map_bytes_max);
    }

    #[test]
    fn the_largest_configuration_does_not_overflow() {
        let mut config = Config::default();
        config.limits.connections_max = usize::MAX;
        config.limits.egress_pool_bytes = usize::MAX;
        let limits = Limits::new(&config, 256, Some(1_024));
        let bill = limits.memory_bill(256);
        assert_eq!(bill.total_bytes(Payer::Relay), usize::MAX);
        assert!(!bill.to_string().is_empty());
        assert_eq!(limits.files(256), u64::MAX);
    }

    #[test]
    fn connections_fit_the_files_unless_their_number_is_set() {
        let check = |set, shards, files, expect: (usize, usize)| {
            let mut config = Config::default();
            config.limits.connections_max = set;
            let limits = Limits::new(&config, shards, files);
            let found = (limits.connections_max, limits.unauthenticated_connections_max);
            assert_eq!(found, expect, "{set} {shards} {files:?}");
            let fits = files.is_none_or(|files| limits.files(shards) <= files);
            assert!(fits || set > 0 || found.0 == CONNECTIONS_MIN, "{set} {shards} {files:?}");
        };
        check(0, 2, None, (32_768, 4_096));
        check(0, 2, Some(1 << 20), (32_768, 4_096));
        check(0, 2, Some(20_000), (9_958, 4_096));
        check(0, 1, Some(1_024), (950, 950));
        check(0, 64, Some(1_024), (CONNECTIONS_MIN, CONNECTIONS_MIN));
        check(0, 1, Some(0), (CONNECTIONS_MIN, CONNECTIONS_MIN));
        check(32_768, 2, Some(20_000), (32_768, 4_096));
    }
}
