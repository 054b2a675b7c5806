//! Three sessions of one peer around a renewal.

use crate::support::{NOW_NS, body, established, pair_key, session};
use hushwire::suite::Suite;
use hushwire::suite::frames::{FrameOpenError, Sender};
use hushwire::suite::limits::PREVIOUS_SESSION_NS_MAX;
use hushwire::suite::receivers::{Opened, Receivers, SessionNumber};

/// Alice's sending halves, Bob's receiving halves installed, of as many sessions as there are suites.
fn three() -> ([Sender; 3], Receivers) {
    let mut receivers = Receivers::default();
    let senders = Suite::ALL.map(|suite| {
        let (alices, bobs) = established(suite, &pair_key());
        receivers.install(session(&bobs).receiver);
        session(&alices).sender
    });
    (senders, receivers)
}

fn sealed(sender: &mut Sender) -> Vec<u8> {
    let mut cell = body();
    sender.seal(b"hello", &mut cell).expect("fits");
    cell
}

#[test]
fn a_renewal_moves_every_session_one_place() {
    let (alices, bobs) = established(Suite::HybridAes, &pair_key());
    let (renewed, bobs_renewed) = established(Suite::HybridChaCha, &pair_key());
    let (mut old, mut new) = (session(&alices).sender, session(&renewed).sender);
    let mut receivers = Receivers::default();
    assert_eq!(receivers.open(&mut body(), NOW_NS), Err(FrameOpenError::NoSession));
    let first = receivers.install(session(&bobs).receiver);
    let second = receivers.install(session(&bobs_renewed).receiver);
    assert_eq!((receivers.current(), receivers.count()), (Some(first), 2));

    let expect = |session, promoted| Opened { frames: b"hello", session, promoted };
    let mut late = sealed(&mut old);
    let mut cell = sealed(&mut old);
    assert_eq!(receivers.open(&mut cell, NOW_NS), Ok(expect(first, false)));
    let mut cell = sealed(&mut new);
    assert_eq!(receivers.open(&mut cell, NOW_NS), Ok(expect(second, true)));
    assert_eq!(receivers.current(), Some(second));
    let mut cell = sealed(&mut new);
    assert_eq!(receivers.open(&mut cell, NOW_NS), Ok(expect(second, false)));

    let before_the_end = NOW_NS + PREVIOUS_SESSION_NS_MAX - 1;
    assert_eq!(receivers.open(&mut late, before_the_end), Ok(expect(first, false)));
    let mut too_late = sealed(&mut old);
    let refused = receivers.open(&mut too_late, before_the_end + 1);
    assert_eq!(refused, Err(FrameOpenError::NoSession));
    assert_eq!(receivers.count(), 1);
}

#[test]
fn a_later_renewal_replaces_one_that_waits() {
    let ([mut first, mut second, mut third], mut receivers) = three();
    assert_eq!(receivers.count(), 2);
    let mut cell = sealed(&mut second);
    let before = cell.clone();
    assert_eq!(receivers.open(&mut cell, NOW_NS), Err(FrameOpenError::NoSession));
    assert_eq!(cell, before, "what no session knows stays as it was, for the outer seal");
    let mut cell = sealed(&mut third);
    let opened = receivers.open(&mut cell, NOW_NS).expect("the next session");
    assert_eq!((opened.session, opened.promoted), (SessionNumber(2), true));
    let mut cell = sealed(&mut first);
    assert_eq!(
        receivers.open(&mut cell, NOW_NS).map(|opened| opened.session),
        Ok(SessionNumber(0))
    );
}

#[test]
fn at_most_three_are_kept() {
    let ([_, _, mut third], mut receivers) = three();
    let mut cell = sealed(&mut third);
    receivers.open(&mut cell, NOW_NS).expect("promotes");
    let (_, bobs) = established(Suite::ClassicalAes, &pair_key());
    receivers.install(session(&bobs).receiver);
    let (_, bobs) = established(Suite::HybridChaCha, &pair_key());
    receivers.install(session(&bobs).receiver);
    assert_eq!(receivers.count(), 3);
    assert_eq!(receivers.renewal_due(), None);
}

#[test]
fn replays_and_damage_are_told_apart_from_strangers() {
    let ([mut first, _, _], mut receivers) = three();
    let cell = sealed(&mut first);
    let mut damaged = cell.clone();
    damaged[191] ^= 1;
    assert_eq!(receivers.open(&mut damaged, NOW_NS), Err(FrameOpenError::Unauthentic));
    assert!(receivers.open(&mut cell.clone(), NOW_NS).is_ok());
    assert_eq!(receivers.open(&mut cell.clone(), NOW_NS), Err(FrameOpenError::Replayed));
    assert_eq!(receivers.open(&mut [0; 100], NOW_NS), Err(FrameOpenError::BodyLength(100)));
}
