//! Two devices meet: with the right code, with a wrong one, and with somebody in between.

use crate::support::{NOW_NS, Replay, alice, bob, mallory};
use hushwire::identity::Identity;
use hushwire::pairing::{
    AwaitAnswer, AwaitReveal, Join, Link, Offer, PairError, Qr, Terms, Unconfirmed, Verified,
};
use hushwire::suite::handshake::HandshakeError;
use hushwire::suite::{Minimum, Suite};
use hushwire_wire::cell::Class;
use hushwire_wire::code::{PairCode, RelayAddress, Secret, Trust};
use hushwire_wire::id::RelayId;

fn relay() -> RelayAddress {
    RelayAddress::new(Trust::PublicCa, RelayId::new([8; 32]), "r:4433").expect("an address")
}

fn offer() -> Offer<Link> {
    Offer::new(&alice(), relay(), Terms::default(), &mut Replay::new("offer"))
}

fn join(code: &PairCode) -> (AwaitAnswer<Link>, Vec<u8>) {
    Join::start(code, &bob(), &Terms::default(), NOW_NS, &mut Replay::new("join")).expect("HS1")
}

fn answer(offer: Offer<Link>, mut hs1: Vec<u8>) -> (AwaitReveal<Link>, Vec<u8>) {
    let random = &mut Replay::new("answer");
    offer.on_hs1(&alice(), bob().device_id(), &mut hs1, random).expect("HS2")
}

#[test]
fn both_see_the_same_digits_and_keep_the_same_key() {
    for suite in [Suite::HybridChaCha, Suite::HybridAes, Suite::ClassicalAes] {
        let terms = Terms { suite, minimum: Minimum::Any, ..Terms::default() };
        let offer: Offer<Qr> = Offer::new(&alice(), relay(), terms, &mut Replay::new("offer"));
        let code = PairCode::from_text(&offer.code().to_text()).expect("through a camera");
        assert_eq!(Join::tag(&code), offer.tag());
        let (joining, mut hs1) =
            Join::start::<Qr>(&code, &bob(), &terms, NOW_NS, &mut Replay::new("join"))
                .expect("HS1");
        assert_eq!(joining.peer(), alice().device_id());
        let random = &mut Replay::new("answer");
        let (offering, mut hs2) =
            offer.on_hs1(&alice(), bob().device_id(), &mut hs1, random).expect("HS2");
        assert_eq!(offering.peer(), bob().device_id());
        let (joined, mut hs3) = joining.on_hs2(&bob(), &mut hs2, random).expect("HS3");
        let offered = offering.on_hs3(&mut hs3).expect("the end");
        for body in [hs1, hs2, hs3] {
            assert_eq!(body.len(), Class::C3.body_len());
        }
        assert_eq!((joined.peer(), offered.peer()), (alice().device_id(), bob().device_id()));
        assert_eq!((joined.suite(), offered.suite()), (suite, suite));
        assert_eq!(joined.sas(), offered.sas());
        assert!(joined.sas().number() < 1_000_000);
        assert_eq!(joined.sas().to_string().len(), "012 345".len());
        let (joined, offered) = (joined.confirm(), offered.trust_camera());
        assert_eq!(joined.pair_key(), offered.pair_key());
        assert_eq!((joined.verified(), offered.verified()), (Verified::Sas, Verified::Camera));
    }
}

#[test]
fn codes_and_pairings_are_never_the_same_twice() {
    let one: Offer<Link> = Offer::new(&alice(), relay(), Terms::default(), &mut Replay::new("one"));
    let two: Offer<Link> = Offer::new(&alice(), relay(), Terms::default(), &mut Replay::new("two"));
    assert_ne!(one.code(), two.code());
    assert_ne!(one.tag(), two.tag());
}

#[test]
fn a_wrong_code_destroys_nothing() {
    let mut offer = offer();
    let wrong = PairCode { secret: Secret::new([1; 16]), ..offer.code().clone() };
    for expect in 1..=5 {
        let (_, mut hs1) = join(&wrong);
        let random = &mut Replay::new("answer");
        let refused = offer.on_hs1(&alice(), bob().device_id(), &mut hs1, random).unwrap_err();
        assert_eq!(refused.error, PairError::WrongCode);
        offer = *refused.state;
        assert_eq!(offer.wrong_codes(), expect);
    }
    let (joining, hs1) = join(offer.code());
    let (mut offering, mut hs2) = answer(offer, hs1);
    let (_, mut hs3) = joining.on_hs2(&bob(), &mut hs2, &mut Replay::new("join")).expect("HS3");
    let mut wrong = vec![0; Class::C3.body_len()];
    for _ in 0..5 {
        let refused = offering.on_hs3(&mut wrong).unwrap_err();
        assert_eq!(refused.error, PairError::WrongCode);
        offering = *refused.state;
    }
    assert!(offering.on_hs3(&mut hs3).is_ok());
}

