//! The numbers of a shard's loop, unit last.

use hushwire_wire::cell::Class;

use crate::transport::limits::SCRATCH_BYTES_MIN;
use crate::transport::sealed_len;

/// Bytes asked of the kernel in one receive.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// Receives of one connection before the others have their turn.
pub(crate) const READS_PER_TURN: usize = 4;
/// Connections read in one turn of the loop, before inboxes and timers have theirs.
pub(crate) const CONNECTIONS_PER_TURN: usize = 256;
/// Things taken from the inbox, and control messages from the mesh, in one turn.
pub(crate) const POSTED_PER_TURN: usize = 256;
/// Cells taken from one other shard in one turn.
pub(crate) const MESH_CELLS_PER_TURN: usize = 256;

/// Output of one recipient that is sent before the turn is over.
pub(crate) const OUTPUT_FLUSH_BYTES: usize = 60 * 1024;
/// Size of an output buffer: a full sealed stage, a cell of the largest class and a KeyUpdate.
pub(crate) const OUTPUT_BUFFER_BYTES: usize = 128 * 1024;
/// Recipients whose output is held back at a time.
pub(crate) const OUTPUT_RECIPIENTS_MAX: usize = 64;
/// Output buffers kept for the next turn.
pub(crate) const OUTPUT_BUFFERS_KEPT_MAX: usize = OUTPUT_RECIPIENTS_MAX + 2;
/// Emptied cell buffers kept for the next queue.
pub(crate) const CELL_BUFFERS_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Cells on their way from one shard to another; further ones are answered `busy`.
pub(crate) const MESH_CELLS_MAX: usize = 512;
/// Control messages on their way from one shard to another.
pub(crate) const MESH_CONTROL_MAX: usize = 1_024;
/// Control messages that wait for room there: one for every cell another shard may hold and for every
/// connection that may move.
pub(crate) const MESH_CONTROL_WAITING_MAX: usize = 256 * 1024;

/// Idle time after which a connection's keys are kept without their contexts.
pub(crate) const KEYS_IDLE_S: u32 = 10;
/// Parts in which the table of connections is swept, one a second.
pub(crate) const SWEEP_PARTS: usize = 3;
/// How long the loop sleeps at most while there are connections.
pub(crate) const SWEEP_MS: u64 = 1_000;

/// Pause after a failure to accept.
pub(crate) const ACCEPT_RETRY_MS: u64 = 100;
/// How long a connection that has ended is read from, so that its last words arrive.
pub(crate) const LINGER_MS_MAX: u64 = 1_000;
/// Bytes discarded in one receive.
pub(crate) const DISCARD_BYTES: usize = 16 * 1024;
/// How much is discarded in all.
pub(crate) const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// How long a drain waits for devices to go.
pub(crate) const DRAIN_MS_MAX: u64 = 10_000;

const _: () = assert!(SCRATCH_BYTES_MIN >= READ_BYTES);
const _: () = assert!(
    OUTPUT_BUFFER_BYTES
        >= OUTPUT_FLUSH_BYTES + sealed_len(Class::C7.cell_len()) + sealed_len(Class::C0.cell_len())
);

/// The bounds an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardLimits {
    /// TLS handshakes under way; beyond that accepting pauses.
    pub(crate) handshakes_in_progress_max: usize,
    /// Sealed bytes held back while more input is to be read.
    pub(crate) output_held_bytes_max: usize,
    /// All partial records.
    pub(crate) carry_bytes_max: usize,
}
