//! Messages between applications, conversations and the journal: who waits for which end, and what is to be stored.

use hushwire_wire::id::DeviceId;
use tokio::sync::oneshot;

use super::State;
use crate::client::clock::moment;
use crate::client::event::Event;
use crate::client::limits::BATCH_BYTES_MAX;
use crate::client::types::{Delivery, Message, Receipt, Sent};
use crate::conversation::{OutboxLimits, PushError};
use crate::error::Error;
use crate::journal::{ENDED_KEPT_MAX, EndedSend, Entry, MessageId, Outcome};

type Ended = oneshot::Sender<Result<Receipt, Error>>;

/// Who waits for one message.
#[derive(Debug, Default)]
pub(in crate::client) struct Waiters {
    stored: Option<oneshot::Sender<Result<(), Error>>>,
    ended: Vec<Ended>,
}

/// Facts on their way to the journal, each with the conversation that told it: none waits for it where that is another
/// by now.
#[derive(Debug, Default)]
pub(in crate::client) struct Batch {
    pub(in crate::client) epochs: Vec<u64>,
    pub(in crate::client) entries: Vec<Entry>,
}

/// Whether something is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Storage {
    /// Somebody waits for it.
    Urgent,
    /// It may wait for company.
    Patient,
    Idle,
    /// The client has ended, and everything is stored.
    Over,
}

/// A message that found no room comes back.
pub(in crate::client) enum Pushed {
    /// It resolves when the message is on disk; the delivery when it has ended.
    Waits(oneshot::Receiver<Result<(), Error>>, Delivery),
    Full(Vec<u8>),
}

/// What a message has come to, as an application hears it.
pub(in crate::client) fn verdict(peer: DeviceId, ended: &EndedSend) -> Result<Receipt, Error> {
    match ended.outcome {
        Outcome::Delivered => Ok(Receipt { peer, id: ended.id, number: ended.number }),
        Outcome::Rejected { reason } => Err(Error::Rejected(reason)),
        Outcome::Expired { hint } => Err(Error::Expired { hint }),
    }
}

impl State {
    pub(in crate::client) fn push_message(
        &mut self,
        peer: DeviceId,
        bytes: Vec<u8>,
        expires_s: Option<u64>,
        limits: OutboxLimits,
    ) -> Result<Pushed, Error> {
        if let Some(why) = &self.storage_failed {
            return Err(Error::Storage(why.clone()));
        }
        let pushed = self.conversation(peer)?.push_message(bytes, expires_s, limits, moment());
        match pushed {
            Ok((number, id)) => {
                let (stored, is_stored) = oneshot::channel();
                let (ended, has_ended) = oneshot::channel();
                let waiters = Waiters { stored: Some(stored), ended: vec![ended] };
                self.waiters.insert((peer, number), waiters);
                self.collect(peer);
                Ok(Pushed::Waits(is_stored, Delivery::new(id, has_ended)))
            }
            Err((PushError::Full, bytes)) => Ok(Pushed::Full(bytes)),
            Err((PushError::TooLarge(length), _)) => Err(Error::TooLarge(length)),
        }
    }

    /// The next message of any peer, peers in turn.
    pub(in crate::client) fn hand_out(&mut self) -> Option<Message> {
        while let Some(peer) = self.ready.pop_front() {
            let handed = self.with(peer, |conversation, _| {
                let incoming = conversation.hand_out();
                (incoming, conversation.has_message())
            });
            if let Some((Some(incoming), more)) = handed {
                if more && !self.ready.contains(&peer) {
                    self.ready.push_back(peer);
                }
                return Some(Message {
                    peer,
                    id: incoming.id,
                    expires_s: incoming.expires_s,
                    bytes: incoming.bytes,
                });
            }
        }
        None
    }

    /// What a send to a peer has come to.
    pub(in crate::client) fn sent(&self, peer: DeviceId, id: MessageId) -> Option<Sent> {
        self.sent_to(peer).find(|sent| sent.id == id)
    }

    /// All sends to a peer that are known, in the order in which they were given.
    pub(in crate::client) fn sent_to(&self, peer: DeviceId) -> impl Iterator<Item = Sent> {
        let peer = self.known_as(peer);
        let known = self.peers.get(&peer).into_iter();
        known.flat_map(move |known| {
            let ended = known.ended.iter().map(move |ended| Sent::ended(peer, ended));
            let pending = known.conversation.pending();
            ended.chain(pending.map(move |pending| Sent::pending(peer, &pending)))
        })
    }