#[test]
fn the_joining_end_also_waits_for_the_right_answer() {
    let offer = offer();
    let (mut joining, hs1) = join(offer.code());
    let (_, mut hs2) = answer(offer, hs1);
    for (mut wrong, expect) in [
        (vec![0; Class::C3.body_len()], PairError::WrongCode),
        (vec![0; 192], PairError::Class(192)),
    ] {
        let refused = joining.on_hs2(&bob(), &mut wrong, &mut Replay::new("join")).unwrap_err();
        assert_eq!(refused.error, expect);
        joining = *refused.state;
    }
    assert!(joining.on_hs2(&bob(), &mut hs2, &mut Replay::new("join")).is_ok());
}

#[test]
fn the_code_names_who_must_answer() {
    let offer = offer();
    // Mallory has the code and poses as the offering device.
    let (joining, mut hs1) = join(offer.code());
    let theirs =
        Offer::<Link>::new(&mallory(), relay(), Terms::default(), &mut Replay::new("offer"));
    assert_eq!(theirs.tag(), offer.tag(), "the same secret");
    let refused = theirs
        .on_hs1(&mallory(), bob().device_id(), &mut hs1, &mut Replay::new("answer"))
        .unwrap_err();
    let found = alice().device_id();
    assert_eq!(refused.error, PairError::Handshake(HandshakeError::NotForUs { found }));
    assert_eq!(joining.peer(), alice().device_id());
}

#[test]
fn the_relay_cannot_say_that_somebody_else_joined() {
    let offer = offer();
    let (_, mut hs1) = join(offer.code());
    let refused = offer
        .on_hs1(&alice(), mallory().device_id(), &mut hs1, &mut Replay::new("answer"))
        .unwrap_err();
    let (expected, found) = (mallory().device_id(), bob().device_id());
    assert_eq!(refused.error, PairError::Handshake(HandshakeError::WrongPeer { expected, found }));
}

/// Somebody who stole the link joins Alice's offer in Bob's place: nobody shows Alice's digits to Bob.
#[test]
fn a_stolen_link_ends_at_the_comparison() {
    let offer = offer();
    let stolen = offer.code().clone();
    let random = &mut Replay::new("mallory");
    let (joining, mut hs1) =
        Join::start::<Link>(&stolen, &mallory(), &Terms::default(), NOW_NS, random).expect("HS1");
    let (offering, mut hs2) = offer
        .on_hs1(&alice(), mallory().device_id(), &mut hs1, &mut Replay::new("answer"))
        .expect("HS2");
    let (_, mut hs3) = joining.on_hs2(&mallory(), &mut hs2, random).expect("HS3");
    let alices: Unconfirmed<Link> = offering.on_hs3(&mut hs3).expect("authentic, but not Bob");
    assert_eq!(alices.peer(), mallory().device_id());
    let rejected = alices.reject();
    assert_eq!(rejected.peer, mallory().device_id());
    assert!(rejected.to_string().contains("do not use this link again"));
}

#[test]
fn an_offer_answers_three_handshakes_and_no_more() {
    let mut offer = offer();
    let code = offer.code().clone();
    for _ in 0..2 {
        let (_, hs1) = join(&code);
        let (offering, _) = answer(offer, hs1);
        let (_, mut again) = join(&code);
        let refused = offering.on_hs3(&mut again).unwrap_err();
        assert!(refused.error.began_again(), "{:?}", refused.error);
        offer = refused.state.restart();
    }
    let (_, hs1) = join(&code);
    let (offering, _) = answer(offer, hs1);
    let (_, mut hs1) = join(&code);
    let refused = offering
        .restart()
        .on_hs1(&alice(), bob().device_id(), &mut hs1, &mut Replay::new("answer"))
        .unwrap_err();
    assert_eq!(refused.error, PairError::Exhausted);
}

#[test]
fn impossible_pairings_are_refused_at_once() {
    let offer = offer();
    let start = |identity: &Identity, terms: &Terms| {
        let random = &mut Replay::new("join");
        Join::start::<Link>(offer.code(), identity, terms, NOW_NS, random).map(|_| ())
    };
    assert_eq!(start(&alice(), &Terms::default()), Err(PairError::OwnCode));
    let terms = Terms { suite: Suite::ClassicalAes, ..Terms::default() };
    let (suite, minimum) = (Suite::ClassicalAes, Minimum::Hybrid);
    let downgrade = PairError::Handshake(HandshakeError::Downgrade { suite, minimum });
    assert_eq!(start(&bob(), &terms), Err(downgrade));

    let weak = Terms { suite: Suite::ClassicalAes, minimum: Minimum::Any, ..Terms::default() };
    let random = &mut Replay::new("join");
    let (_, mut hs1) =
        Join::start::<Link>(offer.code(), &bob(), &weak, NOW_NS, random).expect("HS1");
    let refused = offer.on_hs1(&alice(), bob().device_id(), &mut hs1, random).unwrap_err();
    assert_eq!(refused.error, downgrade);
}

#[test]
fn no_changed_byte_of_a_body_leads_on() {
    let mut offer = offer();
    let (_, hs1) = join(offer.code());
    for at in 0..hs1.len() {
        let mut changed = hs1.clone();
        changed[at] ^= 0x80 >> (at % 8);
        let random = &mut Replay::new("answer");
        let refused = offer.on_hs1(&alice(), bob().device_id(), &mut changed, random).unwrap_err();
        assert_eq!(refused.error, PairError::WrongCode, "{at}");
        offer = *refused.state;
    }
}
