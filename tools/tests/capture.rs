//! What somebody on the path sees of a conversation: after WELCOME nothing but records of cells' sizes,
//! goodbyes and KeyUpdates included.

mod support;

use std::io::Write as _;

use hushwire::identity::Identity;
use hushwire::suite::random::OsRandom;
use hushwire_relay::control::admin::{Answer, Question};
use hushwire_tools::admin;
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, Kind};
use hushwire_wire::code::Invite;
use hushwire_wire::control::{Control, Request};
use support::eventually;
use support::people::{enrol, in_time, pair, random, tell};
use support::proxy::{Proxy, Record, Recording, Way};
use support::raw::{Device, Raw, connect_with};

/// Header, inner content type and tag of a TLS 1.3 record, in bytes.
const OVERHEAD: usize = 5 + 1 + 16;
/// Session tickets follow the client's Finished, before WELCOME.
const TICKETS_MAX: usize = 2;

/// A cell of 32 KiB is two records of half its size, which is the size of the class below.
fn is_cell_sized(length: usize) -> bool {
    (0..=6).any(|class| length == (256 << class) + OVERHEAD)
}

/// A relay that puts the proxy's address into its invites.
fn relay_behind(proxy: &Proxy, shards: usize) -> RelayProcess {
    let address = format!("{:?}", proxy.address());
    let options = support::options().set("relay", "public_address", address).shards(shards);
    let relay = RelayProcess::start(&options).expect("the relay starts");
    proxy.forward(relay.address());
    relay
}

/// The records after WELCOME, both ways.
fn after_welcome(recording: &Recording) -> Vec<Record> {
    let data = |record: &&Record| record.kind == 23;
    // The device's first record of this kind is its Finished, the second its HELLO.
    let mut from_device = recording
        .records
        .iter()
        .enumerate()
        .filter(|(_, record)| record.way == Way::ToRelay && data(record));
    let hello = from_device.nth(1).expect("a HELLO").0;
    let behind = &recording.records[hello + 1..];
    let is_welcome = |record: &Record| record.way == Way::ToDevice && is_cell_sized(record.length);
    let welcome = behind.iter().position(is_welcome).expect("a WELCOME");
    assert!(welcome <= TICKETS_MAX, "{behind:?}");
    behind[welcome + 1..].to_vec()
}

/// Checks one connection and returns how many records it had after WELCOME.
fn check(recording: &Recording, ways: &[Way]) -> usize {
    let records = after_welcome(recording);
    for record in records.iter().filter(|record| ways.contains(&record.way)) {
        assert!(record.kind == 23 && is_cell_sized(record.length), "{record:?}");
    }
    for &way in ways {
        // Whoever leaves may leave before the other has finished a cell.
        if let Some(&[23, 3, 3, high, low]) = recording.rest(way).first_chunk::<5>() {
            let length = 5 + usize::from(u16::from_be_bytes([high, low]));
            assert!(is_cell_sized(length), "{way:?}: {length}");
        } else {
            assert_eq!(recording.rest(way), [0; 0], "{way:?}");
        }
    }
    records.len()
}

fn wait_for_ends(proxy: &mut Proxy, connections: usize) {
    eventually("every connection has ended", || {
        let seen = proxy.recordings();
        seen.len() >= connections && seen.values().all(|recording| recording.is_over)
    });
}

#[tokio::test]
async fn a_conversation_shows_sizes_of_cells_only() {
    conversation(1).await;
}

#[tokio::test]
async fn connections_that_change_their_shard_do_not_show_it() {
    conversation(2).await;
}

