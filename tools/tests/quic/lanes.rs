//! Devices that do not read, or not every lane: their senders hear `busy`, what was taken arrives, and nobody else
//! notices.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, Request, RequestId, Transport, Undelivered};
use quinn_proto::{Dir, Side, StreamId, VarInt};

use crate::support::quic::Options;
use crate::support::raw::Device;
use crate::support::{self, eventually, memory, now, relay, total};
use crate::{connect_with, exchange, pair};

/// The lane that is not read.
const IGNORED: u32 = 3;
/// What a device lets the relay send on one lane, in bytes.
const LANE_BYTES: u32 = 64 * 1024;

/// A sender, and a receiver that leaves a lane unread.
struct Pair {
    sender: Device,
    receiver: Device,
    /// Numbers of the cells that were sent on each lane and not reported, in order.
    expected: HashMap<u32, VecDeque<u32>>,
    /// The counter that a cell was sent with on its lane, and its number.
    sent: HashMap<(u32, u64), u32>,
    /// Lane and number of each cell that was reported.
    reported: Vec<(u32, u32)>,
    number: u32,
    pings: u32,
}

impl Pair {
    fn new(relay: &RelayProcess) -> Self {
        let (sender, receiver) = pair(relay);
        let mut options = Options::default();
        options.transport.stream_receive_window(VarInt::from_u32(LANE_BYTES));
        let mut receiver = connect_with(relay, receiver.identity, options);
        receiver.raw.quic().ignored.push(u64::from(IGNORED));
        Self {
            sender,
            receiver,
            expected: HashMap::new(),
            sent: HashMap::new(),
            reported: Vec::new(),
            number: 0,
            pings: 100,
        }
    }

    fn send(&mut self, class: Class, lane: u32) {
        let mut counters = self.sender.raw.counters.clone();
        let counter = counters.take(lane as usize);
        let header = Header::unicast(class, lane, 0, self.receiver.id);
        self.sender.raw.send(header, &self.number.to_le_bytes()).expect("the relay reads");
        self.sent.insert((lane, counter), self.number);
        self.expected.entry(lane).or_default().push_back(self.number);
        self.number += 1;
    }

    /// What was reported since last asked, by lane: all `busy`, and not waited for any longer. Cells on other lanes than
    /// that of the question may not have been read yet.
    fn reports(&mut self) -> HashMap<u32, usize> {
        self.pings += 1;
        let id = RequestId(self.pings);
        self.sender.raw.say(&Control::Request { id, request: Request::Ping }).expect("it reads");
        let mut reports = HashMap::new();
        loop {
            let message = self.sender.raw.hear().expect("the relay answers").0;
            if matches!(message, Control::Pong { id: answered, .. } if answered == id) {
                return reports;
            }
            let Control::Undeliverable { lane, counter, reason: Undelivered::Busy } = message
            else {
                panic!("neither `busy` nor the answer: {message:?}")
            };
            let number = self.sent[&(u32::from(lane), counter)];
            let expected = self.expected.entry(lane.into()).or_default();
            let at = expected.iter().position(|&other| other == number);
            expected.remove(at.expect("one cell, one report"));
            *reports.entry(lane.into()).or_default() += 1;
            self.reported.push((lane.into(), number));
        }
    }

    /// Sends on all lanes until the one that is not read is known to be stuck.
    fn fill_the_lane(&mut self, relay: &RelayProcess) {
        let deadline = now() + Duration::from_secs(20);
        while total(relay, "lanes_stuck") == 0 {
            for lane in 0..8 {
                self.send(Class::C4, lane);
            }
            self.reports();
            self.take();
            assert!(now() < deadline, "the lane never got stuck");
        }
    }

    /// Takes what has arrived; every cell is the next of its lane. How many they were.
    fn take(&mut self) -> usize {
        let mut taken = 0;
        while self.receiver.raw.quic().has_cell(Duration::from_millis(1)) {
            let (header, body) = self.receiver.raw.receive().expect("a cell");
            let number = u32::from_le_bytes(*body.first_chunk().expect("a number"));
            let expected = self.expected.get_mut(&header.lane).and_then(VecDeque::pop_front);
            assert_eq!(Some(number), expected, "the next one of lane {}", header.lane);
            taken += 1;
        }
        taken
    }

    fn await_lanes(&mut self, what: &str, lanes: impl Iterator<Item = u32> + Clone) {
        let deadline = now() + Duration::from_secs(20);
        loop {
            self.reports();
            self.take();
            let waits: Vec<u32> = lanes
                .clone()
                .filter(|lane| self.expected.get(lane).is_some_and(|cells| !cells.is_empty()))
                .collect();
            if waits.is_empty() {
                return;
            }
            assert!(now() < deadline, "{what}: lanes {waits:?} wait");
        }
    }

    /// The receiver reads the lane again.
    fn read_on(&mut self) {
        let quic = self.receiver.raw.quic();
        quic.ignored.clear();
        quic.read(StreamId::new(Side::Server, Dir::Uni, u64::from(IGNORED)));
    }
}

fn others() -> impl Iterator<Item = u32> + Clone {
    (0..8).filter(|&lane| lane != IGNORED)
}

