//! Both ends of QUIC in one thread, without sockets: what the relay's settings and lanes make of quinn-proto.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hushwire_engine::Time;
use hushwire_uring::udp::Steering;
use hushwire_wire::cell::Class;
use hushwire_wire::limits::{ALPN, EXPORTER_LABEL, LANES};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, ConnectionId, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, Side, StreamEvent, StreamId, TransportConfig, VarInt,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig as TlsConfig, RootCertStore};

use super::limits::{LANE_STUCK_MS, RECEIVE_BYTES, SEND_BYTES};
use super::outgoing_lanes::Handed;
use super::{LaneFault, LanesIn, LanesOut, QuicOptions, QuicServer, whole_cell};
use crate::transport::{CarryPool, ServerTls, ServerTlsOptions, take_binding};

const CELL: usize = 1024;

/// One end.
struct End {
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    address: SocketAddr,
    events: Vec<Event>,
}

/// A device and the relay, and a clock that goes when told to.
struct Pair {
    device: End,
    relay: End,
    binding: [u8; 32],
    epoch: Instant,
    now: Instant,
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[expect(clippy::disallowed_methods, reason = "the tests' clock has to begin somewhere")]
fn begin() -> Instant {
    Instant::now()
}

fn identity() -> (Arc<ServerTls>, TlsConfig) {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["relay.test".into()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let chain = vec![certificate.der().clone()];
    let tls = ServerTls::new(chain, private, &ServerTlsOptions::default()).expect("a server");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = TlsConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    (tls, client)
}

fn server() -> (Arc<QuicServer>, TlsConfig) {
    let (tls, client) = identity();
    let options = QuicOptions {
        secret: &[7; 16],
        steering: Steering::new(0x1234_5679, 4),
        idle_ms: 60_000,
        qlog_dir: None,
    };
    (QuicServer::new(&tls, &options).expect("QUIC"), client)
}

impl End {
    fn take(&mut self, now: Instant, from: SocketAddr, datagram: BytesMut) {
        let mut out = Vec::new();
        let event = self.endpoint.handle(now, from, None, None, datagram, &mut out);
        if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
            self.connection.handle_event(event);
        }
    }

    /// The datagrams that are due, and the events that came.
    fn give(&mut self, now: Instant) -> Vec<BytesMut> {
        let mut datagrams = Vec::new();
        loop {
            while let Some(event) = self.connection.poll() {
                self.events.push(event);
            }
            while let Some(event) = self.connection.poll_endpoint_events() {
                if let Some(answer) = self.endpoint.handle_event(self.handle, event) {
                    self.connection.handle_event(answer);
                }
            }
            let mut out = Vec::new();
            let Some(transmit) = self.connection.poll_transmit(now, 1, &mut out) else {
                return datagrams;
            };
            datagrams.push(BytesMut::from(&out[..transmit.size]));
        }
    }
}

impl Pair {
    /// A connection whose device gives each lane so much credit.
    fn new(lane_credit: u32) -> Self {
        let (server, client) = server();
        let epoch = begin();
        let mut relay = server.endpoint(2, false);
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_uni_streams(VarInt::from_u32(LANES))
            .stream_receive_window(VarInt::from_u32(lane_credit));
        let crypto = QuicClientConfig::try_from(client).expect("a suite of QUIC");
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let first = server.ids(2).draw().expect("randomness");
        config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&first)));
        let mut device = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let (handle, mut connection) =
            device.connect(epoch, config, address(2), "relay.test").expect("a connection");

        // The first packet makes the relay's end.
        let mut out = Vec::new();
        let mut accepted = None;
        let mut rest = Vec::new();
        while let Some(transmit) = connection.poll_transmit(epoch, 1, &mut out) {
            rest.push(BytesMut::from(&out[..transmit.size]));
            out.clear();
        }
        for datagram in rest {
            let mut reply = Vec::new();
            match relay.handle(epoch, address(1), None, None, datagram, &mut reply) {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    let made = relay.accept(incoming, epoch, &mut reply, None);
                    accepted = Some(made.expect("a good first packet"));
                }
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    let (_, connection) = accepted.as_mut().expect("a connection");
                    connection.handle_event(event);
                }
                Some(DatagramEvent::Response(_)) | None => panic!("a first flight is taken"),
            }
        }
        let binding = take_binding().expect("the first flight is written").expect("an exporter");
        let (relay_handle, relay_connection) = accepted.expect("a connection");
        let end = |endpoint, handle, connection, address| End {
            endpoint,
            handle,
            connection,
            address,
            events: Vec::new(),
        };
        let mut pair = Self {
            device: end(device, handle, connection, address(1)),
            relay: end(relay, relay_handle, relay_connection, address(2)),
            binding,
            epoch,
            now: epoch,
        };
        pair.settle();
        pair
    }

    /// Carries datagrams until neither end has any, letting short timers pass.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let (to_relay, to_device) = (self.device.give(self.now), self.relay.give(self.now));
            if to_relay.is_empty() && to_device.is_empty() {
                let timers =
                    [&mut self.device, &mut self.relay].map(|end| end.connection.poll_timeout());
                let next = timers.into_iter().flatten().min();
                let soon = self.now + Duration::from_millis(100);
                let Some(next) = next.filter(|next| *next <= soon) else { return };
                self.now = next.max(self.now);
            }
            for datagram in to_relay {
                self.relay.take(self.now, self.device.address, datagram);
            }
            for datagram in to_device {
                self.device.take(self.now, self.relay.address, datagram);
            }
            for end in [&mut self.device, &mut self.relay] {
                if end.connection.poll_timeout().is_some_and(|at| at <= self.now) {
                    end.connection.handle_timeout(self.now);
                }
            }
        }
        panic!("the two never stop talking");
    }

    fn time(&self) -> Time {
        Time::from_nanos((self.now - self.epoch).as_nanos() as u64)
    }

    /// What the relay does when a device is welcome.
    fn welcome(&mut self) {
        let relay = &mut self.relay.connection;
        relay.set_max_concurrent_streams(Dir::Uni, VarInt::from_u32(LANES));
        relay.set_receive_window(VarInt::from_u32(RECEIVE_BYTES));
        relay.set_send_window(SEND_BYTES);
        self.settle();
    }

    fn hand_over(&mut self, outgoing: &mut LanesOut) -> Handed {
        let now = self.time();
        outgoing.hand_over(&mut self.relay.connection, now).expect("no fault")
    }

    fn note(&mut self, outgoing: &mut LanesOut) {
        for event in self.relay.events.drain(..) {
            match event {
                Event::Stream(StreamEvent::Writable { id }) => outgoing.note_writable(id),
                Event::Stream(StreamEvent::Available { .. }) => outgoing.note_available(),
                Event::Stream(_)
                | Event::HandshakeDataReady
                | Event::Connected
                | Event::ConnectionLost { .. }
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
    }

    /// Reads everything that a lane of the device has.
    fn read_as_device(&mut self, lane: u64) -> Vec<u8> {
        while self.device.connection.streams().accept(Dir::Uni).is_some() {}
        let mut bytes = Vec::new();
        let mut stream =
            self.device.connection.recv_stream(StreamId::new(Side::Server, Dir::Uni, lane));
        if let Ok(mut chunks) = stream.read(true) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                bytes.extend_from_slice(&chunk.bytes);
            }
            let _credit = chunks.finalize();
        }
        bytes
    }
}

