//! The client against a real relay.

use std::time::Duration;

use hushwire::client::Event;
use hushwire::io::{IoError, Transports};
use hushwire::keystore::{Relay as KnownRelay, RelayTrust};
use hushwire::link::LinkError;
use hushwire::{Client, Error};
use hushwire_wire::code::Invite;
use hushwire_wire::id::RelayId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::relay::{self, TestRelay, pair};
use crate::support::{by_either_transport, in_time};

by_either_transport!(
    two_devices_pair_and_exchange_messages,
    a_stream_crosses_whole_with_its_end,
    a_dropped_writer_is_an_error_and_not_an_end,
    messages_survive_a_relay_that_starts_anew,
    the_newer_connection_of_a_device_takes_over,
    each_wrong_introduction_has_its_sentence,
    pairing_links_work_once_and_only_here,
    an_unpaired_device_is_refused_and_waits_no_longer,
    nobody_listens_is_worth_another_try,
);

async fn two_devices_pair_and_exchange_messages(transports: Transports) {
    let relay = TestRelay::start(2, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    for number in 0..20_u8 {
        let (receipt, message) = in_time(async {
            tokio::join!(alice.send(bob.device(), vec![number; 300]), bob.receive())
        })
        .await;
        let message = message.expect("received");
        assert_eq!((message.peer, message.bytes), (alice.device(), vec![number; 300]));
        assert_eq!(receipt.expect("delivered").number, u64::from(number));
    }
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (receipt, message) =
        in_time(async { tokio::join!(bob.send(alice.device(), large.clone()), alice.receive()) })
            .await;
    assert!(message.expect("received").bytes == large);
    receipt.expect("delivered");
    assert!(alice.peers()[0].is_up);
    assert!(alice.relay_clock().await.expect("a clock") > 1_700_000_000_000);
}

async fn a_stream_crosses_whole_with_its_end(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    let content: Vec<u8> = (0..9_000_000_u32).map(|n| (n % 253) as u8).collect();
    let write = async {
        let mut writer = alice.open_stream(bob.device()).await.expect("opened");
        writer.write_all(&content).await.expect("written");
        writer.shutdown().await.expect("read to its end");
    };
    let read = async {
        let mut reader = bob.accept_stream().await.expect("accepted");
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.expect("whole");
        bytes
    };
    let ((), bytes) = in_time(async { tokio::join!(write, read) }).await;
    assert!(bytes == content);
}

async fn a_dropped_writer_is_an_error_and_not_an_end(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    let write = async {
        let mut writer = alice.open_stream(bob.device()).await.expect("opened");
        writer.write_all(b"only a part").await.expect("written");
        writer
    };
    let read = async {
        let mut reader = bob.accept_stream().await.expect("accepted");
        let mut bytes = [0; 11];
        reader.read_exact(&mut bytes).await.expect("the part");
        reader
    };
    let (writer, mut reader) = in_time(async { tokio::join!(write, read) }).await;
    drop(writer);
    let error = in_time(reader.read(&mut [0; 1])).await.expect_err("truncated");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

/// Stops the relay and starts it again at the same address.
fn restart(relay: TestRelay) -> TestRelay {
    let TestRelay { relay, directory, transports } = relay;
    let port = relay.address().port();
    relay.stop();
    relay.wait().expect("a clean end");
    TestRelay { relay: relay::start_at(&directory, port, 1, ""), directory, transports }
}

async fn messages_survive_a_relay_that_starts_anew(transports: Transports) {
    let mut relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    let mut events = alice.events();
    let mut deliveries = Vec::new();
    for number in 0..60_u32 {
        let bytes = number.to_le_bytes().repeat(1_000);
        deliveries.push(alice.enqueue(bob.device(), bytes).await.expect("room"));
        if number == 30 {
            assert_eq!(
                bob.receive().await.expect("first").bytes,
                0_u32.to_le_bytes().repeat(1_000)
            );
            relay = restart(relay);
        }
    }
    in_time(async {
        for number in 1..60_u32 {
            let message = bob.receive().await.expect("received");
            assert_eq!(message.bytes, number.to_le_bytes().repeat(1_000));
        }
        for delivery in deliveries {
            delivery.await.expect("delivered");
        }
    })
    .await;
    let lost = in_time(async {
        loop {
            if let Some(Event::Disconnected { next_try, .. }) = events.next().await {
                return next_try;
            }
        }
    })
    .await;
    assert!(lost.is_some_and(|wait| wait <= Duration::from_secs(30)));
    drop(relay);
}

async fn the_newer_connection_of_a_device_takes_over(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let bob = relay.enroll("bob").await;
    let alice = relay.enroll("alice").await;
    pair(&alice, &bob).await;
    // A copy of the keystore, as a careless backup makes it.
    let (from, to) = (relay.directory.path().join("alice"), relay.directory.path().join("copy"));
    copy(&from, &to);
    let keystore = hushwire::keystore::Keystore::open(&to).expect("the copy opens");
    let copy = Client::connect(keystore, relay.options()).await.expect("connected");
    let error = in_time(alice.receive()).await.expect_err("superseded");
    assert!(matches!(error, Error::Superseded), "{error}");
    assert!(!error.is_retryable());
    assert!(matches!(alice.send(bob.device(), b"x").await, Err(Error::Superseded)));
    assert!(copy.is_connected());
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

async fn each_wrong_introduction_has_its_sentence(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let invite = relay.invite();
    let client =
        Client::enroll(relay.keystore("first"), &invite, relay.options()).await.expect("enrolled");
    let used = Client::enroll(relay.keystore("second"), &invite, relay.options()).await;
    let error = used.expect_err("an invite works once");
    assert!(matches!(error, Error::InviteRefused(_)) && !error.is_retryable(), "{error}");

    let none = Client::connect(relay.keystore("third"), relay.options()).await;
    assert!(matches!(none, Err(Error::NotEnrolled)));

    let known = |trust, id| {
        let mut keystore = relay.keystore(&format!("known{}", rand_name()));
        let address = relay.relay.address().to_string();
        let known = KnownRelay { address, trust, relay: id, account: String::new() };
        keystore.set_relay(known).expect("stored");
        Client::connect(keystore, relay.options())
    };
    let (pin, id) = (relay.relay.pin(), relay.relay.relay_id());
    let error = known(RelayTrust::Pins(vec![pin]), id).await.expect_err("not enrolled");
    assert!(matches!(error, Error::NotAdmitted(_)), "{error}");
    let error = known(RelayTrust::Pins(vec![[7; 32]]), id).await.expect_err("another pin");
    assert!(matches!(error, Error::Io(IoError::PinDiffers { .. })), "{error}");
    let text = error.to_string();
    let hex = |pin: [u8; 32]| pin.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(text.contains(&hex(pin)) && text.contains(&hex([7; 32])), "{text}");
    let error = known(RelayTrust::PublicCa, id).await.expect_err("self-signed");
    assert!(matches!(error, Error::Io(IoError::Certificate(_))), "{error}");
    let other = RelayId::new([3; 32]);
    let error = known(RelayTrust::Pins(vec![pin]), other).await.expect_err("another relay");
    assert!(matches!(error, Error::Link(LinkError::WrongRelay { .. })), "{error}");

    let stranger = hushwire_wire::id::DeviceId::new([1; 32]);
    assert!(matches!(client.send(stranger, b"x").await, Err(Error::NotPaired(_))));
    assert!(matches!(
        client.join_pairing::<hushwire::pairing::Link>("x").await,
        Err(Error::Code(_))
    ));
}

fn rand_name() -> u64 {
    let mut bytes = [0; 8];
    hushwire::suite::random::Random::fill(&mut hushwire::suite::random::OsRandom, &mut bytes);
    u64::from_le_bytes(bytes)
}

async fn pairing_links_work_once_and_only_here(transports: Transports) {
    use hushwire::client::PairingOptions;
    use hushwire::pairing::Link;

    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let own = alice.join_pairing::<Link>(&link).await.expect_err("made on this device");
    assert!(matches!(own, Error::Pair(_)), "{own}");
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link)) }).await;
    joined.expect("met").reject().expect("counted");
    drop(offered.expect("met"));
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
    let again = bob.join_pairing::<Link>(&link).await.expect_err("used");
    assert!(matches!(again, Error::Refused { .. }), "{again}");

    let code = hushwire_wire::code::PairCode::from_text(&link).expect("a code");
    let elsewhere = hushwire_wire::code::RelayAddress::new(
        code.relay.trust(),
        RelayId::new([9; 32]),
        "elsewhere.example:4433",
    );
    let other = hushwire_wire::code::PairCode { relay: elsewhere.expect("well formed"), ..code };
    let error = bob.join_pairing::<Link>(&other.to_text()).await.expect_err("another relay");
    assert!(matches!(error, Error::OtherRelay(_)), "{error}");
}

