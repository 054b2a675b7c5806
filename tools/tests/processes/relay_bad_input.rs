//! What the relay does with devices that break the rules: one connection ends, with a sentence, and
//! nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hushwire::identity::{Identity, hello_proof};
use hushwire::suite::random::OsRandom;
use hushwire_relay::control::admin::{Answer, Question};
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind};
use hushwire_wire::code::Invite;
use hushwire_wire::control::{
    Control, ErrorCode, Request, RequestId, Transport, Undelivered, replace_proof,
};
use hushwire_wire::id::{ChannelId, DeviceId};

use crate::support::raw::{
    Device, PATIENCE, Raw, connect_by, connect_quic, connect_with, pair, pair_by,
};
use crate::support::{self, by_either_transport, eventually, quic, relay};

by_either_transport!(
    silence_after_the_handshake_ends_after_its_time,
    every_malformed_header_closes_with_malformed,
    control_cells_without_a_map_close_with_malformed,
    an_unknown_operation_is_answered_and_the_connection_goes_on,
    broadcasts_are_not_supported_yet,
    a_proof_that_is_wrong_replayed_or_foreign_is_refused,
    unknown_and_revoked_devices_are_told_so,
    an_invite_works_once,
    strangers_are_refused_whether_or_not_the_recipient_exists,
);

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
        let alpn = alpn.iter().map(|name| name.to_vec()).collect();
        let options = quic::Options { alpn, ..quic::Options::default() };
        let error = connect_quic(&relay, options).err().expect("a refusal").to_string();
        // CRYPTO_ERROR with the alert `no_application_protocol` (RFC 9001 §4.8).
        assert!(error.contains("error 120"), "{error}");
    }
}

/// A relay that gives nobody much time.
fn hasty() -> RelayProcess {
    let options = support::options().set("limits", "unauthenticated_ms_max", 600);
    RelayProcess::start(&options).expect("it starts")
}

#[test]
fn silence_in_the_handshake_ends_after_its_time() {
    let relay = hasty();
    // The head of a ClientHello record, and nothing behind it.
    let mut tcp = TcpStream::connect(relay.address()).expect("a connection");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.write_all(&[22, 3, 1, 2, 0, 1]).expect("the relay reads");
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).expect("the relay closes");
}

fn silence_after_the_handshake_ends_after_its_time(transport: Transport) {
    let relay = hasty();
    let words = connect_by(&relay, transport).last_words();
    assert!(words.len() <= 1, "{words:?}");
    eventually("it is counted", || support::total(&relay, "closed_deadline") == 1);
}

/// What the relay says to a welcome device that sends these cells, before it closes.
fn words_after(transport: Transport, send: impl FnOnce(&mut Device)) -> Vec<String> {
    let relay = relay();
    let (mut witness, mut other) = pair_by(&relay, transport, transport);
    let mut device = Device::enrol_by(&relay, transport);
    send(&mut device);
    let words = device.raw.last_words();
    let to = other.id;
    witness.send(to, Class::C1, b"undisturbed");
    assert!(other.raw.receive().expect("a cell").1.starts_with(b"undisturbed"));
    let totals = relay.status().expect("a status").totals;
    assert_eq!((totals["bugs"], totals["denied"]), (0, 0), "{totals:?}");
    words
}

