//! Cells over QUIC (`PROTOCOL.md` §2.3). quinn-proto is driven by hand, as rustls is for TLS: what has arrived is taken
//! in when the client reads, what may go is sent when it writes, and in between only timers and acknowledgements
//! remain, which [`QuicStream::ready`] serves. So there is no task, no lock and no copy besides those of the client.

mod addresses;
mod lanes;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hushwire_wire::filler::{FILL_RECEIVE_BYTES, FILL_SEND_BYTES};
use hushwire_wire::limits::{ALPN, EXPORTER_LABEL, LANES, QUIC_ID_BYTES};
use quinn_proto::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, Connection, ConnectionError, ConnectionHandle, ConnectionId,
    DatagramEvent, Endpoint, EndpointConfig, Event, IdleTimeout, StreamEvent, Transmit,
    TransportConfig, TransportErrorCode, VarInt,
};

use super::connector::tls_error;
use super::limits::{
    ACKNOWLEDGED_AFTER, LANE_RECEIVE_BYTES_MAX, QUIC_CONNECT_MS_MAX, QUIC_IDLE_MS, REBIND_MS,
    RECEIVE_BYTES_MAX, SEND_BYTES_MAX, SEND_BYTES_MIN,
};
use super::trust::{Verdict, Witness};
use super::{Filled, IoError, clock};
use crate::link::LinkError;
use crate::suite::random::{OsRandom, draw};
use addresses::Addresses;
use lanes::{Inbound, Outbound};
use socket::Socket;

/// A connection over QUIC.
#[derive(Debug)]
pub(super) struct QuicStream {
    socket: Socket,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    binding: [u8; 32],
    /// What the relay's certificate came to, if it showed one.
    verdict: Option<Verdict>,
    inbound: Inbound,
    outbound: Outbound,
    /// Datagrams that the socket had no room for; they stand in `datagrams`.
    blocked: Option<Transmit>,
    datagrams: Vec<u8>,
    /// Since when the system refuses to send anything.
    failing_since: Option<Instant>,
    addresses: Addresses,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Established,
    /// The relay has closed.
    Ended,
}

/// What every connection under one trust has in common.
pub(super) fn config(tls: rustls::ClientConfig) -> ClientConfig {
    let tls =
        QuicClientConfig::try_from(tls).expect("the provider has the suite of Initial packets");
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(ACKNOWLEDGED_AFTER));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(LANES))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(FILL_RECEIVE_BYTES))
        .datagram_send_buffer_size(FILL_SEND_BYTES)
        .stream_receive_window(VarInt::from_u32(LANE_RECEIVE_BYTES_MAX))
        .receive_window(VarInt::from_u32(RECEIVE_BYTES_MAX))
        .send_window(SEND_BYTES_MIN)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(QUIC_IDLE_MS))))
        // The link's own cover cells keep the connection alive.
        .keep_alive_interval(None)
        .ack_frequency_config(Some(acknowledgements))
        // quinn-proto would pad acknowledgements, too, and then count them as in flight: whoever mostly receives sends
        // its window full of them and falls silent. So cells are filled up as `hushwire_wire::filler` has it.
        .pad_to_mtu(false)
        // The bit would show observers the round-trip time (RFC 9000 §17.4).
        .allow_spin(false);
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    config
}

impl QuicStream {
    /// Makes a connection to `remote`, which people know as `address`. The handshake ends with an error or not at all:
    /// whoever calls has a limit to their patience.
    pub(super) async fn connect(
        config: &ClientConfig,
        remote: SocketAddr,
        address: &str,
        name: &str,
        id: Option<[u8; QUIC_ID_BYTES]>,
    ) -> Result<Box<Self>, IoError> {
        let unreachable = |error| IoError::Connect { address: address.into(), error };
        let socket = Socket::bind(remote).map_err(unreachable)?;
        socket.hear_refusals(true);
        let mut config = config.clone();
        // Of the same length as the relay's, so that nothing tells a device that comes back from one that is new.
        let id = ConnectionId::new(&id.unwrap_or_else(|| draw(&mut OsRandom)));
        config.initial_dst_cid_provider(Arc::new(move || id));
        let local = Arc::new(EndpointConfig::default());
        let mut endpoint = Endpoint::new(local, None, !socket.may_fragment(), None);
        let (handle, connection) = endpoint
            .connect(clock(), config, remote, name)
            .map_err(|error| unreachable(io::Error::other(error)))?;
        // On the heap from the start: a future that held it would carry it up every call.
        let mut stream = Box::new(Self {
            socket,
            endpoint,
            handle,
            connection,
            binding: [0; 32],
            verdict: None,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            blocked: None,
            datagrams: Vec::new(),
            failing_since: None,
            addresses: Addresses::toward(remote),
            phase: Phase::Handshake,
        });
        stream.handshake().await.map_err(|failed| match failed {
            Failed::Io(error) => unreachable(error),
            Failed::Ended(error) => stream.why_no_handshake(error, address),
        })?;
        stream.bind()?;
        Ok(stream)
    }

