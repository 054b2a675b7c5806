//! The least that a connect can cost: rustls as it comes, a ring, and the opening of the protocol.
//!
//! It has no engine, no store and no limits, and forwards nothing. What it does is what any server has to do
//! that wants to know who connects: TLS, one cell each way, one Ed25519 signature verified, and a welcome.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use hushwire_relay::identity::Identity;
use hushwire_relay::measuring::rustls_alone;
use hushwire_relay::transport::{ServerTls, ServerTlsOptions};
use hushwire_uring::sockets::{self, ListenOptions, Listener, Received};
use hushwire_uring::{
    Completion, DormantRing, Interest, Kind as Purpose, Ring, RingOptions, Token,
};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::control::{Control, Transport, disclose, proof_message, replace_proof};
use hushwire_wire::limits::{EXPORTER_LABEL, HELLO_CLASS_MAX, VERSION};
use rustls::ServerConnection;
use rustls::server::ServerConfig;

use crate::forwarder::opening;
use crate::limits::{GREETED_MAX, READ_BYTES};

const ACCEPT: Purpose = Purpose::accept(0);
const POLL: Purpose = Purpose::poll(0);

/// The server. It ends with its process.
pub(super) struct Greeter {
    ring: Ring,
    listener: Listener,
    config: Arc<ServerConfig>,
    /// Each with one poll armed while the loop waits, so that a completion is always of the guest in its place.
    guests: Vec<Option<Box<Guest>>>,
    free: Vec<u32>,
    scratch: Box<[u8]>,
    output: Vec<u8>,
}

/// The connection is to be closed.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<rustls::Error> for Over {
    fn from(_: rustls::Error) -> Self {
        Self
    }
}

struct Guest {
    socket: OwnedFd,
    tls: ServerConnection,
    stage: Stage,
}

enum Stage {
    Challenged(Challenged),
    Welcomed,
}

/// CHALLENGE waits in rustls for its first flight, or was sent with it.
struct Challenged {
    /// The content of CHALLENGE.
    challenge: Vec<u8>,
    /// What has arrived of HELLO.
    hello: Vec<u8>,
}

impl Greeter {
    /// One that listens on `address` with the relay's configuration of TLS.
    pub(super) fn new(address: SocketAddr, certificate: &Path, key: &Path) -> Result<Self> {
        hushwire_uring::raise_nofile(GREETED_MAX as u64 + 64)?;
        let identity = Identity::load(certificate, key)?;
        let tls = ServerTls::from_certified(identity.certified_key(), &ServerTlsOptions::default());
        Ok(Self {
            ring: DormantRing::new(RingOptions::default())?.enable()?,
            listener: sockets::listen(address, &ListenOptions::default())?,
            config: Arc::new(rustls_alone(&*tls?)),
            guests: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            output: Vec::new(),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// Greets until the process is ended.
    pub(super) fn run(mut self) -> Result<()> {
        self.accept()?;
        let mut completions = Vec::new();
        loop {
            self.ring.wait(None).context("the ring failed")?;
            self.ring.drain(&mut completions);
            for completion in completions.drain(..) {
                self.complete(completion)?;
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        let token = Token::new(ACCEPT, 0, 0);
        Ok(self.ring.accept_multishot(self.listener.socket.as_fd(), token)?)
    }

    fn complete(&mut self, completion: Completion) -> Result<()> {
        match completion {
            Completion::Accepted { socket, more, .. } => {
                self.admit(socket)?;
                if !more {
                    self.accept()?;
                }
            }
            Completion::AcceptFailed { error, .. } => {
                return Err(error).context("accepting failed");
            }
            Completion::Polled { token, .. } => self.turn(token.index())?,
            Completion::PollEnded { token, .. } => self.dismiss(token.index()),
            Completion::Sent { .. }
            | Completion::Cancelled { .. }
            | Completion::Woken { .. }
            | Completion::WatchEnded { .. } => {}
        }
        Ok(())
    }

    /// Takes a connection in, if there is room.
    fn admit(&mut self, socket: OwnedFd) -> Result<()> {
        let Ok(guest) = Guest::new(socket, &self.config) else { return Ok(()) };
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.guests.len() == GREETED_MAX => return Ok(()),
            None => {
                self.guests.push(None);
                self.guests.len() as u32 - 1
            }
        };
        self.guests[index as usize] = Some(Box::new(guest));
        self.poll(index)
    }

    fn poll(&mut self, index: u32) -> Result<()> {
        let guest = self.guests[index as usize].as_deref().context("a poll of nobody")?;
        let token = Token::new(POLL, 0, index);
        Ok(self.ring.poll_once(guest.socket.as_fd(), token, Interest::Read)?)
    }

    /// Serves whoever has said something, and waits for more, or closes.
    fn turn(&mut self, index: u32) -> Result<()> {
        let guest = self.guests[index as usize].as_deref_mut().context("a turn of nobody")?;
        match guest.serve(&mut self.scratch, &mut self.output) {
            Ok(()) => self.poll(index),
            Err(Over) => {
                self.dismiss(index);
                Ok(())
            }
        }
    }

    fn dismiss(&mut self, index: u32) {
        self.guests[index as usize] = None;
        self.free.push(index);
    }
}

impl Guest {
    /// A connection whose CHALLENGE will go with rustls' first flight.
    fn new(socket: OwnedFd, config: &Arc<ServerConfig>) -> Result<Self, Over> {
        let mut tls = ServerConnection::new(Arc::clone(config))?;
        let cell = opening::challenge().ok_or(Over)?;
        tls.writer().write_all(&cell)?;
        let challenge = disclose(&cell[HEADER_LEN..]).map_err(|_| Over)?.to_vec();
        let stage = Stage::Challenged(Challenged { challenge, hello: Vec::new() });
        Ok(Self { socket, tls, stage })
    }

    /// One receive, all that comes of it, and one send.
    fn serve(&mut self, scratch: &mut [u8], output: &mut Vec<u8>) -> Result<(), Over> {
        let mut input = match sockets::recv(self.socket.as_fd(), scratch)? {
            Received::Bytes(count) => &scratch[..count],
            Received::Empty => return Ok(()),
            Received::End => return Err(Over),
        };
        while !input.is_empty() {
            self.tls.read_tls(&mut input)?;
            self.tls.process_new_packets()?;
            self.listen()?;
        }
        output.clear();
        while self.tls.wants_write() {
            self.tls.write_tls(output)?;
        }
        // All of an opening is a few kilobytes, which a socket has room for.
        let sent = sockets::send(self.socket.as_fd(), output)?;
        if sent == output.len() { Ok(()) } else { Err(Over) }
    }

    /// Takes what rustls has opened, and answers a HELLO that is whole.
    fn listen(&mut self) -> Result<(), Over> {
        let mut room = [0; HELLO_CLASS_MAX.cell_len()];
        loop {
            let count = match self.tls.reader().read(&mut room) {
                Ok(0) => return Err(Over),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Over),
            };
            let Stage::Challenged(challenged) = &mut self.stage else { return Err(Over) };
            challenged.hello.extend_from_slice(&room[..count]);
            let Some(cell) = challenged.whole()? else { continue };
            let binding = self.tls.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))?;
            challenged.verify(cell, &binding)?;
            let mut welcome = opening::welcome().ok_or(Over)?;
            set_counter(&mut welcome, 1);
            self.tls.writer().write_all(&welcome)?;
            self.stage = Stage::Welcomed;
        }
    }
}

impl Challenged {
    /// The cell of HELLO once all of it is there, and nothing behind it.
    fn whole(&self) -> Result<Option<&[u8]>, Over> {
        if self.hello.len() < Class::C0.cell_len() {
            return Ok(None);
        }
        let header = self.hello.first_chunk::<HEADER_LEN>().ok_or(Over)?;
        let header = Header::decode(header).map_err(|_| Over)?;
        if header.kind != Kind::Control || header.class > HELLO_CLASS_MAX {
            return Err(Over);
        }
        match self.hello.len().cmp(&header.class.cell_len()) {
            std::cmp::Ordering::Less => Ok(None),
            std::cmp::Ordering::Equal => Ok(Some(&self.hello)),
            std::cmp::Ordering::Greater => Err(Over),
        }
    }

