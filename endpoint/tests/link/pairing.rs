//! Pairing over a real relay: by spoken code, one-way, anew, and its end.

use std::collections::BTreeSet;
use std::time::Duration;

use hushwire::client::{Event, Events, PairingOptions};
use hushwire::io::Transports;
use hushwire::keystore::{Grant, Keystore, KeystoreError};
use hushwire::pairing::{Link, Qr, Verified};
use hushwire::{Client, Error};
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;

use crate::support::relay::{self, TestRelay, pair};
use crate::support::{by_either_transport, in_time};

/// Stops the relay; what starts it again at the same address.
fn stop(relay: TestRelay) -> impl FnOnce() -> TestRelay {
    let TestRelay { relay, directory, transports } = relay;
    let port = relay.address().port();
    relay.stop();
    relay.wait().expect("a clean end");
    move || TestRelay { relay: relay::start_at(&directory, port, 1, ""), directory, transports }
}

async fn tell(from: &Client, to: &Client, what: &[u8]) {
    let (receipt, message) =
        in_time(async { tokio::join!(from.send(to.device(), what), to.receive()) }).await;
    receipt.expect("delivered");
    assert_eq!(message.expect("received").bytes, what);
}

/// Waits until the relay has taken note.
async fn granted(events: &mut Events, device: DeviceId, expect: bool) {
    let heard = in_time(async {
        loop {
            let event = events.next().await.expect("the client lives");
            if let Event::Granted { peer, may_send } = event
                && peer == device
            {
                return may_send;
            }
        }
    });
    assert_eq!(heard.await, expect);
}

fn grant_of(client: &Client, peer: DeviceId) -> Grant {
    let peers = client.peers();
    peers.iter().find(|info| info.device == peer).expect("a peer").grant
}

/// A device's process ends, and another one begins.
async fn reopened(relay: &TestRelay, client: Client, name: &str) -> Client {
    client.close().await;
    let keystore = Keystore::open(&relay.directory.path().join(name)).expect("its keystore");
    Client::connect(keystore, relay.options()).await.expect("connected")
}

by_either_transport!(
    a_spoken_code_is_all_it_takes,
    one_wrong_guess_destroys_the_code_at_both_ends,
    spoken_codes_that_cannot_work_are_refused_before_the_relay_hears_of_them,
    nameplates_that_are_taken_are_drawn_again,
    a_code_that_a_camera_read_needs_no_digits,
    a_pairing_in_one_direction_waits_for_the_grant,
    the_wish_to_grant_outlives_the_connection_and_the_process,
    a_peer_that_was_removed_offline_is_refused_once_the_relay_is_back,
    a_device_that_lost_its_peers_pairs_again_and_keeps_its_name,
    a_new_device_gets_the_name_once_the_old_one_is_gone,
);

async fn a_spoken_code_is_all_it_takes(transports: Transports) {
    let relay = TestRelay::start(2, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    let offer = alice.offer_spoken(PairingOptions::default()).await.expect("offered");
    let said = offer.code().to_uppercase().replace('-', " ");
    assert!(offer.expires_in() > Duration::from_secs(200));
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_spoken(&said)) }).await;
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    assert_eq!((offered.peer(), joined.peer()), (bob.device(), alice.device()));
    let (one, other) = tokio::join!(offered.confirm("bob"), joined.confirm("alice"));
    one.expect("stored");
    other.expect("stored");
    for (client, peer) in [(&alice, &bob), (&bob, &alice)] {
        let info = &client.peers()[0];
        assert_eq!((info.device, info.verified), (peer.device(), Verified::Spoken));
        assert_eq!(info.grant, Grant::Given);
        assert_eq!(info.fingerprint().to_string().replace(' ', ""), peer.device().to_text());
        assert!(info.verified_at_s > 1_700_000_000);
    }
    tell(&alice, &bob, b"there").await;
    tell(&bob, &alice, b"and back").await;
    // It is used up, at the relay and here.
    let error = bob.join_spoken(&said).await.expect_err("used");
    assert!(matches!(error, Error::CodeUsed) && !error.is_retryable(), "{error}");
    let carol = relay.enroll("carol").await;
    let error = carol.join_spoken(&said).await.expect_err("used");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

