//! Who gets in, and how fast.

use hushwire_engine::limits::ADMISSIONS_PENDING_MAX;
use hushwire_engine::store::Denial;
use hushwire_engine::{
    EngineLimits, SourcePrefix, StoreAnswer, StoreQuestion, Turned, Verdict, Why,
};
use hushwire_wire::cell::{Class, Header, Kind};
use hushwire_wire::control::{Control, ControlError, ErrorCode};

use crate::desk::Desk;

#[test]
fn an_enrolled_device_is_welcomed_with_its_limits() {
    let mut desk = Desk::new(1);
    let peer = desk.join(0, 1, 1);
    let said = desk.hear(peer.at);
    let [Control::Welcome(welcome)] = said.as_slice() else { panic!("one welcome, not {said:?}") };
    assert_eq!((welcome.shard, welcome.shards, welcome.region.as_str()), (0, 1, "desk"));
    assert_eq!((welcome.limits.cells_per_s, welcome.limits.idle_ms), (2_000, 60_000));
    assert!(!welcome.replaced);
    assert_eq!(desk.engines[0].device_of(peer.at.conn), Some(&peer.device));
}

#[test]
fn a_device_that_may_not_connect_hears_why_and_is_closed() {
    let check = |answer: StoreAnswer, code: ErrorCode, why: Why| {
        let mut desk = Desk::new(1);
        let device = desk.device_on(0, 1);
        desk.next_answers.push_back(answer.clone());
        let at = desk.introduce(device, None);
        let said = desk.hear(at);
        let [Control::Error { id: None, code: heard, sentence, wait_ms }] = said.as_slice() else {
            panic!("{answer:?}: one error, not {said:?}")
        };
        assert_eq!((*heard, wait_ms.is_some()), (code, why == Why::Busy), "{answer:?}");
        assert!(!sentence.is_empty());
        assert_eq!(desk.closes, [(at, true, why)], "{answer:?}");
        assert_eq!(desk.engines[0].audit().connections, 0);
    };
    let denied = |denial, code| check(StoreAnswer::Denied(denial), code, Why::Unauthenticated);
    denied(Denial::Unknown, ErrorCode::Unauthenticated);
    denied(Denial::Revoked, ErrorCode::Unauthenticated);
    denied(Denial::NativeOnly, ErrorCode::Forbidden);
    denied(Denial::Invite, ErrorCode::Unauthenticated);
    denied(Denial::InviteExpired, ErrorCode::Expired);
    denied(Denial::AccountFull, ErrorCode::Forbidden);
    check(StoreAnswer::Unavailable, ErrorCode::Busy, Why::Busy);
}

#[test]
fn no_more_rows_are_asked_for_than_may_wait() {
    let limits = EngineLimits { connections_max: 2_048, ..EngineLimits::default() };
    let mut desk = Desk::with_limits(1, limits);
    let device = desk.device_on(0, 1);
    desk.enrol(device, 1);
    desk.store_waits = true;
    for _ in 0..ADMISSIONS_PENDING_MAX {
        let at = desk.introduce(device, None);
        desk.die(at);
    }
    let at = desk.introduce(device, None);
    let said = desk.hear(at);
    assert!(matches!(said[..], [Control::Error { code: ErrorCode::Busy, wait_ms: Some(_), .. }]));
    desk.answer_store();
    desk.connect(device);
}

#[test]
fn a_token_of_sixteen_bytes_redeems_an_invite_and_no_other_is_known() {
    let mut desk = Desk::new(1);
    let device = desk.device_on(0, 1);
    desk.enrol(device, 1);
    let at = desk.introduce(device, Some(vec![8; 16]));
    assert!(matches!(desk.hear(at)[..], [Control::Welcome(_)]));
    let asked = desk.questions.pop();
    assert!(
        matches!(&asked, Some(StoreQuestion::Redeem { secret, name, .. })
            if *secret == [8; 16] && name == "a device"),
        "{asked:?}"
    );
    for length in [0, 15, 17, 400] {
        let at = desk.introduce(device, Some(vec![8; length]));
        let said = desk.hear(at);
        assert!(
            matches!(said[..], [Control::Error { code: ErrorCode::Unauthenticated, .. }]),
            "{length}: {said:?}"
        );
    }
    assert!(desk.questions.is_empty(), "the store is not asked about a token of no kind");
}

