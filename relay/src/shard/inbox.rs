//! What other threads post to a shard: answers of the store and orders of the control thread.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use hushwire_wire::id::DeviceId;

use crate::mesh::doorbell::Doorbell;
use crate::store::{Answer, Answers};

/// One posted thing.
#[derive(Debug)]
pub(crate) enum Posted {
    /// The store answered a question of the engine.
    Answer(u64, Answer),
    /// A device was revoked by the operator.
    Revoked(DeviceId),
    /// Say goodbye to every device, accept nobody, and stop when all have gone.
    Drain,
    /// Stop now.
    Stop,
}

/// The posting end. Answers are bounded by the questions a shard may have open, orders by people.
#[derive(Clone, Debug)]
pub(crate) struct Postbox {
    sender: Sender<Posted>,
    doorbell: Arc<Doorbell>,
}

impl Postbox {
    /// Both ends of a shard's inbox.
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> (Self, Receiver<Posted>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, doorbell }, receiver)
    }

    /// Posts and wakes the shard. A shard that has stopped misses nothing it could still act on.
    pub(crate) fn post(&self, posted: Posted) {
        if self.sender.send(posted).is_ok() {
            self.doorbell.ring();
        }
    }
}

impl Answers for Postbox {
    fn deliver(&self, ticket: u64, answer: Answer) {
        self.post(Posted::Answer(ticket, answer));
    }
}
