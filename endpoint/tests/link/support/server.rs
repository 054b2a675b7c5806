//! What servers of tests have in common that are a relay up to WELCOME.

use std::net::SocketAddr;

use hushwire::identity::Identity;
use hushwire::keystore::{Keystore, Relay, RelayTrust};
use hushwire::suite::random::OsRandom;
use hushwire_wire::control::{Control, CoverMode, HopLimits, Welcome};
use hushwire_wire::id::RelayId;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const RELAY: RelayId = RelayId::new([8; 32]);

/// A fresh key in a certificate of its own, and its pin.
pub(crate) fn config(alpn: &[&[u8]]) -> (ServerConfig, [u8; 32]) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["relay.example".into()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let pin = pin_of(&rcgen::PublicKeyData::subject_public_key_info(&key));
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .expect("a key that fits");
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    (config, pin)
}

fn pin_of(key: &[u8]) -> [u8; 32] {
    use rustls::crypto::hash::Hash;
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash: &dyn Hash = suite.tls13().expect("of TLS 1.3").common.hash_provider;
    hash.hash(key).as_ref().try_into().expect("SHA-256")
}

pub(crate) fn challenge() -> Control {
    Control::Challenge { nonce: [1; 32], relay: RELAY, versions: vec![1] }
}

pub(crate) fn welcome(pins: &[[u8; 32]], quic_ids: &[[u8; 8]]) -> Control {
    Control::Welcome(Welcome {
        shard: 0,
        shards: 1,
        region: String::new(),
        cover: CoverMode::Off,
        limits: HopLimits {
            cells_per_s: 2_000,
            bytes_per_s: 1 << 24,
            egress_bytes: 1 << 20,
            idle_ms: 60_000,
        },
        replaced: false,
        pins: pins.to_vec(),
        quic_ids: quic_ids.to_vec(),
    })
}

/// A device that is enrolled there.
pub(crate) fn keystore(
    directory: &tempfile::TempDir,
    address: SocketAddr,
    pin: [u8; 32],
) -> Keystore {
    let identity = Identity::generate(&mut OsRandom);
    let mut keystore = Keystore::create(&directory.path().join("device"), identity).expect("made");
    let (address, trust) = (address.to_string(), RelayTrust::Pins(vec![pin]));
    let account = String::new();
    keystore.set_relay(Relay { address, trust, relay: RELAY, account }).expect("stored");
    keystore
}
