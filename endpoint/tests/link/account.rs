//! Devices of one account at a real relay: registration with the new device's own signature.

use std::collections::BTreeSet;
use std::time::Duration;

use hushwire::account::{
    AccountLog, MESSAGE_BYTES_MAX, Message as AccountMessage, RotationError, Statement,
};
use hushwire::client::{Delivery, Event, Events, Options, PairingOptions, Rotated, SendState};
use hushwire::conversation::preamble::{Label, Preamble};
use hushwire::conversation::{StreamError, StreamRead};
use hushwire::identity::{Identity, register_proof};
use hushwire::journal::Outcome;
use hushwire::keystore::{Grant, Keystore, KeystoreError, Peer, Relay as KnownRelay};
use hushwire::pairing::Link;
use hushwire::suite::random::OsRandom;
use hushwire::{Client, Error};
use hushwire_wire::control::ErrorCode;
use hushwire_wire::id::DeviceId;

use crate::support::in_time;
use crate::support::raw::{RawPeer, moment};
use crate::support::relay::{TestRelay, pair as paired};

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

/// Waits until the log of a client's account is as it shall be.
async fn until(client: &Client, shall_be: impl Fn(&AccountLog) -> bool) {
    let mut events = client.events();
    in_time(async {
        while !client.account().is_some_and(|log| shall_be(&log)) {
            while events.next().await.expect("the client lives") != Event::AccountChanged {}
        }
    })
    .await;
}

/// All come to hold the same log, of these devices.
async fn agree(clients: &[&Client], devices: &[DeviceId]) {
    let devices: BTreeSet<_> = devices.iter().copied().collect();
    let members = |log: &AccountLog| log.members().map(|member| member.device).collect();
    for client in clients {
        until(client, |log| devices == members(log)).await;
    }
    let prints = clients.iter().map(|client| client.account().expect("a log").fingerprint());
    assert_eq!(prints.collect::<BTreeSet<_>>().len(), 1);
}

async fn event<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    in_time(async {
        loop {
            if let Some(found) = wanted(events.next().await.expect("the client lives")) {
                return found;
            }
        }
    })
    .await
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
    agree(&[&laptop, &phone], &[laptop.device(), phone.device()]).await;

    // The phone adds the server, which the laptop has never met.
    meet((&phone, "phone"), (&server, "server")).await;
    add(&phone, &server, "server").await;
    let all = [laptop.device(), phone.device(), server.device()];
    agree(&[&laptop, &phone, &server], &all).await;
    let known = laptop.devices();
    let seen = known.iter().find(|member| member.device == server.device()).expect("visible");
    assert_eq!((seen.name.as_str(), seen.added_by), ("server", phone.device()));

    laptop.remove_device(phone.device()).expect("removed");
    // The phone is told, and tells the server before it is out of it; or the laptop does once it is paired.
    meet((&laptop, "laptop"), (&server, "server")).await;
    let removed = event(&mut events, |event| {
        if let Event::DeviceRemoved { device } = event { Some(device) } else { None }
    });
    assert_eq!(removed.await, phone.device());
    agree(&[&laptop, &server], &[laptop.device(), server.device()]).await;
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
    let mut own = alice.events();
    let (sent, heard) =
        in_time(async { tokio::join!(alice.send(bob.device(), "it is me"), bob.receive()) }).await;
    sent.expect("delivered");
    assert_eq!(heard.expect("received").peer, new);
    in_time(async { tokio::join!(bob.send(new, "I know"), alice.receive()) })
        .await
        .0
        .expect("delivered");
    assert_eq!(rotated(&mut events).await, (old, new));
    assert!(matches!(bob.send(old, "?").await, Err(Error::NotPaired(_))), "the old key is gone");
    agree(&[&alice, &bob], &[new, bob.device()]).await;
    finished(&alice, &mut own).await;
}

async fn rotated(events: &mut Events) -> (DeviceId, DeviceId) {
    event(
        events,
        |event| {
            if let Event::PeerRotated { old, new } = event { Some((old, new)) } else { None }
        },
    )
    .await
}

