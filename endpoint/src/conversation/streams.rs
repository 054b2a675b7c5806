//! The streams with one peer: numbers, ends, and who is told what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::flight::Item;
use super::inbox::{Violation, ack_delay};
use super::limits::{RESETS_MAX, STREAMS_ENDED_MAX, STREAMS_MAX};
use super::reading::{Read, Reading};
use super::writing::Writing;
use crate::suite::frame_types::{Frame, FrameWriter, Stream};
use crate::suite::handshake::Role;
use crate::suite::random::Random;

/// A stream of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// Which of the sessions that had nothing to do with one another.
    era: u32,
    number: u32,
}

impl StreamId {
    /// The stream's number in its session, the same at both ends.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number
    }
}

/// Why a stream ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer abandoned it: the reader dropped it, or the writer did before its end.
    #[error("the peer abandoned the stream (reason {0})")]
    Abandoned(u16),
    /// The session ended: the peer was started anew, or broke the protocol.
    #[error("the session ended and the stream with it")]
    SessionLost,
    /// This end has given the stream up already.
    #[error("the stream is closed")]
    Closed,
    /// The stream was answered already, or its opener awaits no answer.
    #[error("no answer is awaited on this stream")]
    NotAwaited,
}

/// Why an end refuses a stream that the peer has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its first bytes say nothing that is understood, or answer nothing.
    Malformed,
    /// It is for something that this end does not have.
    Unsupported,
    /// Too many like it are open.
    TooMany,
}

impl Refusal {
    const fn reason(self) -> u16 {
        match self {
            Self::Malformed => reset::MALFORMED,
            Self::Unsupported => reset::UNSUPPORTED,
            Self::TooMany => reset::TOO_MANY,
        }
    }
}

/// Reasons in RESET; numbers on the wire (annex A.5).
mod reset {
    /// None given: the application has let go.
    pub(super) const DROPPED: u16 = 0;
    /// The preamble is none.
    pub(super) const MALFORMED: u16 = 1;
    /// Nobody here knows the label.
    pub(super) const UNSUPPORTED: u16 = 2;
    /// Too many streams are open.
    pub(super) const TOO_MANY: u16 = 3;
    /// Answers a RESET, and is not answered. To a reader that does not know it, the stream is over all the same.
    pub(super) const SEEN: u16 = 4;
}

/// What is still to be told about a stream that this end has abandoned.
#[derive(Clone, Copy, Debug)]
struct Reset {
    reason: u16,
    due: bool,
    /// How often it was told without an answer.
    told: u32,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    era: u32,
    role: Option<Role>,
    writing: BTreeMap<u32, Writing>,
    /// Writers whose application has let go after the end was written.
    detached: BTreeSet<u32>,
    reading: BTreeMap<u32, Reading>,
    /// Came and were not accepted yet.
    incoming: VecDeque<u32>,
    /// Abandoned by the peer, until the application has let go.
    failed: BTreeMap<u32, u16>,
    next_out: u32,
    next_in: u32,
    /// Numbers below `next_in` that have not come yet.
    skipped: BTreeSet<u32>,
    /// Reading ends that are over, with the last limit; `None` for one that was reset.
    ended: VecDeque<(u32, Option<u64>)>,
    /// Our RESETs that the peer has not seen.
    resets: BTreeMap<u32, Reset>,
    /// RESETs of the peer to be answered.
    seen: BTreeSet<u32>,
    /// Ended streams whose last limit is told again.
    late: BTreeSet<u32>,
    tell_at: Option<Instant>,
    turn: u32,
}

impl Streams {
    /// A session begins that has nothing to do with the one before. Returns the streams that end with it.
    pub(super) fn on_fresh(&mut self, role: Role) -> Vec<StreamId> {
        let over = self.close();
        let (next_out, next_in) = match role {
            Role::Initiator => (2, 1),
            Role::Responder => (1, 2),
        };
        *self = Self { era: self.era, role: Some(role), next_out, next_in, ..Self::default() };
        over
    }

