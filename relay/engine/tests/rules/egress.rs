//! The two stages: what is sealed at once, what waits, and for whom.

use hushwire_engine::Egress;
use hushwire_wire::cell::Class;
use hushwire_wire::control::Undelivered;

use crate::desk::{Desk, Fate};

#[test]
fn a_stopped_reader_fills_the_sealed_stage_then_the_queue_then_its_senders_hear_busy() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    let mut fast = desk.join(0, 3, 1);
    desk.stopped.insert(slow.at);
    let (mut sealed, mut queued, mut dropped) = (0, 0, 0);
    for _ in 0..1_000 {
        match desk.send_class(&mut sender, slow.device, Class::C2) {
            Fate::Sealed(_) => sealed += 1,
            Fate::Queued(_) => queued += 1,
            Fate::Dropped => dropped += 1,
            Fate::Closed(why) => panic!("{why:?}"),
        }
        let audit = desk.engines[0].audit();
        assert!(audit.sealed_bytes <= 60 * 1024 && audit.queued_bytes <= 1024 * 1024);
        assert_eq!(desk.send(&mut fast, sender.device), Fate::Sealed(sender.at));
    }
    assert_eq!((sealed, queued), (60 * 1024 / (1024 + 22), 256), "one sender has a quarter");
    let reports = desk.reports(&sender);
    assert_eq!(reports.len(), dropped);
    assert!(reports.iter().all(|report| report.2 == Undelivered::Busy));
    assert_eq!(desk.send(&mut fast, slow.device), Fate::Queued(slow.at), "another one has room");
    desk.resume(slow.at);
    assert_eq!(desk.unqueued.len(), 257);
    assert!(desk.unqueued.is_sorted_by_key(|(_, slot)| slot.0), "in order");
    assert_eq!(desk.send(&mut sender, slow.device), Fate::Sealed(slow.at));
    assert_eq!(desk.engines[0].audit().pool_cells, 0);
}

#[test]
fn a_cell_does_not_overtake_one_that_waits() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    desk.stopped.insert(slow.at);
    assert_eq!(desk.send_class(&mut sender, slow.device, Class::C7), Fate::Sealed(slow.at));
    assert_eq!(desk.send_class(&mut sender, slow.device, Class::C7), Fate::Queued(slow.at));
    assert_eq!(desk.send_class(&mut sender, slow.device, Class::C0), Fate::Queued(slow.at));
    desk.resume(slow.at);
    assert_eq!(desk.unqueued.len(), 2);
}

#[test]
fn control_comes_before_cells_and_has_room_of_its_own() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let mut slow = desk.join(0, 2, 1);
    let absent = desk.device_on(0, 9);
    desk.enrol(absent, 1);
    desk.stopped.insert(slow.at);
    while desk.send(&mut sender, slow.device) != Fate::Queued(slow.at) {}
    desk.hear(slow.at);
    for _ in 0..30 {
        desk.send(&mut slow, absent);
    }
    let at_once = desk.hear(slow.at).len();
    assert!((14..=16).contains(&at_once), "{at_once} fit the reserve of 4 KiB");
    let at = slow.at;
    let engine = &mut desk.engines[0];
    let sealed = engine.audit().sealed_bytes as u32;
    assert!(engine.handle_drained(at.conn, sealed));
    let mut kinds = Vec::new();
    loop {
        match engine.poll_egress(at.conn) {
            Egress::Nothing => break,
            Egress::Control(_) => kinds.push('c'),
            Egress::Real(_) => kinds.push('r'),
            Egress::Cover(_) => panic!("no cover outside a slot"),
        }
    }
    assert_eq!(kinds.iter().collect::<String>(), "c".repeat(30 - at_once) + "r");
}

#[test]
fn a_pool_without_slots_is_busy() {
    let mut desk = Desk::new(1);
    let sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    let now = desk.now;
    let engine = &mut desk.engines[0];
    engine.handle_sealed(slow.at.conn, 64 * 1024);
    let header = hushwire_wire::cell::Header::unicast(Class::C0, 3, 0, slow.device);
    engine.handle_cell(sender.at.conn, &header, now);
    engine.handle_unqueued(slow.at.conn, now);
    desk.run(None);
    assert_eq!(desk.reports(&sender), [(3, 0, Undelivered::Busy)]);
}

#[test]
#[should_panic(expected = "queued where the last verdict said so")]
fn queueing_what_was_not_to_be_queued_is_a_bug_of_the_io_layer() {
    let mut desk = Desk::new(1);
    let peer = desk.join(0, 1, 1);
    let stored = hushwire_engine::Stored { slot: hushwire_engine::Slot(1), wrapped: None };
    desk.engines[0].handle_queued(peer.at.conn, stored);
}

#[test]
#[should_panic(expected = "no more drains than was sealed")]
fn draining_more_than_was_sealed_is_a_bug_of_the_io_layer() {
    let mut desk = Desk::new(1);
    let peer = desk.join(0, 1, 1);
    desk.engines[0].handle_drained(peer.at.conn, 1);
}
