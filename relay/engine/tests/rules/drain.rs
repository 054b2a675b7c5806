//! The relay stops.

use std::collections::HashSet;

use hushwire_engine::{Turned, Why};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, ErrorCode, GoawayReason};

use crate::desk::{Desk, Fate};

#[test]
fn everybody_is_told_to_come_back_at_a_different_time() {
    let mut desk = Desk::new(1);
    let peers: Vec<_> = (0..50).map(|number| desk.join(0, number, 1)).collect();
    let fresh = desk.accept().expect("room");
    let now = desk.now;
    for peer in &peers {
        desk.hear(peer.at);
    }
    desk.engines[0].drain(now);
    desk.run(None);
    let mut delays = HashSet::new();
    for peer in &peers {
        let said = desk.hear(peer.at);
        let [Control::Goaway { reason: GoawayReason::Draining, reconnect_after_ms }] = said[..]
        else {
            panic!("{said:?}")
        };
        assert!((500..=10_000).contains(&reconnect_after_ms));
        delays.insert(reconnect_after_ms);
        assert!(desk.closes.contains(&(peer.at, true, Why::Draining)));
    }
    assert!(delays.len() > 40, "delays are jittered");
    assert!(desk.closes.contains(&(fresh, false, Why::Draining)));
    assert_eq!(desk.engines[0].connections(), 0);
    assert_eq!(desk.accept(), Err(Turned::Draining));
}

#[test]
fn more_connections_than_one_step_tells_are_told_in_several() {
    let mut desk = Desk::new(1);
    for number in 0..200 {
        for _ in 0..4 {
            desk.accept().expect("room");
        }
        desk.join(0, number, 1);
    }
    let now = desk.now;
    desk.engines[0].drain(now);
    assert!(desk.engines[0].audit().commands < 1_100);
    desk.advance(1);
    assert_eq!(desk.engines[0].connections(), 0);
}

#[test]
fn what_waits_is_still_sent() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    desk.stopped.insert(slow.at);
    let mut queued = 0;
    while queued < 3 {
        queued += usize::from(desk.send(&mut sender, slow.device) == Fate::Queued(slow.at));
    }
    let now = desk.now;
    desk.engines[0].drain(now);
    desk.run(None);
    assert!(!desk.closes.iter().any(|close| close.0 == slow.at));
    desk.resume(slow.at);
    assert_eq!(desk.unqueued.len(), 3);
    assert!(desk.closes.contains(&(slow.at, true, Why::Draining)));
    assert_eq!(desk.reports(&sender), []);
}

#[test]
fn who_introduces_itself_now_is_sent_away() {
    let mut desk = Desk::new(1);
    let device = desk.device_on(0, 1);
    desk.enrol(device, 1);
    desk.store_waits = true;
    let asking = desk.introduce(device, None);
    let fresh = desk.accept().expect("room");
    desk.cell(fresh, &Header::control(Class::C0, 0));
    let now = desk.now;
    desk.engines[0].drain(now);
    desk.run(None);
    let said = desk.hear(asking);
    assert!(
        matches!(said[..], [Control::Error { code: ErrorCode::Draining, wait_ms: Some(_), .. }]),
        "{said:?}"
    );
    desk.answer_store();
    assert_eq!(desk.engines[0].connections(), 0);
}
