//! Everything a client knows, under its lock: the link, a conversation for each peer, and who waits for what.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::task::Waker;
use std::time::Instant;

use hushwire_wire::cell::{Class, HEADER_LEN};
use hushwire_wire::control::{Request, RequestId};
use hushwire_wire::id::DeviceId;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Receipt;
use super::clock::moment;
use super::event::Event;
use super::limits::{EVENTS_MAX, OUT_BYTES_MAX, PAIRING_QUEUE_MAX};
use crate::conversation::{
    self, Conversation, MessageNumber, Moment, PeerKeys, PushError, StreamId,
};
use crate::error::Error;
use crate::keystore::Keystore;
use crate::link::{Answer, Goaway, Input, Link, LinkError, Origin};
use crate::suite::frames::ConnectionSalt;
use crate::suite::limits::HANDSHAKES_PENDING_MAX;
use crate::suite::random::OsRandom;

/// What concerns a pairing in progress.
#[derive(Debug)]
pub(super) enum PairingInput {
    Body(Vec<u8>),
    Undeliverable,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) conversation: Conversation,
    /// When the conversation next wants to be asked; the same as in `State::timers`.
    timer: Option<Instant>,
}

/// Who waits for a stream.
#[derive(Debug, Default)]
pub(super) struct StreamWakers {
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

pub(super) type Delivered = oneshot::Sender<Result<Receipt, Error>>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) keystore: Keystore,
    pub(super) ours: DeviceId,
    pub(super) random: OsRandom,
    salt: ConnectionSalt,
    pub(super) link: Option<Link>,
    peers: BTreeMap<DeviceId, Peer>,
    timers: BTreeSet<(Instant, DeviceId)>,
    /// Peers whose conversations must be asked now.
    dirty: VecDeque<DeviceId>,
    /// Peers with messages and with new streams, in turn.
    ready: VecDeque<DeviceId>,
    incoming: VecDeque<DeviceId>,
    deliveries: BTreeMap<(DeviceId, MessageNumber), Delivered>,
    pub(super) streams: HashMap<(DeviceId, StreamId), StreamWakers>,
    answers: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    /// Rendezvous of this device, and devices it is pairing with.
    pub(super) rendezvous: HashMap<[u8; 16], mpsc::Sender<DeviceId>>,
    pub(super) partners: HashMap<DeviceId, mpsc::Sender<PairingInput>>,
    pairing_out: VecDeque<(DeviceId, Vec<u8>)>,
    pub(super) events: broadcast::Sender<Event>,
    /// To be woken once the lock is released.
    wakers: Vec<Waker>,
    pub(super) signals: Signals,
    /// Why there will be no connection any more.
    pub(super) ended: Option<Ending>,
    /// The application wants to end as soon as nobody has to be told of anything.
    pub(super) closing: bool,
}

/// What changed, for those who wait for any such change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signals {
    pub(super) messages: bool,
    pub(super) incoming: bool,
    pub(super) room: bool,
}

/// Why a client has ended for good.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Closed,
    Superseded,
    Revoked,
    NotAdmitted(String),
}

impl Ending {
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Closed => Error::Closed,
            Self::Superseded => Error::Superseded,
            Self::Revoked => Error::Revoked,
            Self::NotAdmitted(sentence) => Error::NotAdmitted(sentence.clone()),
        }
    }
}

/// A message that found no room comes back.
pub(super) enum Pushed {
    Waits(oneshot::Receiver<Result<Receipt, Error>>),
    Full(Vec<u8>),
}

impl State {
    pub(super) fn new(keystore: Keystore) -> Self {
        let mut random = OsRandom;
        let ours = keystore.identity().device_id();
        let salt = ConnectionSalt::draw(&mut random);
        let mut state = Self {
            ours,
            random,
            salt,
            link: None,
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            dirty: VecDeque::new(),
            ready: VecDeque::new(),
            incoming: VecDeque::new(),
            deliveries: BTreeMap::new(),
            streams: HashMap::new(),
            answers: BTreeMap::new(),
            rendezvous: HashMap::new(),
            partners: HashMap::new(),
            pairing_out: VecDeque::new(),
            events: broadcast::Sender::new(EVENTS_MAX),
            wakers: Vec::new(),
            signals: Signals::default(),
            ended: None,
            closing: false,
            keystore,
        };
        let peers: Vec<_> =
            state.keystore.peers().map(|peer| (peer.device(), PeerKeys::from(peer))).collect();
        for (device, keys) in peers {
            state.insert(device, keys);
        }
        state
    }

    fn insert(&mut self, device: DeviceId, keys: PeerKeys) {
        let conversation = Conversation::new(self.ours, device, keys, self.salt, &mut self.random);
        self.peers.insert(device, Peer { conversation, timer: None });
    }

