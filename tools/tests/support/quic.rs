//! QUIC by hand, without a runtime: quinn-proto over a UDP socket that blocks. A test decides when the socket is read,
//! written and replaced.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hushwire_wire::cell::Class;
use hushwire_wire::limits::{ALPN, EXPORTER_LABEL, LANES};
use quinn_proto::congestion::CubicConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, ConnectionId, DatagramEvent, Dir,
    Endpoint, EndpointConfig, Event, ReadError, StreamEvent, StreamId, TransportConfig, VarInt,
    WriteError,
};
use rustls::crypto::aws_lc_rs::kx_group::X25519;

use super::lies::{Lie, Lying};
use super::now;
use super::raw::{PATIENCE, tls_config_with};

/// A connection of QUIC to a relay.
pub struct Quic {
    pub socket: UdpSocket,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    pub connection: Connection,
    /// What came on each lane and is no whole cell yet.
    partial: HashMap<u64, Vec<u8>>,
    cells: VecDeque<Vec<u8>>,
    connected: bool,
    lost: Option<ConnectionError>,
    /// Lanes that are not read.
    pub ignored: Vec<u64>,
    opened: u64,
}

/// How a connection is made.
pub struct Options {
    pub alpn: Vec<Vec<u8>>,
    /// The destination ID of its first packet.
    pub first_id: Option<[u8; 8]>,
    /// The device's address; any by default.
    pub from: Option<IpAddr>,
    /// With a key share of ML-KEM, which takes a datagram of its own.
    pub hybrid: bool,
    pub lie: Option<Lie>,
    pub transport: TransportConfig,
}

impl Default for Options {
    fn default() -> Self {
        let mut transport = TransportConfig::default();
        // A test that has sent something is not asked again to go on: all of it leaves at once.
        let mut congestion = CubicConfig::default();
        congestion.initial_window(16 * 1024 * 1024);
        transport
            .congestion_controller_factory(Arc::new(congestion))
            .max_concurrent_uni_streams(VarInt::from_u32(LANES))
            .max_concurrent_bidi_streams(VarInt::from_u32(0));
        Self {
            alpn: vec![ALPN.to_vec()],
            first_id: None,
            from: None,
            hybrid: true,
            lie: None,
            transport,
        }
    }
}

fn begin(
    address: SocketAddr,
    options: Options,
) -> io::Result<(Endpoint, ConnectionHandle, Connection)> {
    let groups = if options.hybrid { &[][..] } else { &[X25519][..] };
    let tls = tls_config_with(&options.alpn, groups);
    let honest = Arc::new(QuicClientConfig::try_from(tls).expect("a suite of QUIC"));
    let mut config = ClientConfig::new(match options.lie {
        Some(lie) => Arc::new(Lying { honest, lie }),
        None => honest,
    });
    config.transport_config(Arc::new(options.transport));
    if let Some(id) = options.first_id {
        config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&id)));
    }
    let keys = Arc::new(EndpointConfig::default());
    let mut endpoint = Endpoint::new(keys, None, true, None);
    let begun = endpoint.connect(now(), config, address, "localhost");
    let (handle, connection) = begun.map_err(io::Error::other)?;
    Ok((endpoint, handle, connection))
}

/// The datagrams that a device begins with.
pub fn first_flight() -> Vec<Vec<u8>> {
    flight(Options::default())
}

/// The same without ML-KEM: one datagram.
pub fn small_first_flight() -> Vec<Vec<u8>> {
    flight(Options { hybrid: false, ..Options::default() })
}

fn flight(options: Options) -> Vec<Vec<u8>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4433));
    let (_, _, mut connection) = begin(address, options).expect("a connection begins");
    let mut flight = Vec::new();
    loop {
        let mut datagram = Vec::new();
        let Some(transmit) = connection.poll_transmit(now(), 1, &mut datagram) else {
            return flight;
        };
        datagram.truncate(transmit.size);
        flight.push(datagram);
    }
}

impl Quic {
    /// Connects, up to the end of the handshake.
    pub fn connect(address: SocketAddr, options: Options) -> io::Result<Self> {
        let any = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((options.from.unwrap_or(any), 0))?;
        let (endpoint, handle, connection) = begin(address, options)?;
        let mut quic = Self {
            socket,
            endpoint,
            handle,
            connection,
            partial: HashMap::new(),
            cells: VecDeque::new(),
            connected: false,
            lost: None,
            ignored: Vec::new(),
            opened: 0,
        };
        quic.until(PATIENCE, |quic| quic.connected)?;
        Ok(quic)
    }

    /// Why the connection is over, if it is.
    pub fn lost(&self) -> Option<&ConnectionError> {
        self.lost.as_ref()
    }

    /// The exporter that a proof is bound to.
    pub fn binding(&self) -> [u8; 32] {
        let mut binding = [0; 32];
        let session = self.connection.crypto_session();
        session.export_keying_material(&mut binding, EXPORTER_LABEL, b"").expect("32 bytes");
        binding
    }

