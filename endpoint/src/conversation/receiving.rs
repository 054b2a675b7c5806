//! What comes from the peer, and what the relay reports.

use std::time::{Duration, Instant};

use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::control::Undelivered;

use super::channel::{Carriage, News, Opened};
use super::flight::{Flight, Item};
use super::inbox::{Violation, ack_delay};
use super::limits::{CREDIT_STEP_BYTES, CREDIT_STEP_BYTES_MIN, MESSAGES_FIRST_CLASS_MAX};
use super::outbox::Answer;
use super::storing::Then;
use super::{Conversation, Event, Moment};
use crate::identity::Identity;
use crate::journal::Entry;
use crate::link::CellId;
use crate::suite::frame_types::{Frame, FrameError, Frames};
use crate::suite::handshake::{Incompatible, Role};
use crate::suite::random::{Random, draw};

/// Reasons in CLOSE; numbers on the wire (annex A.5).
mod close {
    /// The peer broke the protocol.
    pub(super) const MALFORMED: u16 = 1;
    /// A frame of an unknown type.
    pub(super) const UNSUPPORTED: u16 = 2;
}

impl Conversation {
    /// A body from the peer, opened in place. Whatever is wrong with it, this conversation goes on or begins again.
    pub fn handle_body(
        &mut self,
        body: &mut [u8],
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        match self.channel.open(body, identity, moment, may_begin, random) {
            Ok(Opened::Frames(frames)) => {
                self.news();
                self.hint = None;
                self.flight.release();
                self.unheard = 0;
                if self.away_until.take().is_some() {
                    self.away.reset();
                    self.tell_again(moment.now);
                }
                let size = (body.len() + HEADER_LEN) as u64;
                self.on_frames(&body[frames], size, identity, moment, may_begin, random);
            }
            Ok(Opened::Handshake) => {
                self.away_until = None;
                self.news();
            }
            // Replayed, changed on the way, or nobody's: not worth a word.
            Ok(Opened::Foreign) | Err(_) => {}
        }
        self.news();
    }

    pub(super) fn on_frames(
        &mut self,
        frames: &[u8],
        size: u64,
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        let mut data = false;
        for frame in Frames::new(frames) {
            let outcome = match frame {
                Ok(Frame::Handshake { message }) => {
                    let carriage = Carriage::Inner;
                    self.channel.on_message(carriage, message, identity, moment, may_begin, random);
                    Ok(())
                }
                Ok(Frame::Close { reason }) => {
                    if reason == close::UNSUPPORTED {
                        self.channel.incompatible(Incompatible::FrameRefused, moment);
                    }
                    self.session_lost(moment, random);
                    return;
                }
                Ok(frame) => {
                    data |=
                        matches!(frame, Frame::Data(_) | Frame::Stream(_) | Frame::Padding { .. });
                    self.on_frame(&frame, moment, random)
                }
                Err(FrameError::Unknown(kind)) => {
                    self.channel.incompatible(Incompatible::UnknownFrame(kind), moment);
                    self.closing = Some(close::UNSUPPORTED);
                    return;
                }
                Err(FrameError::Truncated(_) | FrameError::Field(_)) => Err(Violation),
            };
            if outcome == Err(Violation) {
                self.closing = Some(close::MALFORMED);
                return;
            }
        }
        if data {
            self.on_data_cell(size, moment.now, random);
        }
    }

    fn on_data_cell(&mut self, size: u64, now: Instant, random: &mut dyn Random) {
        self.arrived += size;
        let about = self.flight.messages_are_about(now);
        let step = if about { CREDIT_STEP_BYTES_MIN } else { CREDIT_STEP_BYTES };
        if self.arrived - self.arrived_told >= step {
            self.credit_at = Some(now);
        } else if self.credit_at.is_none() {
            self.credit_at = Some(now + ack_delay(random));
        }
    }

    fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        moment: Moment,
        random: &mut dyn Random,
    ) -> Result<(), Violation> {
        match frame {
            Frame::Padding { .. } | Frame::Handshake { .. } | Frame::Close { .. } => {}
            Frame::Data(data) => {
                if data.total as usize <= MESSAGES_FIRST_CLASS_MAX.body_len() {
                    self.flight.on_message(moment.now);
                }
                let ready = self.inbox.is_ready();
                if self.inbox.on_data(data, moment.now, random)? && !ready {
                    self.events.push_back(Event::MessageReady);
                }
            }
            Frame::Stream(piece) => {
                if let Some((id, new)) = self.streams.on_piece(piece, moment.now)? {
                    let incoming = Event::StreamIncoming;
                    self.events.push_back(if new { incoming } else { Event::StreamChanged(id) });
                }
            }
            Frame::Ack(ack) => {
                let renewed = u64::from_le_bytes(draw(random));
                let answer = self.outbox.on_ack(ack, renewed, moment.unix_s());
                self.on_answer(answer)?;
            }
            Frame::State { slot, incarnation, next_expected } => {
                let renewed = u64::from_le_bytes(draw(random));
                let (next, now_s) = (*next_expected, moment.unix_s());
                let answer = self.outbox.on_state(*slot, *incarnation, next, renewed, now_s);
                self.on_answer(answer)?;
                if self.outbox.end_waiting() {
                    let entry = Entry::Unsent { peer: self.channel.peer(), from: None };
                    self.storing.push(entry, Then::SendWaiting);
                }
            }
            Frame::Open { slot, conversation, incarnation, first_held, next } => {
                let (first_held, next) = (*first_held, *next);
                let (incarnation, now) = (*incarnation, moment.now);
                let lost =
                    self.inbox.on_open(*slot, conversation, incarnation, first_held, next, now)?;
                self.on_missing(lost);
            }
            Frame::Gap { slot, from, to } => {
                let lost = self.inbox.on_gap(*slot, *from, *to, moment.now)?;
                self.on_missing(lost);
            }
            Frame::Reject { slot, sequence, reason } => {
                let renewed = u64::from_le_bytes(draw(random));
                let now_s = moment.unix_s();
                let answer = self.outbox.on_reject(*slot, *sequence, *reason, renewed, now_s);
                self.on_answer(answer)?;
            }
            Frame::Reset { reason, stream } => {
                if let Some(id) = self.streams.on_reset(*stream, *reason, moment.now) {
                    self.events.push_back(Event::StreamChanged(id));
                }
            }
            Frame::Window { stream: 0, limit } => self.flight.on_credit(*limit, moment.now),
            Frame::Window { stream, limit } => {
                if let Some(id) = self.streams.on_window(*stream, *limit) {
                    self.progress();
                    self.events.push_back(Event::StreamChanged(id));
                }
            }
        }
        Ok(())
    }

    /// What the peer has said about the log of messages to it.
    fn on_answer(&mut self, answer: Answer) -> Result<(), Violation> {
        match answer {
            Answer::Known(taken) => self.store_ends(taken),
            Answer::SetBack { incarnation, base } => {
                let peer = self.channel.peer();
                let entry = Entry::LogBegun { peer, incarnation, base };
                self.storing.push(entry, Then::LogKnown { incarnation });
                self.events.push_back(Event::SetBack);
            }
            Answer::Foreign => {}
            Answer::Impossible => return Err(Violation),
        }
        Ok(())
    }

    /// The log has moved without the application: what it has not seen of it is lost.
    fn on_missing(&mut self, lost: Option<u64>) {
        self.events.extend(lost.map(|count| Event::Lost { count }));
        self.store_cursor();
        if self.inbox.is_ready() {
            self.events.push_back(Event::MessageReady);
        }
    }

    pub(super) fn progress(&mut self) {
        (self.ask_at, self.asks) = (None, 0);
    }

    pub(super) fn news(&mut self) {
        while let Some(news) = self.channel.poll_news() {
            match news {
                News::Hs1 { time_ns } => {
                    self.events.push_back(Event::HandshakeBegins { time_ns });
                }
                News::Answered { time_ns } => {
                    self.events.push_back(Event::HandshakeAnswered { time_ns });
                }
                News::Incompatible(why) => self.events.push_back(Event::PeerIncompatible { why }),
                News::Established(established) => {
                    self.events.push_back(Event::HandshakeEnded(established));
                }
                News::Fresh(role) => self.on_fresh(role),
                News::Renewed => {
                    self.outbox.on_session(false);
                    self.greeting = true;
                }
            }
        }
    }

    pub(super) fn on_fresh(&mut self, role: Role) {
        let over = self.streams.on_fresh(role);
        self.events.extend(over.into_iter().map(Event::StreamChanged));
        self.flight = Flight::new();
        self.unheard = 0;
        (self.arrived, self.arrived_told, self.credit_at) = (0, 0, None);
        self.outbox.on_session(true);
        self.inbox.on_fresh();
        self.padding = 0;
        self.closing = None;
        self.wanted = false;
        self.greeting = true;
        self.events.push_back(Event::SessionUp);
    }

    pub(super) fn session_lost(&mut self, moment: Moment, random: &mut dyn Random) {
        self.channel.drop_session(moment, random);
        let over = self.streams.close();
        self.events.extend(over.into_iter().map(Event::StreamChanged));
        self.flight.forget();
        self.closing = None;
        self.wanted = false;
        self.events.push_back(Event::SessionLost);
    }

    /// The relay did not deliver one of our cells.
    pub fn handle_undeliverable(
        &mut self,
        id: CellId,
        reason: Undelivered,
        moment: Moment,
        random: &mut dyn Random,
    ) {
        self.hint = Some(reason);
        if let Some(at) = self.handshake_cells.iter().position(|sent| *sent == id) {
            self.handshake_cells.remove(at);
            self.channel.on_undeliverable(reason, moment, random);
            if reason != Undelivered::Busy {
                self.events.push_back(Event::PeerAway { reason });
            }
            return;
        }
        for item in self.flight.take_lost(id).unwrap_or_default() {
            match item {
                Item::Fragment { message, offset, length } => {
                    self.outbox.on_lost(message, offset, length);
                }
                Item::Piece { stream, offset, length, fin } => {
                    self.streams.on_lost(stream, offset, length, fin);
                }
            }
        }
        self.tell_again(moment.now + ack_delay(random));
        self.outbox.tell_gaps_again();
        match reason {
            Undelivered::Busy => self.flight.on_busy(id, CellId(self.next_cell), moment.now),
            Undelivered::TooLarge => {
                self.class_max = match self.class_max {
                    Class::C0 | Class::C1 | Class::C2 | Class::C3 => Class::C3,
                    Class::C4 | Class::C5 | Class::C6 | Class::C7 => {
                        Class::ALL[self.class_max as usize - 1]
                    }
                };
            }
            Undelivered::Offline | Undelivered::Refused => {
                if self.away_until.is_none_or(|until| until <= moment.now) {
                    let wait = self.away.next(random).max(Duration::from_millis(250));
                    self.away_until = Some(moment.now + wait);
                    self.events.push_back(Event::PeerAway { reason });
                }
            }
        }
    }
}
