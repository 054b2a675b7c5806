//! Waiting longer after each failure, by a random time: full jitter (Brooker, *Exponential Backoff and Jitter*, 2015).

use std::time::Duration;

use hushwire_wire::limits::BACKOFF_MS;

use crate::suite::random::{Random, draw};

/// The waits after failures in a row: uniform between 0 and 1, 2, 4 … 30 s.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and draws the wait after it.
    pub fn next(&mut self, random: &mut dyn Random) -> Duration {
        let most = most_ms(self.failures);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(u64::from_le_bytes(draw(random)) % (most + 1))
    }

    /// Whether nothing has failed since it last worked.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// It worked for so long. If that is longer than the last wait could have been, the next one is short again:
    /// whatever keeps failing is still not tried more often than the waits alone would have it.
    pub fn worked_for(&mut self, time: Duration) {
        let last = self.failures.checked_sub(1).map_or(0, most_ms);
        if time > Duration::from_millis(last) {
            self.reset();
        }
    }

    /// It worked: the next wait is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The longest wait after a failure with so many before it.
fn most_ms(failures: u32) -> u64 {
    let (first, last) = BACKOFF_MS;
    first.saturating_mul(1 << failures.min(16)).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Highest;
    impl Random for Highest {
        fn fill(&mut self, bytes: &mut [u8]) {
            // The largest number that is one less than a multiple of every bound used here.
            bytes.copy_from_slice(&u64::MAX.to_le_bytes()[..bytes.len()]);
        }
    }

    #[test]
    fn bounds_double_up_to_thirty_seconds() {
        let mut backoff = Backoff::default();
        for bound in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let wait = backoff.next(&mut Highest);
            assert_eq!(u128::from(u64::MAX % (bound + 1)), wait.as_millis(), "{bound}");
        }
        backoff.reset();
        assert!(backoff.next(&mut Highest) <= Duration::from_millis(1_000));
    }

    #[test]
    fn what_worked_for_longer_than_the_last_wait_was_no_failure() {
        for (failures, last) in [(1, 1_000), (2, 2_000), (5, 16_000), (6, 30_000), (90, 30_000)] {
            for (time, again) in [(last, false), (last + 1, true)] {
                let mut backoff = Backoff { failures };
                backoff.worked_for(Duration::from_millis(time));
                let expect = if again { 0 } else { failures };
                assert_eq!(backoff.failures, expect, "{failures} failures, {time} ms");
            }
        }
    }
}