    async fn handshake(&mut self) -> Result<(), Failed> {
        loop {
            self.attend(false).await?;
            self.take_in()?;
            match self.phase {
                Phase::Handshake => {}
                Phase::Established => break,
                Phase::Ended => return Err(Failed::Ended(ConnectionError::Reset)),
            }
        }
        self.socket.hear_refusals(false);
        // The relay waits for Finished, and whoever called for a cell perhaps.
        self.transmit(clock())
    }

    /// Takes from the handshake what the device's proof needs.
    fn bind(&mut self) -> Result<(), IoError> {
        let session = self.connection.crypto_session();
        let data = session.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        if data.is_none_or(|data| data.protocol.as_deref() != Some(ALPN)) {
            return Err(IoError::WrongService);
        }
        session
            .export_keying_material(&mut self.binding, EXPORTER_LABEL, &[])
            .map_err(|_| IoError::Tls(rustls::Error::General("there is no exporter".into())))
    }

    fn why_no_handshake(&mut self, error: ConnectionError, address: &str) -> IoError {
        if let Some(Err(error)) = self.verdict.take() {
            return tls_error(error);
        }
        let after = Duration::from_millis(QUIC_CONNECT_MS_MAX);
        let code = match &error {
            ConnectionError::VersionMismatch => return IoError::WrongService,
            ConnectionError::TimedOut => {
                return IoError::TimedOut { address: address.into(), after };
            }
            ConnectionError::TransportError(error) => error.code,
            ConnectionError::ConnectionClosed(close) => close.error_code,
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => return lost(error),
        };
        let no_alpn = u8::from(rustls::AlertDescription::NoApplicationProtocol);
        match code {
            TransportErrorCode::CONNECTION_REFUSED => IoError::QuicRefused,
            code if code == TransportErrorCode::crypto(no_alpn) => IoError::WrongService,
            _ => lost(error),
        }
    }

    pub(super) const fn binding(&self) -> [u8; 32] {
        self.binding
    }

    pub(super) const fn is_resumed(&self) -> bool {
        self.verdict.is_none()
    }

    pub(super) async fn ready(&mut self, write: bool) -> Result<(), IoError> {
        self.attend(write).await.map_err(Failed::established)
    }

