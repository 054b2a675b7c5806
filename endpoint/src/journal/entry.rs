//! One fact about messages.

use std::fmt;
use std::str::FromStr;

use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;

use super::codec::Encode;

/// Names a message for people and programs, on both ends: the incarnation of the log it was first numbered in and
/// its number there. Text: 16 hexadecimal digits, a dash, the number. It stays as it is should the message be
/// numbered anew later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The random incarnation of the sender's log.
    pub incarnation: u64,
    /// The number in that log.
    pub sequence: u64,
}

/// A text is not the name of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is named by 16 hexadecimal digits, a dash and a number")]
pub struct MessageIdError;

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.incarnation, self.sequence)
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let (incarnation, sequence) = text.split_once('-').ok_or(MessageIdError)?;
        if incarnation.len() != 16 || sequence.starts_with('+') || incarnation.starts_with('+') {
            return Err(MessageIdError);
        }
        let incarnation = u64::from_str_radix(incarnation, 16).map_err(|_| MessageIdError)?;
        Ok(Self { incarnation, sequence: sequence.parse().map_err(|_| MessageIdError)? })
    }
}

/// How a message ended. Every message ends in exactly one of these, and there will be no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer's application has taken it.
    Delivered,
    /// The peer's application refused it.
    Rejected {
        /// Why, in the peer's words.
        reason: u16,
    },
    /// No acknowledgement came in time. It may have arrived.
    Expired {
        /// What the relay last said of cells to this peer, if it ever complained.
        hint: Option<Undelivered>,
    },
}

/// One fact, written before anybody acts on it. Times are unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The log of messages to a peer begins, or begins anew after a rollback.
    LogBegun {
        /// The peer.
        peer: DeviceId,
        /// Random; names the log.
        incarnation: u64,
        /// The message with sequence 0 has this number among all that were ever given for this peer.
        base: u64,
    },
    /// A message was given to be sent.
    Queued {
        /// To whom.
        peer: DeviceId,
        /// Its number among all that were ever given for this peer.
        number: u64,
        /// Its name.
        id: MessageId,
        /// When.
        queued_s: u64,
        /// When it expires, if at all.
        expires_s: Option<u64>,
        /// What it says.
        bytes: Vec<u8>,
    },
    /// A message has reached its end.
    Ended {
        /// To whom.
        peer: DeviceId,
        /// Its number.
        number: u64,
        /// How.
        outcome: Outcome,
        /// When.
        ended_s: u64,
        /// When a part of it was first sent, if it was.
        first_sent_s: Option<u64>,
    },
    /// The application has taken, or has refused to the peer's knowledge, everything of a peer's log below `next`.
    Taken {
        /// From whom.
        peer: DeviceId,
        /// The peer's log.
        incarnation: u64,
        /// The next one.
        next: u64,
    },
    /// The application has refused a message, or has taken it ahead of an earlier one.
    Ahead {
        /// From whom.
        peer: DeviceId,
        /// The peer's log.
        incarnation: u64,
        /// Which.
        sequence: u64,
        /// Why it was refused; `None` where it was taken.
        refused: Option<u16>,
    },
    /// Messages were given before the peer had said where it is in the log, and wait for that; or it has said so.
    /// Without it, a device that was set back, was given messages and died would take them for sent, and what the peer
    /// knows under their numbers for them.
    Unsent {
        /// To whom.
        peer: DeviceId,
        /// Nothing from this number on was sent; `None` where anything may be sent now.
        from: Option<u64>,
    },
    /// The pairing with a peer was removed; nothing of it is kept.
    Forgotten {
        /// The peer.
        peer: DeviceId,
    },
    /// A peer is known by another ID from now on: all that is known of it goes on there. Where something is known of
    /// that one already, nothing changes.
    Renamed {
        /// The peer, as it was.
        peer: DeviceId,
        /// As it is.
        to: DeviceId,
    },
}

impl Entry {
    /// Whom it is about.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        match self {
            Self::LogBegun { peer, .. }
            | Self::Queued { peer, .. }
            | Self::Ended { peer, .. }
            | Self::Taken { peer, .. }
            | Self::Ahead { peer, .. }
            | Self::Forgotten { peer }
            | Self::Unsent { peer, .. }
            | Self::Renamed { peer, .. } => *peer,
        }
    }

    /// Bytes it takes in a journal. The entries of one append take at most
    /// [`BATCH_BYTES_MAX`](super::limits::BATCH_BYTES_MAX).
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.encoded_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = MessageId { incarnation: 0x00ab, sequence: 17 };
        assert_eq!(id.to_string(), "00000000000000ab-17");
        assert_eq!("00000000000000ab-17".parse(), Ok(id));
        for wrong in [
            "",
            "-",
            "ab-17",
            "00000000000000ab",
            "00000000000000ab-",
            "+0000000000000ab-1",
            "00000000000000ab-+1",
            "00000000000000ag-1",
            "00000000000000ab-1-",
        ] {
            assert_eq!(wrong.parse::<MessageId>(), Err(MessageIdError), "{wrong}");
        }
    }
}
