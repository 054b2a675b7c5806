//! Messages to one peer, kept until it has taken them: cut into fragments, sent again where they were lost,
//! numbered without gaps.
//!
//! It lives in memory. Making it survive a restart means storing [`Outbox::incarnation`] and what `messages` holds,
//! and giving both back to [`Outbox::new`]'s successor: nothing else here depends on where they come from.

use std::collections::VecDeque;

use hushwire_wire::padding::padme;

use super::flight::Item;
use super::limits::{
    MESSAGES_AHEAD_BYTES_MAX, MESSAGES_AHEAD_MAX, OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX,
};
use crate::suite::frame_types::{Ack, DATA_HEADER_LEN, Data, Frame, FrameWriter};

/// The slot of a device's messages to its peer. Slot 0 is cover.
pub(super) const SLOT: u16 = 1;
/// The conversation that every pair has.
pub(super) const CONVERSATION: [u8; 16] = [0; 16];
/// A fragment of a large message is worth beginning in a cell with so much room left.
const FRAGMENT_BYTES_MIN: usize = 1_024;

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    /// Where the fragments begin that were cut so far, and, last, where the next one will.
    cuts: Vec<u32>,
    /// The peer has it, though its application has not taken it yet.
    received: bool,
}

impl Message {
    fn total(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a message is shorter than 16 MiB")
    }

    fn cut_to(&self) -> u32 {
        *self.cuts.last().expect("the first cut is 0")
    }
}

/// What became of messages, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Debug)]
pub(super) struct Outbox {
    incarnation: u64,
    /// Number of the message that has sequence 0 in this incarnation.
    base: u64,
    /// Number of the first message held.
    first: u64,
    messages: VecDeque<Message>,
    held_bytes: usize,
    /// Number of the next message of which something was never sent.
    fresh: u64,
    fresh_bytes: usize,
    /// Fragments to be sent again.
    again: VecDeque<(u64, u32, u32)>,
    /// The peer has answered OPEN on this session.
    opened: bool,
}

