//! Files and other byte sources that arrive at a peer whole or not at all, however often either end or the relay is
//! interrupted. What applications use are [`Client::send_file`](crate::Client::send_file),
//! [`Client::send_reader`](crate::Client::send_reader) and [`Client::accept_transfer`](crate::Client::accept_transfer);
//! here is what they are made of.
//!
//! A transfer runs over a channel (two streams, [`message::LABEL`]); the messages are in [`message`]. The sender offers
//! an ID, the receiver says how many bytes it has and their SHA-256, and the sender goes on from there, or from the
//! beginning where its file is another one by now. The end carries the SHA-256 of everything. Only what has this hash
//! gets a name.
//!
//! | breaks | what happens |
//! |---|---|
//! | connection to the relay, relay | the channel goes on below, or fails; then a new one is opened and the transfer resumed |
//! | the receiver's process | its part file stays; the transfer is offered anew and resumed when it is accepted into the same directory |
//! | the sender's process | the same file sent to the same peer finds its ID and goes on |
//! | either, behind the last byte | the receiver remembers finished IDs for seven days and says DONE at once; the sender forgets the ID only after its application has taken the outcome and let go of the transfer |
//! | the receiver's disk is full | the transfer pauses, says so at both ends, and tries again every 3 s |

pub mod limits;
pub mod message;

pub(crate) mod ledger;
pub(crate) mod name;
pub(crate) mod part;
pub(crate) mod receiving;
pub(crate) mod sending;
mod state_file;
mod writing;

use std::fmt;
use std::io;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

pub use message::{Offer, Violation};
pub use name::safe_name;
pub use part::Saved;

/// Names one transfer, at both ends and over restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub [u8; 16]);

impl TransferId {
    /// 32 hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> String {
        hex(&self.0)
    }

    fn from_text(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferId({}…)", hex(&self.0[..2]))
    }
}

/// What was transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferred {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// What a transfer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// In line behind others, for the peer to be there, or for its application to accept.
    Waiting,
    /// Bytes are on their way.
    Running,
    /// The receiver cannot go on at present, and says why; it tries again by itself.
    Paused(String),
    /// Everything is there.
    Done,
}

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes that were sent or received, those of earlier attempts included.
    pub bytes: u64,
    /// Bytes that are on the receiver's disk.
    pub durable: u64,
    /// Bytes in all, where the sender knows it.
    pub size: Option<u64>,
}

impl Progress {
    pub(crate) const fn new(size: Option<u64>) -> Self {
        Self { phase: Phase::Waiting, bytes: 0, durable: 0, size }
    }
}

/// Why a transfer ended otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The peer's user, application or disk does not take the file.
    #[error("the peer refused the file: {0}")]
    Rejected(String),
    /// The peer's version of this library knows no transfers like this one.
    #[error("the peer takes no files: it must upgrade")]
    Unsupported,
    /// The file or pipe cannot be read.
    #[error("cannot read what is to be sent: {0}")]
    Source(#[source] io::Error),
    /// Only files have a size and can be read again.
    #[error("{0} is no regular file: send what can be read from it instead")]
    NotAFile(PathBuf),
    /// The file was changed in the middle.
    #[error("the file was changed while it was sent: send it again")]
    Changed,
    /// The peer broke the rules.
    #[error(transparent)]
    Peer(#[from] Violation),
    /// The receiver has lost what it had.
    #[error("the receiver has lost what it had, and a pipe cannot be read again: start over")]
    NotResumable,
    /// The sender gave up.
    #[error("the sender gave up: {0}")]
    Aborted(String),
    /// The sender has been gone for ten minutes.
    #[error(
        "the sender is gone; what has come is kept, and the transfer goes on when the sender offers it again"
    )]
    SenderAway,
    /// A file of this name is there.
    #[error("{0} is there already and is not overwritten: choose another name")]
    Exists(PathBuf),
    /// The received file cannot be written.
    #[error("{0}")]
    Write(String),
    /// What transfers must not forget cannot be stored.
    #[error("cannot keep the state of transfers in {path}: {source}")]
    State {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The transfer was stopped here.
    #[error("the transfer was stopped; begun anew it goes on where it was")]
    Stopped,
}

impl TransferError {
    /// What the peer hears: where things are on this machine is not for it.
    pub(crate) fn for_the_peer(&self) -> String {
        match self {
            Self::NotAFile(_) => "what it wanted to send is no regular file".into(),
            Self::State { .. } => "it cannot keep the state of its transfers".into(),
            Self::Exists(_) => "a file of this name is there already".into(),
            Self::Rejected(_)
            | Self::Unsupported
            | Self::Source(_)
            | Self::Changed
            | Self::Peer(_)
            | Self::NotResumable
            | Self::Aborted(_)
            | Self::SenderAway
            | Self::Write(_)
            | Self::Stopped => self.to_string(),
        }
    }

    /// Whether the same call may succeed later without anybody doing something about it.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Changed | Self::SenderAway | Self::Stopped => true,
            Self::Rejected(_)
            | Self::Unsupported
            | Self::Source(_)
            | Self::NotAFile(_)
            | Self::Peer(_)
            | Self::NotResumable
            | Self::Aborted(_)
            | Self::Exists(_)
            | Self::Write(_)
            | Self::State { .. } => false,
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
