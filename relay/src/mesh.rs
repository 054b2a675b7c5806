//! What shards say to each other.
//!
//! Every ordered pair of shards has two bounded single-producer queues: *cells*, where a full queue is a
//! designed outcome (the sender hears `busy`), and *control* (hand-overs, verdicts, revocations), where
//! what does not fit waits at the sender within its own bound. A third queue carries empty cell buffers
//! back to where they came from. A shard that sleeps is woken once, by whoever finds its flag set
//! ([`doorbell`]).
//!
//! Order holds within one queue and so within one connection.

mod buffers;
pub(crate) mod doorbell;
mod sleep_flag;

/// What the sleep flag is made of; the model checker puts its own in this place.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

use std::collections::VecDeque;
use std::sync::Arc;

use hushwire_engine::{Envelope, PortMessage};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::shard::limits::{MESH_CONTROL_MAX, MESH_CONTROL_WAITING_MAX};
use crate::shard::{MovedConnection, QuicPost};
use buffers::Buffers;
use doorbell::Doorbell;

/// A cell on its way to the home shard of its recipient.
#[derive(Debug)]
pub(crate) struct CrossingCell {
    pub(crate) envelope: Envelope,
    /// The plaintext of the whole cell; the buffer goes home when the cell has left.
    pub(crate) cell: Vec<u8>,
}

/// A cell's places in the queue there and in the queue of buffers back.
pub(crate) const CELL_PLACES_BYTES: usize = size_of::<CrossingCell>() + size_of::<Vec<u8>>();
/// Bytes of cells for which a queue has one place: more small cells than this allows are answered busy by number.
const BYTES_PER_PLACE: usize = 2_048;

/// Cells that may wait from one shard to another where their bytes may be `bytes_max`.
pub(crate) const fn places(bytes_max: usize) -> usize {
    bytes_max / BYTES_PER_PLACE
}

/// A control message's place in a queue.
pub(crate) const CONTROL_PLACE_BYTES: usize = size_of::<MeshControl>();

/// Everything that must not be lost on the way.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "hand-overs are rare, and a box is what moves")]
pub(crate) enum MeshControl {
    /// What one engine tells another.
    Engine(PortMessage),
    /// A connection that has introduced itself moves to its device's home.
    Moved(Box<MovedConnection>),
    /// What QUIC has to say to a connection on another shard, or of one.
    Quic(Box<QuicPost>),
}

/// Cells that have left their queue and whose buffers are not yet on their way back.
const HANDLED_AT_ONCE: usize = 1;

/// One shard's ends towards one other shard.
#[derive(Debug)]
struct Port {
    cells_out: Producer<CrossingCell>,
    cells_in: Consumer<CrossingCell>,
    control_out: Producer<MeshControl>,
    control_in: Consumer<MeshControl>,
    control_waiting: VecDeque<MeshControl>,
    buffers_out: Producer<Vec<u8>>,
    buffers_in: Consumer<Vec<u8>>,
    buffers: Buffers,
    doorbell: Arc<Doorbell>,
    rung_for: bool,
}

/// All of one shard's ends. The own shard has no port.
#[derive(Debug)]
pub(crate) struct Mesh {
    ports: Vec<Option<Port>>,
    /// Where the next control message is looked for first.
    turn: usize,
}

/// What did not enter the mesh for want of room.
#[derive(Debug)]
pub(crate) struct MeshFull<T>(pub(crate) T);

impl Mesh {
    /// The ends of every shard, in the order of their numbers; `doorbells` has one a shard. Up to
    /// `bytes_max` bytes of cells, [`places`] of them, may be on their way from one shard to another and back.
    pub(crate) fn all(doorbells: &[Arc<Doorbell>], bytes_max: usize) -> Vec<Self> {
        let places = places(bytes_max);
        let shards = doorbells.len();
        let mut cells = wires::<CrossingCell>(shards, places);
        let mut control = wires::<MeshControl>(shards, MESH_CONTROL_MAX);
        let mut buffers = wires::<Vec<u8>>(shards, places + HANDLED_AT_ONCE);
        (0..shards)
            .map(|own| Self {
                ports: (0..shards)
                    .map(|other| {
                        (own != other).then(|| Port {
                            cells_out: cells.out(own, other),
                            cells_in: cells.input(other, own),
                            control_out: control.out(own, other),
                            control_in: control.input(other, own),
                            control_waiting: VecDeque::new(),
                            buffers_out: buffers.out(own, other),
                            buffers_in: buffers.input(other, own),
                            buffers: Buffers::new(bytes_max),
                            doorbell: Arc::clone(&doorbells[other]),
                            rung_for: false,
                        })
                    })
                    .collect(),
                turn: 0,
            })
            .collect()
    }

    fn port(&mut self, shard: usize) -> &mut Port {
        match self.ports.get_mut(shard) {
            Some(Some(port)) => port,
            _ => unreachable!("the engine names existing shards other than its own"),
        }
    }

