//! Every number of the transport, unit last.

use hushwire_wire::cell::CELL_LEN_MAX;
use hushwire_wire::limits::{IDLE_MS, LANES};

/// Time for a TCP connection and the TLS handshake.
pub const CONNECT_MS_MAX: u64 = 10_000;
/// Bytes read from the socket at once.
pub const READ_BYTES_MAX: usize = 256 * 1024;
/// Records in either direction after which the connection is replaced: well before either end would have to send a
/// KeyUpdate, whose size an observer would recognise.
pub const RECORDS_MAX: u64 = 1 << 22;
/// The largest content of a TLS record (RFC 8446 §5.1).
pub const RECORD_BYTES_MAX: usize = 16_384;
/// Session tickets kept for resumption.
pub const TICKETS_MAX: usize = 8;

/// Time for a QUIC handshake: two tries more where nobody answers. What does not pass in that time passes badly.
pub const QUIC_CONNECT_MS_MAX: u64 = 5_000;
/// So much later the other transport is tried as well (RFC 8305 §8: the Connection Attempt Delay).
pub const HEAD_START_MS: u64 = 250;
/// TLS goes first for so long where QUIC did not get through.
pub const TLS_FIRST_MS: u64 = 600_000;
/// Silence after which QUIC gives a connection up; the relay does after the same (`PROTOCOL.md` §2.2).
pub const QUIC_IDLE_MS: u32 = IDLE_MS as u32;
/// What may be on its way to this end on one lane, or lie here while a piece before it is missing, in bytes.
pub const LANE_RECEIVE_BYTES_MAX: u32 = 1024 * 1024;
/// The same for all lanes together.
pub const RECEIVE_BYTES_MAX: u32 = 2 * LANE_RECEIVE_BYTES_MAX;
/// What is on its way to the relay and not acknowledged is at most twice the congestion window, so that a cell waits
/// where others can still go before it; and never below this, in bytes.
pub const SEND_BYTES_MIN: u64 = 64 * 1024;
/// Nor above this.
pub const SEND_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Datagrams after which a relay that understands it (draft-ietf-quic-ack-frequency) acknowledges at the latest, beside the
/// time that it may take.
pub const ACKNOWLEDGED_AFTER: u32 = 4;
/// A lane gives its turn to the next after so many bytes.
pub const LANE_TURN_BYTES: usize = CELL_LEN_MAX;
/// Buffers for what the system joins of several datagrams.
pub const DATAGRAM_BUFFERS: usize = 4;
/// The largest such, in bytes.
pub const DATAGRAM_BUFFER_BYTES: usize = 64 * 1024;
/// What the system is asked to keep of what has arrived: as much as may be on its way.
pub const SOCKET_RECEIVE_BYTES: usize = RECEIVE_BYTES_MAX as usize;
/// System calls that fill these buffers before what they brought is looked at.
pub const RECEIVES_MAX: usize = 4;
/// Datagrams that go in one system call.
pub const DATAGRAMS_MAX: usize = 32;
/// A socket that sends nothing for so long is replaced.
pub const REBIND_MS: u64 = 1_000;

const _: () = assert!(DATAGRAM_BUFFERS * DATAGRAM_BUFFER_BYTES == READ_BYTES_MAX);
const _: () = assert!(QUIC_CONNECT_MS_MAX + HEAD_START_MS < CONNECT_MS_MAX);
const _: () = assert!(LANES <= 8 && IDLE_MS <= u32::MAX as u64);
const _: () = assert!(SEND_BYTES_MIN >= 2 * CELL_LEN_MAX as u64);
const _: () = assert!(LANE_RECEIVE_BYTES_MAX as usize >= 2 * CELL_LEN_MAX);
const _: () = assert!(CELL_LEN_MAX == 2 * RECORD_BYTES_MAX);
const _: () = assert!(READ_BYTES_MAX >= 2 * CELL_LEN_MAX);