    /// Takes up the conversation with a peer that the keystore has just learnt; one that was there is over, for its
    /// key has changed.
    pub(super) fn add_peer(&mut self, device: DeviceId) {
        let Some(keys) = self.keystore.peer(&device).map(PeerKeys::from) else { return };
        self.forget_peer(device);
        self.insert(device, keys);
        if self.link.is_some() {
            let salt = self.salt;
            self.with(device, |conversation, _| conversation.handle_connected(salt, moment()));
        }
    }

    /// Ends everything with a peer.
    pub(super) fn forget_peer(&mut self, device: DeviceId) {
        let Some(peer) = self.peers.remove(&device) else { return };
        if let Some(at) = peer.timer {
            self.timers.remove(&(at, device));
        }
        let waiting: Vec<_> =
            self.deliveries.keys().filter(|(of, _)| *of == device).copied().collect();
        for key in waiting {
            if let Some(waiting) = self.deliveries.remove(&key) {
                let _gone = waiting.send(Err(Error::Unpaired(device)));
            }
        }
        for ((of, _), wakers) in &mut self.streams {
            if *of == device {
                self.wakers.extend(wakers.reader.take());
                self.wakers.extend(wakers.writer.take());
            }
        }
    }

    pub(super) fn conversation(&mut self, device: DeviceId) -> Result<&mut Conversation, Error> {
        if let Some(ending) = &self.ended {
            return Err(ending.error());
        }
        match self.peers.get_mut(&device) {
            Some(peer) => Ok(&mut peer.conversation),
            None => Err(Error::NotPaired(device)),
        }
    }

    /// The conversation must be asked in the next turn.
    pub(super) fn touch(&mut self, device: DeviceId) {
        if !self.dirty.contains(&device) {
            self.dirty.push_back(device);
        }
    }

    /// Lets a conversation take something in, and looks at what it says.
    pub(super) fn with<R>(
        &mut self,
        device: DeviceId,
        act: impl FnOnce(&mut Conversation, &mut OsRandom) -> R,
    ) -> Option<R> {
        let peer = self.peers.get_mut(&device)?;
        let result = act(&mut peer.conversation, &mut self.random);
        self.touch(device);
        self.events_of(device);
        Some(result)
    }

    fn may_begin(&self) -> bool {
        let shaking = self.peers.values().filter(|peer| peer.conversation.is_shaking());
        shaking.take(HANDSHAKES_PENDING_MAX).count() < HANDSHAKES_PENDING_MAX
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody listens: that is what events are for.
        let _nobody = self.events.send(event);
    }

    // Applications.

    pub(super) fn push_message(&mut self, peer: DeviceId, bytes: Vec<u8>) -> Result<Pushed, Error> {
        match self.conversation(peer)?.push_message(bytes) {
            Ok(number) => {
                let (sender, receiver) = oneshot::channel();
                self.deliveries.insert((peer, number), sender);
                self.touch(peer);
                Ok(Pushed::Waits(receiver))
            }
            Err((PushError::Full, bytes)) => Ok(Pushed::Full(bytes)),
            Err((PushError::TooLarge(length), _)) => Err(Error::TooLarge(length)),
        }
    }

    pub(super) fn take_message(&mut self) -> Option<(DeviceId, Vec<u8>)> {
        while let Some(peer) = self.ready.pop_front() {
            let taken = self.with(peer, |conversation, random| {
                let bytes = conversation.take_message(moment(), random);
                (bytes, conversation.has_message())
            });
            if let Some((Some(bytes), more)) = taken {
                if more {
                    self.ready.push_back(peer);
                }
                return Some((peer, bytes));
            }
        }
        None
    }

    pub(super) fn accept_stream(&mut self) -> Option<(DeviceId, StreamId)> {
        while let Some(peer) = self.incoming.pop_front() {
            if let Some(Some(id)) = self.with(peer, |conversation, _| conversation.accept_stream())
            {
                self.incoming.push_front(peer);
                return Some((peer, id));
            }
        }
        None
    }

    /// Asks the relay for something. `None` without a connection, or with 64 requests open.
    pub(super) fn request(&mut self, request: Request) -> Option<oneshot::Receiver<Answer>> {
        let id = self.link.as_mut()?.request(request, moment().now)?;
        let (sender, receiver) = oneshot::channel();
        self.answers.insert(id, sender);
        Some(receiver)
    }

    /// Sends a body of a pairing. `false` where too many wait.
    pub(super) fn send_pairing(&mut self, peer: DeviceId, body: Vec<u8>) -> bool {
        let fits = self.pairing_out.len() < PAIRING_QUEUE_MAX;
        if fits {
            self.pairing_out.push_back((peer, body));
        }
        fits
    }

    // The connection.