impl Outbox {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            base: 0,
            first: 0,
            messages: VecDeque::new(),
            held_bytes: 0,
            fresh: 0,
            fresh_bytes: 0,
            again: VecDeque::new(),
            opened: false,
        }
    }

    /// Whether a message of this length finds room.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < OUTBOX_MESSAGES_MAX
                && self.held_bytes.saturating_add(length) <= OUTBOX_BYTES_MAX)
    }

    /// Keeps a message and returns its number.
    pub(super) fn push(&mut self, bytes: Vec<u8>) -> u64 {
        self.held_bytes += bytes.len();
        self.messages.push_back(Message { bytes, cuts: vec![0], received: false });
        self.first + self.messages.len() as u64 - 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    fn message(&mut self, number: u64) -> Option<&mut Message> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get_mut(at)
    }

    /// Whether the next message may be sent, given what is ahead of the peer's application.
    fn may_begin(&self) -> bool {
        let ahead = self.fresh - self.first;
        ahead == 0
            || (ahead < MESSAGES_AHEAD_MAX as u64 && self.fresh_bytes < MESSAGES_AHEAD_BYTES_MAX)
    }

    /// Whether there is something to send.
    pub(super) fn wants(&self) -> bool {
        !self.again.is_empty() || (self.fresh < self.end() && self.may_begin())
    }

    /// Bytes that wait to be sent, counted up to some 64 KiB.
    pub(super) fn backlog(&self) -> usize {
        const ENOUGH: usize = 1 << 16;
        let mut bytes = 0;
        for (_, _, length) in &self.again {
            bytes += *length as usize + DATA_HEADER_LEN;
            if bytes >= ENOUGH {
                return bytes;
            }
        }
        if self.may_begin() {
            let sent = usize::try_from(self.fresh - self.first).unwrap_or(usize::MAX);
            for message in self.messages.iter().skip(sent) {
                bytes += (message.total() - message.cut_to()) as usize + DATA_HEADER_LEN;
                if bytes >= ENOUGH {
                    break;
                }
            }
        }
        bytes
    }

    /// Whether the peer has yet to say something about what was sent to it.
    pub(super) fn waits(&self) -> bool {
        let sent = usize::try_from(self.fresh - self.first).unwrap_or(usize::MAX);
        self.messages.iter().take(sent).any(|message| !message.received)
    }

    /// A new session: the log is opened again; `fresh` says that the peer may have lost fragments with it.
    pub(super) fn on_session(&mut self, fresh: bool) {
        self.opened = false;
        if fresh {
            self.resend_all();
        }
    }

    /// Takes everything that was sent and not received whole for lost.
    pub(super) fn resend_all(&mut self) {
        self.again.clear();
        for (message, number) in self.messages.iter().zip(self.first..) {
            if message.received || number > self.fresh {
                continue;
            }
            for cut in message.cuts.windows(2) {
                self.again.push_back((number, cut[0], cut[1] - cut[0]));
            }
        }
    }

    /// Asks about the first message that the peer says nothing of, by sending a part of it again.
    pub(super) fn ask(&mut self) {
        let sent = usize::try_from(self.fresh - self.first).unwrap_or(usize::MAX);
        let found = self.messages.iter().take(sent).position(|message| !message.received);
        if let Some(at) = found
            && self.again.is_empty()
        {
            let number = self.first + at as u64;
            let cuts = &self.messages[at].cuts;
            for cut in cuts.windows(2) {
                self.again.push_back((number, cut[0], cut[1] - cut[0]));
            }
        }
    }

    /// A cell with this fragment was not delivered.
    pub(super) fn on_lost(&mut self, number: u64, offset: u32, length: u32) {
        if self.message(number).is_some_and(|message| !message.received) {
            self.again.push_back((number, offset, length));
        }
    }

    /// Writes what fits. Returns how much padding the end of a large message asks for.
    pub(super) fn write(&mut self, writer: &mut FrameWriter<'_>, items: &mut Vec<Item>) -> u64 {
        if !self.wants() {
            return 0;
        }
        if !self.opened {
            let open = Frame::Open {
                slot: SLOT,
                conversation: CONVERSATION,
                incarnation: self.incarnation,
                first_held: self.first - self.base,
                next: self.end() - self.base,
            };
            if writer.push(&open).is_err() {
                return 0;
            }
        }
        self.write_again(writer, items);
        let mut padding = 0;
        while self.again.is_empty() && self.fresh < self.end() && self.may_begin() {
            match self.write_fresh(writer, items) {
                Some(more) => padding += more,
                None => break,
            }
        }
        padding
    }

    fn write_again(&mut self, writer: &mut FrameWriter<'_>, items: &mut Vec<Item>) {
        while let Some(&(number, offset, length)) = self.again.front() {
            if self.message(number).is_some_and(|message| !message.received) {
                let Some(room) = writer.left().checked_sub(DATA_HEADER_LEN) else { return };
                if length as usize > room && (!items.is_empty() || room < FRAGMENT_BYTES_MIN) {
                    return;
                }
                // A cell that is smaller than the one the fragment was cut for: it is cut again.
                let piece = length.min(u32::try_from(room).unwrap_or(u32::MAX));
                self.push_fragment(writer, items, number, offset, piece);
                if piece < length {
                    self.again[0] = (number, offset + piece, length - piece);
                    return;
                }
            }
            self.again.pop_front();
        }
    }

    /// Writes a part of the next message never sent; `None` where it does not fit.
    fn write_fresh(&mut self, writer: &mut FrameWriter<'_>, items: &mut Vec<Item>) -> Option<u64> {
        let number = self.fresh;
        let room = writer.left().checked_sub(DATA_HEADER_LEN)?;
        let message = self.message(number).expect("a fresh message is held");
        let (offset, total) = (message.cut_to(), message.total());
        let left = (total - offset) as usize;
        // A message that fits a cell stays whole; a larger one fills what is there.
        let shares_cell = offset == 0 && !items.is_empty() && left <= LARGEST;
        if left > room && (room < FRAGMENT_BYTES_MIN || shares_cell) {
            return None;
        }
        let length = u32::try_from(left.min(room)).expect("shorter than a cell");
        message.cuts.push(offset + length);
        let bytes = message.bytes.len();
        self.push_fragment(writer, items, number, offset, length);
        if offset + length < total {
            return None;
        }
        self.fresh += 1;
        self.fresh_bytes += bytes;
        let padded = padme(bytes as u64) - bytes as u64;
        Some(if bytes > LARGEST { padded } else { 0 })
    }

    fn push_fragment(
        &mut self,
        writer: &mut FrameWriter<'_>,
        items: &mut Vec<Item>,
        number: u64,
        offset: u32,
        length: u32,
    ) {
        let sequence = number - self.base;
        let message = self.message(number).expect("a fragment of a held message");
        let bytes = &message.bytes[offset as usize..][..length as usize];
        let total = message.total();
        let data = Data { slot: SLOT, sequence, offset, total, expiry_s: None, bytes };
        writer.push(&Frame::Data(data)).expect("the room was measured");
        items.push(Item::Fragment { message: number, offset, length });
    }

    /// The peer acknowledges.
    pub(super) fn on_ack(&mut self, ack: &Ack) -> Option<Taken> {
        if ack.slot != SLOT {
            return None;
        }
        let taken = self.take_below(ack.next);
        for range in ack.ranges.as_slice() {
            let from = self.base.saturating_add(ack.next).saturating_add(range.from_next.into());
            let to = from.saturating_add(range.count.into()).min(self.fresh);
            for number in from.max(self.first)..to {
                if let Some(message) = self.message(number) {
                    message.received = true;
                }
            }
        }
        taken
    }

    /// The peer answers OPEN: it expects `next`.
    pub(super) fn on_state(
        &mut self,
        slot: u16,
        incarnation: u64,
        next: u64,
        renewed: u64,
    ) -> Option<Taken> {
        if slot != SLOT || incarnation != self.incarnation {
            return None;
        }
        if next > self.end() - self.base {
            // It has seen messages that this log does not know: this device was rolled back. Begin a new log.
            self.incarnation = renewed;
            self.base = self.first;
            self.opened = false;
            self.resend_all();
            return None;
        }
        self.opened = true;
        self.take_below(next)
    }

    /// The peer refuses a message. Returns its number where it was held.
    pub(super) fn on_reject(&mut self, slot: u16, sequence: u64) -> Option<u64> {
        let number = self.base.checked_add(sequence)?;
        (slot == SLOT && (self.first..self.fresh).contains(&number)).then_some(number)
    }

    fn take_below(&mut self, next: u64) -> Option<Taken> {
        // Nobody takes what was never sent whole.
        let to = self.base.saturating_add(next).min(self.fresh);
        let from = self.first;
        if to <= from {
            return None;
        }
        for _ in from..to {
            let taken = self.messages.pop_front().expect("a number below the end is held");
            self.held_bytes -= taken.bytes.len();
            self.fresh_bytes -= taken.bytes.len();
        }
        self.first = to;
        self.again.retain(|(number, ..)| *number >= to);
        Some(Taken { from, to })
    }
}

/// The longest message that fits one cell of the largest class.
const LARGEST: usize = hushwire_wire::cell::Class::C7.body_len()
    - hushwire_wire::padding::FRAME_OVERHEAD
    - DATA_HEADER_LEN;
