//! iroh-relay: datagrams between keys, in the binary frames of a WebSocket (RFC 6455).
//!
//! A client names its key in the request and proves that it has it with a signature of keying material
//! of the TLS connection; frames begin with their type (iroh-relay 1.4.1, `protos::{handshake,relay}`).

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::framed::{Frame, FramedDevice, Introduction, Protocol};
use crate::limits::{INTRODUCTION_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use crate::load::Identity;
use crate::load::dialect::{Dialect, Seat};
use crate::load::tls::{Session, TlsConnector};

const EXPORTER_LABEL: &[u8] = b"iroh-relay handshake v1";
const KEY_LEN: usize = 32;
/// Bytes of a frame before its datagram: type, key, and the bits of congestion notification.
const AROUND_BYTES: usize = 1 + KEY_LEN + 1;

/// Types of frames.
const CONFIRMS_AUTH: u8 = 2;
const DENIES_AUTH: u8 = 3;
const CLIENT_TO_RELAY: u8 = 4;
const RELAY_TO_CLIENT: u8 = 6;
const ENDPOINT_GONE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const STATUS: u8 = 13;

/// First bytes of WebSocket frames: the only or last one of its message, of this kind (§5.2).
const BINARY: u8 = 0x82;
const WEBSOCKET_PING: u8 = 0x89;
const WEBSOCKET_PONG: u8 = 0x8a;

/// The configuration: without limits of rates, which are its default, without metrics and address
/// discovery, which the others have no counterpart of. It always serves HTTP without TLS as well.
pub(super) fn configuration(port: u16, certificate: &Path, key: &Path) -> String {
    format!(
        "http_bind_addr = \"127.0.0.1:0\"\n\
         enable_metrics = false\n\
         enable_quic_addr_discovery = false\n\
         [tls]\n\
         https_bind_addr = \"127.0.0.1:{port}\"\n\
         cert_mode = \"Manual\"\n\
         manual_cert_path = {certificate:?}\n\
         manual_key_path = {key:?}\n"
    )
}

/// Speaks with an iroh-relay.
#[derive(Debug)]
pub(crate) struct IrohRelay(TlsConnector);

impl IrohRelay {
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self(TlsConnector::new(address, &[b"http/1.1"])?))
    }
}

impl Dialect for IrohRelay {
    type Device = FramedDevice<IrohDevice>;

    fn introduce(&self, seat: Seat<'_>) -> Result<Self::Device> {
        let mut introduction = Introduction::new(self.0.handshake(self.0.tcp()?)?);
        let proof = proof(seat.identity, introduction.session())?;
        introduction.say(request(&proof).as_bytes())?;
        introduction.hear(response)?;
        introduction.hear(|bytes| match websocket(bytes)? {
            Some((length, BINARY, [CONFIRMS_AUTH, ..])) => Ok(Some((length, ()))),
            Some((_, BINARY, [DENIES_AUTH, reason @ ..])) => {
                bail!("iroh-relay refused the device: {:?}", String::from_utf8_lossy(reason))
            }
            Some((_, kind, body)) => {
                bail!("iroh-relay answered with {kind:#x} of type {:?}", body.first())
            }
            None => Ok(None),
        })?;
        FramedDevice::new(introduction, IrohDevice { peer: *seat.peer.device.as_bytes() })
    }
}

/// The proof that a client has its key, as a header carries it: the key, a signature of one half of the
/// keying material with its length, and the other half.
fn proof(identity: &Identity, session: &Session) -> Result<String> {
    let key = identity.device.as_bytes();
    let material = session.exporter(EXPORTER_LABEL, key)?;
    let (signed, shown) = material.split_at(16);
    let signature = identity.sign(signed)?;
    let proof = [&key[..], &[signature.len() as u8], &signature, shown].concat();
    Ok(base64url(&proof))
}

/// Base64 for URLs without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..=three.len() {
            let value = bits >> (18 - 6 * digit) & 0x3f;
            text.push(char::from(DIGITS[value as usize]));
        }
    }
    text
}

