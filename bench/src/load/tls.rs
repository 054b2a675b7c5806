//! Connections to a server: TCP, TLS by rustls until a device has introduced itself, then bare records.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::net::sockopt::set_socket_linger;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup,
    SignatureScheme,
};

use super::records::Direction;
use crate::limits::{CONNECT_STEP_MAX, TICKETS_KEPT_MAX};

/// How to reach a server.
#[derive(Debug, Clone)]
pub(crate) struct TlsConnector {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl TlsConnector {
    /// Reaches the server at `address`, whose certificate nobody looks at: what is sent is random,
    /// and what is measured stands on this machine. The signature is verified all the same, as it
    /// belongs to the cost of a handshake.
    ///
    /// Only the suite that the relay prefers is offered, so that all servers have the same work.
    pub(crate) fn new(address: SocketAddr, alpn: &[&[u8]]) -> Result<Self> {
        let mut config = client_config(alpn)?;
        config.enable_secret_extraction = true;
        Ok(Self { address, config: Arc::new(config) })
    }

    /// The same server, reached with a memory of its own for what a connection needs to resume this one.
    pub(crate) fn with_memory(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(TICKETS_KEPT_MAX);
        Self { address: self.address, config: Arc::new(config) }
    }

    /// A connection without TLS, so far.
    pub(crate) fn tcp(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect_timeout(&self.address, CONNECT_STEP_MAX)
            .with_context(|| format!("connecting to {} failed", self.address))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(CONNECT_STEP_MAX))?;
        socket.set_write_timeout(Some(CONNECT_STEP_MAX))?;
        Ok(socket)
    }

    /// Where the server is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handshake that is to come, for somebody who carries its bytes.
    pub(crate) fn begin(&self) -> Result<ClientConnection> {
        let name = ServerName::from(self.address.ip());
        Ok(ClientConnection::new(Arc::clone(&self.config), name)?)
    }

    /// A handshake: a full one, unless this connector remembers a session that the server still knows.
    pub(crate) fn handshake(&self, mut socket: TcpStream) -> Result<Session> {
        let mut tls = self.begin()?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).context("the TLS handshake failed")?;
        }
        Ok(Session { tls, socket })
    }
}

/// A connection that rustls has.
#[derive(Debug)]
pub(crate) struct Session {
    tls: ClientConnection,
    socket: TcpStream,
}

/// A connection as the generator has it.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) socket: TcpStream,
    pub(crate) sealing: Direction,
    pub(crate) opening: Direction,
}

impl Session {
    /// Whether a ticket replaced the certificate, and the group of the key exchange.
    pub(crate) fn kind(&self) -> (Option<HandshakeKind>, Option<NamedGroup>) {
        let group = self.tls.negotiated_key_exchange_group();
        (self.tls.handshake_kind(), group.map(|group| group.name()))
    }

    /// Ends the connection with a reset, so that neither side has to keep its port for a while.
    pub(crate) fn reset(self) -> Result<()> {
        set_socket_linger(&self.socket, Some(Duration::ZERO)).context("SO_LINGER was refused")
    }

    /// Keying material (RFC 8446 §7.5).
    pub(crate) fn exporter(&self, label: &[u8], context: &[u8]) -> Result<[u8; 32]> {
        self.tls.export_keying_material([0; 32], label, Some(context)).context("no exporter")
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.tls.writer().write(bytes)?;
        if sent != bytes.len() {
            bail!("rustls did not take a whole introduction");
        }
        self.tls.complete_io(&mut self.socket)?;
        Ok(())
    }

    /// Reads at least one byte.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> Result<usize> {
        loop {
            match self.tls.reader().read(room) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.tls.read_tls(&mut self.socket)? == 0 {
                        bail!("the server closed the connection without a word");
                    }
                    self.tls.process_new_packets()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads all of `wanted`.
    pub(crate) fn fill(&mut self, mut wanted: &mut [u8]) -> Result<()> {
        while !wanted.is_empty() {
            let count = self.read(wanted)?;
            wanted = &mut wanted[count..];
        }
        Ok(())
    }

    /// Takes the connection over. The server must not have said anything that was not read.
    pub(crate) fn into_records(self) -> Result<Records> {
        let secrets = self.tls.dangerous_extract_secrets()?;
        Ok(Records {
            socket: self.socket,
            sealing: Direction::new(secrets.tx)?,
            opening: Direction::new(secrets.rx)?,
        })
    }
}

/// A client that resumes nothing.
pub(crate) fn client_config(alpn: &[&[u8]]) -> Result<ClientConfig> {
    let mut crypto = provider::default_provider();
    crypto.cipher_suites.retain(|it| it.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let crypto = Arc::new(crypto);
    let verifier = Arc::new(AnyCertificate(Arc::clone(&crypto)));
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
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
