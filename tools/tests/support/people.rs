//! Devices as applications have them: clients of the endpoint library.

use std::path::Path;
use std::time::Duration;

use hushwire::client::{Client, Options, PairingOptions};
use hushwire::identity::Identity;
use hushwire::keystore::Keystore;
use hushwire::pairing::Link;
use hushwire::suite::random::{OsRandom, Random as _};
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::code::Invite;

/// Fails the test where `future` takes longer than any working relay does.
pub async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

/// A new device with its keys in `home`.
pub async fn enrol(relay: &RelayProcess, home: &Path) -> Client {
    let keystore =
        Keystore::create(home, Identity::generate(&mut OsRandom)).expect("a new keystore");
    let invite = relay.invite().expect("an invite");
    let invite = Invite::from_text(&invite).expect("a well-formed invite");
    in_time(Client::enroll(keystore, &invite, Options::default())).await.expect("it is enrolled")
}

/// Connects a device that has been enrolled before.
pub async fn connect(home: &Path) -> Client {
    let keystore = Keystore::open(home).expect("a keystore");
    in_time(Client::connect(keystore, Options::default())).await.expect("it is welcome")
}

/// Pairs two devices by link, as two people who see the same digits do. Each calls the other by its ID.
pub async fn pair(a: &Client, b: &Client) {
    let (name_a, name_b) = (a.device().to_text(), b.device().to_text());
    pair_as(a, &name_b, b, &name_a).await;
}

/// As [`pair`], with the names that `a` gives `b`, and `b` gives `a`.
pub async fn pair_as(a: &Client, name_of_b: &str, b: &Client, name_of_a: &str) {
    let offer = a.offer_pairing::<Link>(PairingOptions::default()).await.expect("an offer");
    let link = offer.link();
    let (offered, joined) =
        in_time(async { tokio::join!(offer.wait(), b.join_pairing::<Link>(&link)) }).await;
    let (offered, joined) = (offered.expect("they meet"), joined.expect("they meet"));
    assert_eq!(offered.sas(), joined.sas());
    let confirm = async { tokio::join!(offered.confirm(name_of_b), joined.confirm(name_of_a)) };
    let (to_b, to_a) = in_time(confirm).await;
    assert_eq!((to_b.expect("stored"), to_a.expect("stored")), (b.device(), a.device()));
}

/// One message from `a` to `b`.
pub async fn tell(a: &Client, b: &Client, message: &[u8]) {
    let (receipt, received) =
        in_time(async { tokio::join!(a.send(b.device(), message), b.receive()) }).await;
    receipt.expect("it is delivered");
    let received = received.expect("it arrives");
    assert_eq!(received.peer, a.device());
    assert!(received.bytes == message, "{} bytes arrive as they were sent", message.len());
}

/// Bytes that nobody has seen before.
pub fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    OsRandom.fill(&mut bytes);
    bytes
}