    /// Sends bytes on a lane, all of them.
    pub fn send(&mut self, lane: u64, mut bytes: &[u8]) -> io::Result<()> {
        let deadline = now() + PATIENCE;
        let stream = StreamId::new(quinn_proto::Side::Client, Dir::Uni, lane);
        while !bytes.is_empty() {
            while self.opened <= lane && self.connection.streams().open(Dir::Uni).is_some() {
                self.opened += 1;
            }
            let written = match self.opened > lane {
                true => self.connection.send_stream(stream).write(bytes),
                false => Err(WriteError::Blocked),
            };
            match written {
                Ok(written) => bytes = &bytes[written..],
                Err(WriteError::Blocked) if now() < deadline => {
                    self.turn(Some(Duration::from_millis(5)))?;
                }
                Err(WriteError::Blocked) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        self.turn(None)
    }

    /// The next whole cell of any lane; `UnexpectedEof` when the relay has closed, `WouldBlock` when none comes.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.until(PATIENCE, |quic| !quic.cells.is_empty())?;
        Ok(self.cells.pop_front().expect("there is one"))
    }

    /// Whether a cell is there within `time`.
    pub fn has_cell(&mut self, time: Duration) -> bool {
        self.until(time, |quic| !quic.cells.is_empty()).is_ok()
    }

    /// Closes the connection, and says so.
    pub fn close(&mut self) {
        self.connection.close(now(), VarInt::from_u32(0), Bytes::new());
        let _sent = self.turn(None);
    }

    /// Goes on from another port, or any socket that can reach the relay.
    pub fn rebind(&mut self, socket: UdpSocket) -> io::Result<()> {
        self.socket = socket;
        self.connection.local_address_changed();
        self.turn(None)
    }

    /// Turns until `is_done`.
    pub fn until(
        &mut self,
        time: Duration,
        mut is_done: impl FnMut(&Self) -> bool,
    ) -> io::Result<()> {
        let deadline = now() + time;
        self.turn(None)?;
        while !is_done(self) {
            if let Some(lost) = &self.lost {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, lost.to_string()));
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.turn(Some(left))?;
        }
        Ok(())
    }

    /// Sends what is due, reads what is there, at most waiting for the first datagram for `wait`.
    pub fn turn(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.transmit()?;
        let mut buffer = [0; 65_536];
        let at = now();
        let timer = self.connection.poll_timeout().map(|due| due.saturating_duration_since(at));
        let mut wait = match (wait, timer) {
            (None, _) => None,
            (Some(wait), Some(timer)) => Some(wait.min(timer)),
            (wait, None) => wait,
        };
        loop {
            self.socket.set_nonblocking(wait.is_none_or(|wait| wait.is_zero()))?;
            self.socket.set_read_timeout(wait.filter(|wait| !wait.is_zero()))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.take(&buffer[..length], from),
                Err(error) if would_block(&error) => break,
                // The relay's port was closed for a moment.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                Err(error) => return Err(error),
            }
            wait = None;
        }
        let at = now();
        if self.connection.poll_timeout().is_some_and(|due| due <= at) {
            self.connection.handle_timeout(at);
        }
        self.listen();
        self.transmit()
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let mut out = Vec::new();
        let event =
            self.endpoint.handle(now(), from, None, None, BytesMut::from(datagram), &mut out);
        if let Some(DatagramEvent::ConnectionEvent(handle, event)) = event {
            assert_eq!(handle, self.handle);
            self.connection.handle_event(event);
        }
    }

    fn listen(&mut self) {
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    while let Some(stream) = self.connection.streams().accept(Dir::Uni) {
                        self.read(stream);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(id),
                Event::Stream(_)
                | Event::HandshakeDataReady
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
    }

    /// Reads a lane, unless it is ignored.
    pub fn read(&mut self, stream: StreamId) {
        if self.ignored.contains(&stream.index()) {
            return;
        }
        let mut recv = self.connection.recv_stream(stream);
        let Ok(mut chunks) = recv.read(true) else { return };
        let partial = self.partial.entry(stream.index()).or_default();
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => partial.extend_from_slice(&chunk.bytes),
                Err(ReadError::Blocked) => break,
                ended => panic!("the relay ended a lane: {ended:?}"),
            }
        }
        let _credit = chunks.finalize();
        while let Some(&class) = partial.get(1) {
            let length = Class::from_wire(class).expect("a class of the relay's").cell_len();
            if partial.len() < length {
                break;
            }
            self.cells.push_back(partial.drain(..length).collect());
        }
    }

    /// Sends what may leave, and reads nothing.
    pub fn transmit(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        loop {
            while let Some(event) = self.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                    self.connection.handle_event(event);
                }
            }
            out.clear();
            let at = now();
            let Some(transmit) = self.connection.poll_transmit(at, 1, &mut out) else {
                return Ok(());
            };
            self.socket.set_nonblocking(false)?;
            match self.socket.send_to(&out[..transmit.size], transmit.destination) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