/// Bob mishears, or somebody guesses: both ends hear of it, and the code does not come back with a new process.
async fn one_wrong_guess_destroys_the_code_at_both_ends(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    let offer = alice.offer_spoken(PairingOptions::default()).await.expect("offered");
    let said = offer.code();
    let nameplate = said.split('-').next().expect("a nameplate");
    let guess = format!("{nameplate}-zoo-zoo");
    assert_ne!(guess, said);
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_spoken(&guess)) }).await;
    for error in [offered.map(drop).expect_err("wrong"), joined.map(drop).expect_err("wrong")] {
        assert!(matches!(error, Error::CodeDestroyed) && !error.is_retryable(), "{error}");
    }
    assert!(alice.peers().is_empty() && bob.peers().is_empty());
    // The right words do not help any more, and the wrong ones are not tried twice.
    let error = bob.join_spoken(&said).await.expect_err("gone");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let bob = reopened(&relay, bob, "bob").await;
    let error = bob.join_spoken(&guess).await.expect_err("tried before");
    assert!(matches!(error, Error::CodeUsed), "{error}");
    for (client, name) in [(alice, "alice"), (bob, "bob")] {
        client.close().await;
        let keystore = Keystore::open(&relay.directory.path().join(name)).expect("its keystore");
        assert_eq!(keystore.failed_confirmations(), 1, "{name}");
    }
}

async fn spoken_codes_that_cannot_work_are_refused_before_the_relay_hears_of_them(
    transports: Transports,
) {
    let relay = TestRelay::start(1, "").by(transports);
    let alice = relay.enroll("alice").await;
    let offer = alice.offer_spoken(PairingOptions::default()).await.expect("offered");
    let error = alice.join_spoken(&offer.code()).await.expect_err("its own");
    assert!(matches!(error, Error::Pair(_)), "{error}");
    for text in ["", "7", "7-zoo", "7-zoo-zoo-zoo", "7-zoo-zooo", "hello"] {
        let error = alice.join_spoken(text).await.expect_err("no code");
        assert!(matches!(error, Error::Spoken(_)), "{text}: {error}");
    }
    let options = PairingOptions { ttl: Duration::from_secs(1), ..PairingOptions::default() };
    let offer = alice.offer_spoken(options).await.expect("offered");
    let error = in_time(offer.wait()).await.expect_err("nobody came");
    assert!(matches!(error, Error::PairingExpired), "{error}");
}

/// 48 offers among 99 nameplates: some collide, at the relay or here, and each gets one of its own.
async fn nameplates_that_are_taken_are_drawn_again(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let mut nameplates = BTreeSet::new();
    let (mut clients, mut offers) = (Vec::new(), Vec::new());
    for name in ["alice", "bob", "carol"] {
        let client = relay.enroll(name).await;
        for _ in 0..16 {
            let offer = client.offer_spoken(PairingOptions::default()).await.expect("offered");
            let code = offer.code();
            nameplates.insert(code.split('-').next().expect("a nameplate").to_owned());
            offers.push(offer);
        }
        clients.push(client);
    }
    assert_eq!(nameplates.len(), 48);
}

async fn a_code_that_a_camera_read_needs_no_digits(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    let offer = alice.offer_pairing::<Qr>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Qr>(&link)) }).await;
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    let (one, other) = tokio::join!(offered.confirm("bob"), joined.trust_camera("alice"));
    one.expect("stored");
    other.expect("stored");
    assert_eq!(alice.peers()[0].verified, Verified::Sas);
    assert_eq!(bob.peers()[0].verified, Verified::Camera);
    tell(&alice, &bob, b"seen").await;
}

async fn a_pairing_in_one_direction_waits_for_the_grant(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link)) }).await;
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    let (one, other) = tokio::join!(offered.confirm("bob"), joined.confirm_one_way("alice"));
    one.expect("stored");
    other.expect("stored");
    assert_eq!(grant_of(&alice, bob.device()), Grant::Given);
    assert_eq!(grant_of(&bob, alice.device()), Grant::None);

    // The pairing itself lets a few cells pass until its code expires; these are more.
    let mut events = alice.events();
    let mut waiting = Vec::new();
    for number in 0..10_u8 {
        waiting.push(alice.enqueue(bob.device(), vec![number; 100_000]).await.expect("room"));
    }
    let refused = in_time(async {
        loop {
            if let Some(Event::PeerAway { reason, .. }) = events.next().await {
                return reason;
            }
        }
    });
    assert_eq!(refused.await, Undelivered::Refused);
    bob.grant(alice.device()).await.expect("granted");
    assert_eq!(grant_of(&bob, alice.device()), Grant::Given);
    for number in 0..10_u8 {
        let message = in_time(bob.receive()).await.expect("received");
        assert!(message.bytes == vec![number; 100_000]);
    }
    for delivery in waiting {
        in_time(delivery).await.expect("delivered");
    }
    bob.ungrant(alice.device()).await.expect("taken back");
    assert_eq!(grant_of(&bob, alice.device()), Grant::None);
}

