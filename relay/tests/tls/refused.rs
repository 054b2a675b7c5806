//! Clients that are refused before the handshake ends, each with a typed fault, a sentence and an alert.

use hushwire_relay::transport::{
    Alert, Blame, Fault, Progress, Protocol, ServerTls, ServerTlsError, ServerTlsOptions, limits,
};
use rustls::AlertDescription;

use crate::support::{Identity, SUITES, both, new_client, pull, push};

/// The fault of the first of `pieces` that has one, and the output.
fn refused(server: &ServerTls, pieces: &[&[u8]]) -> (Fault, Vec<u8>) {
    let mut handshake = server.handshake().unwrap();
    let mut output = Vec::new();
    for piece in pieces {
        match handshake.advance(piece, &mut output) {
            Ok(progress) => assert!(matches!(progress, Progress::More { .. }), "{progress:?}"),
            Err(fault) => {
                assert_eq!(fault.blame(), Blame::Peer);
                assert!(!fault.to_string().is_empty());
                return (fault, output);
            }
        }
    }
    panic!("not refused");
}

fn alert_record(alert: Alert) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, alert as u8]
}

#[test]
fn garbage_instead_of_tls() {
    let (server, _) = both(SUITES[0]);
    let check = |input: &[u8], expect: Fault, alert: Alert| {
        for pieces in [vec![input], input.chunks(1).collect()] {
            assert_eq!(refused(&server, &pieces), (expect.clone(), alert_record(alert)));
        }
    };
    check(b"\x00", Fault::NotTls, Alert::DecodeError);
    check(b"SSH-2.0-x".map(|b| b | 0x80).as_slice(), Fault::NotTls, Alert::DecodeError);
    check(b"\x16GARBAGE", Fault::NotTls, Alert::DecodeError);
    check(b"\x16\x03\x01\x00\x00", Fault::NotTls, Alert::DecodeError);
    check(b"\x16\x03\x01\x40\x00", Fault::HandshakeTooLong, Alert::RecordOverflow);
    check(b"\x16\x03\x01\xff\xff", Fault::HandshakeTooLong, Alert::RecordOverflow);
}

