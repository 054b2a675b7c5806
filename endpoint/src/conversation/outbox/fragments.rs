//! Messages as fragments in cells: what is due, what is cut where, and what is sent again.

use hushwire_wire::padding::padme;

use super::{Message, Outbox, Stage};
use crate::conversation::flight::Item;
use crate::suite::frame_types::{DATA_EXPIRY_LEN, DATA_HEADER_LEN, Data, Frame, FrameWriter};

/// A fragment of a large message is worth beginning in a cell with so much room left.
const FRAGMENT_BYTES_MIN: usize = 1_024;
/// The longest DATA frame that fits one cell of the largest class.
const FRAME_BYTES_MAX: usize =
    hushwire_wire::cell::Class::C7.body_len() - hushwire_wire::padding::FRAME_OVERHEAD;

impl Message {
    fn cut_to(&self) -> u32 {
        *self.cuts.last().expect("the first cut is 0")
    }

    const fn header_len(&self) -> usize {
        DATA_HEADER_LEN + if self.expires_s.is_some() { DATA_EXPIRY_LEN } else { 0 }
    }

    /// Whether it never fits one cell.
    const fn is_large(&self) -> bool {
        self.header_len() + self.bytes.len() > FRAME_BYTES_MAX
    }
}

impl Outbox {
    /// Moves over what needs no sending any more.
    pub(super) fn skip(&mut self) {
        let (sent, sendable) = (self.sent(), self.sendable());
        for message in self.messages.iter_mut().skip(sent) {
            if message.stage == Stage::Held || self.fresh >= sendable {
                break;
            }
            if let Stage::Gap { due } = &mut message.stage {
                // The peer has not been told of it, for it was beyond what it was sent.
                *due = true;
            }
            self.fresh += 1;
            self.fresh_bytes += message.bytes.len();
        }
        // The peer will pass these too.
        self.reach = self.reach.max(self.fresh);
    }

    /// Whether there is a message to be sent for the first time that may be.
    fn has_fresh(&self) -> bool {
        self.is_known && self.fresh < self.sendable() && self.may_begin()
    }

    /// Whether there is something to send.
    pub(in crate::conversation) fn wants(&self) -> bool {
        !self.again.is_empty() || self.has_fresh()
    }

    /// Bytes that wait to be sent, counted up to some 64 KiB.
    pub(in crate::conversation) fn backlog(&self) -> usize {
        const ENOUGH: usize = 1 << 16;
        let mut bytes = 0;
        for (_, _, length) in &self.again {
            bytes += *length as usize + DATA_HEADER_LEN + DATA_EXPIRY_LEN;
            if bytes >= ENOUGH {
                return bytes;
            }
        }
        if self.has_fresh() {
            let sent = self.sent();
            let sendable = self.sendable().saturating_sub(self.fresh);
            let sendable = usize::try_from(sendable).unwrap_or(usize::MAX);
            let waiting = self.messages.iter().skip(sent).take(sendable);
            for message in waiting.filter(|message| message.stage == Stage::Held) {
                bytes += (message.total() - message.cut_to()) as usize + message.header_len();
                if bytes >= ENOUGH {
                    break;
                }
            }
        }
        bytes
    }

    /// Takes everything that was sent and not received whole for lost.
    pub(in crate::conversation) fn resend_all(&mut self) {
        self.again.clear();
        for (message, number) in self.messages.iter().zip(self.first..) {
            if message.stage != Stage::Held || number > self.fresh {
                continue;
            }
            for cut in message.cuts.windows(2) {
                self.again.push_back((number, cut[0], cut[1] - cut[0]));
            }
        }
        self.tell_gaps_again();
    }

    /// Asks where the peer is, and sends the first message again of which it says nothing.
    pub(in crate::conversation) fn ask(&mut self) {
        self.tell_gaps_again();
        self.asks = true;
        let sent = self.sent();
        let held = |message: &Message| message.stage == Stage::Held;
        if let Some(at) = self.messages.iter().take(sent).position(held)
            && self.again.is_empty()
        {
            let number = self.first + at as u64;
            let cuts = &self.messages[at].cuts;
            for cut in cuts.windows(2) {
                self.again.push_back((number, cut[0], cut[1] - cut[0]));
            }
        }
        // What was received is said anew with the answer: an ACK of the previous session that came late may have named
        // what the peer has lost since.
        for message in self.messages.iter_mut().take(sent) {
            if message.stage == Stage::Received {
                message.stage = Stage::Held;
            }
        }
    }

    /// A cell with this fragment was not delivered.
    pub(in crate::conversation) fn on_lost(&mut self, number: u64, offset: u32, length: u32) {
        if self.message(number).is_some_and(|message| message.stage == Stage::Held) {
            self.again.push_back((number, offset, length));
        }
    }

    /// Writes what fits. Returns how much padding the end of a large message asks for.
    pub(in crate::conversation) fn write(
        &mut self,
        writer: &mut FrameWriter<'_>,
        items: &mut Vec<Item>,
        now_s: u64,
    ) -> u64 {
        self.skip();
        if !self.wants() || !self.open(writer) {
            return 0;
        }
        self.write_again(writer, items);
        let mut padding = 0;
        while self.again.is_empty() && self.has_fresh() {
            match self.write_fresh(writer, items, now_s) {
                Some(more) => padding += more,
                None => break,
            }
            self.skip();
        }
        padding
    }

    fn write_again(&mut self, writer: &mut FrameWriter<'_>, items: &mut Vec<Item>) {
        while let Some(&(number, offset, length)) = self.again.front() {
            let held = self.message(number).filter(|message| message.stage == Stage::Held);
            if let Some(header_len) = held.map(|message| message.header_len()) {
                let Some(room) = writer.left().checked_sub(header_len) else { return };
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
    fn write_fresh(
        &mut self,
        writer: &mut FrameWriter<'_>,
        items: &mut Vec<Item>,
        now_s: u64,
    ) -> Option<u64> {
        let number = self.fresh;
        let message = self.message(number).expect("a fresh message is kept");
        let room = writer.left().checked_sub(message.header_len())?;
        let (offset, total) = (message.cut_to(), message.total());
        let left = (total - offset) as usize;
        // A message that fits a cell stays whole; a larger one fills what is there.
        let large = message.is_large();
        let shares_cell = offset == 0 && !items.is_empty() && !large;
        if left > room && (room < FRAGMENT_BYTES_MIN || shares_cell) {
            return None;
        }
        let length = u32::try_from(left.min(room)).expect("shorter than a cell");
        message.cuts.push(offset + length);
        message.first_sent_s.get_or_insert(now_s);
        let bytes = message.bytes.len();
        self.push_fragment(writer, items, number, offset, length);
        if offset + length < total {
            return None;
        }
        self.fresh += 1;
        self.fresh_bytes += bytes;
        self.reach = self.reach.max(self.fresh);
        let padded = padme(bytes as u64) - bytes as u64;
        Some(if large { padded } else { 0 })
    }

    fn push_fragment(
        &mut self,
        writer: &mut FrameWriter<'_>,
        items: &mut Vec<Item>,
        number: u64,
        offset: u32,
        length: u32,
    ) {
        let (slot, sequence) = (self.slot, number - self.base);
        let message = self.message(number).expect("a fragment of a kept message");
        let bytes = &message.bytes[offset as usize..][..length as usize];
        let (total, expiry_s) = (message.total(), message.expires_s);
        let data = Data { slot, sequence, offset, total, expiry_s, bytes };
        writer.push(&Frame::Data(data)).expect("the room was measured");
        items.push(Item::Fragment { message: number, offset, length });
    }
}
