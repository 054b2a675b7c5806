//! The two stages: what is sealed at once, what waits, and for whom.

use hushwire_engine::limits::{
    SEALED_BEYOND_POOL_BYTES, SEALED_BYTES_MAX, SEALED_CONTROL_RESERVE_BYTES, sealed_len,
};
use hushwire_engine::{Egress, EngineLimits};
use hushwire_wire::cell::Class;
use hushwire_wire::control::Undelivered;

use crate::desk::{Desk, Fate};

/// Bytes of cells in the sealed stage of one connection.
const SEALED_CELLS: usize = (SEALED_BYTES_MAX - SEALED_CONTROL_RESERVE_BYTES) as usize;

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
        assert!(audit.sealed_bytes <= SEALED_CELLS && audit.queued_bytes <= 1024 * 1024);
        assert_eq!(desk.send(&mut fast, sender.device), Fate::Sealed(sender.at));
    }
    assert_eq!((sealed, queued), (SEALED_CELLS / (1024 + 22), 256), "one sender has a quarter");
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
    for _ in 0..2 {
        assert_eq!(desk.send_class(&mut sender, slow.device, Class::C7), Fate::Sealed(slow.at));
    }
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
fn those_who_do_not_read_share_one_bound_and_leave_room_for_those_who_do() {
    let pool = 512 * 1024;
    let limits = EngineLimits {
        connections_max: 64,
        egress_bytes_max: 128 * 1024,
        egress_pool_bytes: pool,
        ..EngineLimits::default()
    };
    let mut desk = Desk::with_limits(1, limits);
    let mut sender = desk.join(0, 1, 1);
    let fast = desk.join(0, 2, 1);
    let slow: Vec<_> = (3..=42).map(|number| desk.join(0, number, 1)).collect();
    desk.stopped.extend(slow.iter().map(|peer| peer.at));
    for _ in 0..70 {
        for peer in &slow {
            desk.send_class(&mut sender, peer.device, Class::C2);
            let fate = desk.send_class(&mut sender, fast.device, Class::C2);
            assert_eq!(fate, Fate::Sealed(fast.at), "who reads finds room");
        }
        desk.advance(500);
    }
    let audit = desk.engines[0].audit();
    assert!(audit.sealed_bytes_shard > pool / 2, "{audit:?}");
    assert!(audit.sealed_bytes_shard + audit.pool_bytes <= pool, "{audit:?}");
    assert!(desk.reports(&sender).iter().all(|report| report.2 == Undelivered::Busy));
    for peer in slow {
        desk.resume(peer.at);
        assert_eq!(desk.send(&mut sender, peer.device), Fate::Sealed(peer.at));
    }
    let audit = desk.engines[0].audit();
    assert_eq!((audit.sealed_bytes_shard, audit.pool_bytes), (0, 0));
}

#[test]
fn where_nothing_is_left_a_cell_is_busy_a_control_message_leaves_and_a_queue_goes_on() {
    let len = sealed_len(Class::C7) as usize;
    let limits = EngineLimits {
        connections_max: 64,
        egress_pool_bytes: 2 * len + 1_000,
        ..EngineLimits::default()
    };
    let mut desk = Desk::with_limits(1, limits);
    let mut sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    let mut third = desk.join(0, 3, 1);
    desk.stopped.extend([slow.at, third.at]);
    assert_eq!(desk.send_class(&mut sender, slow.device, Class::C0), Fate::Sealed(slow.at));
    assert_eq!(desk.send_class(&mut sender, slow.device, Class::C6), Fate::Sealed(slow.at));
    // Not the pool's doing: what the I/O layer sealed of its own.
    let left = 2 * len as u32 + 1_000 - desk.engines[0].audit().sealed_bytes_shard as u32;
    desk.engines[0].handle_sealed(sender.at.conn, left);
    desk.hear(sender.at);
    assert_eq!(desk.send(&mut sender, third.device), Fate::Dropped, "nothing is left");
    assert_eq!(desk.send(&mut sender, slow.device), Fate::Dropped);
    let absent = desk.device_on(0, 9);
    desk.enrol(absent, 1);
    desk.hear(third.at);
    desk.send(&mut third, absent);
    desk.send(&mut third, absent);
    assert_eq!(desk.hear(third.at).len(), 1, "the first report leaves, the second one waits");
    let audit = desk.engines[0].audit();
    assert!(audit.sealed_bytes_shard <= 2 * len + 1_000 + SEALED_BEYOND_POOL_BYTES);
    desk.engines[0].handle_drained(sender.at.conn, left);
    desk.resume(third.at);
    assert_eq!(desk.hear(third.at).len(), 1);
    assert_eq!(desk.send(&mut sender, third.device), Fate::Sealed(third.at));
}

#[test]
fn a_pool_without_slots_is_busy() {
    let mut desk = Desk::new(1);
    let sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    let now = desk.now;
    let engine = &mut desk.engines[0];
    engine.handle_sealed(slow.at.conn, SEALED_BYTES_MAX);
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