    /// Resolves when this send has ended, at once where it has. `None` for one that is not known.
    pub(in crate::client) fn delivery(
        &mut self,
        peer: DeviceId,
        id: MessageId,
    ) -> Option<Delivery> {
        let peer = self.known_as(peer);
        let known = self.peers.get(&peer)?;
        let (sender, receiver) = oneshot::channel();
        if let Some(ended) = known.ended.iter().find(|ended| ended.id == id) {
            let _held_here = sender.send(verdict(peer, ended));
        } else {
            let number = known.conversation.pending().find(|pending| pending.id == id)?.number;
            if let Some(ending) = &self.ended {
                let _held_here = sender.send(Err(ending.error()));
            } else {
                let waiting = &mut self.waiters.entry((peer, number)).or_default().ended;
                // Whoever asks again and again, and waits a little each time, leaves nothing behind.
                waiting.retain(|waiting| !waiting.is_closed());
                waiting.push(sender);
            }
        }
        Some(Delivery::new(id, receiver))
    }

    /// Takes over what a conversation wants stored.
    pub(in crate::client) fn collect(&mut self, device: DeviceId) {
        let Some(peer) = self.peers.get_mut(&device) else { return };
        let before = self.to_store.len();
        while let Some(entry) = peer.conversation.poll_entry() {
            self.to_store.push_back((peer.epoch, entry));
        }
        self.signals.storage |= self.to_store.len() > before;
    }

    /// What the journal must know of a peer that is gone.
    pub(super) fn store_forgotten(&mut self, peer: DeviceId) {
        self.to_store.push_back((0, Entry::Forgotten { peer }));
        self.signals.storage = true;
    }

    /// Whether something is to be stored.
    pub(in crate::client) fn storage(&self) -> Storage {
        let ending = self.closing || self.ended.is_some();
        let is_message = |(_, entry): &(u64, Entry)| matches!(entry, Entry::Queued { .. });
        match (self.to_store.is_empty(), self.ended.is_some()) {
            (true, true) => Storage::Over,
            (true, false) => Storage::Idle,
            (false, _) if ending || self.to_store.iter().any(is_message) => Storage::Urgent,
            (false, _) => Storage::Patient,
        }
    }

