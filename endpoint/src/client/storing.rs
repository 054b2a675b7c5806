//! The task that writes to the journal: everything that waits in one go. Nobody acts on an entry before it is there.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::clock::moment;
use super::limits::{EXPIRY_LOOK_MS_MAX, STORAGE_RETRY_MS};
use crate::journal::Journal;

/// Runs until the client has ended and everything is stored.
pub(super) async fn run(shared: Arc<Shared>, mut journal: Journal) {
    loop {
        let (mut batch, next_expiry_s, ended) = {
            let mut state = shared.state.lock();
            let next = state.expire();
            (state.take_batch(), next, state.ended.is_some())
        };
        if batch.entries.is_empty() {
            if ended {
                return;
            }
            shared.wake();
            tokio::select! {
                () = shared.storage.notified() => {}
                () = tokio::time::sleep(until(next_expiry_s)) => {}
            }
            continue;
        }
        let appended = tokio::task::spawn_blocking(move || {
            let outcome = journal.append(&batch.entries);
            (journal, batch, outcome)
        });
        // The runtime is shutting down: nothing is stored any more, and so nothing is acted on.
        let Ok((same, stored, outcome)) = appended.await else { return };
        (journal, batch) = (same, stored);
        match outcome {
            Ok(()) => {
                shared.state.lock().stored(batch);
                shared.wake();
                shared.work.notify_one();
            }
            Err(error) => {
                shared.state.lock().not_stored(batch, &error.to_string());
                shared.wake();
                if ended {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(STORAGE_RETRY_MS)).await;
                shared.state.lock().may_store_again();
            }
        }
    }
}

/// The wall clock may be set meanwhile: it is looked at often enough.
fn until(next_expiry_s: Option<u64>) -> Duration {
    let most = Duration::from_millis(EXPIRY_LOOK_MS_MAX);
    next_expiry_s.map_or(most, |at| {
        let at = Duration::from_secs(at);
        at.saturating_sub(Duration::from_nanos(moment().unix_ns)).min(most)
    })
}