/// The request of a WebSocket (§4.1). Its key is the one of the RFC's example, since nobody caches here.
fn request(proof: &str) -> String {
    format!(
        "GET /relay HTTP/1.1\r\n\
         Host: localhost\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: iroh-relay-v2\r\n\
         X-Iroh-Relay-Client-Auth-V1: {proof}\r\n\r\n"
    )
}

/// The head of the response, which must be one to the request.
fn response(bytes: &[u8]) -> Result<Option<(usize, ())>> {
    let looked_at = &bytes[..bytes.len().min(INTRODUCTION_BYTES_MAX)];
    let Some(end) = looked_at.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    ensure!(head.starts_with("HTTP/1.1 101 "), "iroh-relay answered {head:?}");
    Ok(Some((end + 4, ())))
}

/// The WebSocket frame at the front of `bytes`: its length, first byte and content, if all of it is there.
fn websocket(bytes: &[u8]) -> Result<Option<(usize, u8, &[u8])>> {
    let Some(&[first, short]) = bytes.first_chunk() else { return Ok(None) };
    ensure!(short & 0x80 == 0, "a server's frame is not masked");
    let (start, length) = match short {
        126 => match bytes.get(2..4).and_then(|two| two.first_chunk()) {
            Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|eight| eight.first_chunk()) {
            Some(length) => (10, usize::try_from(u64::from_be_bytes(*length))?),
            None => return Ok(None),
        },
        short => (2, usize::from(short)),
    };
    ensure!(length <= PEER_MESSAGE_BYTES_MAX + AROUND_BYTES, "a frame of {length} bytes arrived");
    Ok(bytes.get(start..start + length).map(|content| (start + length, first, content)))
}

/// Appends the front of a frame. The key of its mask is zero: the server takes it off all the same, and
/// the generator need not put it on.
fn append_header(first: u8, length: usize, plain: &mut Vec<u8>) {
    plain.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..126), _) => plain.push(0x80 | length),
        (_, Ok(length)) => {
            plain.push(0x80 | 126);
            plain.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            plain.push(0x80 | 127);
            plain.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    plain.extend_from_slice(&[0; 4]);
}

/// A device with its key.
#[derive(Debug)]
pub(crate) struct IrohDevice {
    /// The key of the other device of the pair.
    peer: [u8; KEY_LEN],
}

impl Protocol for IrohDevice {
    fn say(&self, message: &[u8], plain: &mut Vec<u8>) {
        append_header(BINARY, AROUND_BYTES + message.len(), plain);
        plain.push(CLIENT_TO_RELAY);
        plain.extend_from_slice(&self.peer);
        plain.push(0);
        plain.extend_from_slice(message);
    }

