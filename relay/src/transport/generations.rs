//! Tests of what only this crate can see: keys against rustls' own, and the ends of sequence numbers.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::fault::{Blame, Fault};
use super::handshake::{Live, Step};
use super::keys::TrafficKeys;
use super::limits::{RECORDS_OPENED_MAX, RECORDS_SEALED_DUE, RECORDS_SEALED_MAX};
use super::opener::Opener;
use super::sealer::Sealer;
use super::secrets::{Secret, Suite};
use super::tls::{Protocol, ServerTls, ServerTlsOptions, crypto, same_keys};

/// A finished handshake with the suite at `index` of the relay's list, before its secrets are handed over.
fn finished(index: usize) -> Live {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server =
        ServerTls::new(vec![made.cert.der().clone()], key, &ServerTlsOptions::default()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut provider = crypto();
    provider.cipher_suites = vec![provider.cipher_suites[index]];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![Protocol::Hushwire1.alpn().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let connection = UnbufferedServerConnection::new(Arc::clone(&server.config)).unwrap();
    let mut live = Live::new(connection);
    loop {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        client.write_tls(&mut input).unwrap();
        let (_, step) = live.advance(&input, &mut output).unwrap();
        if step == Step::Done {
            return live;
        }
        client.read_tls(&mut &output[..]).unwrap();
        client.process_new_packets().unwrap();
    }
}

#[test]
fn three_generations_are_those_of_rustls() {
    for index in 0..3 {
        let mut live = finished(index);
        let suite = live.suite().unwrap();
        let secrets = live.secrets.take().unwrap();
        let mut received = TrafficKeys::new(suite, secrets.client, 0).unwrap();
        let mut sent = TrafficKeys::new(suite, secrets.server, 0).unwrap();
        let (extracted, mut kernel) = live.connection.dangerous_into_kernel_connection().unwrap();
        assert!(same_keys(&received, &extracted.rx.1));
        assert!(same_keys(&sent, &extracted.tx.1));
        assert!(!same_keys(&sent, &extracted.rx.1));
        for _ in 0..2 {
            received.update().unwrap();
            sent.update().unwrap();
            assert!(same_keys(&received, &kernel.update_rx_secret().unwrap().1));
            assert!(same_keys(&sent, &kernel.update_tx_secret().unwrap().1));
            assert_eq!((received.sequence, sent.sequence), (0, 0));
        }
    }
}

fn keys(sequence: u64) -> TrafficKeys {
    let secret = Secret::from_slice(&[1; 32]).unwrap();
    TrafficKeys::new(Suite::Aes128Gcm, secret, sequence).unwrap()
}

#[test]
fn an_update_falls_due_and_sealing_ends() {
    let mut sealer = Sealer::new(keys(RECORDS_SEALED_DUE - 1));
    let mut out = Vec::new();
    assert!(!sealer.update_due());
    sealer.seal(b"x", &mut out).unwrap();
    assert!(sealer.update_due());
    sealer.key_update(256, &mut out).unwrap();
    assert!(!sealer.update_due());

    let mut sealer = Sealer::new(keys(RECORDS_SEALED_MAX - 1));
    sealer.seal(b"x", &mut out).unwrap();
    let sealed = out.len();
    let fault = sealer.seal(b"x", &mut out).unwrap_err();
    assert_eq!((fault.blame(), out.len()), (Blame::Relay, sealed));
}

#[test]
fn opening_ends() {
    let mut sealer = Sealer::new(keys(0));
    let mut out = Vec::new();
    sealer.seal(b"x", &mut out).unwrap();
    let fault = Opener::new(keys(RECORDS_OPENED_MAX)).open(&mut out, 0).unwrap_err();
    assert_eq!(fault, Fault::TooManyRecords);
}
