//! What two paired devices say to each other, as a state machine: bodies of cells in and out, no socket and no clock
//! (`PROTOCOL.md` §6, annexes A.3 to A.5).
//!
//! A [`Conversation`] makes a secure channel when there is something to say and keeps it fresh. On top it carries
//! *messages*, delivered once and in order, and *streams* of bytes with an authenticated end. The relay below may
//! refuse, lose, repeat, reorder or change cells; of all this a conversation knows only what UNDELIVERABLE says, and
//! what it does not hear from the peer.
//!
//! What acknowledges what:
//!
//! | sent | acknowledged by | sent again |
//! |---|---|---|
//! | a message | ACK `next`: the peer's application has taken it | the fragments that UNDELIVERABLE names; all after a reconnect or a stall |
//! | bytes of a stream | WINDOW: limit − 1 MiB is what its reader has consumed, the end counting as one byte | likewise |
//! | data cells | WINDOW 0: limit − 1 MiB is the sum of their sizes that have arrived | – |
//! | HS1, HS2, HS3 | the next handshake message, or the first frame | every 1.5 s, for 10 s |

pub mod limits;

mod channel;
mod flight;
mod inbox;
mod outbox;
mod reading;
mod streams;
mod writing;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use hushwire_wire::padding::FRAME_OVERHEAD;

use channel::{Carriage, Channel, News, Opened};
use flight::{Flight, Item};
use inbox::{Inbox, Violation, ack_delay};
use limits::{
    ASK_MS, CREDIT_STEP_BYTES, HANDSHAKE_CELLS_MAX, MESSAGE_BYTES_MAX, PADDING_BYTES_MAX,
    SESSION_WINDOW_BYTES, STALLS_MAX,
};
use outbox::{Outbox, Taken};
use streams::Streams;

pub use streams::{StreamError, StreamId};

use crate::identity::Identity;
use crate::link::{Backoff, CellId, cover_class};
use crate::suite::Minimum;
use crate::suite::frame_types::{Frame, FrameError, FrameWriter, Frames};
use crate::suite::frames::{ConnectionSalt, FRAMES_OFFSET};
use crate::suite::handshake::{Established, Role};
use crate::suite::keys::PairKey;
use crate::suite::limits::HANDSHAKE_CLASS;
use crate::suite::random::{Random, draw};

/// The two clocks, read once for everything that happens at once.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For durations.
    pub now: Instant,
    /// Nanoseconds since 1970-01-01 UTC, for handshakes.
    pub unix_ns: u64,
}

/// What pairing left behind and the keystore keeps.
#[derive(Clone, Debug)]
pub struct PeerKeys {
    /// The key both share.
    pub pair_key: PairKey,
    /// The weakest suite that will do.
    pub minimum: Minimum,
    /// Time of our last HS1, unix nanoseconds.
    pub last_sent_ns: u64,
    /// Time of the peer's last HS1, unix nanoseconds.
    pub last_seen_ns: u64,
}

impl From<&crate::keystore::Peer> for PeerKeys {
    fn from(peer: &crate::keystore::Peer) -> Self {
        Self {
            pair_key: peer.pair_key().clone(),
            minimum: peer.minimum(),
            last_sent_ns: peer.last_sent_ns(),
            last_seen_ns: peer.last_seen_ns(),
        }
    }
}

/// Number of a message among those given to one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A handshake begins: its time, unix nanoseconds, must be on disk before the next cell is polled.
    HandshakeBegins {
        /// The time in HS1.
        time_ns: u64,
    },
    /// A handshake ended: to be remembered on disk.
    HandshakeEnded(Box<Established>),
    /// A session is up that has nothing to do with an earlier one.
    SessionUp,
    /// The session ended, and its streams with it.
    SessionLost,
    /// [`Conversation::take_message`] has something.
    MessageReady,
    /// The peer's application has taken these messages, the last one excluded.
    Delivered {
        /// First.
        from: MessageNumber,
        /// One past the last.
        to: MessageNumber,
    },
    /// The peer refuses a message.
    Rejected {
        /// Which.
        message: MessageNumber,
        /// Why, in the peer's words.
        reason: u16,
    },
    /// Messages of the peer that will never come.
    Lost {
        /// How many.
        count: u64,
    },
    /// [`Conversation::accept_stream`] has something.
    StreamIncoming,
    /// A stream can be read or written again, or has failed.
    StreamChanged(StreamId),
    /// The peer cannot be reached at present; this end tries again by itself.
    PeerAway {
        /// The relay's reason.
        reason: Undelivered,
    },
}