    fn hear<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, Frame<'a>)>> {
        let Some((length, first, content)) = websocket(bytes)? else { return Ok(None) };
        let frame = match (first, content) {
            (BINARY, [RELAY_TO_CLIENT, rest @ ..]) => {
                let Some((from, [_, message @ ..])) = rest.split_first_chunk() else {
                    bail!("a datagram that is too short")
                };
                ensure!(*from == self.peer, "a message arrived from a device that did not send it");
                Frame::Message(message)
            }
            (BINARY, [PING, data @ ..]) if data.len() == 8 => {
                let mut answer = Vec::new();
                append_header(BINARY, 1 + data.len(), &mut answer);
                answer.push(PONG);
                answer.extend_from_slice(data);
                Frame::Question(answer)
            }
            // About a connection of an earlier run, and that this one is well.
            (BINARY, [ENDPOINT_GONE, ..] | [PONG, ..] | [STATUS, 0]) => Frame::Other,
            (WEBSOCKET_PING, data) => {
                let mut answer = Vec::new();
                append_header(WEBSOCKET_PONG, data.len(), &mut answer);
                answer.extend_from_slice(data);
                Frame::Question(answer)
            }
            (WEBSOCKET_PONG, _) => Frame::Other,
            (first, content) => {
                let shown = &content[..content.len().min(16)];
                bail!("iroh-relay sent {first:#x} with {shown:?}")
            }
        };
        Ok(Some((length, frame)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::framed::tests::{cuts, hears, noise, numbered, sizes, survives};
    use super::*;

    fn device() -> IrohDevice {
        IrohDevice { peer: [7; KEY_LEN] }
    }

    /// A frame of a server.
    fn framed(first: u8, content: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        append_header(first, content.len(), &mut plain);
        plain.truncate(plain.len() - 4);
        plain[1] &= 0x7f;
        plain.extend(content);
        plain
    }

    fn datagram(from: u8, message: &[u8]) -> Vec<u8> {
        framed(BINARY, &[&[RELAY_TO_CLIENT][..], &[from; KEY_LEN], &[0], message].concat())
    }

    #[test]
    fn base64_of_the_rfc() {
        // RFC 4648 §10, and the two digits in which the alphabets differ.
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"fooba", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff], "-_8"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }

    #[test]
    fn a_message_is_a_masked_datagram() {
        let mut plain = Vec::new();
        device().say(b"hello", &mut plain);
        let expect = [&[0x82, 0x80 | 39, 0, 0, 0, 0, 4][..], &[7; 32], b"\0hello"].concat();
        assert_eq!(plain, expect);
        plain.clear();
        device().say(&[1; 256], &mut plain);
        assert_eq!(plain[..8], [0x82, 0xfe, 1, 34, 0, 0, 0, 0]);
        plain.clear();
        device().say(&[1; 70_000], &mut plain);
        assert_eq!(plain[..14], [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x92, 0, 0, 0, 0]);
    }

    #[test]
    fn frames() {
        #[track_caller]
        fn check(bytes: &[u8], expect: Option<(usize, Frame<'_>)>) {
            assert_eq!(device().hear(bytes).unwrap(), expect);
        }
        for size in [5, 91, 92, 256, 66_000] {
            let message = vec![1; size];
            let bytes = datagram(7, &message);
            for end in [0, 1, 2, 3, 9, bytes.len() - 1] {
                check(&bytes[..end], None);
            }
            check(&bytes, Some((bytes.len(), Frame::Message(&message))));
        }
        let pong = [&[0x82, 0x89, 0, 0, 0, 0, PONG][..], &[3; 8]].concat();
        check(&framed(BINARY, &[&[PING][..], &[3; 8]].concat()), Some((11, Frame::Question(pong))));
        let pong = vec![0x8a, 0x81, 0, 0, 0, 0, 9];
        check(&framed(WEBSOCKET_PING, &[9]), Some((3, Frame::Question(pong))));
        check(&framed(BINARY, &[STATUS, 0]), Some((4, Frame::Other)));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bytes in [
            datagram(8, b"hello"),
            framed(BINARY, &[RELAY_TO_CLIENT]),
            framed(BINARY, &[&[RELAY_TO_CLIENT][..], &[7; KEY_LEN]].concat()),
            framed(BINARY, &[PING, 1]),
            framed(BINARY, &[STATUS, 1]),
            framed(BINARY, &[]),
            framed(0x88, &[]),
            vec![0x82, 0x80],
            vec![0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(device().hear(&bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_response_is_one_to_the_request() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(response(&head[..head.len() - 1]).unwrap(), None);
        assert_eq!(response(head).unwrap(), Some((head.len(), ())));
        assert!(response(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_err());
    }

    proptest! {
        #[test]
        fn messages_arrive_however_they_are_cut(size in sizes(), cuts in cuts()) {
            let message = vec![0xa5; size];
            let mut stream = Vec::new();
            for number in 1..=5 {
                stream.extend(datagram(7, &numbered(&message, number)));
                stream.extend(framed(BINARY, &[&[PING][..], &[3; 8]].concat()));
            }
            hears(device(), &stream, &cuts, &message, 5);
        }

        #[test]
        fn nothing_a_server_says_hurts(pieces in noise(&[
            b"\x82\x7e\x01\x22\x06", b"\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x00", b"\x89\x00", b"\x82",
            b"\x82\x09\x0912345678",
        ])) {
            survives(device(), &pieces, PEER_MESSAGE_BYTES_MAX + AROUND_BYTES + 10);
        }
    }
}