    /// The next entries to be stored together.
    pub(in crate::client) fn take_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some((epoch, entry)) = self.to_store.pop_front() {
            // Small entries count too: a peer decides how many of them there are, and the journal refuses a batch
            // that is too long, however often it is tried.
            bytes += entry.stored_bytes();
            if bytes > BATCH_BYTES_MAX && !batch.entries.is_empty() {
                self.to_store.push_front((epoch, entry));
                break;
            }
            batch.epochs.push(epoch);
            batch.entries.push(entry);
        }
        self.storing = !batch.entries.is_empty();
        batch
    }

    /// These are on disk.
    pub(in crate::client) fn stored(&mut self, batch: Batch) {
        (self.storage_failed, self.storage_trouble) = (None, None);
        self.storing = false;
        for (epoch, entry) in batch.epochs.into_iter().zip(batch.entries) {
            let device = self.known_as(entry.peer());
            if self.peers.get(&device).is_some_and(|peer| peer.epoch == epoch) {
                self.with(device, |conversation, random| {
                    conversation.handle_stored(moment(), random);
                });
            }
        }
    }

    /// These are not: messages are given back to who gave them, everything else is tried again.
    pub(in crate::client) fn not_stored(&mut self, batch: Batch, why: &str) {
        if self.storage_trouble.as_deref() != Some(why) {
            self.tell(Event::StorageFailed { why: why.into() });
        }
        self.storage_trouble = Some(why.into());
        self.storage_failed = Some(why.into());
        self.storing = false;
        for item in batch.epochs.into_iter().zip(batch.entries).rev() {
            self.to_store.push_front(item);
        }
        self.to_store.retain(|(_, entry)| !matches!(entry, Entry::Queued { .. }));
        for device in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&device) else { continue };
            for number in peer.conversation.withdraw_messages() {
                if let Some(Waiters { stored: Some(stored), .. }) =
                    self.waiters.remove(&(device, number))
                {
                    let _gone = stored.send(Err(Error::Storage(why.into())));
                }
            }
        }
        self.signals.room = true;
    }

    /// Messages are taken again, to see whether they can be stored by now.
    pub(in crate::client) fn may_store_again(&mut self) {
        self.storage_failed = None;
    }

    pub(super) fn on_stored(&mut self, peer: DeviceId, number: u64) {
        let waiters = self.waiters.get_mut(&(peer, number));
        if let Some(stored) = waiters.and_then(|waiters| waiters.stored.take()) {
            let _gone = stored.send(Ok(()));
        }
    }

    pub(super) fn on_ended(&mut self, peer: DeviceId, ended: EndedSend) {
        self.signals.room = true;
        let waiters = self.waiters.remove(&(peer, ended.number)).unwrap_or_default();
        for waiting in waiters.ended {
            let _gone = waiting.send(verdict(peer, &ended));
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            if known.ended.len() >= ENDED_KEPT_MAX {
                known.ended.pop_front();
            }
            known.ended.push_back(ended);
        }
    }

    /// Whoever waits for messages to this peer, or to any, hears why there is no point.
    pub(super) fn fail_waiters(&mut self, of: Option<DeviceId>, why: impl Fn() -> Error) {
        let keys: Vec<_> = self.waiters.keys().copied().collect();
        for key in keys.into_iter().filter(|(peer, _)| of.is_none_or(|of| of == *peer)) {
            let Some(Waiters { stored, ended }) = self.waiters.remove(&key) else { continue };
            for waiting in ended {
                let _gone = waiting.send(Err(why()));
            }
            if let Some(stored) = stored {
                let _gone = stored.send(Err(why()));
            }
        }
    }

    /// Ends what has expired, and says when there is more to do, unix seconds.
    pub(in crate::client) fn expire(&mut self) -> Option<u64> {
        let moment = moment();
        for device in self.peers.keys().copied().collect::<Vec<_>>() {
            let at = self.peers.get(&device).and_then(|peer| peer.conversation.next_expiry_s());
            if at.is_some_and(|at| at <= moment.unix_s()) {
                self.with(device, |conversation, _| conversation.expire(moment));
            }
        }
        self.peers.values().filter_map(|peer| peer.conversation.next_expiry_s()).min()
    }

    /// Whether everything is on disk.
    pub(super) fn is_all_stored(&self) -> bool {
        self.to_store.is_empty() && !self.storing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::PeerKeys;
    use crate::identity::Identity;
    use crate::journal::limits::BATCH_BYTES_MAX as JOURNAL_BATCH_BYTES_MAX;
    use crate::journal::{Logs, PeerLogs};
    use crate::keystore::Keystore;
    use crate::suite::Minimum;
    use crate::suite::keys::PairKey;

    fn state(place: &std::path::Path) -> State {
        let keystore = Keystore::create(&place.join("keys"), Identity::from_secret(&[1; 32]));
        State::new(keystore.expect("a keystore"), &Logs::default())
    }

    /// How many small entries wait is up to peers; a batch of them must not be one that the journal refuses for ever.
    #[test]
    fn a_batch_of_small_entries_fits_the_journal() {
        let place = tempfile::tempdir().expect("a directory");
        let mut state = state(place.path());
        let peer = DeviceId::new([2; 32]);
        let one = Entry::Forgotten { peer }.stored_bytes();
        let count = JOURNAL_BATCH_BYTES_MAX / one + 1;
        (0..count).for_each(|_| state.store_forgotten(peer));
        let (mut taken, mut batches) = (0, 0);
        while taken < count {
            let batch = state.take_batch();
            let bytes: usize = batch.entries.iter().map(Entry::stored_bytes).sum();
            assert!(bytes <= BATCH_BYTES_MAX, "{bytes}");
            (taken, batches) = (taken + batch.entries.len(), batches + 1);
            assert!(!state.is_all_stored());
            state.stored(batch);
        }
        assert!(batches > 1 && state.is_all_stored(), "{batches}");
    }

    fn with_peer(state: &mut State, peer: DeviceId) {
        let (pair_key, minimum) = (PairKey::new([3; 32]), Minimum::Hybrid);
        let keys = PeerKeys { pair_key, minimum, last_sent_ns: 0, last_seen_ns: 0 };
        state.insert(peer, keys, PeerLogs::default());
    }

    fn pushed(state: &mut State, peer: DeviceId) -> Pushed {
        let limits = OutboxLimits { messages: 1, bytes: 1 };
        state.push_message(peer, b"hello".to_vec(), None, limits).expect("a peer")
    }

    #[test]
    fn who_waits_for_room_hears_that_the_peer_is_gone() {
        let place = tempfile::tempdir().expect("a directory");
        let mut state = state(place.path());
        let peer = DeviceId::new([2; 32]);
        with_peer(&mut state, peer);
        assert!(matches!(pushed(&mut state, peer), Pushed::Waits(..)));
        assert!(matches!(pushed(&mut state, peer), Pushed::Full(_)));
        let (_, before) = state.take_wakers();
        assert!(!before.room);
        state.forget_peer(peer);
        let (_, after) = state.take_wakers();
        assert!(after.room, "they try again, and are told");
    }

    #[test]
    fn deliveries_that_were_dropped_leave_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        let mut state = state(place.path());
        let peer = DeviceId::new([2; 32]);
        with_peer(&mut state, peer);
        let Pushed::Waits(_stored, first) = pushed(&mut state, peer) else { panic!("no room") };
        for _ in 0..10 {
            drop(state.delivery(peer, first.id()).expect("it is known"));
        }
        let waiters = state.waiters.values().next().expect("somebody waits");
        assert!(waiters.ended.len() <= 2, "{}", waiters.ended.len());
    }
}
