//! The writing end of a stream: bytes kept until the peer's application has consumed them.

use std::collections::VecDeque;

use hushwire_wire::padding::padme;

use super::flight::Item;
use super::limits::STREAM_WINDOW_BYTES;
use crate::suite::frame_types::{Frame, FrameWriter, STREAM_HEADER_LEN, Stream};

/// A piece is worth beginning in a cell with so much room left.
const PIECE_BYTES_MIN: usize = 256;
/// A stream longer than this is padded at its end.
const LARGEST: u64 = (hushwire_wire::cell::Class::C7.body_len()
    - hushwire_wire::padding::FRAME_OVERHEAD
    - STREAM_HEADER_LEN) as u64;

#[derive(Debug)]
pub(super) struct Writing {
    number: u32,
    /// From `consumed` on.
    bytes: VecDeque<u8>,
    consumed: u64,
    sent: u64,
    /// The most that was ever sent: what the peer may have consumed, however much is being sent again.
    reach: u64,
    fin: bool,
    fin_sent: bool,
    fin_ever: bool,
    /// The peer has consumed everything, the end included.
    done: bool,
    /// Pieces to be sent again: where they begin and end.
    again: VecDeque<(u64, u64)>,
}

impl Writing {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            bytes: VecDeque::new(),
            consumed: 0,
            sent: 0,
            reach: 0,
            fin: false,
            fin_sent: false,
            fin_ever: false,
            done: false,
            again: VecDeque::new(),
        }
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let room = STREAM_WINDOW_BYTES as usize - self.bytes.len();
        let taken = bytes.len().min(room);
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    pub(super) fn finish(&mut self) {
        self.fin = true;
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.fin
    }

    /// Whether the peer's application has everything.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the peer's application has all bytes written so far.
    pub(super) fn is_flushed(&self) -> bool {
        self.sent >= self.end()
    }

    fn end(&self) -> u64 {
        self.consumed + self.bytes.len() as u64
    }

    pub(super) fn wants(&self) -> bool {
        !self.again.is_empty() || self.sent < self.end() || (self.fin && !self.fin_sent)
    }

    /// Bytes that wait to be sent, the frame around them included.
    pub(super) fn backlog(&self) -> usize {
        if !self.wants() {
            return 0;
        }
        let again: u64 = self.again.iter().map(|(from, to)| to - from).sum();
        (again + self.end() - self.sent) as usize + STREAM_HEADER_LEN
    }

    /// Whether the peer has yet to say something about what was sent to it.
    pub(super) fn waits(&self) -> bool {
        self.sent > self.consumed || (self.fin_sent && !self.done)
    }

    /// WINDOW has come; `true` where it made a difference.
    pub(super) fn on_window(&mut self, limit: u64) -> bool {
        let mut consumed = limit.saturating_sub(STREAM_WINDOW_BYTES);
        if self.fin_ever && consumed == self.end() + 1 {
            self.done = true;
            self.fin_sent = true;
            self.again.clear();
            consumed -= 1;
        }
        // Nobody consumes what was never sent.
        let consumed = consumed.min(self.reach);
        if consumed <= self.consumed {
            return self.done;
        }
        self.bytes.drain(..(consumed - self.consumed) as usize);
        self.consumed = consumed;
        self.sent = self.sent.max(consumed);
        true
    }

    /// Takes everything that was sent and not consumed for lost.
    pub(super) fn resend_all(&mut self) {
        self.again.clear();
        if !self.done {
            self.sent = self.consumed;
            self.fin_sent = false;
        }
    }

    /// Asks where the peer is, by sending a part of what it has not consumed again.
    pub(super) fn ask(&mut self) {
        if self.again.is_empty() && self.waits() {
            let end = self.sent.min(self.consumed + LARGEST);
            self.again.push_back((self.consumed, end));
        }
    }

    pub(super) fn on_lost(&mut self, offset: u64, length: u32, fin: bool) {
        let (from, to) = (offset.max(self.consumed), (offset + u64::from(length)).min(self.sent));
        if from < to {
            self.again.push_back((from, to));
        }
        if fin && !self.done {
            self.fin_sent = false;
        }
    }

    /// Writes what fits; `None` where nothing does. Returns how much padding the end of a large stream asks for.
    pub(super) fn push(
        &mut self,
        writer: &mut FrameWriter<'_>,
        items: &mut Vec<Item>,
    ) -> Option<u64> {
        let mut padding = None;
        while self.wants() {
            let room = writer.left().checked_sub(STREAM_HEADER_LEN)?;
            let (from, to) = self.next_piece();
            let length = (to - from).min(room as u64) as usize;
            if ((length as u64) < to - from && length < PIECE_BYTES_MIN) || room == 0 {
                break;
            }
            let end = from + length as u64;
            let fin = self.fin && end == self.end();
            self.write_piece(writer, from, length, fin);
            items.push(Item::Piece {
                stream: self.number,
                offset: from,
                length: length as u32,
                fin,
            });
            if fin && !self.fin_sent {
                (self.fin_sent, self.fin_ever) = (true, true);
                let more = if end > LARGEST { padme(end) - end } else { 0 };
                padding = Some(padding.unwrap_or(0) + more);
            }
            padding.get_or_insert(0);
        }
        padding
    }

    /// The next piece, which is then no longer due.
    fn next_piece(&mut self) -> (u64, u64) {
        while let Some((from, to)) = self.again.front().copied() {
            let from = from.max(self.consumed);
            if from < to {
                return (from, to);
            }
            self.again.pop_front();
        }
        (self.sent, self.end())
    }

    fn write_piece(&mut self, writer: &mut FrameWriter<'_>, from: u64, length: usize, fin: bool) {
        let at = (from - self.consumed) as usize;
        let (front, back) = self.bytes.as_slices();
        let joined;
        let bytes = if at + length <= front.len() {
            &front[at..at + length]
        } else if at >= front.len() {
            &back[at - front.len()..][..length]
        } else {
            joined = [&front[at..], &back[..at + length - front.len()]].concat();
            &joined
        };
        let piece = Stream { stream: self.number, offset: from, fin, bytes };
        writer.push(&Frame::Stream(piece)).expect("the room was measured");
        let end = from + length as u64;
        match self.again.front_mut() {
            Some(again) if again.0.max(self.consumed) == from => {
                again.0 = end;
                if again.0 >= again.1 {
                    self.again.pop_front();
                }
                self.sent = self.sent.max(end);
            }
            Some(_) | None => self.sent = end,
        }
        self.reach = self.reach.max(self.sent);
    }
}