    /// Sends what is due and serves the timers, until the socket has something.
    async fn attend(&mut self, write: bool) -> Result<(), Failed> {
        loop {
            let now = clock();
            self.settle(now)?;
            self.transmit(now)?;
            if self.phase == Phase::Ended || self.inbound.is_readable() {
                return Ok(());
            }
            // A connection that lives has a timer.
            let next = self.connection.poll_timeout();
            let next = next.unwrap_or(now + Duration::from_millis(u64::from(QUIC_IDLE_MS)));
            tokio::select! {
                ready = self.socket.ready(self.blocked.is_some()) => {
                    let ready = ready.map_err(Failed::Io)?;
                    if write || !ready.is_writable() || ready.is_readable() || ready.is_error() {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.addresses.changed() => {
                    if self.addresses.is_another() {
                        tracing::debug!("this machine has another address now");
                        self.connection.local_address_changed();
                    }
                }
            }
        }
    }

    pub(super) fn fill(&mut self) -> Result<Filled, IoError> {
        let more = self.take_in().map_err(Failed::established)?;
        Ok(match self.phase {
            Phase::Ended if !more => Filled::Ended,
            Phase::Ended | Phase::Handshake | Phase::Established if more => Filled::Some,
            Phase::Ended | Phase::Handshake | Phase::Established => Filled::Drained,
        })
    }

    /// Takes in what has arrived; whether there may be more.
    fn take_in(&mut self) -> Result<bool, Failed> {
        let now = clock();
        let Self { socket, endpoint, handle, connection, verdict, .. } = self;
        let mut answer = Vec::new();
        let received = socket.receive(|arrival, datagram| {
            let bytes = BytesMut::from(datagram);
            let event =
                endpoint.handle(now, arrival.from, arrival.to, arrival.ecn, bytes, &mut answer);
            // A client with one connection has nothing to say to anybody else.
            if let Some(DatagramEvent::ConnectionEvent(to, event)) = event
                && to == *handle
            {
                connection.handle_event(event);
                if let Some(found) = Witness::verdict() {
                    *verdict = Some(found);
                }
            }
        });
        let more = match received {
            Ok(more) => more,
            Err(error) if self.phase == Phase::Handshake => return Err(Failed::Io(error)),
            Err(error) => {
                self.unable(&error, now);
                false
            }
        };
        self.settle(now)?;
        self.inbound.read(&mut self.connection);
        Ok(more || self.inbound.is_readable())
    }

    /// Serves the timers and looks at what has happened.
    fn settle(&mut self, now: Instant) -> Result<(), Failed> {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.phase = Phase::Established,
                Event::ConnectionLost { reason } => {
                    let was = std::mem::replace(&mut self.phase, Phase::Ended);
                    let by_relay = matches!(reason, ConnectionError::ApplicationClosed(_));
                    if was != Phase::Established || !by_relay {
                        return Err(Failed::Ended(reason));
                    }
                }
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(id) = self.connection.streams().accept(dir) {
                        self.inbound.on_readable(id);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.inbound.on_readable(id),
                Event::Stream(StreamEvent::Stopped { .. }) => self.inbound.on_stopped(),
                Event::DatagramReceived => while self.connection.datagrams().recv().is_some() {},
                Event::Stream(
                    StreamEvent::Writable { .. }
                    | StreamEvent::Finished { .. }
                    | StreamEvent::Available { .. },
                )
                | Event::HandshakeDataReady
                | Event::DatagramsUnblocked => {}
            }
        }
        Ok(())
    }

    pub(super) fn next_cell(&mut self) -> Result<Option<&mut [u8]>, LinkError> {
        self.inbound.next_cell()
    }

    pub(super) fn push(&mut self, cells: &[u8]) {
        self.outbound.push(cells);
    }

    pub(super) const fn unsent(&self) -> usize {
        self.outbound.unsent()
    }

    pub(super) fn flush(&mut self) -> Result<bool, IoError> {
        let window = self.connection.congestion_state().window().saturating_mul(2);
        self.connection.set_send_window(window.clamp(SEND_BYTES_MIN, SEND_BYTES_MAX));
        self.outbound.write(&mut self.connection);
        self.transmit(clock()).map_err(Failed::established)?;
        Ok(self.outbound.unsent() == 0 && self.blocked.is_none())
    }

    pub(super) fn is_settled(&mut self) -> bool {
        self.outbound.unsent() == 0 && self.outbound.is_acknowledged(&mut self.connection)
    }

    /// Sends what the congestion window, the pacing and the socket allow.
    fn transmit(&mut self, now: Instant) -> Result<(), Failed> {
        self.outbound.fill_up(&mut self.connection);
        loop {
            let transmit = match self.blocked.take() {
                Some(blocked) => blocked,
                None => {
                    let most = self.socket.datagrams_max();
                    self.datagrams.clear();
                    match self.connection.poll_transmit(now, most, &mut self.datagrams) {
                        Some(transmit) => {
                            self.outbound.have_left(&transmit, &self.connection);
                            transmit
                        }
                        None => return Ok(()),
                    }
                }
            };
            match self.socket.send(&transmit, &self.datagrams) {
                Ok(()) => self.failing_since = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = Some(transmit);
                    return Ok(());
                }
                Err(error) if self.phase == Phase::Handshake => return Err(Failed::Io(error)),
                // To QUIC it was lost on its way, as a probe that is too large for the path is meant to be.
                Err(error) => self.unable(&error, now),
            }
        }
    }

    /// The system refuses to send or to receive. Most causes pass by themselves; a socket that is broken does not.
    fn unable(&mut self, error: &io::Error, now: Instant) {
        let since = *self.failing_since.get_or_insert(now);
        if now.duration_since(since) >= Duration::from_millis(REBIND_MS) {
            tracing::debug!(%error, "nothing can be sent over UDP: trying another socket");
            self.failing_since = None;
            if let Err(error) = self.rebind() {
                tracing::debug!(%error, "there is no other socket");
            }
        }
    }

    pub(super) fn rebind(&mut self) -> io::Result<()> {
        self.socket = Socket::bind(self.connection.remote_address())?;
        self.connection.local_address_changed();
        Ok(())
    }
}

impl Drop for QuicStream {
    /// Says farewell. Nobody waits for an answer: if the one datagram gets lost, the relay closes after its idle time.
    fn drop(&mut self) {
        let now = clock();
        self.connection.close(now, VarInt::from_u32(0), Bytes::new());
        self.datagrams.clear();
        while let Some(transmit) = self.connection.poll_transmit(now, 1, &mut self.datagrams) {
            let _lost = self.socket.send_at_once(&transmit, &self.datagrams);
            self.datagrams.clear();
        }
    }
}

/// Why a connection is no more.
enum Failed {
    /// The system says so.
    Io(io::Error),
    /// QUIC does.
    Ended(ConnectionError),
}

impl Failed {
    /// What it means behind the handshake.
    fn established(self) -> IoError {
        match self {
            Self::Io(error) => IoError::Lost(error),
            Self::Ended(error) => lost(error),
        }
    }
}

fn lost(error: ConnectionError) -> IoError {
    match error {
        ConnectionError::TimedOut => IoError::Lost(io::ErrorKind::TimedOut.into()),
        ConnectionError::Reset => IoError::Lost(io::ErrorKind::ConnectionReset.into()),
        ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed => IoError::Closed,
        other @ (ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted) => IoError::Quic(other),
    }
}
