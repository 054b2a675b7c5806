//! Entries as bytes: a tag, which names kind and version, and fields of fixed order. Numbers are little-endian; every
//! value has one encoding.
//!
//! ```text
//!  1 LogBegun   peer(32) incarnation(8) base(8)
//!  2 Queued     peer(32) number(8) id(8 8) queued_s(8) expires_s(?8) length(4) bytes(length)
//!  3 Ended      peer(32) number(8) outcome ended_s(8) first_sent_s(?8)
//!  4 Taken      peer(32) incarnation(8) next(8)
//!  5 Ahead      peer(32) incarnation(8) sequence(8) refused(?2)
//!  6 Forgotten  peer(32)
//!  7 Renamed    peer(32) to(32)
//!  8 Unsent     peer(32) from(?8)
//! 16 log        peer(32) incarnation(8) base(8) next_number(8)
//! 17 held       as 2
//! 18 end        peer(32) number(8) id(8 8) length(8) queued_s(8) first_sent_s(?8) ended_s(8) outcome
//!
//! ?n       0, or 1 and n bytes
//! outcome  0 delivered, 1 and reason(2) rejected, 2 and hint(1) expired
//! ```
//!
//! 16 to 18 are what compaction leaves of facts that other facts have overtaken.

use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use zeroize::Zeroize;

use super::entry::{Entry, MessageId, Outcome};
use super::logs::{EndedSend, Held};

const LOG_BEGUN: u8 = 1;
const QUEUED: u8 = 2;
const ENDED: u8 = 3;
const TAKEN: u8 = 4;
const AHEAD: u8 = 5;
const FORGOTTEN: u8 = 6;
const RENAMED: u8 = 7;
const UNSENT: u8 = 8;
const KEPT_LOG: u8 = 16;
const KEPT_HELD: u8 = 17;
const KEPT_END: u8 = 18;

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// A fact as it came.
    Fact(Entry),
    /// What facts amounted to.
    Kept(Kept),
}

impl Stored {
    /// A message that was queued or held, as one that is held for `peer`; all else as it is.
    pub(super) fn into_held(self, peer: DeviceId) -> Self {
        match self {
            Self::Fact(Entry::Queued { number, id, queued_s, expires_s, bytes, .. }) => {
                let held = Held { id, queued_s, expires_s, bytes };
                Self::Kept(Kept::Held { peer, number, held })
            }
            Self::Kept(Kept::Held { number, held, .. }) => {
                Self::Kept(Kept::Held { peer, number, held })
            }
            Self::Fact(_) | Self::Kept(_) => self,
        }
    }

    /// Clears what a message says from memory.
    pub(super) fn wipe(&mut self) {
        if let Self::Fact(Entry::Queued { bytes, .. })
        | Self::Kept(Kept::Held { held: Held { bytes, .. }, .. }) = self
        {
            bytes.zeroize();
        }
    }
}

/// What is left of facts that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The log of messages to a peer, without the messages.
    Log { peer: DeviceId, incarnation: u64, base: u64, next_number: u64 },
    /// A message that has not ended.
    Held { peer: DeviceId, number: u64, held: Held },
    /// A message that has.
    End { peer: DeviceId, ended: EndedSend },
}

/// Why bytes are not entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// They break off, or a value is none.
    Malformed,
    /// An entry of a kind that this version does not know.
    Unknown(u8),
}

/// What can be written.
pub(super) trait Encode {
    /// Appends it.
    fn write(&self, out: &mut impl Sink);

    /// Its bytes.
    fn encoded_len(&self) -> usize {
        let mut length = Length(0);
        self.write(&mut length);
        length.0
    }
}

/// Takes the first one off `bytes`.
pub(super) fn decode(bytes: &mut &[u8]) -> Result<Stored, DecodeError> {
    let mut reader = Reader(bytes);
    let stored = reader.stored()?;
    *bytes = reader.0;
    Ok(stored)
}

