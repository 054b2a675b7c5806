//! The TLS server and its handshakes: rustls, fed record by record.
//!
//! Record by record because rustls would otherwise decrypt the application records behind the client's
//! Finished itself. What it leaves behind is handed to [`Opener`] and [`Sealer`] with the sequence numbers
//! rustls stopped at.

use std::fmt;
use std::sync::Arc;

use hushwire_wire::limits::{ALPN, EXPORTER_LABEL};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ConnectionTrafficSecrets, NoKeyLog};
use thiserror::Error;

use super::fault::Fault;
use super::handshake::{Live, Step};
use super::keys::TrafficKeys;
use super::limits::TICKETS_DEFAULT;
use super::opener::Opener;
use super::sealer::Sealer;
use super::secrets::{Secrets, SlotLog, Suite};

/// What the client and the relay speak inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `hushwire/1`: cells.
    Hushwire1,
    /// `http/1.1`: WebSocket and the control API.
    Http11,
}

impl Protocol {
    /// The name in ALPN (RFC 7301).
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Hushwire1 => ALPN,
            Self::Http11 => b"http/1.1",
        }
    }

    fn from_alpn(name: &[u8]) -> Option<Self> {
        [Self::Hushwire1, Self::Http11].into_iter().find(|protocol| protocol.alpn() == name)
    }
}

/// How a [`ServerTls`] behaves.
#[derive(Debug, Clone)]
pub struct ServerTlsOptions {
    /// Session tickets given after a handshake; 0 turns resumption off. Default 2.
    pub tickets: usize,
    /// What may be spoken, most preferred first. Default `hushwire/1` only.
    pub protocols: Vec<Protocol>,
    /// Whether the relay may speak in its first flight, before the client's Finished
    /// ([`Handshake::send`]). Default true.
    pub speaks_first: bool,
}

impl Default for ServerTlsOptions {
    fn default() -> Self {
        Self { tickets: TICKETS_DEFAULT, protocols: vec![Protocol::Hushwire1], speaks_first: true }
    }
}

/// Why a [`ServerTls`] could not be made.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ServerTlsError {
    /// The certificate chain is empty or unusable, or the key does not belong to it.
    #[error("the relay's certificate and key do not work: {0}")]
    Identity(rustls::Error),
    /// No random ticket keys.
    #[error("no keys for session tickets: {0}")]
    Tickets(rustls::Error),
    /// No protocol to speak.
    #[error("no application protocol is configured")]
    NoProtocols,
}

/// The relay's side of TLS, shared by all shards: identity, ticket keys, protocols.
///
/// TLS 1.3 only; key exchange X25519MLKEM768 before X25519, P-256 and P-384; AES-128-GCM before AES-256-GCM
/// and ChaCha20-Poly1305; no 0-RTT. Tickets are made and opened with keys that live only here, for 12 hours.
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
}

impl ServerTls {
    /// A server that proves itself with the first certificate of `chain` and its `key`.
    ///
    /// # Errors
    /// An unusable identity, no protocol, or no randomness.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        options: &ServerTlsOptions,
    ) -> Result<Arc<Self>, ServerTlsError> {
        let certified = CertifiedKey::from_der(chain, key, &crypto());
        let certified = certified.map_err(ServerTlsError::Identity)?;
        Self::from_certified(Arc::new(certified), options)
    }

    /// A server that proves itself with a certificate and key that were read and matched before.
    ///
    /// # Errors
    /// No protocol, or no randomness.
    pub fn from_certified(
        certified: Arc<CertifiedKey>,
        options: &ServerTlsOptions,
    ) -> Result<Arc<Self>, ServerTlsError> {
        if options.protocols.is_empty() {
            return Err(ServerTlsError::NoProtocols);
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(crypto()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ServerTlsError::Identity)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if options.tickets > 0 {
            config.ticketer = provider::Ticketer::new().map_err(ServerTlsError::Tickets)?;
        }
        config.send_tls13_tickets = options.tickets;
        config.alpn_protocols =
            options.protocols.iter().map(|protocol| protocol.alpn().to_vec()).collect();
        config.send_half_rtt_data = options.speaks_first;
        config.max_early_data_size = 0;
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(SlotLog);
        Ok(Arc::new(Self { config: Arc::new(config) }))
    }

    /// The handshake of one accepted connection.
    ///
    /// # Errors
    /// [`Fault::Internal`] or [`Fault::Handshake`] if rustls refuses its configuration.
    pub fn handshake(&self) -> Result<Handshake, Fault> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&self.config))
            .map_err(|error| Fault::Handshake(Box::new(error)))?;
        Ok(Handshake { live: Some(Box::new(Live::new(connection))) })
    }

    /// The same for QUIC, whose packets are quinn-proto's and rustls' to protect. The exporter comes out as for TCP.
    pub(crate) fn for_quic(&self) -> ServerConfig {
        let mut config = ServerConfig::clone(&self.config);
        config.enable_secret_extraction = false;
        config
    }

    /// The same for a server that leaves its records to rustls: identity, groups, suites and tickets, and
    /// no secret comes out.
    pub(crate) fn rustls_alone(&self) -> ServerConfig {
        let mut config = ServerConfig::clone(&self.config);
        config.key_log = Arc::new(NoKeyLog);
        config.enable_secret_extraction = false;
        config
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

pub(super) fn crypto() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
            provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
            provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            provider::kx_group::X25519MLKEM768,
            provider::kx_group::X25519,
            provider::kx_group::SECP256R1,
            provider::kx_group::SECP384R1,
        ],
        ..provider::default_provider()
    }
}