    /// Ends all streams.
    pub(super) fn close(&mut self) -> Vec<StreamId> {
        let numbers = self.writing.keys().chain(self.reading.keys()).chain(self.failed.keys());
        let over = numbers.map(|&number| self.id(number)).collect();
        *self = Self { era: self.era.wrapping_add(1), ..Self::default() };
        over
    }

    pub(super) const fn id(&self, number: u32) -> StreamId {
        StreamId { era: self.era, number }
    }

    /// Opens a stream to the peer. `None` without a session, or with 64 streams open.
    pub(super) fn open(&mut self) -> Option<StreamId> {
        if self.role.is_none() || self.writing.len() >= STREAMS_MAX {
            return None;
        }
        let number = self.next_out;
        self.next_out = number.checked_add(2)?;
        self.writing.insert(number, Writing::new(number));
        Some(self.id(number))
    }

    /// The next stream that the peer has opened.
    pub(super) fn accept(&mut self) -> Option<StreamId> {
        self.incoming.pop_front().map(|number| self.id(number))
    }

    pub(super) fn writing(&mut self, id: StreamId) -> Result<&mut Writing, StreamError> {
        self.check(id)?;
        self.writing.get_mut(&id.number).ok_or(StreamError::Closed)
    }

    fn reading_end(&mut self, id: StreamId) -> Result<&mut Reading, StreamError> {
        self.check(id)?;
        self.reading.get_mut(&id.number).ok_or(StreamError::Closed)
    }

    pub(super) fn check(&self, id: StreamId) -> Result<(), StreamError> {
        if id.era != self.era {
            return Err(StreamError::SessionLost);
        }
        self.failed.get(&id.number).map_or(Ok(()), |reason| Err(StreamError::Abandoned(*reason)))
    }

    pub(super) fn read(
        &mut self,
        id: StreamId,
        buffer: &mut [u8],
        now: Instant,
        random: &mut dyn Random,
    ) -> Result<Read, StreamError> {
        let reading = self.reading_end(id)?;
        let read = reading.read(buffer);
        if reading.has_news() {
            let at = if reading.is_urgent() { now } else { now + ack_delay(random) };
            self.tell_by(at);
        }
        Ok(read)
    }

    fn tell_by(&mut self, at: Instant) {
        self.tell_at = Some(self.tell_at.map_or(at, |due| due.min(at)));
    }

    /// The application lets go of a writing end: without its end written, the stream is abandoned.
    pub(super) fn release_writing(&mut self, id: StreamId, now: Instant) {
        if id.era != self.era {
            return;
        }
        self.failed.remove(&id.number);
        match self.writing.get(&id.number) {
            Some(writing) if writing.is_finished() && !writing.is_done() => {
                self.detached.insert(id.number);
            }
            Some(writing) if writing.is_done() => {
                self.writing.remove(&id.number);
            }
            Some(_) => {
                self.writing.remove(&id.number);
                self.reset(id.number, reset::DROPPED, now);
            }
            None => {}
        }
    }

    /// The application lets go of a reading end: before it has seen the end, the stream is abandoned.
    pub(super) fn release_reading(&mut self, id: StreamId, now: Instant) {
        if id.era != self.era {
            return;
        }
        self.failed.remove(&id.number);
        if let Some(reading) = self.reading.remove(&id.number) {
            if reading.is_ended() {
                self.remember(id.number, Some(reading.limit()));
                if reading.has_news() {
                    self.late.insert(id.number);
                    self.tell_by(now);
                }
            } else {
                self.remember(id.number, None);
                self.reset(id.number, reset::DROPPED, now);
            }
        }
    }

    /// This end wants nothing of the stream, and says why.
    pub(super) fn refuse(&mut self, id: StreamId, refusal: Refusal, now: Instant) {
        if id.era != self.era {
            return;
        }
        self.failed.remove(&id.number);
        if self.reading.remove(&id.number).is_some() {
            self.remember(id.number, None);
            self.reset(id.number, refusal.reason(), now);
        }
    }