#[test]
fn before_the_welcome_there_is_one_control_cell_and_nothing_else() {
    let peer = Desk::new(1).device_on(0, 9);
    let first = |header: Header| {
        let mut desk = Desk::new(1);
        let at = desk.accept().expect("room");
        let verdict = desk.cell(at, &header);
        desk.run(None);
        if verdict != Verdict::ReadControl {
            let said = desk.hear(at);
            assert!(matches!(said[..], [Control::Error { code: ErrorCode::Malformed, .. }]));
            assert_eq!(desk.closes, [(at, true, Why::Malformed)]);
        }
        verdict
    };
    let malformed = Verdict::Close(Why::Malformed);
    assert_eq!(first(Header::control(Class::C0, 0)), Verdict::ReadControl);
    assert_eq!(first(Header::control(Class::C3, 0)), Verdict::ReadControl);
    assert_eq!(first(Header::control(Class::C4, 0)), malformed);
    assert_eq!(first(Header::control(Class::C0, 1)), malformed);
    assert_eq!(first(Header::cover(Class::C0, 0, 0)), malformed);
    assert_eq!(first(Header::unicast(Class::C0, 0, 0, peer)), malformed);
    let broadcast = Header { kind: Kind::Broadcast, ..Header::control(Class::C0, 0) };
    assert_eq!(first(broadcast), malformed);
}

#[test]
fn a_second_cell_before_the_welcome_closes() {
    let mut desk = Desk::new(1);
    desk.store_waits = true;
    let device = desk.device_on(0, 1);
    let at = desk.introduce(device, None);
    assert_eq!(desk.cell(at, &Header::control(Class::C0, 1)), Verdict::Close(Why::Malformed));
    desk.run(None);
    desk.answer_store();
    assert!(matches!(desk.hear(at)[..], [Control::Error { code: ErrorCode::Malformed, .. }]));
}

#[test]
fn what_is_no_introduction_or_a_second_one_closes() {
    let now_of = |desk: &Desk| desk.now;
    let mut desk = Desk::new(1);
    let at = desk.accept().expect("room");
    desk.cell(at, &Header::control(Class::C0, 0));
    let now = now_of(&desk);
    desk.engines[0].handle_malformed_control(at.conn, ControlError::Malformed, now);
    desk.run(None);
    assert_eq!(desk.closes.pop(), Some((at, true, Why::Malformed)));

    let at = desk.accept().expect("room");
    desk.cell(at, &Header::control(Class::C0, 0));
    desk.engines[0].refuse(at.conn, ErrorCode::Unauthenticated, "the proof is wrong", now);
    desk.run(None);
    let said = desk.hear(at);
    assert!(
        matches!(&said[..], [Control::Error { sentence, .. }] if sentence == "the proof is wrong")
    );
    assert_eq!(desk.closes.pop(), Some((at, true, Why::Unauthenticated)));

    let peer = desk.join(0, 1, 1);
    desk.hello(peer.at, peer.device, None);
    assert_eq!(desk.closes.pop(), Some((peer.at, true, Why::Malformed)));
}

#[test]
fn who_does_not_introduce_itself_in_five_seconds_is_cut() {
    let mut desk = Desk::new(1);
    let at = desk.accept().expect("room");
    desk.advance(4_900);
    assert!(desk.closes.is_empty());
    desk.advance(200);
    assert_eq!(desk.closes, [(at, false, Why::Deadline)]);

    desk.store_waits = true;
    let device = desk.device_on(0, 1);
    desk.enrol(device, 1);
    let at = desk.introduce(device, None);
    desk.advance(5_100);
    assert!(matches!(desk.hear(at)[..], [Control::Error { code: ErrorCode::Busy, .. }]));
    assert_eq!(desk.closes.pop(), Some((at, true, Why::Deadline)));
    desk.answer_store();
    assert_eq!(desk.engines[0].audit().connections, 0, "the answer came for nobody");
}

#[test]
fn one_source_gets_twenty_handshakes_a_second() {
    let mut desk = Desk::new(1);
    let now = desk.now;
    let source = SourcePrefix(0x2001_0db8_0000_0001);
    let taken = (0..50).filter(|_| desk.engines[0].handle_accept(source, now).is_ok()).count();
    assert_eq!(taken, 20);
    assert_eq!(desk.engines[0].handle_accept(source, now), Err(Turned::Source));
    assert!(desk.accept().is_ok(), "another source is free");
    let later = now.after_millis(1_000);
    assert!(desk.engines[0].handle_accept(source, later).is_ok());
    assert_eq!(desk.engines[0].counters().turned_source, 31);
}

#[test]
fn connections_have_their_numbers() {
    let limits = EngineLimits { connections_max: 3, unauthenticated_max: 2, ..Default::default() };
    let mut desk = Desk::with_limits(1, limits);
    let first = desk.accept().expect("room");
    desk.accept().expect("room");
    assert_eq!(desk.accept(), Err(Turned::Unauthenticated));
    desk.die(first);
    desk.join(0, 1, 1);
    desk.join(0, 2, 1);
    assert_eq!(desk.accept(), Err(Turned::Full));
    assert_eq!(desk.engines[0].counters().turned_other, 2);
}
