//! A code that is spoken: one guess at each end, and none more after a restart.

use std::path::Path;

use crate::support::{NOW_NS, Replay, alice, bob, mallory};
use hushwire::keystore::Keystore;
use hushwire::pairing::spoken::{
    Agreed, AwaitS2, AwaitS3, AwaitS4, Burnt, NotConfirmed, S1, S2, SpokenCode, SpokenJoin,
    SpokenOffer, farewell,
};
use hushwire::pairing::{Offer, PairError, Spoken, Terms, Verified};
use hushwire::suite::handshake::HandshakeError;
use hushwire_wire::cell::Class;
use tempfile::TempDir;

/// Bytes at the front of a body that mean something.
const HEAD: usize = 35;

fn place() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Somebody's keystore, as a process that starts opens it.
fn keystore(place: &TempDir, name: &str) -> Keystore {
    let path = place.path().join(name);
    match path.exists() {
        true => Keystore::open(&path).expect("opens"),
        false => Keystore::create(&path, alice()).expect("made"),
    }
}

/// What a client does before anything that depends on the code goes out.
fn burn(place: &TempDir, name: &str, code: &SpokenCode) -> Option<Burnt> {
    keystore(place, name).burn(code, 1_000).expect("stored")
}

fn fresh(code: &SpokenCode) -> Burnt {
    burn(&place(), "k", code).expect("never tried")
}

fn offer() -> SpokenOffer {
    SpokenOffer::new(0, Terms::default(), &mut Replay::new("spoken offer"))
}

fn code(text: &str) -> SpokenCode {
    SpokenCode::from_text(text).expect("a code")
}

fn join(code: &SpokenCode) -> (AwaitS2, Vec<u8>) {
    SpokenJoin::start(code.clone(), &mut Replay::new("spoken join"))
}

fn answer(offer: SpokenOffer, s1: &[u8]) -> (AwaitS3, Vec<u8>) {
    let burnt = fresh(offer.code());
    offer.answer(S1::parse(s1).expect("S1"), &burnt, &mut Replay::new("spoken answer"))
}

fn confirm(joining: AwaitS2, s2: &[u8]) -> (AwaitS4, Vec<u8>) {
    let burnt = fresh(joining.code());
    joining.answer(S2::parse(s2).expect("S2"), &burnt, &mut Replay::new("spoken confirm"))
}

/// S1 to S4 between two that know the same code.
fn agreed() -> (Offer<Spoken>, Agreed) {
    let offer = offer();
    let (joining, s1) = join(offer.code());
    let (offering, s2) = answer(offer, &s1);
    let (joining, s3) = confirm(joining, &s2);
    let (offer, s4) = offering.on_s3(&s3, &mut Replay::new("s4")).expect("the same code");
    for body in [&s1, &s2, &s3, &s4] {
        assert_eq!(body.len(), Class::C3.body_len());
    }
    (offer, joining.on_s4(&s4).expect("the same code"))
}

/// Not the code, but with its nameplate: somebody's guess.
fn guess(code: &SpokenCode) -> SpokenCode {
    let text = code.to_text();
    let nameplate = text.split('-').next().expect("a nameplate");
    let guess = self::code(&format!("{nameplate}-zoo-zoo"));
    assert_ne!(&guess, code);
    guess
}

#[test]
fn two_that_know_the_code_have_the_same_key() {
    let (offer, agreed) = agreed();
    let random = &mut Replay::new("handshake");
    let started = agreed.start(alice().device_id(), &bob(), &Terms::default(), NOW_NS, random);
    let (joining, mut hs1) = started.expect("HS1");
    let (offering, mut hs2) =
        offer.on_hs1(&alice(), bob().device_id(), &mut hs1, random).expect("HS2");
    let (joined, mut hs3) = joining.on_hs2(&bob(), &mut hs2, random).expect("HS3");
    let offered = offering.on_hs3(&mut hs3).expect("the end");
    assert_eq!((joined.peer(), offered.peer()), (alice().device_id(), bob().device_id()));
    let (joined, offered) = (joined.confirm(), offered.confirm());
    assert_eq!(joined.pair_key(), offered.pair_key());
    assert_eq!((joined.verified(), offered.verified()), (Verified::Spoken, Verified::Spoken));
}

