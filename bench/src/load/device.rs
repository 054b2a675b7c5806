//! A device of the relay: a key, a TLS connection, the opening of the protocol.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use hushwire_uring::sockets;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::control::{
    Control, CoverMode, Hello, Transport, Welcome, disclose, enclose, proof_message, replace_proof,
};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::{ALPN, EXPORTER_LABEL, HELLO_CLASS_MAX, VERSION};

use super::records::Direction;
use super::tls::{Records, Session, TlsConnector};

/// Who a device is.
pub(crate) struct Identity {
    key: Ed25519KeyPair,
    pub(crate) device: DeviceId,
}

impl Identity {
    /// A new one.
    pub(crate) fn generate() -> Result<Self> {
        let key = Ed25519KeyPair::generate().map_err(|_| anyhow!("making a key failed"))?;
        let device = DeviceId::from_slice(key.public_key().as_ref()).context("an odd key")?;
        Ok(Self { key, device })
    }

    /// The signature of `message`, 64 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        Ok(self.key.sign(message).as_ref().try_into()?)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.device).finish()
    }
}

/// A device that the server has welcomed.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) socket: TcpStream,
    pub(crate) id: DeviceId,
    pub(crate) sealing: Direction,
    pub(crate) opening: Direction,
    /// The counter of the next cell it sends on lane 0.
    pub(crate) counter: u64,
    /// The counter of the next cell it receives on lane 0.
    pub(crate) expected: u64,
    /// Bytes that may wait for it on the server, as WELCOME said.
    pub(crate) egress_bytes_max: u32,
    /// The shard it lives on, as WELCOME said.
    pub(crate) shard: u16,
}

impl Device {
    /// Whether the server has neither closed the connection nor said anything.
    pub(crate) fn is_connected(&self) -> bool {
        let silent = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.socket.set_nonblocking(true).is_ok()
            && self.socket.peek(&mut [0]).err().is_some_and(silent)
    }

    /// Sends a cover cell. `output` is room for its record.
    pub(crate) fn keep_alive(&mut self, output: &mut Vec<u8>) -> Result<()> {
        let mut cell = [0; Class::C0.cell_len()];
        cell[..HEADER_LEN].copy_from_slice(&Header::cover(Class::C0, 0, self.counter).encode());
        self.counter += 1;
        output.clear();
        self.sealing.seal(&cell, output)?;
        let sent = sockets::send(self.socket.as_fd(), output)?;
        ensure!(sent == output.len(), "the server does not read what keeps a connection alive");
        Ok(())
    }
}

/// What every device needs to connect.
#[derive(Debug, Clone)]
pub(crate) struct Connector(TlsConnector);

impl Connector {
    /// Connects to the relay, or the floor, at `address`.
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self(TlsConnector::new(address, &[ALPN])?))
    }

    /// The same server, reached with a memory for one session after the other.
    pub(crate) fn with_memory(&self) -> Self {
        Self(self.0.with_memory())
    }

    /// The way to the server below the protocol.
    pub(crate) const fn tls(&self) -> &TlsConnector {
        &self.0
    }

    /// A handshake, the opening, and a welcome. `token` enrols the device.
    pub(crate) fn connect(&self, identity: &Identity, token: Option<&[u8]>) -> Result<Device> {
        let (session, welcome) = self.open(identity, token)?;
        let Records { socket, sealing, opening } = session.into_records()?;
        Ok(Device {
            socket,
            id: identity.device,
            sealing,
            opening,
            counter: 1,
            expected: 2,
            egress_bytes_max: welcome.limits.egress_bytes,
            shard: welcome.shard,
        })
    }

    /// The same, of a connection that stays rustls'; with what the welcome said.
    pub(crate) fn open(
        &self,
        identity: &Identity,
        token: Option<&[u8]>,
    ) -> Result<(Session, Welcome)> {
        let mut session = self.0.handshake(self.0.tcp()?)?;
        let challenge = receive(&mut session).context("no CHALLENGE came")?;
        let binding = session.exporter(EXPORTER_LABEL, &[])?;
        let hello = hello(identity, token, &challenge, Transport::Tls, &binding)?;
        session.send(&hello).context("sending HELLO failed")?;
        let welcome = receive(&mut session).context("no WELCOME came")?;
        let welcome = match Control::decode(&welcome) {
            Ok(Control::Welcome(welcome)) => welcome,
            Ok(Control::Error { code, sentence, .. }) => {
                bail!("the server refused the device ({code}): {sentence}")
            }
            other => bail!("the server answered HELLO with {other:?}"),
        };
        Ok((session, welcome))
    }
}

/// The content of the next control cell.
fn receive(session: &mut Session) -> Result<Vec<u8>> {
    let mut cell = [0; HELLO_CLASS_MAX.cell_len()];
    session.fill(&mut cell[..Class::C0.cell_len()])?;
    let header = cell.first_chunk::<HEADER_LEN>().context("a header")?;
    let header = Header::decode(header)?;
    if header.kind != Kind::Control || header.class > HELLO_CLASS_MAX {
        bail!("the server began with a cell that is no opening");
    }
    let end = header.class.cell_len();
    session.fill(&mut cell[Class::C0.cell_len()..end])?;
    Ok(disclose(&cell[HEADER_LEN..end])?.to_vec())
}

/// The HELLO that answers `challenge`, a whole cell.
pub(crate) fn hello(
    identity: &Identity,
    token: Option<&[u8]>,
    challenge: &[u8],
    transport: Transport,
    binding: &[u8; 32],
) -> Result<Vec<u8>> {
    let hello = Hello {
        version: VERSION,
        device: identity.device,
        proof: [0; 64],
        token: token.map(<[u8]>::to_vec),
        name: None,
        cover: CoverMode::Off,
        software: "hush-bench".to_owned(),
    };
    let mut content = Control::Hello(hello).encode();
    let transcript = [challenge, &content].concat();
    let hash = digest(&SHA256, &transcript).as_ref().try_into()?;
    let proof = identity.sign(&proof_message(&hash, transport, binding))?;
    replace_proof(&mut content, &proof).context("a HELLO without a proof")?;
    let mut cell = enclose(&content).context("a HELLO that fits no cell")?;
    set_counter(&mut cell, 0);
    Ok(cell)
}