/// A message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Longer than 16 MiB; use a stream.
    #[error("a message of {0} bytes is too large: at most 16 MiB, send it as a stream")]
    TooLarge(usize),
    /// The peer has not taken enough of what it was sent.
    #[error("too many messages wait for this peer")]
    Full,
}

/// What reading a stream found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRead {
    /// So many bytes were copied.
    Bytes(usize),
    /// The end that the writer meant.
    End,
    /// Nothing yet.
    Nothing,
}

/// A cell that was made: its header is still to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The lane it belongs to.
    pub lane: u32,
    /// Its number, for [`Conversation::handle_undeliverable`].
    pub id: CellId,
}

/// Reasons in CLOSE; numbers on the wire (annex A.5).
mod close {
    /// The peer broke the protocol.
    pub(super) const MALFORMED: u16 = 1;
    /// A frame of an unknown type.
    pub(super) const UNSUPPORTED: u16 = 2;
}

/// Everything between this device and one peer.
#[derive(Debug)]
pub struct Conversation {
    channel: Channel,
    outbox: Outbox,
    inbox: Inbox,
    streams: Streams,
    flight: Flight,
    /// Sizes of the peer's data cells that have arrived in this session, and what of it was told.
    arrived: u64,
    arrived_told: u64,
    credit_at: Option<Instant>,
    next_cell: u64,
    handshake_cells: VecDeque<CellId>,
    /// Bytes of padding that a large message or stream still asks for.
    padding: u64,
    events: VecDeque<Event>,
    ask_at: Option<Instant>,
    asks: u32,
    /// A session is wanted though there is nothing to send yet.
    wanted: bool,
    closing: Option<u16>,
    connected: bool,
    /// Streams come first in the next cell.
    streams_first: bool,
    /// A frame is due that shows the peer that its handshake has arrived.
    greeting: bool,
    class_max: Class,
    away_until: Option<Instant>,
    away: Backoff,
}

impl Conversation {
    /// The conversation of `ours` with `peer`, silent as yet. `salt` is that of the connection to the relay.
    #[must_use]
    pub fn new(
        ours: DeviceId,
        peer: DeviceId,
        keys: PeerKeys,
        salt: ConnectionSalt,
        random: &mut dyn Random,
    ) -> Self {
        Self {
            channel: Channel::new(ours, peer, keys, salt),
            outbox: Outbox::new(u64::from_le_bytes(draw(random))),
            inbox: Inbox::default(),
            streams: Streams::default(),
            flight: Flight::new(),
            arrived: 0,
            arrived_told: 0,
            credit_at: None,
            next_cell: 0,
            handshake_cells: VecDeque::new(),
            padding: 0,
            events: VecDeque::new(),
            ask_at: None,
            asks: 0,
            wanted: false,
            closing: None,
            connected: false,
            streams_first: false,
            greeting: false,
            class_max: Class::C7,
            away_until: None,
            away: Backoff::default(),
        }
    }

    // What the application does.

