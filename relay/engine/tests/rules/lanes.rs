//! Lanes that a device gives no credit for: `busy` for theirs, and nothing for the others to notice.

use hushwire_engine::Slot;
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::Undelivered;

use crate::desk::{At, Desk, Fate, Peer};

const STUCK: u8 = 3;

impl Desk {
    fn send_on(&mut self, from: &mut Peer, to: &Peer, lane: u8) -> Fate {
        let counter = self.next_counter(from, lane.into());
        self.send_header(from, &Header::unicast(Class::C1, lane.into(), counter, to.device))
    }

    fn set_credit(&mut self, at: At, lane: u8, has_credit: bool) {
        let now = self.now;
        self.engine(at.shard).handle_lane(at.conn, lane, has_credit, now);
        self.run(None);
    }

    /// A device that does not read, with its sealed stage full and cells of these lanes in its queue: their slots.
    fn fill(&mut self, from: &mut Peer, to: &Peer, lanes: &[u8]) -> Vec<Slot> {
        self.stopped.insert(to.at);
        for _ in 0..2 {
            assert_eq!(self.send_class(from, to.device, Class::C7), Fate::Sealed(to.at));
        }
        while self.send_class(from, to.device, Class::C1) == Fate::Sealed(to.at) {}
        let first = self.slot();
        for &lane in lanes {
            assert_eq!(self.send_on(from, to, lane), Fate::Queued(to.at));
        }
        (first + 1..=self.slot()).map(Slot).collect()
    }
}

#[test]
fn cells_that_wait_for_the_lane_are_reported_and_the_others_keep_their_order() {
    let lanes = [3, 1, 5, 3, 2, 3, 7, 1, 0, 3];
    for shards in [1, 2] {
        let mut desk = Desk::new(shards);
        let mut sender = desk.join(shards - 1, 1, 1);
        let slow = desk.join(0, 2, 1);
        let slots = desk.fill(&mut sender, &slow, &lanes);
        assert_eq!(slots.len(), lanes.len());
        desk.reports(&sender);
        desk.set_credit(slow.at, STUCK, false);

        let of = |is_stuck: bool| {
            let both =
                slots.iter().zip(lanes).filter(move |(_, lane)| (*lane == STUCK) == is_stuck);
            both.map(|(slot, _)| *slot).collect::<Vec<_>>()
        };
        assert_eq!(desk.released, of(true));
        let expect: Vec<_> = (0..4).map(|counter| (STUCK, counter, Undelivered::Busy)).collect();
        assert_eq!(desk.reports(&sender), expect, "with {shards} shards");
        desk.resume(slow.at);
        // The first one was there before.
        let unqueued: Vec<Slot> = desk.unqueued.iter().skip(1).map(|(_, slot)| *slot).collect();
        assert_eq!(unqueued, of(false));
        assert_eq!(desk.reports(&sender), []);
        let audit = desk.engines[0].audit();
        assert_eq!((audit.pool_cells, audit.pool_bytes), (0, 0));
    }
}

#[test]
fn a_lane_without_credit_is_busy_and_the_others_are_as_ever() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let reader = desk.join(0, 2, 1);
    // The sender's next cell takes the shorter way of one that follows another.
    assert_eq!(desk.send_on(&mut sender, &reader, STUCK), Fate::Sealed(reader.at));
    desk.set_credit(reader.at, STUCK, false);
    for counter in 1..4 {
        assert_eq!(desk.send_on(&mut sender, &reader, STUCK), Fate::Dropped);
        assert_eq!(desk.reports(&sender), [(STUCK, counter, Undelivered::Busy)]);
        for lane in (0..8).filter(|&lane| lane != STUCK) {
            assert_eq!(desk.send_on(&mut sender, &reader, lane), Fate::Sealed(reader.at), "{lane}");
        }
    }
    // A second lane, and the same one once more.
    desk.set_credit(reader.at, 7, false);
    desk.set_credit(reader.at, STUCK, false);
    assert_eq!(desk.send_on(&mut sender, &reader, 7), Fate::Dropped);
    assert_eq!(desk.send_on(&mut sender, &reader, STUCK), Fate::Dropped);
    desk.set_credit(reader.at, STUCK, true);
    assert_eq!(desk.send_on(&mut sender, &reader, STUCK), Fate::Sealed(reader.at));
    assert_eq!(desk.send_on(&mut sender, &reader, 7), Fate::Dropped);
}

#[test]
fn what_the_lane_held_of_a_senders_share_is_free_again() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    desk.fill(&mut sender, &slow, &[]);
    while desk.send_on(&mut sender, &slow, STUCK) != Fate::Dropped {}
    assert_eq!(desk.send_on(&mut sender, &slow, 1), Fate::Dropped, "the share is used up");
    desk.set_credit(slow.at, STUCK, false);
    assert_eq!(desk.send_on(&mut sender, &slow, 1), Fate::Queued(slow.at));
    assert_eq!(desk.engines[0].audit().pool_cells, 2, "this one, and the first that waited");
}

#[test]
fn a_lane_is_its_connections_own() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let (old, other) = (desk.join(0, 2, 1), desk.join(0, 3, 1));
    desk.set_credit(old.at, STUCK, false);
    assert_eq!(desk.send_on(&mut sender, &other, STUCK), Fate::Sealed(other.at));
    desk.die(old.at);
    // It has gone: nothing to say of its lanes.
    desk.set_credit(old.at, 1, false);
    desk.set_credit(old.at, STUCK, true);
    let new = desk.connect(old.device);
    for lane in 0..8 {
        assert_eq!(desk.send_on(&mut sender, &new, lane), Fate::Sealed(new.at), "lane {lane}");
    }
}

#[test]
fn a_sender_that_has_gone_is_not_told() {
    let mut desk = Desk::new(1);
    let mut sender = desk.join(0, 1, 1);
    let slow = desk.join(0, 2, 1);
    let slots = desk.fill(&mut sender, &slow, &[STUCK; 3]);
    desk.die(sender.at);
    let before = desk.engines[0].counters().reports_lost;
    desk.set_credit(slow.at, STUCK, false);
    assert_eq!(desk.released, slots);
    assert_eq!(desk.engines[0].counters().reports_lost, before + 3);
}
