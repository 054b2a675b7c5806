//! What can go wrong for an application: a sentence for a person, and whether trying again can help.

use std::io;
use std::time::Duration;

use hushwire_wire::code::CodeError;
use hushwire_wire::control::{ErrorCode, Undelivered};
use hushwire_wire::id::DeviceId;

use crate::account::{LogError, RotationError};
use crate::conversation::StreamError;
use crate::conversation::preamble::LabelError;
use crate::io::IoError;
use crate::journal::JournalError;
use crate::keystore::KeystoreError;
use crate::link::LinkError;
use crate::pairing::PairError;
use crate::pairing::spoken::SpokenError;
use crate::transfer::TransferError;

/// Why a call failed: a sentence for a person, and [`Error::is_retryable`] for a program.
///
/// Calls that wait fail with one of four once there will be no connection any more, and every later call with the
/// same: [`Error::Closed`], [`Error::Superseded`], [`Error::Revoked`], [`Error::NotAdmitted`]. The documentation of calls
/// says "why the client ended" for these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to the relay.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The relay did not admit this device, or broke the protocol.
    #[error(transparent)]
    Link(LinkError),
    /// The keystore knows no relay.
    #[error("this device is not enrolled at a relay yet: enrol it with an invite")]
    NotEnrolled,
    /// The relay does not know this device (any more).
    #[error("the relay does not admit this device: {0}")]
    NotAdmitted(String),
    /// The invite was used before, has expired, or never was one.
    #[error("the relay does not accept this invite: {0}; ask for a new one")]
    InviteRefused(String),
    /// The account's owner or the operator has revoked this device.
    #[error("this device has been revoked at its relay")]
    Revoked,
    /// A newer connection of this device has taken over: another process uses the same keystore, or a copy of it.
    #[error("another connection of this device has taken over")]
    Superseded,
    /// The relay refused a request.
    #[error("{sentence}")]
    Refused {
        /// For a program.
        code: ErrorCode,
        /// The relay's sentence.
        sentence: String,
        /// When it may work.
        wait: Option<Duration>,
    },
    /// The relay did not answer, or the connection to it ended first. It may have done what was asked.
    #[error("the relay did not answer in time")]
    NoAnswer,
    /// There is no connection at present; the client is making one.
    #[error("there is no connection to the relay at present")]
    Disconnected,
    /// No such peer in the keystore.
    #[error("device {0} is not paired with this one: pair with it first")]
    NotPaired(DeviceId),
    /// The peer was removed while the call waited.
    #[error("the pairing with device {0} was removed")]
    Unpaired(DeviceId),
    /// A message is larger than 16 MiB.
    #[error("a message of {0} bytes is too large: at most 16 MiB, send it as a stream")]
    TooLarge(usize),
    /// The message could not be written to disk, and is not sent.
    #[error("the message was not sent, because it could not be stored: {0}")]
    Storage(String),
    /// What waits for the peer is as much as was allowed, and the message was not taken.
    #[error("too much waits for device {0} already: send less, or allow more")]
    OutboxFull(DeviceId),
    /// The time of a message was over before the peer acknowledged it.
    #[error("the message was not acknowledged in time and may or may not have arrived{}", last_said(*hint))]
    Expired {
        /// What the relay last said of cells to this peer, if it complained.
        hint: Option<Undelivered>,
    },
    /// The journal of messages cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The peer's application refused the message.
    #[error("the peer refused the message (reason {0})")]
    Rejected(u16),
    /// A stream ended before its end.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A stream cannot have this label.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A file was not transferred.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A code was not read.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// A text is no spoken code.
    #[error(transparent)]
    Spoken(#[from] SpokenError),
    /// A spoken code that was tried on this device before: each is good for one try.
    #[error(
        "this spoken code was tried on this device before, and each is good for one try: make a new one"
    )]
    CodeUsed,
    /// The other end did not know the spoken code.
    #[error(
        "the other device does not know this code: it was misheard, or somebody tried to guess it. It is void now: make \
         a new one, and if this happens again, pair by link"
    )]
    CodeDestroyed,
    /// The other end fell silent when it was its turn to prove that it knows the spoken code. It may have been cut off,
    /// or have guessed wrong.
    #[error(
        "the other device fell silent before it had proved that it knows this code. The code is void now: make a new \
         one, and if this happens again, pair by link"
    )]
    CodeSpent,
    /// A pairing did not go on.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// A pairing code for another relay.
    #[error("the code is for a device at another relay ({0}): both must be at the same one")]
    OtherRelay(String),
    /// Somebody else than the maker of the code answered.
    #[error("device {found} answered where the code names {expected}: make a new code")]
    OtherDevice {
        /// Whom the code names.
        expected: DeviceId,
        /// Who answered.
        found: DeviceId,
    },
    /// Nobody joined before the code expired, or the other device fell silent.
    #[error("the pairing code has expired; make a new one")]
    PairingExpired,
    /// The users saw different digits.
    #[error(
        "the confirmation codes differ: do not use this link again, and pair in person if you can"
    )]
    ConfirmationFailed,
    /// The log of the account says why.
    #[error(transparent)]
    Account(#[from] LogError),
    /// A new key was not taken.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// There is no log of the account on this device.
    #[error("this device belongs to no account yet: begin one, or let another device add this one")]
    NoAccount,
    /// The other device does not join the account.
    #[error("device {0} does not join this account: say on it that it may, and try again")]
    NotJoining(DeviceId),
    /// The keystore says why.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// What is behind the error of a [`StreamReader`](crate::client::StreamReader) or a
    /// [`StreamWriter`](crate::client::StreamWriter), which fail with [`io::Error`] as all readers and writers do. `None`
    /// where that is not this library's, as the `UnexpectedEof` that tokio's `read_exact` makes of a whole but too
    /// short stream.
    #[must_use]
    pub fn of_stream(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether the same call may succeed later without anybody doing something about it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io(error) => match error {
                IoError::Connect { .. }
                | IoError::TimedOut { .. }
                | IoError::QuicRefused
                | IoError::Lost(_)
                | IoError::Closed => true,
                IoError::Address { .. }
                | IoError::PinDiffers { .. }
                | IoError::Certificate(_)
                | IoError::WrongService
                | IoError::Tls(_)
                | IoError::Quic(_) => false,
            },
            Self::Link(error) => link_is_retryable(error),
            Self::Refused { code, .. } => code_is_retryable(*code),
            Self::NoAnswer | Self::Disconnected | Self::Storage(_) | Self::OutboxFull(_) => true,
            Self::Stream(StreamError::SessionLost) => true,
            Self::Transfer(error) => error.is_retryable(),
            Self::NotEnrolled
            | Self::NotAdmitted(_)
            | Self::InviteRefused(_)
            | Self::Revoked
            | Self::Superseded
            | Self::NotPaired(_)
            | Self::Unpaired(_)
            | Self::TooLarge(_)
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Journal(_)
            | Self::Stream(
                StreamError::Abandoned(_) | StreamError::Closed | StreamError::NotAwaited,
            )
            | Self::Label(_)
            | Self::Code(_)
            | Self::Spoken(_)
            | Self::CodeUsed
            | Self::CodeDestroyed
            | Self::CodeSpent
            | Self::Pair(_)
            | Self::OtherRelay(_)
            | Self::OtherDevice { .. }
            | Self::PairingExpired
            | Self::ConfirmationFailed
            | Self::Account(_)
            | Self::Rotation(_)
            | Self::NoAccount
            | Self::NotJoining(_)
            | Self::Keystore(_)
            | Self::Closed => false,
        }
    }
}

