//! Deadlines of connections. One entry each, so the wheel is as large as the connection table; a cell
//! only notes when it was heard, and an entry that falls due too early is armed again.

use alloc::vec::Vec;

use crate::limits::{TICK_NANOS, WHEEL_BUCKETS};
use crate::time::Time;

const NONE: u32 = u32::MAX;
const WORDS: usize = WHEEL_BUCKETS / 64;

/// A timing wheel (Varghese and Lauck, scheme 6) with intrusive lists.
pub(crate) struct Wheel {
    heads: Vec<u32>,
    occupied: [u64; WORDS],
    links: Vec<Link>,
    /// Every earlier tick is empty.
    cursor: u64,
}

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    /// `NONE` where not armed.
    bucket: u32,
}

/// What the entry of one index takes.
pub(crate) const LINK_BYTES: usize = size_of::<Link>();

const IDLE: Link = Link { previous: NONE, next: NONE, bucket: NONE };

impl Wheel {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            heads: alloc::vec![NONE; WHEEL_BUCKETS],
            occupied: [0; WORDS],
            links: Vec::with_capacity(capacity as usize),
            cursor: 0,
        }
    }

    /// Arms `index` for the first tick not before `at`, or for the horizon if that is nearer; an earlier
    /// arming is forgotten.
    pub(crate) fn arm(&mut self, index: u32, at: Time) {
        self.disarm(index);
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, IDLE);
        }
        let tick = at.as_nanos().div_ceil(TICK_NANOS);
        let tick = tick.clamp(self.cursor, self.cursor + WHEEL_BUCKETS as u64 - 1);
        let bucket = (tick % WHEEL_BUCKETS as u64) as usize;
        let next = self.heads[bucket];
        if next != NONE {
            self.links[next as usize].previous = index;
        }
        self.links[index as usize] = Link { previous: NONE, next, bucket: bucket as u32 };
        self.heads[bucket] = index;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    pub(crate) fn disarm(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        let Link { previous, next, bucket } = core::mem::replace(link, IDLE);
        if bucket == NONE {
            return;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if previous != NONE {
            self.links[previous as usize].next = next;
            return;
        }
        let bucket = bucket as usize;
        self.heads[bucket] = next;
        if next == NONE {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
    }

    /// When [`Wheel::pop`] next has something.
    pub(crate) fn next(&self) -> Option<Time> {
        self.next_tick().map(|tick| Time::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// Disarms and returns one entry that is due.
    pub(crate) fn pop(&mut self, now: Time) -> Option<u32> {
        let last = now.as_nanos() / TICK_NANOS;
        match self.next_tick().filter(|&tick| tick <= last) {
            Some(tick) => {
                self.cursor = tick;
                let index = self.heads[(tick % WHEEL_BUCKETS as u64) as usize];
                self.disarm(index);
                Some(index)
            }
            None => {
                self.cursor = self.cursor.max(last + 1);
                None
            }
        }
    }

    fn next_tick(&self) -> Option<u64> {
        let start = (self.cursor % WHEEL_BUCKETS as u64) as usize;
        let (word, bit) = (start / 64, start % 64);
        let distance = |bucket: usize| ((bucket + WHEEL_BUCKETS - start) % WHEEL_BUCKETS) as u64;
        for step in 0..=WORDS {
            let at = (word + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << bit,
                WORDS => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let bits = self.occupied[at] & mask;
            if bits != 0 {
                return Some(self.cursor + distance(at * 64 + bits.trailing_zeros() as usize));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_MS: u64 = TICK_NANOS.div_ceil(1_000_000);

    #[test]
    fn entries_fall_due_in_order_and_never_early() {
        let mut wheel = Wheel::new(8);
        for (index, millis) in [(0, 5_000), (1, 60_000), (2, 5_000), (3, 1), (4, 30_000)] {
            wheel.arm(index, Time::from_millis(millis));
        }
        wheel.disarm(2);
        wheel.arm(4, Time::from_millis(2_000));
        let mut due = alloc::vec![];
        while let Some(at) = wheel.next() {
            assert_eq!(wheel.pop(Time::from_nanos(at.as_nanos() - 1)), None);
            due.push((wheel.pop(at).expect("due"), at));
        }
        let expect = [(3, 1), (4, 2_000), (0, 5_000), (1, 60_000)];
        assert_eq!(due.len(), expect.len());
        for ((index, at), (index_due, millis)) in due.into_iter().zip(expect) {
            assert_eq!(index, index_due);
            assert!(
                at >= Time::from_millis(millis) && at < Time::from_millis(millis + TICK_MS + 1)
            );
        }
    }

    #[test]
    fn beyond_the_horizon_an_entry_falls_due_at_the_horizon() {
        let mut wheel = Wheel::new(1);
        let late = Time::from_millis(500_000);
        assert_eq!(wheel.pop(late), None);
        wheel.arm(0, late.after_millis(1_000_000));
        let at = wheel.next().expect("armed");
        assert!(at > late.after_millis(60_000) && at < late.after_millis(70_000));
        assert_eq!(wheel.pop(at), Some(0));
        assert_eq!(wheel.next(), None);
        wheel.arm(0, Time::ZERO);
        assert_eq!(wheel.pop(at.after_nanos(TICK_NANOS)), Some(0), "the past is due now");
    }
}