/// Where encoded bytes go.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn u64s(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.put(&number.to_le_bytes());
        }
    }

    fn optional(&mut self, number: Option<u64>) {
        self.put(&[u8::from(number.is_some())]);
        self.u64s(number.as_slice());
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Length(usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Encode for Stored {
    fn write(&self, out: &mut impl Sink) {
        match self {
            Self::Fact(entry) => entry.write(out),
            Self::Kept(kept) => kept.write(out),
        }
    }
}

impl Encode for Entry {
    fn write(&self, out: &mut impl Sink) {
        write_fact(self, out);
    }
}

impl Encode for Kept {
    fn write(&self, out: &mut impl Sink) {
        write_kept(self, out);
    }
}

fn write_fact(entry: &Entry, out: &mut impl Sink) {
    let tag = match entry {
        Entry::LogBegun { .. } => LOG_BEGUN,
        Entry::Queued { .. } => QUEUED,
        Entry::Ended { .. } => ENDED,
        Entry::Taken { .. } => TAKEN,
        Entry::Ahead { .. } => AHEAD,
        Entry::Forgotten { .. } => FORGOTTEN,
        Entry::Renamed { .. } => RENAMED,
        Entry::Unsent { .. } => UNSENT,
    };
    out.put(&[tag]);
    out.put(entry.peer().as_bytes());
    match entry {
        Entry::LogBegun { incarnation, base, .. } => {
            out.u64s(&[*incarnation, *base]);
        }
        Entry::Queued { number, id, queued_s, expires_s, bytes, .. } => {
            write_message(*number, *id, *queued_s, *expires_s, bytes, out);
        }
        Entry::Ended { number, outcome, ended_s, first_sent_s, .. } => {
            out.u64s(&[*number]);
            write_outcome(*outcome, out);
            out.u64s(&[*ended_s]);
            out.optional(*first_sent_s);
        }
        Entry::Taken { incarnation, next, .. } => {
            out.u64s(&[*incarnation, *next]);
        }
        Entry::Ahead { incarnation, sequence, refused, .. } => {
            out.u64s(&[*incarnation, *sequence]);
            match refused {
                None => out.put(&[0]),
                Some(reason) => {
                    out.put(&[1]);
                    out.put(&reason.to_le_bytes());
                }
            }
        }
        Entry::Unsent { from, .. } => out.optional(*from),
        Entry::Forgotten { .. } => {}
        Entry::Renamed { to, .. } => out.put(to.as_bytes()),
    }
}

fn write_kept(kept: &Kept, out: &mut impl Sink) {
    match kept {
        Kept::Log { peer, incarnation, base, next_number } => {
            out.put(&[KEPT_LOG]);
            out.put(peer.as_bytes());
            out.u64s(&[*incarnation, *base, *next_number]);
        }
        Kept::Held { peer, number, held } => {
            out.put(&[KEPT_HELD]);
            out.put(peer.as_bytes());
            write_message(*number, held.id, held.queued_s, held.expires_s, &held.bytes, out);
        }
        Kept::End { peer, ended } => {
            out.put(&[KEPT_END]);
            out.put(peer.as_bytes());
            let EndedSend { number, id, length, queued_s, first_sent_s, ended_s, outcome } = ended;
            out.u64s(&[*number, id.incarnation, id.sequence, *length, *queued_s]);
            out.optional(*first_sent_s);
            out.u64s(&[*ended_s]);
            write_outcome(*outcome, out);
        }
    }
}

fn write_message(
    number: u64,
    id: MessageId,
    queued_s: u64,
    expires_s: Option<u64>,
    bytes: &[u8],
    out: &mut impl Sink,
) {
    out.u64s(&[number, id.incarnation, id.sequence, queued_s]);
    out.optional(expires_s);
    // A longer one than fits the field does not fit a batch either, which is refused by its length.
    out.put(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.put(bytes);
}

fn write_outcome(outcome: Outcome, out: &mut impl Sink) {
    match outcome {
        Outcome::Delivered => out.put(&[0]),
        Outcome::Rejected { reason } => {
            out.put(&[1]);
            out.put(&reason.to_le_bytes());
        }
        Outcome::Expired { hint } => out.put(&[2, hint.map_or(0, hint_number)]),
    }
}

const fn hint_number(hint: Undelivered) -> u8 {
    match hint {
        Undelivered::Offline => 1,
        Undelivered::Busy => 2,
        Undelivered::Refused => 3,
        Undelivered::TooLarge => 4,
    }
}

fn hint_of(number: u8) -> Option<Undelivered> {
    Undelivered::ALL.iter().copied().find(|hint| hint_number(*hint) == number)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn stored(&mut self) -> Result<Stored, DecodeError> {
        let [tag] = self.take()?;
        match tag {
            LOG_BEGUN..=UNSENT => Ok(Stored::Fact(self.fact(tag)?)),
            KEPT_LOG..=KEPT_END => Ok(Stored::Kept(self.kept(tag)?)),
            unknown => Err(DecodeError::Unknown(unknown)),
        }
    }

    fn fact(&mut self, tag: u8) -> Result<Entry, DecodeError> {
        let peer = DeviceId::new(self.take()?);
        Ok(match tag {
            LOG_BEGUN => Entry::LogBegun { peer, incarnation: self.u64()?, base: self.u64()? },
            QUEUED => {
                let (number, Held { id, queued_s, expires_s, bytes }) = self.message()?;
                Entry::Queued { peer, number, id, queued_s, expires_s, bytes }
            }
            ENDED => Entry::Ended {
                peer,
                number: self.u64()?,
                outcome: self.outcome()?,
                ended_s: self.u64()?,
                first_sent_s: self.optional(Self::u64)?,
            },
            TAKEN => Entry::Taken { peer, incarnation: self.u64()?, next: self.u64()? },
            AHEAD => Entry::Ahead {
                peer,
                incarnation: self.u64()?,
                sequence: self.u64()?,
                refused: self.optional(Self::u16)?,
            },
            FORGOTTEN => Entry::Forgotten { peer },
            RENAMED => Entry::Renamed { peer, to: DeviceId::new(self.take()?) },
            UNSENT => Entry::Unsent { peer, from: self.optional(Self::u64)? },
            unknown => return Err(DecodeError::Unknown(unknown)),
        })
    }

    fn kept(&mut self, tag: u8) -> Result<Kept, DecodeError> {
        let peer = DeviceId::new(self.take()?);
        Ok(match tag {
            KEPT_LOG => Kept::Log {
                peer,
                incarnation: self.u64()?,
                base: self.u64()?,
                next_number: self.u64()?,
            },
            KEPT_HELD => {
                let (number, held) = self.message()?;
                Kept::Held { peer, number, held }
            }
            KEPT_END => {
                let ended = EndedSend {
                    number: self.u64()?,
                    id: MessageId { incarnation: self.u64()?, sequence: self.u64()? },
                    length: self.u64()?,
                    queued_s: self.u64()?,
                    first_sent_s: self.optional(Self::u64)?,
                    ended_s: self.u64()?,
                    outcome: self.outcome()?,
                };
                Kept::End { peer, ended }
            }
            unknown => return Err(DecodeError::Unknown(unknown)),
        })
    }

    fn message(&mut self) -> Result<(u64, Held), DecodeError> {
        let number = self.u64()?;
        let id = MessageId { incarnation: self.u64()?, sequence: self.u64()? };
        let (queued_s, expires_s) = (self.u64()?, self.optional(Self::u64)?);
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok((number, Held { id, queued_s, expires_s, bytes: bytes.to_vec() }))
    }

    fn outcome(&mut self) -> Result<Outcome, DecodeError> {
        match self.take()? {
            [0] => Ok(Outcome::Delivered),
            [1] => Ok(Outcome::Rejected { reason: self.u16()? }),
            [2] => match self.take()? {
                [0] => Ok(Outcome::Expired { hint: None }),
                [number] => {
                    let hint = Some(hint_of(number).ok_or(DecodeError::Malformed)?);
                    Ok(Outcome::Expired { hint })
                }
            },
            _ => Err(DecodeError::Malformed),
        }
    }

    fn optional<T>(
        &mut self,
        value: fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.take()? {
            [0] => Ok(None),
            [1] => value(self).map(Some),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }
}