    /// Posts a copy of a cell.
    pub(crate) fn post_cell(
        &mut self,
        shard: usize,
        envelope: Envelope,
        cell: &[u8],
    ) -> Result<(), MeshFull<()>> {
        let port = self.port(shard);
        if port.cells_out.is_full() {
            return Err(MeshFull(()));
        }
        while let Ok(buffer) = port.buffers_in.pop() {
            port.buffers.back(buffer);
        }
        let buffer = port.buffers.copy(cell).ok_or(MeshFull(()))?;
        port.rung_for = true;
        port.cells_out.push(CrossingCell { envelope, cell: buffer }).map_err(|_| MeshFull(()))
    }

    /// Posts a control message; what does not fit waits here, in order, within its bound.
    pub(crate) fn post_control(
        &mut self,
        shard: usize,
        message: MeshControl,
    ) -> Result<(), Box<MeshFull<MeshControl>>> {
        let port = self.port(shard);
        if port.control_waiting.len() >= MESH_CONTROL_WAITING_MAX {
            return Err(Box::new(MeshFull(message)));
        }
        port.control_waiting.push_back(message);
        port.advance();
        Ok(())
    }

    /// Posts a control message that may be lost, unless others wait: a datagram.
    pub(crate) fn post_datagram(
        &mut self,
        shard: usize,
        datagram: QuicPost,
    ) -> Result<(), MeshFull<()>> {
        if !self.port(shard).control_waiting.is_empty() {
            return Err(MeshFull(()));
        }
        let message = MeshControl::Quic(Box::new(datagram));
        self.post_control(shard, message).map_err(|_| MeshFull(()))
    }

    /// The next control message from any shard; all have their turn.
    pub(crate) fn next_control(&mut self) -> Option<MeshControl> {
        let shards = self.ports.len();
        for at in (self.turn..shards).chain(0..self.turn) {
            if let Some(Some(port)) = self.ports.get_mut(at)
                && let Ok(message) = port.control_in.pop()
            {
                self.turn = at + 1;
                return Some(message);
            }
        }
        None
    }

    /// The next cell from `shard`, if it is another than the own.
    pub(crate) fn next_cell(&mut self, shard: usize) -> Option<CrossingCell> {
        self.ports.get_mut(shard)?.as_mut()?.cells_in.pop().ok()
    }

    /// Sends the buffer of a cell that has been handled home.
    pub(crate) fn return_buffer(&mut self, shard: usize, buffer: Vec<u8>) {
        if let Some(Some(port)) = self.ports.get_mut(shard) {
            let pushed = port.buffers_out.push(buffer);
            assert!(pushed.is_ok(), "the way back has a place for every cell there is");
        }
    }

    /// Rings for every shard that was posted to since the last call, once each.
    pub(crate) fn ring(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            port.advance();
            if std::mem::take(&mut port.rung_for) {
                port.doorbell.ring();
            }
        }
    }

    /// Whether anything waits to be taken; asked between raising the sleep flag and sleeping.
    pub(crate) fn has_input(&self) -> bool {
        self.ports
            .iter()
            .flatten()
            .any(|port| !port.cells_in.is_empty() || !port.control_in.is_empty())
    }

    /// Whether control messages wait for room; the shard then looks again soon.
    pub(crate) fn has_waiting(&self) -> bool {
        self.ports.iter().flatten().any(|port| !port.control_waiting.is_empty())
    }

    /// Shards in all, the own included.
    pub(crate) fn shards(&self) -> usize {
        self.ports.len()
    }
}

impl Port {
    fn advance(&mut self) {
        while let Some(message) = self.control_waiting.pop_front() {
            match self.control_out.push(message) {
                Ok(()) => self.rung_for = true,
                Err(rtrb::PushError::Full(message)) => {
                    self.control_waiting.push_front(message);
                    return;
                }
            }
        }
    }
}

/// One queue for every ordered pair, handed out end by end.
struct Wires<T> {
    /// By shard that sends, then by shard that receives.
    ends: Vec<Vec<Ends<T>>>,
}

/// Both ends of one queue, until they are handed out.
type Ends<T> = (Option<Producer<T>>, Option<Consumer<T>>);

fn wires<T>(shards: usize, capacity: usize) -> Wires<T> {
    let pair = |from: usize, to: usize| {
        if from == to {
            return (None, None);
        }
        let (producer, consumer) = RingBuffer::new(capacity);
        (Some(producer), Some(consumer))
    };
    Wires { ends: (0..shards).map(|from| (0..shards).map(|to| pair(from, to)).collect()).collect() }
}

impl<T> Wires<T> {
    fn out(&mut self, from: usize, to: usize) -> Producer<T> {
        self.ends[from][to].0.take().expect("each producer is handed out once")
    }

    fn input(&mut self, from: usize, to: usize) -> Consumer<T> {
        self.ends[from][to].1.take().expect("each consumer is handed out once")
    }
}
