//! Records after the handshake: KeyUpdate both ways, padding, closing, and each kind of bad record.

use std::io::Write;

use hushwire_relay::transport::{
    Alert, Blame, Established, Fault, Opened, Opener, Sealer, limits, record_len,
};
use rustls::AlertDescription;

use crate::support::{RawClient, SUITES, Wire, both, connect, deliver, open_all, pull, push};

const MINUTE_NS: u64 = 60_000_000_000;
const DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;

fn is_send<T: Send + 'static>() {}

#[test]
fn both_directions_can_move_to_another_shard() {
    is_send::<Established>();
    is_send::<hushwire_relay::transport::Inbound>();
    is_send::<hushwire_relay::transport::Handshake>();
    let (server, client) = both(SUITES[0]);
    let mut link = connect(&server, &client, b"", Wire::Whole);
    let mut sealer = link.server.sealer;
    deliver(&mut sealer, &mut link.client, b"before");
    let mut sealer = std::thread::spawn(move || sealer).join().unwrap();
    deliver(&mut sealer, &mut link.client, b"after");
}

#[test]
fn an_idle_connection_keeps_less_than_300_bytes() {
    assert!(size_of::<Opener>() + size_of::<Sealer>() <= 300);
}

#[test]
fn compact_keys_are_rebuilt() {
    for suite in SUITES {
        let (server, client) = both(suite);
        let mut link = connect(&server, &client, b"", Wire::Whole);
        for round in 0..3_u8 {
            link.client.writer().write_all(&[round; 10]).unwrap();
            let (data, _) = open_all(&mut link.server.opener, pull(&mut link.client)).unwrap();
            assert_eq!(data, [round; 10]);
            deliver(&mut link.server.sealer, &mut link.client, &[round; 20]);
            assert!(!link.server.opener.is_compact() && !link.server.sealer.is_compact());
            link.server.opener.compact();
            link.server.sealer.compact();
            assert!(link.server.opener.is_compact() && link.server.sealer.is_compact());
        }
    }
}

#[test]
fn key_updates_by_the_client() {
    for suite in SUITES {
        let (server, client) = both(suite);
        let mut link = connect(&server, &client, b"", Wire::Whole);
        for round in 0..3_u8 {
            link.client.refresh_traffic_keys().unwrap();
            link.client.writer().write_all(&[round; 256]).unwrap();
            let mut bytes = pull(&mut link.client);
            let opener = &mut link.server.opener;
            let Opened::KeyUpdate { consumed, answer_requested } =
                opener.open(&mut bytes, 0).unwrap()
            else {
                panic!("no KeyUpdate")
            };
            assert!(answer_requested);
            let (data, rest) = open_all(opener, bytes.split_off(consumed)).unwrap();
            assert_eq!((data, rest), (vec![round; 256], 0));

            // However often it is asked for, one answer is sent.
            let sealer = &mut link.server.sealer;
            assert!(!sealer.update_due());
            sealer.request_update();
            sealer.request_update();
            assert!(sealer.update_due());
            let mut answer = Vec::new();
            sealer.key_update(256, &mut answer).unwrap();
            assert_eq!(answer.len(), record_len(256));
            assert!(!sealer.update_due());
            assert_eq!(push(&mut link.client, &answer).unwrap(), b"");
            assert!(!link.client.wants_write());
            deliver(sealer, &mut link.client, &[round; 512]);
        }
    }
}

#[test]
fn key_updates_by_the_relay() {
    for suite in SUITES {
        let (server, client) = both(suite);
        let mut link = connect(&server, &client, b"", Wire::Whole);
        for padded_to in [5, 256, 16_384] {
            let mut out = vec![0xaa; record_len(padded_to)];
            let written = link.server.sealer.key_update_into(padded_to, &mut out).unwrap();
            assert_eq!(written, out.len());
            assert_eq!(push(&mut link.client, &out).unwrap(), b"");
            deliver(&mut link.server.sealer, &mut link.client, b"under new keys");
        }
        for padded_to in [0, 4, 16_385] {
            let mut out = Vec::new();
            let fault = link.server.sealer.key_update(padded_to, &mut out).unwrap_err();
            assert_eq!((fault.blame(), out.len()), (Blame::Relay, 0));
        }
        deliver(&mut link.server.sealer, &mut link.client, b"nothing was spoilt");
    }
}

#[test]
fn close_notify_by_the_client() {
    let (server, client) = both(SUITES[0]);
    let mut link = connect(&server, &client, b"", Wire::Whole);
    link.client.writer().write_all(b"last words").unwrap();
    link.client.send_close_notify();
    let mut bytes = pull(&mut link.client);
    let Opened::Data { consumed, plain } = link.server.opener.open(&mut bytes, 0).unwrap() else {
        panic!("no data")
    };
    assert_eq!(&bytes[plain], b"last words");
    let closed = link.server.opener.open(&mut bytes[consumed..], 0).unwrap();
    assert_eq!(closed, Opened::Closed { consumed: bytes.len() - consumed });
}

