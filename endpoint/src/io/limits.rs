//! Every number of the transport, unit last.

use hushwire_wire::cell::CELL_LEN_MAX;

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

const _: () = assert!(CELL_LEN_MAX == 2 * RECORD_BYTES_MAX);
const _: () = assert!(READ_BYTES_MAX >= 2 * CELL_LEN_MAX);