/// A handshake under way. It holds what the client sent of it, at most
/// [`HANDSHAKE_BYTES_MAX`](super::limits::HANDSHAKE_BYTES_MAX) bytes, and is empty once it is over.
#[derive(Debug)]
pub struct Handshake {
    live: Option<Box<Live>>,
}

/// How far a [`Handshake`] has come. `consumed` bytes of the input have been used; the rest has not been
/// looked at.
#[derive(Debug)]
pub enum Progress {
    /// All input is used, and more is needed.
    More {
        /// Bytes of the input, all of them.
        consumed: usize,
    },
    /// The output holds the relay's first flight, and [`Handshake::send`] may append to it. Happens once.
    /// Call [`Handshake::advance`] again with the rest of the input, if there is any.
    Flight {
        /// Bytes of the input.
        consumed: usize,
    },
    /// The handshake is complete. What is left of the input are records for [`Established::opener`].
    Done {
        /// Bytes of the input.
        consumed: usize,
        /// The connection.
        established: Box<Established>,
    },
}

/// A connection after its handshake. Can be moved to another thread.
pub struct Established {
    /// What is spoken.
    pub protocol: Protocol,
    /// Opens what the client sends.
    pub opener: Opener,
    /// Seals what the client is sent.
    pub sealer: Sealer,
    /// The exporter value for "EXPORTER-hushwire/1" with an empty context (RFC 8446 §7.5), which a proof of
    /// identity is bound to.
    pub binding: [u8; 32],
    /// Whether a ticket replaced the certificate.
    pub resumed: bool,
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("protocol", &self.protocol)
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}

impl Handshake {
    /// Takes `input`, whatever arrived, however it is cut, and appends what has to be sent to `output`.
    ///
    /// # Errors
    /// The client's faults and rustls'. `output` then holds the alert (or, for [`Fault::PlainHttp`], an HTTP
    /// answer), to be sent before closing; nothing more can be done with the handshake.
    pub fn advance(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Progress, Fault> {
        let mut live = self.live.take().ok_or(OVER)?;
        let (consumed, step) = live.advance(input, output)?;
        match step {
            Step::More => {
                self.live = Some(live);
                Ok(Progress::More { consumed })
            }
            Step::Flight => {
                self.live = Some(live);
                Ok(Progress::Flight { consumed })
            }
            Step::Done => {
                let established = Box::new(establish(*live)?);
                Ok(Progress::Done { consumed, established })
            }
        }
    }

    /// Seals `plain` as one record behind the first flight, for the client to read as soon as it has
    /// verified the relay's Finished, half a round trip before [`Progress::Done`]. Whoever reads it is not
    /// known yet. Only between [`Progress::Flight`] and [`Progress::Done`].
    ///
    /// # Errors
    /// [`Fault::Internal`] at another time, without [`ServerTlsOptions::speaks_first`], or for more than
    /// 16 384 bytes.
    pub fn send(&mut self, plain: &[u8], output: &mut Vec<u8>) -> Result<(), Fault> {
        self.live.as_mut().ok_or(OVER)?.send(plain, output)
    }

    /// The exporter value of [`Established::binding`], known from [`Progress::Flight`] on.
    ///
    /// # Errors
    /// [`Fault::Internal`] before.
    pub fn binding(&self) -> Result<[u8; 32], Fault> {
        let live = self.live.as_ref().ok_or(OVER)?;
        let secrets = live.secrets.as_ref().ok_or(Fault::Internal("no exporter secret yet"))?;
        secrets.exporter.export(live.suite()?, EXPORTER_LABEL)
    }
}

const OVER: Fault = Fault::Internal("the handshake is over");

fn establish(mut live: Live) -> Result<Established, Fault> {
    let suite = live.suite()?;
    let protocol = live
        .connection
        .alpn_protocol()
        .and_then(Protocol::from_alpn)
        .ok_or(Fault::Internal("a handshake without protocol was not refused"))?;
    let resumed = live.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    let Secrets { client, server, exporter, hash: _ } =
        live.secrets.take().ok_or(Fault::Internal("rustls logged no secrets"))?;
    // The kernel connection, which could derive later generations but weighs 805 bytes, is dropped.
    let (extracted, _) = live
        .connection
        .dangerous_into_kernel_connection()
        .map_err(|error| Fault::Handshake(Box::new(error)))?;
    let (sent, ours) = extracted.tx;
    let (received, theirs) = extracted.rx;
    let opener = Opener::new(TrafficKeys::new(suite, client, received)?);
    let sealer = Sealer::new(TrafficKeys::new(suite, server, sent)?);
    if !(same_keys(opener.keys(), &theirs) && same_keys(sealer.keys(), &ours)) {
        return Err(Fault::Internal("the logged secrets belong to another connection"));
    }
    let binding = exporter.export(suite, EXPORTER_LABEL)?;
    Ok(Established { protocol, opener, sealer, binding, resumed })
}

pub(super) fn same_keys(keys: &TrafficKeys, rustls: &ConnectionTrafficSecrets) -> bool {
    let (suite, key, iv) = match rustls {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Suite::ChaCha20Poly1305, key, iv)
        }
        _ => return false,
    };
    keys.suite() == suite && keys.matches(key.as_ref(), iv.as_ref())
}
