//! Peers that go on under a new key: conversation, journal and whoever waits move with them.

use hushwire_wire::id::DeviceId;

use super::State;
use crate::client::clock::moment;
use crate::client::event::Event;
use crate::conversation::PeerKeys;
use crate::journal::{Entry, Logs, PeerLogs};

impl State {
    /// Moves the conversation with a peer to the key that the keystore knows it by now. Messages go on there, neither
    /// lost nor repeated; sessions and streams end.
    pub(in crate::client) fn move_peer(&mut self, old: DeviceId) {
        let Some(new) = self.keystore.superseded_by(&old) else { return };
        let Some(keys) = self.keystore.peer(&new).map(PeerKeys::from) else { return };
        if !self.peers.contains_key(&old) || self.peers.contains_key(&new) {
            return;
        }
        // Everything that is said of the old ID goes to the journal before it is said to be another.
        self.with(old, |conversation, random| {
            conversation.handle_new_keys(keys, moment(), random);
        });
        self.to_store.push_back((0, Entry::Renamed { peer: old, to: new }));
        self.signals.storage = true;
        let Some(mut peer) = self.peers.remove(&old) else { return };
        if let Some(at) = peer.timer.take() {
            self.timers.remove(&(at, old));
        }
        peer.conversation.handle_renamed(new);
        self.peers.insert(new, peer);
        for queue in [&mut self.dirty, &mut self.ready] {
            queue.iter_mut().filter(|device| **device == old).for_each(|device| *device = new);
        }
        let waiting: Vec<_> = self.waiters.extract_if(.., |(of, _), _| *of == old).collect();
        self.waiters.extend(waiting.into_iter().map(|((_, number), who)| ((new, number), who)));
        self.end_streams(old);
        // Who waits for room asks again, and hears that there is no such peer.
        self.signals.room = true;
        self.touch(new);
        self.wish_anew(new);
        self.wish_anew(old);
        self.tell(Event::PeerRotated { old, new });
    }

    /// The ID by which a peer is known now that an application may still know by an earlier one.
    pub(in crate::client) fn known_as(&self, peer: DeviceId) -> DeviceId {
        if self.peers.contains_key(&peer) {
            return peer;
        }
        self.keystore.goes_on_as(&peer).unwrap_or(peer)
    }

    /// What the journal knows of a peer by an earlier ID: a crash came between the keystore's and the journal's knowing
    /// of its new one.
    pub(super) fn take_up<'a>(&mut self, device: DeviceId, logs: &'a Logs) -> Option<&'a PeerLogs> {
        let (old, known) = logs
            .peers()
            .find(|(old, _)| *old != device && self.keystore.goes_on_as(old) == Some(device))?;
        self.to_store.push_back((0, Entry::Renamed { peer: old, to: device }));
        self.signals.storage = true;
        Some(known)
    }

    /// Whether the journal is about to be told of a peer's new ID.
    pub(super) fn is_renaming(&self, old: &DeviceId) -> bool {
        let renamed = |entry: &Entry| matches!(entry, Entry::Renamed { peer, .. } if peer == old);
        self.to_store.iter().any(|(_, entry)| renamed(entry))
    }
}