/// The relay names the other device, and nobody checks a fingerprint: the handshake does.
#[test]
fn the_relay_cannot_name_another_device() {
    let (offer, agreed) = agreed();
    let random = &mut Replay::new("handshake");
    let started = agreed.start(mallory().device_id(), &bob(), &Terms::default(), NOW_NS, random);
    let (_, mut hs1) = started.expect("HS1");
    let refused =
        offer.on_hs1(&alice(), bob().device_id(), &mut hs1, random).expect_err("for mallory");
    let found = mallory().device_id();
    assert_eq!(refused.error, PairError::Handshake(HandshakeError::NotForUs { found }));

    let (offer, agreed) = self::agreed();
    let started = agreed.start(alice().device_id(), &bob(), &Terms::default(), NOW_NS, random);
    let (_, mut hs1) = started.expect("HS1");
    let refused = offer.on_hs1(&alice(), mallory().device_id(), &mut hs1, random);
    let (expected, found) = (mallory().device_id(), bob().device_id());
    let error = refused.expect_err("from mallory, says the relay").error;
    assert_eq!(error, PairError::Handshake(HandshakeError::WrongPeer { expected, found }));
}

#[test]
fn a_wrong_guess_dies_at_the_offering_end() {
    let offer = offer();
    let (joining, s1) = join(&guess(offer.code()));
    let (offering, s2) = answer(offer, &s1);
    let (_, s3) = confirm(joining, &s2);
    // The offer is consumed: there is nothing left to ask again.
    let outcome = offering.on_s3(&s3, &mut Replay::new("s4"));
    assert!(matches!(outcome, Err(NotConfirmed::Destroyed)), "{outcome:?}");
}

#[test]
fn a_wrong_guess_dies_at_the_joining_end() {
    let told = offer().code().clone();
    let (joining, s1) = join(&told);
    let (offering, s2) = answer_as(&guess(&told), &s1);
    let (joining, s3) = confirm(joining, &s2);
    // Mallory learns from S3 that the guess was wrong, and cannot make an S4.
    let outcome = offering.on_s3(&s3, &mut Replay::new("s4"));
    assert!(matches!(outcome, Err(NotConfirmed::Destroyed)), "{outcome:?}");
    let mut s4 = s3;
    s4[0] = 0x54;
    let outcome = joining.on_s4(&s4);
    assert!(matches!(outcome, Err(NotConfirmed::Destroyed)), "{outcome:?}");
}

/// An offering device whose code was chosen: draws until nameplate and words are right would take for ever, so this is
/// the joining device's machine turned round by hand. The roles differ in SPAKE2, so mallory runs an offer of his own
/// with the words that he was dealt.
fn answer_as(code: &SpokenCode, s1: &[u8]) -> (AwaitS3, Vec<u8>) {
    let offer = SpokenOffer::new(0, Terms::default(), &mut Replay::new("mallory's offer"));
    assert_ne!(offer.code(), code);
    answer(offer, s1)
}

/// Somebody in between runs the protocol with both ends, a guess at each: both codes are dead, and opening the keystores
/// anew does not wake them.
#[test]
fn a_man_in_the_middle_has_one_guess_at_each_end_even_after_a_restart() {
    let place = place();
    let offer = offer();
    let said = offer.code().clone();
    let guess = guess(&said);

    // Towards the joining end.
    let (joining, s1) = join(&said);
    let (_, s2) = answer_as(&guess, &s1);
    let burnt = burn(&place, "bob", &said).expect("never tried");
    let (joining, s3) =
        joining.answer(S2::parse(&s2).expect("S2"), &burnt, &mut Replay::new("confirm"));
    let mut s4 = s3;
    s4[0] = 0x54;
    assert!(matches!(joining.on_s4(&s4), Err(NotConfirmed::Destroyed)));
    keystore(&place, "bob").count_failed_confirmation().expect("counted");

    // Towards the offering end.
    let (mallorys, s1) = join(&guess);
    let burnt = burn(&place, "alice", &said).expect("never tried");
    let (offering, s2) =
        offer.answer(S1::parse(&s1).expect("S1"), &burnt, &mut Replay::new("answer"));
    let (_, s3) = confirm(mallorys, &s2);
    assert!(matches!(offering.on_s3(&s3, &mut Replay::new("s4")), Err(NotConfirmed::Destroyed)));
    keystore(&place, "alice").count_failed_confirmation().expect("counted");

    // The same words typed again, in processes that have just started. `burn` opens the keystore each time.
    for name in ["alice", "bob"] {
        assert!(burn(&place, name, &code(&said.to_text())).is_none(), "{name}");
        assert_eq!(keystore(&place, name).failed_confirmations(), 1, "{name}");
    }
}

