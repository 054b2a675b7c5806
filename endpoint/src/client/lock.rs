//! The one lock of a client. Handles and the background task share its state under it; it is never held across an
//! await, and never longer than one turn of the task takes.

#![expect(
    clippy::disallowed_types,
    reason = "handles are called from any thread and act on the state machines directly; a channel in between would \
              cost a copy and a wake for every piece of a stream"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex that does not care about poison: what panicked is a bug, and whoever else holds a handle should still hear
/// that the client is closed.
#[derive(Debug)]
pub(super) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
