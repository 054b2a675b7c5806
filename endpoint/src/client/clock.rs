//! The only place of the endpoint that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::conversation::Moment;

#[expect(clippy::disallowed_methods, reason = "the client is where time enters the state machines")]
pub(super) fn moment() -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ns = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
    Moment { now: Instant::now(), unix_ns }
}
