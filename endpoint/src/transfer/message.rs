//! What the two ends of a transfer say: `type(1) ‖ length(4) ‖ payload` on a channel (`PROTOCOL.md` A.6).

use std::io;

use hushwire_wire::text;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::TransferId;
use super::limits::{DATA_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, SENTENCE_BYTES_MAX};

/// The label of the channel.
pub const LABEL: &str = "hushwire/transfer/1";
/// Bytes before a payload.
pub(super) const HEAD_BYTES: usize = 5;

/// The peer said something that no transfer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer broke the rules of a transfer: {0}")]
pub struct Violation(pub(crate) &'static str);

/// What is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The same for each attempt to send the same file.
    pub id: TransferId,
    /// Its size in bytes, where the sender knows it.
    pub size: Option<u64>,
    /// What the sender calls it: any text, not a safe file name.
    pub name: String,
}

/// From the sender to the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToReceiver {
    Offer(Offer),
    /// The bytes that follow begin here: where ACCEPT said, or at 0 if what the receiver has is something else.
    Begin {
        offset: u64,
    },
    /// So many bytes of the file follow.
    Data {
        length: usize,
    },
    End {
        size: u64,
        sha256: [u8; 32],
    },
    Abort {
        why: String,
    },
}

/// From the receiver to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToSender {
    /// Go on at `offset`; the bytes before it have this SHA-256.
    Accept {
        offset: u64,
        sha256: [u8; 32],
    },
    /// So many bytes are on disk.
    Progress {
        offset: u64,
    },
    Paused {
        why: String,
    },
    Resumed,
    Done {
        size: u64,
        sha256: [u8; 32],
    },
    Reject {
        again: bool,
        why: String,
    },
}

/// Messages of one direction.
pub(crate) trait Message: Sized {
    /// `length` is that of the payload; DATA's is not part of the message.
    fn decode(kind: u8, length: usize, payload: &[u8]) -> Result<Self, Violation>;
    /// Whether the payload of this type is the file's own bytes.
    fn is_data(kind: u8) -> bool;
}

mod kind {
    pub(super) const OFFER: u8 = 0x01;
    pub(super) const BEGIN: u8 = 0x02;
    pub(super) const DATA: u8 = 0x03;
    pub(super) const END: u8 = 0x04;
    pub(super) const ABORT: u8 = 0x05;
    pub(super) const ACCEPT: u8 = 0x11;
    pub(super) const PROGRESS: u8 = 0x12;
    pub(super) const PAUSED: u8 = 0x13;
    pub(super) const RESUMED: u8 = 0x14;
    pub(super) const DONE: u8 = 0x15;
    pub(super) const REJECT: u8 = 0x16;
}

fn head(kind: u8, length: usize) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [kind, a, b, c, d]
}

/// What stands before bytes of the file.
pub(super) fn data_head(length: usize) -> [u8; HEAD_BYTES] {
    head(kind::DATA, length)
}

fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    [&head(kind, payload.len())[..], &payload].concat()
}

fn sentence(why: &str) -> String {
    text::plain(why, SENTENCE_BYTES_MAX)
}

fn said(payload: &[u8]) -> Result<String, Violation> {
    let text = str::from_utf8(payload).ok().filter(|text| text.len() <= SENTENCE_BYTES_MAX);
    let text = text.filter(|text| text.chars().all(text::is_plain));
    text.map(str::to_owned).ok_or(Violation("a sentence that is none"))
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Violation("a message cut short"))?;
        self.0 = rest;
        Ok(*field)
    }

    fn u64(&mut self) -> Result<u64, Violation> {
        self.take().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, Violation> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Violation("a flag that is none")),
        }
    }

    fn end(self) -> Result<(), Violation> {
        if self.0.is_empty() { Ok(()) } else { Err(Violation("a message that is too long")) }
    }
}

impl Offer {
    fn decode(payload: &[u8]) -> Result<Self, Violation> {
        let mut fields = Fields(payload);
        let id = TransferId(fields.take()?);
        let (known, size) = (fields.flag()?, fields.u64()?);
        if !known && size != 0 {
            return Err(Violation("a size that is not known"));
        }
        let name = str::from_utf8(fields.0).ok().filter(|name| name.len() <= NAME_BYTES_MAX);
        let name = name.ok_or(Violation("a name that is none"))?.to_owned();
        Ok(Self { id, size: known.then_some(size), name })
    }
}

