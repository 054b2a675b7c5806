//! How much of something is allowed in how much time.

use hushwire_wire::cell::Class;

use crate::limits::{EngineLimits, SOURCE_BUCKETS};
use crate::time::Time;

const SECOND_NANOS: u64 = 1_000_000_000;

/// What a cell costs in time, and the burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tariff {
    cell_nanos: u64,
    class_nanos: [u64; 8],
    burst_nanos: u64,
}

impl Tariff {
    pub(crate) fn new(limits: &EngineLimits) -> Self {
        let class_nanos =
            Class::ALL.map(|class| class.cell_len() as u64 * SECOND_NANOS / limits.bytes_per_s);
        Self {
            cell_nanos: SECOND_NANOS / u64::from(limits.cells_per_s),
            class_nanos,
            burst_nanos: u64::from(limits.burst_s) * SECOND_NANOS,
        }
    }
}

/// Which rate was exceeded, and when the next cell of that size may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Cells { wait_ms: u32 },
    Bytes { wait_ms: u32 },
}

/// The two rates of one device: the generic cell rate algorithm (ITU-T I.371), its theoretical arrival
/// times in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    cells: u64,
    bytes: u64,
}

impl Pace {
    #[inline]
    pub(crate) fn admit(
        &mut self,
        tariff: &Tariff,
        class: Class,
        now: Time,
    ) -> Result<(), Exceeded> {
        let now = now.as_nanos();
        let cells = self.cells.max(now) + tariff.cell_nanos;
        let bytes = self.bytes.max(now) + tariff.class_nanos[class as usize];
        let horizon = now + tariff.burst_nanos;
        if cells <= horizon && bytes <= horizon {
            *self = Self { cells, bytes };
            return Ok(());
        }
        let wait_ms = |until: u64| (until - horizon).div_ceil(1_000_000) as u32;
        if cells > horizon {
            Err(Exceeded::Cells { wait_ms: wait_ms(cells) })
        } else {
            Err(Exceeded::Bytes { wait_ms: wait_ms(bytes) })
        }
    }
}

/// Events counted from the first one of a window on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    start: Time,
    count: u32,
}

impl Window {
    /// Counts one event; its number in this window.
    pub(crate) fn count(&mut self, length_ms: u64, now: Time) -> u32 {
        if self.is_over(length_ms, now) {
            *self = Self { start: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }

    /// Counts one event if fewer than `max` were; else the wait in milliseconds.
    pub(crate) fn take(&mut self, max: u32, length_ms: u64, now: Time) -> Result<(), u32> {
        if self.count >= max && !self.is_over(length_ms, now) {
            let end = self.start.after_millis(length_ms);
            return Err(end.since(now).as_millis() as u32 + 1);
        }
        self.count(length_ms, now);
        Ok(())
    }

    pub(crate) fn is_over(&self, length_ms: u64, now: Time) -> bool {
        self.count == 0 || now >= self.start.after_millis(length_ms)
    }

    pub(crate) fn end(&self, length_ms: u64) -> Time {
        self.start.after_millis(length_ms)
    }
}

/// Handshakes by source. Two rows of buckets, each source has one bucket in either; it is over its rate
/// when both say so (a count-min sketch), so an innocent suffers only if both are shared with the guilty,
/// and no number of sources makes the table grow.
pub(crate) struct Sources {
    rows: [alloc::vec::Vec<u64>; 2],
    nanos: u64,
}

impl Sources {
    pub(crate) fn new(per_s: u32) -> Self {
        let row = || alloc::vec![0; SOURCE_BUCKETS];
        Self { rows: [row(), row()], nanos: SECOND_NANOS / u64::from(per_s) }
    }

    /// `hash` is keyed; its halves choose the buckets.
    pub(crate) fn admit(&mut self, hash: u64, now: Time) -> bool {
        let now = now.as_nanos();
        let at = [hash as usize % SOURCE_BUCKETS, (hash >> 32) as usize % SOURCE_BUCKETS];
        let [first, second] = &mut self.rows;
        let (first, second) = (&mut first[at[0]], &mut second[at[1]]);
        let next = (*first).max(now).min((*second).max(now)) + self.nanos;
        if next > now + SECOND_NANOS {
            return false;
        }
        *first = next.max(*first);
        *second = next.max(*second);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let tariff = Tariff::new(&EngineLimits::default());
        let check = |class: Class, burst: u32, per_second: u32| {
            let mut pace = Pace::default();
            let start = Time::from_millis(1_000_000);
            let mut admitted = |now| {
                let mut count = 0;
                while pace.admit(&tariff, class, now).is_ok() {
                    count += 1;
                }
                count
            };
            assert_eq!(admitted(start), burst, "{class:?}");
            let next = admitted(start.after_millis(1_000));
            assert!(next.abs_diff(per_second) <= 1, "{class:?}: {next}");
        };
        check(Class::C0, 4_000, 2_000);
        check(Class::C5, 4_000, 2_000);
        check(Class::C6, 2_048, 1_024);
        check(Class::C7, 1_024, 512);
    }

    #[test]
    fn what_exceeds_is_named_with_its_wait() {
        let tariff = Tariff::new(&EngineLimits::default());
        let mut pace = Pace::default();
        while pace.admit(&tariff, Class::C0, Time::ZERO).is_ok() {}
        assert_eq!(pace.admit(&tariff, Class::C0, Time::ZERO), Err(Exceeded::Cells { wait_ms: 1 }));
        let mut pace = Pace::default();
        while pace.admit(&tariff, Class::C7, Time::ZERO).is_ok() {}
        let Err(Exceeded::Bytes { wait_ms }) = pace.admit(&tariff, Class::C7, Time::ZERO) else {
            panic!("bytes are exceeded")
        };
        assert_eq!(pace.admit(&tariff, Class::C7, Time::from_millis(wait_ms.into())), Ok(()));
    }

    #[test]
    fn a_window_counts_from_its_first_event() {
        let mut window = Window::default();
        let at = Time::from_millis;
        assert_eq!(window.take(2, 60_000, at(500)), Ok(()));
        assert_eq!(window.take(2, 60_000, at(600)), Ok(()));
        assert_eq!(window.take(2, 60_000, at(30_500)), Err(30_001));
        assert_eq!(window.take(2, 60_000, at(60_500)), Ok(()));
        assert_eq!(window.count(60_000, at(60_501)), 2);
    }

    #[test]
    fn a_source_has_twenty_handshakes_a_second_and_others_do_not_pay() {
        let mut sources = Sources::new(20);
        let now = Time::from_millis(10_000);
        let admitted = |sources: &mut Sources, hash, now| {
            (0..100).filter(|_| sources.admit(hash, now)).count()
        };
        assert_eq!(admitted(&mut sources, 0x5_0000_0007, now), 20);
        assert_eq!(admitted(&mut sources, 0x6_0000_0007, now), 20, "one shared bucket");
        assert_eq!(admitted(&mut sources, 0x5_0000_0007, now.after_millis(500)), 10);
    }
}