/// What the relay last said of cells to the peer.
const fn last_said(hint: Option<Undelivered>) -> &'static str {
    match hint {
        None => "",
        Some(Undelivered::Offline) => " (the relay last said that the peer is not connected)",
        Some(Undelivered::Busy) => " (the relay last said that the peer does not keep up)",
        Some(Undelivered::Refused) => {
            " (the relay last said that the peer takes nothing from this device)"
        }
        Some(Undelivered::TooLarge) => " (the relay last said that the cells are too large)",
    }
}

fn link_is_retryable(error: &LinkError) -> bool {
    match error {
        LinkError::Refused { code, .. } => code_is_retryable(*code),
        LinkError::Silent => true,
        LinkError::Malformed(_)
        | LinkError::Header(_)
        | LinkError::Control(_)
        | LinkError::Counter { .. }
        | LinkError::WrongRelay { .. }
        | LinkError::Version(_) => false,
    }
}

pub(crate) fn code_is_retryable(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Busy | ErrorCode::RateLimited | ErrorCode::Draining => true,
        ErrorCode::Malformed
        | ErrorCode::Unauthenticated
        | ErrorCode::Forbidden
        | ErrorCode::UnknownDevice
        | ErrorCode::TooLarge
        | ErrorCode::Expired
        | ErrorCode::Conflict
        | ErrorCode::Unsupported => false,
    }
}
