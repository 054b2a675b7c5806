//! What two devices of an account say to each other about its log, on a channel `hushwire/account/1`: heads first, then
//! what is missing (annex A.7).

use super::codec::Reader;
use super::entry::{AccountLogId, Proof};
use super::error::LogError;
use super::limits::LOG_BYTES_MAX;
use super::log::{AccountLog, Head, Merge};
use crate::identity::Identity;

/// The longest message.
pub const MESSAGE_BYTES_MAX: usize = 1 + LOG_BYTES_MAX;

/// A question or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// How far a log goes: asks for what is behind it.
    Head {
        /// Which log.
        log: AccountLogId,
        /// How far.
        head: Head,
    },
    /// Entries from any index on, to be merged.
    Entries(Vec<u8>),
    /// Asks a device to join this log.
    Invite {
        /// Which log.
        log: AccountLogId,
    },
    /// The whole log, for a device that is in it now.
    Welcome(Vec<u8>),
    /// Answer: both hold the same.
    Same,
    /// Answer: entries from here on are needed.
    Want {
        /// The first one.
        from: u32,
    },
    /// Answer to an invitation: the device joins.
    Consent(Proof),
    /// Answer: the log was taken.
    Taken,
    /// Answer: nothing to say to this device.
    Nothing,
}

impl Message {
    /// Its only encoding: a code and what belongs to it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Head { log, head } => {
                [&[1][..], &log.0, &head.length.to_le_bytes(), &head.hash].concat()
            }
            Self::Entries(bytes) => [&[2][..], bytes].concat(),
            Self::Invite { log } => [&[3][..], &log.0].concat(),
            Self::Welcome(bytes) => [&[4][..], bytes].concat(),
            Self::Same => vec![0x10],
            Self::Want { from } => [&[0x11][..], &from.to_le_bytes()].concat(),
            Self::Consent(proof) => [&[0x12][..], &proof.0].concat(),
            Self::Taken => vec![0x13],
            Self::Nothing => vec![0x14],
        }
    }

    /// Reads one. Entries are looked at when they are merged.
    ///
    /// # Errors
    /// [`LogError::Malformed`], the fault of whoever sent it.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let parse = || {
            let mut reader = Reader(bytes);
            let message = match reader.byte()? {
                1 => {
                    let log = AccountLogId(reader.array()?);
                    let length = u32::from_le_bytes(reader.array()?);
                    Self::Head { log, head: Head { length, hash: reader.array()? } }
                }
                2 => Self::Entries(reader.take(reader.0.len())?.to_vec()),
                3 => Self::Invite { log: AccountLogId(reader.array()?) },
                4 => Self::Welcome(reader.take(reader.0.len())?.to_vec()),
                0x10 => Self::Same,
                0x11 => Self::Want { from: u32::from_le_bytes(reader.array()?) },
                0x12 => Self::Consent(Proof(reader.array()?)),
                0x13 => Self::Taken,
                0x14 => Self::Nothing,
                _ => return None,
            };
            reader.0.is_empty().then_some(message)
        };
        let fits = bytes.len() <= MESSAGE_BYTES_MAX;
        fits.then(parse).flatten().ok_or(LogError::Malformed)
    }
}

impl AccountLog {
    /// The question with which a device begins.
    #[must_use]
    pub fn greeting(&self) -> Message {
        Message::Head { log: self.id(), head: self.head() }
    }

    /// Takes in what another member says, and gives what to say to that. [`Message::Same`] and [`Message::Nothing`]
    /// end the talk. A new state belongs on the disk before the answer is sent.
    pub fn hear(
        &mut self,
        identity: &Identity,
        message: &Message,
        now_ms: u64,
    ) -> (Option<Merge>, Message) {
        match message {
            Message::Head { log, .. } if *log != self.id() => (None, Message::Nothing),
            Message::Head { head, .. } if *head == self.head() => (None, Message::Same),
            Message::Head { head, .. } if self.has(head) => {
                (None, Message::Entries(self.entries_from(head.length)))
            }
            Message::Head { .. } => (None, Message::Want { from: 0 }),
            Message::Want { from } => (None, Message::Entries(self.entries_from(*from))),
            Message::Entries(bytes) => match self.extend(identity, bytes, now_ms) {
                Ok(merge) if self.ends_with(bytes) => (Some(merge), Message::Same),
                Ok(merge) => (Some(merge), Message::Entries(self.entries_from(0))),
                Err(LogError::Missing(from)) => (None, Message::Want { from }),
                Err(_) => (None, Message::Nothing),
            },
            Message::Invite { .. }
            | Message::Welcome(_)
            | Message::Same
            | Message::Consent(_)
            | Message::Taken
            | Message::Nothing => (None, Message::Nothing),
        }
    }

    fn ends_with(&self, entries: &[u8]) -> bool {
        entries.ends_with(self.entries().last().expect("a log has a genesis").bytes())
    }
}
