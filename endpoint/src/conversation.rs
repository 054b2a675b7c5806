//! What two paired devices say to each other, as a state machine: bodies of cells in and out, no socket and no clock
//! (`PROTOCOL.md` §6, annexes A.3 to A.5).
//!
//! What must outlast a crash it asks to be written down ([`Conversation::poll_entry`]) and acts on only once it was
//! ([`Conversation::handle_stored`]): a message is sent, an acknowledgement told and an end reported no earlier.
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
//! | a message | ACK `next`: the peer's application has confirmed it | the fragments that UNDELIVERABLE names; all after a reconnect or a stall |
//! | that a message ended otherwise (GAP) | ACK `next` beyond it | likewise |
//! | the refusal of a message (REJECT) | GAP over it | whenever the message comes again |
//! | bytes of a stream | WINDOW: limit − 1 MiB is what its reader has consumed, the end counting as one byte | likewise |
//! | data cells | WINDOW 0: limit − 1 MiB is the sum of their sizes that have arrived | – |
//! | HS1, HS2, HS3 | the next handshake message, or the first frame | every 1.5 s, for 10 s |

pub mod limits;
pub mod preamble;

mod channel;
mod delivery;
mod event;
mod flight;
mod inbox;
mod inspecting;
mod outbox;
mod reading;
mod receiving;
mod sending;
mod share;
mod storing;
mod streams;
mod timing;
mod writing;

use std::collections::VecDeque;
use std::time::Instant;

use hushwire_wire::cell::Class;
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;

use channel::Channel;
use flight::Flight;
use inbox::Inbox;
use outbox::Outbox;
use storing::Storing;
use streams::Streams;

pub use delivery::{Incoming, OutboxLimits};
pub use event::{Event, PushError, StreamRead, Transmit};
pub(crate) use inspecting::inspect;
pub use outbox::PendingSend;
pub use streams::{Refusal, StreamError, StreamId};

use crate::journal::PeerLogs;
use crate::link::{Backoff, CellId};
use crate::suite::Minimum;
use crate::suite::frames::ConnectionSalt;
use crate::suite::keys::PairKey;
use crate::suite::random::{Random, draw};

/// The two clocks, read once for everything that happens at once.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For durations.
    pub now: Instant,
    /// Nanoseconds since 1970-01-01 UTC, for handshakes.
    pub unix_ns: u64,
}

impl Moment {
    /// Seconds since 1970-01-01 UTC, for what is kept on disk.
    #[must_use]
    pub const fn unix_s(&self) -> u64 {
        self.unix_ns / 1_000_000_000
    }
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

/// Everything between this device and one peer.
#[derive(Debug)]
pub struct Conversation {
    channel: Channel,
    outbox: Outbox,
    inbox: Inbox,
    storing: Storing,
    /// The last cursor that was given to be stored.
    cursor_asked: Option<(u64, u64)>,
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
    /// Questions since the last frame of the peer.
    unheard: u32,
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
    /// What the relay last said of cells to this peer, until the peer is heard again.
    hint: Option<Undelivered>,
}

impl Conversation {
    /// The conversation of `ours` with `peer`, silent as yet. `logs` is what the journal knows of it, `salt` that of the
    /// connection to the relay.
    #[must_use]
    pub fn new(
        ours: DeviceId,
        peer: DeviceId,
        keys: PeerKeys,
        logs: PeerLogs,
        salt: ConnectionSalt,
        random: &mut dyn Random,
    ) -> Self {
        Self {
            channel: Channel::new(ours, peer, keys, salt),
            outbox: Outbox::new(logs.outgoing, u64::from_le_bytes(draw(random))),
            inbox: Inbox::new(logs.incoming),
            storing: Storing::default(),
            cursor_asked: None,
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
            unheard: 0,
            wanted: false,
            closing: None,
            connected: false,
            streams_first: false,
            greeting: false,
            class_max: Class::C7,
            away_until: None,
            away: Backoff::default(),
            hint: None,
        }
    }

    // What the application does.

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

    /// Lets go of a stream this end reads and tells the peer why.
    pub fn refuse_stream(&mut self, id: StreamId, refusal: Refusal, moment: Moment) {
        self.streams.refuse(id, refusal, moment.now);
    }

    /// The stream of this number in the present session, whether there is one or not.
    #[must_use]
    pub const fn stream_of_session(&self, number: u32) -> StreamId {
        self.streams.id(number)
    }

    /// Whether a stream can still go on.
    ///
    /// # Errors
    /// [`StreamError::SessionLost`], [`StreamError::Abandoned`].
    pub fn check_stream(&self, id: StreamId) -> Result<(), StreamError> {
        self.streams.check(id)
    }

    /// Whether a session is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.channel.is_up()
    }

    /// Until when small messages are exchanged with this peer; streams to others over the same connection should yield.
    #[must_use]
    pub const fn messages_until(&self) -> Option<Instant> {
        self.flight.messages_until()
    }

    /// Small messages are exchanged until then, if only with other peers over the same connection: streams to this peer
    /// leave room for them.
    pub fn yield_until(&mut self, until: Option<Instant>, now: Instant) {
        self.flight.yield_until(until, now);
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
        // Whoever said that cells were too large, said it of another connection.
        self.class_max = Class::C7;
        if self.channel.is_up() {
            self.tell_again(moment.now);
            self.greeting = true;
        }
    }

    /// The peer was paired anew: sessions and streams end, messages are sent again under the new key.
    pub fn handle_new_keys(&mut self, keys: PeerKeys, moment: Moment, random: &mut dyn Random) {
        self.session_lost(moment, random);
        self.channel.set_keys(keys);
        self.outbox.on_session(true);
    }

    /// The peer is known by another ID, without a session as yet: what was told of the old one says nothing of it.
    pub fn handle_renamed(&mut self, peer: DeviceId) {
        self.channel.set_peer(peer);
        self.away_until = None;
        self.away.reset();
        self.hint = None;
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
}
