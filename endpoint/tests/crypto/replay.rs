//! The relay repeats, reorders and reflects.

use crate::support::{NOW_NS, Replay, alice, bob, body, hs1, pair_key, sessions, setup};
use hushwire::suite::Suite;
use hushwire::suite::frames::FrameOpenError;
use hushwire::suite::handshake::{HandshakeError, Responder};
use proptest::prelude::*;

#[test]
fn a_repeated_hs1_is_dropped_by_its_time() {
    let (_, message) = hs1(Suite::ClassicalAes, pair_key());
    for (last_seen_ns, accepted) in
        [(0, true), (NOW_NS - 1, true), (NOW_NS, false), (u64::MAX, false)]
    {
        let random = &mut Replay::new("responder");
        let setup = setup(&alice(), pair_key());
        let answer = Responder::on_hs1(&setup, &bob(), &message, last_seen_ns, random);
        let replayed = HandshakeError::Replayed { time_ns: NOW_NS, last_seen_ns };
        let expect = if accepted { Ok(NOW_NS) } else { Err(replayed) };
        assert_eq!(answer.map(|(state, _)| state.time_ns()), expect);
    }
}

#[test]
fn a_cell_opens_once() {
    let (mut alices, mut bobs) = sessions(Suite::HybridAes);
    let mut sealed = body();
    alices.sender.seal(b"once", &mut sealed).expect("fits");
    assert_eq!(bobs.receiver.open(&mut sealed.clone()), Ok(&b"once"[..]));
    assert_eq!(bobs.receiver.open(&mut sealed.clone()), Err(FrameOpenError::Replayed));
    assert_eq!(bobs.receiver.open(&mut sealed), Err(FrameOpenError::Replayed));
}

#[test]
fn a_cell_does_not_open_where_it_came_from() {
    let (mut alices, _) = sessions(Suite::HybridAes);
    let mut sealed = body();
    alices.sender.seal(b"mirror", &mut sealed).expect("fits");
    assert_eq!(alices.receiver.open(&mut sealed), Err(FrameOpenError::NoSession));
}

#[test]
fn order_does_not_matter_within_the_window() {
    let (mut alices, mut bobs) = sessions(Suite::HybridAes);
    let mut cells = Vec::new();
    for number in 0..1_025u32 {
        let mut sealed = body();
        alices.sender.seal(&number.to_le_bytes(), &mut sealed).expect("fits");
        cells.push(sealed);
    }
    for (number, sealed) in cells.iter().enumerate().skip(1).rev() {
        let expect = (number as u32).to_le_bytes();
        assert_eq!(bobs.receiver.open(&mut sealed.clone()), Ok(&expect[..]));
    }
    assert_eq!(bobs.receiver.open(&mut cells[0]), Err(FrameOpenError::NoSession), "too old");
    assert_eq!(bobs.receiver.open(&mut cells[1]), Err(FrameOpenError::Replayed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_the_relay_does_each_cell_arrives_at_most_once(
        schedule in proptest::collection::vec(0usize..64, 1..200),
    ) {
        let (mut alices, mut bobs) = sessions(Suite::HybridChaCha);
        let cells: Vec<Vec<u8>> = (0..64u8)
            .map(|number| {
                let mut sealed = body();
                alices.sender.seal(&[number], &mut sealed).expect("fits");
                sealed
            })
            .collect();
        let mut arrived = [false; 64];
        for number in schedule {
            let mut sealed = cells[number].clone();
            let opened = bobs.receiver.open(&mut sealed);
            if arrived[number] {
                prop_assert_eq!(opened, Err(FrameOpenError::Replayed));
            } else {
                prop_assert_eq!(opened, Ok(&[number as u8][..]));
                arrived[number] = true;
            }
        }
    }
}
