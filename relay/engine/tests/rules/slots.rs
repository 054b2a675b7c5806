//! Constant cover: slots of one size at strict intervals, filled exactly.

use hushwire_engine::Egress;
use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, Request, Undelivered};

use crate::desk::{Desk, Fate, Peer};

const SECOND: u64 = 1_000_000_000;

fn slotted(desk: &mut Desk, number: u8, class: Class) -> Peer {
    let peer = desk.join(0, number, 1);
    desk.hear(peer.at);
    desk.set_slots(peer.at, class, SECOND);
    peer
}

#[test]
fn a_slot_is_filled_with_cover_when_nothing_waits() {
    let mut desk = Desk::new(1);
    let peer = slotted(&mut desk, 1, Class::C3);
    desk.advance(3_500);
    assert_eq!(desk.slots, vec![(peer.at, vec![Egress::Cover(Class::C3)]); 3]);
    assert_eq!(desk.engines[0].counters().covers_out, 3);
}

#[test]
fn real_cells_come_first_and_cover_fills_the_rest() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let peer = slotted(&mut desk, 2, Class::C3);
    for class in [Class::C0, Class::C2, Class::C0, Class::C3] {
        assert_eq!(desk.send_class(&mut sender, peer.device, class), Fate::Queued(peer.at));
    }
    desk.advance(3_100);
    let shape = |slot: usize| -> Vec<char> {
        let kind = |egress: &Egress| match egress {
            Egress::Real(_) => 'r',
            Egress::Cover(_) => 'c',
            Egress::Control(_) => 'k',
            Egress::Nothing => 'n',
        };
        desk.slots[slot].1.iter().map(kind).collect()
    };
    assert_eq!(shape(0), ['r', 'r', 'r', 'c'], "256 + 1024 + 256, and 512 of cover");
    assert_eq!(shape(1), ['r']);
    assert_eq!(shape(2), ['c']);
}

#[test]
fn a_cell_above_the_slot_is_too_large() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let peer = slotted(&mut desk, 2, Class::C3);
    assert_eq!(desk.send_class(&mut sender, peer.device, Class::C4), Fate::Dropped);
    assert_eq!(desk.reports(&sender), [(0, 1, Undelivered::TooLarge)]);
}

#[test]
fn control_rides_in_slots_as_well() {
    let mut desk = Desk::new(1);
    let mut peer = slotted(&mut desk, 1, Class::C2);
    assert_eq!(desk.request(&mut peer, Request::Ping), []);
    desk.advance(1_000);
    assert!(matches!(desk.hear(peer.at)[..], [Control::Pong { .. }]));
    assert!(matches!(
        desk.slots[0].1[..],
        [Egress::Control(_), Egress::Cover(Class::C1), Egress::Cover(Class::C0)]
    ));
}

#[test]
fn a_stopped_reader_misses_slots_and_the_rhythm_stays() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let peer = slotted(&mut desk, 2, Class::C7);
    desk.stopped.insert(peer.at);
    desk.advance(3_050);
    assert_eq!(desk.slots.len(), 2, "two slots of 32 KiB fit the sealed stage");
    assert_eq!(desk.engines[0].counters().slots_missed, 1);
    assert_eq!(desk.send(&mut sender, peer.device), Fate::Queued(peer.at));
    desk.resume(peer.at);
    desk.advance(949);
    assert_eq!(desk.slots.len(), 2);
    desk.advance(1);
    assert_eq!(desk.slots.len(), 3);
    assert!(matches!(desk.slots[2].1[..], [Egress::Real(_), ..]));
}

#[test]
fn a_late_engine_keeps_the_grid_and_does_not_catch_up() {
    let mut desk = Desk::new(1);
    let peer = slotted(&mut desk, 1, Class::C2);
    desk.now = desk.now.after_millis(5_400);
    desk.timeout();
    assert_eq!(desk.slots.len(), 1);
    desk.advance(599);
    assert_eq!(desk.slots.len(), 1);
    desk.advance(1);
    assert_eq!(desk.slots.len(), 2);
    assert_eq!(desk.engines[0].audit().slotted, 1);
    desk.die(peer.at);
    desk.advance(5_000);
    assert_eq!((desk.slots.len(), desk.engines[0].audit().slotted), (2, 0));
}

#[test]
fn without_slots_what_waited_leaves_at_once() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let peer = slotted(&mut desk, 2, Class::C2);
    desk.send(&mut sender, peer.device);
    let now = desk.now;
    desk.engines[0].set_slots(peer.at.conn, None, now);
    let conn = peer.at.conn;
    assert!(matches!(desk.engines[0].poll_egress(conn), Egress::Real(_)));
    assert_eq!(desk.engines[0].poll_egress(conn), Egress::Nothing);
}