fn cell(number: usize) -> Vec<u8> {
    let mut cell = vec![number as u8; CELL];
    cell[1] = Class::C2 as u8;
    cell
}

#[test]
fn the_binding_is_the_exporter_and_known_with_the_first_flight() {
    let pair = Pair::new(1 << 20);
    for end in [&pair.device, &pair.relay] {
        let mut exporter = [0; 32];
        let session = end.connection.crypto_session();
        session.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").expect("32 bytes");
        assert_eq!(exporter, pair.binding);
    }
    assert!(take_binding().is_none(), "the slot is emptied");
}

#[test]
fn before_welcome_a_device_has_one_lane_and_little_credit() {
    let mut pair = Pair::new(1 << 20);
    let device = &mut pair.device.connection;
    let lane = device.streams().open(Dir::Uni).expect("lane 0");
    assert!(device.streams().open(Dir::Uni).is_none(), "no other");
    assert!(device.streams().open(Dir::Bi).is_none(), "and none both ways");
    let written = device.send_stream(lane).write(&[0; 100_000]).expect("some credit");
    assert_eq!(written, super::limits::RECEIVE_BYTES_UNAUTHENTICATED as usize);
    pair.settle();
    pair.welcome();
    assert_eq!(
        (1..=LANES).filter(|_| pair.device.connection.streams().open(Dir::Uni).is_some()).count(),
        7
    );
}

#[test]
fn cells_are_cut_from_a_lane_however_they_arrive() {
    let mut pair = Pair::new(1 << 20);
    pair.welcome();
    let device = &mut pair.device.connection;
    let streams: Vec<_> =
        (0..LANES).map(|_| device.streams().open(Dir::Uni).expect("a lane")).collect();
    let (mut incoming, mut pool) = (LanesIn::default(), CarryPool::default());
    let mut scratch = vec![0; crate::transport::limits::SCRATCH_BYTES];
    let sent = [cell(1), cell(2), cell(3)].concat();
    let mut cells = 0;
    for piece in sent.chunks(700) {
        assert_eq!(pair.device.connection.send_stream(streams[5]).write(piece), Ok(piece.len()));
        pair.settle();
        while pair.relay.connection.streams().accept(Dir::Uni).is_some() {}
        incoming.note_readable(streams[5]);
        let lane = incoming.next_readable().expect("it was noted");
        let read = incoming
            .read(&mut pair.relay.connection, lane, &mut scratch, &mut pool)
            .expect("a lane that goes on");
        let mut at = 0;
        while let Some(length) = whole_cell(&scratch[at..read.end], Class::C7).expect("cells") {
            cells += 1;
            assert_eq!(scratch[at..at + length], cell(cells));
            at += length;
        }
        incoming.keep(lane, &scratch[at..read.end], 5, &mut pool).expect("room");
        assert_eq!(incoming.partial_since_ns(), (at < read.end).then_some(5));
        assert_eq!(incoming.next_readable(), None);
    }
    assert_eq!(cells, 3);

    // A lane that ends is a fault.
    pair.device.connection.send_stream(streams[5]).finish().expect("it is open");
    pair.settle();
    incoming.note_readable(streams[5]);
    let ended = incoming.read(&mut pair.relay.connection, 5, &mut scratch, &mut pool);
    assert_eq!(ended.err(), Some(LaneFault::Ended));
}

