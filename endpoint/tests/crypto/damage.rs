//! Changed, cut and foreign bytes: every byte of every message counts.

use crate::support::{Replay, alice, bob, body, code, hs1, hs2, pair_key, sessions, setup};
use hushwire::fuzzing;
use hushwire::suite::Suite;
use hushwire::suite::frames::{FRAMES_OFFSET, FrameOpenError, FrameSealError};
use hushwire::suite::handshake::{HandshakeError, Responder};
use hushwire::suite::keys::{PairKey, Psk};
use hushwire_wire::cell::Class;
use proptest::prelude::*;

/// Each byte gets another bit flipped, so that ignored bits (the top one of an X25519 key) are hit too.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x80 >> (at % 8);
    bytes
}

fn answer(hs1: &[u8], psk: Psk) -> Result<Vec<u8>, HandshakeError> {
    let random = &mut Replay::new("responder");
    Responder::on_hs1(&setup(&alice(), psk), &bob(), hs1, 0, random).map(|(_, hs2)| hs2)
}

#[test]
fn no_changed_byte_of_hs1_leads_to_a_session() {
    for suite in Suite::ALL {
        for psk in [pair_key(), code()] {
            let (mut initiator, message) = hs1(suite, psk.clone());
            // The key is 1 184 bytes of the same kind; every 16th of them will do.
            for at in (0..144).chain((144..message.len()).step_by(16)) {
                let Ok(hs2) = answer(&flipped(&message, at), psk.clone()) else { continue };
                let refused = initiator.on_hs2(&alice(), &hs2).expect_err("changed on the way");
                initiator = *refused.state;
            }
            let hs2 = answer(&message, psk).expect("unchanged");
            assert!(initiator.on_hs2(&alice(), &hs2).is_ok());
        }
    }
}

#[test]
fn no_changed_byte_of_hs2_leads_to_a_session() {
    for suite in Suite::ALL {
        let (mut initiator, first) = hs1(suite, code());
        let (_, second) = hs2(code(), &first);
        for at in 0..second.len() {
            let refused = initiator.on_hs2(&alice(), &flipped(&second, at)).expect_err("changed");
            initiator = *refused.state;
        }
        assert!(initiator.on_hs2(&alice(), &second).is_ok());
    }
}

#[test]
fn no_changed_byte_of_hs3_leads_to_a_session() {
    for suite in Suite::ALL {
        let (initiator, first) = hs1(suite, code());
        let (mut responder, second) = hs2(code(), &first);
        let (_, third) = initiator.on_hs2(&alice(), &second).expect("HS3");
        for at in 0..third.len() {
            let refused = responder.on_hs3(&flipped(&third, at)).expect_err("changed");
            responder = *refused.state;
        }
        assert!(responder.on_hs3(&third).is_ok());
    }
}

#[test]
fn cut_and_lengthened_messages_are_malformed() {
    for suite in Suite::ALL {
        let (initiator, first) = hs1(suite, pair_key());
        let (responder, second) = hs2(pair_key(), &first);
        let longer = [first.as_slice(), &[0]].concat();
        for wrong in [&first[..first.len() - 1], &first[..1], &[], &longer] {
            assert_eq!(answer(wrong, pair_key()).unwrap_err(), HandshakeError::Malformed);
        }
        let longer = [second.as_slice(), &[0]].concat();
        let mut initiator = Box::new(initiator);
        for wrong in [&second[..second.len() - 1], &second[..40], &[], &longer] {
            let refused = initiator.on_hs2(&alice(), wrong).unwrap_err();
            assert_eq!(refused.error, HandshakeError::Malformed);
            initiator = refused.state;
        }
        let (_, third) = initiator.on_hs2(&alice(), &second).expect("HS3");
        let refused = responder.on_hs3(&third[..third.len() - 1]).unwrap_err();
        assert_eq!(refused.error, HandshakeError::Malformed);
    }
}

#[test]
fn messages_out_of_turn_are_unexpected() {
    let (initiator, first) = hs1(Suite::HybridAes, pair_key());
    let (responder, second) = hs2(pair_key(), &first);
    let unexpected = |expected, found| HandshakeError::Unexpected { expected, found };
    assert_eq!(answer(&second, pair_key()).unwrap_err(), unexpected(1, 2));
    let refused = initiator.on_hs2(&alice(), &first).unwrap_err();
    assert_eq!(refused.error, unexpected(2, 1));
    assert_eq!(responder.on_hs3(&first).unwrap_err().error, unexpected(3, 1));
}

