//! What goes to the peer: which frames share a cell, and how large it is.

use std::time::Instant;

use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::padding::FRAME_OVERHEAD;

use super::channel::Carriage;
use super::flight::Item;
use super::limits::{
    HANDSHAKE_CELLS_MAX, MESSAGES_FIRST_CLASS_MAX, PADDING_BYTES_MAX, SESSION_WINDOW_BYTES,
};
use super::{Conversation, Moment, Transmit};
use crate::link::{CellId, cover_class};
use crate::suite::frame_types::{Frame, FrameWriter};
use crate::suite::frames::FRAMES_OFFSET;
use crate::suite::limits::HANDSHAKE_CLASS;
use crate::suite::random::{Random, draw};

/// What accompanies data is far less than this.
const COMPANY: usize = 128;

/// Data for one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    class: Class,
    what: What,
    /// All messages that wait are small, together.
    small: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Messages alone, because streams would make them late.
    Messages,
    /// Messages and streams in turn.
    All,
}

impl Conversation {
    pub(super) fn wants_data(&self) -> bool {
        self.outbox.wants() || self.streams.wants() || self.padding > 0
    }

    /// Appends the next cell to `out`, its first 64 bytes left for the header. `None` where there is nothing to send
    /// or it may not be sent yet.
    pub fn poll_cell(
        &mut self,
        moment: Moment,
        random: &mut dyn Random,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if !self.connected {
            return None;
        }
        if let Some(message) = self.channel.poll_outgoing(Carriage::Outer) {
            let start = out.len();
            out.resize(start + HANDSHAKE_CLASS.cell_len(), 0);
            self.channel.seal(&message.content, &mut out[start + HEADER_LEN..], random);
            return Some(self.handshake_sent());
        }
        if !self.channel.is_up() || self.away_until.is_some_and(|until| moment.now < until) {
            return None;
        }
        let inner = self.channel.poll_outgoing(Carriage::Inner);
        let tell = inner.is_some() || self.tell_at(moment.now).is_some_and(|at| at <= moment.now);
        let load = self.load(moment.now);
        let data = load.map(|load| load.class);
        let largest = data.or_else(|| tell.then_some(self.class_cap()))?;
        let largest = if inner.is_some() { largest.max(HANDSHAKE_CLASS) } else { largest };
        let start = out.len();
        out.resize(start + largest.cell_len(), 0);
        let content = largest.body_len() - FRAME_OVERHEAD;
        let frames = &mut out[start + HEADER_LEN + FRAMES_OFFSET..][..content];
        let mut writer = FrameWriter::new(frames);
        let was_closing = self.closing;
        let handshake = inner.is_some();
        self.write_told(&mut writer, inner.map(|message| message.content));
        let mut items = Vec::new();
        let mut padded = 0;
        let mut is_data = false;
        if let Some(load) = load {
            padded = match load.what {
                What::Messages => {
                    self.outbox.write(&mut writer, &mut items, moment.unix_s());
                    0
                }
                What::All => self.write_data(&mut writer, &mut items, moment.unix_s()),
            };
            is_data = padded > 0 || !items.is_empty();
            // The peer comes to the same conclusion; the end of a large message tells it nothing.
            if load.small
                && items.iter().any(|item| matches!(item, Item::Fragment { offset: 0, .. }))
            {
                self.flight.on_message(moment.now);
            }
        }
        let length = writer.len();
        if length == 0 && !tell {
            out.truncate(start);
            return None;
        }
        let class = self.class_for(length, padded, is_data, largest, random);
        out.truncate(start + class.cell_len());
        let sealed = self
            .channel
            .sending()
            .map(|sending| sending.sender.seal_in_place(length, &mut out[start + HEADER_LEN..]));
        let Some(Ok(_)) = sealed else {
            // The key is used up, because nobody answered the renewals.
            out.truncate(start);
            self.session_lost(moment, random);
            return None;
        };
        if was_closing.is_some() {
            self.session_lost(moment, random);
        }
        let id = self.number();
        if is_data {
            self.flight.on_sent(id, class, items, moment.now);
        }
        if handshake {
            self.remember_handshake(id);
        }
        Some(Transmit { lane: self.channel.lane(), id })
    }

    fn number(&mut self) -> CellId {
        let id = CellId(self.next_cell);
        self.next_cell += 1;
        id
    }

    fn handshake_sent(&mut self) -> Transmit {
        let id = self.number();
        self.remember_handshake(id);
        Transmit { lane: self.channel.lane(), id }
    }

