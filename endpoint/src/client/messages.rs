//! Messages, as an application gives and takes them.

use std::ops::Deref;
use std::sync::Arc;

use hushwire_wire::id::DeviceId;

use super::clock::moment;
use super::state::Pushed;
use super::{Client, Delivery, Message, Receipt, SendOptions, Sent, Shared, WhenFull};
use crate::error::Error;
use crate::journal::MessageId;

impl Client {
    /// Sends a message of at most 16 MiB and waits until the peer's application has taken it. Messages to one peer
    /// arrive once and in order, in the order of these calls. Cancellation-safe: dropped before the message is on disk,
    /// it may or may not be sent; dropped later, it is.
    ///
    /// There is no time limit, because a peer may be away for days: [`Client::send_with`] sets one. A process that ends
    /// meanwhile goes on where it was as soon as it connects again ([`Client::sends`]).
    ///
    /// # Errors
    /// [`Error::NotPaired`], [`Error::TooLarge`], [`Error::Storage`], [`Error::OutboxFull`], [`Error::Rejected`],
    /// [`Error::Expired`], [`Error::Unpaired`], or why the client ended.
    pub async fn send(&self, peer: DeviceId, bytes: impl Into<Vec<u8>>) -> Result<Receipt, Error> {
        self.send_with(peer, bytes, SendOptions::default()).await
    }

    /// As [`Client::send`], with options.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub async fn send_with(
        &self,
        peer: DeviceId,
        bytes: impl Into<Vec<u8>>,
        options: SendOptions,
    ) -> Result<Receipt, Error> {
        self.enqueue_with(peer, bytes, options).await?.await
    }

    /// Gives a message to be sent and returns once it is on disk: from then on it has exactly one end, which
    /// [`Client::sends`] lists and what is returned resolves with. By default at most 4 096 messages and 16 MiB wait for
    /// one peer ([`Options::outbox`](super::Options::outbox)).
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub async fn enqueue(
        &self,
        peer: DeviceId,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<Delivery, Error> {
        self.enqueue_with(peer, bytes, SendOptions::default()).await
    }

    /// As [`Client::enqueue`], with options.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub async fn enqueue_with(
        &self,
        peer: DeviceId,
        bytes: impl Into<Vec<u8>>,
        options: SendOptions,
    ) -> Result<Delivery, Error> {
        let mut bytes = bytes.into();
        let expires_in = options.expires_in.or(self.shared.expires_in);
        let expires_s = expires_in.map(|after| moment().unix_s().saturating_add(after.as_secs()));
        let (stored, delivery) = loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let limits = self.shared.outbox.limits;
            let pushed = self.shared.state.lock().push_message(peer, bytes, expires_s, limits)?;
            match pushed {
                Pushed::Waits(stored, delivery) => break (stored, delivery),
                Pushed::Full(_) if self.shared.outbox.when_full == WhenFull::Refuse => {
                    return Err(Error::OutboxFull(peer));
                }
                Pushed::Full(back) => bytes = back,
            }
            room.await;
        };
        self.shared.wake();
        stored.await.unwrap_or(Err(Error::Closed))?;
        Ok(delivery)
    }

    /// All messages to a peer that have not ended, and the last 1 024 that have, in the order in which they were given;
    /// those of earlier processes included.
    #[must_use]
    pub fn sends(&self, peer: DeviceId) -> Vec<Sent> {
        self.shared.state.lock().sent_to(peer).collect()
    }

    /// What a message to a peer has come to. `None` for one that is not known, or has ended long ago.
    #[must_use]
    pub fn sent(&self, peer: DeviceId, id: MessageId) -> Option<Sent> {
        self.shared.state.lock().sent(peer, id)
    }

    /// Waits for the end of a message that was given earlier, also by an earlier process. `None` for one that is not
    /// known, or has ended long ago.
    #[must_use]
    pub fn delivery(&self, peer: DeviceId, id: MessageId) -> Option<Delivery> {
        self.shared.state.lock().delivery(peer, id)
    }

    /// The next message of any peer, peers in turn; it counts as taken with this call. A crash right after may bring it
    /// again or not: an application that must not miss and not repeat uses [`Client::next_message`]. What is not asked
    /// for waits, and after 1 MiB or 1 024 messages so does its sender. Cancellation-safe.
    ///
    /// # Errors
    /// Why the client ended.
    pub async fn receive(&self) -> Result<Message, Error> {
        Ok(self.next_message().await?.confirm())
    }

    /// The next message of any peer, peers in turn, to be confirmed or rejected. Until then its sender does not take it
    /// for delivered, and after a crash it comes again under the same [`Message::id`]. Dropped undecided, it is the
    /// next to come again. Cancellation-safe.
    ///
    /// To see each message exactly once across its own crashes, an application stores [`Message::id`] in the
    /// transaction that stores what the message caused, then confirms; and tells [`Client::confirm_up_to`] the last one
    /// after each start.
    ///
    /// # Errors
    /// Why the client ended.
    pub async fn next_message(&self) -> Result<IncomingMessage, Error> {
        loop {
            let changed = self.shared.messages.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.shared.state.lock();
                if let Some(message) = state.hand_out() {
                    drop(state);
                    self.shared.wake();
                    return Ok(IncomingMessage {
                        message: Some(message),
                        shared: self.shared.clone(),
                    });
                }
                if let Some(ending) = &state.ended {
                    return Err(ending.error());
                }
            }
            changed.await;
        }
    }

    /// Says that the application's own records hold this message of `peer` and all before it, whatever was confirmed
    /// before a crash. To be called before [`Client::next_message`].
    ///
    /// # Errors
    /// [`Error::NotPaired`], or why the client ended.
    pub fn confirm_up_to(&self, peer: DeviceId, id: MessageId) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        let peer = state.known_as(peer);
        state.conversation(peer)?;
        state.with(peer, |conversation, _| conversation.confirm_up_to(id));
        drop(state);
        self.shared.wake();
        Ok(())
    }
}

