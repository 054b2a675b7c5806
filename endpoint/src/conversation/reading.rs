//! The reading end of a stream: pieces put in order, handed out as they are asked for.

use std::collections::{BTreeMap, VecDeque};

use super::inbox::Violation;
use super::limits::{PIECES_MAX, STREAM_STEP_BYTES, STREAM_WINDOW_BYTES};
use crate::suite::frame_types::Stream;

/// Pieces are joined up to this.
const JOINED_BYTES_MAX: usize = 8 * 1024;

/// What reading found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// The end that the writer meant.
    End,
    /// Nothing yet.
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Reading {
    /// In order, from `consumed` on; of the first, `taken` bytes have been consumed.
    ready: VecDeque<Vec<u8>>,
    taken: usize,
    consumed: u64,
    /// Everything below has come.
    arrived: u64,
    /// What came early: where each piece begins.
    early: BTreeMap<u64, Vec<u8>>,
    early_bytes: usize,
    end: Option<u64>,
    /// The application has seen the end.
    ended: bool,
    /// The limit told last.
    told: u64,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self { told: STREAM_WINDOW_BYTES, ..Self::default() }
    }

    /// A piece has come; `true` where there is more to read.
    pub(super) fn on_piece(&mut self, piece: &Stream<'_>) -> Result<bool, Violation> {
        let end = piece.offset.checked_add(piece.bytes.len() as u64).ok_or(Violation)?;
        let beyond = end > self.consumed.saturating_add(STREAM_WINDOW_BYTES);
        let behind_end = self.end.is_some_and(|last| end > last || (piece.fin && end != last));
        let early_end = piece.fin && (end < self.arrived || self.early_end() > end);
        if beyond || behind_end || early_end {
            return Err(Violation);
        }
        let before = (self.arrived, self.end);
        if piece.fin {
            self.end = Some(end);
        }
        if piece.offset <= self.arrived {
            self.append(piece.offset, piece.bytes);
            self.join();
        } else if !piece.bytes.is_empty() {
            self.keep(piece.offset, piece.bytes);
        }
        Ok(before != (self.arrived, self.end))
    }

    /// Keeps a piece that came early, if there is room: pieces that were cut differently when they were sent again
    /// may overlap.
    fn keep(&mut self, offset: u64, bytes: &[u8]) {
        let known = self.early.get(&offset).map_or(0, Vec::len);
        let held = self.early_bytes - known + bytes.len();
        if bytes.len() > known
            && held as u64 <= STREAM_WINDOW_BYTES
            && self.early.len() < PIECES_MAX
        {
            self.early_bytes = held;
            self.early.insert(offset, bytes.to_vec());
        }
    }

    fn early_end(&self) -> u64 {
        self.early.last_key_value().map_or(0, |(offset, bytes)| offset + bytes.len() as u64)
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) {
        let known = usize::try_from(self.arrived - offset).unwrap_or(usize::MAX);
        if let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) {
            self.arrived += fresh.len() as u64;
            match self.ready.back_mut() {
                // Many small pieces cost no more memory than few large ones.
                Some(last) if last.len() + fresh.len() <= JOINED_BYTES_MAX => {
                    last.extend_from_slice(fresh);
                }
                Some(_) | None => self.ready.push_back(fresh.to_vec()),
            }
        }
    }

    fn join(&mut self) {
        while let Some(entry) = self.early.first_entry()
            && *entry.key() <= self.arrived
        {
            let (offset, bytes) = entry.remove_entry();
            self.early_bytes -= bytes.len();
            self.append(offset, &bytes);
        }
    }

    /// Copies what is ready. The end is reported once everything before it was read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let mut copied = 0;
        while copied < buffer.len()
            && let Some(first) = self.ready.front()
        {
            let rest = &first[self.taken..];
            let length = rest.len().min(buffer.len() - copied);
            buffer[copied..copied + length].copy_from_slice(&rest[..length]);
            copied += length;
            self.taken += length;
            if self.taken == first.len() {
                self.ready.pop_front();
                self.taken = 0;
            }
        }
        self.consumed += copied as u64;
        if copied > 0 || buffer.is_empty() {
            Read::Bytes(copied)
        } else if self.end == Some(self.consumed) {
            self.ended = true;
            Read::End
        } else {
            Read::Nothing
        }
    }

    /// Whether the application has seen the end.
    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// The limit to tell: what was consumed, the end counting as one byte, and the window.
    pub(super) fn limit(&self) -> u64 {
        self.consumed + u64::from(self.ended) + STREAM_WINDOW_BYTES
    }

    /// Whether the limit has changed since it was told.
    pub(super) fn has_news(&self) -> bool {
        self.limit() != self.told
    }

    /// Whether it has changed so much that it must be told at once.
    pub(super) fn is_urgent(&self) -> bool {
        self.limit() - self.told >= STREAM_STEP_BYTES || self.ended
    }

    pub(super) fn told(&mut self) {
        self.told = self.limit();
    }

    /// What was told may have been lost.
    pub(super) fn tell_again(&mut self) {
        if self.limit() != STREAM_WINDOW_BYTES {
            self.told = self.limit() - 1;
        }
    }
}
