//! One shard: a pinned thread with its own ring, sockets, record layers, buffers and engine.
//!
//! The loop reaps completions into lists, reads the connections that are ready, takes what other shards
//! and threads have posted, lets the engine's deadlines pass, carries out what the engine wants, sends
//! what was sealed, and waits. Nothing runs inside a completion.
//!
//! | file | what |
//! |---|---|
//! | `accepting` | listeners, admission, TLS handshakes |
//! | `greeting` | CHALLENGE, HELLO and the proof |
//! | `reading` | bytes in, cells out, verdicts |
//! | `sending` | the two stages of egress |
//! | `in_place` | large cells, which leave from where they came in |
//! | `commands`, `asking` | what the engine wants done, and asked of the store |
//! | `closing` | a connection's end, which takes its time |
//! | `quic` | the same four for connections of QUIC |
//! | `crossing` | the mesh and the inbox |
//! | `output`, `slots`, `connection` | what they work on |

mod accepting;
mod asking;
mod closing;
mod commands;
mod connection;
mod crossing;
pub(crate) mod greeting;
mod in_place;
pub(crate) mod inbox;
pub(crate) mod limits;
mod output;
mod quic;
mod reading;
mod sending;
mod slots;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use hushwire_engine::{ConnId, Engine, Ticket, Time};
use hushwire_uring::{Completion, DormantRing, Kind, Ring, Token};
use hushwire_wire::id::{DeviceId, RelayId};

pub(crate) use connection::MovedConnection;
pub(crate) use quic::{QuicParts, QuicPost};

use crate::mesh::Mesh;
use crate::mesh::doorbell::Doorbell;
use crate::metrics::ShardMetrics;
use crate::pausing::Pausing;
use crate::store::{Client as StoreClient, Day};
use crate::transport::{CarryPool, ServerTls};
use accepting::Accepting;
use asking::Asked;
use closing::Closing;
use connection::Connection;
use inbox::Posted;
use limits::ShardLimits;
use output::OutputPool;
use quic::{Quic, UDP_READ, UDP_WRITE};
use slots::CellSlots;

const ACCEPT: Kind = Kind::accept(0);
const WAKE: Kind = Kind::wake(0);

/// What a shard is built from.
#[derive(Debug)]
pub(crate) struct ShardParts {
    pub(crate) engine: Engine,
    pub(crate) relay: RelayId,
    pub(crate) ring: DormantRing,
    pub(crate) listener: OwnedFd,
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) store: StoreClient,
    pub(crate) mesh: Mesh,
    pub(crate) inbox: Receiver<Posted>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) limits: ShardLimits,
    /// Without, the shard has no QUIC.
    pub(crate) quic: Option<QuicParts>,
    /// The zero of [`Time`], the same for all shards.
    pub(crate) epoch: Instant,
}

/// One shard's whole state.
#[derive(Debug)]
pub(crate) struct Shard {
    engine: Engine,
    relay: RelayId,
    ring: Ring,
    tls: Arc<ServerTls>,
    store: StoreClient,
    mesh: Mesh,
    inbox: Receiver<Posted>,
    doorbell: Arc<Doorbell>,
    metrics: Arc<ShardMetrics>,
    limits: ShardLimits,
    epoch: Instant,

    accepting: Accepting,
    quic: Option<Box<Quic>>,
    /// By the index of the engine's connection ID.
    connections: Vec<Option<Connection>>,
    open_connections: usize,
    closing: HashMap<Token, Closing>,
    /// Connections that broke where nobody could close them; closed before the turn ends.
    broken: Vec<ConnId>,
    /// Questions the store has not answered.
    asked: HashMap<Ticket, Asked>,
    /// Devices seen, and the day, that the store has not heard of.
    seen: Vec<(DeviceId, Day)>,
    /// Connections to read; each stands here at most once.
    ready: Vec<ConnId>,
    /// Whether others have posted more than a turn takes.
    posted_more: bool,
    pausing: Pausing,
    /// Connections with sealed bytes; each stands here at most once.
    dirty: Vec<ConnId>,
    /// Bytes sealed since the last flush, over all connections.
    held_bytes: usize,
    output: OutputPool,
    slots: CellSlots,
    carry: CarryPool,
    /// Where everything is received; large enough for what is carried and a full read behind it.
    scratch: Vec<u8>,
    completions: Vec<Completion>,
    swept_s: u32,
    /// Second in which the store last heard who was seen.
    told_s: u32,
    swept_to: usize,
    stopping: bool,
    drain_until: Option<Time>,
}

