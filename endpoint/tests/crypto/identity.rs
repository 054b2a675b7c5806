//! Who signs, and who is asked.

use crate::support::{NOW_NS, Replay, alice, bob, hs1, hs2, mallory, pair_key, setup};
use hushwire::identity::Identity;
use hushwire::suite::Suite;
use hushwire::suite::handshake::{HandshakeError, Initiator, Responder, ours_goes_on};
use hushwire::suite::random::OsRandom;

#[test]
fn a_peer_that_is_not_the_pinned_one_is_named() {
    let (_, from_alice) = hs1(Suite::HybridAes, pair_key());
    let expects_mallory = setup(&mallory(), pair_key());
    let random = &mut Replay::new("responder");
    let error = Responder::on_hs1(&expects_mallory, &bob(), &from_alice, 0, random).unwrap_err();
    let (expected, found) = (mallory().device_id(), alice().device_id());
    assert_eq!(error, HandshakeError::WrongPeer { expected, found });
    assert!(error.to_string().contains(&found.to_text()), "{error}");
    assert!(error.to_string().contains(&expected.to_text()), "{error}");
}

#[test]
fn a_message_for_somebody_else_is_refused() {
    let random = &mut Replay::new("initiator");
    let to_mallory = setup(&mallory(), pair_key());
    let (_, message) =
        Initiator::start(to_mallory, Suite::HybridAes, &alice(), NOW_NS, 0, random).expect("HS1");
    let error = Responder::on_hs1(&setup(&alice(), pair_key()), &bob(), &message, 0, random);
    let found = mallory().device_id();
    assert_eq!(error.unwrap_err(), HandshakeError::NotForUs { found });
}

/// The answer is Bob's in every byte, but Alice began with another Bob in mind.
#[test]
fn an_answer_counts_for_the_handshake_it_answers_only() {
    let (_, message) = hs1(Suite::ClassicalAes, pair_key());
    let (_, answer) = hs2(pair_key(), &message);
    let random = &mut Replay::new("another");
    let (other, _) = Initiator::start(
        setup(&bob(), pair_key()),
        Suite::ClassicalAes,
        &alice(),
        NOW_NS,
        0,
        random,
    )
    .expect("HS1");
    let refused = other.on_hs2(&alice(), &answer).unwrap_err();
    assert_eq!(refused.error, HandshakeError::Stale);
}

#[test]
fn identities_differ_and_one_of_two_crossing_handshakes_goes_on() {
    let (one, two) = (Identity::generate(&mut OsRandom), Identity::generate(&mut OsRandom));
    let (one, two) = (one.device_id(), two.device_id());
    assert_ne!(one, two);
    assert_ne!(ours_goes_on(&one, &two), ours_goes_on(&two, &one));
}
