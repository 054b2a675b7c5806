//! Every number of the link to the relay, unit last. Those of the protocol stand in `hushwire_wire::limits`.

use hushwire_wire::cell::CELL_LEN_MAX;
use hushwire_wire::limits::{IDLE_MS, KEEP_ALIVE_MS};

/// Requests to the relay that may wait for their answers.
pub const REQUESTS_MAX: usize = 64;
/// A request that is not answered in this time has failed.
pub const REQUEST_MS_MAX: u64 = 10_000;
/// Sent cells a lane remembers, to know what UNDELIVERABLE speaks of.
pub const SENT_CELLS_MAX: usize = 2_048;
/// Silence from the relay after which it is asked for a sign of life.
pub const PROBE_MS: u64 = 45_000;
/// Of the burst that WELCOME's rates allow, which part is used, in milliseconds of the rate.
pub const BURST_MS: u64 = 1_000;

/// The relay's rates are not heeded below this: they would only be a slow way to refuse service.
pub const CELLS_PER_S_MIN: u32 = 1;
/// See [`CELLS_PER_S_MIN`]: one cell of the largest class.
pub const BYTES_PER_S_MIN: u64 = CELL_LEN_MAX as u64;
/// However long the relay asks for a pause in sending, it is over after this.
pub const HOLD_MS_MAX: u64 = 60_000;
/// However long the relay tells a device to stay away, it comes back after this.
pub const RECONNECT_MS_MAX: u64 = 300_000;

const _: () =
    assert!(PROBE_MS + REQUEST_MS_MAX < IDLE_MS, "a dead relay is noticed in its idle time");
const _: () = assert!(PROBE_MS > KEEP_ALIVE_MS);
