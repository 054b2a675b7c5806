//! Weaker suites, other versions, unknown numbers.

use crate::support::{NOW_NS, Replay, alice, bob, hs1, hs2, pair_key, setup};
use hushwire::suite::handshake::{HandshakeError, Initiator, Responder, Setup};
use hushwire::suite::{Minimum, Suite};

fn answer(hs1: &[u8], minimum: Minimum) -> Result<(), HandshakeError> {
    let setup = Setup { minimum, ..setup(&alice(), pair_key()) };
    Responder::on_hs1(&setup, &bob(), hs1, 0, &mut Replay::new("responder")).map(|_| ())
}

#[test]
fn a_pair_that_has_been_hybrid_stays_hybrid() {
    let refusal =
        HandshakeError::Downgrade { suite: Suite::ClassicalAes, minimum: Minimum::Hybrid };
    for (suite, minimum, expect) in [
        (Suite::HybridChaCha, Minimum::Hybrid, Ok(())),
        (Suite::HybridAes, Minimum::Hybrid, Ok(())),
        (Suite::ClassicalAes, Minimum::Hybrid, Err(refusal)),
        (Suite::ClassicalAes, Minimum::Any, Ok(())),
    ] {
        let (_, message) = hs1(suite, pair_key());
        assert_eq!(answer(&message, minimum), expect, "{suite:?} {minimum:?}");
        let setup = Setup { minimum, ..setup(&bob(), pair_key()) };
        let random = &mut Replay::new("initiator");
        let started = Initiator::start(setup, suite, &alice(), NOW_NS, 0, random);
        assert_eq!(started.map(|_| ()), expect, "{suite:?} {minimum:?}");
    }
}

#[test]
fn the_answer_cannot_change_the_suite() {
    let (initiator, first) = hs1(Suite::HybridAes, pair_key());
    let (_, mut second) = hs2(pair_key(), &first);
    second[2] = Suite::HybridChaCha as u8;
    let refused = initiator.on_hs2(&alice(), &second).unwrap_err();
    let (expected, found) = (Suite::HybridAes, Suite::HybridChaCha);
    assert_eq!(refused.error, HandshakeError::SuiteChanged { expected, found });

    let (responder, second) = hs2(pair_key(), &first);
    let (_, mut third) = refused.state.on_hs2(&alice(), &second).expect("HS3");
    third[2] = Suite::ClassicalAes as u8;
    let refused = responder.on_hs3(&third).unwrap_err();
    let found = Suite::ClassicalAes;
    assert_eq!(refused.error, HandshakeError::SuiteChanged { expected, found });
}

#[test]
fn errors_say_who_must_upgrade() {
    let check = |at: usize, value, expect, sentence: &str| {
        let (_, mut message) = hs1(Suite::HybridAes, pair_key());
        message[at] = value;
        let error = answer(&message, Minimum::Any).unwrap_err();
        assert_eq!(error, expect);
        assert!(error.to_string().contains(sentence), "{error}");
    };
    check(1, 2, HandshakeError::PeerNewer(2), "upgrade this device");
    check(1, 0, HandshakeError::PeerOlder(0), "upgrade the peer");
    check(2, 9, HandshakeError::UnknownSuite(9), "upgrade this device");
    check(0, 4, HandshakeError::Malformed, "malformed");
    check(5, 1, HandshakeError::Malformed, "malformed");
    check(4, 8, HandshakeError::Malformed, "malformed");
}

/// A later version may lay out everything behind the version differently.
#[test]
fn the_version_is_read_before_anything_else() {
    let error = answer(&[1, 7, 0xff], Minimum::Any).unwrap_err();
    assert_eq!(error, HandshakeError::PeerNewer(7));
}
