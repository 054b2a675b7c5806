//! Devices of one account at a real relay: registration with the new device's own signature.

#[path = "link_support/relay.rs"]
mod relay;

use std::time::Duration;

use hushwire::client::PairingOptions;
use hushwire::client::{Event, Options, Rotated};
use hushwire::identity::{Identity, register_proof};
use hushwire::keystore::{Keystore, KeystoreError, Relay as KnownRelay};
use hushwire::pairing::Link;
use hushwire::suite::random::OsRandom;
use hushwire::{Client, Error};
use hushwire_wire::control::ErrorCode;
use relay::{TestRelay, pair as paired};

/// Pairs two clients by link; each calls the other as given.
async fn meet((first, firsts_name): (&Client, &str), (second, seconds_name): (&Client, &str)) {
    let offer = first.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let (offered, joined) = tokio::join!(offer.wait(), second.join_pairing::<Link>(&link));
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    let (one, other) = tokio::join!(offered.confirm(seconds_name), joined.confirm(firsts_name));
    one.expect("stored");
    other.expect("stored");
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

fn refused_as_unproved(answer: Result<(), Error>) {
    let Err(Error::Refused { code: ErrorCode::Unauthenticated, sentence, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert!(sentence.contains("new device"), "{sentence}");
}

#[tokio::test]
async fn a_device_is_registered_with_its_own_signature_only() {
    let relay = TestRelay::start(2, "");
    let alice = relay.enroll("alice").await;
    let known = KnownRelay::new(&relay.invite().relay, "");
    let (new, thief) = (Identity::generate(&mut OsRandom), Identity::generate(&mut OsRandom));
    let register = |proof| alice.register(new.device_id(), proof, "phone");

    refused_as_unproved(register([0; 64]).await);
    refused_as_unproved(register(register_proof(&thief, &known.relay, &alice.device())).await);
    // Signed for somebody else's account.
    refused_as_unproved(register(register_proof(&new, &known.relay, &thief.device_id())).await);
    register(register_proof(&new, &known.relay, &alice.device())).await.expect("registered");

    let path = relay.directory.path().join("phone");
    let mut keystore = Keystore::create(&path, new).expect("a keystore");
    keystore.set_relay(known).expect("stored");
    let phone = Client::connect(keystore, Options::default()).await.expect("it is enrolled");
    paired(&alice, &phone).await;
    in_time(async { tokio::join!(phone.send(alice.device(), "hello"), alice.receive()) })
        .await
        .0
        .expect("delivered");
    alice.revoke(phone.device()).await.expect("revoked");
    assert!(matches!(in_time(phone.receive()).await, Err(Error::Revoked)));
}

/// Both hold the same log of so many devices.
async fn agree(clients: &[&Client], devices: usize) {
    let same = async {
        loop {
            let prints: Vec<_> = clients
                .iter()
                .map(|client| {
                    client.account().map(|log| (log.fingerprint(), log.members().count()))
                })
                .collect();
            if prints.iter().all(|print| *print == prints[0])
                && prints[0].as_ref().is_some_and(|(_, count)| *count == devices)
            {
                return;
            }
            // Two clients have to come to the same; there is no one event for it.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(same).await;
}

async fn add(adding: &Client, joining: &Client, name: &str) {
    let (added, joined) = in_time(async {
        tokio::join!(
            adding.add_device(joining.device(), name),
            joining.join_account(adding.device())
        )
    })
    .await;
    added.expect("added");
    joined.expect("joined");
}

#[tokio::test]
async fn devices_of_an_account_see_each_other_whether_paired_or_not() {
    let relay = TestRelay::start(2, "");
    let (laptop, phone) = (relay.enroll("laptop").await, relay.enroll("phone").await);
    let server = relay.enroll("server").await;
    let mut events = server.events();
    meet((&laptop, "laptop"), (&phone, "phone")).await;
    assert!(matches!(laptop.add_device(phone.device(), "phone").await, Err(Error::NoAccount)));
    laptop.begin_account("laptop").expect("begun");
    // Without the phone's consent nothing happens.
    let refused = in_time(laptop.add_device(phone.device(), "phone")).await;
    assert!(matches!(refused, Err(Error::NotJoining(_))), "{refused:?}");
    assert_eq!(laptop.devices().len(), 1);
    add(&laptop, &phone, "phone").await;
    agree(&[&laptop, &phone], 2).await;

    // The phone adds the server, which the laptop has never met.
    meet((&phone, "phone"), (&server, "server")).await;
    add(&phone, &server, "server").await;
    agree(&[&laptop, &phone, &server], 3).await;
    let known = laptop.devices();
    let seen = known.iter().find(|member| member.device == server.device()).expect("visible");
    assert_eq!((seen.name.as_str(), seen.added_by), ("server", phone.device()));

    laptop.remove_device(phone.device()).expect("removed");
    let heard = async {
        loop {
            let event = events.next().await.expect("the client lives");
            if let Event::DeviceRemoved { device } = event {
                return device;
            }
        }
    };
    // The phone is told, and tells the server before it is out of it; or the laptop does once it is paired.
    meet((&laptop, "laptop"), (&server, "server")).await;
    assert_eq!(in_time(heard).await, phone.device());
    agree(&[&laptop, &server], 2).await;
}

/// Opens a keystore that a client has just let go of.
async fn reopen(path: &std::path::Path) -> Keystore {
    in_time(async {
        loop {
            match Keystore::open(path) {
                Err(KeystoreError::Locked { .. }) => tokio::task::yield_now().await,
                opened => return opened.expect("it opens"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_device_goes_on_under_a_new_key_with_its_peers() {
    let relay = TestRelay::start(2, "");
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    let carol = relay.enroll("carol").await;
    meet((&alice, "alice"), (&bob, "bob")).await;
    meet((&alice, "alice"), (&carol, "carol")).await;
    alice.begin_account("alice").expect("begun");
    add(&alice, &bob, "bob").await;
    carol.close().await;
    let (old, mut events) = (alice.device(), bob.events());

    let waiting = in_time(alice.rotate(Duration::from_secs(3), false)).await.expect("begun");
    assert_eq!(waiting, Rotated::Waiting { unheard: vec!["carol".into()] });
    let done = in_time(alice.rotate(Duration::from_millis(200), true)).await.expect("done");
    let Rotated::Done { device: new, left_behind } = done else { panic!("{done:?}") };
    assert_eq!(left_behind, ["carol"]);
    assert_ne!(old, new);
    drop(alice);

    let path = relay.directory.path().join("alice");
    let keystore = reopen(&path).await;
    assert_eq!(keystore.identity().device_id(), new);
    let alice = Client::connect(keystore, Options::default()).await.expect("the new device");
    let (sent, heard) =
        in_time(async { tokio::join!(alice.send(bob.device(), "it is me"), bob.receive()) }).await;
    sent.expect("delivered");
    assert_eq!(heard.expect("received").peer, new);
    in_time(async { tokio::join!(bob.send(new, "I know"), alice.receive()) })
        .await
        .0
        .expect("delivered");
    let rotated = async {
        loop {
            let event = events.next().await.expect("the client lives");
            if let Event::PeerRotated { old, new } = event {
                return (old, new);
            }
        }
    };
    assert_eq!(in_time(rotated).await, (old, new));
    assert!(matches!(bob.send(old, "?").await, Err(Error::NotPaired(_))), "the old key is gone");
    agree(&[&alice, &bob], 2).await;
    assert!(alice.devices().iter().any(|member| member.device == new));
    // The relay has let go of the old one: it is revoked once the new one has said so.
    let finished = async {
        while alice.is_rotating() {
            tokio::task::yield_now().await;
        }
    };
    in_time(finished).await;
}