impl ToReceiver {
    /// Its encoding; of DATA, the head.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Offer(Offer { id, size, name }) => {
                let known = [u8::from(size.is_some())];
                let size = size.unwrap_or(0).to_le_bytes();
                message(kind::OFFER, &[&id.0, &known, &size, name.as_bytes()])
            }
            Self::Begin { offset } => message(kind::BEGIN, &[&offset.to_le_bytes()]),
            Self::Data { length } => data_head(*length).to_vec(),
            Self::End { size, sha256 } => message(kind::END, &[&size.to_le_bytes(), sha256]),
            Self::Abort { why } => message(kind::ABORT, &[sentence(why).as_bytes()]),
        }
    }
}

impl Message for ToReceiver {
    fn decode(kind: u8, length: usize, payload: &[u8]) -> Result<Self, Violation> {
        let mut fields = Fields(payload);
        let message = match kind {
            kind::OFFER => return Offer::decode(payload).map(Self::Offer),
            kind::ABORT => return Ok(Self::Abort { why: said(payload)? }),
            kind::BEGIN => Self::Begin { offset: fields.u64()? },
            kind::DATA if (1..=DATA_BYTES_MAX).contains(&length) => Self::Data { length },
            kind::END => Self::End { size: fields.u64()?, sha256: fields.take()? },
            _ => return Err(Violation("an unknown message")),
        };
        fields.end()?;
        Ok(message)
    }

    fn is_data(kind: u8) -> bool {
        kind == kind::DATA
    }
}

impl ToSender {
    /// Its encoding.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Accept { offset, sha256 } => {
                message(kind::ACCEPT, &[&offset.to_le_bytes(), sha256])
            }
            Self::Progress { offset } => message(kind::PROGRESS, &[&offset.to_le_bytes()]),
            Self::Paused { why } => message(kind::PAUSED, &[sentence(why).as_bytes()]),
            Self::Resumed => message(kind::RESUMED, &[]),
            Self::Done { size, sha256 } => message(kind::DONE, &[&size.to_le_bytes(), sha256]),
            Self::Reject { again, why } => {
                message(kind::REJECT, &[&[u8::from(*again)], sentence(why).as_bytes()])
            }
        }
    }
}

impl Message for ToSender {
    fn decode(kind: u8, _length: usize, payload: &[u8]) -> Result<Self, Violation> {
        let mut fields = Fields(payload);
        let message = match kind {
            kind::PAUSED => return Ok(Self::Paused { why: said(payload)? }),
            kind::REJECT => {
                let again = fields.flag()?;
                return Ok(Self::Reject { again, why: said(fields.0)? });
            }
            kind::ACCEPT => Self::Accept { offset: fields.u64()?, sha256: fields.take()? },
            kind::PROGRESS => Self::Progress { offset: fields.u64()? },
            kind::RESUMED => Self::Resumed,
            kind::DONE => Self::Done { size: fields.u64()?, sha256: fields.take()? },
            _ => return Err(Violation("an unknown message")),
        };
        fields.end()?;
        Ok(message)
    }

    fn is_data(_kind: u8) -> bool {
        false
    }
}

/// Type and length of the payload, where the length is one that this type may have.
pub(crate) fn decode_head<M: Message>(bytes: [u8; HEAD_BYTES]) -> Result<(u8, usize), Violation> {
    let [kind, a, b, c, d] = bytes;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let most = if M::is_data(kind) { DATA_BYTES_MAX } else { MESSAGE_BYTES_MAX };
    if length > most { Err(Violation("a message that is too long")) } else { Ok((kind, length)) }
}

/// Why there is no next message.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The stream ended or failed.
    Stream(io::Error),
    Peer(Violation),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl From<Violation> for Broken {
    fn from(violation: Violation) -> Self {
        Self::Peer(violation)
    }
}

