//! What can go wrong on a TLS connection, whose fault it is, and the alert that says so.

use thiserror::Error;

use super::cells::CellFault;

/// An alert this side sends (RFC 8446 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// This side sends nothing more.
    CloseNotify = 0,
    /// A record or message that has no place here.
    UnexpectedMessage = 10,
    /// A record that does not authenticate.
    BadRecordMac = 20,
    /// A record that is too long.
    RecordOverflow = 22,
    /// A field out of its range.
    IllegalParameter = 47,
    /// A message that cannot be read.
    DecodeError = 50,
    /// A version this side does not speak.
    ProtocolVersion = 70,
    /// A fault of this side.
    InternalError = 80,
    /// No common application protocol.
    NoApplicationProtocol = 120,
}

impl Alert {
    /// The two bytes on the wire: level (1 warning, 2 fatal) and description.
    #[must_use]
    pub const fn to_wire(self) -> [u8; 2] {
        [if matches!(self, Self::CloseNotify) { 1 } else { 2 }, self as u8]
    }
}

/// Whose fault a [`Fault`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client's: this connection is closed, nobody else notices.
    Peer,
    /// This program's: counted, and alarms.
    Relay,
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Fault {
    /// The first bytes are no TLS record.
    #[error("the client does not speak TLS")]
    NotTls,
    /// The first bytes are those of an HTTP request. The output holds an HTTP answer instead of an alert.
    #[error("the client speaks plain HTTP on a port that speaks TLS")]
    PlainHttp,
    /// The client offers no TLS 1.3.
    #[error("the client does not offer TLS 1.3")]
    NoTls13,
    /// The client offers no application protocol of ours, or none at all.
    #[error("the client offers no application protocol (ALPN) that the relay speaks")]
    NoProtocol,
    /// The client's handshake messages exceed
    /// [`HANDSHAKE_BYTES_MAX`](super::limits::HANDSHAKE_BYTES_MAX).
    #[error("the client's handshake is longer than {} bytes", super::limits::HANDSHAKE_BYTES_MAX)]
    HandshakeTooLong,
    /// rustls refused the handshake.
    #[error("the TLS handshake failed: {0}")]
    Handshake(Box<rustls::Error>),
    /// The client sent this alert and gave up.
    #[error("the client gave up with TLS alert {0}")]
    PeerAlert(u8),

    /// A record of this type has no place after the handshake.
    #[error("a record of type {0} after the handshake, where all are encrypted")]
    UnexpectedRecord(u8),
    /// A record announces more bytes than this connection may send at once.
    #[error("a record of {0} bytes is longer than allowed")]
    RecordTooLong(usize),
    /// A record does not authenticate: tampered with, replayed, out of order or too short.
    #[error("a record does not authenticate")]
    BadRecord,
    /// A record's plaintext is all padding, or has an unknown content type.
    #[error("a record without a known content type")]
    NoContentType,
    /// More than [`EMPTY_RECORDS_MAX`](super::limits::EMPTY_RECORDS_MAX) records without content in a row.
    #[error("too many empty records in a row")]
    EmptyRecords,
    /// A handshake message other than a KeyUpdate alone in its record.
    #[error("a handshake message of type {0} after the handshake")]
    UnexpectedHandshake(u8),
    /// A KeyUpdate with a request other than 0 or 1, or of the wrong length.
    #[error("a malformed KeyUpdate")]
    MalformedKeyUpdate,
    /// More than [`KEY_UPDATES_PER_MINUTE_MAX`](super::limits::KEY_UPDATES_PER_MINUTE_MAX).
    #[error("too many KeyUpdates in a minute")]
    KeyUpdates,
    /// An alert that is not two bytes long.
    #[error("a malformed alert")]
    MalformedAlert,
    /// More records under one key than can be numbered safely.
    #[error("too many records under one key")]
    TooManyRecords,

    /// The plaintext is no cell.
    #[error("malformed: {0}")]
    Malformed(#[from] CellFault),

    /// A guarantee of our own code does not hold.
    #[error("a fault of the relay's TLS layer: {0}")]
    Internal(&'static str),
}

impl Fault {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Internal(_) => Blame::Relay,
            Self::Handshake(error) if of_our_own(error) => Blame::Relay,
            Self::NotTls
            | Self::PlainHttp
            | Self::NoTls13
            | Self::NoProtocol
            | Self::HandshakeTooLong
            | Self::Handshake(_)
            | Self::PeerAlert(_)
            | Self::UnexpectedRecord(_)
            | Self::RecordTooLong(_)
            | Self::BadRecord
            | Self::NoContentType
            | Self::EmptyRecords
            | Self::UnexpectedHandshake(_)
            | Self::MalformedKeyUpdate
            | Self::KeyUpdates
            | Self::MalformedAlert
            | Self::TooManyRecords
            | Self::Malformed(_) => Blame::Peer,
        }
    }

    /// The alert for a fault of an established connection: what to give to
    /// [`Sealer::alert_into`](super::Sealer::alert_into) before closing. `None` if the client has already
    /// given up. During the handshake the alert is in the output already.
    #[must_use]
    pub fn alert(&self) -> Option<Alert> {
        Some(match self {
            Self::PeerAlert(_) => return None,
            Self::NotTls | Self::PlainHttp | Self::Handshake(_) | Self::MalformedAlert => {
                Alert::DecodeError
            }
            Self::NoTls13 => Alert::ProtocolVersion,
            Self::NoProtocol => Alert::NoApplicationProtocol,
            Self::HandshakeTooLong | Self::RecordTooLong(_) => Alert::RecordOverflow,
            Self::UnexpectedRecord(_)
            | Self::NoContentType
            | Self::EmptyRecords
            | Self::UnexpectedHandshake(_)
            | Self::KeyUpdates
            | Self::TooManyRecords => Alert::UnexpectedMessage,
            Self::BadRecord => Alert::BadRecordMac,
            Self::MalformedKeyUpdate => Alert::IllegalParameter,
            // TLS is fine; the protocol above it says what is wrong.
            Self::Malformed(_) => Alert::CloseNotify,
            Self::Internal(_) => Alert::InternalError,
        })
    }
}

/// rustls reports its caller's mistakes and the system's through the same type.
fn of_our_own(error: &rustls::Error) -> bool {
    use rustls::Error;
    matches!(
        error,
        Error::General(_)
            | Error::FailedToGetCurrentTime
            | Error::FailedToGetRandomBytes
            | Error::EncryptError
            | Error::BadMaxFragmentSize
            | Error::HandshakeNotComplete
            | Error::NoCertificatesPresented
    )
}
