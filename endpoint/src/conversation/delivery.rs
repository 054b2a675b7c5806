//! Messages between the application, the log and the journal.

use super::inbox::{Confirmed, Handed};
use super::limits::{MESSAGE_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX};
use super::outbox::PendingSend;
use super::storing::Then;
use super::{Conversation, Event, Moment, PushError};
use crate::journal::{EndedSend, Entry, MessageId};
use crate::suite::random::Random;

/// How much waits for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Messages, those included that have ended out of their turn until the peer has passed them. Default: 4 096.
    pub messages: usize,
    /// Bytes of messages; a single one may be larger. Default: 16 MiB.
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { messages: OUTBOX_MESSAGES_MAX, bytes: OUTBOX_BYTES_MAX }
    }
}

/// A message of the peer in the application's hands. It is to be confirmed, refused or given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its name, which its sender knows it by too.
    pub id: MessageId,
    /// When its sender gives it up, unix seconds by the sender's clock.
    pub expires_s: Option<u64>,
    /// What it says.
    pub bytes: Vec<u8>,
}

impl Conversation {
    /// Gives a message to be delivered. It stays until it has ended, which an [`Event::Ended`] tells; once it is on
    /// disk, [`Event::Stored`] tells that.
    ///
    /// # Errors
    /// See [`PushError`]; with `Full`, try again after [`Event::Ended`].
    pub fn push_message(
        &mut self,
        bytes: Vec<u8>,
        expires_s: Option<u64>,
        limits: OutboxLimits,
        moment: Moment,
    ) -> Result<(u64, MessageId), (PushError, Vec<u8>)> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err((PushError::TooLarge(bytes.len()), bytes));
        }
        if !self.outbox.has_room(bytes.len(), limits.messages, limits.bytes) {
            return Err((PushError::Full, bytes));
        }
        let peer = self.channel.peer();
        if let Some((incarnation, base)) = self.outbox.begin() {
            let entry = Entry::LogBegun { peer, incarnation, base };
            self.storing.push(entry, Then::LogKnown { incarnation });
        }
        if let Some(from) = self.outbox.begin_waiting() {
            self.storing.push(Entry::Unsent { peer, from: Some(from) }, Then::Nothing);
        }
        let queued_s = moment.unix_s();
        let (number, id) = self.outbox.push(bytes.clone(), queued_s, expires_s);
        let entry = Entry::Queued { peer, number, id, queued_s, expires_s, bytes };
        self.storing.push(entry, Then::Send(number));
        Ok((number, id))
    }

    /// The peer's next message.
    pub fn hand_out(&mut self) -> Option<Incoming> {
        let Handed { incarnation, sequence, expires_s, bytes } = self.inbox.hand_out()?;
        Some(Incoming { id: MessageId { incarnation, sequence }, expires_s, bytes })
    }

    /// Takes a message back undecided: it is the next to be handed out.
    pub fn give_back(&mut self, incoming: Incoming) {
        let Incoming { id: MessageId { incarnation, sequence }, expires_s, bytes } = incoming;
        self.inbox.give_back(Handed { incarnation, sequence, expires_s, bytes });
        if self.inbox.is_ready() {
            self.events.push_back(Event::MessageReady);
        }
    }

    /// The application has taken a message that was handed out.
    pub fn confirm(&mut self, id: MessageId) {
        let confirmed = self.inbox.settle(id.incarnation, id.sequence, None);
        self.write_down(confirmed);
    }

    /// The application refuses a message that was handed out; its sender hears why.
    pub fn refuse(&mut self, id: MessageId, reason: u16) {
        let confirmed = self.inbox.settle(id.incarnation, id.sequence, Some(reason));
        self.write_down(confirmed);
    }

    /// The application's own records say that it has taken this message and all before it, in an earlier run.
    pub fn confirm_up_to(&mut self, id: MessageId) {
        let next = id.sequence.saturating_add(1);
        let confirmed = self.inbox.settle_below(id.incarnation, next);
        self.write_down(confirmed);
    }

    fn write_down(&mut self, confirmed: Confirmed) {
        match confirmed {
            Confirmed::Nothing => {}
            Confirmed::Below(_) => self.store_cursor(),
            Confirmed::Ahead { sequence, refused } => {
                let Some((incarnation, _)) = self.inbox.cursor() else { return };
                let peer = self.channel.peer();
                let then = match refused {
                    Some(_) => Then::Refuse { incarnation, sequence },
                    None => Then::Nothing,
                };
                self.storing.push(Entry::Ahead { peer, incarnation, sequence, refused }, then);
            }
        }
    }

    /// Writes down how far the application is, where that is news.
    pub(super) fn store_cursor(&mut self) {
        let Some((incarnation, next)) = self.inbox.cursor() else { return };
        if self.cursor_asked == Some((incarnation, next)) {
            return;
        }
        self.cursor_asked = Some((incarnation, next));
        let entry = Entry::Taken { peer: self.channel.peer(), incarnation, next };
        self.storing.push(entry, Then::Acknowledge { incarnation, next });
    }

    /// Writes down how messages ended.
    pub(super) fn store_ends(&mut self, ended: Vec<EndedSend>) {
        if !ended.is_empty() {
            self.progress();
        }
        let peer = self.channel.peer();
        for end in ended {
            let EndedSend { number, outcome, ended_s, first_sent_s, .. } = end;
            let entry = Entry::Ended { peer, number, outcome, ended_s, first_sent_s };
            self.storing.push(entry, Then::Tell(Box::new(end)));
        }
    }

    /// Whether [`Conversation::hand_out`] has something.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.inbox.is_ready()
    }

    /// Messages that have not ended, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = PendingSend> {
        self.outbox.pending()
    }

    /// Ends the messages whose time is over. Time passes without a connection too.
    pub fn expire(&mut self, moment: Moment) {
        let ended = self.outbox.expire(moment.unix_s(), self.hint);
        self.store_ends(ended);
    }

    /// When [`Conversation::expire`] next has something to do, unix seconds.
    #[must_use]
    pub fn next_expiry_s(&self) -> Option<u64> {
        self.outbox.next_expiry_s()
    }

    /// The next fact to be written down. They are to be stored in this order.
    pub fn poll_entry(&mut self) -> Option<Entry> {
        self.storing.poll()
    }

    /// The oldest entry that was polled, and not said to be stored yet, is on disk.
    pub fn handle_stored(&mut self, moment: Moment, random: &mut dyn Random) {
        let Some(then) = self.storing.stored() else { return };
        match then {
            Then::LogKnown { incarnation } => self.outbox.on_known(incarnation),
            Then::SendWaiting => self.outbox.on_waiting_ended(),
            Then::Send(number) => {
                self.outbox.on_stored(number);
                self.events.push_back(Event::Stored { number });
            }
            Then::Tell(ended) => {
                self.outbox.gap_due(ended.number);
                self.events.push_back(Event::Ended(ended));
            }
            Then::Acknowledge { incarnation, next } => {
                self.inbox.on_stored(incarnation, next, moment.now, random);
            }
            Then::Refuse { incarnation, sequence } => {
                self.inbox.on_refusal_stored(incarnation, sequence);
            }
            Then::Nothing => {}
        }
    }

    /// Gives up the messages that could not be stored, polled or not: none of their entries may be stored any more.
    /// Returns their numbers. All other entries stand.
    pub fn withdraw_messages(&mut self) -> std::ops::Range<u64> {
        self.storing.withdraw_messages();
        self.outbox.withdraw()
    }
}
