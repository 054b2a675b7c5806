//! Keeping to the rates that WELCOME names, with the relay's own method: the generic cell rate algorithm
//! (ITU-T I.371). This side uses a part of the burst only, so that the jitter of the way does no harm.

use std::time::{Duration, Instant};

use hushwire_wire::cell::Class;
use hushwire_wire::control::HopLimits;

use super::limits::{BURST_MS, BYTES_PER_S_MIN, CELLS_PER_S_MIN, HOLD_MS_MAX};

const BURST: Duration = Duration::from_millis(BURST_MS);

/// When the next cell may go.
#[derive(Debug)]
pub(super) struct Pace {
    cell: Duration,
    byte_ps: u64,
    /// Theoretical arrival times.
    cells: Instant,
    bytes: Instant,
}

impl Pace {
    pub(super) fn new(limits: &HopLimits, now: Instant) -> Self {
        Self {
            cell: Duration::from_secs(1) / limits.cells_per_s.max(CELLS_PER_S_MIN),
            byte_ps: 1_000_000_000_000 / limits.bytes_per_s.max(BYTES_PER_S_MIN),
            cells: now,
            bytes: now,
        }
    }

    /// When a cell may be sent: in the past for now. One cell of any size is let through at that time.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        let at = self.cells.max(self.bytes);
        let ready = at.checked_sub(BURST)?;
        (ready > now).then_some(ready)
    }

    /// Charges a cell that is sent.
    pub(super) fn charge(&mut self, class: Class, now: Instant) {
        let picoseconds = self.byte_ps.saturating_mul(class.cell_len() as u64);
        self.cells = self.cells.max(now) + self.cell;
        self.bytes = self.bytes.max(now) + Duration::from_nanos(picoseconds / 1_000);
    }

    /// The relay said that it was too much: sends nothing for `wait`, at most a minute.
    pub(super) fn hold(&mut self, wait: Duration, now: Instant) {
        let wait = wait.min(Duration::from_millis(HOLD_MS_MAX));
        self.cells = self.cells.max(now + wait + BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_burst_then_the_rate() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
        let start = Instant::now();
        let check = |class: Class, cells_per_s: u32, bytes_per_s: u64, expect: u32| {
            let limits = HopLimits { cells_per_s, bytes_per_s, egress_bytes: 0, idle_ms: 0 };
            let mut pace = Pace::new(&limits, start);
            let mut sent = |now| {
                let mut count = 0;
                while pace.ready_at(now).is_none() {
                    pace.charge(class, now);
                    count += 1;
                }
                count
            };
            let first: u32 = sent(start);
            assert!(first.abs_diff(expect) <= 1, "{class:?}: {first}");
            let next: u32 = sent(start + Duration::from_secs(1));
            assert!(next.abs_diff(expect) <= 1, "{class:?}: {next}");
        };
        check(Class::C0, 2_000, 1 << 24, 2_000);
        check(Class::C7, 2_000, 1 << 24, 512);
    }

    #[test]
    fn absurd_rates_and_pauses_are_bounded() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
        let start = Instant::now();
        for (cells_per_s, bytes_per_s) in [(0, 0), (1, 1), (u32::MAX, u64::MAX)] {
            let limits =
                HopLimits { cells_per_s, bytes_per_s, egress_bytes: u32::MAX, idle_ms: u32::MAX };
            let mut pace = Pace::new(&limits, start);
            for _ in 0..100 {
                pace.charge(Class::C7, start);
            }
            let later = start + Duration::from_secs(100);
            assert_eq!(pace.ready_at(later), None, "{cells_per_s} {bytes_per_s}");
            pace.hold(Duration::from_millis(u64::from(u32::MAX)), later);
            assert!(pace.ready_at(later).is_some());
            assert_eq!(pace.ready_at(later + Duration::from_millis(HOLD_MS_MAX)), None);
        }
    }
}
