//! What a client tells without being asked.

use std::time::Duration;

use hushwire_wire::control::{Transport, Undelivered};
use hushwire_wire::id::DeviceId;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::suite::handshake::Incompatible;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The relay has welcomed this device.
    Connected {
        /// An older connection of this device was displaced by this one.
        replaced: bool,
        /// TLS was resumed from a ticket.
        resumed: bool,
        /// The way it goes.
        transport: Transport,
    },
    /// The connection is gone.
    Disconnected {
        /// Why, for a person.
        why: String,
        /// When the next attempt will be made; `None` where there will be none: calls fail from now on.
        next_try: Option<Duration>,
    },
    /// A session with a peer is up.
    PeerUp {
        /// The peer.
        peer: DeviceId,
    },
    /// A session with a peer has ended, its streams with it.
    PeerDown {
        /// The peer.
        peer: DeviceId,
    },
    /// A peer cannot be reached at present. It is tried again while something waits for it.
    PeerAway {
        /// The peer.
        peer: DeviceId,
        /// The relay's reason.
        reason: Undelivered,
    },
    /// A peer speaks another version of the protocol. What waits for it goes on waiting and is tried again; told at
    /// most every 30 s.
    PeerIncompatible {
        /// The peer.
        peer: DeviceId,
        /// A sentence that says who must upgrade.
        why: Incompatible,
    },
    /// The relay has taken note of whether a device may send to this one.
    Granted {
        /// The device, a peer or one that was.
        peer: DeviceId,
        /// Whether it may.
        may_send: bool,
    },
    /// Messages of a peer have expired on its side before they arrived.
    MessagesLost {
        /// The peer.
        peer: DeviceId,
        /// How many.
        count: u64,
    },
    /// A peer has seen messages of this device that this device does not know: its keystore was restored from a backup,
    /// or copied. What had not ended is sent again, and may arrive twice.
    SetBack {
        /// The peer.
        peer: DeviceId,
    },
    /// The log of the account is another one, whatever changed.
    AccountChanged,
    /// A device is in the account now.
    DeviceAdded {
        /// The device.
        device: DeviceId,
    },
    /// A device is in the account no longer, or under another key.
    DeviceRemoved {
        /// The device.
        device: DeviceId,
    },
    /// The log of the account has two branches of which people must decide which one holds.
    AccountForked {
        /// The first entry that differs.
        at: u32,
        /// One device that signed both, or two that removed each other.
        by: Vec<DeviceId>,
    },
    /// A peer has replaced its key: it is known by the new one now.
    PeerRotated {
        /// As it was known.
        old: DeviceId,
        /// As it is known.
        new: DeviceId,
    },
    /// This device has its new key, and the relay has revoked the old one.
    RotationFinished {
        /// As it was.
        old: DeviceId,
    },
    /// A peer's new key was refused: people should look.
    RotationRefused {
        /// The peer.
        peer: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// Messages cannot be written to disk at present: none is sent or acknowledged until they can.
    StorageFailed {
        /// Why, for a person.
        why: String,
    },
    /// Something could not be stored; the client goes on.
    KeystoreFailed {
        /// Why, for a person.
        why: String,
    },
    /// The listener was too slow: so many events were dropped.
    Missed {
        /// How many.
        count: u64,
    },
}

/// Listens to a client's events, from the moment it was made.
#[derive(Debug)]
pub struct Events {
    pub(super) receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; `None` once the client is closed. Cancellation-safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(Event::Missed { count }),
            Err(RecvError::Closed) => None,
        }
    }
}
