//! Why a handshake message was refused.

use hushwire_wire::id::DeviceId;

use crate::suite::{Minimum, Suite};

/// Why a handshake message was refused. Except where a variant says otherwise, the holder of the pre-shared
/// key who sent it is at fault: nobody else gets through the outer seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A length or a reserved field is wrong.
    #[error("the peer sent a malformed handshake message")]
    Malformed,
    /// Another message of the handshake was due. HS1 while HS3 is due: the peer began again.
    #[error("handshake message {expected} was due, the peer sent {found}")]
    Unexpected {
        /// Number of the message that was due, 1 to 3.
        expected: u8,
        /// Number found.
        found: u8,
    },
    /// The peer speaks a later version than this software.
    #[error("the peer uses protocol version {0}, this device knows 1: upgrade this device")]
    PeerNewer(u8),
    /// The peer speaks an earlier version than this software.
    #[error("the peer uses protocol version {0}, this device needs 1: upgrade the peer")]
    PeerOlder(u8),
    /// No suite has this number here.
    #[error(
        "the peer asks for cipher suite {0}, which this device does not know: upgrade this device"
    )]
    UnknownSuite(u16),
    /// The peer answered with another suite than was asked for.
    #[error("the peer answered with cipher suite {found:?} where {expected:?} was asked for")]
    SuiteChanged {
        /// The suite of HS1.
        expected: Suite,
        /// The suite found.
        found: Suite,
    },
    /// The suite is weaker than what this pair has used before. Ours, if this side chose it.
    #[error("cipher suite '{suite}' is weaker than this pair allows ({minimum:?})")]
    Downgrade {
        /// The suite asked for.
        suite: Suite,
        /// What is needed.
        minimum: Minimum,
    },
    /// The message comes from, or claims, another device than the pinned one.
    #[error("this is device {found}, not {expected}; remove and pair again only if you know why")]
    WrongPeer {
        /// The pinned device.
        expected: DeviceId,
        /// The device named in the message.
        found: DeviceId,
    },
    /// The message is for another device.
    #[error("the handshake message is meant for device {found}, not for this one")]
    NotForUs {
        /// Whom it names as responder.
        found: DeviceId,
    },
    /// A pairing message under a session's key, or the reverse.
    #[error("the peer mixes up pairing and session handshakes")]
    Mode,
    /// HS1 is no newer than one seen before. Most likely the relay repeats it: drop it.
    #[error("a handshake message was replayed (time {time_ns}, last seen {last_seen_ns})")]
    Replayed {
        /// Its monotone time, unix ns.
        time_ns: u64,
        /// The highest seen from this peer, unix ns.
        last_seen_ns: u64,
    },
    /// An answer to another handshake than the pending one. Most likely late or repeated by the relay: drop it.
    #[error("the message answers another handshake")]
    Stale,
    /// A degenerate X25519 result or an invalid ML-KEM encapsulation key.
    #[error("the peer sent an invalid public key")]
    InvalidKey,
    /// The encrypted part does not open: tampered with, or another pre-shared key.
    #[error("the encrypted part of a handshake message does not open")]
    Unauthentic,
    /// The signature is not the pinned identity's: somebody who holds the pre-shared key is not the peer.
    #[error("the handshake was signed by somebody else than device {expected}")]
    ForeignSignature {
        /// The pinned device.
        expected: DeviceId,
    },
    /// The MAC over the handshake is wrong.
    #[error("the peer did not derive the same keys")]
    Finished,
    /// The initiator revealed another random value than it committed to: an attempt to choose the SAS.
    #[error("the peer changed its mind about the confirmation code; do not trust it")]
    Commitment,
}

/// A message was refused; the state still waits for a right one.
#[derive(Debug)]
pub struct Refused<State, Error = HandshakeError> {
    /// The state as it was.
    pub state: Box<State>,
    /// Why.
    pub error: Error,
}

impl<State, Error> Refused<State, Error> {
    pub(crate) fn new(state: State, error: Error) -> Self {
        Self { state: Box::new(state), error }
    }
}

impl<State, Error: std::fmt::Display> std::fmt::Display for Refused<State, Error> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl<State: std::fmt::Debug, Error: std::error::Error> std::error::Error for Refused<State, Error> {}