#[test]
fn alerts_by_the_relay_are_padded() {
    for (alert, expect) in [
        (Alert::UnexpectedMessage, AlertDescription::UnexpectedMessage),
        (Alert::BadRecordMac, AlertDescription::BadRecordMac),
        (Alert::RecordOverflow, AlertDescription::RecordOverflow),
        (Alert::InternalError, AlertDescription::InternalError),
    ] {
        let (server, client) = both(SUITES[0]);
        let mut link = connect(&server, &client, b"", Wire::Whole);
        let mut out = Vec::new();
        link.server.sealer.alert(alert, 256, &mut out).unwrap();
        assert_eq!(out.len(), record_len(256));
        let refusal = push(&mut link.client, &out).unwrap_err();
        assert_eq!(refusal, rustls::Error::AlertReceived(expect));
    }
    let (server, client) = both(SUITES[0]);
    let mut link = connect(&server, &client, b"", Wire::Whole);
    let mut out = Vec::new();
    link.server.sealer.alert(Alert::CloseNotify, 512, &mut out).unwrap();
    assert_eq!(out.len(), record_len(512));
    let mut bytes = &out[..];
    link.client.read_tls(&mut bytes).unwrap();
    assert!(link.client.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_sealer_without_room_says_so_and_goes_on() {
    let (server, client) = both(SUITES[0]);
    let mut link = connect(&server, &client, b"", Wire::Whole);
    let mut short = vec![0; record_len(256) - 1];
    let fault = link.server.sealer.seal_into(&[0; 256], &mut short).unwrap_err();
    assert_eq!(fault.blame(), Blame::Relay);
    deliver(&mut link.server.sealer, &mut link.client, b"nothing was spoilt");
}

/// Whatever `make` builds, after one good record, is refused with `expect` and `alert`.
fn check_record(make: impl Fn(&mut RawClient) -> Vec<u8>, expect: &Fault, alert: Option<Alert>) {
    for suite in SUITES {
        let (mut server, mut client) = RawClient::connect(suite);
        let good = client.seal(DATA, b"good", 3);
        assert_eq!(open_all(&mut server.opener, good).unwrap(), (b"good".to_vec(), 0));
        let fault = open_all(&mut server.opener, make(&mut client)).unwrap_err();
        assert_eq!(&fault, expect, "{suite:?}");
        assert_eq!((fault.alert(), fault.blame()), (alert, Blame::Peer));
        assert!(!fault.to_string().is_empty());
    }
}

#[test]
fn bad_records() {
    let unexpected = Some(Alert::UnexpectedMessage);
    let bad_mac = Some(Alert::BadRecordMac);
    // A record from another connection, or of random bytes.
    check_record(|_| [&[23, 3, 3, 1, 0][..], &[5; 256]].concat(), &Fault::BadRecord, bad_mac);
    // Too short to hold a tag and a type.
    check_record(|_| vec![23, 3, 3, 0, 16], &Fault::BadRecord, bad_mac);
    check_record(|_| vec![23, 3, 3, 0, 0], &Fault::BadRecord, bad_mac);
    // Too long: refused at the header.
    let overflow = Some(Alert::RecordOverflow);
    check_record(|_| vec![23, 3, 3, 0x40, 0x12], &Fault::RecordTooLong(16_402), overflow);
    check_record(|_| vec![23, 3, 3, 0xff, 0xff], &Fault::RecordTooLong(65_535), overflow);
    check_record(
        |client| client.seal(DATA, &[0; 16_384], 1),
        &Fault::RecordTooLong(16_402),
        overflow,
    );
    // Unencrypted, at the first byte: change_cipher_spec, alert, handshake, anything.
    check_record(|_| vec![20, 3, 3, 0, 1, 1], &Fault::UnexpectedRecord(20), unexpected);
    check_record(|_| vec![21], &Fault::UnexpectedRecord(21), unexpected);
    check_record(|_| vec![22], &Fault::UnexpectedRecord(22), unexpected);
    check_record(|_| vec![0], &Fault::UnexpectedRecord(0), unexpected);
    // No content type, or an unknown one.
    check_record(|c| c.seal_inner(&[0]), &Fault::NoContentType, unexpected);
    check_record(|c| c.seal_inner(&[0; 4_000]), &Fault::NoContentType, unexpected);
    check_record(|c| c.seal(20, &[1], 0), &Fault::NoContentType, unexpected);
    check_record(|c| c.seal(99, b"x", 9), &Fault::NoContentType, unexpected);
    // Handshake messages that are no KeyUpdate: empty, NewSessionTicket, ClientHello, Finished.
    check_record(|c| c.seal(HANDSHAKE, &[], 0), &Fault::UnexpectedHandshake(0), unexpected);
    for kind in [1, 4, 11, 13, 20] {
        let fault = Fault::UnexpectedHandshake(kind);
        check_record(|c| c.seal(HANDSHAKE, &[kind, 0, 0, 1, 0], 0), &fault, unexpected);
    }
    // KeyUpdates that are none.
    for bad in [
        &[24, 0, 0, 1, 2][..],
        &[24, 0, 0, 1],
        &[24],
        &[24, 0, 0, 2, 0, 0],
        &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0],
    ] {
        let alert = Some(Alert::IllegalParameter);
        check_record(|c| c.seal(HANDSHAKE, bad, 0), &Fault::MalformedKeyUpdate, alert);
    }
    // Alerts: the client gives up, or does not know how.
    check_record(|c| c.seal(ALERT, &[2, 40], 0), &Fault::PeerAlert(40), None);
    check_record(|c| c.seal(ALERT, &[1, 40], 7), &Fault::PeerAlert(40), None);
    for bad in [&[][..], &[2], &[2, 40, 0]] {
        check_record(|c| c.seal(ALERT, bad, 0), &Fault::MalformedAlert, Some(Alert::DecodeError));
    }
}

#[test]
fn a_tampered_record() {
    for at in 0..record_len(64) {
        let (mut server, mut client) = RawClient::connect(SUITES[at % 3]);
        let mut record = client.seal(DATA, &[1; 64], 0);
        record[at] ^= 1;
        match open_all(&mut server.opener, record) {
            Err(Fault::BadRecord | Fault::UnexpectedRecord(_) | Fault::RecordTooLong(_)) => {}
            // A longer length waits for bytes that would not authenticate.
            Ok((data, rest)) => {
                assert!(data.is_empty() && rest > 0 && (3..5).contains(&at), "byte {at}");
            }
            Err(fault) => panic!("byte {at}: {fault}"),
        }
    }
}

#[test]
fn replayed_reordered_and_dropped_records() {
    for suite in SUITES {
        let check = |order: &[usize]| {
            let (mut server, mut client) = RawClient::connect(suite);
            let records: Vec<_> = (0..3).map(|seed| client.seal(DATA, &[seed; 9], 0)).collect();
            let stream = order.iter().flat_map(|&which| records[which].clone()).collect();
            assert_eq!(open_all(&mut server.opener, stream), Err(Fault::BadRecord), "{order:?}");
        };
        check(&[0, 0]);
        check(&[0, 1, 0]);
        check(&[1, 0]);
        check(&[0, 2]);
    }
}

#[test]
fn a_flood_of_empty_records() {
    let (mut server, mut client) = RawClient::connect(SUITES[0]);
    let most = usize::from(limits::EMPTY_RECORDS_MAX);
    // Data in between starts the count anew.
    for _ in 0..2 {
        let mut records: Vec<u8> = (0..most).flat_map(|_| client.seal(DATA, b"", 5)).collect();
        records.extend(client.seal(DATA, b"x", 0));
        assert_eq!(open_all(&mut server.opener, records).unwrap(), (b"x".to_vec(), 0));
    }
    let empty: Vec<u8> = (0..=most).flat_map(|_| client.seal(DATA, b"", 0)).collect();
    assert_eq!(open_all(&mut server.opener, empty), Err(Fault::EmptyRecords));

    let (mut server, mut client) = RawClient::connect(SUITES[0]);
    let canceled: Vec<u8> = (0..=most).flat_map(|_| client.seal(ALERT, &[1, 90], 0)).collect();
    assert_eq!(open_all(&mut server.opener, canceled), Err(Fault::EmptyRecords));
}

#[test]
fn a_flood_of_key_updates() {
    let (server, client) = both(SUITES[0]);
    let mut link = connect(&server, &client, b"", Wire::Whole);
    let mut update = |opener: &mut Opener, now_ns| {
        link.client.refresh_traffic_keys().unwrap();
        opener.open(&mut pull(&mut link.client), now_ns).map(|_| ())
    };
    let opener = &mut link.server.opener;
    let start = 5 * MINUTE_NS;
    for _ in 0..limits::KEY_UPDATES_PER_MINUTE_MAX {
        update(opener, start).unwrap();
    }
    // A minute later as many are allowed again, and then one too many.
    for _ in 0..limits::KEY_UPDATES_PER_MINUTE_MAX {
        update(opener, start + MINUTE_NS).unwrap();
    }
    assert_eq!(update(opener, start + 2 * MINUTE_NS - 1), Err(Fault::KeyUpdates));
}
