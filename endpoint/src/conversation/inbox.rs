//! Messages from one peer: put together, handed out in order, and acknowledged once the application has confirmed
//! them and the journal knows it.
//!
//! Everything below the *cursor* was confirmed; what the peer is told of is the *stored* cursor, which follows it.

mod handing;
mod partial;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::limits::{
    ACK_DELAY_MS, GAPS_MAX, INBOX_BYTES_MAX, LOGS_PER_SESSION_MAX, MESSAGE_BYTES_MAX,
    MESSAGES_AHEAD_MAX, SEQUENCE_MAX,
};
use super::outbox::CONVERSATION;
use crate::journal::IncomingLog;
use crate::suite::frame_types::{Ack, AckRange, AckRanges, Data, Frame};
use crate::suite::limits::ACK_RANGES_MAX;
use crate::suite::random::{Random, draw};
use partial::Partial;

pub(super) use handing::{Confirmed, Handed};

/// The peer broke a rule that every endpoint keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation;

#[derive(Debug)]
enum Entry {
    Partial(Partial),
    Whole {
        bytes: Vec<u8>,
        expires_s: Option<u64>,
    },
    /// The application has it, and has not said anything about it yet.
    Handed {
        length: usize,
    },
    /// The application has taken it.
    Taken,
    /// The application has refused it, and the peer may not have heard of it.
    Refused {
        reason: u16,
        /// It is on disk.
        stored: bool,
    },
}

