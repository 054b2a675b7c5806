//! mosquitto: MQTT 3.1.1, QoS 0 (OASIS Standard, 29 October 2014).

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::framed::{Frame, FramedDevice, Introduction, Protocol};
use crate::limits::PEER_MESSAGE_BYTES_MAX;
use crate::load::dialect::{Dialect, Seat};
use crate::load::tls::TlsConnector;

/// Bytes of a packet beside its message: topic and length.
const AROUND_BYTES_MAX: usize = 64;

/// The configuration: nothing on disk, no log, no bound of connections, and none of what may wait for
/// one, as a message that is thrown away would end a run. With TCP_NODELAY, as all the others have it.
/// Started by root, it would become a user who may not read the key.
pub(super) fn configuration(port: u16, certificate: &Path, key: &Path) -> String {
    format!(
        "user root\n\
         persistence false\n\
         log_dest none\n\
         allow_anonymous true\n\
         max_queued_messages 0\n\
         set_tcp_nodelay true\n\
         listener {port} 127.0.0.1\n\
         max_connections -1\n\
         certfile {}\n\
         keyfile {}\n\
         tls_version tlsv1.3\n",
        certificate.display(),
        key.display()
    )
}

/// Speaks with a mosquitto.
#[derive(Debug)]
pub(crate) struct Mqtt(TlsConnector);

impl Mqtt {
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self(TlsConnector::new(address, &[])?))
    }
}

impl Dialect for Mqtt {
    type Device = FramedDevice<MqttDevice>;

    fn introduce(&self, seat: Seat<'_>) -> Result<Self::Device> {
        let mut introduction = Introduction::new(self.0.handshake(self.0.tcp()?)?);
        let name = format!("d{}", seat.number);
        introduction.say(&connect(&name))?;
        // CONNACK: no session, accepted (§3.2).
        introduction.hear(|bytes| exactly(bytes, &[0x20, 2, 0, 0]))?;
        introduction.say(&subscribe(&name))?;
        // SUBACK of packet 1: QoS 0 (§3.9).
        introduction.hear(|bytes| exactly(bytes, &[0x90, 3, 0, 1, 0]))?;
        FramedDevice::new(introduction, MqttDevice { topic: format!("d{}", seat.number ^ 1) })
    }
}

fn exactly(bytes: &[u8], due: &[u8]) -> Result<Option<(usize, ())>> {
    match bytes.get(..due.len()) {
        Some(came) if came == due => Ok(Some((due.len(), ()))),
        Some(came) => bail!("mosquitto said {came:?}, where {due:?} was due"),
        None => Ok(None),
    }
}

/// CONNECT: a clean session without keep-alive (§3.1).
fn connect(name: &str) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([4, 2, 0, 0]);
    body.extend(text(name));
    packet(0x10, &body)
}

/// SUBSCRIBE as packet 1, QoS 0 (§3.8).
fn subscribe(topic: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(text(topic));
    body.push(0);
    packet(0x82, &body)
}

/// A string with its length (§1.5.3), which is short here.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    append_length(body.len(), &mut packet);
    packet.extend_from_slice(body);
    packet
}

/// Seven bits a byte, the least significant first (§2.2.3).
fn append_length(mut length: usize, plain: &mut Vec<u8>) {
    while length > 0x7f {
        plain.push(length as u8 | 0x80);
        length >>= 7;
    }
    plain.push(length as u8);
}

/// The length behind the first byte of a packet, and of how many bytes it is made.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut length = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    ensure!(bytes.len() < 4, "mosquitto sent a length of more than four bytes");
    Ok(None)
}

/// A device with a topic of its own.
#[derive(Debug)]
pub(crate) struct MqttDevice {
    /// The topic of the other device of the pair.
    topic: String,
}

impl Protocol for MqttDevice {
    fn say(&self, message: &[u8], plain: &mut Vec<u8>) {
        plain.push(0x30);
        append_length(2 + self.topic.len() + message.len(), plain);
        plain.extend_from_slice(&(self.topic.len() as u16).to_be_bytes());
        plain.extend_from_slice(self.topic.as_bytes());
        plain.extend_from_slice(message);
    }