/// The relay has let go of the old key: the new one has said so.
async fn finished(client: &Client, events: &mut Events) {
    if client.is_rotating() {
        event(events, |event| matches!(event, Event::RotationFinished { .. }).then_some(())).await;
    }
    assert!(!client.is_rotating());
}

/// Takes messages, each a number, up to `end`, and finds that none is missing and none comes twice.
async fn take(client: &Client, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let message = in_time(client.receive()).await.expect("received");
        assert_eq!(message.bytes, [number]);
    }
}

/// Numbers as messages, given to be sent.
async fn give(client: &Client, peer: DeviceId, numbers: std::ops::Range<u8>) -> Vec<Delivery> {
    let mut given = Vec::new();
    for number in numbers {
        given.push(client.enqueue(peer, [number]).await.expect("on disk"));
    }
    given
}

#[tokio::test]
async fn messages_under_way_arrive_once_while_a_key_rotates() {
    let relay = TestRelay::start(2, "");
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    meet((&alice, "alice"), (&bob, "bob")).await;
    let (old, mut events) = (alice.device(), bob.events());
    drop(give(&alice, bob.device(), 0..40).await);
    let mut to_alice = give(&bob, old, 0..40).await;
    take(&bob, 0..5).await;
    take(&alice, 0..7).await;
    let held = in_time(bob.next_message()).await.expect("received");

    // Nobody has said yet that it may go on: the peer takes the new key and waits with it.
    let done = in_time(alice.rotate(Duration::from_secs(30), false)).await.expect("done");
    let Rotated::Done { device: new, left_behind } = done else { panic!("{done:?}") };
    assert!(left_behind.is_empty());
    assert_eq!(rotated(&mut events).await, (old, new));
    assert_eq!(bob.goes_on_as(old), Some(new));
    // What was in hand is decided as if nothing had been; what waits is found by the old ID too.
    assert_eq!((held.peer, &held.bytes[..]), (old, &[5][..]));
    drop(held.confirm());
    assert_eq!(bob.sends(old), bob.sends(new));
    to_alice.extend(give(&bob, new, 40..60).await);
    drop(alice);

    let path = relay.directory.path().join("alice");
    let alice = Client::connect(reopen(&path).await, Options::default()).await.expect("connected");
    let mut own = alice.events();
    let to_bob = give(&alice, bob.device(), 40..60).await;
    in_time(async { tokio::join!(take(&alice, 7..60), take(&bob, 6..60)) }).await;
    for delivery in to_alice {
        // The last may have been taken before anybody could tell: the receipt names the peer as it is now or was.
        let receipt = in_time(delivery).await.expect("delivered");
        assert!([old, new].contains(&receipt.peer));
    }
    for delivery in to_bob {
        in_time(delivery).await.expect("delivered");
    }
    let delivered = |client: &Client, peer| {
        let sends = client.sends(peer);
        let ended = |state| matches!(state, SendState::Ended { outcome: Outcome::Delivered, .. });
        sends.iter().filter(|sent| ended(sent.state)).count()
    };
    assert_eq!((delivered(&bob, new), delivered(&alice, bob.device())), (60, 60));
    finished(&alice, &mut own).await;

    // A new start finds everything under the new ID.
    bob.close().await;
    let keystore = reopen(&relay.directory.path().join("bob")).await;
    let bob = Client::connect(keystore, Options::default()).await.expect("connected");
    assert_eq!(bob.sends(new).len(), 60);
    in_time(async { tokio::join!(alice.send(bob.device(), [60]), take(&bob, 60..61)) })
        .await
        .0
        .expect("delivered");
}