#[test]
fn a_lane_that_is_not_read_is_busy_and_the_others_go_on() {
    const ROUNDS: usize = 40;
    let relay = relay();
    let mut pair = Pair::new(&relay);
    pair.fill_the_lane(&relay);
    pair.await_lanes("what came before", others());
    let first = pair.number;
    // Those of the lane that were on their way already are reported, too.
    let reported = |pair: &Pair, lane: u32| {
        let is_it = |&(of, number): &(u32, u32)| of == lane && number >= first;
        pair.reported.iter().copied().filter(is_it).count()
    };
    for _ in 0..ROUNDS {
        for lane in 0..8 {
            pair.send(Class::C4, lane);
        }
        pair.reports();
        pair.take();
    }
    pair.await_lanes("the others go on", others());
    eventually("each of its cells is reported", || {
        pair.reports();
        reported(&pair, IGNORED) >= ROUNDS
    });
    assert!(others().all(|lane| reported(&pair, lane) == 0), "and nobody else's");
    assert_eq!(total(&relay, "lanes_stuck"), 1);

    pair.read_on();
    pair.await_lanes("all that was taken arrives", 0..8);
    eventually("the lane is free again", || {
        pair.send(Class::C0, IGNORED);
        let is_reported = !pair.reports().is_empty();
        pair.take();
        !is_reported && pair.expected[&IGNORED].is_empty()
    });
    for lane in 0..8 {
        pair.send(Class::C7, lane);
    }
    pair.await_lanes("as before", 0..8);
    assert_eq!(total(&relay, "bugs"), 0);
    eventually("nothing waits", || total(&relay, "egress_pool_bytes") == 0);
}

/// Nothing else was on its way while the lane got full.
#[test]
fn a_flood_of_a_lane_that_is_not_read_does_not_hold_up_the_others() {
    let relay = relay();
    let mut pair = Pair::new(&relay);
    let deadline = now() + Duration::from_secs(20);
    while pair.reports().is_empty() {
        for _ in 0..8 {
            pair.send(Class::C6, IGNORED);
        }
        pair.take();
        assert!(now() < deadline, "nobody ever said `busy`");
    }
    let mut arrived = 0;
    eventually("the others are not held up", || {
        for lane in others() {
            pair.send(Class::C0, lane);
        }
        pair.reports();
        arrived += pair.take();
        arrived >= 7
    });
    pair.read_on();
    pair.await_lanes("all that was taken arrives", 0..8);
    assert_eq!(total(&relay, "bugs"), 0);
}

/// It goes, with a lane that is stuck and cells that wait there.
#[test]
fn a_device_that_leaves_with_a_lane_stuck_leaves_nothing_behind() {
    let relay = relay();
    let mut pair = Pair::new(&relay);
    pair.fill_the_lane(&relay);
    pair.receiver.raw.close();
    eventually("it has gone", || total(&relay, "connections") == 1);
    eventually("so have its cells", || total(&relay, "egress_pool_bytes") == 0);
    let mut again = Device::connect_by(&relay, pair.receiver.identity, Transport::Quic);
    let header = Header::unicast(Class::C0, IGNORED, 0, again.id);
    pair.sender.raw.send(header, b"anew").expect("the relay reads");
    assert!(again.raw.receive().expect("a cell").1.starts_with(b"anew"));
    assert_eq!(total(&relay, "bugs"), 0);
}

#[test]
fn a_device_that_reads_nothing_fills_its_own_queue_only() {
    const CELLS_BEYOND: u32 = 2_000;
    const GROWTH_MAX: u64 = 64 * 1024 * 1024;
    for by in [Transport::Quic, Transport::Tls] {
        let relay = relay();
        let (mut sender, mut stopped) = support::raw::pair_by(&relay, by, Transport::Quic);
        let (mut a, mut b) = pair(&relay);
        let before = memory(relay.id(), "VmRSS:");
        let mut refused = HashSet::new();
        let mut number = 0_u32;
        let mut end = None;
        while end.is_none_or(|end| number < end) {
            for _ in 0..16 {
                sender.send(stopped.id, Class::C7, &number.to_le_bytes());
                number += 1;
            }
            // On lane 0 the pings are counted, too.
            let id = RequestId(number);
            let ping = Control::Request { id, request: Request::Ping };
            sender.raw.say(&ping).expect("the relay reads");
            loop {
                let message = sender.raw.hear().expect("the relay answers").0;
                if matches!(message, Control::Pong { .. }) {
                    break;
                }
                let Control::Undeliverable { counter, reason: Undelivered::Busy, .. } = message
                else {
                    panic!("neither `busy` nor the answer: {message:?}")
                };
                // HELLO and the grant came first.
                let sent = counter - 2;
                refused.insert((sent - sent / 17) as u32);
            }
            if end.is_none() && !refused.is_empty() {
                end = Some(number + CELLS_BEYOND);
            }
            assert!(!refused.is_empty() || number < 4_096, "nobody ever said `busy`");
            if number.is_multiple_of(512) {
                exchange(&mut a, &mut b, &[Class::C0, Class::C7]);
            }
        }
        assert!(refused.len() as u32 >= CELLS_BEYOND, "{} of {number}", refused.len());
        let grown = memory(relay.id(), "VmRSS:").saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{grown} bytes more");
        // It reads on: everything that was not refused is there, in order.
        for expect in (0..number).filter(|number| !refused.contains(number)) {
            let (_, body) = stopped.raw.receive().expect("a cell that was taken");
            assert_eq!(body[..4], expect.to_le_bytes());
        }
        eventually("the queue is empty", || total(&relay, "egress_pool_bytes") == 0);
        sender.send(stopped.id, Class::C0, b"there is room");
        assert!(stopped.raw.receive().expect("a cell").1.starts_with(b"there is room"));
        assert_eq!(total(&relay, "bugs"), 0);
    }
}