/// Killed after S2 was asked for, before any confirmation: the guess counts all the same.
#[test]
fn a_process_that_is_killed_does_not_give_the_guess_back() {
    let place = place();
    let said = offer().code().clone();
    let _lost = burn(&place, "bob", &said).expect("never tried");
    assert!(burn(&place, "bob", &said).is_none());
    assert!(Path::new(&place.path().join("bob").join("codes.json")).exists());
}

#[test]
#[should_panic(expected = "the code that was burnt is the code that is used")]
fn a_token_is_for_its_own_code() {
    let offer = offer();
    let (_, s1) = join(offer.code());
    let burnt = fresh(&guess(offer.code()));
    let _answered = offer.answer(S1::parse(&s1).expect("S1"), &burnt, &mut Replay::new("answer"));
}

#[test]
fn noise_destroys_nothing() {
    let offer = offer();
    let (joining, s1) = join(offer.code());
    let (mut offering, s2) = answer(offer, &s1);
    let (mut joining, s3) = confirm(joining, &s2);
    let noise = |kind: u8, version: u8, zero: u8| {
        let mut body = s3.clone();
        body[..3].copy_from_slice(&[kind, version, zero]);
        body
    };
    let noises = [
        noise(0x51, 1, 0),
        noise(0x53, 2, 0),
        noise(0x53, 1, 1),
        noise(0x54, 0, 0),
        vec![0; Class::C3.body_len()],
        s3[..Class::C0.body_len()].to_vec(),
        Vec::new(),
    ];
    for body in &noises {
        match offering.on_s3(body, &mut Replay::new("s4")) {
            Err(NotConfirmed::Dropped(refused)) => offering = *refused.state,
            outcome => panic!("{outcome:?}"),
        }
        match joining.on_s4(body) {
            Err(NotConfirmed::Dropped(refused)) => joining = *refused.state,
            outcome => panic!("{outcome:?}"),
        }
    }
    // The same again is no second guess, and is told from another one.
    assert!(offering.is_repeated(&s1) && joining.is_repeated(&s2));
    assert!(!offering.is_repeated(&s2) && !joining.is_repeated(&s1) && !offering.is_repeated(&[]));
    let (_, s4) = offering.on_s3(&s3, &mut Replay::new("s4")).expect("the same code");
    joining.on_s4(&s4).expect("the same code");
}

#[test]
fn every_byte_that_means_something_counts() {
    for at in 0..HEAD + 2 {
        let offer = offer();
        let (joining, s1) = join(offer.code());
        let (offering, s2) = answer(offer, &s1);
        let (_, mut s3) = confirm(joining, &s2);
        s3[at] ^= 0x10;
        let outcome = offering.on_s3(&s3, &mut Replay::new("s4"));
        match at {
            0..3 => assert!(matches!(outcome, Err(NotConfirmed::Dropped(_))), "{at}"),
            3..HEAD => assert!(matches!(outcome, Err(NotConfirmed::Destroyed)), "{at}"),
            _ => assert!(outcome.is_ok(), "{at}: padding means nothing"),
        }
    }
}