async fn an_unpaired_device_is_refused_and_waits_no_longer(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    let waiting = alice.enqueue(bob.device(), b"never taken".to_vec()).await.expect("room");
    in_time(alice.unpair(bob.device())).await.expect("unpaired");
    assert!(matches!(in_time(waiting).await, Err(Error::Unpaired(_))));
    assert!(alice.peers().is_empty());
    pair(&alice, &bob).await;
    let (receipt, message) =
        in_time(async { tokio::join!(alice.send(bob.device(), b"again"), bob.receive()) }).await;
    receipt.expect("delivered");
    let first = message.expect("received").bytes;
    assert!(first == b"never taken" || first == b"again");
}

async fn nobody_listens_is_worth_another_try(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let invite = relay.invite();
    let (keystore, options) = (relay.keystore("late"), relay.options());
    relay.relay.stop();
    relay.relay.wait().expect("a clean end");
    let error = Client::enroll(keystore, &invite, options).await.expect_err("nobody");
    assert!(matches!(error, Error::Io(IoError::Connect { .. })) && error.is_retryable(), "{error}");
}

#[test]
fn an_invite_is_read_back() {
    let relay = TestRelay::start(1, "");
    let invite = relay.invite();
    assert_eq!(Invite::from_text(&invite.to_text()).expect("round trip"), invite);
}
