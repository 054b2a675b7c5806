//! TLS for a QUIC client that is wrong about the transport, so that it breaks rules which quinn-proto keeps: what each end
//! says of its limits (RFC 9000 §18.2) passes through here on its way between rustls and quinn-proto.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};

/// What a client is wrong about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It believes that it may open streams of both kinds, a hundred of each.
    Streams,
    /// It says that it chose another connection ID than the one it uses.
    ConnectionId,
}

/// Numbers of transport parameters.
const INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: u64 = 6;
const INITIAL_MAX_STREAMS_BIDI: u64 = 8;
const INITIAL_MAX_STREAMS_UNI: u64 = 9;
const INITIAL_SOURCE_CONNECTION_ID: u64 = 15;

/// A configuration of TLS with a lie in it.
pub struct Lying {
    pub honest: Arc<QuicClientConfig>,
    pub lie: Lie,
}

impl ClientConfig for Lying {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        own: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let mut own = *own;
        if self.lie == Lie::ConnectionId {
            let changed = changed(&own, |number, value| {
                if number == INITIAL_SOURCE_CONNECTION_ID {
                    value[0] ^= 1;
                }
            });
            own = TransportParameters::read(Side::Server, &mut &changed[..]).expect("parameters");
        }
        let honest = Arc::clone(&self.honest).start_session(version, server_name, &own)?;
        Ok(Box::new(LyingSession { honest, lie: self.lie }))
    }
}

struct LyingSession {
    honest: Box<dyn Session>,
    lie: Lie,
}

impl Session for LyingSession {
    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(theirs) = self.honest.transport_parameters()? else { return Ok(None) };
        if self.lie != Lie::Streams {
            return Ok(Some(theirs));
        }
        let streams = [INITIAL_MAX_STREAMS_BIDI, INITIAL_MAX_STREAMS_UNI];
        let mut changed = changed(&theirs, |_, _| {});
        remove(&mut changed, &[&streams[..], &[INITIAL_MAX_STREAM_DATA_BIDI_REMOTE]].concat());
        for number in streams {
            changed.extend([number as u8, 2, 0x40, 100]);
        }
        changed.extend([INITIAL_MAX_STREAM_DATA_BIDI_REMOTE as u8, 4, 0x80, 1, 0, 0]);
        let changed = TransportParameters::read(Side::Client, &mut &changed[..]);
        Ok(Some(changed.expect("parameters")))
    }

    fn initial_keys(&self, to: &ConnectionId, side: Side) -> Keys {
        self.honest.initial_keys(to, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.honest.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.honest.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.honest.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.honest.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.honest.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.honest.read_handshake(bytes)
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        self.honest.write_handshake(out)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.honest.next_1rtt_keys()
    }

    fn is_valid_retry(&self, to: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.honest.is_valid_retry(to, header, payload)
    }

    fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.honest.export_keying_material(out, label, context)
    }
}

/// A number in one to eight bytes (RFC 9000 §16).
fn number(bytes: &[u8], at: &mut usize) -> u64 {
    let length = 1 << (bytes[*at] >> 6);
    let rest = &bytes[*at + 1..*at + length];
    *at += length;
    let first = u64::from(bytes[*at - length] & 0x3f);
    rest.iter().fold(first, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Where each parameter begins, its number, where its value begins, and its end.
fn parameters(bytes: &[u8]) -> Vec<(usize, u64, usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        let which = number(bytes, &mut at);
        let length = number(bytes, &mut at) as usize;
        found.push((begin, which, at, at + length));
        at += length;
    }
    found
}

fn changed(parameters_of: &TransportParameters, change: impl Fn(u64, &mut [u8])) -> Vec<u8> {
    let mut bytes = Vec::new();
    parameters_of.write(&mut bytes);
    for (_, which, value, end) in parameters(&bytes) {
        change(which, &mut bytes[value..end]);
    }
    bytes
}

fn remove(bytes: &mut Vec<u8>, numbers: &[u64]) {
    for (begin, which, _, end) in parameters(bytes).into_iter().rev() {
        if numbers.contains(&which) {
            bytes.drain(begin..end);
        }
    }
}
