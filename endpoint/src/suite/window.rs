//! The sliding anti-replay window of one direction (after RFC 6479): each sequence number is taken once,
//! in any order within the last 1 024.

use super::limits::{SEQUENCE_JUMP_MAX, WINDOW_FRAMES};

const WORDS: usize = (WINDOW_FRAMES / 64) as usize;

/// What the window says about a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not taken yet.
    Fresh,
    /// Taken before.
    Taken,
    /// Too old, or impossibly far ahead: most likely of another session.
    Outside,
}

/// Which of the last sequence numbers were taken.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// One more than the highest taken; zero before the first.
    next: u64,
    /// Bit `sequence % 1 024`; only numbers in `next − 1 024 .. next` have one.
    taken: [u64; WORDS],
}

impl Window {
    /// Where `sequence` lies: inside `(highest − 1 024, highest + 2^20)` or not.
    pub(super) fn place(&self, sequence: u64) -> Place {
        let first = self.next.saturating_sub(WINDOW_FRAMES);
        let end = self.next.saturating_add(SEQUENCE_JUMP_MAX - 1);
        if sequence < first || sequence >= end {
            Place::Outside
        } else if sequence < self.next && self.bit(sequence) {
            Place::Taken
        } else {
            Place::Fresh
        }
    }

    /// Takes `sequence`, which must be [`Place::Fresh`].
    pub(super) fn take(&mut self, sequence: u64) {
        assert_eq!(self.place(sequence), Place::Fresh, "a sequence number is taken once");
        if sequence >= self.next {
            if sequence - self.next >= WINDOW_FRAMES {
                self.taken = [0; WORDS];
            } else {
                for skipped in self.next..=sequence {
                    let (word, bit) = position(skipped);
                    self.taken[word] &= !bit;
                }
            }
            self.next = sequence + 1;
        }
        let (word, bit) = position(sequence);
        self.taken[word] |= bit;
    }

    fn bit(&self, sequence: u64) -> bool {
        let (word, bit) = position(sequence);
        self.taken[word] & bit != 0
    }
}

fn position(sequence: u64) -> (usize, u64) {
    let index = sequence % WINDOW_FRAMES;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_edges_are_where_the_annex_puts_them() {
        let mut window = Window::default();
        assert_eq!(window.place(SEQUENCE_JUMP_MAX - 1), Place::Outside);
        assert_eq!(window.place(SEQUENCE_JUMP_MAX - 2), Place::Fresh);
        window.take(5_000);
        assert_eq!(window.place(5_000), Place::Taken);
        assert_eq!(window.place(5_000 - 1_023), Place::Fresh);
        assert_eq!(window.place(5_000 - 1_024), Place::Outside);
        assert_eq!(window.place(5_000 + SEQUENCE_JUMP_MAX - 1), Place::Fresh);
        assert_eq!(window.place(5_000 + SEQUENCE_JUMP_MAX), Place::Outside);
        assert_eq!(window.place(u64::MAX), Place::Outside);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(0u64..4_000, 1..400)) {
            let mut window = Window::default();
            let (mut taken, mut highest) = (BTreeSet::new(), None::<u64>);
            for sequence in steps {
                let expect = match highest {
                    Some(highest) if sequence + WINDOW_FRAMES <= highest => Place::Outside,
                    _ if taken.contains(&sequence) => Place::Taken,
                    _ => Place::Fresh,
                };
                prop_assert_eq!(window.place(sequence), expect);
                if expect == Place::Fresh {
                    window.take(sequence);
                    taken.insert(sequence);
                    highest = highest.max(Some(sequence));
                }
            }
        }
    }
}
