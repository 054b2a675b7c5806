//! nats-server: text lines with a payload behind (docs.nats.io, "Client Protocol").

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::framed::{Frame, FramedDevice, Introduction, Protocol};
use super::text::{line, number};
use crate::clock::Clock;
use crate::limits::{CONNECT_STEP_MAX, INTRODUCTION_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use crate::load::dialect::{Dialect, Seat};
use crate::load::tls::TlsConnector;

/// The configuration for as many connections as come. The defaults are right for the rest: 64 MiB may
/// wait for a connection, and a message may have 1 MiB. A ping in the middle of a run would be work
/// that the others do not have, so there are few.
pub(super) fn configuration(port: u16, certificate: &Path, key: &Path) -> String {
    format!(
        "listen: \"127.0.0.1:{port}\"\n\
         max_connections: 65536\n\
         ping_interval: \"10m\"\n\
         log_file: \"/dev/null\"\n\
         tls {{ cert_file: {certificate:?}, key_file: {key:?}, timeout: 20 }}\n"
    )
}

/// Speaks with a nats-server.
#[derive(Debug)]
pub(crate) struct Nats(TlsConnector);

impl Nats {
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self(TlsConnector::new(address, &[])?))
    }
}

impl Dialect for Nats {
    type Device = FramedDevice<NatsDevice>;

    fn introduce(&self, seat: Seat<'_>) -> Result<Self::Device> {
        let mut socket = self.0.tcp()?;
        read_info(&mut socket)?;
        let mut introduction = Introduction::new(self.0.handshake(socket)?);
        // Without "verbose" it does not confirm every message.
        let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":true,\
                       \"name\":\"hush-bench\",\"lang\":\"rust\",\"version\":\"0\"}\r\n";
        introduction.say(format!("{connect}SUB d.{} 1\r\nPING\r\n", seat.number).as_bytes())?;
        // The answer says that the subscription stands.
        introduction.hear(|bytes| match line(bytes, INTRODUCTION_BYTES_MAX)? {
            Some((length, b"PONG")) => Ok(Some((length, ()))),
            Some((_, text)) => bail!("nats-server said {:?}", String::from_utf8_lossy(text)),
            None => Ok(None),
        })?;
        let subject = format!("d.{}", seat.number ^ 1);
        FramedDevice::new(introduction, NatsDevice { subject })
    }
}

/// Reads the line that comes before TLS, byte by byte so that nothing behind it is taken.
fn read_info(socket: &mut TcpStream) -> Result<()> {
    let mut text = Vec::new();
    let clock = Clock::start();
    while !text.ends_with(b"\r\n") {
        let late = clock.now_ns() > CONNECT_STEP_MAX.as_nanos() as u64;
        ensure!(
            !late && text.len() < INTRODUCTION_BYTES_MAX,
            "the server's introduction has no end"
        );
        let mut byte = [0];
        socket.read_exact(&mut byte).context("nats-server did not introduce itself")?;
        text.push(byte[0]);
    }
    ensure!(text.starts_with(b"INFO "), "this is no nats-server");
    Ok(())
}

/// A device with a subject of its own.
#[derive(Debug)]
pub(crate) struct NatsDevice {
    /// The subject of the other device of the pair.
    subject: String,
}

impl Protocol for NatsDevice {
    fn say(&self, message: &[u8], plain: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(plain, "PUB {} {}\r\n", self.subject, message.len());
        plain.extend_from_slice(message);
        plain.extend_from_slice(b"\r\n");
    }

    fn hear<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, Frame<'a>)>> {
        let Some((length, text)) = line(bytes, INTRODUCTION_BYTES_MAX)? else { return Ok(None) };
        if let Some(arguments) = text.strip_prefix(b"MSG ") {
            // Subject, subscription and size, as no message asks for a reply.
            let mut fields = arguments.split(|&byte| byte == b' ').skip(2);
            let size = number(fields.next().context("a MSG without a size")?)?;
            ensure!(fields.next().is_none(), "a MSG that asks for a reply");
            ensure!(size <= PEER_MESSAGE_BYTES_MAX, "a message of {size} bytes arrived");
            let end = length + size;
            let Some(tail) = bytes.get(end..end + 2) else { return Ok(None) };
            ensure!(tail == b"\r\n", "a message without an end");
            return Ok(Some((end + 2, Frame::Message(&bytes[length..end]))));
        }
        let frame = match text {
            b"PING" => Frame::Question(b"PONG\r\n".to_vec()),
            b"PONG" | b"+OK" => Frame::Other,
            _ if text.starts_with(b"INFO ") => Frame::Other,
            _ => bail!("nats-server said {:?}", String::from_utf8_lossy(text)),
        };
        Ok(Some((length, frame)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::framed::tests::{cuts, hears, noise, numbered, sizes, survives};
    use super::*;

    fn device() -> NatsDevice {
        NatsDevice { subject: "d.7".to_owned() }
    }

    #[test]
    fn a_message_is_a_pub() {
        let mut plain = Vec::new();
        device().say(b"hello", &mut plain);
        assert_eq!(plain, b"PUB d.7 5\r\nhello\r\n");
    }

    #[test]
    fn frames() {
        #[track_caller]
        fn check(bytes: &[u8], expect: Option<(usize, Frame<'_>)>) {
            assert_eq!(device().hear(bytes).unwrap(), expect);
        }
        check(b"", None);
        check(b"MSG d.7 1 5\r", None);
        check(b"MSG d.7 1 5\r\nhello\r", None);
        check(b"MSG d.7 1 5\r\nhello\r\nMSG", Some((20, Frame::Message(b"hello"))));
        check(b"MSG d.7 1 0\r\n\r\n", Some((15, Frame::Message(b""))));
        check(b"PING\r\n", Some((6, Frame::Question(b"PONG\r\n".to_vec()))));
        check(b"INFO {}\r\n", Some((9, Frame::Other)));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bytes in [
            &b"-ERR 'Slow Consumer'\r\n"[..],
            b"MSG d.7 1\r\n",
            b"MSG d.7 1 reply 5\r\nhello\r\n",
            b"MSG d.7 1 -5\r\n",
            b"MSG d.7 1 99999999999999999999999\r\n",
            b"MSG d.7 1 5000000\r\n",
            b"MSG d.7 1 5\r\nhello!!",
            b"\r\n",
            &[b'x'; INTRODUCTION_BYTES_MAX + 1],
        ] {
            assert!(device().hear(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn messages_arrive_however_they_are_cut(size in sizes(), cuts in cuts()) {
            let message = vec![0xa5; size];
            let mut stream = b"INFO {\"x\":1}\r\n".to_vec();
            for number in 1..=5 {
                stream.extend(format!("MSG d.6 1 {size}\r\n").bytes());
                stream.extend(numbered(&message, number));
                stream.extend(b"\r\nPING\r\n");
            }
            hears(device(), &stream, &cuts, &message, 5);
        }

        #[test]
        fn nothing_a_server_says_hurts(pieces in noise(&[
            b"MSG d.7 1 256\r\n", b"MSG d.7 1 1048576\r\n", b"PING\r\n", b"MSG ", b"\r\n", b"INFO ",
        ])) {
            survives(device(), &pieces, PEER_MESSAGE_BYTES_MAX + 2 * INTRODUCTION_BYTES_MAX);
        }
    }
}
