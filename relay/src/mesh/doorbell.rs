//! Waking a shard once, and only if it sleeps.
//!
//! The sleeper raises its flag, then looks at its inboxes once more, then sleeps; the poster posts, then
//! looks at the flag. With a sequentially consistent fence between the two steps on either side, one of
//! them sees the other: a post is never slept over. `tests/doorbell_loom.rs` walks every interleaving.

use hushwire_uring::Wake;

use super::sleep_flag::SleepFlag;

/// A shard's flag and the descriptor its ring watches.
#[derive(Debug)]
pub(crate) struct Doorbell {
    flag: SleepFlag,
    wake: Wake,
}

impl Doorbell {
    /// Wires a flag to a wake-up that a ring watches.
    pub(crate) fn new(wake: Wake) -> Self {
        Self { flag: SleepFlag::new(), wake }
    }

    /// Wakes the shard if it sleeps; called after posting.
    pub(crate) fn ring(&self) {
        if self.flag.should_wake() {
            self.wake.notify();
        }
    }

    /// The flag, for the shard itself.
    pub(crate) fn flag(&self) -> &SleepFlag {
        &self.flag
    }

    /// The wake-up, for the shard's ring.
    pub(crate) fn wake(&self) -> &Wake {
        &self.wake
    }
}
