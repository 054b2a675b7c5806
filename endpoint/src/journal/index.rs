//! What lives in the file and where: [`Logs`] without what the messages say.

use std::collections::{BTreeMap, BTreeSet};

use hushwire_wire::id::DeviceId;

use super::codec::{Encode, Kept, Stored};
use super::entry::{Entry, MessageId};
use super::logs::{Held, Logs, PeerLogs};
use super::reading::Place;

/// Knows what compaction keeps. It holds no content.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Every message held in it is empty.
    logs: Logs,
    /// Where each of those stands, and its length.
    places: BTreeMap<(DeviceId, u64), (Place, u64)>,
    /// What peers were called in this file, and what next.
    names: BTreeMap<DeviceId, BTreeSet<DeviceId>>,
}

impl Index {
    /// Adds what stands at `place`.
    pub(super) fn add(&mut self, stored: &Stored, place: Place) {
        match stored {
            Stored::Fact(entry) => self.add_fact(entry, place),
            Stored::Kept(kept) => self.add_kept(kept, place),
        }
    }

    /// Adds a fact that stands at `place`.
    pub(super) fn add_fact(&mut self, entry: &Entry, place: Place) {
        match entry {
            Entry::Queued { peer, number, id, queued_s, expires_s, bytes } => {
                let (peer, number, id, queued_s) = (*peer, *number, *id, *queued_s);
                let (expires_s, empty) = (*expires_s, Vec::new());
                let entry = Entry::Queued { peer, number, id, queued_s, expires_s, bytes: empty };
                self.logs.apply(entry);
                self.place(peer, number, place, bytes.len());
            }
            Entry::Ended { peer, number, .. } => {
                self.logs.apply(entry.clone());
                let known = self.places.remove(&(*peer, *number));
                let ended = self.logs.last_ended_mut(peer);
                if let (Some((_, length)), Some(ended)) = (known, ended) {
                    ended.length = length;
                }
            }
            Entry::Forgotten { peer } => {
                self.logs.apply(entry.clone());
                self.places.retain(|(of, _), _| of != peer);
            }
            Entry::Renamed { peer, to } => self.rename(*peer, *to),
            Entry::LogBegun { .. }
            | Entry::Taken { .. }
            | Entry::Ahead { .. }
            | Entry::Unsent { .. } => {
                self.logs.apply(entry.clone());
            }
        }
    }

    fn rename(&mut self, peer: DeviceId, to: DeviceId) {
        if self.logs.peer(&peer).is_none() || self.logs.peer(&to).is_some() {
            return;
        }
        self.logs.apply(Entry::Renamed { peer, to });
        let of_peer: Vec<_> = self.places.extract_if(.., |(of, _), _| *of == peer).collect();
        self.places.extend(of_peer.into_iter().map(|((_, number), place)| ((to, number), place)));
        self.names.entry(peer).or_default().insert(to);
    }

    fn add_kept(&mut self, kept: &Kept, place: Place) {
        match kept {
            Kept::Held { peer, number, held } => {
                let (peer, number, length) = (*peer, *number, held.bytes.len());
                let Held { id, queued_s, expires_s, .. } = *held;
                let held = Held { id, queued_s, expires_s, bytes: Vec::new() };
                self.logs.restore(Kept::Held { peer, number, held });
                self.place(peer, number, place, length);
            }
            Kept::Log { .. } | Kept::End { .. } => self.logs.restore(kept.clone()),
        }
    }

    /// Remembers where a message stands, if the rules took it for one that is held now.
    fn place(&mut self, peer: DeviceId, number: u64, place: Place, length: usize) {
        let log = self.logs.peer(&peer).and_then(|logs| logs.outgoing.as_ref());
        if log.is_some_and(|log| log.held.contains_key(&number)) {
            self.places.entry((peer, number)).or_insert((place, length as u64));
        }
    }