/// A message in the application's hands: to be confirmed or rejected. Dropped undecided, it comes again.
#[derive(Debug)]
#[must_use = "dropped undecided, the message comes again"]
pub struct IncomingMessage {
    /// Until it is decided.
    message: Option<Message>,
    shared: Arc<Shared>,
}

impl IncomingMessage {
    /// The application has taken the message: its sender hears so as soon as this is on disk. Should the process end
    /// before, the message comes again.
    pub fn confirm(mut self) -> Message {
        let message = self.message.take().expect("it is decided once");
        tracing::debug!(peer = ?message.peer, id = %message.id, "a message is taken");
        let mut state = self.shared.state.lock();
        let peer = state.known_as(message.peer);
        state.with(peer, |conversation, _| conversation.confirm(message.id));
        drop(state);
        self.shared.wake();
        self.shared.work.notify_one();
        message
    }

    /// The application refuses the message: its sender hears the reason, a number that the two agree on.
    pub fn reject(mut self, reason: u16) {
        let message = self.message.take().expect("it is decided once");
        tracing::debug!(peer = ?message.peer, id = %message.id, reason, "a message is refused");
        let mut state = self.shared.state.lock();
        let peer = state.known_as(message.peer);
        state.with(peer, |conversation, _| conversation.refuse(message.id, reason));
        drop(state);
        self.shared.wake();
        self.shared.work.notify_one();
    }
}

impl Deref for IncomingMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        self.message.as_ref().expect("it is decided by value")
    }
}

impl Drop for IncomingMessage {
    fn drop(&mut self) {
        if let Some(Message { peer, id, expires_s, bytes }) = self.message.take() {
            let incoming = crate::conversation::Incoming { id, expires_s, bytes };
            let mut state = self.shared.state.lock();
            let peer = state.known_as(peer);
            state.with(peer, |conversation, _| conversation.give_back(incoming));
            drop(state);
            self.shared.wake();
        }
    }
}
