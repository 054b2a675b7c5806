//! The numbers of a shard's loop, unit last.

use hushwire_engine::Ticket;
use hushwire_uring::Completion;
use hushwire_wire::cell::Class;

use super::asking::Asked;
use super::connection::{Challenged, Connection, Handshaking};
use super::inbox::Posted;
use super::quic::QuicWire;
use crate::transport::sealed_len;

/// Receives of one connection before the others have their turn.
pub(crate) const READS_PER_TURN: usize = 4;
/// Connections read in one turn of the loop, before inboxes and timers have theirs.
pub(crate) const CONNECTIONS_PER_TURN: usize = 256;
/// Receives of the UDP socket in one turn, each of some buffers full of datagrams.
pub(crate) const DATAGRAM_READS_PER_TURN: usize = 8;
/// Sends of one QUIC connection before the others have their turn, each of as many datagrams as the kernel takes at once.
pub(crate) const TRANSMITS_PER_FLUSH: usize = 16;
/// Datagrams of one send (GSO): together with their headers they must fit what one of IP can be.
pub(crate) const SEGMENTS_PER_SEND: usize = 32;
/// Things taken from the inbox, and control messages from the mesh, in one turn.
pub(crate) const POSTED_PER_TURN: usize = 256;
/// Cells taken from one other shard in one turn.
pub(crate) const MESH_CELLS_PER_TURN: usize = 256;

/// Output of one recipient that is sent before the turn is over.
pub(crate) const OUTPUT_FLUSH_BYTES: usize = 60 * 1024;
/// Size of an output buffer that is new: what most recipients get in a turn. It doubles as it is filled.
pub(crate) const OUTPUT_BUFFER_BYTES_MIN: usize = 8 * 1024;
/// Size of the largest: a full sealed stage, a cell of the largest class and a KeyUpdate.
pub(crate) const OUTPUT_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// Recipients whose output is held back at a time.
pub(crate) const OUTPUT_RECIPIENTS_MAX: usize = 64;
/// Output buffers kept for the next turn.
pub(crate) const OUTPUT_BUFFERS_KEPT_MAX: usize = OUTPUT_RECIPIENTS_MAX + 2;
/// How often those are freed that nobody has needed since, in seconds.
pub(crate) const TRIM_EVERY_S: u32 = 10;
/// Emptied cell buffers kept for the next queue.
pub(crate) const CELL_BUFFERS_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Control messages on their way from one shard to another.
pub(crate) const MESH_CONTROL_MAX: usize = 1_024;
/// Control messages that wait for room there: one for every cell another shard may hold and for every
/// connection that may move.
pub(crate) const MESH_CONTROL_WAITING_MAX: usize = 256 * 1024;

/// Devices whose day of connection the store has not heard of; further ones keep their last one.
pub(crate) const SEEN_WAITING_MAX: usize = 16 * 1024;
/// How often the store hears of them, in seconds.
pub(crate) const SEEN_EVERY_S: u32 = 10;
/// Idle time after which a connection's keys are kept without their contexts.
pub(crate) const KEYS_IDLE_S: u32 = 10;
/// Parts in which the table of connections is swept, one a second.
pub(crate) const SWEEP_PARTS: usize = 3;
/// How long the loop sleeps at most while there are connections.
pub(crate) const SWEEP_MS: u64 = 1_000;

/// Pause after a failure to accept.
pub(crate) const ACCEPT_RETRY_MS: u64 = 100;
/// Connections that have ended and linger; beyond that nobody is waited for.
pub(crate) const CLOSING_MAX: usize = 4_096;
/// How long a connection that has ended is read from, so that its last words arrive.
pub(crate) const LINGER_MS_MAX: u64 = 1_000;
/// Bytes discarded in one receive.
pub(crate) const DISCARD_BYTES: usize = 16 * 1024;
/// How much is discarded in all.
pub(crate) const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// How long a drain waits for devices to go.
pub(crate) const DRAIN_MS_MAX: u64 = 10_000;

/// A connection and its place in the shard's table, which may have grown to twice its size. The engine's
/// part is not in it.
pub(crate) const CONNECTION_BYTES: usize =
    size_of::<Connection>() + 2 * size_of::<Option<Box<Connection>>>();
/// A connection of QUIC, beside its place in the table and what quinn-proto has of it on the heap.
pub(crate) const QUIC_CONNECTION_BYTES: usize = QuicWire::BYTES;
/// What a handshake takes here, beside TLS's own.
pub(crate) const HANDSHAKING_BYTES: usize = size_of::<Handshaking>();
/// What is kept of a challenge until it is answered, its text included.
pub(crate) const CHALLENGED_BYTES: usize = size_of::<Challenged>() + 128;
/// The place of a waiting cell, in a table that may have grown to twice its size.
pub(crate) const CELL_PLACE_BYTES: usize = 2 * (size_of::<Option<Box<[u8]>>>() + size_of::<u32>());
/// A question that the store has not answered.
pub(crate) const ASKED_BYTES: usize = 2 * (1 + size_of::<(Ticket, Asked)>());
/// An answer or order that waits in the inbox.
pub(crate) const POSTED_BYTES: usize = size_of::<Posted>();
/// A completion that was taken from the ring.
pub(crate) const COMPLETION_BYTES: usize = size_of::<Completion>();

const _: () = assert!(
    OUTPUT_BUFFER_BYTES_MAX
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
    /// Connections of TCP, which have a file each.
    pub(crate) tcp_connections_max: usize,
    /// Connections of QUIC.
    pub(crate) quic_connections_max: usize,
    /// Windows of QUIC beyond the least.
    pub(crate) quic_window_pool_bytes: usize,
}
