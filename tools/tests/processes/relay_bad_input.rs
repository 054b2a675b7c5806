//! What the relay does with devices that break the rules: one connection ends, with a sentence, and
//! nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hushwire::identity::Identity;
use hushwire::suite::random::OsRandom;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind};
use hushwire_wire::control::{Control, ErrorCode, Request, RequestId, Undelivered};
use hushwire_wire::id::{ChannelId, DeviceId};

use crate::support;
use crate::support::raw::{Device, PATIENCE, connect, connect_with, pair};
use crate::support::{eventually, relay};

/// What the relay answers to these first bytes.
fn answer_to(bytes: &[u8]) -> Vec<u8> {
    let relay = relay();
    let mut tcp = TcpStream::connect(relay.address()).expect("a connection");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.write_all(bytes).expect("the relay reads");
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).expect("the relay closes");
    let (mut a, mut b) = pair(&relay);
    let to = b.id;
    a.send(to, Class::C0, b"still here");
    assert!(b.raw.receive().expect("a cell").1.starts_with(b"still here"));
    answer
}

#[test]
fn garbage_instead_of_tls_gets_an_alert() {
    assert_eq!(answer_to(&[0xff; 300])[..3], [21, 3, 3]);
}

#[test]
fn plain_http_gets_a_sentence() {
    let answer = answer_to(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(String::from_utf8_lossy(&answer).contains("speaks TLS, not HTTP"));
}

#[test]
fn another_protocol_inside_tls_is_refused() {
    let relay = relay();
    for alpn in [&[b"h2".as_slice()][..], &[]] {
        let error = connect_with(relay.address(), alpn).err().expect("a refusal").to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    }
}

#[test]
fn silence_in_the_handshake_ends_after_its_time() {
    let relay = support::options().set("limits", "unauthenticated_ms_max", 600);
    let relay = hushwire_tools::relay_process::RelayProcess::start(&relay).expect("it starts");
    // The head of a ClientHello record, and nothing behind it.
    let mut tcp = TcpStream::connect(relay.address()).expect("a connection");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.write_all(&[22, 3, 1, 2, 0, 1]).expect("the relay reads");
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).expect("the relay closes");
    // A whole handshake, and no HELLO.
    let mut raw = connect(&relay);
    let words = raw.last_words();
    assert!(words.len() <= 1, "{words:?}");
}

/// What the relay says to a welcome device that sends these cells, before it closes.
fn words_after(send: impl FnOnce(&mut Device)) -> Vec<String> {
    let relay = relay();
    let (mut witness, mut other) = pair(&relay);
    let mut device = Device::enrol(&relay);
    send(&mut device);
    let words = device.raw.last_words();
    let to = other.id;
    witness.send(to, Class::C1, b"undisturbed");
    assert!(other.raw.receive().expect("a cell").1.starts_with(b"undisturbed"));
    let status = relay.status().expect("a status");
    assert_eq!(status.totals["bugs"], 0);
    words
}

#[test]
fn every_malformed_header_closes_with_malformed() {
    let good = Header::unicast(Class::C0, 0, 0, DeviceId::new([9; 32])).encode();
    let mut table: Vec<([u8; HEADER_LEN], &str)> = Vec::new();
    let mut add = |at: usize, value: u8, expect| {
        let mut header = good;
        header[8] = 1; // the HELLO was 0
        header[at] = value;
        table.push((header, expect));
    };
    add(0, 4, "unknown kind");
    add(2, 2, "reserved flags");
    add(3, 0x80, "reserved flags");
    add(4, 8, "impossible lane");
    add(0, 3, "peer or channel does not fit");
    add(8, 7, "malformed");
    add(8, 0, "malformed");
    for (header, expect) in table {
        let words = words_after(|device| {
            let mut cell = vec![0; 256];
            cell[..HEADER_LEN].copy_from_slice(&header);
            device.raw.send_bytes(&cell).expect("the relay reads");
        });
        assert!(
            words.len() == 1 && words[0].starts_with("malformed") && words[0].contains(expect),
            "{expect}: {words:?}"
        );
    }
}

#[test]
fn cells_that_do_not_fit_their_records_close_with_malformed() {
    let cell = |class: Class| {
        let mut cell = vec![0; class.cell_len()];
        let mut header = Header::unicast(class, 0, 1, DeviceId::new([9; 32]));
        header.counter = 1;
        cell[..HEADER_LEN].copy_from_slice(&header.encode());
        cell
    };
    let two_in_one = [cell(Class::C0), cell(Class::C0)].concat();
    let table: [(&str, Vec<u8>); 4] = [
        ("half a cell", cell(Class::C1)[..256].to_vec()),
        ("two cells in one record", two_in_one),
        ("a class beyond the last", {
            let mut cell = cell(Class::C0);
            cell[1] = 8;
            cell
        }),
        ("less than a header", vec![1; 10]),
    ];
    for (what, bytes) in table {
        let words = words_after(|device| device.raw.send_bytes(&bytes).expect("the relay reads"));
        assert!(words.len() == 1 && words[0].starts_with("malformed"), "{what}: {words:?}");
    }
}

