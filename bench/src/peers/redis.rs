//! redis-server: publish and subscribe in RESP2 (redis.io, "RESP protocol" and "Pub/Sub").
//!
//! A connection that has subscribed may say nothing else, so the device that sends and the one that
//! receives are of different kinds. Every PUBLISH is answered with the number of receivers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::framed::{Frame, FramedDevice, Introduction, Protocol};
use super::text::{line, number};
use crate::limits::{PEER_LINE_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use crate::load::dialect::{Dialect, Seat};
use crate::load::tls::TlsConnector;

/// The configuration: nothing on disk, no log, as many clients as come, and no bound of what may wait
/// for one, as that would end its connection. More threads for input and output than the one would
/// only share its processor. The suite is the one that the relay prefers.
pub(super) fn configuration(port: u16, certificate: &Path, key: &Path, directory: &Path) -> String {
    format!(
        "bind 127.0.0.1\n\
         port 0\n\
         tls-port {port}\n\
         tls-cert-file {certificate:?}\n\
         tls-key-file {key:?}\n\
         tls-auth-clients no\n\
         tls-protocols \"TLSv1.3\"\n\
         tls-ciphersuites TLS_AES_128_GCM_SHA256\n\
         tls-session-caching no\n\
         daemonize no\n\
         save \"\"\n\
         appendonly no\n\
         dir {directory:?}\n\
         logfile /dev/null\n\
         maxclients 20000\n\
         client-output-buffer-limit pubsub 0 0 0\n\
         timeout 0\n\
         tcp-keepalive 0\n"
    )
}

/// Speaks with a redis-server.
#[derive(Debug)]
pub(crate) struct Redis(TlsConnector);

impl Redis {
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self(TlsConnector::new(address, &[])?))
    }
}

impl Dialect for Redis {
    type Device = FramedDevice<RedisDevice>;

    fn introduce(&self, seat: Seat<'_>) -> Result<Self::Device> {
        let mut introduction = Introduction::new(self.0.handshake(self.0.tcp()?)?);
        let sends = seat.number.is_multiple_of(2);
        let due = if sends {
            introduction.say(b"*1\r\n$4\r\nPING\r\n")?;
            b"+PONG\r\n".to_vec()
        } else {
            let name = name(seat.number);
            let length = name.len();
            let rest = format!("${length}\r\n{name}\r\n");
            introduction.say(format!("*2\r\n$9\r\nSUBSCRIBE\r\n{rest}").as_bytes())?;
            format!("*3\r\n$9\r\nsubscribe\r\n{rest}:1\r\n").into_bytes()
        };
        introduction.hear(|bytes| match bytes.get(..due.len()) {
            Some(came) if came == due => Ok(Some((due.len(), ()))),
            None if due.starts_with(bytes) => Ok(None),
            Some(_) | None => bail!("redis-server said {:?}", String::from_utf8_lossy(bytes)),
        })?;
        FramedDevice::new(introduction, RedisDevice { channel: name(seat.number ^ 1) })
    }
}

fn name(number: usize) -> String {
    format!("d{number}")
}

/// A device that publishes, or has subscribed.
#[derive(Debug)]
pub(crate) struct RedisDevice {
    /// The channel of the other device of the pair.
    channel: String,
}

impl Protocol for RedisDevice {
    fn say(&self, message: &[u8], plain: &mut Vec<u8>) {
        let channel = &self.channel;
        // Writing to memory does not fail.
        let _ = write!(plain, "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n", channel.len());
        let _ = write!(plain, "${}\r\n", message.len());
        plain.extend_from_slice(message);
        plain.extend_from_slice(b"\r\n");
    }

