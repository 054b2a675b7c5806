//! Handshakes that succeed: every suite, full and resumed, with and without tickets, cut anywhere.

use std::sync::Arc;

use hushwire_relay::transport::{
    Opened, Progress, Protocol, ServerTlsOptions, Suite, record_len, sealed_len,
};
use rustls::NamedGroup;
use rustls::crypto::aws_lc_rs as provider;

use crate::support::{
    CHALLENGE, Identity, Link, SUITES, Wire, both, connect, deliver, new_client, open_all, pull,
    push, step,
};

const HELLO: [u8; 512] = [9; 512];

fn exporter(link: &Link) -> [u8; 32] {
    link.client.export_keying_material([0; 32], b"EXPORTER-hushwire/1", Some(b"")).unwrap()
}

/// The exporter agrees, CHALLENGE and HELLO arrived, and data flows both ways.
fn check_works(mut link: Link) {
    assert_eq!(link.server.protocol, Protocol::Hushwire1);
    assert_eq!(link.server.binding, exporter(&link));
    assert_eq!(link.read, CHALLENGE);
    assert_eq!(open_all(&mut link.server.opener, link.behind).unwrap(), (HELLO.to_vec(), 0));
    for length in [1, 256, 16_384, 32_768] {
        deliver(&mut link.server.sealer, &mut link.client, &vec![length as u8; length]);
    }
}

#[test]
fn full_and_resumed_with_and_without_tickets() {
    for suite in SUITES {
        for tickets in [0, 2] {
            let identity = Identity::new();
            let server =
                identity.server(&ServerTlsOptions { tickets, ..ServerTlsOptions::default() });
            let client = identity.client(suite, &[b"hushwire/1"]);
            let first = connect(&server, &client, &HELLO, Wire::Whole);
            assert!(!first.server.resumed);
            check_works(first);
            let second = connect(&server, &client, &HELLO, Wire::Whole);
            assert_eq!(second.server.resumed, tickets > 0, "{suite:?}, {tickets} tickets");
            check_works(second);
        }
    }
}

#[test]
fn a_relay_that_does_not_speak_first() {
    let identity = Identity::new();
    let options = ServerTlsOptions { speaks_first: false, ..ServerTlsOptions::default() };
    let server = identity.server(&options);
    let mut client = new_client(&identity.client(SUITES[0], &[b"hushwire/1"]));
    let mut handshake = server.handshake().unwrap();
    let mut output = Vec::new();
    let flight = handshake.advance(&pull(&mut client), &mut output).unwrap();
    assert!(matches!(flight, Progress::Flight { .. }));
    assert!(handshake.send(&CHALLENGE, &mut output).is_err());
    push(&mut client, &output).unwrap();
    let done = handshake.advance(&pull(&mut client), &mut output).unwrap();
    assert!(matches!(done, Progress::Done { .. }));
    assert!(handshake.advance(b"", &mut output).is_err());
}

#[test]
fn the_binding_is_known_with_the_first_flight() {
    let (server, client) = both(SUITES[1]);
    let mut client = new_client(&client);
    let mut handshake = server.handshake().unwrap();
    assert!(handshake.binding().is_err());
    let mut output = Vec::new();
    handshake.advance(&pull(&mut client), &mut output).unwrap();
    let early = handshake.binding().unwrap();
    push(&mut client, &output).unwrap();
    let input = pull(&mut client);
    let (established, _) = step(&mut handshake, &input, &mut output, b"").unwrap().unwrap();
    assert_eq!(established.binding, early);
}

#[test]
fn a_partial_record_behind_finished() {
    for suite in SUITES {
        let (server, client) = both(suite);
        let link = connect(&server, &client, &HELLO, Wire::Whole);
        let mut opener = link.server.opener;
        for length in 0..link.behind.len() {
            let need_total = if length < 5 { 5 } else { record_len(HELLO.len()) };
            assert_eq!(
                opener.open(&mut link.behind[..length].to_vec(), 0).unwrap(),
                Opened::Incomplete { need_total }
            );
        }
        assert_eq!(open_all(&mut opener, link.behind).unwrap(), (HELLO.to_vec(), 0));
    }
}

#[test]
fn cut_at_every_byte() {
    let (server, client) = both(SUITES[0]);
    let sent = connect(&server, &client, &HELLO, Wire::Whole).sent;
    // Resumed from here on: those ClientHellos are the longer ones, and cheaper to answer.
    for at in 0..sent + 200 {
        check_works(connect(&server, &client, &HELLO, Wire::CutAt(at)));
    }
}

#[test]
fn byte_by_byte() {
    for suite in SUITES {
        let (server, client) = both(suite);
        for length in [1, 2, 7] {
            check_works(connect(&server, &client, &HELLO, Wire::Pieces(length)));
        }
    }
}

#[test]
fn a_client_hello_over_many_records() {
    let (server, client) = both(SUITES[0]);
    let mut config = (*client).clone();
    config.max_fragment_size = Some(64);
    for wire in [Wire::Whole, Wire::Pieces(1), Wire::Pieces(100)] {
        let link = connect(&server, &Arc::new(config.clone()), b"", wire);
        assert_eq!(link.server.binding, exporter(&link));
    }
}

#[test]
fn a_client_asked_for_another_key_share() {
    let identity = Identity::new();
    let server = identity.server(&ServerTlsOptions::default());
    let mut crypto = provider::default_provider();
    // The client's first share is of a group that the relay does not have.
    crypto.kx_groups = vec![provider::kx_group::MLKEM768, provider::kx_group::SECP384R1];
    let client = identity.client_with(crypto, &[b"hushwire/1"]);
    let link = connect(&server, &client, &HELLO, Wire::Pieces(50));
    assert_eq!(
        link.client.handshake_kind(),
        Some(rustls::HandshakeKind::FullWithHelloRetryRequest)
    );
    check_works(link);
}

#[test]
fn the_key_exchange_is_post_quantum_and_the_suite_the_relays_choice() {
    let identity = Identity::new();
    let server = identity.server(&ServerTlsOptions::default());
    let client = identity.client_with(provider::default_provider(), &[b"http/1.1", b"hushwire/1"]);
    let link = connect(&server, &client, &HELLO, Wire::Whole);
    let group = link.client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(link.server.opener.suite(), Suite::Aes128Gcm);
    check_works(link);
}

#[test]
fn http_is_told_apart_by_alpn() {
    let identity = Identity::new();
    let options = ServerTlsOptions {
        protocols: vec![Protocol::Hushwire1, Protocol::Http11],
        ..ServerTlsOptions::default()
    };
    let server = identity.server(&options);
    for (alpn, expected) in
        [(&b"http/1.1"[..], Protocol::Http11), (b"hushwire/1", Protocol::Hushwire1)]
    {
        let link = connect(&server, &identity.client(SUITES[0], &[b"h2", alpn]), b"", Wire::Whole);
        assert_eq!(link.server.protocol, expected);
    }
}

#[test]
fn a_sealed_cell_has_the_length_that_was_announced() {
    let (server, client) = both(SUITES[0]);
    let mut link = connect(&server, &client, b"", Wire::Whole);
    for length in [0, 1, 256, 16_384, 16_385, 32_768] {
        let mut out = Vec::new();
        link.server.sealer.seal(&vec![0; length], &mut out).unwrap();
        assert_eq!(out.len(), sealed_len(length));
    }
}
