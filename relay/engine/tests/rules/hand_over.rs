//! A connection moves to the home of its device.

use hushwire_engine::{EngineLimits, Verdict, Why};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, ErrorCode, Request, Undelivered};

use crate::desk::{Desk, Fate};

#[test]
fn a_device_is_served_by_its_home_and_the_old_id_is_stale() {
    let mut desk = Desk::new(2);
    let device = desk.device_on(1, 1);
    desk.enrol(device, 1);
    let at = desk.accept().expect("room");
    desk.cell(at, &Header::control(Class::C0, 0));
    desk.engines[0].handle_sealed(at.conn, 278);
    let home = desk.hello(at, device, None);
    assert_eq!(home.shard.0, 1);
    assert!(
        matches!(desk.hear(home)[..], [Control::Welcome(ref w)] if w.shard == 1 && w.shards == 2)
    );
    assert_eq!(desk.cell(at, &Header::control(Class::C0, 1)), Verdict::Drop);
    assert_eq!(desk.engines[0].connections(), 0);
    assert_eq!(
        desk.cell(home, &Header::control(Class::C0, 1)),
        Verdict::ReadControl,
        "counters moved"
    );
    let audit = desk.engines[1].audit();
    assert_eq!(audit.sealed_bytes, 278, "what was sealed moved as well");
    assert_eq!(desk.engines[0].counters().handed_over, 1);
    assert_eq!(desk.engines[1].counters().taken_over, 1);
}

#[test]
fn moving_gives_no_more_time_to_be_welcomed() {
    let mut desk = Desk::new(2);
    let device = desk.device_on(1, 1);
    desk.enrol(device, 1);
    desk.store_waits = true;
    let at = desk.accept().expect("room");
    desk.advance(4_000);
    let home = desk.hello(at, device, None);
    assert_eq!(home.shard.0, 1);
    desk.advance(900);
    assert_eq!(desk.hear(home), []);
    desk.advance(200);
    assert!(matches!(desk.hear(home)[..], [Control::Error { code: ErrorCode::Busy, .. }]));
}

#[test]
fn a_home_without_room_does_not_take_it() {
    let limits = EngineLimits { connections_max: 1, ..Default::default() };
    let mut desk = Desk::with_limits(2, limits);
    desk.join(1, 1, 1);
    let device = desk.device_on(1, 2);
    desk.enrol(device, 1);
    let at = desk.introduce(device, None);
    assert_eq!(desk.hear(at), []);
    assert_eq!((desk.engines[0].connections(), desk.engines[1].connections()), (0, 1));
    assert_eq!(desk.engines[1].counters().turned_other, 1);
}

#[test]
fn reports_and_revocations_cross() {
    let mut desk = Desk::new(2);
    let mut sender = desk.join(0, 1, 1);
    let slow = desk.join(1, 2, 1);
    desk.stopped.insert(slow.at);
    while !matches!(desk.send(&mut sender, slow.device), Fate::Queued(_)) {}
    let counter = desk.next_counter(&sender, 0) - 1;
    assert_eq!(desk.reports(&sender), []);
    let said = desk.request(&mut sender, Request::Revoke { device: slow.device });
    assert!(matches!(said[..], [.., Control::Done { .. }]), "{said:?}");
    assert!(said.contains(&Control::Undeliverable {
        lane: 0,
        counter,
        reason: Undelivered::Offline
    }));
    assert_eq!(desk.released.len(), 1);
    desk.resume(slow.at);
    assert!(desk.closes.contains(&(slow.at, true, Why::Revoked)));
}
