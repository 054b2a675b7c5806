//! Bounds of the control thread, unit last.

use super::admin::LINE_BYTES_MAX;

/// Connections to the HTTP listener at a time; more wait in the system's queue.
pub const HTTP_CONNECTIONS_MAX: usize = 16;
/// Bytes of a request's head (what hyper accepts at least); a longer one gets status 431.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a request.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Time for the head of a request to arrive.
pub const HTTP_HEAD_MS: u64 = 2_000;
/// Time for a connection from its beginning to its end.
pub const HTTP_CONNECTION_MS: u64 = 5_000;

/// Clients of the admin socket at a time; one more is told so and closed.
pub const ADMIN_CLIENTS_MAX: usize = 8;
/// Time for a whole question to arrive, and for its answer to be taken.
pub const ADMIN_LINE_MS: u64 = 5_000;
/// Devices on one page of an answer.
pub const DEVICES_PAGE: usize = 256;
/// Bytes that one device takes in an answer: its IDs, a name in which every character is escaped, keys.
pub const DEVICE_BYTES_MAX: usize = 52 + 26 + 6 * hushwire_wire::limits::NAME_BYTES_MAX + 128;

/// Threads that wait for the store or the system on behalf of the control thread.
pub const BLOCKING_THREADS_MAX: usize = 4;
/// Pause after the system refused a connection.
pub const ACCEPT_RETRY_MS: u64 = 100;
/// Time that open connections get to finish when the relay ends.
pub const GOODBYE_MS: u64 = 1_000;

/// Shortest life of an invite in seconds.
pub const INVITE_TTL_S_MIN: u64 = 1;
/// Longest life of an invite in seconds: 30 days.
pub const INVITE_TTL_S_MAX: u64 = 30 * 24 * 60 * 60;

const _: () = assert!(DEVICES_PAGE * DEVICE_BYTES_MAX < LINE_BYTES_MAX, "a page fits a line");
const _: () = assert!(HTTP_HEAD_MS < HTTP_CONNECTION_MS);

/// How often housekeeping looks around, in seconds.
pub const HOUSEKEEPING_S: u64 = 2;
/// Connections that ended or whose keys were put away, after which free memory is given back.
pub const TRIM_AFTER_KEYS: u64 = 512;
