//! How a device knows its relay: by the hash of its public key, or by a public authority.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use hushwire_wire::limits::PINS_MAX;

use super::Pin;
use crate::keystore::RelayTrust;

/// A trust in nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No pin, or more than four.
    #[error("a relay is known by 1 to 4 pins, not by {0}")]
    PinCount(usize),
}

/// What believes a certificate as `trust` says.
pub(super) fn verifier(
    trust: &RelayTrust,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    match trust {
        RelayTrust::Pins(pins) => {
            let pins = pins.iter().copied().map(Pin).collect();
            Ok(Arc::new(PinVerifier::new(pins, provider)?))
        }
        RelayTrust::PublicCa => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            Ok(built.build().expect("there are roots, and no list of revocations to be wrong"))
        }
    }
}

/// The key is none of the pinned ones; travels through rustls as an `OtherError`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the key is {found}")]
pub(super) struct PinDiffers {
    pub(super) expected: Vec<Pin>,
    pub(super) found: Pin,
}

/// Accepts a certificate for its key alone. The handshake's signature is verified as always: a key that is only
/// shown proves nothing.
#[derive(Debug)]
struct PinVerifier {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    fn new(pins: Vec<Pin>, provider: Arc<CryptoProvider>) -> Result<Self, TrustError> {
        if pins.is_empty() || pins.len() > PINS_MAX {
            return Err(TrustError::PinCount(pins.len()));
        }
        Ok(Self { pins, provider })
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let found = Pin(Sha256::digest(key.as_ref()).into());
        let known =
            self.pins.iter().fold(Choice::from(0), |known, pin| known | pin.0.ct_eq(&found.0));
        if bool::from(known) {
            return Ok(ServerCertVerified::assertion());
        }
        let differs = PinDiffers { expected: self.pins.clone(), found };
        Err(CertificateError::Other(OtherError(Arc::new(differs))).into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a handshake's certificate came to.
pub(super) type Verdict = Result<(), rustls::Error>;

thread_local! {
    static VERDICT: Cell<Option<Verdict>> = const { Cell::new(None) };
}

/// Verifies as another one does, and keeps what it says for [`Witness::verdict`]. quinn-proto makes text of the errors
/// of rustls and does not tell a resumed handshake; but it verifies where it is given a datagram, so whoever gave it
/// one can ask right behind that, on the same thread.
#[derive(Debug)]
pub(super) struct Witness(pub(super) Arc<dyn ServerCertVerifier>);

impl Witness {
    /// What the last certificate on this thread came to, if there was one since this was last asked.
    pub(super) fn verdict() -> Option<Verdict> {
        VERDICT.take()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        VERDICT.set(Some(verified.as_ref().map(drop).map_err(Clone::clone)));
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verified = self.0.verify_tls13_signature(message, cert, dss);
        if let Err(error) = &verified {
            VERDICT.set(Some(Err(error.clone())));
        }
        verified
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
