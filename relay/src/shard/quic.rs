//! QUIC on a shard: one UDP socket, one endpoint of quinn-proto, and the connections.
//!
//! quinn-proto separates the endpoint, which knows which connection ID belongs to which connection, from the
//! connections, which know nothing of each other. So a connection whose device has its home on another shard moves there,
//! as one of TCP does, and sends from that shard's socket: the address is the same. Only what arrives for it goes on
//! arriving where its IDs lead, and crosses the mesh one by one, until the device comes again with an ID of its home
//! (`PROTOCOL.md` §2.3).
//!
//! | file | what |
//! |---|---|
//! | `arriving` | datagrams in, connections accepted |
//! | `driving` | what a connection has to tell, cells from its lanes |
//! | `leaving` | cells to its lanes, datagrams out, timers |
//! | `ending` | a connection's end |
//! | `elsewhere` | connections that live on another shard than their IDs lead to |

mod arriving;
mod driving;
mod elsewhere;
mod ending;
mod leaving;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use hushwire_engine::{ConnId, Time};
use hushwire_uring::Kind;
use hushwire_uring::udp::{Inbox, UdpSocket};
use hushwire_wire::limits::{LANES, QUIC_ID_BYTES};
use quinn_proto::{
    ConnectionError, ConnectionHandle, Dir, Endpoint, Event, StreamEvent, Transmit, VarInt,
};

pub(crate) use elsewhere::QuicPost;

use super::Shard;
use super::connection::Connection;
use super::limits::ShardLimits;
use crate::transport::quic::limits::{
    LEAN_RECEIVE_BYTES, LEAN_SEND_BYTES, RECEIVE_BYTES, SEND_BYTES, WINDOWS_BYTES,
};
use crate::transport::quic::{LaneFault, LanesIn, LanesOut, QuicServer, ShardIds};

/// Reading and writing of the UDP socket.
pub(super) const UDP_READ: Kind = Kind::poll(1);
pub(super) const UDP_WRITE: Kind = Kind::poll(2);

/// The name of a connection of QUIC: the shard that its IDs lead to, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QuicKey {
    shard: u16,
    handle: u32,
}

impl QuicKey {
    fn new(shard: u16, handle: ConnectionHandle) -> Self {
        // A connection takes some 30 KiB: there are never as many.
        Self { shard, handle: u32::try_from(handle.0).expect("fewer than 2^32 connections") }
    }

    const fn handle(self) -> ConnectionHandle {
        ConnectionHandle(self.handle as usize)
    }
}

/// One connection of QUIC and its lanes.
pub(crate) struct QuicWire {
    pub(super) key: QuicKey,
    pub(super) inner: quinn_proto::Connection,
    pub(super) incoming: LanesIn,
    pub(super) outgoing: LanesOut,
    /// It counts among the connections of its shard.
    counts: bool,
    /// It counts among the handshakes under way.
    handshaking: bool,
    /// Its handshake has ended, and nobody has taken note yet.
    connected: bool,
    /// It is over, and nobody has taken note yet.
    lost: Option<ConnectionError>,
    fault: Option<LaneFault>,
    windows: Windows,
    /// Bytes that wait on lanes without credit.
    stuck_bytes: usize,
    /// Its endpoint has forgotten it.
    drained: bool,
    /// On the shard's list of connections that have something to tell.
    stirred: bool,
    /// On the shard's list of connections that wait for room in the socket.
    waiting: bool,
    /// Its place among the timers.
    armed: Option<Time>,
    /// When it is closed whatever the device has heard.
    until: Option<Time>,
}

impl fmt::Debug for QuicWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicWire").field("key", &self.key).finish_non_exhaustive()
    }
}

impl QuicWire {
    /// What is ours of it: quinn's own structure is quinn's.
    pub(super) const BYTES: usize = size_of::<Self>() - size_of::<quinn_proto::Connection>();

    fn new(key: QuicKey, inner: quinn_proto::Connection) -> Self {
        Self {
            key,
            inner,
            incoming: LanesIn::default(),
            outgoing: LanesOut::default(),
            counts: false,
            handshaking: true,
            connected: false,
            lost: None,
            fault: None,
            windows: Windows::Lean,
            stuck_bytes: 0,
            drained: false,
            stirred: false,
            waiting: false,
            armed: None,
            until: None,
        }
    }

