//! Links between devices and the relay, and the observer who sees them all.

use std::collections::VecDeque;

use hushwire_engine::{ConnId, ShardId};
use hushwire_wire::cell::{Class, Header};
use hushwire_wire::control::{Control, Request, RequestId};
use hushwire_wire::id::DeviceId;

use super::ledger::{CellId, DeviceNumber, LinkId};
use super::random::Random;

/// A connection's place at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) shard: ShardId,
    pub(crate) conn: ConnId,
}

/// What travels in one piece: one record, or one slot.
pub(crate) type Unit = Vec<Piece>;

#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) header: Header,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Cell(CellId),
    Hello,
    Request(RequestId, Request),
    Control(Control),
    Cover,
    /// A control cell that holds no well-formed map.
    Garbage,
}

impl Piece {
    pub(crate) fn cover(class: Class, counter: u64) -> Self {
        Self { header: Header::cover(class, 0, counter), body: Body::Cover }
    }

    pub(crate) fn control(class: Class, counter: u64, body: Body) -> Self {
        Self { header: Header::control(class, counter), body }
    }
}

pub(crate) struct Link {
    pub(crate) device: DeviceNumber,
    /// Its device breaks the protocol on purpose.
    pub(crate) rude: bool,
    pub(crate) relay: RelayEnd,
    /// Whether the device still has its end.
    pub(crate) device_open: bool,
    pub(crate) welcomed: bool,
    /// The device does not read.
    pub(crate) stopped: bool,
    /// Sealed and not yet taken by the network, with the bytes charged.
    pub(crate) output: VecDeque<(Unit, u32)>,
    pub(crate) drain_scheduled: bool,
    pub(crate) close_after_flush: bool,
    /// Counters of the device's cells.
    pub(crate) sent: [u64; 8],
    pub(crate) requests: u32,
    /// Delays of either direction; the last arrival, since a link keeps order.
    pub(crate) up: Random,
    pub(crate) down: Random,
    pub(crate) up_last: u64,
    pub(crate) down_last: u64,
}

/// The relay's end of a link.
pub(crate) enum RelayEnd {
    Open(At),
    /// On its way to its home; what arrives meanwhile waits in the socket.
    Moving {
        was: At,
        waiting: Vec<Unit>,
    },
    Closed {
        was: Option<At>,
    },
}

impl Link {
    pub(crate) fn new(id: LinkId, device: DeviceNumber, at: At, rude: bool, seed: u64) -> Self {
        let name = id as u64 * 2 + 1_000;
        Self {
            device,
            rude,
            relay: RelayEnd::Open(at),
            device_open: true,
            welcomed: false,
            stopped: false,
            output: VecDeque::new(),
            drain_scheduled: false,
            close_after_flush: false,
            sent: [0; 8],
            requests: 0,
            up: Random::new(seed, name),
            down: Random::new(seed, name + 1),
            up_last: 0,
            down_last: 0,
        }
    }

    pub(crate) fn at(&self) -> Option<At> {
        if let RelayEnd::Open(at) = self.relay { Some(at) } else { None }
    }

    pub(crate) fn is_dead(&self) -> bool {
        !self.device_open || matches!(self.relay, RelayEnd::Closed { .. })
    }

    pub(crate) fn take_counter(&mut self, lane: usize) -> u64 {
        self.sent[lane] += 1;
        self.sent[lane] - 1
    }

    /// A unicast of the device.
    pub(crate) fn unicast(&mut self, class: Class, lane: u8, to: DeviceId, cell: CellId) -> Piece {
        let counter = self.take_counter(usize::from(lane));
        let header = Header::unicast(class, u32::from(lane), counter, to);
        Piece { header, body: Body::Cell(cell) }
    }
}

/// Something that an observer of all links sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) nanos: u64,
    pub(crate) link: LinkId,
    pub(crate) is_up: bool,
    /// Zero for the end of a connection.
    pub(crate) bytes: usize,
}

pub(crate) fn len_of(unit: &Unit) -> usize {
    unit.iter().map(|piece| piece.header.class.cell_len()).sum()
}
