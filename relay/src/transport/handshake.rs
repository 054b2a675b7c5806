//! A handshake under way: the client's records, one at a time, through rustls' unbuffered connection.

use std::fmt;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError};
use rustls::unbuffered::{InsufficientSizeError, UnbufferedStatus};
use rustls::{Error, InvalidMessage, PeerIncompatible};

use super::fault::Fault;
use super::limits::{HANDSHAKE_BYTES_MAX, RECORD_HEADER_BYTES, RECORD_PLAIN_BYTES_MAX};
use super::record::{ALERT, LEGACY_VERSION, record_len};
use super::secrets::{Secrets, SlotLog, Suite};

/// How far [`Live::advance`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Flight,
    Done,
}

pub(super) struct Live {
    pub(super) connection: UnbufferedServerConnection,
    pub(super) secrets: Option<Secrets>,
    /// What rustls has not let go of, then the record that is arriving. Its front must stay as rustls left
    /// it, for rustls joins a handshake message from several records in place.
    buffer: Vec<u8>,
    /// How much of `buffer` rustls has seen.
    fed: usize,
    greeted: bool,
}

/// Types of TLS records (RFC 8446 §B.1), 24 being the heartbeat that rustls refuses by itself.
const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

const HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\nContent-Length: 32\r\nConnection: close\r\n\r\n\
    This port speaks TLS, not HTTP.\n";

impl Live {
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        Self { connection, secrets: None, buffer: Vec::new(), fed: 0, greeted: false }
    }

    pub(super) fn suite(&self) -> Result<Suite, Fault> {
        self.connection
            .negotiated_cipher_suite()
            .and_then(|suite| Suite::from_rustls(suite.suite()))
            .ok_or(Fault::Internal("a suite that was never offered"))
    }

    /// The bytes used of `input`, and what came of them. After a fault `output` has what tells the client.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(usize, Step), Fault> {
        let before = output.len();
        let outcome = self.run(input, output);
        if let Err(fault) = &outcome
            && output.len() == before
        {
            self.refuse(fault, output);
        }
        outcome
    }

    fn run(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(usize, Step), Fault> {
        let mut consumed = 0;
        loop {
            let (taken, whole) = self.take_record(&input[consumed..])?;
            consumed += taken;
            if !whole {
                return Ok((consumed, Step::More));
            }
            match self.feed(output)? {
                Step::More => {}
                step @ (Step::Flight | Step::Done) => return Ok((consumed, step)),
            }
        }
    }

    /// Moves the next record, or what there is of it, from `input` to the buffer. Returns the bytes moved
    /// and whether the record is whole.
    fn take_record(&mut self, input: &[u8]) -> Result<(usize, bool), Fault> {
        let mut taken = 0;
        let mut take_to = |buffer: &mut Vec<u8>, end: usize| {
            let part = (end - buffer.len()).min(input.len() - taken);
            buffer.extend_from_slice(&input[taken..taken + part]);
            taken += part;
            buffer.len() == end
        };
        let header_end = self.fed + RECORD_HEADER_BYTES;
        let has_header = self.buffer.len() >= header_end || take_to(&mut self.buffer, header_end);
        self.greet()?;
        if !has_header {
            return Ok((taken, false));
        }
        let length = u16::from_be_bytes([self.buffer[self.fed + 3], self.buffer[self.fed + 4]]);
        let end = header_end + usize::from(length);
        if end > HANDSHAKE_BYTES_MAX {
            return Err(Fault::HandshakeTooLong);
        }
        let whole = take_to(&mut self.buffer, end);
        Ok((taken, whole))
    }

    /// Looks at the first two bytes of all: a person with a browser deserves a sentence.
    fn greet(&mut self) -> Result<(), Fault> {
        if self.greeted {
            return Ok(());
        }
        match *self.buffer {
            [kind, ..] if kind.is_ascii_uppercase() => Err(Fault::PlainHttp),
            [kind, ..] if !RECORD_TYPES.contains(&kind) => Err(Fault::NotTls),
            [_, version, ..] if version != LEGACY_VERSION[0] => Err(Fault::NotTls),
            [_, _, ..] => {
                self.greeted = true;
                Ok(())
            }
            [] | [_] => Ok(()),
        }
    }

    /// Appends an unencrypted alert, which the client understands until it has seen the first flight.
    fn refuse(&self, fault: &Fault, output: &mut Vec<u8>) {
        if *fault == Fault::PlainHttp {
            output.extend_from_slice(HTTP_ANSWER);
        } else if self.secrets.is_none()
            && let Some(alert) = fault.alert()
        {
            let [major, minor] = LEGACY_VERSION;
            output.extend_from_slice(&[ALERT, major, minor, 0, 2]);
            output.extend_from_slice(&alert.to_wire());
        }
    }

    /// Lets rustls have the buffer, whose last record is new and whole.
    fn feed(&mut self, output: &mut Vec<u8>) -> Result<Step, Fault> {
        let before = output.len();
        let mut flight = false;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.buffer);
            let went = go(state, output);
            if let Some(secrets) = SlotLog::take() {
                self.secrets = Some(secrets);
                flight = true;
            }
            self.buffer.drain(..discard.min(self.buffer.len()));
            match went {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    self.drain_alert(output);
                    return Err(fault);
                }
            }
        }
        self.fed = self.buffer.len();
        if flight && self.connection.alpn_protocol().is_none() {
            // rustls lets a client without ALPN pass. It has sent nothing yet, so take its flight back.
            output.truncate(before);
            self.secrets = None;
            return Err(Fault::NoProtocol);
        }
        if !self.connection.is_handshaking() {
            Ok(Step::Done)
        } else if flight {
            Ok(Step::Flight)
        } else {
            Ok(Step::More)
        }
    }

    /// After a fault rustls still holds its alert. It must not see the buffer again once that is out: it
    /// would find the same fault and panic over a second alert.
    fn drain_alert(&mut self, output: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(&mut self.buffer);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else { break };
            if encode(&mut data, output).is_err() {
                break;
            }
        }
    }

    pub(super) fn send(&mut self, plain: &[u8], output: &mut Vec<u8>) -> Result<(), Fault> {
        const FAULT: Fault = Fault::Internal("nothing can be sent in this handshake now");
        if self.secrets.is_none() || plain.len() > RECORD_PLAIN_BYTES_MAX {
            return Err(FAULT);
        }
        let status = self.connection.process_tls_records(&mut self.buffer[..self.fed]);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return Err(FAULT);
        };
        let start = output.len();
        output.resize(start + record_len(plain.len()), 0);
        match traffic.encrypt(plain, &mut output[start..]) {
            Ok(written) => {
                output.truncate(start + written);
                Ok(())
            }
            Err(EncryptError::InsufficientSize(_) | EncryptError::EncryptExhausted) => {
                output.truncate(start);
                Err(FAULT)
            }
        }
    }
}