    /// Where what stands at `place` is a message that is held: for which peer, which may have been renamed since.
    pub(super) fn held_for(&self, stored: &Stored, place: Place) -> Option<DeviceId> {
        let (peer, number) = match stored {
            Stored::Fact(Entry::Queued { peer, number, .. })
            | Stored::Kept(Kept::Held { peer, number, .. }) => (*peer, *number),
            Stored::Fact(
                Entry::LogBegun { .. }
                | Entry::Ended { .. }
                | Entry::Taken { .. }
                | Entry::Ahead { .. }
                | Entry::Unsent { .. }
                | Entry::Forgotten { .. }
                | Entry::Renamed { .. },
            )
            | Stored::Kept(Kept::Log { .. } | Kept::End { .. }) => return None,
        };
        let mut names = vec![peer];
        let mut looked_at = 0;
        while let Some(name) = names.get(looked_at).copied() {
            if self.places.get(&(name, number)).is_some_and(|(at, _)| *at == place) {
                return Some(name);
            }
            let next = self.names.get(&name).into_iter().flatten();
            let new: Vec<_> = next.filter(|next| !names.contains(next)).copied().collect();
            names.extend(new);
            looked_at += 1;
        }
        None
    }

    /// All that lives but the messages held, in an order in which it can be added to nothing.
    pub(super) fn states(&self) -> impl Iterator<Item = Stored> {
        self.logs.peers().flat_map(|(peer, logs)| states_of(peer, logs))
    }

    /// Bytes that all that lives takes, encoded.
    pub(super) fn living_bytes(&self) -> u64 {
        let states: u64 = self.states().map(|stored| stored.encoded_len() as u64).sum();
        let held: u64 = self.places.values().map(|(_, length)| length + empty_held_len()).sum();
        states + held
    }

    /// Whether this is the index of `logs`.
    #[cfg(test)]
    pub(super) fn is_of(&self, logs: &Logs) -> bool {
        let mut empty = Self::default();
        let place = Place { record: 0, offset: 0 };
        for (peer, peers) in logs.peers() {
            for stored in states_of(peer, peers) {
                empty.add(&stored, place);
            }
            for (number, held) in peers.outgoing.iter().flat_map(|log| &log.held) {
                let kept = Kept::Held { peer, number: *number, held: held.clone() };
                empty.add_kept(&kept, place);
            }
        }
        let lengths = |index: &Self| -> Vec<_> {
            index.places.iter().map(|(key, (_, length))| (*key, *length)).collect()
        };
        empty.logs == self.logs && lengths(&empty) == lengths(self)
    }
}

fn states_of(peer: DeviceId, logs: &PeerLogs) -> impl Iterator<Item = Stored> {
    let log = logs.outgoing.as_ref().map(|log| {
        let (incarnation, base, next_number) = (log.incarnation, log.base, log.next_number);
        let kept = Stored::Kept(Kept::Log { peer, incarnation, base, next_number });
        let unsent = log.unsent.map(|from| Entry::Unsent { peer, from: Some(from) });
        [Some(kept), unsent.map(Stored::Fact)].into_iter().flatten()
    });
    let ended = logs.ended.iter().map(move |ended| Stored::Kept(Kept::End { peer, ended: *ended }));
    let incoming = logs.incoming.iter().flat_map(move |log| {
        let incarnation = log.incarnation;
        let taken = Entry::Taken { peer, incarnation, next: log.next };
        let ahead = log.ahead.iter().map(move |(sequence, refused)| {
            let (sequence, refused) = (*sequence, *refused);
            Entry::Ahead { peer, incarnation, sequence, refused }
        });
        std::iter::once(taken).chain(ahead).map(Stored::Fact)
    });
    log.into_iter().flatten().chain(ended).chain(incoming)
}

/// Bytes of a held message that says nothing and expires.
fn empty_held_len() -> u64 {
    let id = MessageId { incarnation: 0, sequence: 0 };
    let held = Held { id, queued_s: 0, expires_s: Some(0), bytes: Vec::new() };
    Kept::Held { peer: DeviceId::new([0; 32]), number: 0, held }.encoded_len() as u64
}
