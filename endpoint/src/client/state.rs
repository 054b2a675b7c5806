//! Everything a client knows, under its lock: the link, a conversation for each peer, and who waits for what.

mod deliveries;
mod hearing;
mod meetings;
mod moving;
mod routing;
mod turning;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::task::Waker;
use std::time::Instant;

use hushwire_wire::cell::Class;
use hushwire_wire::control::{Request, RequestId};
use hushwire_wire::id::DeviceId;
use tokio::sync::{broadcast, oneshot};

use super::clock::moment;
use super::event::Event;
use super::limits::{EVENTS_MAX, OUT_BYTES_MAX};
use super::trace;
use crate::account::AccountLogId;
use crate::conversation::{Conversation, Moment, PeerKeys, StreamId};
use crate::error::Error;
use crate::journal::{EndedSend, Entry, Logs, PeerLogs};
use crate::keystore::Keystore;
use crate::link::{Answer, Link};
use crate::suite::frames::ConnectionSalt;
use crate::suite::limits::HANDSHAKES_PENDING_MAX;
use crate::suite::random::OsRandom;

use deliveries::Waiters;
pub(super) use deliveries::{Batch, Pushed, Storage};
pub(super) use meetings::{Meetings, Met, PairingInput};
pub(super) use routing::Incoming;

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) conversation: Conversation,
    /// Which of the conversations this client has made.
    epoch: u64,
    /// Messages that have ended, oldest first.
    ended: VecDeque<EndedSend>,
    /// When the conversation next wants to be asked; the same as in `State::timers`.
    timer: Option<Instant>,
}

/// Who waits for a stream.
#[derive(Debug, Default)]
pub(super) struct StreamWakers {
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

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
    /// Small messages are exchanged with some peer until then.
    messages_until: Option<Instant>,
    /// Peers with messages, in turn.
    ready: VecDeque<DeviceId>,
    routing: routing::Routing,
    /// Who waits for which message, by its number.
    waiters: BTreeMap<(DeviceId, u64), Waiters>,
    /// What the journal is to know, in order, and of which conversation.
    to_store: VecDeque<(u64, Entry)>,
    /// A batch is being written.
    storing: bool,
    /// Why nothing can be stored at present: messages are refused.
    storage_failed: Option<String>,
    /// Why something could not be stored last, which was told.
    storage_trouble: Option<String>,
    /// Epochs given so far.
    epochs: u64,
    pub(super) streams: HashMap<(DeviceId, StreamId), StreamWakers>,
    answers: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    pub(super) meetings: Meetings,
    wishes: wishes::Wishes,
    pub(super) events: broadcast::Sender<Event>,
    /// To be woken once the lock is released.
    wakers: Vec<Waker>,
    pub(super) signals: Signals,
    /// Why there will be no connection any more.
    pub(super) ended: Option<Ending>,
    /// The keystore is let go of, or would be.
    pub(super) released: bool,
    /// Whoever closes the client has still something to write.
    pub(super) keeps_keystore: bool,
    /// Whose account this device is about to join, and which one it has consented to.
    pub(super) joining: Option<(DeviceId, Option<AccountLogId>)>,
    /// Devices removed from the account, at most as many as it had, that have not been told.
    pub(super) dismissed: Vec<DeviceId>,
    /// Something about the account or the peers is new since devices of the account were last greeted.
    pub(super) account_changed: bool,
    /// The application wants to end as soon as nobody has to be told of anything.
    pub(super) closing: bool,
}

/// What changed, for those who wait for any such change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signals {
    pub(super) messages: bool,
    pub(super) incoming: bool,
    pub(super) room: bool,
    pub(super) storage: bool,
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

