//! Peers that are what they say they are: of another version, or very many.

use std::collections::HashSet;
use std::time::Duration;

use hushwire::Error;
use hushwire::client::{Event, SendOptions};
use hushwire::identity::Identity;
use hushwire::pairing::Paired;
use hushwire::suite::handshake::Incompatible;
use hushwire::suite::limits::{HANDSHAKE_MS_MAX, HANDSHAKES_PENDING_MAX};
use hushwire::suite::random::OsRandom;
use hushwire::suite::seal::OuterSeal;
use hushwire_wire::cell::Class;
use hushwire_wire::id::DeviceId;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::pairing::Mallory;
use crate::people::{Homes, event, in_time, one_message, pair};
use crate::relay::{Fate, HostileRelay};

/// What a peer that speaks versions `lowest` to `highest` answers to an HS1.
fn versions(lowest: u8, highest: u8, hs1: &[u8]) -> Vec<u8> {
    let mut content = vec![4, lowest, highest, 0, 6, 0, 0, 0];
    content.extend_from_slice(&Sha256::digest([b"hushwire/1 handshake", hs1].concat()));
    content
}

/// Answers handshakes of `client` as a friend that speaks versions `lowest` to `highest` only.
async fn objects(
    friend: &mut Mallory,
    paired: &Paired,
    relay: &HostileRelay,
    client: DeviceId,
    [lowest, highest]: [u8; 2],
) {
    let (key, ours) = (paired.pair_key(), friend.device());
    loop {
        let mut letter = friend.letter_from(client).await;
        let Ok(hs1) = OuterSeal::paired(key, &client, &ours).open(&mut letter) else { continue };
        let mut body = vec![0; Class::C3.body_len()];
        OuterSeal::paired(key, &ours, &client)
            .seal(&versions(lowest, highest, hs1), &mut body, &mut OsRandom)
            .expect("fits");
        relay.forge(ours, client, 0, &body);
    }
}

#[tokio::test]
async fn who_must_upgrade_is_said_by_the_device_that_cannot_begin() {
    for (spoken, expect, sentence) in [
        ([2, 3], Incompatible::PeerNewer(2), "upgrade this device"),
        ([0, 0], Incompatible::PeerOlder(0), "upgrade the peer"),
    ] {
        let (relay, homes) = (HostileRelay::start().await, Homes::new());
        let alice = homes.client("alice", &relay).await;
        let mut friend = Mallory::moves_in(&relay).await;
        let paired = friend.befriends(&relay, &alice, "friend").await;
        let (mut events, device) = (alice.events(), friend.device());
        let why = event(&mut events, |event| {
            if let Event::PeerIncompatible { peer, why } = event {
                (*peer == device).then_some(*why)
            } else {
                None
            }
        });
        let options = SendOptions { expires_in: Some(Duration::from_secs(2)) };
        let told = async { tokio::join!(why, alice.send_with(device, "hello?", options)) };
        let (why, sent) = in_time(async {
            tokio::select! {
                told = told => told,
                () = objects(&mut friend, &paired, &relay, alice.device(), spoken) => {
                    unreachable!("a friend never tires")
                }
            }
        })
        .await;
        assert_eq!(why, expect);
        assert!(why.to_string().ends_with(sentence), "{why}");
        assert!(matches!(sent, Err(Error::Expired { .. })), "{sent:?}");
    }
}

/// Each friend answers nothing, so that every handshake stays pending for all of its time.
#[tokio::test]
async fn so_many_handshakes_are_pending_and_a_session_goes_on_beside_them() {
    const FRIENDS: usize = HANDSHAKES_PENDING_MAX + 2;
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
    pair(&alice, &bob, ["alice", "bob"]).await;
    one_message(&bob, &alice, "before").await;
    let mut mallory = Mallory::moves_in(&relay).await;
    let mut friends = Vec::new();
    for number in 0..FRIENDS {
        mallory.identity = Identity::generate(&mut OsRandom);
        mallory.befriends(&relay, &alice, &format!("friend {number}")).await;
        friends.push(mallory.device());
    }
    let (alice_id, bob_id) = (alice.device(), bob.device());
    let (begun, mut firsts) = mpsc::unbounded_channel();
    let mut known = HashSet::new();
    relay
        .rules(move |cell| {
            if [cell.from, cell.to].iter().all(|end| [alice_id, bob_id].contains(end)) {
                return vec![Fate::Deliver];
            }
            if known.insert(cell.to) {
                let _over = begun.send(Instant::now());
            }
            Vec::new()
        })
        .await;
    let mut events = bob.events();
    for friend in &friends {
        alice.enqueue(*friend, "hello?").await.expect("room");
    }
    let mut at = Vec::new();
    for number in 0..FRIENDS {
        if number % 16 == 0 {
            one_message(&bob, &alice, "meanwhile").await;
            one_message(&alice, &bob, "meanwhile").await;
        }
        at.push(in_time(firsts.recv()).await.expect("the relay runs"));
    }
    // A little less than a handshake's time, for that began before the relay saw it.
    let time = Duration::from_millis(HANDSHAKE_MS_MAX - 500);
    for (number, first) in at.iter().enumerate() {
        let pending = at[..number].iter().filter(|earlier| **earlier + time > *first).count();
        assert!(pending < HANDSHAKES_PENDING_MAX, "{pending} before friend {number}");
    }
    // What has been told by now.
    while let Ok(event) = tokio::time::timeout(Duration::ZERO, events.next()).await {
        assert!(!matches!(event, None | Some(Event::PeerDown { .. })), "{event:?}");
    }
}