#[test]
fn another_pair_key_ends_at_the_first_box() {
    let (initiator, first) = hs1(Suite::HybridAes, pair_key());
    let (_, second) = hs2(Psk::Session(PairKey::new([1; 32])), &first);
    let refused = initiator.on_hs2(&alice(), &second).unwrap_err();
    assert_eq!(refused.error, HandshakeError::Unauthentic);
}

#[test]
fn pairing_and_session_handshakes_do_not_mix() {
    let Psk::Pairing(keys) = code() else { panic!("a code") };
    let same_bytes = Psk::Session(PairKey::new(*keys.psk()));
    let (_, first) = hs1(Suite::HybridAes, code());
    assert_eq!(answer(&first, same_bytes.clone()).unwrap_err(), HandshakeError::Mode);
    let (_, first) = hs1(Suite::HybridAes, same_bytes);
    assert_eq!(answer(&first, code()).unwrap_err(), HandshakeError::Mode);
}

#[test]
fn degenerate_public_keys_are_refused() {
    let order_eight = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    for key in [[0; 32], order_eight] {
        let (initiator, mut first) = hs1(Suite::HybridAes, pair_key());
        let (_, mut second) = hs2(pair_key(), &first);
        first[112..144].copy_from_slice(&key);
        assert_eq!(answer(&first, pair_key()).unwrap_err(), HandshakeError::InvalidKey);
        second[40..72].copy_from_slice(&key);
        let refused = initiator.on_hs2(&alice(), &second).unwrap_err();
        assert_eq!(refused.error, HandshakeError::InvalidKey);
    }
    // A coefficient of q or more is no encapsulation key (FIPS 203 §7.2).
    let (_, mut first) = hs1(Suite::HybridAes, pair_key());
    first[144..147].fill(0xff);
    assert_eq!(answer(&first, pair_key()).unwrap_err(), HandshakeError::InvalidKey);
}

#[test]
fn no_changed_byte_of_a_frame_cell_opens() {
    for suite in Suite::ALL {
        let (mut alices, mut bobs) = sessions(suite);
        let mut sealed = body();
        alices.sender.seal(b"frames", &mut sealed).expect("fits");
        for at in 0..sealed.len() {
            let error = bobs.receiver.open(&mut flipped(&sealed, at)).unwrap_err();
            let expect = [FrameOpenError::NoSession, FrameOpenError::Unauthentic];
            assert!(expect.contains(&error), "byte {at}: {error}");
        }
        assert_eq!(bobs.receiver.open(&mut sealed), Ok(&b"frames"[..]));
    }
}

#[test]
fn cut_frame_cells_and_wrong_buffers_are_refused() {
    let (mut alices, mut bobs) = sessions(Suite::HybridAes);
    let mut sealed = vec![0; Class::C1.body_len()];
    alices.sender.seal(b"frames", &mut sealed).expect("fits");
    for length in [0, 12, 191, 193, 447] {
        let error = bobs.receiver.open(&mut sealed[..length]).unwrap_err();
        assert_eq!(error, FrameOpenError::BodyLength(length));
    }
    let mut shorter = sealed[..Class::C0.body_len()].to_vec();
    assert_eq!(bobs.receiver.open(&mut shorter), Err(FrameOpenError::Unauthentic));
    let mut wrong = vec![0; 200];
    assert_eq!(alices.sender.seal(b"", &mut wrong), Err(FrameSealError::BodyLength(200)));
    let too_long = FrameSealError::TooLong { length: 161, max: 160 };
    assert_eq!(alices.sender.seal(&[0; 161], &mut body()), Err(too_long));
    assert_eq!(alices.sender.seal_in_place(161, &mut body()), Err(too_long));
    assert_eq!(alices.sender.next_sequence(), 1, "a refusal uses no sequence number");
    assert_eq!(FRAMES_OFFSET, 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn handshake_messages_of_any_bytes_never_panic(
        mut data in proptest::collection::vec(any::<u8>(), 0..1_400),
        kind in 1u8..=3,
        suite in 1u8..=3,
    ) {
        fuzzing::handshake(&data);
        if let [first, version, low, high, ..] = data.as_mut_slice() {
            (*first, *version, *low, *high) = (kind, 1, suite, 0);
        }
        fuzzing::handshake(&data);
        let _ = answer(&data, code());
    }

    #[test]
    fn frame_cells_of_any_bytes_belong_to_nobody(
        mut data in proptest::collection::vec(any::<u8>(), 192),
    ) {
        for suite in Suite::ALL {
            let (_, mut bobs) = sessions(suite);
            prop_assert_eq!(bobs.receiver.open(&mut data), Err(FrameOpenError::NoSession));
        }
    }
}