    pub(super) fn connected(&mut self, link: Link, moment: Moment) {
        self.link = Some(link);
        self.salt = ConnectionSalt::draw(&mut self.random);
        let salt = self.salt;
        for device in self.peers.keys().copied().collect::<Vec<_>>() {
            self.with(device, |conversation, _| conversation.handle_connected(salt, moment));
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.link = None;
        self.answers.clear();
        self.pairing_out.clear();
        for peer in self.peers.values_mut() {
            peer.conversation.handle_disconnected();
            peer.timer = None;
        }
        self.timers.clear();
        self.dirty.clear();
    }

    /// Nothing will happen any more: everybody who waits hears why.
    pub(super) fn end(&mut self, ending: Ending) {
        for (_, waiting) in std::mem::take(&mut self.deliveries) {
            let _gone = waiting.send(Err(ending.error()));
        }
        self.rendezvous.clear();
        self.partners.clear();
        for (_, wakers) in &mut self.streams {
            self.wakers.extend(wakers.reader.take());
            self.wakers.extend(wakers.writer.take());
        }
        self.signals = Signals { messages: true, incoming: true, room: true };
        self.ended = Some(ending);
    }

    /// A cell has come, to be opened in place. Returns the relay's farewell, if it is that.
    pub(super) fn handle_cell(
        &mut self,
        cell: &mut [u8],
        moment: Moment,
    ) -> Result<Option<Goaway>, LinkError> {
        let Some(link) = &mut self.link else { return Ok(None) };
        match link.handle_cell(cell, moment.now)? {
            Input::Nothing => {}
            Input::Body { peer } => self.handle_body(peer, &mut cell[HEADER_LEN..], moment),
            Input::Answer { id, answer } => {
                if let Some(asker) = self.answers.remove(&id) {
                    let _gone = asker.send(answer);
                }
            }
            Input::Joined { tag, device } => {
                if let Some(offer) = self.rendezvous.get(&tag) {
                    let _full = offer.try_send(device);
                }
            }
            Input::Undeliverable(undeliverable) => {
                let peer = undeliverable.peer;
                match undeliverable.origin {
                    Origin::Conversation(id) => {
                        self.with(peer, |conversation, random| {
                            let reason = undeliverable.reason;
                            conversation.handle_undeliverable(id, reason, moment, random);
                        });
                    }
                    Origin::Pairing => {
                        if let Some(partner) = self.partners.get(&peer) {
                            let _full = partner.try_send(PairingInput::Undeliverable);
                        }
                    }
                }
            }
            Input::Goaway(goaway) => return Ok(Some(goaway)),
        }
        Ok(None)
    }

    fn handle_body(&mut self, peer: DeviceId, body: &mut [u8], moment: Moment) {
        if let Some(partner) = self.partners.get(&peer) {
            let _full = partner.try_send(PairingInput::Body(body.to_vec()));
        }
        let may_begin = self.may_begin_for(peer);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let identity = self.keystore.identity();
        known.conversation.handle_body(body, identity, moment, may_begin, &mut self.random);
        self.touch(peer);
        self.events_of(peer);
    }

    /// Counting all peers is for handshakes only: a session that is up needs none.
    fn may_begin_for(&self, peer: DeviceId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.conversation.is_up()) || self.may_begin()
    }

    fn events_of(&mut self, device: DeviceId) {
        let Some(peer) = self.peers.get_mut(&device) else { return };
        let mut told = Vec::new();
        while let Some(event) = peer.conversation.poll_event() {
            told.push(event);
        }
        for event in told {
            self.on_event(device, event);
        }
    }

    fn on_event(&mut self, peer: DeviceId, event: conversation::Event) {
        use conversation::Event as Heard;
        match event {
            Heard::HandshakeBegins { time_ns } => {
                let stored = self.keystore.record_sent(&peer, time_ns);
                self.check_stored(stored);
            }
            Heard::HandshakeEnded(established) => {
                let stored = self.keystore.record_handshake(&established);
                self.check_stored(stored);
            }
            Heard::SessionUp => {
                self.signals.room = true;
                self.tell(Event::PeerUp { peer });
            }
            Heard::SessionLost => self.tell(Event::PeerDown { peer }),
            Heard::MessageReady => {
                self.signals.messages = true;
                if !self.ready.contains(&peer) {
                    self.ready.push_back(peer);
                }
            }
            Heard::Delivered { from, to } => {
                self.signals.room = true;
                for number in (from.0..to.0).map(MessageNumber) {
                    if let Some(waiting) = self.deliveries.remove(&(peer, number)) {
                        let _gone = waiting.send(Ok(Receipt { peer, number: number.0 }));
                    }
                }
            }
            Heard::Rejected { message, reason } => {
                if let Some(waiting) = self.deliveries.remove(&(peer, message)) {
                    let _gone = waiting.send(Err(Error::Rejected(reason)));
                }
            }
            Heard::Lost { count } => self.tell(Event::MessagesLost { peer, count }),
            Heard::StreamIncoming => {
                self.signals.incoming = true;
                if !self.incoming.contains(&peer) {
                    self.incoming.push_back(peer);
                }
            }
            Heard::StreamChanged(id) => {
                self.signals.room = true;
                if let Some(wakers) = self.streams.get_mut(&(peer, id)) {
                    self.wakers.extend(wakers.reader.take());
                    self.wakers.extend(wakers.writer.take());
                }
            }
            Heard::PeerAway { reason } => self.tell(Event::PeerAway { peer, reason }),
        }
    }

