//! The task that writes to the journal: everything that waits in one go. Nobody acts on an entry before it is there.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::clock::moment;
use super::limits::{COMPANY_MS, EXPIRY_LOOK_MS_MAX, STORAGE_RETRY_MS};
use super::state::{Batch, Storage};
use crate::journal::{Journal, JournalError};

/// The journal comes back with what was to be stored, and what became of it.
type Appended = (Journal, Batch, Result<(), JournalError>);

/// Runs until the client has ended and everything is stored; then another process may have the keystore.
pub(super) async fn run(shared: Arc<Shared>, journal: Journal) {
    store(&shared, journal).await;
    shared.state.lock().release();
    shared.wake();
}

async fn store(shared: &Shared, mut journal: Journal) {
    while let Some(batch) = next_batch(shared).await {
        // The runtime is shutting down: nothing is stored any more, and so nothing is acted on.
        let Some((same, batch, outcome)) = append(journal, batch).await else { return };
        journal = same;
        match outcome {
            Ok(()) => {
                shared.state.lock().stored(batch);
                shared.wake();
                shared.work.notify_one();
            }
            Err(error) => {
                shared.state.lock().not_stored(batch, &error.to_string());
                shared.wake();
                if shared.state.lock().ended.is_some() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(STORAGE_RETRY_MS)).await;
                shared.state.lock().may_store_again();
            }
        }
    }
}

/// Waits for something to be stored. A message goes at once, and everything else with it; what only tells of ends and
/// cursors waits a little for company, for the peer is not waiting for it. `None` once the client has ended and
/// everything is stored.
async fn next_batch(shared: &Shared) -> Option<Batch> {
    let mut company_until = None;
    loop {
        let (storage, next_expiry_s) = {
            let mut state = shared.state.lock();
            let next_expiry_s = state.expire();
            (state.storage(), next_expiry_s)
        };
        shared.wake();
        let wait = match storage {
            Storage::Over => return None,
            Storage::Idle => until(next_expiry_s),
            Storage::Urgent => return Some(shared.state.lock().take_batch()),
            Storage::Patient => {
                let now = moment().now;
                let company = Duration::from_millis(COMPANY_MS);
                let until = *company_until.get_or_insert(now + company);
                if now >= until {
                    return Some(shared.state.lock().take_batch());
                }
                until - now
            }
        };
        tokio::select! {
            () = shared.storage.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Appends on a thread that may block; where that takes microseconds, here.
async fn append(mut journal: Journal, batch: Batch) -> Option<Appended> {
    if journal.is_quick(&batch.entries) {
        let outcome = journal.append(&batch.entries);
        return Some((journal, batch, outcome));
    }
    let appended = tokio::task::spawn_blocking(move || {
        let outcome = journal.append(&batch.entries);
        (journal, batch, outcome)
    });
    appended.await.ok()
}

/// The wall clock may be set meanwhile: it is looked at often enough.
fn until(next_expiry_s: Option<u64>) -> Duration {
    let most = Duration::from_millis(EXPIRY_LOOK_MS_MAX);
    next_expiry_s.map_or(most, |at| {
        let at = Duration::from_secs(at);
        at.saturating_sub(Duration::from_nanos(moment().unix_ns)).min(most)
    })
}