    fn remember(&mut self, number: u32, limit: Option<u64>) {
        if self.ended.len() >= STREAMS_ENDED_MAX
            && let Some((oldest, _)) = self.ended.pop_front()
        {
            self.late.remove(&oldest);
        }
        self.ended.push_back((number, limit));
    }

    fn reset(&mut self, number: u32, reason: u16, now: Instant) {
        // More than both ends may have open are not waited for: the peer answers late pieces itself.
        if self.resets.len() < 4 * STREAMS_MAX {
            self.resets.insert(number, Reset { reason, due: true, told: 0 });
            self.tell_by(now);
        }
    }

    /// STREAM has come. Returns the stream if there is more to read of it, and whether it is new.
    pub(super) fn on_piece(
        &mut self,
        piece: &Stream<'_>,
        now: Instant,
    ) -> Result<Option<(StreamId, bool)>, Violation> {
        let number = piece.stream;
        if number == 0 || number % 2 != self.next_in % 2 {
            return Err(Violation);
        }
        let mut new = false;
        if !self.reading.contains_key(&number) {
            if !self.is_new(number)? {
                self.on_late_piece(number, now);
                return Ok(None);
            }
            if self.reading.len() >= STREAMS_MAX {
                self.remember(number, None);
                self.reset(number, reset::TOO_MANY, now);
                return Ok(None);
            }
            self.reading.insert(number, Reading::new());
            self.incoming.push_back(number);
            new = true;
        }
        let id = self.id(number);
        let reading = self.reading.get_mut(&number).expect("inserted if it was missing");
        let more = reading.on_piece(piece)?;
        if !more && !new {
            // Seen before: most likely the peer does not know how far this end is.
            reading.tell_again();
            self.tell_by(now);
        }
        Ok((more || new).then_some((id, new)))
    }

    /// Whether this number has never come; it has now.
    fn is_new(&mut self, number: u32) -> Result<bool, Violation> {
        if number < self.next_in {
            return Ok(self.skipped.remove(&number));
        }
        let ahead = (number - self.next_in) / 2;
        if ahead as usize + self.skipped.len() > 2 * STREAMS_MAX {
            return Err(Violation);
        }
        self.skipped.extend((self.next_in..number).step_by(2));
        self.next_in = number.checked_add(2).ok_or(Violation)?;
        Ok(true)
    }

    fn on_late_piece(&mut self, number: u32, now: Instant) {
        let ended = self.ended.iter().find(|(ended, _)| *ended == number).map(|(_, limit)| *limit);
        match ended {
            Some(Some(_)) => {
                self.late.insert(number);
                self.tell_by(now);
            }
            Some(None) => self.reset(number, reset::DROPPED, now),
            // The application has not let go of it yet.
            None if self.failed.contains_key(&number) => {}
            None => self.reset(number, reset::DROPPED, now),
        }
    }

    /// WINDOW of a stream has come; its ID if that made a difference.
    pub(super) fn on_window(&mut self, number: u32, limit: u64) -> Option<StreamId> {
        let writing = self.writing.get_mut(&number)?;
        let changed = writing.on_window(limit);
        if writing.is_done() && self.detached.remove(&number) {
            self.writing.remove(&number);
        }
        changed.then(|| self.id(number))
    }

    /// RESET has come; the stream's ID if it was open here.
    pub(super) fn on_reset(&mut self, number: u32, reason: u16, now: Instant) -> Option<StreamId> {
        self.resets.remove(&number);
        if reason == reset::SEEN {
            return None;
        }
        if self.seen.len() < 4 * STREAMS_MAX {
            self.seen.insert(number);
            self.tell_by(now);
        }
        let writing = self.writing.remove(&number).is_some();
        let reading = self.reading.remove(&number).is_some();
        if reading {
            self.remember(number, None);
        } else if number % 2 == self.next_in % 2 && !writing {
            // It may overtake the stream's first piece.
            if self.is_new(number).unwrap_or(false) {
                self.remember(number, None);
            }
        }
        let waiting = self.incoming.len();
        self.incoming.retain(|incoming| *incoming != number);
        let held = (writing && !self.detached.remove(&number))
            || (reading && waiting == self.incoming.len());
        if held {
            self.failed.insert(number, reason);
        }
        held.then(|| self.id(number))
    }

