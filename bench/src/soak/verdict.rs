//! Whether anything has grown: the last minutes held against the first.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Sample, Soak};
use crate::statistics::median;

/// How long either window is, where the soak is three times as long.
const WINDOW: Duration = Duration::from_secs(300);
/// Samples of the shortest soak: a window has one.
pub(super) const SAMPLES_MIN: usize = 3;

/// The bar: own memory that may be added, bytes. Seventy thousand connections come between two windows of half an hour: a
/// leak of sixty bytes each is seen, and a longer soak sees less.
const MEMORY_BYTES_BAR: f64 = 4.0 * 1024.0 * 1024.0;
/// The bar: descriptors that may be added, as devices come and go while they are counted.
const DESCRIPTORS_BAR: f64 = 4.0;
/// The bar: how far the p99.9 may rise. Far percentiles are partly the scheduler's.
const P999_BAR: f64 = 1.5;

/// Which samples are the first, and which the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    samples: usize,
    /// Samples of either.
    length: usize,
    pub(super) each: Duration,
}

impl Windows {
    pub(super) fn of(samples: usize, every: Duration) -> Self {
        let most = (WINDOW.as_secs_f64() / every.as_secs_f64()).round() as usize;
        let length = most.min(samples / 3).max(1);
        Self { samples, length, each: every * length as u32 }
    }

    pub(super) const fn first(self) -> Range<usize> {
        0..self.length
    }

    pub(super) const fn last(self) -> Range<usize> {
        self.samples - self.length..self.samples
    }
}

/// A value in the first window and in the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) within: bool,
}

impl Change {
    fn of_difference(first: f64, last: f64, bar: f64) -> Self {
        Self { first, last, within: last - first <= bar }
    }

    fn of_ratio(first: f64, last: f64, bar: f64) -> Self {
        Self { first, last, within: last / first <= bar }
    }
}

/// What a soak says.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Own memory of the relay, bytes, medians.
    pub(super) memory: Change,
    /// Bytes for each connection that was closed between the middles of the windows, where any was.
    pub(super) bytes_per_connection: Option<f64>,
    /// Descriptors of the relay, medians.
    pub(super) descriptors: Change,
    /// Descriptors with the pairs alone: before anybody came, and when all had left.
    pub(super) at_rest: Change,
    /// Error counters that have moved since before anybody came.
    pub(super) errors: Vec<(&'static str, u64)>,
    /// Microseconds, of all messages of the window.
    pub(super) p999: Change,
    /// Messages that came back, and visits that failed.
    pub(super) refused: u64,
    pub(super) failed: u64,
}

impl Verdict {
    pub(super) fn of(soak: &Soak) -> Self {
        let windows = soak.windows;
        let middle = |range: Range<usize>, value: &dyn Fn(&Sample) -> f64| {
            let samples = soak.samples.get(range).unwrap_or_default();
            median(&samples.iter().map(value).collect::<Vec<_>>()).unwrap_or(f64::NAN)
        };
        let both = |value: &dyn Fn(&Sample) -> f64| {
            (middle(windows.first(), value), middle(windows.last(), value))
        };
        let (first, last) = both(&|it| it.look.resident.anonymous_bytes as f64);
        let memory = Change::of_difference(first, last, MEMORY_BYTES_BAR);
        let (closed_first, closed_last) = both(&|it| it.look.closed as f64);
        let (first, last) = both(&|it| it.look.descriptors as f64);
        let descriptors = Change::of_difference(first, last, DESCRIPTORS_BAR);
        let at_rest = [&soak.before, &soak.after].map(|look| look.descriptors as f64);
        let us = |latency: &Histogram<u64>| latency.value_at_quantile(0.999) as f64 / 1_000.0;
        Self {
            memory,
            bytes_per_connection: (closed_last > closed_first)
                .then(|| (memory.last - memory.first) / (closed_last - closed_first)),
            descriptors,
            at_rest: Change::of_difference(at_rest[0], at_rest[1], 0.0),
            errors: soak.after.errors_since(&soak.before),
            p999: Change::of_ratio(us(&soak.first), us(&soak.last), P999_BAR),
            refused: soak.samples.iter().map(|sample| sample.outcome.refused).sum(),
            failed: soak.counts.failed,
        }
    }

    /// Whether nothing has grown and nothing went wrong.
    pub(super) fn is_within(&self) -> bool {
        [self.memory, self.descriptors, self.at_rest, self.p999].iter().all(|it| it.within)
            && self.errors.is_empty()
            && (self.refused, self.failed) == (0, 0)
    }