/// A changed element is another point or none; the confirmations then differ.
#[test]
fn changed_elements_lead_nowhere() {
    for at in 3..HEAD {
        let offer = offer();
        let (joining, mut s1) = join(offer.code());
        s1[at] ^= 1;
        let Ok(changed) = S1::parse(&s1) else { continue };
        let burnt = fresh(offer.code());
        let (offering, s2) = offer.answer(changed, &burnt, &mut Replay::new("answer"));
        let (_, s3) = confirm(joining, &s2);
        let outcome = offering.on_s3(&s3, &mut Replay::new("s4"));
        assert!(matches!(outcome, Err(NotConfirmed::Destroyed)), "{at}: {outcome:?}");
    }
}

/// The neutral point, points of order 2, 4 and 8, and a good point with a part of order 2: what would tell something of
/// the secret scalar or fix the key.
#[test]
fn points_outside_the_group_are_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut order_two = [0xff; 32];
    order_two[0] = 0xec;
    order_two[31] = 0x7f;
    let order_four = [0; 32];
    let mut not_a_point = [0; 32];
    not_a_point[0] = 2;
    for element in [neutral, order_two, order_four, not_a_point] {
        let mut body = vec![0; Class::C3.body_len()];
        body[..3].copy_from_slice(&[0x51, 1, 0]);
        body[3..HEAD].copy_from_slice(&element);
        assert_eq!(S1::parse(&body), Err(PairError::Unexpected), "{element:?}");
        body[0] = 0x52;
        assert_eq!(S2::parse(&body), Err(PairError::Unexpected), "{element:?}");
    }
    assert_eq!(S1::parse(&[0x51; 192]), Err(PairError::Class(192)));

    // (x, y) plus the point of order 2, (0, −1), is (−x, −y).
    let (_, mut s1) = join(&code("7-apple-river"));
    S1::parse(&s1).expect("a good one");
    negate(&mut s1[3..HEAD]);
    assert_eq!(S1::parse(&s1), Err(PairError::Unexpected));
}

/// `p − y`, p = 2^255 − 19, and the other sign of x.
fn negate(point: &mut [u8]) {
    let sign = point[31] & 0x80;
    point[31] &= 0x7f;
    let mut borrow = 0;
    for (at, byte) in point.iter_mut().enumerate() {
        let prime = match at {
            0 => 0xed,
            31 => 0x7f,
            _ => 0xff,
        };
        let difference: i32 = prime - i32::from(*byte) - borrow;
        borrow = i32::from(difference < 0);
        *byte = difference.rem_euclid(256) as u8;
    }
    point[31] |= sign ^ 0x80;
}

/// What the offering end says where S3 was wrong tells the joining end at once.
#[test]
fn a_farewell_destroys_the_code_at_the_other_end() {
    let offer = offer();
    let (joining, s1) = join(offer.code());
    let (_, s2) = answer(offer, &s1);
    let (joining, _) = confirm(joining, &s2);
    let farewell = farewell(&mut Replay::new("farewell"));
    assert!(matches!(joining.on_s4(&farewell), Err(NotConfirmed::Destroyed)));
}

/// Mallory reflects: the joiner's own messages do not confirm anything.
#[test]
fn a_reflected_confirmation_is_none() {
    let offer = offer();
    let (joining, s1) = join(offer.code());
    let (_, s2) = answer(offer, &s1);
    let (joining, mut s3) = confirm(joining, &s2);
    s3[0] = 0x54;
    assert!(matches!(joining.on_s4(&s3), Err(NotConfirmed::Destroyed)));
}

#[test]
fn nothing_of_the_code_is_in_what_travels_or_is_logged() {
    let offer = offer();
    let said = offer.code().to_text();
    let words: Vec<&str> = said.split('-').skip(1).collect();
    let shown = format!("{offer:?}");
    let (joining, s1) = join(offer.code());
    let shown = shown + &format!("{joining:?}");
    let (offering, s2) = answer(offer, &s1);
    let shown = shown + &format!("{offering:?}");
    for word in words {
        assert!(!shown.contains(word), "{shown}");
        for body in [&s1, &s2] {
            assert!(!body.windows(word.len()).any(|window| window == word.as_bytes()));
        }
    }
}
