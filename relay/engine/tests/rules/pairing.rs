//! A rendezvous lets two strangers exchange a few cells.

use hushwire_wire::control::{Control, ErrorCode, Request, Undelivered};

use crate::desk::{Desk, Fate, Peer};

const TAG: [u8; 16] = [0x77; 16];

fn open(desk: &mut Desk, peer: &mut Peer, tag: [u8; 16], ttl_s: u32) -> Option<ErrorCode> {
    code(&desk.request(peer, Request::PairOpen { tag, ttl_s }))
}

fn join(desk: &mut Desk, peer: &mut Peer, tag: [u8; 16]) -> Vec<Control> {
    desk.request(peer, Request::PairJoin { tag })
}

fn code(said: &[Control]) -> Option<ErrorCode> {
    match said {
        [Control::Done { .. }] => None,
        [Control::Error { id: Some(_), code, .. }] => Some(*code),
        other => panic!("{other:?}"),
    }
}

/// Sends until a cell is not let in; how many were.
fn let_in(desk: &mut Desk, from: &mut Peer, to: &Peer) -> usize {
    (0..20).take_while(|_| desk.send(from, to.device) == Fate::Sealed(to.at)).count()
}

#[test]
fn both_learn_of_each_other_and_exchange_at_most_sixteen_cells() {
    for (one, other) in [(0, 0), (0, 1), (1, 2), (2, 2)] {
        let mut desk = Desk::new(3);
        let mut opener = desk.join(one, 1, 1);
        let mut joiner = desk.join(other, 2, 2);
        assert_eq!(open(&mut desk, &mut opener, TAG, 300), None);
        desk.hear(opener.at);
        let said = join(&mut desk, &mut joiner, TAG);
        let paired = |device, id| Control::Paired { id, tag: TAG, device };
        let [Control::Paired { id: Some(id), .. }] = said[..] else { panic!("{said:?}") };
        assert_eq!(said, [paired(opener.device, Some(id))]);
        assert_eq!(desk.hear(opener.at), [paired(joiner.device, None)]);
        let cells =
            [let_in(&mut desk, &mut opener, &joiner), let_in(&mut desk, &mut joiner, &opener)];
        assert_eq!(cells, [8, 8]);
        desk.advance(500);
        let reason = |desk: &mut Desk, peer| desk.reports(peer).first().map(|report| report.2);
        assert_eq!(reason(&mut desk, &opener), Some(Undelivered::Refused), "the permit is used up");
    }
}

#[test]
fn a_permit_ends_with_its_tag() {
    let mut desk = Desk::new(1);
    let mut opener = desk.join(0, 1, 1);
    let mut joiner = desk.join(0, 2, 2);
    open(&mut desk, &mut opener, TAG, 30);
    desk.advance(20_000);
    join(&mut desk, &mut joiner, TAG);
    desk.advance(9_000);
    assert_eq!(desk.send(&mut joiner, opener.device), Fate::Sealed(opener.at));
    desk.advance(1_000);
    assert_eq!(desk.send(&mut joiner, opener.device), Fate::Dropped);
}

#[test]
fn a_permit_survives_a_reconnection_and_knows_offline() {
    let mut desk = Desk::new(1);
    let mut opener = desk.join(0, 1, 1);
    let mut joiner = desk.join(0, 2, 2);
    open(&mut desk, &mut opener, TAG, 300);
    join(&mut desk, &mut joiner, TAG);
    desk.die(opener.at);
    desk.hear(joiner.at);
    desk.send(&mut joiner, opener.device);
    assert!(matches!(desk.reports(&joiner)[..], [(_, _, Undelivered::Offline)]));
    let opener = desk.connect(opener.device);
    assert_eq!(desk.send(&mut joiner, opener.device), Fate::Sealed(opener.at));
}

#[test]
fn a_tag_is_joined_once_and_unknown_used_expired_and_own_ones_look_alike() {
    let mut desk = Desk::new(2);
    let mut opener = desk.join(0, 1, 1);
    let mut joiner = desk.join(0, 2, 2);
    let mut late = desk.join(1, 3, 3);
    open(&mut desk, &mut opener, TAG, 300);
    let mut answers = vec![join(&mut desk, &mut opener, TAG)];
    assert!(matches!(join(&mut desk, &mut joiner, TAG)[..], [Control::Paired { .. }]));
    answers.push(join(&mut desk, &mut joiner, TAG));
    answers.push(join(&mut desk, &mut late, TAG));
    answers.push(join(&mut desk, &mut late, [1; 16]));
    open(&mut desk, &mut opener, [2; 16], 1);
    desk.advance(1_001);
    answers.push(join(&mut desk, &mut late, [2; 16]));
    for said in &answers {
        let [Control::Error { code, sentence, wait_ms, .. }] = &said[..] else {
            panic!("{said:?}")
        };
        assert_eq!((*code, wait_ms), (ErrorCode::Expired, &None));
        assert_eq!(sentence, "this pairing code is unknown, used or past its time");
    }
}

#[test]
fn an_opener_may_open_again_until_somebody_joins() {
    let mut desk = Desk::new(1);
    let mut opener = desk.join(0, 1, 1);
    let mut other = desk.join(0, 2, 2);
    assert_eq!(open(&mut desk, &mut opener, TAG, 10), None);
    assert_eq!(open(&mut desk, &mut opener, TAG, 20), None);
    assert_eq!(open(&mut desk, &mut other, TAG, 20), Some(ErrorCode::Conflict));
    join(&mut desk, &mut other, TAG);
    desk.hear(opener.at);
    assert_eq!(open(&mut desk, &mut opener, TAG, 20), Some(ErrorCode::Conflict));
    desk.advance(20_000);
    assert_eq!(open(&mut desk, &mut other, TAG, 20), None, "a tag is free after its time");
}

#[test]
fn an_account_joins_five_times_a_minute_whatever_shard_its_devices_live_on() {
    let mut desk = Desk::new(2);
    let mut devices = [desk.join(0, 1, 1), desk.join(1, 2, 1)];
    let mut other = desk.join(1, 3, 3);
    for n in 0..5 {
        let device = &mut devices[n % 2];
        assert_eq!(code(&join(&mut desk, device, [n as u8; 16])), Some(ErrorCode::Expired));
    }
    for device in &mut devices {
        let said = join(&mut desk, device, TAG);
        let [Control::Error { code: ErrorCode::RateLimited, sentence, wait_ms, .. }] = &said[..]
        else {
            panic!("{said:?}")
        };
        assert!(sentence.contains("5 joins") && wait_ms.is_some_and(|ms| ms <= 60_001));
    }
    assert_eq!(code(&join(&mut desk, &mut other, TAG)), Some(ErrorCode::Expired));
    desk.advance(50_000);
}