    /// Whether the device of a HELLO has signed it for this connection.
    fn verify(&self, cell: &[u8], binding: &[u8; 32]) -> Result<(), Over> {
        let content = disclose(&cell[HEADER_LEN..]).map_err(|_| Over)?;
        let Ok(Control::Hello(hello)) = Control::decode(content) else { return Err(Over) };
        if hello.version != VERSION {
            return Err(Over);
        }
        let mut transcript = [&self.challenge, content].concat();
        replace_proof(&mut transcript[self.challenge.len()..], &[0; 64]).ok_or(Over)?;
        let hash = digest(&SHA256, &transcript).as_ref().try_into().map_err(|_| Over)?;
        let message = proof_message(&hash, Transport::Tls, binding);
        UnparsedPublicKey::new(&ED25519, hello.device.as_bytes())
            .verify(&message, &hello.proof)
            .map_err(|_| Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hushwire_wire::control::{CoverMode, Hello, enclose};

    use crate::load::Identity as Device;

    /// The HELLO that a device sends over a connection with this exporter.
    fn hello(device: &Device, challenge: &[u8], binding: &[u8; 32]) -> Vec<u8> {
        let hello = Hello {
            version: VERSION,
            device: device.device,
            proof: [0; 64],
            token: None,
            name: None,
            cover: CoverMode::Off,
            software: "test".to_owned(),
        };
        let mut content = Control::Hello(hello).encode();
        let hash = digest(&SHA256, &[challenge, &content].concat()).as_ref().try_into().unwrap();
        let proof = device.sign(&proof_message(&hash, Transport::Tls, binding)).unwrap();
        replace_proof(&mut content, &proof).unwrap();
        enclose(&content).unwrap()
    }

    #[test]
    fn a_hello_is_taken_when_it_is_whole_and_signed_for_its_connection() {
        let device = Device::generate().unwrap();
        let cell = hello(&device, b"challenge", &[7; 32]);
        let challenged = |challenge: &[u8], hello: &[u8]| Challenged {
            challenge: challenge.to_vec(),
            hello: hello.to_vec(),
        };
        let here = challenged(b"challenge", &cell);
        assert!(here.whole().is_ok_and(|found| found == Some(&cell[..])));
        assert!(here.verify(&cell, &[7; 32]).is_ok());
        assert!(here.verify(&cell, &[8; 32]).is_err(), "another connection");
        assert!(challenged(b"another", &cell).verify(&cell, &[7; 32]).is_err());

        let parts = [&b""[..], &cell[..HEADER_LEN], &cell[..cell.len() - 1]];
        for part in parts {
            assert!(challenged(b"challenge", part).whole().is_ok_and(|found| found.is_none()));
        }
        for wrong in [[&cell[..], &[0]].concat(), vec![0xff; cell.len()], vec![0; cell.len()]] {
            assert!(challenged(b"challenge", &wrong).whole().is_err());
        }
    }
}
