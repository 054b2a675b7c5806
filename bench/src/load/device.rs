//! A device: a key, a TLS connection, the opening of the protocol.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::control::{
    Control, CoverMode, Hello, Transport, disclose, enclose, proof_message, replace_proof,
};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::{ALPN, EXPORTER_LABEL, HELLO_CLASS_MAX, VERSION};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::records::Direction;
use crate::limits::CONNECT_STEP_MAX;

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
}

impl Device {
    /// Whether the server has neither closed the connection nor said anything.
    pub(crate) fn is_connected(&self) -> bool {
        let silent = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.socket.set_nonblocking(true).is_ok()
            && self.socket.peek(&mut [0]).err().is_some_and(silent)
    }
}

/// What every device needs to connect.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Connector {
    /// Connects to the server at `address`, whose certificate nobody looks at: the bodies are random,
    /// and what is measured stands on this machine. The signature is verified all the same, as it
    /// belongs to the cost of a handshake.
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        let crypto = Arc::new(provider::default_provider());
        let verifier = Arc::new(AnyCertificate(Arc::clone(&crypto)));
        let mut config = ClientConfig::builder_with_provider(crypto)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_secret_extraction = true;
        config.resumption = Resumption::disabled();
        Ok(Self { address, config: Arc::new(config) })
    }

    /// A full handshake, the opening, and a welcome. `token` enrols the device.
    pub(crate) fn connect(&self, identity: &Identity, token: Option<&[u8]>) -> Result<Device> {
        let mut socket = TcpStream::connect_timeout(&self.address, CONNECT_STEP_MAX)
            .with_context(|| format!("connecting to {} failed", self.address))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(CONNECT_STEP_MAX))?;
        socket.set_write_timeout(Some(CONNECT_STEP_MAX))?;
        let name = ServerName::from(self.address.ip());
        let mut tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).context("the TLS handshake failed")?;
        }
        let challenge = receive(&mut tls, &mut socket).context("no CHALLENGE came")?;
        let binding = tls
            .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))
            .context("no exporter")?;
        let hello = hello(identity, token, &challenge, &binding)?;
        let sent = tls.writer().write(&hello)?;
        if sent != hello.len() {
            bail!("rustls did not take a whole HELLO");
        }
        tls.complete_io(&mut socket).context("sending HELLO failed")?;
        let welcome = receive(&mut tls, &mut socket).context("no WELCOME came")?;
        let egress_bytes_max = match Control::decode(&welcome) {
            Ok(Control::Welcome(welcome)) => welcome.limits.egress_bytes,
            Ok(Control::Error { code, sentence, .. }) => {
                bail!("the server refused the device ({code}): {sentence}")
            }
            other => bail!("the server answered HELLO with {other:?}"),
        };
        let secrets = tls.dangerous_extract_secrets()?;
        Ok(Device {
            socket,
            id: identity.device,
            sealing: Direction::new(secrets.tx)?,
            opening: Direction::new(secrets.rx)?,
            counter: 1,
            expected: 2,
            egress_bytes_max,
        })
    }
}

/// The content of the next control cell.
fn receive(tls: &mut ClientConnection, socket: &mut TcpStream) -> Result<Vec<u8>> {
    let mut cell = [0; HELLO_CLASS_MAX.cell_len()];
    fill(tls, socket, &mut cell[..Class::C0.cell_len()])?;
    let header = cell.first_chunk::<HEADER_LEN>().context("a header")?;
    let header = Header::decode(header)?;
    if header.kind != Kind::Control || header.class > HELLO_CLASS_MAX {
        bail!("the server began with a cell that is no opening");
    }
    let end = header.class.cell_len();
    fill(tls, socket, &mut cell[Class::C0.cell_len()..end])?;
    Ok(disclose(&cell[HEADER_LEN..end])?.to_vec())
}

fn fill(tls: &mut ClientConnection, socket: &mut TcpStream, mut wanted: &mut [u8]) -> Result<()> {
    while !wanted.is_empty() {
        match tls.reader().read(wanted) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => wanted = &mut wanted[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if tls.read_tls(socket)? == 0 {
                    bail!("the server closed the connection without a word");
                }
                tls.process_new_packets()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The HELLO that answers `challenge`, a whole cell.
fn hello(
    identity: &Identity,
    token: Option<&[u8]>,
    challenge: &[u8],
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
    let signed = identity.key.sign(&proof_message(&hash, Transport::Tls, binding));
    let proof = signed.as_ref().try_into()?;
    replace_proof(&mut content, &proof).context("a HELLO without a proof")?;
    let mut cell = enclose(&content).context("a HELLO that fits no cell")?;
    set_counter(&mut cell, 0);
    Ok(cell)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
