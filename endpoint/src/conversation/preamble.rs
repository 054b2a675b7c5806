//! The first bytes of every stream: what it is for, whether an answer is awaited, and what it answers (annex A.5).
//!
//! `label length(1) ‖ flags(1) ‖ answers(4) ‖ label`. A conversation carries it like any other bytes; whoever opens
//! and accepts streams writes and reads it.

use std::fmt;
use std::num::NonZeroU32;

use hushwire_wire::text;

/// The longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// Labels that begin so belong to this library.
pub const LIBRARY_LABELS: &str = "hushwire/";
/// Length, flags and the number of the stream that is answered.
const HEAD_BYTES: usize = 6;
const PREAMBLE_BYTES_MAX: usize = HEAD_BYTES + LABEL_BYTES_MAX;
/// The opener awaits a stream that answers this one.
const AWAITS: u8 = 1;

/// What a stream is for: at most 64 bytes of text without characters that steer a terminal. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label(String);

/// Why a text is no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// It is longer than 64 bytes.
    #[error("a label of {0} bytes is too long: at most 64")]
    TooLong(usize),
    /// It holds control characters or marks that turn the direction of reading.
    #[error("a label may not contain control characters")]
    NotPlain,
    /// It begins with `hushwire/`.
    #[error("labels that begin with \"hushwire/\" belong to the library: choose another")]
    Reserved,
}

impl Label {
    /// Any label, the library's own included.
    ///
    /// # Errors
    /// [`LabelError::TooLong`], [`LabelError::NotPlain`].
    pub fn new(label: &str) -> Result<Self, LabelError> {
        if label.len() > LABEL_BYTES_MAX {
            return Err(LabelError::TooLong(label.len()));
        }
        if !label.chars().all(text::is_plain) {
            return Err(LabelError::NotPlain);
        }
        Ok(Self(label.to_owned()))
    }

    /// A label of an application.
    ///
    /// # Errors
    /// See [`LabelError`].
    pub fn of_application(label: &str) -> Result<Self, LabelError> {
        let label = Self::new(label)?;
        if label.is_of_library() { Err(LabelError::Reserved) } else { Ok(label) }
    }

    /// Whether it begins with `hushwire/`.
    #[must_use]
    pub fn is_of_library(&self) -> bool {
        self.0.starts_with(LIBRARY_LABELS)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands before a stream's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preamble {
    /// What the stream is for.
    pub label: Label,
    /// Its opener awaits a stream that answers it.
    pub awaits: bool,
    /// The number of the reader's own stream that this one answers.
    pub answers: Option<NonZeroU32>,
}

/// The bytes are no preamble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream without a well-formed preamble")]
pub struct MalformedPreamble;

impl Preamble {
    /// Its only encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let label = self.label.0.as_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + label.len());
        bytes.push(label.len() as u8);
        bytes.push(if self.awaits { AWAITS } else { 0 });
        bytes.extend_from_slice(&self.answers.map_or(0, NonZeroU32::get).to_le_bytes());
        bytes.extend_from_slice(label);
        bytes
    }
}

/// Puts a preamble together from whatever pieces of a stream there are, and takes not one byte more.
#[derive(Clone)]
pub struct PreambleReader {
    bytes: [u8; PREAMBLE_BYTES_MAX],
    filled: usize,
}

impl Default for PreambleReader {
    fn default() -> Self {
        Self { bytes: [0; PREAMBLE_BYTES_MAX], filled: 0 }
    }
}

impl fmt::Debug for PreambleReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreambleReader({} bytes)", self.filled)
    }
}

impl PreambleReader {
    /// Where the next bytes belong; empty once the preamble is whole.
    ///
    /// # Errors
    /// [`MalformedPreamble`]: what has come cannot become one.
    pub fn wanted(&mut self) -> Result<&mut [u8], MalformedPreamble> {
        let end = if self.filled < HEAD_BYTES { HEAD_BYTES } else { self.length()? };
        Ok(&mut self.bytes[self.filled..end])
    }

