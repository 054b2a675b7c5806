//! What a frame cell shows to those who cannot open it.

use crate::support::{NOW_NS, Replay, body, established, pair_key, sessions};
use hushwire::suite::Suite;
use hushwire::suite::frames::{ConnectionSalt, FRAMES_OFFSET, FrameOpenError, Session};
use hushwire_wire::cell::Class;
use proptest::prelude::*;

#[test]
fn sealing_in_place_is_sealing() {
    let (mut one, _) = sessions(Suite::HybridAes);
    let (mut two, mut bobs) = sessions(Suite::HybridAes);
    let (mut copied, mut in_place) = (body(), vec![0xaa; Class::C0.body_len()]);
    one.sender.seal(b"frames", &mut copied).expect("fits");
    in_place[FRAMES_OFFSET..][..6].copy_from_slice(b"frames");
    assert_eq!(two.sender.seal_in_place(6, &mut in_place), Ok(0));
    assert_eq!(copied, in_place);
    assert_eq!(bobs.receiver.open(&mut in_place), Ok(&b"frames"[..]));
}

#[test]
fn a_new_connection_changes_every_nonce() {
    let (alices, bobs) = established(Suite::HybridAes, &pair_key());
    let keys = alices.session_keys();
    let mut sealed = Vec::new();
    for seed in ["one", "two"] {
        let salt = ConnectionSalt::draw(&mut Replay::new(seed));
        let mut clone = Session::new(&keys, salt, NOW_NS, &mut Replay::new("age"));
        let mut cell = body();
        clone.sender.seal(b"same frames, same sequence", &mut cell).expect("fits");
        sealed.push(cell);
    }
    assert_ne!(sealed[0][12..], sealed[1][12..]);
    let salt = ConnectionSalt::draw(&mut Replay::new("three"));
    let mut bobs = Session::new(&bobs.session_keys(), salt, NOW_NS, &mut Replay::new("age"));
    assert!(bobs.receiver.open(&mut sealed[1]).is_ok(), "the receiver needs no salt");
    assert_eq!(bobs.receiver.open(&mut sealed[0]), Err(FrameOpenError::Replayed));

    let (mut ours, mut theirs) = sessions(Suite::HybridChaCha);
    ours.sender.set_salt(ConnectionSalt::draw(&mut Replay::new("reconnected")));
    let mut cell = body();
    ours.sender.seal(b"still open", &mut cell).expect("fits");
    assert_eq!(theirs.receiver.open(&mut cell), Ok(&b"still open"[..]));
}

/// Sequence numbers 0, 1, 2 … must not show: of 256 cells no two share the four bytes where they would.
#[test]
fn nonces_are_masked() {
    for suite in Suite::ALL {
        let (mut alices, _) = sessions(suite);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..256 {
            let mut cell = body();
            alices.sender.seal(b"", &mut cell).expect("fits");
            assert!(seen.insert(cell[8..12].to_vec()), "{suite:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_frames_arrive_unchanged(
        class in 0u8..8,
        frames in proptest::collection::vec(any::<u8>(), 0..160),
        suite in 1u16..=3,
    ) {
        let (mut alices, mut bobs) = sessions(Suite::from_wire(suite).expect("three suites"));
        let mut cell = vec![0x55; Class::from_wire(class).expect("eight classes").body_len()];
        alices.sender.seal(&frames, &mut cell).expect("fits");
        prop_assert_eq!(bobs.receiver.open(&mut cell), Ok(frames.as_slice()));
    }
}
