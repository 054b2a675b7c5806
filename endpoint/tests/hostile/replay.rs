//! Cells of an earlier session never show up again: not after a reconnect, not after a restart, not at somebody else's.

use hushwire::Client;

use crate::people::{Homes, connected, end, one_message, pair};
use crate::relay::{Fate, HostileRelay, Passing};

/// The relay has had its say once the client answers what comes behind it.
async fn settled(relay: &HostileRelay, client: &Client) {
    let _same_order = relay.recorded().await;
    assert_eq!(client.relay_clock().await.expect("a healthy connection"), 1);
}

async fn replay(relay: &HostileRelay, cells: &[Passing], to: [&Client; 2]) {
    for cell in cells.iter().chain(cells.iter().rev()) {
        relay.replay(cell);
    }
    for client in to {
        settled(relay, client).await;
    }
}

#[tokio::test]
async fn an_earlier_session_never_shows_up() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
    pair(&alice, &bob, ["alice", "bob"]).await;
    for text in ["old one", "old two"] {
        one_message(&alice, &bob, text).await;
        one_message(&bob, &alice, text).await;
    }
    let old = relay.recorded().await;
    assert!(old.len() >= 10);

    // In the session itself.
    replay(&relay, &old, [&alice, &bob]).await;
    one_message(&alice, &bob, "same session").await;

    // After both have lost their connections.
    let (mut at_alice, mut at_bob) = (alice.events(), bob.events());
    relay.send(alice.device(), crate::connection::Out::Cut);
    relay.send(bob.device(), crate::connection::Out::Cut);
    connected(&mut at_alice).await;
    connected(&mut at_bob).await;
    replay(&relay, &old, [&alice, &bob]).await;
    one_message(&bob, &alice, "other connection").await;

    // After both were started anew: all there ever was.
    let old = relay.recorded().await;
    end(alice).await;
    end(bob).await;
    let (alice, bob) = (homes.again("alice").await, homes.again("bob").await);
    replay(&relay, &old, [&alice, &bob]).await;
    // What they cannot read makes both begin a fresh session, which is all that it achieves.
    one_message(&alice, &bob, "other process").await;
    replay(&relay, &old, [&alice, &bob]).await;
    one_message(&bob, &alice, "and back").await;
}

#[tokio::test]
async fn cells_of_one_pair_mean_nothing_to_another() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let alice = homes.client("alice", &relay).await;
    let bob = homes.client("bob", &relay).await;
    let carol = homes.client("carol", &relay).await;
    pair(&alice, &bob, ["alice", "bob"]).await;
    pair(&alice, &carol, ["alice", "carol"]).await;
    pair(&bob, &carol, ["bob", "carol"]).await;
    one_message(&alice, &bob, "for bob").await;
    one_message(&alice, &carol, "for carol").await;
    let (a, b, c) = (alice.device(), bob.device(), carol.device());
    // From now on everything goes to everybody, under every name.
    relay
        .rules(move |cell| {
            let mut fates = vec![Fate::Deliver];
            for other in [a, b, c] {
                fates.extend([Fate::To(other), Fate::From(other)]);
            }
            if cell.number % 2 == 0 {
                fates.reverse();
            }
            fates
        })
        .await;
    for old in relay.recorded().await {
        for (from, to) in [(b, a), (c, a), (a, c), (b, c), (a, b), (c, b)] {
            relay.replay(&Passing { from, to, ..old.clone() });
        }
    }
    one_message(&alice, &bob, "one").await;
    one_message(&bob, &carol, "two").await;
    one_message(&carol, &alice, "three").await;
    one_message(&alice, &carol, "four").await;
}
