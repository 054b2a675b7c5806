//! What has to be done now and then, and by nobody in a hurry.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::limits::{HOUSEKEEPING_S, TRIM_AFTER_KEYS};
use super::operator::Operator;

/// Gives memory back whenever shards have put away the keys of many connections since the last time.
///
/// The contexts of idle keys are freed by C code into the C library's heap, which would keep their pages.
pub(super) async fn keep(operator: Arc<Operator>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(HOUSEKEEPING_S));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trimmed_at = 0;
    let mut waiting = 0;
    loop {
        ticks.tick().await;
        let freed: u64 = operator.shards.iter().map(|shard| shard.metrics.heap_freed()).sum();
        // Once more after the last of a wave: what was freed since the trim would stay otherwise.
        if freed.saturating_sub(trimmed_at) >= TRIM_AFTER_KEYS
            || (freed == waiting && freed > trimmed_at)
        {
            hushwire_uring::memory::give_back();
            trimmed_at = freed;
        }
        waiting = freed;
    }
}