    fn hear<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, Frame<'a>)>> {
        let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
        let Some((length, of)) = length(rest)? else { return Ok(None) };
        ensure!(
            length <= PEER_MESSAGE_BYTES_MAX + AROUND_BYTES_MAX,
            "a packet of {length} bytes arrived"
        );
        let Some(body) = rest.get(of..of + length) else { return Ok(None) };
        let frame = match kind {
            // PUBLISH, QoS 0, not retained (§3.3).
            0x30 => {
                let Some((topic, rest)) = body.split_first_chunk() else {
                    bail!("a PUBLISH without a topic")
                };
                let topic = usize::from(u16::from_be_bytes(*topic));
                let Some(message) = rest.get(topic..) else { bail!("a PUBLISH without its topic") };
                Frame::Message(message)
            }
            // PINGRESP (§3.13).
            0xd0 => Frame::Other,
            kind => bail!("mosquitto sent a packet of type {kind:#x}"),
        };
        Ok(Some((1 + of + length, frame)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::framed::tests::{cuts, hears, noise, numbered, sizes, survives};
    use super::*;

    fn device() -> MqttDevice {
        MqttDevice { topic: "d7".to_owned() }
    }

    #[test]
    fn packets_of_an_introduction() {
        assert_eq!(connect("d6"), b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02d6");
        assert_eq!(subscribe("d6"), b"\x82\x07\x00\x01\x00\x02d6\x00");
        assert_eq!(exactly(&[0x20, 2, 0], &[0x20, 2, 0, 0]).unwrap(), None);
        assert_eq!(exactly(&[0x20, 2, 0, 0, 9], &[0x20, 2, 0, 0]).unwrap(), Some((4, ())));
        assert!(exactly(&[0x20, 2, 0, 5], &[0x20, 2, 0, 0]).is_err());
    }

    #[test]
    fn lengths() {
        // The edges of the standard's table 2.4.
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 1]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
        ] {
            let mut made = Vec::new();
            append_length(value, &mut made);
            assert_eq!(made, bytes);
            assert_eq!(length(bytes).unwrap(), Some((value, bytes.len())));
            assert_eq!(length(&bytes[..bytes.len() - 1]).unwrap(), None);
        }
        assert!(length(&[0xff; 4]).is_err());
    }

    #[test]
    fn frames() {
        #[track_caller]
        fn check(bytes: &[u8], expect: Option<(usize, Frame<'_>)>) {
            assert_eq!(device().hear(bytes).unwrap(), expect);
        }
        check(b"", None);
        check(b"\x30", None);
        check(b"\x30\x09\x00\x02d7hell", None);
        check(b"\x30\x09\x00\x02d7hello\x30", Some((11, Frame::Message(b"hello"))));
        check(b"\xd0\x00", Some((2, Frame::Other)));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bytes in [
            &b"\x30\x01\x00"[..],
            b"\x30\x03\x00\x02d",
            b"\x32\x09\x00\x02d7hello",
            b"\xe0\x00",
            b"\x30\xff\xff\xff\x7f",
            b"\x30\xff\xff\xff\xff",
        ] {
            assert!(device().hear(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn messages_arrive_however_they_are_cut(size in sizes(), cuts in cuts()) {
            let message = vec![0xa5; size];
            let mut stream = Vec::new();
            for number in 1..=5 {
                device().say(&numbered(&message, number), &mut stream);
                stream.extend([0xd0, 0]);
            }
            hears(device(), &stream, &cuts, &message, 5);
        }

        #[test]
        fn nothing_a_server_says_hurts(pieces in noise(&[
            b"\x30\x09\x00\x02d7", b"\x30\x80\x80\x40\x00\x02d7", b"\xd0\x00", b"\x30\xff", b"\x30",
        ])) {
            survives(device(), &pieces, PEER_MESSAGE_BYTES_MAX + AROUND_BYTES_MAX + 5);
        }
    }
}