    /// Gives a message to be delivered. It stays here until the peer's application has taken it.
    ///
    /// # Errors
    /// See [`PushError`]; with `Full`, try again after [`Event::Delivered`].
    pub fn push_message(&mut self, bytes: Vec<u8>) -> Result<MessageNumber, (PushError, Vec<u8>)> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err((PushError::TooLarge(bytes.len()), bytes));
        }
        if !self.outbox.has_room(bytes.len()) {
            return Err((PushError::Full, bytes));
        }
        Ok(MessageNumber(self.outbox.push(bytes)))
    }

    /// The peer's next message, which counts as delivered with this call.
    pub fn take_message(&mut self, moment: Moment, random: &mut dyn Random) -> Option<Vec<u8>> {
        self.inbox.take(moment.now, random)
    }

    /// Whether [`Conversation::take_message`] has something.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.inbox.is_ready()
    }

    /// Opens a stream to the peer. `None` where there is no session yet (which this call asks for) or 64 streams are
    /// open.
    pub fn open_stream(&mut self) -> Option<StreamId> {
        self.wanted = true;
        self.streams.open().filter(|_| self.channel.is_up())
    }

    /// The next stream that the peer has opened.
    pub fn accept_stream(&mut self) -> Option<StreamId> {
        self.streams.accept()
    }

    /// Writes into a stream; returns how many bytes were taken, 0 where its window is full.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn write_stream(&mut self, id: StreamId, bytes: &[u8]) -> Result<usize, StreamError> {
        let writing = self.streams.writing(id)?;
        if writing.is_finished() {
            return Err(StreamError::Closed);
        }
        Ok(writing.write(bytes))
    }

    /// Ends a stream behind what was written.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn finish_stream(&mut self, id: StreamId) -> Result<(), StreamError> {
        self.streams.writing(id).map(writing::Writing::finish)
    }

    /// Whether everything written was sent at least once.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn is_stream_sent(&mut self, id: StreamId) -> Result<bool, StreamError> {
        self.streams.writing(id).map(|writing| writing.is_flushed())
    }

    /// Whether the peer's application has read everything, the end included.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn is_stream_done(&mut self, id: StreamId) -> Result<bool, StreamError> {
        self.streams.writing(id).map(|writing| writing.is_done())
    }

    /// Reads from a stream.
    ///
    /// # Errors
    /// See [`StreamError`]; what came before a failure can no longer be read.
    pub fn read_stream(
        &mut self,
        id: StreamId,
        buffer: &mut [u8],
        moment: Moment,
        random: &mut dyn Random,
    ) -> Result<StreamRead, StreamError> {
        Ok(match self.streams.read(id, buffer, moment.now, random)? {
            reading::Read::Bytes(count) => StreamRead::Bytes(count),
            reading::Read::End => StreamRead::End,
            reading::Read::Nothing => StreamRead::Nothing,
        })
    }

    /// Lets go of a stream this end writes: abandoned unless it was finished.
    pub fn release_writing(&mut self, id: StreamId, moment: Moment) {
        self.streams.release_writing(id, moment.now);
    }

    /// Lets go of a stream this end reads: abandoned unless its end was read.
    pub fn release_reading(&mut self, id: StreamId, moment: Moment) {
        self.streams.release_reading(id, moment.now);
    }

    /// Whether a session is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.channel.is_up()
    }

    /// Whether a handshake is pending: of these a device has at most 64.
    #[must_use]
    pub const fn is_shaking(&self) -> bool {
        self.channel.is_shaking()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // What the link does.

    /// The relay has welcomed this device on a new connection.
    pub fn handle_connected(&mut self, salt: ConnectionSalt, moment: Moment) {
        self.connected = true;
        self.channel.set_salt(salt);
        self.away_until = None;
        self.away.reset();
        if self.channel.is_up() {
            self.tell_again(moment.now);
            self.greeting = true;
        }
    }

    /// The connection is gone, and who knows what with it.
    pub fn handle_disconnected(&mut self) {
        self.connected = false;
        self.flight.forget();
        self.handshake_cells.clear();
        self.outbox.resend_all();
        self.streams.resend_all();
    }

    fn tell_again(&mut self, at: Instant) {
        self.inbox.tell_again(at);
        self.streams.tell_again(at);
        if self.arrived > 0 {
            self.credit_at = Some(self.credit_at.map_or(at, |due| due.min(at)));
        }
    }

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
                self.flight.release();
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

    fn on_frames(
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
                Ok(Frame::Close { .. }) => {
                    self.session_lost(moment, random);
                    return;
                }
                Ok(frame) => {
                    data |=
                        matches!(frame, Frame::Data(_) | Frame::Stream(_) | Frame::Padding { .. });
                    self.on_frame(&frame, moment, random)
                }
                Err(FrameError::Unknown(_)) => {
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
        if self.arrived - self.arrived_told >= CREDIT_STEP_BYTES {
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
                let taken = self.outbox.on_ack(ack);
                self.on_taken(taken);
            }
            Frame::State { slot, incarnation, next_expected } => {
                let renewed = u64::from_le_bytes(draw(random));
                let taken = self.outbox.on_state(*slot, *incarnation, *next_expected, renewed);
                self.on_taken(taken);
            }
            Frame::Open { slot, conversation, incarnation, first_held, next } => {
                let (first_held, next) = (*first_held, *next);
                let lost =
                    self.inbox.on_open(*slot, conversation, *incarnation, first_held, next)?;
                self.on_missing(lost);
            }
            Frame::Gap { slot, from, to } => {
                let lost = self.inbox.on_gap(*slot, *from, *to)?;
                self.on_missing(lost);
            }
            Frame::Reject { slot, sequence, reason } => {
                if let Some(number) = self.outbox.on_reject(*slot, *sequence) {
                    let message = MessageNumber(number);
                    self.events.push_back(Event::Rejected { message, reason: *reason });
                }
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

    fn on_taken(&mut self, taken: Option<Taken>) {
        if let Some(Taken { from, to }) = taken {
            self.progress();
            let (from, to) = (MessageNumber(from), MessageNumber(to));
            self.events.push_back(Event::Delivered { from, to });
        }
    }

    fn on_missing(&mut self, lost: Option<(u64, u64)>) {
        if let Some((from, to)) = lost {
            self.events.push_back(Event::Lost { count: to - from });
            if self.inbox.is_ready() {
                self.events.push_back(Event::MessageReady);
            }
        }
    }

    fn progress(&mut self) {
        (self.ask_at, self.asks) = (None, 0);
    }

    fn news(&mut self) {
        while let Some(news) = self.channel.poll_news() {
            match news {
                News::Hs1 { time_ns } => {
                    self.events.push_back(Event::HandshakeBegins { time_ns });
                }
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

    fn on_fresh(&mut self, role: Role) {
        let over = self.streams.on_fresh(role);
        self.events.extend(over.into_iter().map(Event::StreamChanged));
        self.flight = Flight::new();
        (self.arrived, self.arrived_told, self.credit_at) = (0, 0, None);
        self.outbox.on_session(true);
        self.padding = 0;
        self.closing = None;
        self.wanted = false;
        self.greeting = true;
        self.events.push_back(Event::SessionUp);
    }

    fn session_lost(&mut self, moment: Moment, random: &mut dyn Random) {
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
        match reason {
            Undelivered::Busy => self.flight.on_busy(id, CellId(self.next_cell), moment.now),
            Undelivered::TooLarge => {
                self.class_max = match self.class_max {
                    Class::C0 | Class::C1 | Class::C2 | Class::C3 => Class::C3,
                    larger => Class::ALL[larger as usize - 1],
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

    /// Does what is due. `may_begin` says whether fewer than 64 handshakes are pending on this device.
    pub fn handle_timeout(
        &mut self,
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        if !self.connected {
            return;
        }
        self.channel.handle_timeout(identity, moment, may_begin, random);
        if self.wants_session() {
            self.channel.demand(identity, moment, may_begin, random);
        }
        if self.channel.is_up() && self.flight.is_stalled(moment.now) {
            let stalls = self.flight.give_up();
            self.outbox.resend_all();
            self.streams.resend_all();
            if stalls >= STALLS_MAX && may_begin {
                self.channel.doubt(identity, moment, random);
            }
        }
        self.ask(moment);
        self.news();
    }

    fn wants_session(&self) -> bool {
        self.wanted || !self.outbox.is_empty() || !self.streams.is_empty()
    }

    /// Everything has arrived by the count, and yet something is not acknowledged: most likely the application
    /// over there takes its time, but the count may have been wrong.
    fn ask(&mut self, moment: Moment) {
        let waits = self.channel.is_up()
            && self.flight.is_empty()
            && (self.outbox.waits() || self.streams.waits());
        if !waits {
            self.ask_at = None;
            return;
        }
        let (first, last) = ASK_MS;
        let patience = Duration::from_millis(first.saturating_mul(1 << self.asks.min(8)).min(last));
        match self.ask_at {
            None => self.ask_at = Some(moment.now + patience),
            Some(at) if moment.now >= at => {
                self.outbox.ask();
                self.streams.ask(moment.now);
                self.asks = self.asks.saturating_add(1);
                self.ask_at = None;
            }
            Some(_) => {}
        }
    }

    /// When [`Conversation::handle_timeout`] or [`Conversation::poll_cell`] next has something to do by itself.
    #[must_use]
    pub fn next_timeout(&self, moment: Moment) -> Option<Instant> {
        if !self.connected {
            return None;
        }
        let tell = if self.channel.is_up() { self.tell_at(moment.now) } else { None };
        let demand = if self.wants_session() { self.channel.demand_at() } else { None };
        let paused = self.flight.held_until().filter(|at| *at > moment.now && self.wants_data());
        let away = self.away_until.filter(|at| *at > moment.now);
        let soonest = [
            self.channel.next_timeout(moment),
            demand,
            // While the peer is away nothing is told either.
            tell.map(|at| away.map_or(at, |away| away.max(at))),
            paused,
            away.filter(|_| self.wants_data()),
            self.flight.stall_at(),
            self.ask_at,
        ];
        soonest.into_iter().flatten().min()
    }

    /// Whether the peer has still to be told of something that was taken here.
    #[must_use]
    pub fn owes(&self, now: Instant) -> bool {
        self.connected && self.channel.is_up() && self.tell_at(now).is_some()
    }

    fn tell_at(&self, now: Instant) -> Option<Instant> {
        let immediate = self.greeting || self.closing.is_some();
        let soonest = [
            immediate.then_some(now),
            self.credit_at,
            self.inbox.tell_at(now),
            self.streams.tell_at(),
        ];
        soonest.into_iter().flatten().min()
    }

    fn wants_data(&self) -> bool {
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
        let data = self.data_class(moment.now);
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
        if data.is_some() {
            padded = self.write_data(&mut writer, &mut items);
            is_data = padded > 0 || !items.is_empty();
        }
        let length = writer.len();
        if length == 0 && !tell {
            out.truncate(start);
            return None;
        }
        let class = self.class_for(length, padded, is_data, largest, random);
        out.truncate(start + class.cell_len());
        let sealed = self.channel.sending().map(|sending| {
            (sending.lane, sending.sender.seal_in_place(length, &mut out[start + HEADER_LEN..]))
        });
        let Some((lane, Ok(_))) = sealed else {
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
        Some(Transmit { lane, id })
    }

    fn number(&mut self) -> CellId {
        let id = CellId(self.next_cell);
        self.next_cell += 1;
        id
    }

    fn handshake_sent(&mut self) -> Transmit {
        let id = self.number();
        self.remember_handshake(id);
        Transmit { lane: 0, id }
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

    /// The largest cell of data that may be sent now. A smaller one than the flight allows waits, unless it holds
    /// all there is.
    fn data_class(&mut self, now: Instant) -> Option<Class> {
        if !self.wants_data() {
            return None;
        }
        let room = self.flight.room(now);
        let fits = Class::ALL.into_iter().rev().find(|class| class.cell_len() <= room)?;
        let best = self.class_cap().min(self.flight.class_max());
        if fits >= best {
            return Some(best);
        }
        // What accompanies data is far less than this.
        const COMPANY: usize = 128;
        let backlog = self.outbox.backlog() + self.streams.backlog() + COMPANY;
        (backlog + FRAME_OVERHEAD <= fits.body_len()).then_some(fits)
    }

    /// Writes what the peer must know; it rides along with data for nothing.
    fn write_told(&mut self, writer: &mut FrameWriter<'_>, handshake: Option<Vec<u8>>) {
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
        self.streams.tell(writer);
    }

    /// Writes messages and streams, in turn first. Returns the content's length that padding asks for; 0 for none.
    fn write_data(&mut self, writer: &mut FrameWriter<'_>, items: &mut Vec<Item>) -> usize {
        self.streams_first = !self.streams_first;
        let mut padding = 0;
        for streams in [self.streams_first, !self.streams_first] {
            padding += if streams {
                self.streams.write(writer, items)
            } else {
                self.outbox.write(writer, items)
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