    /// So many of the wanted bytes have been filled in.
    pub fn advance(&mut self, count: usize) {
        self.filled += count;
        assert!(self.filled <= PREAMBLE_BYTES_MAX, "no more than was wanted");
    }

    fn length(&self) -> Result<usize, MalformedPreamble> {
        let label = usize::from(self.bytes[0]);
        if label <= LABEL_BYTES_MAX && self.bytes[1] & !AWAITS == 0 {
            Ok(HEAD_BYTES + label)
        } else {
            Err(MalformedPreamble)
        }
    }

    /// The whole preamble.
    ///
    /// # Errors
    /// [`MalformedPreamble`], also where bytes are still wanted.
    pub fn finish(&self) -> Result<Preamble, MalformedPreamble> {
        if self.filled < HEAD_BYTES || self.filled != self.length()? {
            return Err(MalformedPreamble);
        }
        let label = str::from_utf8(&self.bytes[HEAD_BYTES..self.filled]);
        let label = label.ok().and_then(|label| Label::new(label).ok()).ok_or(MalformedPreamble)?;
        let [_, flags, a, b, c, d, ..] = self.bytes;
        let answers = NonZeroU32::new(u32::from_le_bytes([a, b, c, d]));
        Ok(Preamble { label, awaits: flags & AWAITS != 0, answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Result<(Preamble, usize), MalformedPreamble> {
        let (mut reader, mut at) = (PreambleReader::default(), 0);
        loop {
            let wanted = reader.wanted()?;
            if wanted.is_empty() {
                return Ok((reader.finish()?, at));
            }
            let count = wanted.len().min(step).min(bytes.len() - at);
            if count == 0 {
                return Err(MalformedPreamble);
            }
            wanted[..count].copy_from_slice(&bytes[at..at + count]);
            reader.advance(count);
            at += count;
        }
    }

    #[test]
    fn a_preamble_is_read_back_in_pieces_and_nothing_behind_it() {
        for (label, awaits, answers) in [
            ("", false, 0),
            ("chat", true, 0),
            (&"x".repeat(64), false, 7),
            ("Zoë", true, u32::MAX),
        ] {
            let label = Label::new(label).expect("a label");
            let preamble = Preamble { label, awaits, answers: NonZeroU32::new(answers) };
            let mut bytes = preamble.encode();
            let length = bytes.len();
            bytes.extend_from_slice(b"content");
            for step in [1, 5, 100] {
                assert_eq!(read(&bytes, step), Ok((preamble.clone(), length)));
            }
        }
    }

    #[test]
    fn what_is_no_preamble_is_refused() {
        let long = [&[65, 0, 0, 0, 0, 0][..], &[b'x'; 65]].concat();
        for (bytes, why) in [
            (&b""[..], "nothing"),
            (&[0, 0, 0, 0, 0], "cut in the head"),
            (&[2, 0, 0, 0, 0, 0, b'x'], "cut in the label"),
            (&[255, 0, 0, 0, 0, 0], "length"),
            (&long, "one byte too long"),
            (&[0, 2, 0, 0, 0, 0], "an unknown flag"),
            (&[1, 0, 0, 0, 0, 0, 0xff], "no UTF-8"),
            (&[1, 0, 0, 0, 0, 0, 0x1b], "steers a terminal"),
        ] {
            assert_eq!(read(bytes, 100), Err(MalformedPreamble), "{why}");
        }
    }

    #[test]
    fn labels_of_applications() {
        let check = |label: &str, expect| {
            assert_eq!(Label::of_application(label).map(|_| ()), expect, "{label:?}");
        };
        check("", Ok(()));
        check("hushwire", Ok(()));
        check("hushwire/transfer/1", Err(LabelError::Reserved));
        check(&"x".repeat(65), Err(LabelError::TooLong(65)));
        check("a\nb", Err(LabelError::NotPlain));
    }
}
