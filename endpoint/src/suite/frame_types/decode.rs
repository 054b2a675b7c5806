//! Bytes to frames.

use super::{
    ACK, Ack, AckRange, AckRanges, CLOSE, DATA, Data, EXPIRES, FIN, Frame, GAP, HANDSHAKE, LAST,
    OPEN, PADDING, REJECT, RESET, STATE, STREAM, Stream, WINDOW,
};

/// Why a content is not a sequence of frames: the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type this version does not know; answered with CLOSE `unsupported`.
    #[error("the peer sent a frame of the unknown type {0:#04x}")]
    Unknown(u8),
    /// A frame runs past the end of its cell.
    #[error("the peer sent a frame of type {0:#04x} that is cut short")]
    Truncated(u8),
    /// A reserved byte is set, or fields contradict each other.
    #[error("the peer sent a frame of type {0:#04x} with an impossible field")]
    Field(u8),
}

/// Reads the frames of a cell one after the other; ends behind the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Reads `content`, as a session opened it.
    #[must_use]
    pub const fn new(content: &'a [u8]) -> Self {
        Self { rest: content }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        let mut cut = Cut { kind, rest };
        let frame = frame(&mut cut);
        self.rest = if frame.is_ok() { cut.rest } else { &[] };
        Some(frame)
    }
}

/// Reads the fields of one frame off the front.
struct Cut<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Cut<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or(FrameError::Truncated(self.kind))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) =
            self.rest.split_first_chunk::<N>().ok_or(FrameError::Truncated(self.kind))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    fn zeros<const N: usize>(&mut self) -> Result<(), FrameError> {
        let reserved = self.array::<N>()?;
        self.need(reserved == [0; N])
    }

    /// The flags, none but `known` set.
    fn flags(&mut self, known: u8) -> Result<u8, FrameError> {
        let flags = self.u8()?;
        self.need(flags & !known == 0)?;
        Ok(flags)
    }

    fn need(&self, holds: bool) -> Result<(), FrameError> {
        if holds { Ok(()) } else { Err(FrameError::Field(self.kind)) }
    }
}

fn frame<'a>(cut: &mut Cut<'a>) -> Result<Frame<'a>, FrameError> {
    match cut.kind {
        PADDING => padding(cut),
        DATA => data(cut),
        STREAM => stream(cut),
        ACK => ack(cut),
        OPEN => {
            cut.zeros::<1>()?;
            Ok(Frame::Open {
                slot: cut.u16()?,
                conversation: cut.array()?,
                incarnation: cut.u64()?,
                first_held: cut.u64()?,
                next: cut.u64()?,
            })
        }
        STATE => {
            cut.zeros::<1>()?;
            let slot = cut.u16()?;
            Ok(Frame::State { slot, incarnation: cut.u64()?, next_expected: cut.u64()? })
        }
        GAP => {
            cut.zeros::<1>()?;
            let (slot, from, to) = (cut.u16()?, cut.u64()?, cut.u64()?);
            cut.need(from < to)?;
            Ok(Frame::Gap { slot, from, to })
        }
        REJECT => {
            cut.zeros::<1>()?;
            Ok(Frame::Reject { slot: cut.u16()?, sequence: cut.u64()?, reason: cut.u16()? })
        }
        RESET => {
            cut.zeros::<1>()?;
            Ok(Frame::Reset { reason: cut.u16()?, stream: cut.u32()? })
        }
        WINDOW => {
            cut.zeros::<3>()?;
            Ok(Frame::Window { stream: cut.u32()?, limit: cut.u64()? })
        }
        HANDSHAKE => {
            cut.zeros::<1>()?;
            let length = usize::from(cut.u16()?);
            Ok(Frame::Handshake { message: cut.bytes(length)? })
        }
        CLOSE => {
            cut.zeros::<1>()?;
            Ok(Frame::Close { reason: cut.u16()? })
        }
        unknown => Err(FrameError::Unknown(unknown)),
    }
}

fn padding<'a>(cut: &mut Cut<'a>) -> Result<Frame<'a>, FrameError> {
    let length = cut.rest.len();
    let zeros = cut.bytes(length)?;
    cut.need(zeros.iter().all(|&byte| byte == 0))?;
    Ok(Frame::Padding { length })
}

fn data<'a>(cut: &mut Cut<'a>) -> Result<Frame<'a>, FrameError> {
    let flags = cut.flags(LAST | EXPIRES)?;
    let slot = cut.u16()?;
    let length = cut.u16()?;
    let (sequence, offset, total) = (cut.u64()?, cut.u32()?, cut.u32()?);
    cut.zeros::<2>()?;
    let expiry_s = if flags & EXPIRES == 0 { None } else { Some(cut.u64()?) };
    let end = offset.checked_add(u32::from(length)).filter(|end| *end <= total);
    let last = end == Some(total);
    cut.need(end.is_some() && last == (flags & LAST != 0) && (length > 0 || total == 0))?;
    let bytes = cut.bytes(usize::from(length))?;
    Ok(Frame::Data(Data { slot, sequence, offset, total, expiry_s, bytes }))
}

fn stream<'a>(cut: &mut Cut<'a>) -> Result<Frame<'a>, FrameError> {
    let fin = cut.flags(FIN)? & FIN != 0;
    let length = cut.u16()?;
    let (stream, offset) = (cut.u32()?, cut.u64()?);
    cut.need(offset.checked_add(u64::from(length)).is_some())?;
    let bytes = cut.bytes(usize::from(length))?;
    Ok(Frame::Stream(Stream { stream, offset, fin, bytes }))
}

fn ack<'a>(cut: &mut Cut<'a>) -> Result<Frame<'a>, FrameError> {
    let count = cut.u8()?;
    let (slot, next) = (cut.u16()?, cut.u64()?);
    let mut ranges = AckRanges::default();
    for _ in 0..count {
        let range = AckRange { from_next: cut.u32()?, count: cut.u32()? };
        let pushed = ranges.push(range).is_some();
        cut.need(pushed)?;
    }
    Ok(Frame::Ack(Ack { slot, next, ranges }))
}
