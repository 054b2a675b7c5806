//! How connections end.

use hushwire_engine::Why;
use hushwire_engine::limits::SEALED_BYTES_MAX;
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, GoawayReason, Undelivered};

use crate::desk::{Desk, Fate};

#[test]
fn silence_for_a_minute_ends_a_connection_and_any_cell_keeps_it() {
    let mut desk = Desk::new(1);
    let silent = desk.join(0, 1, 1);
    let mut alive = desk.join(0, 2, 1);
    desk.hear(silent.at);
    for _ in 0..2 {
        desk.advance(25_000);
        let counter = desk.next_counter(&alive, 0);
        desk.send_header(&mut alive, &Header::cover(Class::C0, 0, counter));
    }
    desk.advance(9_900);
    assert!(desk.closes.is_empty());
    desk.advance(200);
    assert_eq!(desk.closes, [(silent.at, true, Why::Idle)]);
    let goaway = Control::Goaway { reason: GoawayReason::Idle, reconnect_after_ms: 0 };
    assert_eq!(desk.hear(silent.at), [goaway]);
    desk.advance(49_700);
    assert_eq!(desk.closes.len(), 1);
    desk.advance(400);
    assert_eq!(desk.closes.len(), 2);
    assert_eq!(desk.engines[0].counters().closed_idle, 2);
}

#[test]
fn what_waited_for_a_dead_connection_is_reported_and_released() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let peer = desk.join(0, 2, 1);
    desk.stopped.insert(peer.at);
    let mut queued = Vec::new();
    while queued.len() < 5 {
        let counter = desk.next_counter(&sender, 0);
        if desk.send(&mut sender, peer.device) == Fate::Queued(peer.at) {
            queued.push((0, counter, Undelivered::Offline));
        }
    }
    desk.die(peer.at);
    assert_eq!(desk.reports(&sender), queued);
    assert_eq!(desk.released.len(), 5);
    let audit = desk.engines[0].audit();
    assert_eq!((audit.pool_bytes, audit.connections), (0, 1));
}

#[test]
fn last_words_wait_for_room_and_not_forever() {
    let check = |reads: bool| {
        let mut desk = Desk::new(1);
        let mut sender = desk.join(0, 1, 1);
        let old = desk.join(0, 2, 1);
        desk.hear(old.at);
        desk.stopped.insert(old.at);
        while desk.send_class(&mut sender, old.device, Class::C3) != Fate::Queued(old.at) {}
        // Fill the reserve that control messages have, so that the last word has to wait.
        let absent = desk.device_on(0, 9);
        desk.enrol(absent, 1);
        let mut from_old = old;
        for _ in 0..40 {
            desk.send(&mut from_old, absent);
        }
        desk.connect(old.device);
        assert!(desk.closes.is_empty(), "the last word was not said yet");
        if reads {
            desk.resume(old.at);
            assert_eq!(desk.closes, [(old.at, true, Why::Superseded)]);
            assert!(matches!(desk.hear(old.at).last(), Some(Control::Goaway { .. })));
        } else {
            desk.advance(2_100);
            assert_eq!(desk.closes, [(old.at, false, Why::Superseded)]);
        }
        assert_eq!(desk.engines[0].audit().backlog_shard, 0);
    };
    check(true);
    check(false);
}

#[test]
fn a_closing_connection_is_not_heard() {
    let mut desk = Desk::new(1);
    let peer = desk.join(0, 1, 1);
    let other = desk.join(0, 2, 1);
    desk.cell(peer.at, &Header::cover(Class::C0, 0, 9));
    let verdict = desk.cell(peer.at, &Header::unicast(Class::C0, 0, 1, other.device));
    assert_eq!(verdict, hushwire_engine::Verdict::Drop);
    assert_eq!(desk.engines[0].device_of(peer.at.conn), None);
    desk.run(None);
    assert_eq!(desk.closes.len(), 1);
}

#[test]
fn who_does_not_read_what_it_is_told_is_closed() {
    let mut desk = Desk::new(1);
    let mut peer = desk.join(0, 1, 1);
    let absent = desk.device_on(0, 9);
    desk.enrol(absent, 1);
    desk.stopped.insert(peer.at);
    for _ in 0..600 {
        desk.send(&mut peer, absent);
        let audit = desk.engines[0].audit();
        assert!(audit.backlog <= 256 && audit.sealed_bytes <= SEALED_BYTES_MAX as usize);
    }
    desk.advance(1);
    assert_eq!(desk.closes, [(peer.at, false, Why::Backlog)]);
    let audit = desk.engines[0].audit();
    assert_eq!((audit.connections, audit.backlog_shard), (0, 0));
}