#[tokio::test]
async fn crashes_on_both_sides_of_a_rotation_lose_nothing() {
    let relay = TestRelay::start(1, "");
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    meet((&alice, "alice"), (&bob, "bob")).await;
    let (old, new) = (alice.device(), Identity::from_secret(&[42; 32]));
    drop(give(&alice, bob.device(), 0..10).await);
    drop(give(&bob, old, 0..10).await);
    let known = KnownRelay::new(&relay.invite().relay, "").relay;
    alice.register(new.device_id(), register_proof(&new, &known, &old), "").await.expect("known");
    let bobs = bob.device();
    drop((alice, bob));

    // Each end is killed right after its keystore has the new key, before anything else heard of it.
    let [at_alice, at_bob] = ["alice", "bob"].map(|name| relay.directory.path().join(name));
    let mut keystore = reopen(&at_alice).await;
    keystore.begin_rotation(Identity::from_secret(&[42; 32]), 5).expect("begun");
    keystore.rotation_registered().expect("registered");
    keystore.switch_rotation().expect("switched");
    let statement = *keystore.rotation().expect("not finished").statement();
    drop(keystore);
    let mut keystore = reopen(&at_bob).await;
    keystore.repin_peer(&old, &statement).expect("believed");
    assert_eq!(keystore.peer(&new.device_id()).map(Peer::grant), Some(Grant::Wanted));
    assert_eq!(keystore.unpaired().collect::<Vec<_>>(), [old]);
    drop(keystore);

    let bob = Client::connect(reopen(&at_bob).await, Options::default()).await.expect("connected");
    let alice = reopen(&at_alice).await;
    assert_eq!(alice.peer(&bobs).map(Peer::grant), Some(Grant::Wanted));
    let alice = Client::connect(alice, Options::default()).await.expect("connected");
    let mut own = alice.events();
    assert_eq!(bob.sends(new.device_id()).len(), 10);
    in_time(async { tokio::join!(take(&alice, 0..10), take(&bob, 0..10)) }).await;
    finished(&alice, &mut own).await;
}

#[tokio::test]
async fn a_rotation_that_the_relay_refuses_is_called_off() {
    // The account has room for as many devices as this one, and no more.
    let relay = TestRelay::start(1, "devices_per_account = 1");
    let alice = relay.enroll("alice").await;
    assert!(matches!(alice.cancel_rotation().await, Err(Error::Rotation(RotationError::NotThere))));
    let refused = in_time(alice.rotate(Duration::ZERO, false)).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert!(alice.is_rotating());
    in_time(alice.cancel_rotation()).await.expect("called off");
    assert!(!alice.is_rotating());
}

/// What a channel with this label and question is answered with.
async fn ask(raw: &mut RawPeer, label: &str, question: &[u8]) -> Vec<u8> {
    let label = Label::new(label).expect("a label");
    let head = Preamble { label, awaits: true, answers: None }.encode();
    let id = raw.open(&[&head[..], question].concat()).await;
    // Whoever is answered before the end of the question may have been refused the rest.
    let _refused = raw.conversation.finish_stream(id);
    let answer = raw.accept().await;
    let head = Preamble {
        label: Label::default(),
        awaits: false,
        answers: std::num::NonZeroU32::new(id.number()),
    };
    let head = head.encode();
    assert_eq!(raw.read(answer, head.len()).await, head);
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 64];
        let read = raw
            .until(|raw| {
                match raw.conversation.read_stream(answer, &mut buffer, moment(), &mut OsRandom) {
                    Ok(StreamRead::Bytes(count)) => Some(count),
                    Ok(StreamRead::Nothing) => None,
                    Ok(StreamRead::End) | Err(_) => Some(0),
                }
            })
            .await;
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 {
            raw.conversation.release_reading(answer, moment());
            raw.conversation.release_writing(id, moment());
            return bytes;
        }
    }
}

const ACCOUNT: &str = "hushwire/account/1";
const ROTATION: &str = "hushwire/rotation/1";
const TAKEN: [u8; 1] = [1];
const REFUSED: [u8; 1] = [3];

