//! An active man in the middle (the relay, say) who runs both sides' protocol himself, against links and QR codes.
//! Against spoken codes see `spoken.rs`; that he cannot choose behind his commitment is shown beside the handshake's
//! initiator, where a test can change its mind.

use std::collections::BTreeSet;

use crate::support::{NOW_NS, Replay, alice, bob, mallory};
use hushwire::identity::Identity;
use hushwire::pairing::{
    AwaitAnswer, Carrier, Join, Link, Offer, PairError, Qr, Terms, Unconfirmed,
};
use hushwire::suite::Minimum;
use hushwire::suite::handshake::{Responder, Setup};
use hushwire::suite::keys::{CodeKeys, Psk};
use hushwire::suite::limits::OFFER_ATTEMPTS_MAX;
use hushwire::suite::random::Random;
use hushwire::suite::seal::OuterSeal;
use hushwire_wire::cell::Class;
use hushwire_wire::code::{PairCode, RelayAddress, Secret, Trust};
use hushwire_wire::id::RelayId;

fn relay() -> RelayAddress {
    RelayAddress::new(Trust::Pin([7; 32]), RelayId::new([8; 32]), "r:4433").expect("an address")
}

fn offer<C: Carrier>() -> Offer<C> {
    Offer::new(&alice(), relay(), Terms::default(), &mut Replay::new("offer"))
}

fn start<C: Carrier>(
    code: &PairCode,
    identity: &Identity,
    random: &mut Replay,
) -> (AwaitAnswer<C>, Vec<u8>) {
    Join::start(code, identity, &Terms::default(), NOW_NS, random).expect("HS1")
}

/// What Alice ends with where Mallory joins her offer in Bob's place.
fn alice_meets_mallory<C: Carrier>(offer: Offer<C>, seed: &'static str) -> Unconfirmed<C> {
    let random = &mut Replay::new(seed);
    let (mallorys, mut hs1) = start::<C>(&offer.code().clone(), &mallory(), random);
    let answered = offer.on_hs1(&alice(), mallory().device_id(), &mut hs1, random);
    let (alices, mut hs2) = answered.expect("she does not know yet");
    let (_, mut hs3) = mallorys.on_hs2(&mallory(), &mut hs2, random).expect("HS3");
    alices.on_hs3(&mut hs3).expect("authentic, but not Bob")
}

/// Mallory has not seen the link, so all he has is the tag and the sealed cells: every substitution fails to open.
#[test]
fn keys_are_not_substituted_under_a_link_he_has_not_seen() {
    let offer = offer::<Link>();
    let random = &mut Replay::new("mallory");
    let (bobs, hs1) = start::<Link>(offer.code(), &bob(), random);
    // A link of his own, under any secret he likes, in both directions.
    let his = PairCode { secret: Secret::new([0x66; 16]), ..offer.code().clone() };
    let (_, mut forged) = start::<Link>(&his, &mallory(), random);
    let refused = offer.on_hs1(&alice(), mallory().device_id(), &mut forged, random);
    let refused = refused.expect_err("another secret");
    assert_eq!(refused.error, PairError::WrongCode);
    // His answer to Bob's HS1, which he cannot even read.
    let his_offer: Offer<Link> =
        Offer::new(&mallory(), relay(), Terms::default(), &mut Replay::new("his"));
    let unread = his_offer.on_hs1(&mallory(), bob().device_id(), &mut hs1.clone(), random);
    assert_eq!(unread.expect_err("sealed").error, PairError::WrongCode);
    let mut noise = vec![0; Class::C3.body_len()];
    random.fill(&mut noise);
    let refused = bobs.on_hs2(&bob(), &mut noise, random).expect_err("not sealed");
    assert_eq!(refused.error, PairError::WrongCode);
}

