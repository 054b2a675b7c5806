//! The flag of a sleeping shard, apart from what it wakes, so that a model checker can drive it.

use super::atomics::{AtomicBool, Ordering, fence};

/// Raised while its shard sleeps or is about to.
#[derive(Debug)]
pub(crate) struct SleepFlag(AtomicBool);

impl SleepFlag {
    /// A flag that is down: the shard is awake.
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// The sleeper is about to sleep. It must look at its inboxes after this call, and may sleep only
    /// if they are empty.
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The sleeper is awake again.
    pub(crate) fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Called after posting. Whether the caller is the one who must wake the sleeper.
    pub(crate) fn should_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}