/// Why a shard ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardError {
    /// The kernel no longer takes or gives.
    #[error("the ring of a shard failed: {0}")]
    Ring(#[from] std::io::Error),
    /// The ring could not be enabled.
    #[error(transparent)]
    Setup(#[from] hushwire_uring::SetupError),
}

impl Shard {
    /// Takes over the ring; to be called on the shard's own thread.
    pub(crate) fn new(parts: ShardParts) -> Result<Self, ShardError> {
        let ring = parts.ring.enable()?;
        let quic = parts.quic.map(|quic| Box::new(Quic::new(quic, &parts.limits, parts.epoch)));
        Ok(Self {
            engine: parts.engine,
            relay: parts.relay,
            ring,
            tls: parts.tls,
            store: parts.store,
            mesh: parts.mesh,
            inbox: parts.inbox,
            doorbell: parts.doorbell,
            metrics: parts.metrics,
            epoch: parts.epoch,
            accepting: Accepting::new(parts.listener),
            quic,
            connections: Vec::new(),
            open_connections: 0,
            closing: HashMap::new(),
            broken: Vec::new(),
            asked: HashMap::new(),
            seen: Vec::new(),
            ready: Vec::new(),
            posted_more: false,
            pausing: Pausing::new(),
            dirty: Vec::new(),
            held_bytes: 0,
            output: OutputPool::default(),
            slots: CellSlots::default(),
            carry: CarryPool::new(parts.limits.carry_bytes_max),
            scratch: vec![0; crate::transport::limits::SCRATCH_BYTES],
            completions: Vec::new(),
            swept_s: 0,
            told_s: 0,
            swept_to: 0,
            stopping: false,
            drain_until: None,
            limits: parts.limits,
        })
    }

    /// Runs until told to stop, or until everybody has gone after a drain.
    pub(crate) fn run(mut self) -> Result<(), ShardError> {
        let doorbell = Arc::clone(&self.doorbell);
        self.ring.watch(doorbell.wake(), Token::new(WAKE, 0, 0))?;
        self.accept_again()?;
        self.listen_udp()?;
        loop {
            self.turn()?;
            // Before resting: an order that the turn took may leave nothing to wake up for.
            if self.is_over() {
                break;
            }
            self.rest()?;
        }
        self.quic_farewell(self.clock());
        self.tell_seen();
        self.metrics.publish(&self.engine, self.open_connections, self.carry.bytes());
        Ok(())
    }

    /// One turn of the loop, up to but without waiting.
    fn turn(&mut self) -> Result<(), ShardError> {
        let now = self.clock();
        self.pausing.begin(now);
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.drain(&mut completions);
        for completion in completions.drain(..) {
            self.reap(completion, now)?;
        }
        self.completions = completions;

        self.read_ready(now)?;
        self.read_datagrams(now)?;
        self.posted_more = self.take_posted(now)?;
        self.quic_timers(now);
        self.drive_stirred(now)?;
        self.engine.handle_timeout(now);
        self.carry_out(now)?;
        self.flush(now);
        self.watch_udp_room()?;
        self.end_broken(now)?;
        self.carry_out(now)?;
        self.accept_when_possible(now)?;
        self.sweep(now);
        self.mesh.ring();
        Ok(())
    }

    /// Waits for whatever comes next, unless there is work already.
    fn rest(&mut self) -> Result<(), ShardError> {
        let now = self.clock();
        let pause = self.pausing.end(now);
        if let Some(pause) = pause.filter(|_| !self.is_behind()) {
            self.metrics.pauses.add(1);
            self.metrics.publish(&self.engine, self.open_connections, self.carry.bytes());
            self.ring.pause(pause)?;
            return Ok(());
        }
        if self.is_behind() || self.ring.has_pending() {
            self.ring.wait(Some(Duration::ZERO))?;
            return Ok(());
        }
        self.metrics.publish(&self.engine, self.open_connections, self.carry.bytes());
        let timeout = self.next_deadline().map(|at| at.since(now));
        self.doorbell.flag().raise();
        let timeout = if self.mesh.has_input() { Some(Duration::ZERO) } else { timeout };
        let waited = self.take_order_or_wait(timeout);
        self.doorbell.flag().lower();
        waited
    }

    /// The channel cannot be asked whether it is empty without taking; what is taken is handled.
    fn take_order_or_wait(&mut self, timeout: Option<Duration>) -> Result<(), ShardError> {
        match self.inbox.try_recv() {
            Ok(posted) => {
                let now = self.clock();
                self.handle_posted(posted, now)?;
                self.ring.wait(Some(Duration::ZERO))?;
            }
            Err(_) => {
                self.ring.wait(timeout)?;
            }
        }
        Ok(())
    }

    /// Whether a turn left something that the next can do at once.
    fn is_behind(&self) -> bool {
        let quic = self.quic.as_ref().is_some_and(|quic| quic.has_work());
        quic || self.posted_more || !self.ready.is_empty() || !self.dirty.is_empty()
    }

    fn next_deadline(&self) -> Option<Time> {
        let soon = |ms: u64| self.clock().after_millis(ms);
        let sweep = (self.open_connections > 0).then(|| soon(crate::shard::limits::SWEEP_MS));
        let mesh = self.mesh.has_waiting().then(|| soon(1));
        let linger = self.closing.values().map(Closing::deadline).min();
        let accept = self.accepting.retry_at();
        let quic = self.quic.as_ref().and_then(|quic| quic.deadline());
        [self.engine.poll_timeout(), sweep, mesh, linger, accept, quic, self.drain_until]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_over(&self) -> bool {
        self.stopping
            || self.drain_until.is_some_and(|until| {
                let lingers = self.quic.as_ref().is_some_and(|quic| quic.lingers());
                let is_empty = self.open_connections == 0 && self.closing.is_empty() && !lingers;
                is_empty || self.clock() >= until
            })
    }

    #[expect(clippy::disallowed_methods, reason = "the shard loop owns the clock")]
    fn clock(&self) -> Time {
        Time::from_nanos(Instant::now().duration_since(self.epoch).as_nanos() as u64)
    }

    /// Notes what a completion says; what follows from it is done later in the turn.
    fn reap(&mut self, completion: Completion, now: Time) -> Result<(), ShardError> {
        match completion {
            Completion::Accepted { socket, more, .. } => self.accepted(socket, more, now)?,
            Completion::AcceptFailed { error, more, .. } => self.accept_failed(&error, more, now),
            Completion::Polled { token, ready, more } => match token.kind() {
                UDP_READ => self.udp_readable(ready, more),
                UDP_WRITE => self.udp_writable(),
                _ => self.polled(token, ready, more)?,
            },
            Completion::PollEnded { token, error } => match token.kind() {
                UDP_READ | UDP_WRITE => return Err(error.into()),
                _ => self.poll_ended(token)?,
            },
            Completion::Sent { token, result, .. } => self.sent(token, result, now)?,
            Completion::Cancelled { .. }
            | Completion::Woken { .. }
            | Completion::WatchEnded { .. } => {}
        }
        Ok(())
    }

    /// The connection that `id` names, unless it has gone.
    fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.index())?.as_mut()?;
        (connection.id == id).then_some(connection)
    }

    fn insert(&mut self, connection: Connection) {
        let index = connection.id.index();
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        debug_assert!(
            self.connections[index].is_none(),
            "the engine reuses a slot when it is free"
        );
        self.connections[index] = Some(connection);
        self.open_connections += 1;
    }

    fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.connection(id)?;
        self.open_connections -= 1;
        self.metrics.connections_closed.add(1);
        self.connections[id.index()].take()
    }

    /// Forgets the key contexts of idle connections, a part of the table at a time.
    fn sweep(&mut self, now: Time) {
        let second = seconds(now);
        if second == self.swept_s {
            return;
        }
        self.swept_s = second;
        if second.is_multiple_of(limits::TRIM_EVERY_S) {
            self.output.trim();
        }
        if second.saturating_sub(self.told_s) >= limits::SEEN_EVERY_S {
            self.told_s = second;
            self.tell_seen();
        }
        if self.connections.is_empty() {
            return;
        }
        let part = self.connections.len().div_ceil(crate::shard::limits::SWEEP_PARTS);
        for _ in 0..part {
            self.swept_to = (self.swept_to + 1) % self.connections.len();
            let Some(connection) = self.connections[self.swept_to].as_mut() else { continue };
            let idle =
                second.saturating_sub(connection.used_s) >= crate::shard::limits::KEYS_IDLE_S;
            if let (true, Some(link)) = (idle, connection.link())
                && link.put_keys_away()
            {
                self.metrics.keys_put_away.add(1);
            }
        }
    }
}

/// Whole seconds, for what need not be finer.
fn seconds(now: Time) -> u32 {
    (now.as_millis() / 1_000) as u32
}