    /// The bars of memory, descriptors and p99.9.
    pub(super) const fn bars() -> [f64; 3] {
        [MEMORY_BYTES_BAR, DESCRIPTORS_BAR, P999_BAR]
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{ERRORS, Look};
    use super::super::{Counts, Interval};
    use super::*;
    use crate::procfs::Resident;

    #[test]
    fn windows_are_five_minutes_and_never_meet() {
        let check = |samples, every_s, first, last| {
            let windows = Windows::of(samples, Duration::from_secs(every_s));
            assert_eq!((windows.first(), windows.last()), (first, last), "{samples} x {every_s} s");
        };
        check(180, 10, 0..30, 150..180);
        check(12, 10, 0..4, 8..12);
        check(3, 10, 0..1, 2..3);
        check(30, 600, 0..1, 29..30);
    }

    const EVERY: Duration = Duration::from_secs(10);

    fn look(anonymous_bytes: u64, descriptors: u64) -> Look {
        let resident = Resident { all_bytes: 2 * anonymous_bytes, anonymous_bytes };
        Look { resident, descriptors, errors: [0; ERRORS.len()], closed: 0 }
    }

    /// Nine samples in which nothing happens but that a thousand connections are closed in each.
    fn calm() -> Soak {
        let sample = |number: u64| Sample {
            at_s: 10.0 * (number + 1) as f64,
            outcome: Interval {
                delivered: 1_000,
                refused: 0,
                elapsed_ns: 10_000_000_000,
                server_cpu_ns: 1,
                load_cpu_ns: 1,
                latency_us: [1.0; 5],
                late_us: 1.0,
            },
            look: Look { closed: 1_000 * number, ..look(10 << 20, 500) },
            churned: Counts::default(),
        };
        let mut latency = Histogram::new(3).unwrap();
        latency.record(1_000_000).unwrap();
        Soak {
            samples: (0..9).map(sample).collect(),
            windows: Windows::of(9, EVERY),
            first: latency.clone(),
            last: latency,
            before: look(9 << 20, 490),
            after: look(10 << 20, 490),
            counts: Counts::default(),
            failure: None,
        }
    }

    #[test]
    fn whatever_goes_wrong_is_seen() {
        #[track_caller]
        fn check(what: &str, spoil: impl FnOnce(&mut Soak)) {
            let mut soak = calm();
            assert!(Verdict::of(&soak).is_within());
            spoil(&mut soak);
            assert!(!Verdict::of(&soak).is_within(), "{what} was not seen");
        }
        check("memory", |soak| {
            for sample in &mut soak.samples[6..] {
                sample.look.resident.anonymous_bytes += 5 << 20;
            }
        });
        check("descriptors", |soak| {
            soak.samples[6..].iter_mut().for_each(|sample| sample.look.descriptors += 5);
        });
        check("one descriptor at rest", |soak| soak.after.descriptors += 1);
        check("an error", |soak| soak.after.errors[ERRORS.len() - 1] += 1);
        check("latency", |soak| soak.last.record_n(1_600_000, 1_000).unwrap());
        check("a message that came back", |soak| soak.samples[4].outcome.refused = 1);
        check("a visit that failed", |soak| soak.counts.failed = 1);
    }

    #[test]
    fn growth_is_told_for_each_connection() {
        let mut soak = calm();
        for sample in &mut soak.samples[6..] {
            sample.look.resident.anonymous_bytes += 60_000;
        }
        let verdict = Verdict::of(&soak);
        assert!(verdict.is_within());
        assert_eq!(verdict.bytes_per_connection, Some(10.0), "six thousand were closed meanwhile");
        soak.after.errors[0] = 3;
        assert_eq!(Verdict::of(&soak).errors, [("bugs", 3)]);
        soak.samples.iter_mut().for_each(|sample| sample.look.closed = 7);
        assert_eq!(Verdict::of(&soak).bytes_per_connection, None);
    }

    #[test]
    fn only_growth_is_above_a_bar() {
        let difference = |first, last| Change::of_difference(first, last, 4.0).within;
        assert!(difference(10.0, 14.0) && difference(10.0, 1.0) && !difference(10.0, 14.5));
        assert!(!difference(f64::NAN, 1.0) && !difference(1.0, f64::NAN));
        let ratio = |first, last| Change::of_ratio(first, last, 1.5).within;
        assert!(ratio(2.0, 3.0) && ratio(2.0, 0.1) && !ratio(2.0, 3.1));
        assert!(!ratio(0.0, 0.0), "nothing was measured");
    }
}