/// Reads messages, and between them the bytes of the file. Cancellation-safe.
#[derive(Debug)]
pub(crate) struct Messages<R> {
    stream: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::with_capacity(HEAD_BYTES + MESSAGE_BYTES_MAX) }
    }

    pub(crate) const fn stream(&self) -> &R {
        &self.stream
    }

    pub(crate) const fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    async fn fill(&mut self, length: usize) -> io::Result<()> {
        let mut part = [0; HEAD_BYTES + MESSAGE_BYTES_MAX];
        while self.buffer.len() < length {
            let wanted = length - self.buffer.len();
            let count = self.stream.read(&mut part[..wanted]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&part[..count]);
        }
        Ok(())
    }

    /// The next message. Behind DATA its bytes must be read from [`Messages::stream_mut`] first.
    pub(crate) async fn next<M: Message>(&mut self) -> Result<M, Broken> {
        self.fill(HEAD_BYTES).await?;
        let head = self.buffer.first_chunk().expect("it was filled");
        let (kind, length) = decode_head::<M>(*head)?;
        let payload = if M::is_data(kind) { 0 } else { length };
        self.fill(HEAD_BYTES + payload).await?;
        let message = M::decode(kind, length, &self.buffer[HEAD_BYTES..])?;
        self.buffer.clear();
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_message_is_read_back() {
        let offer = Offer { id: TransferId([7; 16]), size: Some(9), name: "a/b".into() };
        let unsized_offer = Offer { size: None, name: String::new(), ..offer.clone() };
        let to_receiver = [
            ToReceiver::Offer(offer),
            ToReceiver::Offer(unsized_offer),
            ToReceiver::Begin { offset: u64::MAX },
            ToReceiver::End { size: 3, sha256: [1; 32] },
            ToReceiver::Abort { why: "changed".into() },
            ToReceiver::Data { length: DATA_BYTES_MAX },
        ];
        let bytes: Vec<u8> = to_receiver.iter().flat_map(ToReceiver::encode).collect();
        let mut messages = Messages::new(bytes.as_slice());
        for expect in to_receiver {
            assert_eq!(messages.next::<ToReceiver>().await.expect("a message"), expect);
        }
        assert!(matches!(messages.next::<ToReceiver>().await, Err(Broken::Stream(_))));
        let to_sender = [
            ToSender::Accept { offset: 5, sha256: [2; 32] },
            ToSender::Progress { offset: 6 },
            ToSender::Paused { why: "the disk is full".into() },
            ToSender::Resumed,
            ToSender::Done { size: 6, sha256: [3; 32] },
            ToSender::Reject { again: true, why: String::new() },
        ];
        let bytes: Vec<u8> = to_sender.iter().flat_map(ToSender::encode).collect();
        let mut messages = Messages::new(bytes.as_slice());
        for expect in to_sender {
            assert_eq!(messages.next::<ToSender>().await.expect("a message"), expect);
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_a_violation() {
        let name = [&[0; 25][..], &[b'x'; NAME_BYTES_MAX + 1]].concat();
        for (bytes, why) in [
            (vec![0x99, 0, 0, 0, 0], "an unknown type"),
            (vec![0x01, 0xff, 0xff, 0xff, 0xff], "an endless offer"),
            (vec![0x03, 0xff, 0xff, 0xff, 0x7f], "endless data"),
            (vec![0x03, 0, 0, 0, 0], "data without a byte"),
            (message(kind::BEGIN, &[&[0; 7]]), "cut short"),
            (message(kind::BEGIN, &[&[0; 9]]), "too long"),
            (message(kind::OFFER, &[&name]), "a long name"),
            (message(kind::OFFER, &[&[0; 16], &[2], &[0; 8]]), "a flag"),
            (message(kind::OFFER, &[&[0; 16], &[0], &[1; 8]]), "a size that is not known"),
            (message(kind::OFFER, &[&[0; 25], &[0xff]]), "a name that is no text"),
            (message(kind::ABORT, &[b"\x1b[2J"]), "steers a terminal"),
        ] {
            let mut messages = Messages::new(bytes.as_slice());
            let found = messages.next::<ToReceiver>().await;
            assert!(matches!(found, Err(Broken::Peer(_))), "{why}: {found:?}");
        }
    }
}
