//! One UDP socket, and the connections on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use hushwire_uring::udp::{self, Datagram, Inbox, Outgoing, UdpOptions, UdpSocket};
use hushwire_uring::{Completion, Interest, Kind, Ring, Token};
use hushwire_wire::filler::Filler;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint,
    EndpointConfig, EndpointEvent, Incoming, ServerConfig, Transmit, VarInt,
};

use crate::clock::Clock;
use crate::limits::{READS_PER_TURN, UDP_BUFFER_BYTES, UDP_PAYLOAD_BYTES_MAX};

const POLL: Kind = Kind::poll(0);

/// What is kept of a connection beside what quinn keeps.
pub(crate) trait Port: Sized {
    /// Of one that somebody else has begun; `None` refuses it.
    fn accepted() -> Option<Self>;

    /// What fills the connection's datagrams up, if something does, and whether nothing waits behind what was written.
    fn filler(&mut self) -> Option<(&mut Filler, bool)> {
        None
    }
}

/// What a ring has told of a hub: something arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// The number that the hub listens under.
    pub(crate) number: u32,
    /// The ring will not tell of more.
    is_last: bool,
}

impl TryFrom<Completion> for Arrival {
    type Error = anyhow::Error;

    /// Of a ring on which nothing but hubs is.
    fn try_from(completion: Completion) -> Result<Self> {
        match completion {
            Completion::Polled { token, more, .. } => {
                Ok(Self { number: token.index(), is_last: !more })
            }
            other @ (Completion::Sent { .. }
            | Completion::Accepted { .. }
            | Completion::AcceptFailed { .. }
            | Completion::PollEnded { .. }
            | Completion::Cancelled { .. }
            | Completion::Woken { .. }
            | Completion::WatchEnded { .. }) => bail!("the ring said {other:?}"),
        }
    }
}

/// One connection.
pub(crate) struct Wire<P> {
    pub(crate) connection: Connection,
    pub(crate) port: P,
    /// On the hub's list of those with something to send.
    stirred: bool,
    /// On the hub's list of those with something to tell.
    heard: bool,
    /// Its earliest place among the timers.
    armed: Option<Instant>,
}

/// A socket and its connections. They are closed with this value, and the other ends are told.
pub(crate) struct Hub<P: Port> {
    pub(crate) clock: Clock,
    /// Where it is.
    pub(crate) address: SocketAddr,
    socket: UdpSocket,
    /// `None` while its datagrams are worked through.
    inbox: Option<Inbox>,
    endpoint: Endpoint,
    /// By quinn's number. Those that were begun here have them in the order of their beginning.
    wires: Vec<Option<Box<Wire<P>>>>,
    /// The socket may have something to read.
    pub(crate) readable: bool,
    /// When the last datagram came.
    pub(crate) received_ns: u64,
    /// Connections that have something to tell.
    heard: Vec<usize>,
    /// Connections that have something to send.
    stirred: Vec<usize>,
    /// Of each connection the earliest that is armed, and some that are not any more.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    out: Vec<u8>,
}

impl<P: Port> Wire<P> {
    /// Fills the datagrams up that what was written will leave in, as endpoints do.
    fn fill_up(&mut self) {
        let Some((filler, is_all)) = self.port.filler() else { return };
        let is_all = is_all && !self.connection.is_handshaking();
        let mtu = usize::from(self.connection.current_mtu());
        let mut datagrams = self.connection.datagrams();
        let largest = datagrams.max_size().filter(|_| is_all);
        if let Some(fill) = filler.fill(largest, mtu) {
            // Where one waits already, it will do.
            let _unfilled = datagrams.send(Bytes::from_static(fill), false);
        }
    }
}

impl<P: Port> fmt::Debug for Hub<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("wires", &self.wires.len()).finish_non_exhaustive()
    }
}

