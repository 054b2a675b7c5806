//! Messages from one peer: put together, put in order, handed out once.
//!
//! The cursor (incarnation and next sequence) lives in memory; an application that must not see a message twice
//! after its own crash needs it stored with its own data, which is an issue of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::limits::{
    ACK_DELAY_MS, ACK_STEP_MESSAGES, GAPS_MAX, INBOX_BYTES_MAX, MESSAGE_BYTES_MAX,
    MESSAGES_AHEAD_BYTES_MAX, MESSAGES_AHEAD_MAX, PIECES_MAX, SEQUENCE_MAX,
};
use super::outbox::CONVERSATION;
use crate::suite::frame_types::{Ack, AckRange, AckRanges, Data, Frame};
use crate::suite::random::{Random, draw};

/// The peer broke a rule that every endpoint keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation;

/// The log as the peer opened it.
#[derive(Clone, Copy, Debug)]
struct Log {
    slot: u16,
    incarnation: u64,
}

/// A message of which a part has come.
#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    /// The parts that have come: where they begin and end; apart, ascending.
    pieces: BTreeMap<u32, u32>,
}

#[derive(Debug)]
enum Entry {
    Partial(Partial),
    Whole(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    log: Option<Log>,
    /// The next one that the application takes.
    next: u64,
    entries: BTreeMap<u64, Entry>,
    held_bytes: usize,
    /// What will never come, beyond `next`.
    gaps: BTreeMap<u64, u64>,
    state_due: bool,
    ack_at: Option<Instant>,
    /// Messages and bytes taken since the last acknowledgement.
    taken: u64,
    taken_bytes: usize,
}

/// How long an acknowledgement may wait for a ride.
pub(super) fn ack_delay(random: &mut dyn Random) -> Duration {
    let (least, most) = ACK_DELAY_MS;
    Duration::from_millis(least + u64::from_le_bytes(draw(random)) % (most - least + 1))
}

impl Inbox {
    /// OPEN has come. Returns the messages that are lost, if any.
    pub(super) fn on_open(
        &mut self,
        slot: u16,
        conversation: &[u8; 16],
        incarnation: u64,
        first_held: u64,
        next: u64,
    ) -> Result<Option<(u64, u64)>, Violation> {
        let counted = first_held <= next && next <= SEQUENCE_MAX;
        if slot == 0 || *conversation != CONVERSATION || !counted {
            return Err(Violation);
        }
        let known = self.log.is_some_and(|log| log.incarnation == incarnation);
        self.log = Some(Log { slot, incarnation });
        self.state_due = true;
        if !known {
            self.entries.clear();
            self.gaps.clear();
            self.held_bytes = 0;
            self.next = first_held;
            return Ok(None);
        }
        // What was given up before this device had taken it.
        let lost = (first_held > self.next).then_some((self.next, first_held));
        if lost.is_some() {
            self.skip_to(first_held);
        }
        Ok(lost)
    }

    /// Hands out nothing below `next` any more. Whole messages that wait there are given up with the rest: their
    /// sender has said that they expired.
    fn skip_to(&mut self, next: u64) {
        let kept = self.entries.split_off(&next);
        for entry in std::mem::replace(&mut self.entries, kept).into_values() {
            self.held_bytes -= entry.length();
        }
        self.next = next;
        self.skip_gaps();
    }

    fn skip_gaps(&mut self) {
        while let Some((&from, &to)) = self.gaps.first_key_value()
            && from <= self.next
        {
            self.gaps.remove(&from);
            self.next = self.next.max(to);
        }
    }

    /// GAP has come: those messages will not. Returns what is lost with it.
    pub(super) fn on_gap(
        &mut self,
        slot: u16,
        from: u64,
        to: u64,
    ) -> Result<Option<(u64, u64)>, Violation> {
        if !self.is_open(slot) || to <= self.next {
            return Ok(None);
        }
        if self.gaps.len() >= GAPS_MAX || to > SEQUENCE_MAX {
            return Err(Violation);
        }
        let from = from.max(self.next);
        let inside: Vec<_> = self.entries.range(from..to).map(|(sequence, _)| *sequence).collect();
        for sequence in inside {
            if let Some(entry) = self.entries.remove(&sequence) {
                self.held_bytes -= entry.length();
            }
        }
        self.gaps.insert(from, to);
        self.skip_gaps();
        Ok(Some((from, to)))
    }

    fn is_open(&self, slot: u16) -> bool {
        self.log.is_some_and(|log| log.slot == slot)
    }

    /// DATA has come. `true` where a message can now be taken.
    pub(super) fn on_data(
        &mut self,
        data: &Data<'_>,
        now: Instant,
        random: &mut dyn Random,
    ) -> Result<bool, Violation> {
        // Cover, or a log whose OPEN was lost: its sender will say it again.
        if !self.is_open(data.slot) {
            return Ok(false);
        }
        if data.total as usize > MESSAGE_BYTES_MAX {
            return Err(Violation);
        }
        let ahead = data.sequence.checked_sub(self.next);
        let gone = self
            .gaps
            .range(..=data.sequence)
            .next_back()
            .is_some_and(|(_, to)| data.sequence < *to);
        let Some(ahead) = ahead.filter(|_| !gone) else {
            self.ack_now(now);
            return Ok(false);
        };
        if ahead >= MESSAGES_AHEAD_MAX as u64 {
            return Ok(false);
        }
        if !self.entries.contains_key(&data.sequence) {
            let total = data.total as usize;
            if self.held_bytes.saturating_add(total) > INBOX_BYTES_MAX {
                return Ok(false);
            }
            self.held_bytes += total;
            let partial = Partial { bytes: vec![0; total], pieces: BTreeMap::new() };
            self.entries.insert(data.sequence, Entry::Partial(partial));
        }
        let entry = self.entries.get_mut(&data.sequence).expect("inserted if it was missing");
        match entry {
            Entry::Whole(_) => self.ack_now(now),
            Entry::Partial(partial) => {
                if partial.bytes.len() != data.total as usize {
                    return Err(Violation);
                }
                if partial.add(data)? {
                    *entry = Entry::Whole(std::mem::take(&mut partial.bytes));
                    let at = now + ack_delay(random);
                    self.ack_at.get_or_insert(at);
                }
            }
        }
        Ok(self.is_ready())
    }

