//! The one place that reads a clock.

use std::time::Instant;

/// Nanoseconds since a fixed moment of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock, and this owns it")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    #[inline]
    pub(crate) fn now_ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// The moment for those who count in their own way.
    #[inline]
    pub(crate) fn instant(self) -> Instant {
        self.0 + self.0.elapsed()
    }
}
