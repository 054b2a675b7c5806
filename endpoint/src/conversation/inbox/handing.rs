//! Between the application and the log: what it is given, what it says about it, and what is written down.

use std::time::Instant;

use super::{Entry, Inbox, ack_delay};
use crate::conversation::limits::{ACK_STEP_MESSAGES, MESSAGES_AHEAD_BYTES_MAX};
use crate::suite::random::Random;

/// A message that the application holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::conversation) struct Handed {
    pub(in crate::conversation) incarnation: u64,
    pub(in crate::conversation) sequence: u64,
    pub(in crate::conversation) expires_s: Option<u64>,
    pub(in crate::conversation) bytes: Vec<u8>,
}

/// What must be written down after the application has said something about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conversation) enum Confirmed {
    /// Everything below the new cursor was taken.
    Below(u64),
    /// One was taken or refused while an earlier one is undecided.
    Ahead { sequence: u64, refused: Option<u16> },
    /// It was no message that the application holds: said twice, or of a log that is over.
    Nothing,
}

impl Inbox {
    /// Whether the application can take a message.
    pub(in crate::conversation) fn is_ready(&self) -> bool {
        matches!(self.entries.get(&self.hand), Some(Entry::Whole { .. }))
    }

    /// The next message. It counts as taken once it is confirmed.
    pub(in crate::conversation) fn hand_out(&mut self) -> Option<Handed> {
        let (incarnation, sequence) = (self.incarnation?, self.hand);
        let entry = self.entries.get_mut(&sequence)?;
        let Entry::Whole { bytes, expires_s } = entry else { return None };
        let (bytes, expires_s) = (std::mem::take(bytes), *expires_s);
        *entry = Entry::Handed { length: bytes.len() };
        self.advance();
        Some(Handed { incarnation, sequence, expires_s, bytes })
    }

    /// The application gives a message back undecided: it is the next to be handed out.
    pub(in crate::conversation) fn give_back(&mut self, handed: Handed) {
        let Handed { incarnation, sequence, expires_s, bytes } = handed;
        if self.incarnation == Some(incarnation)
            && let Some(entry @ Entry::Handed { .. }) = self.entries.get_mut(&sequence)
        {
            *entry = Entry::Whole { bytes, expires_s };
            self.hand = self.hand.min(sequence);
        }
    }

    /// The application has taken (`None`) or refused a message that it holds.
    pub(in crate::conversation) fn settle(
        &mut self,
        incarnation: u64,
        sequence: u64,
        refused: Option<u16>,
    ) -> Confirmed {
        let held =
            self.entries.get_mut(&sequence).filter(|_| self.incarnation == Some(incarnation));
        let Some(entry @ Entry::Handed { .. }) = held else { return Confirmed::Nothing };
        let length = entry.length();
        *entry = match refused {
            Some(reason) => Entry::Refused { reason, stored: false },
            None => Entry::Taken,
        };
        self.held_bytes -= length;
        (self.taken, self.taken_bytes) = (self.taken + 1, self.taken_bytes + length);
        let before = self.cursor;
        self.advance();
        if self.cursor > before {
            Confirmed::Below(self.cursor)
        } else {
            Confirmed::Ahead { sequence, refused }
        }
    }

    /// The application knows from its own records that it has taken everything of this log below `next`.
    pub(in crate::conversation) fn settle_below(
        &mut self,
        incarnation: u64,
        next: u64,
    ) -> Confirmed {
        if self.incarnation.is_some_and(|known| known != incarnation) || next <= self.cursor {
            return Confirmed::Nothing;
        }
        if self.incarnation.is_none() {
            // The journal does not know of it yet, and so the peer is not told yet.
            self.begin(incarnation, 0);
        }
        let _taken_in_an_earlier_run = self.give_up(self.cursor, next);
        self.cursor = next;
        self.advance();
        Confirmed::Below(self.cursor)
    }

    /// The cursor as it is now, for the journal; the name of the log with it.
    pub(in crate::conversation) fn cursor(&self) -> Option<(u64, u64)> {
        self.incarnation.map(|incarnation| (incarnation, self.cursor))
    }

    /// The journal knows the cursor up to `next`: the peer may hear of it.
    pub(in crate::conversation) fn on_stored(
        &mut self,
        incarnation: u64,
        next: u64,
        now: Instant,
        random: &mut dyn Random,
    ) {
        let known = self.incarnation == Some(incarnation);
        if !known || next <= self.stored || next > self.cursor {
            return;
        }
        self.stored = next;
        let step =
            self.taken >= ACK_STEP_MESSAGES || self.taken_bytes >= MESSAGES_AHEAD_BYTES_MAX / 4;
        let at = if step { now } else { now + ack_delay(random) };
        self.ack_at = Some(self.ack_at.map_or(at, |due| due.min(at)));
    }

    /// The journal knows of a refusal: the peer may hear of it.
    pub(in crate::conversation) fn on_refusal_stored(&mut self, incarnation: u64, sequence: u64) {
        if self.incarnation == Some(incarnation)
            && let Some(Entry::Refused { stored, .. }) = self.entries.get_mut(&sequence)
        {
            *stored = true;
            self.refusals_due.insert(sequence);
        }
    }
}