    fn ack_now(&mut self, now: Instant) {
        self.ack_at = Some(self.ack_at.map_or(now, |at| at.min(now)));
    }

    /// Whether the application can take a message.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.entries.get(&self.next), Some(Entry::Whole(_)))
    }

    /// The next message, which thereby counts as delivered.
    pub(super) fn take(&mut self, now: Instant, random: &mut dyn Random) -> Option<Vec<u8>> {
        if !self.is_ready() {
            return None;
        }
        let Some(Entry::Whole(bytes)) = self.entries.remove(&self.next) else { return None };
        self.held_bytes -= bytes.len();
        self.next += 1;
        self.skip_gaps();
        self.taken += 1;
        self.taken_bytes += bytes.len();
        let step =
            self.taken >= ACK_STEP_MESSAGES || self.taken_bytes >= MESSAGES_AHEAD_BYTES_MAX / 4;
        let at = if step { now } else { now + ack_delay(random) };
        self.ack_at = Some(self.ack_at.map_or(at, |due| due.min(at)));
        Some(bytes)
    }

    /// What was told may have been lost: it is told again.
    pub(super) fn tell_again(&mut self, now: Instant) {
        if self.log.is_some() {
            self.ack_now(now);
        }
    }

    /// When something must be told even without a ride.
    pub(super) fn tell_at(&self, now: Instant) -> Option<Instant> {
        if self.state_due { Some(now) } else { self.ack_at }
    }

    /// The frames that tell the peer where this end stands. [`Inbox::told`] follows when they were written.
    pub(super) fn frames(&self) -> impl Iterator<Item = Frame<'static>> {
        let log = self.log;
        let state = log.filter(|_| self.state_due).map(|log| Frame::State {
            slot: log.slot,
            incarnation: log.incarnation,
            next_expected: self.next,
        });
        let ack = log
            .filter(|_| self.ack_at.is_some())
            .map(|log| Frame::Ack(Ack { slot: log.slot, next: self.next, ranges: self.ranges() }));
        [state, ack].into_iter().flatten()
    }

    pub(super) fn told(&mut self) {
        self.state_due = false;
        self.ack_at = None;
        (self.taken, self.taken_bytes) = (0, 0);
    }

    fn ranges(&self) -> AckRanges {
        let mut ranges = AckRanges::default();
        let mut run: Option<AckRange> = None;
        let whole = self.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Whole(_)));
        for (sequence, _) in whole {
            let Ok(from_next) = u32::try_from(sequence - self.next) else { break };
            run = match run {
                Some(run) if run.from_next + run.count == from_next => {
                    Some(AckRange { count: run.count + 1, ..run })
                }
                other => {
                    if other.is_some_and(|run| ranges.push(run).is_none()) {
                        return ranges;
                    }
                    Some(AckRange { from_next, count: 1 })
                }
            };
        }
        let _full = run.and_then(|run| ranges.push(run));
        ranges
    }
}

impl Entry {
    fn length(&self) -> usize {
        match self {
            Self::Partial(partial) => partial.bytes.len(),
            Self::Whole(bytes) => bytes.len(),
        }
    }
}

impl Partial {
    /// Adds a fragment, which may have come before; `true` when the message is whole.
    fn add(&mut self, data: &Data<'_>) -> Result<bool, Violation> {
        let (start, end) = (data.offset, data.offset + data.bytes.len() as u32);
        self.bytes[start as usize..end as usize].copy_from_slice(data.bytes);
        let (mut from, mut to) = (start, end);
        while let Some((&near, &far)) = self.pieces.range(..=to).next_back()
            && far >= from
        {
            self.pieces.remove(&near);
            (from, to) = (from.min(near), to.max(far));
        }
        self.pieces.insert(from, to);
        if self.pieces.len() > PIECES_MAX {
            return Err(Violation);
        }
        Ok(from == 0 && to as usize == self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::random::OsRandom;

    #[test]
    fn a_log_whose_numbers_end_is_refused() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
        let now = Instant::now();
        let (mut inbox, mut random) = (Inbox::default(), OsRandom);
        let data =
            |sequence| Data { slot: 1, sequence, offset: 0, total: 1, expiry_s: None, bytes: b"x" };
        for last in [SEQUENCE_MAX + 1, u64::MAX] {
            let opened = inbox.on_open(1, &CONVERSATION, 7, last - 1, last);
            assert_eq!(opened, Err(Violation), "{last}");
        }
        let last = SEQUENCE_MAX;
        assert_eq!(inbox.on_open(1, &CONVERSATION, 7, last - 1, last), Ok(None));
        assert_eq!(inbox.on_data(&data(last - 1), now, &mut random), Ok(true));
        assert_eq!(inbox.take(now, &mut random), Some(b"x".to_vec()));
        assert_eq!(inbox.on_data(&data(u64::MAX), now, &mut random), Ok(false));
        assert_eq!(inbox.take(now, &mut random), None);
    }
}
