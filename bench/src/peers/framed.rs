//! A device of any peer: its protocol makes frames, which records carry in whatever pieces.

use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail, ensure};

use crate::clock::Clock;
use crate::limits::{
    CONNECT_STEP_MAX, INTRODUCTION_BYTES_MAX, OPEN_ALWAYS_BYTES_MAX, OPEN_ONE_IN, OWED_BYTES_MAX,
    READ_BYTES,
};
use crate::load::dialect::{Message, News, Speaker};
use crate::load::records::{APPLICATION_DATA, control};
use crate::load::tls::{Records, Session};

/// Bytes at the front of a message in which its number stands.
const NUMBER_LEN: usize = 8;

/// A frame as a run sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A message from the other device of the pair.
    Message(&'a [u8]),
    /// Something to be answered with these bytes.
    Question(Vec<u8>),
    /// Something that a run may pass over.
    Other,
}

/// What a peer's protocol is to a run: messages to frames, and frames to messages.
pub(crate) trait Protocol: Send {
    /// Appends the frame of `message` to the other device of the pair.
    fn say(&self, message: &[u8], plain: &mut Vec<u8>);

    /// The frame at the front of `bytes`, and its length, if all of it is there.
    ///
    /// Fails on a frame that is wrong, or longer than any that may come: what waits for the rest of a
    /// frame is bounded by that.
    fn hear<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, Frame<'a>)>>;
}

/// A connected device.
#[derive(Debug)]
pub(crate) struct FramedDevice<P> {
    records: Records,
    inbound: Inbound<P>,
}

/// The half of a device that hears.
#[derive(Debug)]
struct Inbound<P> {
    protocol: P,
    /// What came of a frame that is not whole.
    partial: Vec<u8>,
    /// Answers that were not yet sent.
    owed: Vec<u8>,
    /// The number of the next message to arrive.
    expected: u64,
}

impl<P: Protocol> FramedDevice<P> {
    /// A device that has introduced itself.
    pub(super) fn new(introduction: Introduction, protocol: P) -> Result<Self> {
        let Introduction { session, heard, .. } = introduction;
        ensure!(heard.is_empty(), "the server said more than it was asked");
        Ok(Self { records: session.into_records()?, inbound: Inbound::new(protocol) })
    }
}

impl<P: Protocol> Speaker for FramedDevice<P> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.records.socket.as_fd()
    }

    fn seal(
        &mut self,
        message: &mut Message,
        numbers: Range<u64>,
        output: &mut Vec<u8>,
    ) -> Result<()> {
        let Message { bytes, frames, .. } = message;
        frames.clear();
        frames.append(&mut self.inbound.owed);
        for number in numbers {
            bytes[..NUMBER_LEN].copy_from_slice(&number.to_be_bytes());
            self.inbound.protocol.say(bytes, frames);
        }
        self.records.sealing.seal(frames, output)
    }

    fn record(&mut self, record: &mut [u8], message: &Message, news: &mut News) -> Result<()> {
        match self.records.opening.open(record)? {
            (APPLICATION_DATA, plain) => self.inbound.take(plain, &message.bytes, news),
            (kind, content) => control(kind, content),
        }
    }

    fn owes(&self) -> bool {
        !self.inbound.owed.is_empty()
    }
}

impl<P: Protocol> Inbound<P> {
    const fn new(protocol: P) -> Self {
        Self { protocol, partial: Vec::new(), owed: Vec::new(), expected: 1 }
    }

    /// Takes the next bytes of the stream.
    fn take(&mut self, plain: &[u8], message: &[u8], news: &mut News) -> Result<()> {
        if self.partial.is_empty() {
            let taken = self.frames(plain, message, news)?;
            self.partial.extend_from_slice(&plain[taken..]);
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(plain);
        let taken = self.frames(&bytes, message, news)?;
        bytes.drain(..taken);
        self.partial = bytes;
        Ok(())
    }

    /// Takes the whole frames at the front of `bytes`, and returns their length.
    fn frames(&mut self, bytes: &[u8], message: &[u8], news: &mut News) -> Result<usize> {
        let mut at = 0;
        while let Some((length, frame)) = self.protocol.hear(&bytes[at..])? {
            match frame {
                Frame::Message(came) => {
                    check(came, self.expected, message)?;
                    self.expected += 1;
                    news.arrive(message.len());
                }
                Frame::Question(answer) => {
                    self.owed.extend_from_slice(&answer);
                    ensure!(self.owed.len() <= OWED_BYTES_MAX, "the server asks without end");
                }
                Frame::Other => {}
            }
            at += length;
        }
        Ok(at)
    }
}

/// Compares what came with the message that is due.
fn check(came: &[u8], due: u64, message: &[u8]) -> Result<()> {
    ensure!(came.len() == message.len(), "a message of another size arrived");
    let (number, body) = came.split_first_chunk().context("a message without a number")?;
    let number = u64::from_be_bytes(*number);
    ensure!(number == due, "message {number} came where {due} was due");
    let compared = came.len() <= OPEN_ALWAYS_BYTES_MAX || number.is_multiple_of(OPEN_ONE_IN);
    ensure!(!compared || body == &message[NUMBER_LEN..], "a message's body was changed on its way");
    Ok(())
}

/// A connection over which a device introduces itself.
#[derive(Debug)]
pub(crate) struct Introduction {
    session: Session,
    /// What came and is not yet used.
    heard: Vec<u8>,
    clock: Clock,
}

impl Introduction {
    pub(super) fn new(session: Session) -> Self {
        Self { session, heard: Vec::new(), clock: Clock::start() }
    }

