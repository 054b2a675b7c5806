//! Nothing that a relay says makes a client report as delivered what was not taken, nor as failed what may yet be.

use std::time::Duration;

use hushwire::client::{Delivery, Event};
use hushwire::suite::random::{OsRandom, Random};
use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, RequestId, Undelivered};

use crate::connection::Out;
use crate::people::{Homes, connected, disconnected, event, in_time, one_message, pair};
use crate::relay::{Fate, HostileRelay};

/// Whether a delivery has an end, whichever.
async fn has_ended(delivery: &mut Delivery) -> bool {
    tokio::time::timeout(Duration::ZERO, delivery).await.is_ok()
}

#[tokio::test]
async fn no_word_of_the_relay_is_a_receipt() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
    pair(&alice, &bob, ["alice", "bob"]).await;
    one_message(&alice, &bob, "before").await;
    let recorded = relay.recorded().await;

    // From now on nothing of alice's arrives; all that bob says does.
    let from = alice.device();
    relay.rules(move |cell| vec![Fate::Deliver; usize::from(cell.from != from)]).await;
    let mut delivery = alice.enqueue(bob.device(), b"precious".to_vec()).await.expect("room");
    let mut events = alice.events();
    for round in 0..4_u32 {
        // Bob's acknowledgements of old, and cells nobody has sealed.
        for cell in recorded.iter().filter(|cell| cell.to == from) {
            relay.replay(cell);
        }
        for class in Class::ALL {
            let mut body = vec![0; class.body_len()];
            OsRandom.fill(&mut body);
            relay.forge(bob.device(), from, round % 8, &body);
        }
        // Answers nobody asked for, and reports on cells that were never sent or long since reported.
        for number in 0..400 {
            relay.say(from, &Control::Done { id: RequestId(1_000_000 + number) });
            let reason = Undelivered::ALL[number as usize % Undelivered::ALL.len()];
            let (lane, counter) = ((number % 8) as u8, u64::from(number / 8));
            relay.say(from, &Control::Undeliverable { lane, counter, reason });
        }
        relay.say(
            from,
            &Control::Undeliverable { lane: 7, counter: u64::MAX, reason: Undelivered::Offline },
        );
        let clock = in_time(alice.relay_clock()).await.expect("a healthy connection");
        assert_eq!(clock, 1);
        assert!(!has_ended(&mut delivery).await, "round {round}");
        relay.send(from, Out::Cut);
        connected(&mut events).await;
    }
    assert!(!has_ended(&mut delivery).await);

    relay.repents().await;
    let (receipt, message) = in_time(async { tokio::join!(delivery, bob.receive()) }).await;
    assert_eq!(receipt.expect("delivered").peer, bob.device());
    assert_eq!(message.expect("received").bytes, b"precious");
    one_message(&alice, &bob, "exactly once").await;
}

#[tokio::test]
async fn a_peer_said_to_be_away_is_tried_again() {
    for reason in [Undelivered::Offline, Undelivered::Refused] {
        let (relay, homes) = (HostileRelay::start().await, Homes::new());
        let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
        pair(&alice, &bob, ["alice", "bob"]).await;
        one_message(&bob, &alice, "before").await;
        relay.rules(move |_| vec![Fate::Deny(reason)]).await;
        let mut events = alice.events();
        let mut delivery = alice.enqueue(bob.device(), b"patience".to_vec()).await.expect("room");
        for _ in 0..3 {
            let away = event(&mut events, |event| {
                if let Event::PeerAway { reason, .. } = event { Some(*reason) } else { None }
            })
            .await;
            assert_eq!(away, reason, "as the relay says, and called no more than that");
            assert!(!has_ended(&mut delivery).await);
        }
        relay.repents().await;
        let (receipt, message) = in_time(async { tokio::join!(delivery, bob.receive()) }).await;
        receipt.expect("delivered");
        assert_eq!(message.expect("received").bytes, b"patience");
    }
}

#[tokio::test]
async fn a_connection_that_ends_again_and_again_ends_no_message() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
    pair(&alice, &bob, ["alice", "bob"]).await;
    let from = alice.device();
    // Whatever alice sends costs her the connection.
    relay.rules(move |cell| vec![if cell.from == from { Fate::Cut } else { Fate::Deliver }]).await;
    let mut events = alice.events();
    let mut delivery = alice.enqueue(bob.device(), b"again".to_vec()).await.expect("room");
    for _ in 0..3 {
        let (_, next_try) = disconnected(&mut events).await;
        assert!(next_try.is_some_and(|wait| wait <= Duration::from_secs(30)));
        assert!(!has_ended(&mut delivery).await);
    }
    relay.repents().await;
    let (receipt, message) = in_time(async { tokio::join!(delivery, bob.receive()) }).await;
    receipt.expect("delivered");
    assert_eq!(message.expect("received").bytes, b"again");
}
