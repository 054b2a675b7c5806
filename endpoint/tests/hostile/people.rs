//! Clients of the hostile relay, and what they have to say.

use std::time::Duration;

use hushwire::Client;
use hushwire::client::{Event, Events, Options, PairingOptions};
use hushwire::identity::Identity;
use hushwire::keystore::{Keystore, Relay, RelayTrust};
use hushwire::pairing::Link;
use hushwire::suite::random::OsRandom;
use tempfile::TempDir;

use crate::connection::RELAY;
use crate::relay::HostileRelay;

/// Long enough for every timer of the protocol and a slow machine; nothing waits for it to pass.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("in time")
}

/// Where the keystores of a test are.
pub(crate) struct Homes(TempDir);

impl Homes {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A keystore that trusts the relay by its pin.
    pub(crate) fn keystore(&self, name: &str, relay: &HostileRelay) -> Keystore {
        let path = self.0.path().join(name);
        let mut keystore =
            Keystore::create(&path, Identity::generate(&mut OsRandom)).expect("a keystore");
        let (address, account) = (relay.address.to_string(), String::new());
        let trust = RelayTrust::Pins(vec![relay.pin]);
        keystore.set_relay(Relay { address, trust, relay: RELAY, account }).expect("stored");
        keystore
    }

    pub(crate) fn open(&self, name: &str) -> Keystore {
        Keystore::open(&self.0.path().join(name)).expect("nobody else has it open")
    }

    pub(crate) async fn client(&self, name: &str, relay: &HostileRelay) -> Client {
        let keystore = self.keystore(name, relay);
        in_time(Client::connect(keystore, Options::default())).await.expect("connected")
    }

    /// Starts a client of an existing keystore.
    pub(crate) async fn again(&self, name: &str) -> Client {
        in_time(Client::connect(self.open(name), Options::default())).await.expect("connected")
    }
}

/// Pairs two clients by link, both users confirming.
pub(crate) async fn pair(first: &Client, second: &Client, names: [&str; 2]) {
    let offer = first.offer_pairing::<Link>(PairingOptions::default()).await.expect("offered");
    let link = offer.link();
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), second.join_pairing::<Link>(&link)) }).await;
    let (offered, joined) = (offered.expect("met"), joined.expect("met"));
    assert_eq!(offered.sas(), joined.sas());
    let (one, other) = tokio::join!(offered.confirm(names[1]), joined.confirm(names[0]));
    assert_eq!(one.expect("stored"), second.device());
    assert_eq!(other.expect("stored"), first.device());
}

/// Ends a client and waits until it has let go of its keystore.
pub(crate) async fn end(client: Client) {
    let mut events = client.events();
    client.close().await;
    in_time(async { while events.next().await.is_some() {} }).await;
}

/// Sends one message and has it taken.
pub(crate) async fn one_message(from: &Client, to: &Client, text: &str) {
    let (receipt, message) =
        in_time(async { tokio::join!(from.send(to.device(), text), to.receive()) }).await;
    receipt.expect("delivered");
    assert_eq!(message.expect("received").bytes, text.as_bytes());
}

/// Waits for an event that `pick` knows.
pub(crate) async fn event<T>(events: &mut Events, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    in_time(async {
        loop {
            let event = events.next().await.expect("the client lives");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    })
    .await
}

/// Why the connection was lost, and when it will be tried again.
pub(crate) async fn disconnected(events: &mut Events) -> (String, Option<Duration>) {
    event(events, |event| {
        if let Event::Disconnected { why, next_try } = event {
            Some((why.clone(), *next_try))
        } else {
            None
        }
    })
    .await
}

pub(crate) async fn connected(events: &mut Events) {
    event(events, |event| matches!(event, Event::Connected { .. }).then_some(())).await;
}