#[tokio::test]
async fn bad_bytes_about_the_account_and_keys_change_nothing() {
    let relay = TestRelay::start(1, "");
    let own = Identity::from_secret(&[43; 32]);
    let (old, path) = (own.device_id(), relay.directory.path().join("alice"));
    let keystore = Keystore::create(&path, Identity::from_secret(&[43; 32])).expect("a keystore");
    let alice = Client::enroll(keystore, &relay.invite(), Options::default()).await;
    let (alice, bob) = (alice.expect("enrolled"), relay.enroll("bob").await);
    meet((&alice, "alice"), (&bob, "bob")).await;
    bob.begin_account("bob").expect("begun");
    let before = bob.account().expect("a log").encode();
    alice.close().await;
    let mut raw = RawPeer::connect(reopen(&path).await).await;

    let foreign = AccountLog::begin(&own, "thief", 1).expect("a plain name");
    let bobs = AccountLog::decode(&before).expect("a log");
    let nothing = AccountMessage::Nothing.encode();
    for (question, answer) in [
        // Not even messages: an end without a word.
        (vec![], vec![]),
        (vec![5], vec![]),
        (vec![0xff; 100], vec![]),
        (bobs.greeting().encode()[..40].to_vec(), vec![]),
        (vec![2; 1 + MESSAGE_BYTES_MAX], vec![]),
        // Messages of somebody who is not of this account.
        (bobs.greeting().encode(), nothing.clone()),
        (AccountMessage::Want { from: 0 }.encode(), nothing.clone()),
        (AccountMessage::Entries(vec![0; 10_000]).encode(), nothing.clone()),
        (AccountMessage::Entries(foreign.entries_from(0)).encode(), nothing.clone()),
        (AccountMessage::Welcome(foreign.entries_from(0)).encode(), nothing.clone()),
        (AccountMessage::Welcome(vec![1; 5_000]).encode(), nothing.clone()),
        (AccountMessage::Invite { log: foreign.id() }.encode(), nothing),
    ] {
        let heard = in_time(ask(&mut raw, ACCOUNT, &question)).await;
        assert_eq!(heard, answer, "{} bytes: {:?}", question.len(), question.get(..8));
    }
    assert_eq!(bob.account().expect("a log").encode(), before);

    let next = Identity::generate(&mut OsRandom);
    let other = Identity::generate(&mut OsRandom);
    let statement = Statement::sign(&own, &next, 7).encode();
    let mut flipped = statement;
    flipped[150] ^= 1;
    for question in [
        &[][..],
        &[0; 208],
        &statement[..207],
        &[&statement[..], &[0]].concat(),
        &flipped,
        &Statement::sign(&other, &next, 7).encode(),
    ] {
        assert_eq!(in_time(ask(&mut raw, ROTATION, question)).await, REFUSED);
    }
    assert_eq!(bob.peers().iter().map(|peer| peer.device).collect::<Vec<_>>(), [old]);

    // One that awaits no answer is nothing this library knows.
    let label = Label::new(ROTATION).expect("a label");
    let head = Preamble { label, awaits: false, answers: None }.encode();
    let id = raw.open(&[&head[..], &statement].concat()).await;
    assert_eq!(in_time(raw.refused(id)).await, StreamError::Abandoned(2));

    // A question that does not end holds up two of its kind, and no others.
    let mut endless = Vec::new();
    for _ in 0..2 {
        let label = Label::new(ACCOUNT).expect("a label");
        let head = Preamble { label, awaits: true, answers: None }.encode();
        endless.push(raw.open(&head).await);
        let answer = in_time(raw.accept()).await;
        raw.conversation.release_reading(answer, moment());
    }
    assert!(in_time(ask(&mut raw, ACCOUNT, &bobs.greeting().encode())).await.is_empty());
    let mut events = bob.events();
    for id in endless {
        raw.conversation.release_writing(id, moment());
    }
    // Until it is noticed that they are over.
    let heard = async {
        loop {
            let heard = ask(&mut raw, ROTATION, &statement).await;
            if !heard.is_empty() {
                return heard;
            }
        }
    };
    assert_eq!(in_time(heard).await, TAKEN);
    let moved = tokio::select! {
        moved = rotated(&mut events) => moved,
        () = raw.until(|_| None) => unreachable!("it has no end"),
    };
    assert_eq!(moved, (old, next.device_id()));
}