    fn hear<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, Frame<'a>)>> {
        let Some((length, text)) = line(bytes, PEER_LINE_BYTES_MAX)? else { return Ok(None) };
        match text {
            b"*3" => {}
            [b':', receivers @ ..] => {
                ensure!(number(receivers)? > 0, "redis-server knows nobody who receives");
                return Ok(Some((length, Frame::Other)));
            }
            text => bail!("redis-server said {:?}", String::from_utf8_lossy(text)),
        }
        let mut at = length;
        let mut message = &bytes[..0];
        for part in 0..3 {
            let Some((length, bulk)) = bulk(&bytes[at..])? else { return Ok(None) };
            ensure!(part != 0 || bulk == b"message", "redis-server said something else");
            message = bulk;
            at += length;
        }
        Ok(Some((at, Frame::Message(message))))
    }
}

/// A bulk string: its length, and as many bytes.
fn bulk(bytes: &[u8]) -> Result<Option<(usize, &[u8])>> {
    let Some((start, text)) = line(bytes, PEER_LINE_BYTES_MAX)? else { return Ok(None) };
    let Some(digits) = text.strip_prefix(b"$") else { bail!("a message that is no string") };
    let length = number(digits)?;
    ensure!(length <= PEER_MESSAGE_BYTES_MAX, "a message of {length} bytes arrived");
    let end = start + length;
    let Some(tail) = bytes.get(end..end + 2) else { return Ok(None) };
    ensure!(tail == b"\r\n", "a message without an end");
    Ok(Some((end + 2, &bytes[start..end])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::framed::tests::{cuts, hears, noise, numbered, sizes, survives};
    use super::*;

    fn device() -> RedisDevice {
        RedisDevice { channel: "d7".to_owned() }
    }

    #[test]
    fn a_message_is_a_publish() {
        let mut plain = Vec::new();
        device().say(b"hello", &mut plain);
        assert_eq!(plain, b"*3\r\n$7\r\nPUBLISH\r\n$2\r\nd7\r\n$5\r\nhello\r\n");
    }

    #[test]
    fn frames() {
        #[track_caller]
        fn check(bytes: &[u8], expect: Option<(usize, Frame<'_>)>) {
            assert_eq!(device().hear(bytes).unwrap(), expect);
        }
        let message = b"*3\r\n$7\r\nmessage\r\n$2\r\nd7\r\n$5\r\nhello\r\n";
        for end in 0..message.len() {
            check(&message[..end], None);
        }
        check(message, Some((message.len(), Frame::Message(b"hello"))));
        check(b":1\r\n:1\r\n", Some((4, Frame::Other)));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bytes in [
            &b":0\r\n"[..],
            b":\r\n",
            b":-1\r\n",
            b"-ERR max number of clients reached\r\n",
            b"*2\r\n$7\r\n",
            b"*3\r\n$8\r\npmessage\r\n$2\r\nd7\r\n$5\r\nhello\r\n",
            b"*3\r\n:7\r\n",
            b"*3\r\n$-1\r\n",
            b"*3\r\n$7\r\nmessageXX",
            b"*3\r\n$9999999\r\n",
            &[b'$'; PEER_LINE_BYTES_MAX + 1],
        ] {
            assert!(device().hear(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn messages_arrive_however_they_are_cut(size in sizes(), cuts in cuts()) {
            let message = vec![0xa5; size];
            let mut stream = Vec::new();
            for number in 1..=5 {
                stream.extend(format!("*3\r\n$7\r\nmessage\r\n$2\r\nd6\r\n${size}\r\n").bytes());
                stream.extend(numbered(&message, number));
                stream.extend(b"\r\n:1\r\n");
            }
            hears(device(), &stream, &cuts, &message, 5);
        }

        #[test]
        fn nothing_a_server_says_hurts(pieces in noise(&[
            b"*3\r\n$7\r\nmessage\r\n$2\r\nd7\r\n$256\r\n", b"*3\r\n$7\r\nmessage\r\n", b":1\r\n",
            b"$1048576\r\n", b"\r\n",
        ])) {
            let frame_max = 3 * (PEER_MESSAGE_BYTES_MAX + PEER_LINE_BYTES_MAX);
            survives(device(), &pieces, frame_max);
        }
    }
}
