//! What goes in and out of a client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hushwire_wire::control::{CoverMode, Transport, Welcome};
use hushwire_wire::id::DeviceId;
use tokio::sync::oneshot;

use crate::conversation::{OutboxLimits, PendingSend};
use crate::error::Error;
use crate::io::Transports;
use crate::journal::{Durability, EndedSend, MessageId, Outcome};
use crate::keystore::{Grant, Peer};
use crate::link::Link;
use crate::pairing::{Fingerprint, Verified};

/// What a client says of itself, and how it keeps messages.
///
/// To be made as `Options { name: Some("pump 3".into()), ..Options::default() }`: there will be more fields. The same goes for
/// [`SendOptions`], [`FileOptions`](super::FileOptions) and [`PairingOptions`](super::PairingOptions).
#[derive(Clone, Debug)]
pub struct Options {
    /// Software and version, told to the relay; at most 32 bytes. Default: `hushwire/` and this crate's version.
    pub software: String,
    /// A name for people, taken by the relay on enrolment; at most 64 bytes. Default: none.
    pub name: Option<String>,
    /// Cover asked for. Default: off.
    pub cover: CoverMode,
    /// By what the relay may be reached. Default: QUIC where UDP gets through, TLS elsewhere.
    pub transports: Transports,
    /// What waits for one peer.
    pub outbox: Outbox,
    /// What a message survives. Default: the end of the machine.
    pub durability: Durability,
    /// How long messages are kept that are sent without a time of their own. Default: until they are delivered.
    pub expires_in: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            software: concat!("hushwire/", env!("CARGO_PKG_VERSION")).into(),
            name: None,
            cover: CoverMode::Off,
            transports: Transports::Both,
            outbox: Outbox::default(),
            durability: Durability::Disk,
            expires_in: None,
        }
    }
}

/// What waits for one peer, and what happens when it is too much.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outbox {
    /// How much. Default: 4 096 messages and 16 MiB.
    pub limits: OutboxLimits,
    /// What then. Default: whoever sends waits.
    pub when_full: WhenFull,
}

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Whoever sends it waits until there is.
    #[default]
    Wait,
    /// It is refused with [`Error::OutboxFull`].
    Refuse,
}

/// How to send one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions {
    /// How long it is kept, to the second. Default: as [`Options::expires_in`].
    pub expires_in: Option<Duration>,
}

/// A message from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub peer: DeviceId,
    /// Its name, which its sender knows it by too.
    pub id: MessageId,
    /// When its sender gives it up, unix seconds by the sender's clock. `None` where it never does.
    pub expires_s: Option<u64>,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// The peer's application has taken a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The peer.
    pub peer: DeviceId,
    /// The message's name.
    pub id: MessageId,
    /// Its number among all that were ever given for this peer.
    pub number: u64,
}

/// A message that was given to be sent, and what is known of it. Times are unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// To whom.
    pub peer: DeviceId,
    /// Its name.
    pub id: MessageId,
    /// Its length in bytes.
    pub length: u64,
    /// When it was given.
    pub queued_s: u64,
    /// When it expires; not known of one that has ended.
    pub expires_s: Option<u64>,
    /// When a part of it was first sent: by this process, where it has not ended.
    pub first_sent_s: Option<u64>,
    /// How far it is.
    pub state: SendState,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendState {
    /// It is on its way to the disk: nobody has been promised anything yet.
    Storing,
    /// It waits here, or is on its way, or has arrived without a word of it.
    Waiting,
    /// The peer's library has it; its application has not taken it yet.
    Received,
    /// It has ended.
    Ended {
        /// When.
        at_s: u64,
        /// How.
        outcome: Outcome,
    },
}

impl Sent {
    pub(super) fn ended(peer: DeviceId, ended: &EndedSend) -> Self {
        Self {
            peer,
            id: ended.id,
            length: ended.length,
            queued_s: ended.queued_s,
            expires_s: None,
            first_sent_s: ended.first_sent_s,
            state: SendState::Ended { at_s: ended.ended_s, outcome: ended.outcome },
        }
    }

    pub(super) fn pending(peer: DeviceId, pending: &PendingSend) -> Self {
        let state = match (pending.is_stored, pending.is_received) {
            (false, _) => SendState::Storing,
            (true, false) => SendState::Waiting,
            (true, true) => SendState::Received,
        };
        Self {
            peer,
            id: pending.id,
            length: pending.length,
            queued_s: pending.queued_s,
            expires_s: pending.expires_s,
            first_sent_s: pending.first_sent_s,
            state,
        }
    }
}

/// A relay, as it described itself in WELCOME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayInfo {
    /// This device's home shard.
    pub shard: u16,
    /// Shards in all.
    pub shards: u16,
    /// The operator's name for the place, may be empty.
    pub region: String,
    /// By what this device reaches it at present.
    pub transport: Transport,
}

impl From<&Link> for RelayInfo {
    fn from(link: &Link) -> Self {
        let Welcome { shard, shards, region, .. } = link.welcome();
        let (shard, shards, region) = (*shard, *shards, region.clone());
        Self { shard, shards, region, transport: link.transport() }
    }
}

/// A peer, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its pinned identity.
    pub device: DeviceId,
    /// What the user calls it.
    pub name: String,
    /// Whether a session with it is up.
    pub is_up: bool,
    /// How its identity came to be trusted, last.
    pub verified: Verified,
    /// When, unix seconds.
    pub verified_at_s: u64,
    /// Whether it may send to this device, and whether the relay knows.
    pub grant: Grant,
}

impl PeerInfo {
    /// Its ID as people compare it with what the peer's own screen shows.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.device)
    }
}

impl From<&Peer> for PeerInfo {
    /// What the keystore says of a peer; no session is up.
    fn from(peer: &Peer) -> Self {
        Self {
            device: peer.device(),
            name: peer.name().into(),
            is_up: false,
            verified: peer.verified(),
            verified_at_s: peer.verified_at_s(),
            grant: peer.grant(),
        }
    }
}

/// A message on its way: resolves when it has ended. Dropping it changes nothing for the message.
#[derive(Debug)]
pub struct Delivery {
    id: MessageId,
    ended: oneshot::Receiver<Result<Receipt, Error>>,
}

impl Delivery {
    pub(super) const fn new(
        id: MessageId,
        ended: oneshot::Receiver<Result<Receipt, Error>>,
    ) -> Self {
        Self { id, ended }
    }

    /// The message's name, for [`Client::sent`](super::Client::sent) and `hush trace`.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.id
    }
}

impl Future for Delivery {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.ended).poll(context).map(|ended| ended.unwrap_or(Err(Error::Closed)))
    }
}