/// Does what rustls asks for. Whether it wants to be asked again.
fn go<D>(
    state: Result<ConnectionState<'_, '_, D>, Error>,
    output: &mut Vec<u8>,
) -> Result<bool, Fault> {
    match state.map_err(fault_of)? {
        ConnectionState::EncodeTlsData(mut data) => encode(&mut data, output).map(|()| true),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(true)
        }
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Ok(false),
        ConnectionState::ReadTraffic(_)
        | ConnectionState::ReadEarlyData(_)
        | ConnectionState::PeerClosed
        | ConnectionState::Closed
        | _ => Err(Fault::Internal("rustls read past the handshake")),
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, output: &mut Vec<u8>) -> Result<(), Fault> {
    const FAULT: Fault = Fault::Internal("rustls did not encode its own message");
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        data.encode(&mut [])
    else {
        return Err(FAULT);
    };
    let start = output.len();
    output.resize(start + required_size, 0);
    data.encode(&mut output[start..]).map(|_| ()).map_err(|_| FAULT)
}

fn fault_of(error: Error) -> Fault {
    const NOT_TLS: [InvalidMessage; 3] = [
        InvalidMessage::InvalidContentType,
        InvalidMessage::UnknownProtocolVersion,
        InvalidMessage::InvalidEmptyPayload,
    ];
    const NO_TLS13: [PeerIncompatible; 3] = [
        PeerIncompatible::SupportedVersionsExtensionRequired,
        PeerIncompatible::Tls12NotOffered,
        PeerIncompatible::Tls12NotOfferedOrEnabled,
    ];
    if let Error::AlertReceived(alert) = error {
        Fault::PeerAlert(u8::from(alert))
    } else if error == Error::NoApplicationProtocol {
        Fault::NoProtocol
    } else if matches!(&error, Error::PeerIncompatible(why) if NO_TLS13.contains(why)) {
        Fault::NoTls13
    } else if matches!(&error, Error::InvalidMessage(why) if NOT_TLS.contains(why)) {
        Fault::NotTls
    } else {
        Fault::Handshake(Box::new(error))
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("buffered", &self.buffer.len())
            .field("flight_made", &self.secrets.is_some())
            .finish_non_exhaustive()
    }
}
