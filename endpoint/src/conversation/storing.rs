//! What must be stored before anybody acts on it: entries in order, and what happens once each of them is on disk.

use std::collections::VecDeque;

use crate::journal::{EndedSend, Entry};

/// What waits for an entry.
#[derive(Debug)]
pub(super) enum Then {
    /// Messages of a log that has begun may be sent.
    LogKnown { incarnation: u64 },
    /// Messages that waited until the peer had said where it is may be sent.
    SendWaiting,
    /// A message may be sent, and its giver hears that it is safe.
    Send(u64),
    /// The application hears how a message ended, and the peer that it will not come.
    Tell(Box<EndedSend>),
    /// The peer hears that everything of its log below `next` was taken.
    Acknowledge { incarnation: u64, next: u64 },
    /// The peer hears of the refusal.
    Refuse { incarnation: u64, sequence: u64 },
    /// Nobody waits.
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Storing {
    waiting: VecDeque<(Entry, Then)>,
    /// Handed out to be stored, oldest first.
    under_way: VecDeque<Then>,
}

impl Storing {
    pub(super) fn push(&mut self, entry: Entry, then: Then) {
        self.waiting.push_back((entry, then));
    }

    pub(super) fn poll(&mut self) -> Option<Entry> {
        let (entry, then) = self.waiting.pop_front()?;
        self.under_way.push_back(then);
        Some(entry)
    }

    /// The oldest entry under way is on disk.
    pub(super) fn stored(&mut self) -> Option<Then> {
        self.under_way.pop_front()
    }

    /// Whether everything is on disk.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Forgets messages that could not be stored, and nothing else.
    pub(super) fn withdraw_messages(&mut self) {
        let is_message = |then: &Then| matches!(then, Then::Send(_));
        self.waiting.retain(|(_, then)| !is_message(then));
        self.under_way.retain(|then| !is_message(then));
    }
}