async fn conversation(shards: usize) {
    let homes = tempfile::tempdir().expect("a directory");
    let mut proxy = Proxy::bind();
    let relay = relay_behind(&proxy, shards);
    let a = enrol(&relay, &homes.path().join("a")).await;
    let b = enrol(&relay, &homes.path().join("b")).await;
    let c = enrol(&relay, &homes.path().join("c")).await;
    pair(&a, &b).await;
    pair(&c, &b).await;

    for length in [0, 1, 100, 136, 137, 1_000, 3_000, 20_000, 33_000, 200_000, 1_000_000] {
        let message = random(length);
        tell(&a, &b, &message).await;
        tell(&b, &a, &message).await;
        tell(&c, &b, &message).await;
    }
    let content = random(3_000_001);
    let sending = async {
        let content = std::io::Cursor::new(content);
        let mut transfer = a.send_reader(b.device(), content, "content.bin").expect("begun");
        transfer.finished().await
    };
    let receiving =
        async { b.accept_transfer().await.expect("offered").save_in(homes.path()).await };
    let (sent, received) = in_time(async { tokio::join!(sending, receiving) }).await;
    assert_eq!(sent.expect("it is sent"), received.expect("it arrives").content);

    // Three ways to part: the device leaves, the relay ends the device, the relay stops.
    a.close().await;
    let question = Question::Revoke { device: b.device().to_text() };
    assert_eq!(admin::ask(relay.socket(), &question).expect("an answer"), Answer::Done);
    in_time(b.receive()).await.expect_err("b is revoked");
    let mut events = c.events();
    let stopping = tokio::task::spawn_blocking(move || relay.stop());
    in_time(events.next()).await.expect("c is told");
    drop(c);
    assert!(stopping.await.expect("it stops").expect("it stops").success());

    wait_for_ends(&mut proxy, 3);
    let recordings: Vec<_> =
        proxy.recordings().values().filter(|seen| !seen.records.is_empty()).collect();
    assert_eq!(recordings.len(), 3, "{recordings:?}");
    for recording in recordings {
        assert!(check(recording, &[Way::ToRelay, Way::ToDevice]) > 100);
    }
}

/// A raw device behind the proxy, and its number there.
fn introduced(relay: &RelayProcess, proxy: &Proxy) -> Device {
    let invite = Invite::from_text(&relay.invite().expect("an invite")).expect("an invite");
    let raw = connect_with(&proxy.address(), &[b"hushwire/1"]).expect("a connection");
    let token = Some(invite.secret.as_bytes().to_vec());
    Device::introduce_over(raw, Identity::generate(&mut OsRandom), token).expect("it is welcome")
}

#[test]
fn the_relays_key_updates_look_like_cells() {
    let mut proxy = Proxy::bind();
    let relay = relay_behind(&proxy, 1);
    let mut device = introduced(&relay, &proxy);
    for round in 0..3 {
        // Asks for an update of the relay's keys as well (RFC 8446 §4.6.3).
        device.raw.tls().conn.refresh_traffic_keys().expect("keys");
        assert!(matches!(device.ask(round, Request::Ping), Control::Pong { .. }));
    }
    drop(device);
    wait_for_ends(&mut proxy, 1);
    let recording = &proxy.recordings()[&0];
    check(recording, &[Way::ToDevice]);
    let records = after_welcome(recording);
    let told = records.iter().filter(|record| record.way == Way::ToDevice).count();
    // Three answers, three updates, and perhaps a goodbye to a device that leaves without one.
    assert!((6..=7).contains(&told), "{records:?}");
    // The same eyes do see an update that is not padded: that of rustls.
    let unpadded = |record: &&Record| record.way == Way::ToRelay && record.length == 5 + 5 + 17;
    assert_eq!(records.iter().filter(unpadded).count(), 3, "{records:?}");
}

/// What a device does wrong.
type Mistake = fn(&mut Device);

#[test]
fn the_relays_errors_and_alerts_look_like_cells() {
    let mistakes: [(&str, Mistake); 3] = [
        ("a malformed cell", |device| {
            let mut cell = vec![0; Class::C0.cell_len()];
            cell[0] = 9;
            device.raw.send_bytes(&cell).expect("the relay reads");
        }),
        ("a second HELLO", |device| {
            let hello = b"\x81\xa2op\xa5hello";
            device.raw.say_content(hello).expect("the relay reads");
        }),
        ("a record under no key", |device| {
            let mut record = vec![0x5a; 278];
            record[..5].copy_from_slice(&[23, 3, 3, 1, 17]);
            device.raw.tls().sock.write_all(&record).expect("the relay reads");
        }),
    ];
    for (what, mistake) in mistakes {
        let mut proxy = Proxy::bind();
        let relay = relay_behind(&proxy, 1);
        let mut device = introduced(&relay, &proxy);
        mistake(&mut device);
        last_records(&mut device.raw);
        drop(device);
        wait_for_ends(&mut proxy, 1);
        let recording = &proxy.recordings()[&0];
        check(recording, &[Way::ToDevice]);
        let told = after_welcome(recording).iter().filter(|r| r.way == Way::ToDevice).count();
        assert!(told >= 1, "{what}: the relay closes with an alert");
    }
}

/// Reads until the relay has closed.
fn last_records(raw: &mut Raw) {
    while let Ok((header, _)) = raw.receive() {
        assert_eq!(header.kind, Kind::Control);
    }
}
