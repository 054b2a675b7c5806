//! What is meant to work: every suite, every class, both directions.

use crate::support::{
    NOW_NS, Replay, alice, bob, code, established, hs1, pair_key, session, sessions, setup,
};
use hushwire::suite::Suite;
use hushwire::suite::handshake::{Initiator, Role};
use hushwire_wire::cell::Class;
use hushwire_wire::padding::FRAME_OVERHEAD;

#[test]
fn both_ends_agree_in_every_suite_and_mode() {
    for suite in Suite::ALL {
        for psk in [pair_key(), code()] {
            let (alices, bobs) = established(suite, &psk);
            assert_eq!((alices.peer(), alices.role()), (bob().device_id(), Role::Initiator));
            assert_eq!((bobs.peer(), bobs.role()), (alice().device_id(), Role::Responder));
            assert_eq!((alices.suite(), bobs.suite()), (suite, suite));
            assert_eq!((alices.time_ns(), bobs.time_ns()), (NOW_NS, NOW_NS));
            assert_eq!(alices.peer_class_max(), Class::C7);
            let (ours, theirs) = (alices.session_keys(), bobs.session_keys());
            assert_eq!(ours.exporter(), theirs.exporter());
        }
    }
}

#[test]
fn messages_have_the_lengths_of_the_annex() {
    for (suite, lengths) in [
        (Suite::HybridChaCha, [1_328, 1_304, 184]),
        (Suite::HybridAes, [1_328, 1_304, 184]),
        (Suite::ClassicalAes, [144, 216, 184]),
    ] {
        let (initiator, first) = hs1(suite, pair_key());
        let (_, second) = crate::support::hs2(pair_key(), &first);
        let (_, third) = initiator.on_hs2(&alice(), &second).expect("HS3");
        assert_eq!([first.len(), second.len(), third.len()], lengths);
    }
}

#[test]
fn frames_of_every_class_and_suite_arrive() {
    for suite in Suite::ALL {
        let (mut alices, mut bobs) = sessions(suite);
        for class in Class::ALL {
            let mut body = vec![0xaa; class.body_len()];
            for length in [0, 1, class.body_len() - FRAME_OVERHEAD] {
                let frames = vec![7; length];
                alices.sender.seal(&frames, &mut body).expect("fits");
                assert_eq!(bobs.receiver.open(&mut body), Ok(frames.as_slice()));
                bobs.sender.seal(&frames, &mut body).expect("fits");
                assert_eq!(alices.receiver.open(&mut body), Ok(frames.as_slice()));
            }
        }
    }
}

#[test]
fn sessions_of_two_handshakes_share_nothing() {
    let (alices, _) = established(Suite::HybridAes, &pair_key());
    let (again, _) = established(Suite::HybridChaCha, &pair_key());
    assert_ne!(alices.session_keys().exporter(), again.session_keys().exporter());
    let age = session(&alices).renew_at_ns() - NOW_NS;
    assert!((45 * 60..60 * 60).contains(&(age / 1_000_000_000)), "{age}");
}

#[test]
fn the_time_of_hs1_only_grows() {
    for (now_ns, last_ns, expect) in [(10, 0, 10), (10, 9, 10), (10, 10, 11), (10, 500, 501)] {
        let random = &mut Replay::new("initiator");
        let setup = setup(&bob(), pair_key());
        let started =
            Initiator::start(setup, Suite::ClassicalAes, &alice(), now_ns, last_ns, random);
        assert_eq!(started.expect("HS1").0.time_ns(), expect);
    }
}