    /// Takes note of what quinn has to tell.
    fn listen(&mut self) {
        while let Some(event) = self.inner.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(stream) = self.inner.streams().accept(dir) {
                        self.incoming.note_readable(stream);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.incoming.note_readable(id),
                Event::Stream(StreamEvent::Writable { id }) => self.outgoing.note_writable(id),
                Event::Stream(StreamEvent::Available { .. }) => self.outgoing.note_available(),
                Event::Stream(StreamEvent::Stopped { .. }) => self.fault = Some(LaneFault::Stopped),
                Event::DatagramReceived => while self.inner.datagrams().recv().is_some() {},
                Event::Stream(StreamEvent::Finished { .. })
                | Event::HandshakeDataReady
                | Event::DatagramsUnblocked => {}
            }
        }
    }

    /// The device is welcome: all lanes, and credit for them.
    fn welcome(&mut self, windows: Windows) {
        let (receive, send) = match windows {
            Windows::Full => (RECEIVE_BYTES, SEND_BYTES),
            Windows::Lean => (LEAN_RECEIVE_BYTES, LEAN_SEND_BYTES),
        };
        self.windows = windows;
        self.inner.set_max_concurrent_streams(Dir::Uni, VarInt::from_u32(LANES));
        self.inner.set_receive_window(VarInt::from_u32(receive));
        self.inner.set_send_window(send);
    }

    /// When something is to be done without anything having arrived.
    fn deadline(&mut self, clock: Clock) -> Option<Time> {
        let timer = self.inner.poll_timeout().map(|at| clock.time(at));
        // Whether a lane is stuck concerns nobody once the connection has ended.
        let lanes = self.outgoing.deadline().filter(|_| self.counts);
        timer.into_iter().chain(self.until).chain(lanes).min()
    }
}

/// How much a connection may have on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Windows {
    /// As much as one of TCP; it holds a part of the shard's pool.
    Full,
    /// The least.
    Lean,
}

/// Where a connection lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In the shard's table.
    Open(ConnId),
    /// Among those that are ending.
    Closing,
    /// On another shard.
    Away(u16),
}

/// quinn-proto's clock and the shard's.
#[derive(Clone, Copy, Debug)]
struct Clock {
    epoch: Instant,
}

impl Clock {
    fn instant(self, time: Time) -> Instant {
        self.epoch + std::time::Duration::from_nanos(time.as_nanos())
    }

    fn time(self, instant: Instant) -> Time {
        Time::from_nanos(instant.saturating_duration_since(self.epoch).as_nanos() as u64)
    }
}

/// What a shard has of QUIC.
pub(super) struct Quic {
    server: Arc<QuicServer>,
    ids: ShardIds,
    shard: u16,
    clock: Clock,
    connections_max: usize,
    /// What is left for windows beyond the least.
    window_pool_bytes: usize,
    endpoint: Endpoint,
    socket: UdpSocket,
    /// `None` while its datagrams are worked through.
    inbox: Option<Inbox>,
    /// The socket may have something to read.
    readable: bool,
    armed: bool,
    /// By number, those whose IDs lead here.
    places: Vec<Place>,
    /// Those whose IDs lead to other shards, and that live here.
    guests: HashMap<QuicKey, Place>,
    closing: HashMap<QuicKey, Box<QuicWire>>,
    /// Connections of the shard's table.
    open: usize,
    stirred: Vec<ConnId>,
    /// One entry a connection at most.
    timers: BTreeSet<(Time, QuicKey)>,
    /// What is being made for the socket.
    out: Vec<u8>,
    /// What the socket had no room for: until it has, nobody sends.
    unsent: Option<Unsent>,
    write_armed: bool,
    waiting: Vec<ConnId>,
    stuck_bytes: usize,
}

/// Datagrams that the socket had no room for.
struct Unsent {
    bytes: Vec<u8>,
    transmit: Transmit,
}

impl fmt::Debug for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quic").field("open", &self.open).finish_non_exhaustive()
    }
}

