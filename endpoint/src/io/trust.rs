//! How a device knows its relay: by the hash of its public key, or by a public authority.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use hushwire_wire::limits::PINS_MAX;

use super::Pin;

/// A trust in nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No pin, or more than four.
    #[error("a relay is known by 1 to 4 pins, not by {0}")]
    PinCount(usize),
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
pub(super) struct PinVerifier {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    pub(super) fn new(pins: Vec<Pin>, provider: Arc<CryptoProvider>) -> Result<Self, TrustError> {
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