    pub(super) const fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.session.send(bytes)
    }

    /// Waits for what `cut` can cut off the front of what came, and tell its length.
    pub(super) fn hear<T>(
        &mut self,
        cut: impl Fn(&[u8]) -> Result<Option<(usize, T)>>,
    ) -> Result<T> {
        let mut room = [0; READ_BYTES / 16];
        loop {
            if let Some((length, found)) = cut(&self.heard)? {
                self.heard.drain(..length);
                return Ok(found);
            }
            let late = self.clock.now_ns() > CONNECT_STEP_MAX.as_nanos() as u64;
            if late || self.heard.len() > INTRODUCTION_BYTES_MAX {
                bail!("the server's introduction has no end");
            }
            let count = self.session.read(&mut room)?;
            self.heard.extend_from_slice(&room[..count]);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that a protocol's hearer must do, whatever it hears: `stream` are frames in which `messages`
    /// messages stand, numbered from 1, each of them `message` but for its number.
    pub(crate) fn hears<P: Protocol>(
        protocol: P,
        stream: &[u8],
        cuts: &[usize],
        message: &[u8],
        messages: usize,
    ) {
        let mut inbound = Inbound::new(protocol);
        let mut news = News::default();
        let mut at = 0;
        for cut in cuts {
            let to = (at + cut).min(stream.len());
            inbound.take(&stream[at..to], message, &mut news).unwrap();
            at = to;
        }
        inbound.take(&stream[at..], message, &mut news).unwrap();
        assert_eq!(news.arrived, messages);
        assert!(inbound.partial.is_empty(), "{:?} is left", inbound.partial);
    }

    /// Bytes that are nobody's frames are refused, or wait within the bound, however they come.
    pub(crate) fn survives<P: Protocol>(protocol: P, pieces: &[Vec<u8>], partial_max: usize) {
        let mut inbound = Inbound::new(protocol);
        let mut news = News::default();
        for piece in pieces {
            if inbound.take(piece, &[0; 256], &mut news).is_err() {
                return;
            }
            assert!(inbound.partial.len() <= partial_max, "{} wait", inbound.partial.len());
            assert!(inbound.owed.len() <= OWED_BYTES_MAX);
        }
    }

    /// A message with its number.
    pub(crate) fn numbered(message: &[u8], number: u64) -> Vec<u8> {
        let mut bytes = message.to_vec();
        bytes[..NUMBER_LEN].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// Sizes of messages that take every form of length that the protocols have.
    pub(crate) fn sizes() -> impl Strategy<Value = usize> {
        prop_oneof![Just(8), 9..200_usize, Just(256), Just(4_096), Just(32_768)]
    }

    /// Where a stream is cut.
    pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(prop_oneof![1..4_usize, 1..300_usize, 1..40_000_usize], 0..40)
    }

    /// What a hostile server sends: noise, and frames of its protocol with something wrong.
    pub(crate) fn noise(of: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<Vec<u8>>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            prop::sample::select(of).prop_map(<[u8]>::to_vec),
            (any::<u8>(), 1..9_000_usize).prop_map(|(byte, count)| vec![byte; count]),
        ];
        prop::collection::vec(piece, 0..40)
    }

    #[test]
    fn a_message_is_the_one_that_is_due() {
        #[track_caller]
        fn refused(came: &[u8], due: u64, message: &[u8], sentence: &str) {
            assert_eq!(check(came, due, message).unwrap_err().to_string(), sentence);
        }
        let message = [7; 256];
        check(&numbered(&message, 3), 3, &message).unwrap();
        refused(&[7; 255], 3, &message, "a message of another size arrived");
        refused(&[], 3, &[], "a message without a number");
        refused(&numbered(&message, 4), 3, &message, "message 4 came where 3 was due");
        let mut changed = numbered(&message, 3);
        changed[255] = 8;
        refused(&changed, 3, &message, "a message's body was changed on its way");
        // Of large ones not every body is looked at.
        let large = [7; 4_096];
        let mut changed = numbered(&large, 63);
        changed[4_095] = 8;
        check(&changed, 63, &large).unwrap();
        changed[..NUMBER_LEN].copy_from_slice(&64_u64.to_be_bytes());
        refused(&changed, 64, &large, "a message's body was changed on its way");
    }
}