impl<P: Port> Hub<P> {
    /// One that begins connections, on loopback.
    pub(crate) fn client() -> Result<Self> {
        Self::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), None)
    }

    /// One that takes connections at an address.
    pub(crate) fn server(address: SocketAddr, config: ServerConfig) -> Result<Self> {
        Self::new(address, Some(Arc::new(config)))
    }

    fn new(address: SocketAddr, serves: Option<Arc<ServerConfig>>) -> Result<Self> {
        let buffer = Some(UDP_BUFFER_BYTES);
        let options =
            UdpOptions { receive_buffer: buffer, send_buffer: buffer, ..UdpOptions::default() };
        let bound = udp::bind(address, &options).context("there is no UDP socket")?;
        let config = Arc::new(EndpointConfig::default());
        let endpoint = Endpoint::new(config, serves, !bound.socket.may_fragment(), None);
        Ok(Self {
            clock: Clock::start(),
            address: bound.address,
            socket: bound.socket,
            inbox: Some(Inbox::new()),
            endpoint,
            wires: Vec::new(),
            readable: true,
            received_ns: 0,
            heard: Vec::new(),
            stirred: Vec::new(),
            timers: BinaryHeap::new(),
            out: Vec::new(),
        })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Has the ring tell of what arrives, under this number.
    pub(crate) fn listen(&mut self, ring: &mut Ring, number: u32) -> Result<()> {
        self.readable = true;
        Ok(ring.poll_multishot(self.socket(), Token::new(POLL, 0, number), Interest::Read)?)
    }

    /// Takes note of what the ring tells of this hub.
    pub(crate) fn told(&mut self, arrival: Arrival, ring: &mut Ring) -> Result<()> {
        self.readable = true;
        if arrival.is_last { self.listen(ring, arrival.number) } else { Ok(()) }
    }

    /// Begins a connection. Returns its place.
    pub(crate) fn connect(
        &mut self,
        config: ClientConfig,
        to: SocketAddr,
        host: &str,
        port: P,
    ) -> Result<usize> {
        let now = self.clock.instant();
        let begun = self.endpoint.connect(now, config, to, host);
        let (handle, connection) = begun.context("a connection cannot begin")?;
        Ok(self.add(handle, connection, port))
    }

    fn add(&mut self, handle: ConnectionHandle, connection: Connection, port: P) -> usize {
        let place = handle.0;
        if self.wires.len() <= place {
            self.wires.resize_with(place + 1, || None);
        }
        let wire = Wire { connection, port, stirred: false, heard: false, armed: None };
        self.wires[place] = Some(Box::new(wire));
        self.stir(place);
        place
    }

    /// Places, also of connections that are gone.
    pub(crate) fn places(&self) -> usize {
        self.wires.len()
    }

    /// The connection at a place, if it is there.
    pub(crate) fn wire(&self, place: usize) -> Option<&Wire<P>> {
        self.wires.get(place)?.as_deref()
    }

    /// See [`wire`](Self::wire).
    #[inline]
    pub(crate) fn wire_mut(&mut self, place: usize) -> Option<&mut Wire<P>> {
        self.wires.get_mut(place)?.as_deref_mut()
    }

    /// Closes a connection, and says so.
    pub(crate) fn close(&mut self, place: usize) {
        let now = self.clock.instant();
        if let Some(wire) = self.wire_mut(place) {
            if !wire.connection.is_closed() {
                wire.connection.close(now, VarInt::from_u32(0), Bytes::new());
            }
            self.stir(place);
        }
    }

    /// Closes a connection and forgets it at once.
    pub(crate) fn end(&mut self, place: usize) -> Result<()> {
        self.close(place);
        self.leave(self.clock)?;
        self.heard.retain(|&heard| heard != place);
        if self.wires.get_mut(place).and_then(Option::take).is_some() {
            self.endpoint.handle_event(ConnectionHandle(place), EndpointEvent::drained());
        }
        Ok(())
    }

    /// Puts a connection on the list of those with something to send.
    #[inline]
    pub(crate) fn stir(&mut self, place: usize) {
        if let Some(wire) = self.wire_mut(place)
            && !std::mem::replace(&mut wire.stirred, true)
        {
            self.stirred.push(place);
        }
    }

    /// Puts a connection on the list of those with something to tell.
    fn hear(&mut self, place: usize) {
        if let Some(wire) = self.wire_mut(place)
            && !std::mem::replace(&mut wire.heard, true)
        {
            self.heard.push(place);
        }
    }

    /// The next connection that has something to tell. It is stirred, as it may have to answer.
    pub(crate) fn next_heard(&mut self) -> Option<usize> {
        let place = self.heard.pop()?;
        if let Some(wire) = self.wire_mut(place) {
            wire.heard = false;
        }
        self.stir(place);
        Some(place)
    }

    /// Reads the socket, a bounded number of times. Returns the bytes of each that brought something to `each`.
    pub(crate) fn receive(&mut self, clock: Clock, mut each: impl FnMut(usize)) -> Result<()> {
        let Some(mut inbox) = self.inbox.take() else { return Ok(()) };
        for _ in 0..READS_PER_TURN {
            self.readable = self.socket.receive(&mut inbox)?;
            if !self.readable {
                break;
            }
            self.received_ns = clock.now_ns();
            let now = clock.instant();
            let mut bytes = 0;
            for datagram in inbox.datagrams() {
                bytes += datagram.bytes.len();
                self.datagram(datagram, now)?;
            }
            each(bytes);
        }
        self.inbox = Some(inbox);
        Ok(())
    }

    fn datagram(&mut self, datagram: Datagram<'_>, now: Instant) -> Result<()> {
        let ecn = datagram.ecn.and_then(EcnCodepoint::from_bits);
        let bytes = BytesMut::from(datagram.bytes);
        self.out.clear();
        let event =
            self.endpoint.handle(now, datagram.from, datagram.to, ecn, bytes, &mut self.out);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(wire) = self.wire_mut(handle.0) {
                    wire.connection.handle_event(event);
                    self.hear(handle.0);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(incoming, now)?,
            Some(DatagramEvent::Response(transmit)) => send(&self.socket, &transmit, &self.out)?,
            None => {}
        }
        Ok(())
    }

    fn accept(&mut self, incoming: Incoming, now: Instant) -> Result<()> {
        self.out.clear();
        let Some(port) = P::accepted() else {
            let refusal = self.endpoint.refuse(incoming, &mut self.out);
            return send(&self.socket, &refusal, &self.out);
        };
        match self.endpoint.accept(incoming, now, &mut self.out, None) {
            Ok((handle, connection)) => {
                let place = self.add(handle, connection, port);
                self.hear(place);
                Ok(())
            }
            Err(error) => match error.response {
                Some(transmit) => send(&self.socket, &transmit, &self.out),
                None => Ok(()),
            },
        }
    }

    /// Lets timers go off, and sends what may leave.
    pub(crate) fn leave(&mut self, clock: Clock) -> Result<()> {
        let now = clock.instant();
        while let Some(&Reverse((due, place))) = self.timers.peek()
            && due <= now
        {
            self.timers.pop();
            // Of a connection that is gone, or that was armed anew for an earlier time.
            let Some(wire) = self.wire_mut(place).filter(|wire| wire.armed == Some(due)) else {
                continue;
            };
            wire.armed = None;
            wire.connection.handle_timeout(now);
            self.hear(place);
            self.stir(place);
        }
        let mut stirred = std::mem::take(&mut self.stirred);
        for place in stirred.drain(..) {
            self.transmit(place, now)?;
        }
        self.stirred = stirred;
        Ok(())
    }

    /// Sends what a connection may send now.
    pub(crate) fn transmit(&mut self, place: usize, now: Instant) -> Result<()> {
        let Some(wire) = self.wires.get_mut(place).and_then(Option::as_deref_mut) else {
            return Ok(());
        };
        wire.stirred = false;
        wire.fill_up();
        let mut is_drained = false;
        loop {
            while let Some(event) = wire.connection.poll_endpoint_events() {
                is_drained |= event.is_drained();
                let answer = self.endpoint.handle_event(ConnectionHandle(place), event);
                if let Some(answer) = answer {
                    wire.connection.handle_event(answer);
                }
            }
            let mtu = usize::from(wire.connection.current_mtu());
            let segments = self.socket.segments_max().min(UDP_PAYLOAD_BYTES_MAX / mtu);
            self.out.clear();
            let transmit = wire.connection.poll_transmit(now, segments, &mut self.out);
            let Some(transmit) = transmit else { break };
            if let Some((filler, _)) = wire.port.filler() {
                filler.left(transmit.size, transmit.segment_size, mtu);
            }
            send(&self.socket, &transmit, &self.out)?;
        }
        if is_drained {
            self.wires[place] = None;
            return Ok(());
        }
        if let Some(due) = wire.connection.poll_timeout()
            && wire.armed.is_none_or(|armed| due < armed)
        {
            wire.armed = Some(due);
            self.timers.push(Reverse((due, place)));
        }
        Ok(())
    }

    /// How long there is nothing to do unless something arrives; `None`: for ever.
    pub(crate) fn idle_for(&self, clock: Clock) -> Option<Duration> {
        if self.readable || !self.heard.is_empty() || !self.stirred.is_empty() {
            return Some(Duration::ZERO);
        }
        let Reverse((due, _)) = self.timers.peek()?;
        Some(due.saturating_duration_since(clock.instant()))
    }
}

/// A full socket loses datagrams, as networks do. On loopback what was sent waits at its receiver, not here.
fn send(socket: &UdpSocket, transmit: &Transmit, contents: &[u8]) -> Result<()> {
    socket.send(&Outgoing {
        to: transmit.destination,
        from: transmit.src_ip,
        ecn: transmit.ecn.map(|ecn| ecn as u8),
        contents: &contents[..transmit.size],
        segment: transmit.segment_size,
    })?;
    Ok(())
}

impl<P: Port> Drop for Hub<P> {
    fn drop(&mut self) {
        for place in 0..self.wires.len() {
            self.close(place);
        }
        // Whoever is not told finds out by itself.
        let _ = self.leave(self.clock);
    }
}