/// The relay goes away between the meeting and the confirmation.
async fn the_wish_to_grant_outlives_the_connection_and_the_process(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link)) }).await;
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    let mut lost = [alice.events(), bob.events()];
    let start = stop(relay);
    for events in &mut lost {
        in_time(async {
            while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
        })
        .await;
    }
    let (one, other) = tokio::join!(offered.confirm("bob"), joined.confirm("alice"));
    one.expect("stored all the same");
    other.expect("stored all the same");
    assert_eq!(grant_of(&alice, bob.device()), Grant::Wanted);
    let device = bob.device();
    // Bob's process ends before there is a relay again; Alice's waits for it.
    drop(bob);
    let mut events = alice.events();
    let relay = start();
    granted(&mut events, device, true).await;
    assert_eq!(grant_of(&alice, device), Grant::Given);
    let bob = in_time(async {
        loop {
            // The old process lets go of the keystore when its task has ended.
            match Keystore::open(&relay.directory.path().join("bob")) {
                Ok(keystore) => break Client::connect(keystore, relay.options()).await,
                Err(KeystoreError::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let bob = bob.await.expect("connected");
    tell(&bob, &alice, b"at last").await;
    assert_eq!(grant_of(&bob, alice.device()), Grant::Given);
}

async fn a_peer_that_was_removed_offline_is_refused_once_the_relay_is_back(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    tell(&alice, &bob, b"friends").await;
    let mut events = alice.events();
    let start = stop(relay);
    in_time(async { while !matches!(events.next().await, Some(Event::Disconnected { .. })) {} })
        .await;
    alice.unpair(bob.device()).await.expect("removed here");
    assert!(alice.peers().is_empty());
    assert!(matches!(alice.unpair(bob.device()).await, Err(Error::NotPaired(_))));
    let relay = start();
    granted(&mut events, bob.device(), false).await;
    alice.close().await;
    let keystore = Keystore::open(&relay.directory.path().join("alice")).expect("hers");
    assert_eq!((keystore.peers().count(), keystore.unpaired().count()), (0, 0));
}

/// Bob's keystore is restored to a day before the pairing: the same device, which knows nobody.
async fn a_device_that_lost_its_peers_pairs_again_and_keeps_its_name(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    tell(&alice, &bob, b"before").await;
    let device = bob.device();
    bob.close().await;
    let home = relay.directory.path().join("bob");
    let record = home.join("peers").join(alice.device().to_text() + ".json");
    std::fs::remove_file(record).expect("it was there");
    let keystore = Keystore::open(&home).expect("his keystore");
    let bob = Client::connect(keystore, relay.options()).await.expect("connected");
    assert!(bob.peers().is_empty() && bob.device() == device);

    let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link)) }).await;
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    assert_eq!((offered.known_as().as_deref(), joined.known_as()), (Some("second"), None));
    let name = offered.known_as().expect("known");
    offered.check_name(&name).expect("its own name");
    let (one, other) = tokio::join!(offered.confirm(&name), joined.confirm("alice"));
    one.expect("stored");
    other.expect("stored");
    assert_eq!(alice.peers().len(), 1);
    tell(&alice, &bob, b"after").await;
    tell(&bob, &alice, b"and back").await;
}

/// Bob has a new device: another ID, and his name is taken by the old one.
async fn a_new_device_gets_the_name_once_the_old_one_is_gone(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, old) = (relay.enroll("alice").await, relay.enroll("old").await);
    pair(&alice, &old).await;
    let new = relay.enroll("new").await;
    let offer = alice.offer_spoken(PairingOptions::default()).await.expect("offered");
    let said = offer.code();
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), new.join_spoken(&said)) }).await;
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    let error = offered.check_name("second").expect_err("taken");
    assert!(error.to_string().contains("hush unpair \"second\""), "{error}");
    alice.unpair(old.device()).await.expect("removed");
    let (one, other) = tokio::join!(offered.confirm("second"), joined.confirm("alice"));
    one.expect("stored");
    other.expect("stored");
    assert_eq!(alice.peers()[0].device, new.device());
    tell(&new, &alice, b"new").await;
    let mut events = old.events();
    let _waiting = old.enqueue(alice.device(), b"old".to_vec()).await.expect("room");
    let reason = in_time(async {
        loop {
            if let Some(Event::PeerAway { reason, .. }) = events.next().await {
                return reason;
            }
        }
    });
    assert_eq!(reason.await, Undelivered::Refused);
}
