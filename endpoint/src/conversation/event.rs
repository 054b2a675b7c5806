//! What a conversation says to whoever holds it.

use hushwire_wire::control::Undelivered;

use super::StreamId;
use crate::journal::EndedSend;
use crate::link::CellId;
use crate::suite::handshake::{Established, Incompatible};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A handshake begins: its time, unix nanoseconds, must be on disk before the next cell is polled.
    HandshakeBegins {
        /// The time in HS1.
        time_ns: u64,
    },
    /// An HS1 of the peer was answered: its time, unix nanoseconds, must be on disk before the next cell is polled, so
    /// that a replay is refused after a restart too.
    HandshakeAnswered {
        /// The time in HS1.
        time_ns: u64,
    },
    /// The peer speaks another version of the protocol; what waits for it goes on waiting. Told at most every 30 s.
    PeerIncompatible {
        /// Who must upgrade, as a sentence.
        why: Incompatible,
    },
    /// A handshake ended: to be remembered on disk.
    HandshakeEnded(Box<Established>),
    /// A session is up that has nothing to do with an earlier one.
    SessionUp,
    /// The session ended, and its streams with it.
    SessionLost,
    /// [`Conversation::hand_out`](super::Conversation::hand_out) has something.
    MessageReady,
    /// A message is on disk, and will end in one of the ways there are.
    Stored {
        /// Its number.
        number: u64,
    },
    /// A message has ended.
    Ended(Box<EndedSend>),
    /// The peer has seen more of this device's log than this device knows: its keystore was restored from a backup, or
    /// copied. What had not ended is sent again under new numbers, and may arrive twice.
    SetBack,
    /// Messages of the peer that will never come.
    Lost {
        /// How many.
        count: u64,
    },
    /// [`Conversation::accept_stream`](super::Conversation::accept_stream) has something.
    StreamIncoming,
    /// A stream can be read or written again, or has failed.
    StreamChanged(StreamId),
    /// The peer cannot be reached at present; this end tries again by itself.
    PeerAway {
        /// The relay's reason.
        reason: Undelivered,
    },
}

/// A message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Longer than 16 MiB; use a stream.
    #[error("a message of {0} bytes is too large: at most 16 MiB, send it as a stream")]
    TooLarge(usize),
    /// The peer has not taken enough of what it was sent.
    #[error("too many messages wait for this peer")]
    Full,
}

/// What reading a stream found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRead {
    /// So many bytes were copied.
    Bytes(usize),
    /// The end that the writer meant.
    End,
    /// Nothing yet.
    Nothing,
}

/// A cell that was made: its header is still to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The lane it belongs to, the same for all cells of a conversation.
    pub lane: u32,
    /// Its number, for [`Conversation::handle_undeliverable`](super::Conversation::handle_undeliverable).
    pub id: CellId,
}
