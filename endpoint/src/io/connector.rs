//! From an address to a TLS 1.3 connection with `hushwire/1`.

use std::sync::Arc;
use std::time::Duration;

use hushwire_wire::limits::ALPN;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore};
use tokio::net::TcpStream;

use super::limits::{CONNECT_MS_MAX, TICKETS_MAX};
use super::trust::{PinDiffers, PinVerifier};
use super::{CellStream, IoError, Pin, TrustError};
use crate::keystore::RelayTrust;

/// Makes connections that trust alike. Session tickets stay in it, so that one is only ever used under the trust it
/// was issued under.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// TLS 1.3 only, X25519MLKEM768 first, no early data.
    ///
    /// # Errors
    /// [`TrustError`] where there is no pin, or more than four.
    pub fn new(trust: &RelayTrust) -> Result<Self, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites of TLS 1.3");
        let mut config = match trust {
            RelayTrust::Pins(pins) => {
                let pins = pins.iter().copied().map(Pin).collect();
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(PinVerifier::new(pins, provider)?))
                    .with_no_client_auth()
            }
            RelayTrust::PublicCa => {
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::in_memory_sessions(TICKETS_MAX);
        Ok(Self { config: Arc::new(config) })
    }

    /// Connects to `host:port` within 10 s, the TLS handshake included.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn connect(&self, address: &str) -> Result<CellStream, IoError> {
        let after = Duration::from_millis(CONNECT_MS_MAX);
        match tokio::time::timeout(after, self.connect_patiently(address)).await {
            Ok(connected) => connected,
            Err(_) => Err(IoError::TimedOut { address: address.into(), after }),
        }
    }

    async fn connect_patiently(&self, address: &str) -> Result<CellStream, IoError> {
        let name = server_name(address)?;
        let unreachable = |error| IoError::Connect { address: address.into(), error };
        let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let tls = ClientConnection::new(self.config.clone(), name).map_err(IoError::Tls)?;
        CellStream::handshake(tcp, tls).await
    }
}

fn server_name(address: &str) -> Result<ServerName<'static>, IoError> {
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