#[test]
fn control_cells_without_a_map_close_with_malformed() {
    for content in [&b"\xc0"[..], b"\x81\xa2op", b"\x82\xa2op\xa4ping\xa2op\xa4ping", b""] {
        let words = words_after(|device| device.raw.say_content(content).expect("the relay reads"));
        assert!(words.len() == 1 && words[0].starts_with("malformed"), "{content:x?}: {words:?}");
    }
}

#[test]
fn an_unknown_operation_is_answered_and_the_connection_goes_on() {
    let relay = relay();
    let mut device = Device::enrol(&relay);
    device.raw.say_content(b"\x82\xa2op\xa8teleport\xa2id\x07").expect("the relay reads");
    let (answer, _) = device.raw.hear().expect("an answer");
    assert!(
        matches!(
            &answer,
            Control::Error { id: Some(RequestId(7)), code: ErrorCode::Unsupported, .. }
        ),
        "{answer:?}"
    );
    assert!(matches!(device.ask(8, Request::Ping), Control::Pong { id: RequestId(8), .. }));
}

#[test]
fn broadcasts_are_not_supported_yet() {
    let relay = relay();
    let mut device = Device::enrol(&relay);
    let header = Header {
        kind: Kind::Broadcast,
        channel: ChannelId::new([1; 16]),
        peer: DeviceId::ZERO,
        ..Header::unicast(Class::C0, 0, 0, DeviceId::ZERO)
    };
    device.raw.send(header, b"all of you").expect("the relay reads");
    let (answer, _) = device.raw.hear().expect("an answer");
    assert!(matches!(answer, Control::Error { code: ErrorCode::Unsupported, .. }), "{answer:?}");
}

#[test]
fn a_proof_that_is_wrong_replayed_or_foreign_is_refused() {
    let relay = relay();
    let device = Device::enrol(&relay);
    let identity = device.identity;
    let refused = |raw: &mut support::raw::Raw, hello: &[u8]| {
        raw.say_content(hello).expect("the relay reads");
        let words = raw.last_words();
        assert!(
            words.len() == 1 && words[0].starts_with("unauthenticated: the proof does not fit"),
            "{words:?}"
        );
    };

    let mut raw = connect(&relay);
    let mut wrong = raw.hello(&identity, None, |_| {});
    let last = wrong.len() - 40;
    wrong[last] ^= 1;
    refused(&mut raw, &wrong);

    let mut first = connect(&relay);
    let replayed = first.hello(&identity, None, |_| {});
    let mut raw = connect(&relay);
    raw.hear().expect("a challenge");
    refused(&mut raw, &replayed);

    let mut raw = connect(&relay);
    let someone_else = Identity::generate(&mut OsRandom).device_id();
    let foreign = raw.hello(&identity, None, |hello| hello.device = someone_else);
    refused(&mut raw, &foreign);
    eventually("the proofs are counted", || {
        relay.status().expect("a status").totals["proofs_refused"] == 3
    });
}

#[test]
fn unknown_and_revoked_devices_are_told_so() {
    let relay = relay();
    let stranger = Identity::generate(&mut OsRandom);
    let answer = Device::introduce(&relay, stranger, None).err().expect("a refusal");
    assert!(
        matches!(&*answer, Control::Error { code: ErrorCode::Unauthenticated, .. }),
        "{answer:?}"
    );

    let mut device = Device::enrol(&relay);
    let question = hushwire_relay::control::admin::Question::Revoke { device: device.id.to_text() };
    let answer = hushwire_tools::admin::ask(relay.socket(), &question).expect("an answer");
    assert_eq!(answer, hushwire_relay::control::admin::Answer::Done);
    let mut goodbye = Vec::new();
    while let Ok((message, _)) = device.raw.hear() {
        goodbye.push(message.operation());
    }
    assert_eq!(goodbye, ["goaway"]);
    let answer = Device::introduce(&relay, device.identity, None).err().expect("a refusal");
    assert!(
        matches!(&*answer, Control::Error { code: ErrorCode::Unauthenticated, .. }),
        "{answer:?}"
    );
}

#[test]
fn an_invite_works_once() {
    let relay = relay();
    let invite = relay.invite().expect("an invite");
    let first = Device::redeem(&relay, &invite, Identity::generate(&mut OsRandom));
    let secret = hushwire_wire::code::Invite::from_text(&invite).expect("an invite").secret;
    let token = Some(secret.as_bytes().to_vec());
    let other = Identity::generate(&mut OsRandom);
    let answer = Device::introduce(&relay, other, token.clone()).err().expect("a refusal");
    assert!(matches!(&*answer, Control::Error { .. }), "{answer:?}");
    assert!(Device::introduce(&relay, first.identity, token).is_ok(), "the same device may repeat");
}

#[test]
fn strangers_are_refused_whether_or_not_the_recipient_exists() {
    let relay = relay();
    let (mut stranger, somebody) = (Device::enrol(&relay), Device::enrol(&relay));
    for recipient in [somebody.id, DeviceId::new([0x55; 32])] {
        stranger.send(recipient, Class::C0, b"psst");
        let (answer, _) = stranger.raw.hear().expect("an answer");
        assert!(
            matches!(answer, Control::Undeliverable { reason: Undelivered::Refused, .. }),
            "{answer:?}"
        );
    }
}