    pub(super) fn wants(&self) -> bool {
        self.writing.values().any(Writing::wants)
    }

    pub(super) fn waits(&self) -> bool {
        self.writing.values().any(Writing::waits) || !self.resets.is_empty()
    }

    /// Whether any stream is open: a session is worth keeping.
    pub(super) fn is_empty(&self) -> bool {
        self.writing.is_empty() && self.reading.is_empty()
    }

    pub(super) fn resend_all(&mut self) {
        self.writing.values_mut().for_each(Writing::resend_all);
        self.resets.values_mut().for_each(|reset| reset.due = true);
    }

    pub(super) fn ask(&mut self, now: Instant) {
        self.writing.values_mut().for_each(Writing::ask);
        self.resets.values_mut().for_each(|reset| reset.due = true);
        if !self.resets.is_empty() {
            self.tell_by(now);
        }
    }

    pub(super) fn on_lost(&mut self, number: u32, offset: u64, length: u32, fin: bool) {
        if let Some(writing) = self.writing.get_mut(&number) {
            writing.on_lost(offset, length, fin);
        }
    }

    /// What was told may have been lost: it is told again, by `at`.
    pub(super) fn tell_again(&mut self, at: Instant) {
        self.reading.values_mut().for_each(Reading::tell_again);
        self.resets.values_mut().for_each(|reset| reset.due = true);
        let ended = self.ended.iter().filter(|(_, limit)| limit.is_some());
        self.late.extend(ended.map(|(number, _)| *number));
        let news = self.reading.values().any(Reading::has_news);
        if news || !self.resets.is_empty() || !self.late.is_empty() {
            self.tell_by(at);
        }
    }

    pub(super) const fn tell_at(&self) -> Option<Instant> {
        self.tell_at
    }

    /// Tells the peer where the reading ends are and which streams are abandoned, as far as it fits.
    pub(super) fn tell(&mut self, writer: &mut FrameWriter<'_>) {
        while let Some(&stream) = self.seen.first() {
            if writer.push(&Frame::Reset { reason: reset::SEEN, stream }).is_err() {
                return;
            }
            self.seen.remove(&stream);
        }
        for (&stream, reset) in &mut self.resets {
            if reset.due {
                if writer.push(&Frame::Reset { reason: reset.reason, stream }).is_err() {
                    return;
                }
                reset.due = false;
                reset.told += 1;
            }
        }
        self.resets.retain(|_, reset| reset.told < RESETS_MAX);
        while let Some(&stream) = self.late.first() {
            let ended = self.ended.iter().find(|(number, _)| *number == stream);
            if let Some((_, Some(limit))) = ended
                && writer.push(&Frame::Window { stream, limit: *limit }).is_err()
            {
                return;
            }
            self.late.remove(&stream);
        }
        for (&stream, reading) in &mut self.reading {
            if reading.has_news() {
                let limit = reading.limit();
                if writer.push(&Frame::Window { stream, limit }).is_err() {
                    return;
                }
                reading.told();
            }
        }
        self.tell_at = None;
    }

    /// Writes pieces of the streams in turn, as much as fits. Returns how much padding their ends ask for.
    pub(super) fn write(&mut self, writer: &mut FrameWriter<'_>, items: &mut Vec<Item>) -> u64 {
        let mut padding = 0;
        let (before, after): (Vec<u32>, Vec<u32>) =
            self.writing.keys().partition(|number| **number <= self.turn);
        for number in after.into_iter().chain(before) {
            let Some(writing) = self.writing.get_mut(&number) else { continue };
            if let Some(more) = writing.push(writer, items) {
                padding += more;
                self.turn = number;
            }
        }
        padding
    }

    /// Bytes that wait to be sent.
    pub(super) fn backlog(&self) -> usize {
        self.writing.values().map(Writing::backlog).sum()
    }
}
