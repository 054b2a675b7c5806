//! What all entries up to now amount to.

use std::collections::{BTreeMap, VecDeque};

use hushwire_wire::id::DeviceId;

use super::codec::Kept;
use super::entry::{Entry, MessageId, Outcome};

/// Messages of one peer that have ended and are remembered, without what they said.
pub const ENDED_KEPT_MAX: usize = 1_024;

/// What is known of all peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    peers: BTreeMap<DeviceId, PeerLogs>,
}

/// What is known of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerLogs {
    /// Messages to it; `None` before the first.
    pub outgoing: Option<OutgoingLog>,
    /// Messages to it that have ended, oldest first, at most [`ENDED_KEPT_MAX`].
    pub ended: VecDeque<EndedSend>,
    /// Messages from it; `None` before the first.
    pub incoming: Option<IncomingLog>,
}

/// Messages to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingLog {
    /// The log's random name.
    pub incarnation: u64,
    /// Number of the message that has sequence 0 in this incarnation.
    pub base: u64,
    /// Number that the next message will have.
    pub next_number: u64,
    /// Those from this number on were given while it was not known where the peer is, and were not sent.
    pub unsent: Option<u64>,
    /// Those that have not ended, by number.
    pub held: BTreeMap<u64, Held>,
}

/// A message that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub id: MessageId,
    /// When it was given, unix seconds.
    pub queued_s: u64,
    /// When it expires, unix seconds.
    pub expires_s: Option<u64>,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// A message that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedSend {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub id: MessageId,
    /// Its length in bytes.
    pub length: u64,
    /// When it was given, unix seconds.
    pub queued_s: u64,
    /// When a part of it was first sent, if it was.
    pub first_sent_s: Option<u64>,
    /// When it ended.
    pub ended_s: u64,
    /// How.
    pub outcome: Outcome,
}

/// How far the application is in the messages of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingLog {
    /// The peer's log.
    pub incarnation: u64,
    /// Everything below was taken.
    pub next: u64,
    /// Beyond `next`: what was taken (`None`) or refused (why) ahead of it.
    pub ahead: BTreeMap<u64, Option<u16>>,
}

impl Logs {
    /// All peers with anything to remember.
    pub fn peers(&self) -> impl Iterator<Item = (DeviceId, &PeerLogs)> {
        self.peers.iter().map(|(peer, logs)| (*peer, logs))
    }

    /// One peer.
    #[must_use]
    pub fn peer(&self, peer: &DeviceId) -> Option<&PeerLogs> {
        self.peers.get(peer)
    }

    /// Adds a fact. One that contradicts what is known (an end of an unknown message, say) changes nothing.
    pub fn apply(&mut self, entry: Entry) {
        if let Entry::Forgotten { peer } = entry {
            self.peers.remove(&peer);
            return;
        }
        if let Entry::Renamed { peer, to } = entry {
            if !self.peers.contains_key(&to)
                && let Some(logs) = self.peers.remove(&peer)
            {
                self.peers.insert(to, logs);
            }
            return;
        }
        self.change(entry.peer(), |logs| logs.apply(entry));
    }

    /// Adds what compaction left of facts.
    pub(super) fn restore(&mut self, kept: Kept) {
        match kept {
            Kept::Log { peer, incarnation, base, next_number } => self.change(peer, |logs| {
                let log = OutgoingLog { base, next_number, ..OutgoingLog::begun(incarnation) };
                logs.outgoing.get_or_insert(log);
            }),
            Kept::Held { peer, number, held } => self.change(peer, |logs| {
                if let Some(log) = &mut logs.outgoing {
                    log.held.entry(number).or_insert(held);
                }
            }),
            Kept::End { peer, ended } => self.change(peer, |logs| logs.push_ended(ended)),
        }
    }

    /// What ended last, for the index, which knows a length that `bytes` does not show.
    pub(super) fn last_ended_mut(&mut self, peer: &DeviceId) -> Option<&mut EndedSend> {
        self.peers.get_mut(peer)?.ended.back_mut()
    }

    /// A peer of whom there is nothing to remember is not remembered.
    fn change(&mut self, peer: DeviceId, change: impl FnOnce(&mut PeerLogs)) {
        let logs = self.peers.entry(peer).or_default();
        change(logs);
        if logs.outgoing.is_none() && logs.incoming.is_none() && logs.ended.is_empty() {
            self.peers.remove(&peer);
        }
    }
}

impl OutgoingLog {
    fn begun(incarnation: u64) -> Self {
        Self { incarnation, base: 0, next_number: 0, unsent: None, held: BTreeMap::new() }
    }
}

impl PeerLogs {
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::LogBegun { incarnation, base, .. } => match &mut self.outgoing {
                Some(log) => {
                    (log.incarnation, log.base, log.unsent) = (incarnation, base, None);
                }
                None => {
                    let log = OutgoingLog::begun(incarnation);
                    self.outgoing = Some(OutgoingLog { base, next_number: base, ..log });
                }
            },
            Entry::Queued { number, id, queued_s, expires_s, bytes, .. } => {
                if let Some(log) = &mut self.outgoing
                    && number >= log.next_number
                {
                    log.next_number = number.saturating_add(1);
                    log.held.insert(number, Held { id, queued_s, expires_s, bytes });
                }
            }
            Entry::Ended { number, outcome, ended_s, first_sent_s, .. } => {
                let held = self.outgoing.as_mut().and_then(|log| log.held.remove(&number));
                if let Some(Held { id, queued_s, bytes, .. }) = held {
                    let length = bytes.len() as u64;
                    self.push_ended(EndedSend {
                        number,
                        id,
                        length,
                        queued_s,
                        first_sent_s,
                        ended_s,
                        outcome,
                    });
                }
            }
            Entry::Taken { incarnation, next, .. } => {
                let log = self.incoming(incarnation, next);
                log.next = log.next.max(next);
                log.ahead = log.ahead.split_off(&log.next);
            }
            Entry::Ahead { incarnation, sequence, refused, .. } => {
                let log = self.incoming(incarnation, 0);
                if sequence >= log.next {
                    log.ahead.insert(sequence, refused);
                }
            }
            Entry::Unsent { from, .. } => {
                if let Some(log) = &mut self.outgoing {
                    log.unsent = from;
                }
            }
            // Those change which logs there are.
            Entry::Forgotten { .. } | Entry::Renamed { .. } => {}
        }
    }

    fn push_ended(&mut self, ended: EndedSend) {
        if self.ended.len() >= ENDED_KEPT_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    /// The peer's log, which begins anew where its name is another.
    fn incoming(&mut self, incarnation: u64, next: u64) -> &mut IncomingLog {
        let known = self.incoming.as_ref().is_some_and(|log| log.incarnation == incarnation);
        if !known {
            self.incoming = Some(IncomingLog { incarnation, next, ahead: BTreeMap::new() });
        }
        self.incoming.as_mut().expect("made if it was missing")
    }
}
