//! What a client writes to the log ([`tracing`]).
//!
//! At `info` is what happens to the connection, at `warn` what loses something unless a person acts, at `debug` what happens
//! with each peer, message and file, by the first letters of their IDs. Content, names, labels, codes and keys are at no level; what the
//! relay says in its own words is at `debug`, for nobody knows what it puts there.
//!
//! Most of it is written under the client's lock, so a subscriber must not call the client.

use std::time::Duration;

use hushwire_wire::id::DeviceId;

use super::event::Event;
use super::state::Ending;
use super::task::End;
use crate::conversation::Event as Heard;
use crate::error::Error;
use crate::io::IoError;
use crate::journal::EndedSend;
use crate::link::LinkError;

/// What applications are told.
pub(super) fn event(event: &Event) {
    match event {
        Event::Connected { replaced, resumed, transport } => {
            tracing::info!(replaced, resumed, %transport, "connected to the relay");
        }
        // `disconnected` knows more.
        Event::Disconnected { .. } => {}
        Event::PeerUp { peer } => tracing::debug!(?peer, "a session is up"),
        Event::PeerDown { peer } => tracing::debug!(?peer, "a session is lost"),
        Event::PeerAway { peer, reason } => {
            tracing::debug!(?peer, %reason, "a peer cannot be reached");
        }
        Event::PeerIncompatible { peer, why } => {
            tracing::warn!(%why, "a peer speaks another version");
            tracing::debug!(?peer, "this peer speaks another version");
        }
        Event::Granted { peer, may_send } => {
            tracing::debug!(?peer, may_send, "the relay knows who may send here");
        }
        Event::MessagesLost { peer, count } => {
            tracing::debug!(?peer, count, "messages have expired at a peer before they came");
        }
        Event::SetBack { peer } => {
            tracing::warn!("this keystore was restored or copied: messages may arrive twice");
            tracing::debug!(?peer, "this peer knows more of this device than it does itself");
        }
        Event::AccountChanged => tracing::debug!("the account's log has changed"),
        Event::DeviceAdded { device } => tracing::debug!(?device, "a device joins the account"),
        Event::DeviceRemoved { device } => tracing::debug!(?device, "a device leaves the account"),
        Event::AccountForked { at, by } => {
            tracing::warn!(at, "the account's log has two branches: people must decide");
            tracing::debug!(?by, "who made both branches");
        }
        Event::PeerRotated { old, new } => tracing::debug!(?old, ?new, "a peer has a new key"),
        Event::RotationFinished { .. } => tracing::info!("this device has its new key"),
        Event::RotationRefused { peer, why } => {
            tracing::warn!("a peer's new key was refused");
            tracing::debug!(?peer, why, "why this peer's new key was refused");
        }
        Event::StorageFailed { why } => {
            tracing::warn!(why, "messages cannot be stored: none is sent or acknowledged");
        }
        Event::KeystoreFailed { why } => {
            // Its paths name peers.
            tracing::warn!("the keystore cannot be written");
            tracing::debug!(why, "why the keystore cannot be written");
        }
        Event::Missed { .. } => {}
    }
}

/// What conversations say, and applications are not told as it stands.
pub(super) fn heard(peer: DeviceId, event: &Heard) {
    match event {
        Heard::HandshakeBegins { .. } => tracing::debug!(?peer, "a handshake begins"),
        Heard::HandshakeAnswered { .. } => tracing::debug!(?peer, "a handshake is answered"),
        Heard::HandshakeEnded(established) => {
            let (role, suite) = (established.role(), established.suite());
            tracing::debug!(?peer, ?role, ?suite, "a handshake has made or renewed a session");
        }
        Heard::Stored { number } => tracing::debug!(?peer, number, "a message is stored"),
        Heard::Ended(ended) => message_ended(peer, ended),
        Heard::StreamIncoming => tracing::trace!(?peer, "a peer opens a stream"),
        Heard::MessageReady => tracing::trace!(?peer, "a message has come"),
        Heard::PeerIncompatible { .. }
        | Heard::SessionUp
        | Heard::SessionLost
        | Heard::SetBack
        | Heard::Lost { .. }
        | Heard::StreamChanged(_)
        | Heard::PeerAway { .. } => {}
    }
}

fn message_ended(peer: DeviceId, ended: &EndedSend) {
    let EndedSend { number, id, outcome, .. } = ended;
    tracing::debug!(?peer, number, %id, ?outcome, "a message has ended");
}

/// The connection is gone.
pub(super) fn disconnected(end: &End, why: &str, next_try: Option<Duration>) {
    let kind = kind(end);
    match next_try {
        Some(wait) => {
            let next_try_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(kind, next_try_ms, "no connection to the relay");
        }
        None => tracing::info!(kind, "no connection to the relay any more"),
    }
    tracing::debug!(why, "why there is no connection");
}

/// Nothing will happen any more.
pub(super) fn ended(ending: &Ending) {
    match ending {
        Ending::Closed => tracing::info!("the client has ended"),
        Ending::Superseded => {
            tracing::warn!(
                "another connection of this device has taken over: is its keystore copied?"
            );
        }
        Ending::Revoked => tracing::warn!("this device has been revoked at its relay"),
        Ending::NotAdmitted(_) => tracing::warn!("the relay does not admit this device"),
    }
}

fn kind(end: &End) -> &'static str {
    match end {
        End::Closed => "closed here",
        End::Goaway(_) => "farewell",
        End::Worn => "replaced",
        End::Failed(Error::Io(error)) => match error {
            IoError::Connect { .. } | IoError::Address { .. } | IoError::QuicRefused => {
                "not reached"
            }
            IoError::TimedOut { .. } => "timeout",
            IoError::Lost(_) | IoError::Closed => "lost",
            IoError::PinDiffers { .. }
            | IoError::Certificate(_)
            | IoError::WrongService
            | IoError::Tls(_) => "not trusted",
            IoError::Quic(_) => "broke the protocol",
        },
        End::Failed(Error::Link(LinkError::Refused { .. })) => "refused",
        End::Failed(Error::Link(LinkError::Silent)) => "silent",
        End::Failed(_) => "broke the protocol",
    }
}
