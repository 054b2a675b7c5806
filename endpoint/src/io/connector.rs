//! From an address to a TLS 1.3 connection with `hushwire/1`, over TCP or in QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hushwire_wire::limits::{ALPN, QUIC_ID_BYTES};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};
use tokio::net::TcpStream;

use super::limits::{CONNECT_MS_MAX, QUIC_CONNECT_MS_MAX, TICKETS_MAX};
use super::quic::{self, QuicStream};
use super::tls::TlsStream;
use super::trust::{PinDiffers, Witness, verifier};
use super::{CellStream, IoError, TrustError};
use crate::keystore::RelayTrust;

/// Makes connections that trust alike. Session tickets stay in it, so that one is only ever used under the trust it
/// was issued under, and over the transport it was issued on.
#[derive(Clone, Debug)]
pub struct Connector {
    tls: Arc<ClientConfig>,
    quic: quinn_proto::ClientConfig,
}

impl Connector {
    /// TLS 1.3 only, X25519MLKEM768 first, no early data.
    ///
    /// # Errors
    /// [`TrustError`] where there is no pin, or more than four.
    pub fn new(trust: &RelayTrust) -> Result<Self, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier(trust, provider.clone())?;
        let quic = client_config(Arc::new(Witness(verifier.clone())), provider.clone());
        let tls = client_config(verifier, provider);
        Ok(Self { tls: Arc::new(tls), quic: quic::config(quic) })
    }

    /// Connects to `host:port` over TLS within 10 s, the handshake included.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn connect_tls(&self, address: &str) -> Result<CellStream, IoError> {
        let (name, places) = (server_name(address)?, resolve(address).await?);
        self.tls(address, name, &places).await
    }

    /// Connects to `host:port` over QUIC within 5 s, the handshake included. `id`, where the relay gave one, goes onto
    /// the wire as the connection's first destination: it must never be used again.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn connect_quic(
        &self,
        address: &str,
        id: Option<[u8; QUIC_ID_BYTES]>,
    ) -> Result<CellStream, IoError> {
        let (name, places) = (server_name(address)?, resolve(address).await?);
        let mut ids = id.into_iter().collect();
        self.quic(address, &name, &places, &mut ids).await
    }

    pub(super) async fn tls(
        &self,
        address: &str,
        name: ServerName<'static>,
        places: &[SocketAddr],
    ) -> Result<CellStream, IoError> {
        in_time(address, CONNECT_MS_MAX, async {
            let unreachable = |error| IoError::Connect { address: address.into(), error };
            let tcp = TcpStream::connect(places).await.map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(unreachable)?;
            let tls = ClientConnection::new(self.tls.clone(), name).map_err(IoError::Tls)?;
            Ok(TlsStream::handshake(tcp, tls).await?.into())
        })
        .await
    }

    /// Tries one place after the other until one answers. Takes an ID out of `ids` for each try.
    pub(super) async fn quic(
        &self,
        address: &str,
        name: &ServerName<'static>,
        places: &[SocketAddr],
        ids: &mut Vec<[u8; QUIC_ID_BYTES]>,
    ) -> Result<CellStream, IoError> {
        in_time(address, QUIC_CONNECT_MS_MAX, async {
            let (mut failed, name) = (None, name.to_str());
            for place in places {
                let id = ids.pop();
                match QuicStream::connect(&self.quic, *place, address, &name, id).await {
                    Ok(stream) => return Ok(stream.into()),
                    Err(error) => failed = Some(error),
                }
            }
            Err(failed.unwrap_or_else(|| nowhere(address)))
        })
        .await
    }
}

fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::in_memory_sessions(TICKETS_MAX);
    config
}

async fn in_time(
    address: &str,
    ms: u64,
    connected: impl Future<Output = Result<CellStream, IoError>>,
) -> Result<CellStream, IoError> {
    let after = Duration::from_millis(ms);
    let late = |_| IoError::TimedOut { address: address.into(), after };
    tokio::time::timeout(after, connected).await.map_err(late)?
}

/// Where `host:port` is.
pub(super) async fn resolve(address: &str) -> Result<Vec<SocketAddr>, IoError> {
    let after = Duration::from_millis(CONNECT_MS_MAX);
    match tokio::time::timeout(after, tokio::net::lookup_host(address)).await {
        Ok(Ok(found)) => match found.collect::<Vec<_>>() {
            places if places.is_empty() => Err(nowhere(address)),
            places => Ok(places),
        },
        Ok(Err(error)) => Err(IoError::Connect { address: address.into(), error }),
        Err(_) => Err(IoError::TimedOut { address: address.into(), after }),
    }
}

fn nowhere(address: &str) -> IoError {
    let error = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    IoError::Connect { address: address.into(), error }
}

pub(super) fn server_name(address: &str) -> Result<ServerName<'static>, IoError> {
    let wrong = || IoError::Address { address: address.into() };
    let (host, _) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| wrong())
}

/// Says in our words what rustls found.
pub(super) fn tls_error(error: Error) -> IoError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls' errors are many and not ours to list; only these mean something else to a user"
    )]
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<PinDiffers>() {
                Some(PinDiffers { expected, found }) => {
                    IoError::PinDiffers { expected: expected.clone(), found: *found }
                }
                None => IoError::Certificate(other.to_string()),
            }
        }
        Error::InvalidCertificate(error) => IoError::Certificate(error.to_string()),
        Error::NoApplicationProtocol
        | Error::InvalidMessage(_)
        | Error::AlertReceived(
            rustls::AlertDescription::NoApplicationProtocol
            | rustls::AlertDescription::ProtocolVersion,
        )
        | Error::PeerIncompatible(_) => IoError::WrongService,
        other => IoError::Tls(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_host() {
        let check = |address: &str, expect: Option<&str>| {
            let name = server_name(address).ok().map(|name| name.to_str().into_owned());
            assert_eq!(name.as_deref(), expect, "{address}");
        };
        check("relay.example:4433", Some("relay.example"));
        check("127.0.0.1:4433", Some("127.0.0.1"));
        check("[::1]:4433", Some("::1"));
        check("relay.example", None);
        check("bad host:1", None);
        check(":1", None);
    }

    #[test]
    fn trust_needs_one_to_four_pins() {
        let check = |count, ok: bool| {
            let trust = RelayTrust::Pins(vec![[1; 32]; count]);
            assert_eq!(Connector::new(&trust).is_ok(), ok, "{count}");
        };
        check(0, false);
        check(1, true);
        check(4, true);
        check(5, false);
    }
}