/// He has the link. Towards Bob he cannot be the device that the link names; towards Alice he can be somebody, and then
/// Bob's screen shows nothing that agrees with hers.
fn a_code_he_has_seen<C: Carrier>() {
    let offer = offer::<C>();
    let code = offer.code().clone();
    let random = &mut Replay::new("bob");
    let (bobs, mut hs1) = start::<C>(&code, &bob(), random);

    // Towards Bob: with Alice's name and his own key. The seal opens, the signature is another's.
    let keys = CodeKeys::derive(&code.secret);
    let setup = Setup {
        peer: bob().device_id(),
        psk: Psk::Pairing(keys.clone()),
        minimum: Minimum::Hybrid,
        class_max: Class::C7,
    };
    let content = OuterSeal::pairing(&keys).open(&mut hs1).expect("he has the code").to_vec();
    // Bob's HS1 names Alice, so his own responder refuses it; he patches that out of his copy.
    let mut renamed = content.clone();
    renamed[48..80].copy_from_slice(mallory().device_id().as_bytes());
    let (_, hs2) = Responder::on_hs1(&setup, &mallory(), &renamed, 0, random).expect("his own");
    let mut body = vec![0; Class::C3.body_len()];
    OuterSeal::pairing(&keys).seal(&hs2, &mut body, random).expect("fits");
    let refused = bobs.on_hs2(&bob(), &mut body, random).expect_err("not Alice");
    assert!(matches!(refused.error, PairError::Handshake(_)), "{:?}", refused.error);

    // Towards Alice: she is about to pair with him, and her digits are hers alone.
    let alices = alice_meets_mallory(offer, "mallory");
    assert_eq!(alices.peer(), mallory().device_id());
    // Bob has no digits to show for Alice. Were he led to another offer, of Mallory's, they would differ.
    let his: Offer<C> =
        Offer::new(&mallory(), relay(), Terms::default(), &mut Replay::new("his offer"));
    let (bobs, mut hs1) = start::<C>(&his.code().clone(), &bob(), random);
    let (his, mut hs2) = his.on_hs1(&mallory(), bob().device_id(), &mut hs1, random).expect("HS2");
    let (bobs, mut hs3) = bobs.on_hs2(&bob(), &mut hs2, random).expect("HS3");
    his.on_hs3(&mut hs3).expect("the end");
    assert_ne!(alices.sas(), bobs.sas());
    assert_ne!(alices.reject().peer, bob().device_id());
    assert_eq!(bobs.reject().peer, mallory().device_id());
}

#[test]
fn a_link_he_has_seen_ends_at_the_comparison() {
    a_code_he_has_seen::<Link>();
}

#[test]
fn a_qr_code_he_has_seen_ends_at_the_comparison() {
    a_code_he_has_seen::<Qr>();
}

/// What he may try: the offer answers three handshakes, whatever he sends in between, so he sees three of Alice's random
/// values, each only after he has committed to his own.
#[test]
fn grinding_ends_with_the_third_handshake() {
    let mut offer = offer::<Link>();
    let code = offer.code().clone();
    let mut random = Replay::new("grinding");
    let mut answered = 0;
    let mut digits = BTreeSet::new();
    for _ in 0..10 {
        let (mallorys, mut hs1) = start::<Link>(&code, &mallory(), &mut random);
        match offer.on_hs1(&alice(), mallory().device_id(), &mut hs1, &mut random) {
            Ok((alices, mut hs2)) => {
                answered += 1;
                // Now he knows r_A, and what the digits will be; he does not like them and begins again.
                let (his, _) = mallorys.on_hs2(&mallory(), &mut hs2, &mut random).expect("HS3");
                digits.insert(his.sas().number());
                let (_, mut hs1) = start::<Link>(&code, &mallory(), &mut random);
                let refused = alices.on_hs3(&mut hs1).expect_err("HS1 again");
                assert!(refused.error.began_again());
                offer = refused.state.restart();
            }
            Err(refused) => {
                assert_eq!(refused.error, PairError::Exhausted);
                offer = *refused.state;
            }
        }
    }
    assert_eq!((answered, digits.len()), (OFFER_ATTEMPTS_MAX, OFFER_ATTEMPTS_MAX as usize));
}

/// The digits spread over their range, so that one guess is one in a million.
#[test]
fn digits_agree_by_chance_only() {
    use std::collections::HashMap;
    let mut seen: HashMap<u32, u32> = HashMap::new();
    let mut random = Replay::new("spread");
    for _ in 0..200 {
        let offer: Offer<Link> = Offer::new(&alice(), relay(), Terms::default(), &mut random);
        let (mallorys, mut hs1) = start::<Link>(&offer.code().clone(), &mallory(), &mut random);
        let answered = offer.on_hs1(&alice(), mallory().device_id(), &mut hs1, &mut random);
        let (_, mut hs2) = answered.expect("HS2");
        let (his, _) = mallorys.on_hs2(&mallory(), &mut hs2, &mut random).expect("HS3");
        *seen.entry(his.sas().number()).or_default() += 1;
    }
    // 200 of a million: a pair is seen in 2 of 100 runs, and this run is always the same.
    assert!(seen.len() >= 199, "{}", seen.len());
    let low = seen.keys().filter(|digits| **digits < 500_000).count();
    assert!((60..=140).contains(&low), "{low}");
}
