//! The newest connection of a device wins.

use hushwire_engine::{Alarm, Verdict, Why};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, ErrorCode, GoawayReason};

use crate::desk::{Desk, Fate};

#[test]
fn the_older_connection_goes_and_the_newer_is_told() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let old = desk.join(0, 2, 1);
    desk.hear(old.at);
    assert_eq!(desk.send(&mut sender, old.device), Fate::Sealed(old.at));
    let new = desk.connect(old.device);
    let said = desk.hear(new.at);
    assert!(matches!(&said[..], [Control::Welcome(welcome)] if welcome.replaced), "{said:?}");
    let goaway = Control::Goaway { reason: GoawayReason::Superseded, reconnect_after_ms: 0 };
    assert_eq!(desk.hear(old.at), [goaway]);
    assert_eq!(desk.closes, [(old.at, true, Why::Superseded)]);
    assert_eq!(desk.send(&mut sender, old.device), Fate::Sealed(new.at));
    assert_eq!(desk.engines[0].counters().displaced, 1);
}

#[test]
fn three_displacements_in_ten_minutes_alarm() {
    let check = |gap_ms: u64, expect: usize| {
        let mut desk = Desk::new(1);
        let peer = desk.join(0, 1, 1);
        for _ in 0..3 {
            desk.advance(gap_ms);
            desk.connect(peer.device);
        }
        let device = peer.device;
        assert_eq!(desk.alarms.len(), expect, "{gap_ms} ms apart");
        if expect == 1 {
            assert_eq!(desk.alarms, [Alarm::Displacements { device, count: 3 }]);
        }
        assert_eq!(desk.engines[0].counters().displacement_alarms, expect as u64);
    };
    check(50_000, 1);
    check(59_000, 1);
    check(0, 1);
}

#[test]
fn displacements_are_remembered_while_nobody_is_connected() {
    let mut desk = Desk::new(1);
    let peer = desk.join(0, 1, 1);
    desk.connect(peer.device);
    let second = desk.connect(peer.device);
    desk.die(second.at);
    desk.advance(300_000);
    desk.connect(peer.device);
    assert!(desk.alarms.is_empty());
    desk.connect(peer.device);
    assert_eq!(desk.alarms.len(), 1);
    desk.advance(700_000);
    desk.connect(peer.device);
    desk.connect(peer.device);
    assert_eq!(desk.alarms.len(), 1, "they are forgotten after ten minutes");
}

#[test]
fn a_connection_that_was_given_up_displaces_no_newer_one() {
    // On the home shard and on another, from which it moves.
    for home in [0, 1] {
        let mut desk = Desk::new(2);
        let device = desk.device_on(home, 1);
        desk.enrol(device, 1);
        let late = desk.accept().expect("room");
        desk.advance(1_000);
        let new = desk.connect(device);
        desk.hear(new.at);
        let hello = Header::control(Class::C0, 0);
        assert_eq!(desk.cell(late, &hello), Verdict::ReadControl);
        let late = desk.hello(late, device, None);
        let said = desk.hear(late);
        assert!(matches!(said[..], [Control::Error { code: ErrorCode::Busy, .. }]), "{said:?}");
        assert_eq!(desk.closes, [(late, true, Why::Busy)]);
        assert_eq!(desk.hear(new.at), [], "the newer one stays");
        assert_eq!(desk.engines[usize::from(home)].counters().displaced, 0);
    }
}