#[test]
fn a_lane_without_credit_gets_stuck_alone_and_comes_free() {
    const CREDIT: usize = 16 * 1024;
    let mut pair = Pair::new(CREDIT as u32);
    pair.welcome();
    let mut outgoing = LanesOut::default();
    pair.note(&mut outgoing);
    // Two lanes are read, one is not.
    let mut number = 0;
    let mut given = 0;
    let mut stuck_after = None;
    for round in 0..40 {
        for lane in [0, 3, 7] {
            if lane == 3 && stuck_after.is_some() {
                continue;
            }
            number += 1;
            outgoing.push(lane, &cell(number), CELL);
            given += CELL;
        }
        let handed = pair.hand_over(&mut outgoing);
        given -= handed.charge;
        assert_eq!(handed.free, 0);
        if handed.stuck != 0 {
            assert_eq!(handed.stuck, 1 << 3);
            assert!(stuck_after.replace(round).is_none(), "once");
        }
        pair.settle();
        for lane in [0, 7] {
            assert_eq!(pair.read_as_device(lane).len(), CELL, "round {round}: nobody waits for 3");
        }
        pair.settle();
        pair.note(&mut outgoing);
        pair.now += Duration::from_millis(20);
    }
    let credit_rounds = CREDIT / CELL;
    // The clock goes on by itself, too, while acknowledgements wait.
    let patience = LANE_STUCK_MS as usize / 20;
    let round = stuck_after.expect("lane 3 is stuck");
    assert!((credit_rounds + 2..=credit_rounds + patience + 2).contains(&round), "{round}");
    assert_eq!(given, 0, "what waits on a stuck lane is not charged");
    let waits = outgoing.stuck_bytes();
    assert!(waits > 0 && waits % CELL == 0, "{waits}");

    // The device reads it after all: everything is there, in order.
    let mut heard = pair.read_as_device(3);
    assert_eq!(heard.len(), CREDIT);
    pair.settle();
    pair.note(&mut outgoing);
    let handed = pair.hand_over(&mut outgoing);
    assert_eq!((handed.free, handed.stuck, outgoing.stuck_bytes()), (1 << 3, 0, 0));
    pair.settle();
    heard.extend(pair.read_as_device(3));
    assert_eq!(heard.len(), CREDIT + waits);
    let numbers: Vec<u8> = heard.chunks(CELL).map(|cell| cell[CELL - 1]).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn a_connection_without_credit_waits_on_all_lanes_and_none_is_stuck() {
    let mut pair = Pair::new(1 << 20);
    pair.welcome();
    let mut outgoing = LanesOut::default();
    pair.note(&mut outgoing);
    // Nothing is acknowledged: the window fills up.
    let mut charged = 0;
    for number in 0..2 * SEND_BYTES as usize / CELL {
        outgoing.push(number % 8, &cell(number), CELL);
        charged += CELL;
        let handed = pair.hand_over(&mut outgoing);
        charged -= handed.charge;
        assert_eq!((handed.stuck, handed.free), (0, 0));
        pair.now += Duration::from_millis(1);
    }
    assert!(charged >= SEND_BYTES as usize / 2, "{charged} bytes wait");
}

#[test]
fn settings_are_the_same_on_all_shards_and_after_a_restart() {
    let reset = |server: &QuicServer| {
        let mut endpoint = server.endpoint(1, false);
        let id = [[0x40].as_slice(), &[9; 8], &[0; 1_200]].concat();
        let mut out = Vec::new();
        // An ID of the other shard's is nobody's here; one of its own is answered with the token of that ID.
        let mut own = server.ids(1);
        let id = {
            let mut packet = id;
            let drawn = quinn_proto::ConnectionIdGenerator::generate_cid(&mut own);
            packet[1..9].copy_from_slice(&drawn);
            packet
        };
        let bytes = BytesMut::from(&id[..]);
        let answer = endpoint.handle(begin(), address(1), None, None, bytes, &mut out);
        assert!(matches!(answer, Some(DatagramEvent::Response(_))), "a stateless reset");
        (id[1..9].to_vec(), out[out.len() - 16..].to_vec())
    };
    let (first, _) = server();
    let (id, token) = reset(&first);
    let (second, _) = server();
    let mut endpoint = second.endpoint(1, false);
    let packet = [[0x40].as_slice(), &id, &[0; 1_200]].concat();
    let mut out = Vec::new();
    let bytes = BytesMut::from(&packet[..]);
    let _reset = endpoint.handle(begin(), address(1), None, None, bytes, &mut out);
    assert_eq!(out[out.len() - 16..], token, "the token depends on the store's secret alone");
}