    fn remember_handshake(&mut self, id: CellId) {
        if self.handshake_cells.len() >= HANDSHAKE_CELLS_MAX {
            self.handshake_cells.pop_front();
        }
        self.handshake_cells.push_back(id);
    }

    fn class_cap(&mut self) -> Class {
        let peer = self.channel.sending().map_or(Class::C7, |sending| sending.class_max);
        peer.min(self.class_max).max(Class::C0)
    }

    /// What data may be sent now, and in how large a cell.
    fn load(&mut self, now: Instant) -> Option<Load> {
        if !self.wants_data() {
            return None;
        }
        let (messages, streams) = (self.outbox.backlog(), self.streams.backlog());
        let small = |bytes: usize| {
            Class::for_body(bytes + COMPANY + FRAME_OVERHEAD)
                .filter(|class| *class <= MESSAGES_FIRST_CLASS_MAX)
        };
        let best = self.class_cap().min(self.flight.class_max());
        if messages > 0
            && let Some(class) = small(messages)
        {
            // Somebody waits for them, and they fill no queue.
            let (class, what) = match small(messages + streams) {
                Some(class) => (class, What::All),
                None => (class, What::Messages),
            };
            let class = class.min(best);
            let fits = class.cell_len() <= self.flight.room_for_messages(now);
            return fits.then_some(Load { class, what, small: true });
        }
        let (room, best) = if messages > 0 {
            (self.flight.room(now), best)
        } else {
            (self.flight.room_for_streams(now), best.min(self.flight.class_max_of_streams(now)))
        };
        let fits = Class::ALL.into_iter().rev().find(|class| class.cell_len() <= room)?;
        // A smaller cell than could be waits, unless it holds all there is.
        let all = messages + streams + COMPANY + FRAME_OVERHEAD;
        let class = if fits >= best { best } else { fits };
        (class == best || all <= class.body_len()).then_some(Load {
            class,
            what: What::All,
            small: false,
        })
    }

    /// Writes what the peer must know; it rides along with data for nothing.
    pub(super) fn write_told(&mut self, writer: &mut FrameWriter<'_>, handshake: Option<Vec<u8>>) {
        if let Some(message) = handshake {
            let _fits_class_3 = writer.push(&Frame::Handshake { message: &message });
        }
        if let Some(reason) = self.closing {
            let _fits = writer.push(&Frame::Close { reason });
            return;
        }
        self.greeting = false;
        let limit = self.arrived + SESSION_WINDOW_BYTES;
        if self.credit_at.is_some() && writer.push(&Frame::Window { stream: 0, limit }).is_ok() {
            self.credit_at = None;
            self.arrived_told = self.arrived;
        }
        if self.inbox.frames().all(|frame| writer.push(&frame).is_ok()) {
            self.inbox.told();
        }
        while let Some((sequence, frame)) = self.inbox.refusal()
            && writer.push(&frame).is_ok()
        {
            self.inbox.refusal_told(sequence);
        }
        self.outbox.tell(writer);
        self.streams.tell(writer);
    }

    /// Writes messages and streams, in turn first. Returns the content's length that padding asks for; 0 for none.
    pub(super) fn write_data(
        &mut self,
        writer: &mut FrameWriter<'_>,
        items: &mut Vec<Item>,
        now_s: u64,
    ) -> usize {
        self.streams_first = !self.streams_first;
        let mut padding = 0;
        for streams in [self.streams_first, !self.streams_first] {
            padding += if streams {
                self.streams.write(writer, items)
            } else {
                self.outbox.write(writer, items, now_s)
            };
        }
        self.padding = self.padding.saturating_add(padding).min(PADDING_BYTES_MAX);
        if self.padding == 0 {
            return 0;
        }
        let wanted = usize::try_from(self.padding).unwrap_or(usize::MAX).min(writer.left());
        self.padding -= wanted as u64;
        if wanted == 0 {
            return 0;
        }
        if items.is_empty() {
            // A cell of padding alone counts as data, so that it is paced like the data it prolongs.
            let length = wanted - 1;
            writer.push(&Frame::Padding { length }).expect("the room was measured");
            writer.len()
        } else {
            writer.len() + wanted
        }
    }

    /// The class of a cell with so much in it. What only tells takes a class by the weights of cover, and so looks
    /// like it.
    fn class_for(
        &self,
        length: usize,
        padded: usize,
        is_data: bool,
        largest: Class,
        random: &mut dyn Random,
    ) -> Class {
        let needed = Class::for_body(length.max(padded) + FRAME_OVERHEAD).unwrap_or(largest);
        if is_data { needed } else { needed.max(cover_class(draw(random)).min(largest)) }
    }
}