impl Entry {
    const fn length(&self) -> usize {
        match self {
            Self::Partial(partial) => partial.length(),
            Self::Whole { bytes, .. } => bytes.len(),
            Self::Handed { length } => *length,
            Self::Taken | Self::Refused { .. } => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The slot the peer chose for its log in this session.
    slot: Option<u16>,
    incarnation: Option<u64>,
    /// Logs that the peer has begun in this session.
    begun: u32,
    /// Everything below was confirmed, or will never come.
    cursor: u64,
    /// As far as the journal knows of the cursor.
    stored: u64,
    /// The next that may be handed out, if it is there.
    hand: u64,
    entries: BTreeMap<u64, Entry>,
    held_bytes: usize,
    /// What will never come, beyond the cursor.
    gaps: BTreeMap<u64, u64>,
    state_due: bool,
    ack_at: Option<Instant>,
    /// Refusals that the peer is to be told of.
    refusals_due: BTreeSet<u64>,
    /// Messages and bytes confirmed since the last acknowledgement.
    taken: u64,
    taken_bytes: usize,
}

/// How long an acknowledgement may wait for a ride.
pub(super) fn ack_delay(random: &mut dyn Random) -> Duration {
    let (least, most) = ACK_DELAY_MS;
    Duration::from_millis(least + u64::from_le_bytes(draw(random)) % (most - least + 1))
}

impl Inbox {
    /// As far as the journal knows.
    pub(super) fn new(log: Option<IncomingLog>) -> Self {
        let Some(log) = log else { return Self::default() };
        let entry = |refused: Option<u16>| match refused {
            Some(reason) => Entry::Refused { reason, stored: true },
            None => Entry::Taken,
        };
        let mut inbox = Self {
            incarnation: Some(log.incarnation),
            cursor: log.next,
            stored: log.next,
            hand: log.next,
            entries: log.ahead.into_iter().map(|(at, refused)| (at, entry(refused))).collect(),
            ..Self::default()
        };
        inbox.advance();
        inbox.stored = inbox.cursor;
        inbox
    }

    /// OPEN has come. Returns how many messages are lost, if any.
    pub(super) fn on_open(
        &mut self,
        slot: u16,
        conversation: &[u8; 16],
        incarnation: u64,
        first_held: u64,
        next: u64,
        now: Instant,
    ) -> Result<Option<u64>, Violation> {
        let counted = first_held <= next && next <= SEQUENCE_MAX;
        if slot == 0 || *conversation != CONVERSATION || !counted {
            return Err(Violation);
        }
        if self.slot.is_some_and(|known| slot < known) {
            // Late: this log was followed by another.
            return Ok(None);
        }
        self.slot = Some(slot);
        self.state_due = true;
        self.ack_now(now);
        self.refusals_again();
        if self.incarnation != Some(incarnation) {
            // A log is begun anew once, where its owner was set back.
            self.begun += 1;
            if self.begun > LOGS_PER_SESSION_MAX {
                return Err(Violation);
            }
            self.begin(incarnation, first_held);
            return Ok(None);
        }
        // What was given up before this device had taken it.
        let lost = self.give_up(self.cursor, first_held);
        self.cursor = self.cursor.max(first_held);
        self.advance();
        Ok((lost > 0).then_some(lost))
    }

    fn begin(&mut self, incarnation: u64, first: u64) {
        self.incarnation = Some(incarnation);
        self.entries.clear();
        self.gaps.clear();
        self.refusals_due.clear();
        self.held_bytes = 0;
        (self.cursor, self.stored, self.hand) = (first, first, first);
    }

    /// What is inside will not be handed out any more: its sender has said that it has ended. Returns how many of these
    /// the application has not seen and were not given up before.
    fn give_up(&mut self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        let gaps = self.gaps.range(..to).filter(|(_, end)| **end > from);
        let passed: u64 = gaps.map(|(near, end)| to.min(*end) - from.max(*near)).sum();
        let mut unseen = to - from - passed;
        let inside: Vec<_> = self.entries.range(from..to).map(|(sequence, _)| *sequence).collect();
        for sequence in inside {
            self.refusals_due.remove(&sequence);
            let Some(entry) = self.entries.remove(&sequence) else { continue };
            self.held_bytes -= entry.length();
            match entry {
                Entry::Handed { .. } | Entry::Taken | Entry::Refused { .. } => {
                    unseen = unseen.saturating_sub(1);
                }
                Entry::Partial(_) | Entry::Whole { .. } => {}
            }
        }
        unseen
    }

    /// GAP has come: those messages will not. Returns what is lost with it; what was refused is not.
    pub(super) fn on_gap(
        &mut self,
        slot: u16,
        from: u64,
        to: u64,
        now: Instant,
    ) -> Result<Option<u64>, Violation> {
        if self.slot != Some(slot) {
            return Ok(None);
        }
        if to <= self.cursor {
            self.ack_now(now);
            return Ok(None);
        }
        if to > SEQUENCE_MAX {
            return Err(Violation);
        }
        let (mut from, mut to) = (from.max(self.cursor), to);
        let known = self.gap_around(from).is_some_and(|end| end >= to);
        if known || self.gaps.len() >= GAPS_MAX {
            self.ack_now(now);
            return Ok(None);
        }
        let lost = self.give_up(from, to);
        while let Some((&near, &far)) = self.gaps.range(..=to).next_back()
            && far >= from
        {
            self.gaps.remove(&near);
            (from, to) = (from.min(near), to.max(far));
        }
        self.gaps.insert(from, to);
        self.advance();
        self.ack_now(now);
        Ok((lost > 0).then_some(lost))
    }

    /// Moves the cursor and the hand over what is settled.
    fn advance(&mut self) {
        loop {
            if let Some((&from, &to)) = self.gaps.first_key_value()
                && from <= self.cursor
            {
                self.gaps.remove(&from);
                self.cursor = self.cursor.max(to);
            } else if matches!(self.entries.get(&self.cursor), Some(Entry::Taken)) {
                self.entries.remove(&self.cursor);
                self.cursor += 1;
            } else {
                break;
            }
        }
        self.hand = self.hand.max(self.cursor);
        loop {
            let gap = self.gap_around(self.hand);
            if let Some(end) = gap {
                self.hand = end;
            } else if matches!(
                self.entries.get(&self.hand),
                Some(Entry::Handed { .. } | Entry::Taken | Entry::Refused { .. })
            ) {
                self.hand += 1;
            } else {
                break;
            }
        }
    }

    fn gap_around(&self, sequence: u64) -> Option<u64> {
        let (_, &to) = self.gaps.range(..=sequence).next_back()?;
        (sequence < to).then_some(to)
    }

    /// DATA has come. `true` where a message can now be taken.
    pub(super) fn on_data(
        &mut self,
        data: &Data<'_>,
        now: Instant,
        random: &mut dyn Random,
    ) -> Result<bool, Violation> {
        // Cover, or a log whose OPEN was lost: its sender will say it again.
        if self.slot != Some(data.slot) {
            return Ok(false);
        }
        if data.total as usize > MESSAGE_BYTES_MAX {
            return Err(Violation);
        }
        if data.sequence < self.cursor || self.gap_around(data.sequence).is_some() {
            self.ack_now(now);
            return Ok(false);
        }
        if data.sequence - self.cursor >= MESSAGES_AHEAD_MAX as u64 {
            return Ok(false);
        }
        if !self.entries.contains_key(&data.sequence) {
            let total = data.total as usize;
            if self.held_bytes.saturating_add(total) > INBOX_BYTES_MAX {
                return Ok(false);
            }
            self.held_bytes += total;
            self.entries.insert(data.sequence, Entry::Partial(Partial::new(total)));
        }
        let entry = self.entries.get_mut(&data.sequence).expect("inserted if it was missing");
        match entry {
            Entry::Whole { .. } | Entry::Handed { .. } | Entry::Taken => self.ack_now(now),
            Entry::Refused { stored, .. } => {
                if *stored {
                    self.refusals_due.insert(data.sequence);
                }
            }
            Entry::Partial(partial) => {
                if let Some(bytes) = partial.add(data)? {
                    *entry = Entry::Whole { bytes, expires_s: data.expiry_s };
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

    /// What was told may have been lost: it is told again.
    pub(super) fn tell_again(&mut self, now: Instant) {
        if self.slot.is_some() {
            self.ack_now(now);
            self.refusals_again();
        }
    }

    fn refusals_again(&mut self) {
        let refused = self.entries.iter().filter_map(|(sequence, entry)| {
            matches!(entry, Entry::Refused { stored: true, .. }).then_some(*sequence)
        });
        self.refusals_due.extend(refused);
    }

    /// A new session that has nothing to do with the one before: the peer opens its log again.
    pub(super) fn on_fresh(&mut self) {
        self.slot = None;
        self.begun = 0;
        self.state_due = false;
        self.ack_at = None;
        // The peer sends everything from its beginning, and if it was set back, something else.
        let held_bytes = &mut self.held_bytes;
        self.entries.retain(|_, entry| match entry {
            Entry::Partial(partial) => {
                *held_bytes -= partial.length();
                false
            }
            Entry::Whole { .. } | Entry::Handed { .. } | Entry::Taken | Entry::Refused { .. } => {
                true
            }
        });
    }

    /// When something must be told even without a ride.
    pub(super) fn tell_at(&self, now: Instant) -> Option<Instant> {
        let refusal = self.slot.is_some() && !self.refusals_due.is_empty();
        if self.state_due || refusal { Some(now) } else { self.ack_at }
    }

    /// The frames that tell the peer where this end stands. [`Inbox::told`] follows when they were written.
    pub(super) fn frames(&self) -> impl Iterator<Item = Frame<'static>> {
        let log = self.slot.zip(self.incarnation);
        let state = log.filter(|_| self.state_due).map(|(slot, incarnation)| Frame::State {
            slot,
            incarnation,
            next_expected: self.stored,
        });
        let ack = log
            .filter(|_| self.ack_at.is_some())
            .map(|(slot, _)| Frame::Ack(Ack { slot, next: self.stored, ranges: self.ranges() }));
        [state, ack].into_iter().flatten()
    }

    /// The next refusal to be told; [`Inbox::refusal_told`] follows when it was written.
    pub(super) fn refusal(&self) -> Option<(u64, Frame<'static>)> {
        let slot = self.slot?;
        let due = self.refusals_due.iter().find_map(|sequence| match self.entries.get(sequence) {
            Some(Entry::Refused { reason, stored: true }) => Some((*sequence, *reason)),
            Some(_) | None => None,
        });
        due.map(|(sequence, reason)| (sequence, Frame::Reject { slot, sequence, reason }))
    }

    pub(super) fn refusal_told(&mut self, sequence: u64) {
        self.refusals_due.remove(&sequence);
    }

    pub(super) fn told(&mut self) {
        self.state_due = false;
        self.ack_at = None;
        (self.taken, self.taken_bytes) = (0, 0);
    }

    /// What is settled or received beyond the stored cursor. Of more runs than fit, the last one is among those told:
    /// a peer that was set back knows by it.
    fn ranges(&self) -> AckRanges {
        let is_whole = |entry: &Entry| match entry {
            Entry::Whole { .. } | Entry::Handed { .. } | Entry::Taken | Entry::Refused { .. } => {
                true
            }
            Entry::Partial(_) => false,
        };
        let entries = self.entries.iter().filter(|(_, entry)| is_whole(entry));
        let entries = entries.map(|(&sequence, _)| (sequence, sequence + 1));
        let gaps = self.gaps.iter().map(|(&from, &to)| (from, to));
        let unstored = Some((self.stored, self.cursor)).filter(|(from, to)| from < to);
        let mut known: Vec<(u64, u64)> = unstored.into_iter().chain(entries).chain(gaps).collect();
        known.sort_unstable();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (from, to) in known {
            match runs.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                Some(_) | None => runs.push((from, to)),
            }
        }
        let mut ranges = AckRanges::default();
        let last = runs.len().checked_sub(1);
        for (at, (from, to)) in runs.into_iter().enumerate() {
            if at + 1 >= ACK_RANGES_MAX && Some(at) != last {
                continue;
            }
            let Ok(from_next) = u32::try_from(from - self.stored) else { break };
            let count = u32::try_from(to - from).unwrap_or(u32::MAX).min(u32::MAX - from_next);
            let _fits = ranges.push(AckRange { from_next, count });
        }
        ranges
    }

    /// Every limit holds: for fuzzing.
    pub(super) fn check(&self, bytes_max: usize, messages_max: usize, gaps_max: usize) {
        let held: usize = self.entries.values().map(Entry::length).sum();
        assert_eq!(held, self.held_bytes, "bytes are counted");
        assert!(held <= bytes_max, "bytes are bounded");
        assert!(self.entries.len() <= messages_max, "messages are bounded");
        assert!(self.gaps.len() <= gaps_max, "gaps are bounded");
        assert!(self.stored <= self.cursor && self.cursor <= self.hand, "the order of cursors");
        assert!(self.refusals_due.len() <= messages_max, "refusals are bounded");
    }
}