impl State {
    /// `logs` is what the journal knows.
    pub(super) fn new(keystore: Keystore, logs: &Logs) -> Self {
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
            messages_until: None,
            ready: VecDeque::new(),
            routing: routing::Routing::default(),
            waiters: BTreeMap::new(),
            to_store: VecDeque::new(),
            storing: false,
            storage_failed: None,
            storage_trouble: None,
            epochs: 0,
            streams: HashMap::new(),
            answers: BTreeMap::new(),
            meetings: Meetings::default(),
            wishes: wishes::Wishes::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            wakers: Vec::new(),
            signals: Signals::default(),
            ended: None,
            released: false,
            keeps_keystore: false,
            joining: None,
            dismissed: Vec::new(),
            account_changed: false,
            closing: false,
            keystore,
        };
        let peers: Vec<_> =
            state.keystore.peers().map(|peer| (peer.device(), PeerKeys::from(peer))).collect();
        for (device, keys) in peers {
            let known = logs.peer(&device).or_else(|| state.take_up(device, logs));
            state.insert(device, keys, known.cloned().unwrap_or_default());
        }
        // A crash came between the keystore's and the journal's knowing that a peer is gone.
        let gone = logs.peers().map(|(device, _)| device);
        let gone = gone.filter(|device| !state.peers.contains_key(device));
        for device in gone.filter(|device| !state.is_renaming(device)).collect::<Vec<_>>() {
            state.store_forgotten(device);
        }
        state
    }

    fn insert(&mut self, device: DeviceId, keys: PeerKeys, mut logs: PeerLogs) {
        self.epochs += 1;
        let (epoch, ended) = (self.epochs, std::mem::take(&mut logs.ended));
        let (salt, random) = (self.salt, &mut self.random);
        let conversation = Conversation::new(self.ours, device, keys, logs, salt, random);
        self.peers.insert(device, Peer { conversation, epoch, ended, timer: None });
    }

    /// Takes up the conversation with a peer that the keystore has just learnt. With one that was known before it goes
    /// on under the new key: what was not delivered is sent again.
    pub(super) fn add_peer(&mut self, device: DeviceId) {
        let Some(keys) = self.keystore.peer(&device).map(PeerKeys::from) else { return };
        if self.peers.contains_key(&device) {
            self.with(device, |conversation, random| {
                conversation.handle_new_keys(keys, moment(), random);
            });
            return;
        }
        self.insert(device, keys, PeerLogs::default());
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
        self.store_forgotten(device);
        self.fail_waiters(Some(device), || Error::Unpaired(device));
        // Those who wait for room in its outbox, or for a session, wait in vain.
        self.signals.room = true;
        self.end_streams(device);
    }

    /// Whoever reads or writes a stream of this peer hears that it is over.
    fn end_streams(&mut self, device: DeviceId) {
        self.wakers.extend(self.routing.forget(device));
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
        trace::event(&event);
        // Nobody listens: that is what events are for.
        let _nobody = self.events.send(event);
    }

    // Applications.

    /// Asks the relay for something. `None` without a connection, or with 64 requests open.
    pub(super) fn request(&mut self, request: Request) -> Option<oneshot::Receiver<Answer>> {
        let id = self.link.as_mut()?.request(request, moment().now)?;
        let (sender, receiver) = oneshot::channel();
        self.answers.insert(id, sender);
        Some(receiver)
    }

    // The connection.

    pub(super) fn connected(&mut self, link: Link, moment: Moment) {
        self.link = Some(link);
        self.wishes_connected();
        self.salt = ConnectionSalt::draw(&mut self.random);
        let salt = self.salt;
        for device in self.peers.keys().copied().collect::<Vec<_>>() {
            self.with(device, |conversation, _| conversation.handle_connected(salt, moment));
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.link = None;
        self.answers.clear();
        self.meetings.disconnected();
        self.wishes_disconnected();
        for peer in self.peers.values_mut() {
            peer.conversation.handle_disconnected();
            peer.timer = None;
        }
        self.timers.clear();
        self.dirty.clear();
    }

    /// Nothing will happen any more: everybody who waits hears why.
    pub(super) fn end(&mut self, ending: Ending) {
        trace::ended(&ending);
        self.fail_waiters(None, || ending.error());
        self.meetings.end();
        self.wakers.extend(self.routing.wakers());
        self.wishes_disconnected();
        for wakers in self.streams.values_mut() {
            self.wakers.extend(wakers.reader.take());
            self.wakers.extend(wakers.writer.take());
        }
        self.signals = Signals { messages: true, incoming: true, room: true, storage: true };
        self.ended = Some(ending);
    }

    /// Lets go of the keystore: nothing will be written any more.
    pub(super) fn release(&mut self) {
        if !self.keeps_keystore {
            self.keystore.release();
        }
        self.released = true;
        self.signals.messages = true;
    }

    /// Those to be woken once the lock is released.
    pub(super) fn take_wakers(&mut self) -> (Vec<Waker>, Signals) {
        (std::mem::take(&mut self.wakers), std::mem::take(&mut self.signals))
    }
}

const _: () = assert!(OUT_BYTES_MAX >= 2 * Class::C7.cell_len());
