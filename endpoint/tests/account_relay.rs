//! Devices of one account at a real relay: registration with the new device's own signature.

#[path = "link_support/relay.rs"]
mod relay;

use std::time::Duration;

use hushwire::client::Options;
use hushwire::identity::{Identity, register_proof};
use hushwire::keystore::{Keystore, Relay as KnownRelay};
use hushwire::suite::random::OsRandom;
use hushwire::{Client, Error};
use hushwire_wire::control::ErrorCode;
use relay::{TestRelay, pair};

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
    pair(&alice, &phone).await;
    in_time(async { tokio::join!(phone.send(alice.device(), "hello"), alice.receive()) })
        .await
        .0
        .expect("delivered");
    alice.revoke(phone.device()).await.expect("revoked");
    assert!(matches!(in_time(phone.receive()).await, Err(Error::Revoked)));
}
