//! Frames to bytes.

use super::{
    ACK, CLOSE, DATA, DATA_EXPIRY_LEN, DATA_HEADER_LEN, EXPIRES, FIN, Frame, GAP, HANDSHAKE,
    HANDSHAKE_HEADER_LEN, LAST, OPEN, PADDING, REJECT, RESET, STATE, STREAM, STREAM_HEADER_LEN,
    WINDOW,
};

/// The frame does not fit what is left of the cell. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {needed} bytes does not fit the {left} that are left")]
pub struct Full {
    /// Bytes of the frame.
    pub needed: usize,
    /// Bytes left.
    pub left: usize,
}

/// Writes frames one after the other into a buffer, such as the part of a body behind
/// [`FRAMES_OFFSET`](crate::suite::frames::FRAMES_OFFSET).
#[derive(Debug)]
pub struct FrameWriter<'b> {
    buffer: &'b mut [u8],
    written: usize,
}

impl<'b> FrameWriter<'b> {
    /// Writes into `buffer` from its beginning.
    #[must_use]
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, written: 0 }
    }

    /// Bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.written
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Bytes left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Writes a frame. PADDING must be the last one.
    ///
    /// # Errors
    /// [`Full`], with nothing written.
    ///
    /// # Panics
    /// Where the frame is one that [`Frames`](super::Frames) would refuse for its fields (a fragment longer than
    /// 65 535 bytes or beyond its total, an empty gap): our own fault, and better found here than by the peer.
    pub fn push(&mut self, frame: &Frame<'_>) -> Result<(), Full> {
        let needed = frame.encoded_len();
        let left = self.left();
        if needed > left {
            return Err(Full { needed, left });
        }
        let mut out = Out { rest: &mut self.buffer[self.written..][..needed] };
        write(frame, &mut out);
        assert!(out.rest.is_empty(), "a frame is as long as it says");
        self.written += needed;
        Ok(())
    }
}

impl Frame<'_> {
    /// Bytes this frame takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Padding { length } => 1 + length,
            Self::Data(data) => {
                let expiry = if data.expiry_s.is_some() { DATA_EXPIRY_LEN } else { 0 };
                DATA_HEADER_LEN + expiry + data.bytes.len()
            }
            Self::Stream(stream) => STREAM_HEADER_LEN + stream.bytes.len(),
            Self::Ack(ack) => 12 + 8 * ack.ranges.as_slice().len(),
            Self::Open { .. } => 44,
            Self::State { .. } | Self::Gap { .. } => 20,
            Self::Reject { .. } => 14,
            Self::Reset { .. } => 8,
            Self::Window { .. } => 16,
            Self::Handshake { message } => HANDSHAKE_HEADER_LEN + message.len(),
            Self::Close { .. } => 4,
        }
    }
}

struct Out<'b> {
    rest: &'b mut [u8],
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        let (head, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.rest = rest;
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn length(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(u16::try_from(bytes.len()).expect("what a frame carries is shorter than 64 KiB"))
    }
}

fn write(frame: &Frame<'_>, out: &mut Out<'_>) {
    match frame {
        Frame::Padding { .. } => {
            out.put(&[PADDING]);
            std::mem::take(&mut out.rest).fill(0);
        }
        Frame::Data(data) => {
            let end = u64::from(data.offset) + data.bytes.len() as u64;
            assert!(end <= u64::from(data.total), "a fragment lies inside its message");
            assert!(!data.bytes.is_empty() || data.total == 0, "a fragment carries something");
            let last = if end == u64::from(data.total) { LAST } else { 0 };
            let expires = if data.expiry_s.is_some() { EXPIRES } else { 0 };
            out.put(&[DATA, last | expires]).u16(data.slot).length(data.bytes);
            out.u64(data.sequence).u32(data.offset).u32(data.total).put(&[0; 2]);
            if let Some(expiry) = data.expiry_s {
                out.u64(expiry);
            }
            out.put(data.bytes);
        }
        Frame::Stream(stream) => {
            let end = stream.offset.checked_add(stream.bytes.len() as u64);
            assert!(end.is_some(), "a stream is shorter than 2^64 bytes");
            out.put(&[STREAM, if stream.fin { FIN } else { 0 }]).length(stream.bytes);
            out.u32(stream.stream).u64(stream.offset).put(stream.bytes);
        }
        Frame::Ack(ack) => {
            let ranges = ack.ranges.as_slice();
            out.put(&[ACK, ranges.len() as u8]).u16(ack.slot).u64(ack.next);
            for range in ranges {
                out.u32(range.from_next).u32(range.count);
            }
        }
        Frame::Open { slot, conversation, incarnation, first_held, next } => {
            out.put(&[OPEN, 0]).u16(*slot).put(conversation);
            out.u64(*incarnation).u64(*first_held).u64(*next);
        }
        Frame::State { slot, incarnation, next_expected } => {
            out.put(&[STATE, 0]).u16(*slot).u64(*incarnation).u64(*next_expected);
        }
        Frame::Gap { slot, from, to } => {
            assert!(from < to, "a gap holds something");
            out.put(&[GAP, 0]).u16(*slot).u64(*from).u64(*to);
        }
        Frame::Reject { slot, sequence, reason } => {
            out.put(&[REJECT, 0]).u16(*slot).u64(*sequence).u16(*reason);
        }
        Frame::Reset { reason, stream } => {
            out.put(&[RESET, 0]).u16(*reason).u32(*stream);
        }
        Frame::Window { stream, limit } => {
            out.put(&[WINDOW, 0, 0, 0]).u32(*stream).u64(*limit);
        }
        Frame::Handshake { message } => {
            out.put(&[HANDSHAKE, 0]).length(message).put(message);
        }
        Frame::Close { reason } => {
            out.put(&[CLOSE, 0]).u16(*reason);
        }
    }
}