    fn check_stored(&self, stored: Result<(), crate::keystore::KeystoreError>) {
        if let Err(error) = stored {
            self.tell(Event::KeystoreFailed { why: error.to_string() });
        }
    }

    /// One turn: does what is due and appends the cells that may go, up to `room` bytes.
    pub(super) fn turn(
        &mut self,
        moment: Moment,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        while let Some(&(at, device)) = self.timers.first()
            && at <= moment.now
        {
            self.timers.pop_first();
            if let Some(peer) = self.peers.get_mut(&device) {
                peer.timer = None;
            }
            self.touch(device);
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        while let Some(id) = link.handle_timeout(moment.now)? {
            if let Some(asker) = self.answers.remove(&id) {
                let _gone = asker.send(Answer::None);
            }
        }
        while out.len() < room && link.poll_cell(moment.now, &mut self.random, out) {}
        while out.len() < room
            && let Some((peer, body)) = self.pairing_out.pop_front()
        {
            let start = out.len();
            out.resize(start + HEADER_LEN, 0);
            out.extend_from_slice(&body);
            link.stamp(&mut out[start..], 0, peer, Origin::Pairing, moment.now);
        }
        self.turn_conversations(moment, room, out);
        Ok(())
    }

    /// One cell of each peer in turn.
    fn turn_conversations(&mut self, moment: Moment, room: usize, out: &mut Vec<u8>) {
        let mut fresh = self.dirty.len();
        while let Some(device) = self.dirty.pop_front() {
            let may_begin = self.may_begin_for(device);
            let (Some(peer), Some(link)) = (self.peers.get_mut(&device), &mut self.link) else {
                continue;
            };
            let conversation = &mut peer.conversation;
            if fresh > 0 {
                fresh -= 1;
                let identity = self.keystore.identity();
                conversation.handle_timeout(identity, moment, may_begin, &mut self.random);
            }
            if out.len() + Class::C7.cell_len() > room || link.ready_at(moment.now).is_some() {
                self.dirty.push_front(device);
                return;
            }
            let start = out.len();
            match conversation.poll_cell(moment, &mut self.random, out) {
                Some(transmit) => {
                    let origin = Origin::Conversation(transmit.id);
                    link.stamp(&mut out[start..], transmit.lane, device, origin, moment.now);
                    self.dirty.push_back(device);
                    self.events_of(device);
                }
                None => {
                    self.events_of(device);
                    self.set_timer(device, moment);
                }
            }
        }
    }

    fn set_timer(&mut self, device: DeviceId, moment: Moment) {
        let Some(peer) = self.peers.get_mut(&device) else { return };
        let next = peer.conversation.next_timeout(moment);
        if next != peer.timer {
            if let Some(at) = peer.timer {
                self.timers.remove(&(at, device));
            }
            peer.timer = next;
            if let Some(at) = next {
                self.timers.insert((at, device));
            }
        }
    }

    /// Whether the last turn left cells unmade for want of room.
    pub(super) fn has_more(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether the client may end now that it is to: every peer knows what was taken here.
    pub(super) fn may_close(&self, now: Instant) -> bool {
        self.closing
            && self.dirty.is_empty()
            && !self.peers.values().any(|peer| peer.conversation.owes(now))
    }

    /// When the next turn is due even if nothing happens.
    pub(super) fn next_turn(&self, moment: Moment) -> Option<Instant> {
        let link = self.link.as_ref()?;
        let mut next = link.next_timeout();
        if let Some((at, _)) = self.timers.first() {
            next = next.min(*at);
        }
        if !self.dirty.is_empty()
            && let Some(at) = link.ready_at(moment.now)
        {
            next = next.min(at);
        }
        Some(next)
    }

    /// Those to be woken once the lock is released.
    pub(super) fn take_wakers(&mut self) -> (Vec<Waker>, Signals) {
        (std::mem::take(&mut self.wakers), std::mem::take(&mut self.signals))
    }
}

const _: () = assert!(OUT_BYTES_MAX >= 2 * Class::C7.cell_len());
