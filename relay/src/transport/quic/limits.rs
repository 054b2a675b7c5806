//! The numbers of QUIC.

use hushwire_wire::limits as wire;

/// Credit of one lane, in bytes: what a device may have in flight on it.
pub const LANE_RECEIVE_BYTES: u32 = 256 * 1024;
/// Credit of a connection after WELCOME, over all lanes, in bytes: as much as TCP's receive buffer.
pub const RECEIVE_BYTES: u32 = 256 * 1024;
/// Credit of a connection before WELCOME, in bytes.
pub const RECEIVE_BYTES_UNAUTHENTICATED: u32 = wire::UNAUTHENTICATED_BYTES_MAX as u32;
/// Bytes sent to a device and not acknowledged, before and after WELCOME.
pub const SEND_BYTES_UNAUTHENTICATED: u64 = 16 * 1024;
/// After WELCOME: as much as TCP's send buffer has with what the kernel adds.
pub const SEND_BYTES: u64 = 256 * 1024;
/// What a connection adds to the least of both, in bytes, as long as there is some in the shard's pool.
pub const WINDOWS_BYTES: usize = RECEIVE_BYTES as usize + SEND_BYTES as usize - LEAN_WINDOWS_BYTES;
/// The least of both together, for connections beyond that.
pub const LEAN_WINDOWS_BYTES: usize = LEAN_RECEIVE_BYTES as usize + LEAN_SEND_BYTES as usize;
/// Credit of a connection after WELCOME where the pool is empty, in bytes.
pub const LEAN_RECEIVE_BYTES: u32 = 16 * 1024;
/// Bytes sent to such a device and not acknowledged.
pub const LEAN_SEND_BYTES: u64 = 16 * 1024;
/// Handshake messages of a client that wait for earlier ones, in bytes.
pub const CRYPTO_BYTES: usize = wire::UNAUTHENTICATED_BYTES_MAX;
/// Packets of a client that has not been decided on, in bytes. A decision is made at once, so none wait.
pub const INCOMING_BYTES: u64 = 4 * 1024;
/// Datagrams after which a device that understands it (draft-ietf-quic-ack-frequency) acknowledges at the latest, beside
/// the time that it may take. Each acknowledgement is a datagram to be read.
pub const ACKNOWLEDGED_AFTER: u32 = 4;
/// So much later than the relay's farewell QUIC itself gives a silent connection up, in milliseconds.
pub const IDLE_BEYOND_MS: u64 = 5_000;
/// Life of a token that a Retry gives, in milliseconds.
pub const RETRY_TOKEN_MS: u64 = 10_000;
/// The least time between two stateless resets of one shard, in milliseconds.
pub const RESET_MS_MIN: u64 = 1;

/// How long one lane may be without credit, while others of its connection have it, before cells for it are answered
/// `busy`, in milliseconds.
pub const LANE_STUCK_MS: u64 = 250;
/// Bytes of one shard that may wait on lanes without credit; beyond it such a connection is closed.
pub const STUCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Files of qlog in one run of the relay; later connections have none.
pub const QLOG_FILES_MAX: usize = 1_000;

/// Estimated: what quinn-proto and rustls keep of one idle connection, in bytes.
pub const QUINN_CONNECTION_BYTES: usize = 32 * 1024;

const _: () = assert!(LANE_RECEIVE_BYTES <= RECEIVE_BYTES);
const _: () = assert!(RECEIVE_BYTES_UNAUTHENTICATED as usize >= wire::HELLO_CLASS_MAX.cell_len());
