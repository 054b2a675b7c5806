//! An open loop: messages are due by the clock, whatever has become of those before.
//!
//! The time of a message is when it was due, not when the generator or the socket came to it, so that a server that
//! stands still for a moment is charged for all that was due meanwhile (coordinated omission, as in Gil Tene's "How
//! NOT to Measure Latency").

use std::collections::VecDeque;

use anyhow::{Result, ensure};

use crate::limits::BACKLOG_MAX;

/// Who is to send when: the messages of all senders together are evenly spaced, and senders take turns.
#[derive(Debug)]
pub(super) struct Pace {
    /// Messages of all senders in a second.
    per_s: u64,
    /// Devices that send, in the order of their turns.
    senders: Vec<usize>,
    /// When the first is due.
    begun_ns: u64,
    /// Messages that have been due so far.
    due: u64,
    /// By device, when each of its messages was due that has not been sent.
    backlogs: Vec<VecDeque<u64>>,
    /// No more are due from then on.
    ends_ns: u64,
}

impl Pace {
    pub(super) fn new(per_s: u64, senders: Vec<usize>, devices: usize, begun_ns: u64) -> Self {
        let backlogs = (0..devices).map(|_| VecDeque::new()).collect();
        Self { per_s, senders, begun_ns, due: 0, backlogs, ends_ns: u64::MAX }
    }

    /// When the message of this number is due, from 0 on.
    fn due_ns(&self, number: u64) -> u64 {
        let after = u128::from(number) * 1_000_000_000 / u128::from(self.per_s);
        self.begun_ns.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }

    /// Notes what has become due, and names the senders in `touched`, some perhaps more than once.
    pub(super) fn advance(&mut self, now_ns: u64, touched: &mut Vec<usize>) -> Result<()> {
        loop {
            let at = self.due_ns(self.due);
            if at > now_ns || at >= self.ends_ns {
                return Ok(());
            }
            let turn = (self.due % self.senders.len() as u64) as usize;
            let sender = self.senders[turn];
            self.due += 1;
            let backlog = &mut self.backlogs[sender];
            ensure!(
                backlog.len() < BACKLOG_MAX,
                "the server takes fewer than {} messages a second: choose a lower rate",
                self.per_s
            );
            backlog.push_back(at);
            touched.push(sender);
        }
    }

    /// Messages of a sender that were due and have not been sent.
    pub(super) fn waiting(&self, sender: usize) -> usize {
        self.backlogs[sender].len()
    }

    /// When the oldest of them was due. It is sent now.
    pub(super) fn take(&mut self, sender: usize) -> Option<u64> {
        self.backlogs[sender].pop_front()
    }

    pub(super) fn end(&mut self, at_ns: u64) {
        self.ends_ns = at_ns;
    }

    pub(super) fn is_over(&self) -> bool {
        self.due_ns(self.due) >= self.ends_ns && self.backlogs.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_by_the_clock_and_senders_take_turns() {
        let mut pace = Pace::new(1_000, vec![0, 2], 4, 500);
        let mut touched = Vec::new();
        pace.advance(499, &mut touched).unwrap();
        assert!(touched.is_empty());
        // The generator was away for three milliseconds: what was due meanwhile keeps its time.
        pace.advance(3_000_500, &mut touched).unwrap();
        assert_eq!(touched, [0, 2, 0, 2]);
        assert_eq!((pace.waiting(0), pace.waiting(1), pace.waiting(2)), (2, 0, 2));
        assert_eq!((pace.take(0), pace.take(0), pace.take(0)), (Some(500), Some(2_000_500), None));
        assert_eq!(pace.take(2), Some(1_000_500));
        pace.end(4_000_500);
        assert!(!pace.is_over(), "one waits");
        assert_eq!(pace.take(2), Some(3_000_500));
        pace.advance(u64::MAX, &mut touched).unwrap();
        assert!(pace.is_over());
    }

    #[test]
    fn a_rate_that_the_server_does_not_take_has_its_sentence() {
        let mut pace = Pace::new(u64::MAX, vec![0], 1, 0);
        let error = pace.advance(1_000_000_000, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("choose a lower rate"), "{error}");
        assert_eq!(pace.waiting(0), BACKLOG_MAX);
    }
}