/// What the QUIC of a shard is built from.
#[derive(Debug)]
pub(crate) struct QuicParts {
    pub(crate) server: Arc<QuicServer>,
    pub(crate) shard: u16,
    pub(crate) socket: UdpSocket,
}

impl Quic {
    pub(super) fn new(parts: QuicParts, limits: &ShardLimits, epoch: Instant) -> Self {
        let QuicParts { server, shard, socket } = parts;
        Self {
            ids: server.ids(usize::from(shard)),
            endpoint: server.endpoint(usize::from(shard), socket.may_fragment()),
            server,
            shard,
            clock: Clock { epoch },
            connections_max: limits.quic_connections_max,
            window_pool_bytes: limits.quic_window_pool_bytes,
            socket,
            inbox: Some(Inbox::new()),
            readable: true,
            armed: false,
            places: Vec::new(),
            guests: HashMap::new(),
            closing: HashMap::new(),
            open: 0,
            stirred: Vec::new(),
            timers: BTreeSet::new(),
            out: Vec::new(),
            unsent: None,
            write_armed: false,
            waiting: Vec::new(),
            stuck_bytes: 0,
        }
    }

    fn place(&self, key: QuicKey) -> Place {
        if key.shard == self.shard {
            self.places.get(key.handle as usize).copied().unwrap_or_default()
        } else {
            self.guests.get(&key).copied().unwrap_or_default()
        }
    }

    fn set_place(&mut self, key: QuicKey, place: Place) {
        if key.shard == self.shard {
            let index = key.handle as usize;
            if self.places.len() <= index {
                self.places.resize(index + 1, Place::Nowhere);
            }
            self.places[index] = place;
        } else if place == Place::Nowhere {
            self.guests.remove(&key);
        } else {
            self.guests.insert(key, place);
        }
    }

    /// A connection is in the table.
    fn hold(&mut self, wire: &mut QuicWire, id: ConnId) {
        self.open += usize::from(!std::mem::replace(&mut wire.counts, true));
        self.set_place(wire.key, Place::Open(id));
    }

    /// It is not in the table any more: what it held of the shard's is free.
    fn release(&mut self, wire: &mut QuicWire) {
        self.open -= usize::from(std::mem::take(&mut wire.counts));
        self.stuck_bytes -= std::mem::take(&mut wire.stuck_bytes);
        if std::mem::replace(&mut wire.windows, Windows::Lean) == Windows::Full {
            self.window_pool_bytes += WINDOWS_BYTES;
        }
    }

    /// Connections in the shard's table.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Whether the loop has something to do without waiting.
    pub(super) fn has_work(&self) -> bool {
        self.readable || !self.stirred.is_empty()
    }

    /// When the first timer is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Whether somebody has not heard the last word yet.
    pub(super) fn lingers(&self) -> bool {
        self.closing.values().any(|wire| !wire.inner.is_closed())
    }

    /// A fresh ID of this shard, for one later connection. `None` where the system has no randomness.
    pub(super) fn draw_id(&self) -> Option<[u8; QUIC_ID_BYTES]> {
        self.ids.draw()
    }
}

impl Shard {
    /// The device of a connection is welcome.
    pub(super) fn welcome_quic(&mut self, id: ConnId) {
        let Some(quic) = &mut self.quic else { return };
        let connection = self.connections.get_mut(id.index()).and_then(Option::as_mut);
        let Some(wire) = connection.and_then(Connection::quic) else { return };
        let windows = match quic.window_pool_bytes.checked_sub(WINDOWS_BYTES) {
            Some(left) => {
                quic.window_pool_bytes = left;
                Windows::Full
            }
            None => Windows::Lean,
        };
        wire.welcome(windows);
        // What came behind HELLO is read now.
        self.stir(id);
    }

    /// Puts a connection on the list of those that have something to tell.
    pub(super) fn stir(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id.index()).and_then(Option::as_mut) else {
            return;
        };
        if connection.id == id
            && let Some(wire) = connection.quic()
            && !std::mem::replace(&mut wire.stirred, true)
            && let Some(quic) = &mut self.quic
        {
            quic.stirred.push(id);
        }
    }
}
