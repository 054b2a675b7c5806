//! Going through a file from its beginning, and telling an end that was never written from damage.
//!
//! A crash while a record is written leaves less than the record, or, where the system had made the file longer before
//! the bytes were on the disk, zeros in its place. This is a **torn tail**: nobody was told that it is there. All else
//! that does not open is damage. Ciphertext has no sector of zeros, so a bit that changed later is not taken for a tear.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zeroize::Zeroizing;

use super::codec::{DecodeError, Stored, decode};
use super::limits::COMPACT_BATCH_BYTES;
use super::record::{Chain, FileKey, HEAD_LEN, HEADER_LEN, HeaderError, TAG_LEN, read_header};
use crate::suite::keys::StorageKey;

/// What a disk writes at once, or not at all; larger ones are multiples of it.
const SECTOR_BYTES: u64 = 512;
const ZEROS_STEP_BYTES: u64 = 64 << 10;

/// Bytes with a place.
pub(super) trait Source {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for File {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, at)
    }
}

impl Source for &[u8] {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let from = from.and_then(|from| from.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a file cannot be read to its end.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The system says why.
    Io(io::Error),
    /// The header.
    Header(HeaderError),
    /// A record was not what was written; it begins here.
    Damaged(u64),
    /// An entry of a kind that this version does not know.
    Unknown(u8),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where an entry stands: its record in the file, and the entry in the plaintext of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) record: u64,
    pub(super) offset: u32,
}

/// How far a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Behind the last record.
    pub(super) position: u64,
    /// What the next record depends on.
    pub(super) chain: Chain,
}

/// Reads the header of a file of `length` bytes.
pub(super) fn open_header(
    source: &impl Source,
    length: u64,
    key: &StorageKey,
) -> Result<FileKey, ReadError> {
    let mut header = [0; HEADER_LEN];
    let there = usize::try_from(length).unwrap_or(HEADER_LEN).min(HEADER_LEN);
    source.read_exact_at(&mut header[..there], 0)?;
    read_header(&header[..there], key).map_err(ReadError::Header)
}

/// Hands every entry of a file of `length` bytes to `each`, in their order, and says where a torn tail, or nothing,
/// begins.
pub(super) fn replay(
    source: &impl Source,
    length: u64,
    key: &FileKey,
    mut each: impl FnMut(Place, Stored) -> Result<(), ReadError>,
) -> Result<End, ReadError> {
    let mut records = Records {
        source,
        key,
        length,
        end: End { position: HEADER_LEN as u64, chain: key.first_chain() },
        buffer: Zeroizing::default(),
    };
    while let Some((record, batch)) = records.next()? {
        let mut rest = batch;
        loop {
            let offset = u32::try_from(batch.len() - rest.len()).expect("a batch has a limit");
            let stored = decode(&mut rest).map_err(|error| match error {
                DecodeError::Malformed => ReadError::Damaged(record),
                DecodeError::Unknown(tag) => ReadError::Unknown(tag),
            })?;
            each(Place { record, offset }, stored)?;
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(records.end)
}

struct Records<'a, S> {
    source: &'a S,
    key: &'a FileKey,
    length: u64,
    end: End,
    buffer: Zeroizing<Vec<u8>>,
}

impl<S: Source> Records<'_, S> {
    /// The next record's position and plaintext; `None` at the end or at a torn tail.
    fn next(&mut self) -> Result<Option<(u64, &[u8])>, ReadError> {
        let position = self.end.position;
        let body = position + HEAD_LEN as u64;
        if body > self.length {
            return Ok(None);
        }
        let mut bytes = [0; HEAD_LEN];
        self.source.read_exact_at(&mut bytes, position)?;
        let Some(head) = self.key.open_head(position, &bytes) else {
            let torn = self.head_is_torn(position, &bytes)?;
            return if torn { Ok(None) } else { Err(ReadError::Damaged(position)) };
        };
        let end = body + head.length as u64;
        if end > self.length {
            return Ok(None);
        }
        if self.buffer.capacity() < head.length {
            // The old one is wiped, which growing it would not do.
            self.buffer = Zeroizing::new(Vec::with_capacity(head.length.max(COMPACT_BATCH_BYTES)));
        }
        self.buffer.resize(head.length, 0);
        self.source.read_exact_at(&mut self.buffer, body)?;
        let opened = self.key.open(position, &mut self.end.chain, &head, &mut self.buffer);
        if opened.is_err() {
            let torn = end == self.length && self.body_is_torn(body)?;
            return if torn { Ok(None) } else { Err(ReadError::Damaged(position)) };
        }
        self.end.position = end;
        Ok(Some((position, &self.buffer[..head.length - TAG_LEN])))
    }

    /// Whether, from the beginning of a sector in the head on, there is nothing but zeros.
    fn head_is_torn(&self, position: u64, head: &[u8; HEAD_LEN]) -> io::Result<bool> {
        let written = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let zeros = match written {
            0 => position,
            written => (position + written as u64).next_multiple_of(SECTOR_BYTES),
        };
        if zeros >= position + HEAD_LEN as u64 {
            return Ok(false);
        }
        self.any_piece(zeros, ZEROS_STEP_BYTES, |piece| piece.iter().any(|byte| *byte != 0))
            .map(|written| !written)
    }

    /// Whether a sector of the last record, or its part of one, was never written.
    fn body_is_torn(&self, body: u64) -> io::Result<bool> {
        self.any_piece(body, SECTOR_BYTES, |piece| piece.iter().all(|byte| *byte == 0))
    }

    /// Whether `is` holds for any piece from `from` to the end, cut at multiples of `step` bytes.
    fn any_piece(&self, from: u64, step: u64, is: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        let mut buffer = vec![0; step as usize];
        let mut at = from;
        while at < self.length {
            let end = (at + 1).next_multiple_of(step).min(self.length);
            let piece = &mut buffer[..(end - at) as usize];
            self.source.read_exact_at(piece, at)?;
            if is(piece) {
                return Ok(true);
            }
            at = end;
        }
        Ok(false)
    }
}