#[test]
fn plain_http() {
    let (server, _) = both(SUITES[0]);
    for request in ["GET / HTTP/1.1\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"]
    {
        let (fault, output) = refused(&server, &[request.as_bytes()]);
        assert_eq!(fault, Fault::PlainHttp);
        let answer = String::from_utf8(output).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}

#[test]
fn a_malformed_client_hello() {
    let (server, client) = both(SUITES[0]);
    let hello = pull(&mut new_client(&client));
    // Every byte of the message's header and fixed front, flipped: refused, or waits for more, but never
    // panics and never is established.
    for at in 5..hello.len() {
        let mut bad = hello.clone();
        bad[at] ^= 0xff;
        let mut output = Vec::new();
        if let Err(fault) = server.handshake().unwrap().advance(&bad, &mut output) {
            assert_eq!(fault.blame(), Blame::Peer, "{fault}");
            assert!(!output.is_empty());
        }
    }
}

#[test]
fn a_bad_message_with_another_behind_it() {
    let (server, client) = both(SUITES[0]);
    let hello = pull(&mut new_client(&client));
    let message = &hello[5..];
    let mut no_versions = message.to_vec();
    no_versions[4] = 9;
    for (first, second) in [
        (&[1, 0, 0, 1, 0][..], message),
        (&no_versions[..], message),
        (&[20, 0, 0, 1, 0][..], &[20, 0, 0, 1, 0][..]),
        (message, message),
        (message, &[20, 0, 0, 1, 0][..]),
    ] {
        let body = [first, second].concat();
        let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
        let record = [&[22, 3, 1, high, low][..], &body].concat();
        let (fault, output) = refused(&server, &[&record]);
        assert!(matches!(fault, Fault::Handshake(_)), "{fault}");
        assert!(!output.is_empty());
    }
}

#[test]
fn a_client_of_another_protocol_or_none() {
    let identity = Identity::new();
    let server = identity.server(&ServerTlsOptions::default());
    let check = |alpn: &[&[u8]]| {
        let mut client = new_client(&identity.client(SUITES[0], alpn));
        let (fault, output) = refused(&server, &[&pull(&mut client)]);
        assert_eq!(fault, Fault::NoProtocol);
        let refusal = push(&mut client, &output).unwrap_err();
        let expect = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(refusal, expect, "{alpn:?}");
    };
    check(&[b"h2"]);
    check(&[b"hushwire/2", b"http/1.1"]);
    check(&[]);
}

#[test]
fn half_a_handshake_stays_within_its_bound() {
    let (server, client) = both(SUITES[0]);
    let mut client = new_client(&client);
    let hello = pull(&mut client);
    let mut handshake = server.handshake().unwrap();
    let mut output = Vec::new();
    for part in hello[..hello.len() - 1].chunks(100) {
        let progress = handshake.advance(part, &mut output).unwrap();
        assert!(matches!(progress, Progress::More { .. }));
    }
    assert!(output.is_empty());

    // The server's flight is out, and half of Finished comes.
    handshake.advance(&hello[hello.len() - 1..], &mut output).unwrap();
    push(&mut client, &output).unwrap();
    let finished = pull(&mut client);
    let progress = handshake.advance(&finished[..finished.len() - 1], &mut output).unwrap();
    assert!(matches!(progress, Progress::More { .. }));
}

#[test]
fn a_client_hello_in_small_records_that_never_ends() {
    let (server, _) = both(SUITES[0]);
    let mut handshake = server.handshake().unwrap();
    let mut output = Vec::new();
    // A ClientHello that announces 60 000 bytes, ten at a time.
    let mut first = vec![22, 3, 1, 0, 10, 1, 0, 0xea, 0x60, 3, 3];
    first.resize(15, 0);
    let mut sent = 0;
    let fault = loop {
        match handshake.advance(&first, &mut output) {
            Ok(_) => sent += first.len(),
            Err(fault) => break fault,
        }
        first = vec![22, 3, 1, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    };
    assert_eq!(fault, Fault::HandshakeTooLong);
    assert!(sent <= limits::HANDSHAKE_BYTES_MAX);
}

#[test]
fn a_tampered_finished() {
    for suite in SUITES {
        let (server, client) = both(suite);
        let mut client = new_client(&client);
        let mut handshake = server.handshake().unwrap();
        let mut output = Vec::new();
        handshake.advance(&pull(&mut client), &mut output).unwrap();
        push(&mut client, &output).unwrap();
        let mut finished = pull(&mut client);
        *finished.last_mut().unwrap() ^= 1;
        output.clear();
        let fault = handshake.advance(&finished, &mut output).unwrap_err();
        assert_eq!(fault, Fault::Handshake(Box::new(rustls::Error::DecryptError)));
        let refusal = push(&mut client, &output).unwrap_err();
        assert_eq!(refusal, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
    }
}

#[test]
fn a_client_that_gives_up() {
    let (server, _) = both(SUITES[0]);
    let (fault, _) = refused(&server, &[&[21, 3, 1, 0, 2, 2, 48]]);
    assert_eq!(fault, Fault::PeerAlert(48));
}

#[test]
fn a_server_that_cannot_be() {
    let identity = Identity::new();
    let none = ServerTlsOptions { protocols: vec![], ..ServerTlsOptions::default() };
    let made = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    let key = || rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let check = |chain: Vec<_>, options: &ServerTlsOptions| {
        ServerTls::new(chain, key().unwrap(), options).map(|_| ()).unwrap_err()
    };
    let chain = vec![made.cert.der().clone()];
    assert_eq!(check(chain, &none), ServerTlsError::NoProtocols);
    let defaults = ServerTlsOptions::default();
    assert!(matches!(check(vec![], &defaults), ServerTlsError::Identity(_)));
    let foreign = vec![identity.certificate().clone()];
    assert!(matches!(check(foreign, &defaults), ServerTlsError::Identity(_)));
    assert_eq!(defaults.protocols, [Protocol::Hushwire1]);
}