fn every_malformed_header_closes_with_malformed(transport: Transport) {
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
        let words = words_after(transport, |device| {
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
        let send = |device: &mut Device| device.raw.send_bytes(&bytes).expect("the relay reads");
        let words = words_after(Transport::Tls, send);
        assert!(words.len() == 1 && words[0].starts_with("malformed"), "{what}: {words:?}");
    }
}

fn control_cells_without_a_map_close_with_malformed(transport: Transport) {
    for content in [&b"\xc0"[..], b"\x81\xa2op", b"\x82\xa2op\xa4ping\xa2op\xa4ping", b""] {
        let say = |device: &mut Device| device.raw.say_content(content).expect("the relay reads");
        let words = words_after(transport, say);
        assert!(words.len() == 1 && words[0].starts_with("malformed"), "{content:x?}: {words:?}");
    }
}

fn an_unknown_operation_is_answered_and_the_connection_goes_on(transport: Transport) {
    let relay = relay();
    let mut device = Device::enrol_by(&relay, transport);
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

fn broadcasts_are_not_supported_yet(transport: Transport) {
    let relay = relay();
    let mut device = Device::enrol_by(&relay, transport);
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

fn a_proof_that_is_wrong_replayed_or_foreign_is_refused(transport: Transport) {
    let relay = relay();
    let identity = Device::enrol_by(&relay, transport).identity;
    let refused = |raw: &mut Raw, hello: &[u8]| {
        raw.say_content(hello).expect("the relay reads");
        let words = raw.last_words();
        assert!(
            words.len() == 1 && words[0].starts_with("unauthenticated: the proof does not fit"),
            "{words:?}"
        );
    };

    let mut raw = connect_by(&relay, transport);
    let mut wrong = raw.hello(&identity, None, |_| {});
    let last = wrong.len() - 40;
    wrong[last] ^= 1;
    refused(&mut raw, &wrong);

    // Of another connection, whichever way that one came.
    for other in [Transport::Tls, Transport::Quic] {
        let mut first = connect_by(&relay, other);
        let replayed = first.hello(&identity, None, |_| {});
        let mut raw = connect_by(&relay, transport);
        raw.hear().expect("a challenge");
        refused(&mut raw, &replayed);
    }

    let mut raw = connect_by(&relay, transport);
    let someone_else = Identity::generate(&mut OsRandom).device_id();
    let foreign = raw.hello(&identity, None, |hello| hello.device = someone_else);
    refused(&mut raw, &foreign);

    // All of it right, and for the other transport.
    let other = if transport == Transport::Tls { Transport::Quic } else { Transport::Tls };
    let mut raw = connect_by(&relay, transport);
    let (mut hello, challenge) = raw.hello_and_challenge(&identity, None, |_| {});
    let proof = hello_proof(&identity, &challenge, &hello, other, &raw.binding());
    replace_proof(&mut hello, &proof).expect("a HELLO has a proof");
    refused(&mut raw, &hello);
    eventually("the proofs are counted", || support::total(&relay, "proofs_refused") == 5);
}

fn unknown_and_revoked_devices_are_told_so(transport: Transport) {
    let relay = relay();
    let refused = |identity| {
        let raw = connect_by(&relay, transport);
        let answer = Device::introduce_over(raw, identity, None).err().expect("a refusal");
        let is_it = matches!(&*answer, Control::Error { code: ErrorCode::Unauthenticated, .. });
        assert!(is_it, "{answer:?}");
    };
    refused(Identity::generate(&mut OsRandom));

    let mut device = Device::enrol_by(&relay, transport);
    let question = Question::Revoke { device: device.id.to_text() };
    let answer = hushwire_tools::admin::ask(relay.socket(), &question).expect("an answer");
    assert_eq!(answer, Answer::Done);
    let mut goodbye = Vec::new();
    while let Ok((message, _)) = device.raw.hear() {
        goodbye.push(message.operation());
    }
    assert_eq!(goodbye, ["goaway"]);
    refused(device.identity);
}

fn an_invite_works_once(transport: Transport) {
    let relay = relay();
    let invite = Invite::from_text(&relay.invite().expect("an invite")).expect("an invite");
    let redeem = |identity| {
        let token = Some(invite.secret.as_bytes().to_vec());
        Device::introduce_over(connect_by(&relay, transport), identity, token)
    };
    let first = redeem(Identity::generate(&mut OsRandom)).expect("the invite is good");
    let answer = redeem(Identity::generate(&mut OsRandom)).err().expect("a refusal");
    assert!(matches!(&*answer, Control::Error { .. }), "{answer:?}");
    assert!(redeem(first.identity).is_ok(), "the same device may repeat");
}

fn strangers_are_refused_whether_or_not_the_recipient_exists(transport: Transport) {
    let relay = relay();
    let mut stranger = Device::enrol_by(&relay, transport);
    let somebody = Device::enrol_by(&relay, transport);
    for recipient in [somebody.id, DeviceId::new([0x55; 32])] {
        stranger.send(recipient, Class::C0, b"psst");
        let (answer, _) = stranger.raw.hear().expect("an answer");
        assert!(
            matches!(answer, Control::Undeliverable { reason: Undelivered::Refused, .. }),
            "{answer:?}"
        );
    }
}
