//! What stands inside a frame cell (annex A.5): typed frames, read without allocation, written into a buffer.
//!
//! Reading is strict: a reserved byte, an impossible length or a contradiction between fields makes the whole cell
//! the peer's fault. Several frames share a cell; PADDING takes the rest.

mod decode;
mod encode;

pub use decode::{FrameError, Frames};
pub use encode::{FrameWriter, Full};

use super::limits::ACK_RANGES_MAX;

/// One frame of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// 0x00: the rest of the content, all zero.
    Padding {
        /// Bytes behind the type.
        length: usize,
    },
    /// 0x10.
    Data(Data<'a>),
    /// 0x11.
    Stream(Stream<'a>),
    /// 0x12.
    Ack(Ack),
    /// 0x13: opens a conversation's log on this session.
    Open {
        /// Number of the conversation on this session, chosen by its opener; 0 is cover.
        slot: u16,
        /// The conversation.
        conversation: [u8; 16],
        /// Which run of its log.
        incarnation: u64,
        /// First message still in the outbox.
        first_held: u64,
        /// Sequence of the next message.
        next: u64,
    },
    /// 0x14: answers OPEN.
    State {
        /// The slot of the OPEN.
        slot: u16,
        /// The incarnation known here.
        incarnation: u64,
        /// Sequence expected next.
        next_expected: u64,
    },
    /// 0x15: messages that expired and never come.
    Gap {
        /// The slot.
        slot: u16,
        /// First missing sequence.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// 0x16: the receiver refuses a message.
    Reject {
        /// The slot.
        slot: u16,
        /// The message.
        sequence: u64,
        /// Why.
        reason: u16,
    },
    /// 0x17: a stream is abandoned.
    Reset {
        /// Why.
        reason: u16,
        /// The stream.
        stream: u32,
    },
    /// 0x18: how far the peer may send.
    Window {
        /// The stream; 0 is the session.
        stream: u32,
        /// Offset up to which bytes may be sent.
        limit: u64,
    },
    /// 0x19: a message of the handshake that renews the session.
    Handshake {
        /// The message.
        message: &'a [u8],
    },
    /// 0x1A: the session ends.
    Close {
        /// Why.
        reason: u16,
    },
}

/// 0x10: a fragment of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The slot; 0 is cover.
    pub slot: u16,
    /// The message's sequence, shared by its fragments.
    pub sequence: u64,
    /// Where the fragment begins in the message.
    pub offset: u32,
    /// Length of the message.
    pub total: u32,
    /// When the message expires, unix seconds.
    pub expiry_s: Option<u64>,
    /// The fragment. It is the last one where it reaches `total`, which is what bit 0 of the flags repeats.
    pub bytes: &'a [u8],
}

/// 0x11: a piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream<'a> {
    /// The stream; even numbers are the initiator's.
    pub stream: u32,
    /// Where the piece begins.
    pub offset: u64,
    /// The stream ends behind it.
    pub fin: bool,
    /// The piece.
    pub bytes: &'a [u8],
}

/// 0x12: what has been received of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The slot.
    pub slot: u16,
    /// Everything below was taken by the application.
    pub next: u64,
    /// What was received beyond, ascending and apart.
    pub ranges: AckRanges,
}

/// A run of received messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckRange {
    /// Its first, counted from [`Ack::next`].
    pub from_next: u32,
    /// How many; at least 1.
    pub count: u32,
}

/// At most 15 ranges, ascending, none overlapping another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckRanges {
    ranges: [AckRange; ACK_RANGES_MAX],
    length: u8,
}

impl AckRanges {
    /// Adds a range behind the others. `None` where there are 15 already, or the range is empty, overlaps the last
    /// one or runs past 2^32 messages.
    pub fn push(&mut self, range: AckRange) -> Option<()> {
        let end = |range: &AckRange| range.from_next.checked_add(range.count);
        let first = self.as_slice().last().map_or(Some(0), end)?;
        if range.count == 0 || range.from_next < first || end(&range).is_none() {
            return None;
        }
        *self.ranges.get_mut(usize::from(self.length))? = range;
        self.length += 1;
        Some(())
    }

    /// The ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[AckRange] {
        &self.ranges[..usize::from(self.length)]
    }
}

/// Numbers on the wire; never reused.
const PADDING: u8 = 0x00;
const DATA: u8 = 0x10;
const STREAM: u8 = 0x11;
const ACK: u8 = 0x12;
const OPEN: u8 = 0x13;
const STATE: u8 = 0x14;
const GAP: u8 = 0x15;
const REJECT: u8 = 0x16;
const RESET: u8 = 0x17;
const WINDOW: u8 = 0x18;
const HANDSHAKE: u8 = 0x19;
const CLOSE: u8 = 0x1A;

/// Bits of DATA's flags.
const LAST: u8 = 1;
const EXPIRES: u8 = 2;
/// Bit of STREAM's flags.
const FIN: u8 = 1;

/// Bytes of a DATA frame in front of its fragment, without expiry.
pub const DATA_HEADER_LEN: usize = 24;
/// What an expiry adds.
pub const DATA_EXPIRY_LEN: usize = 8;
/// Bytes of a STREAM frame in front of its piece.
pub const STREAM_HEADER_LEN: usize = 16;
/// Bytes of a HANDSHAKE frame in front of its message.
pub const HANDSHAKE_HEADER_LEN: usize = 4;
