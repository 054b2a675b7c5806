//! Devices that break the rules of lanes, and strangers whose datagrams are no QUIC: one connection ends, and nobody
//! else notices.

use std::net::UdpSocket;
use std::time::Duration;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::control::{Control, Request, Transport};
use hushwire_wire::id::DeviceId;
use quinn_proto::{ConnectionError, Dir, Side, StreamId, TransportErrorCode, VarInt};

use crate::support::lies::Lie;
use crate::support::quic::{Options, first_flight};
use crate::support::raw::{Device, PATIENCE, Raw, connect_quic};
use crate::support::{eventually, memory, relay, total};
use crate::{Lcg, connect_with, exchange, pair};

/// Bound on how much the relay's resident memory may grow, in bytes.
const GROWTH_MAX: u64 = 32 * 1024 * 1024;

fn lane(side: Side, number: u64) -> StreamId {
    StreamId::new(side, Dir::Uni, number)
}

/// A whole cell for nobody that is known, with the counter that comes next on a lane that is fresh.
fn cell(class: Class, lane: u32) -> Vec<u8> {
    let mut cell = vec![0; class.cell_len()];
    let header = Header::unicast(class, lane, 0, DeviceId::new([9; 32]));
    cell[..HEADER_LEN].copy_from_slice(&header.encode());
    cell
}

/// What a device does wrong, and what the relay says of it.
type Mistake = (&'static str, &'static str, fn(&mut Device));

const MISTAKES: [Mistake; 10] = [
    ("the lane in use is finished", "never finished or reset", |device| {
        let connection = &mut device.raw.quic().connection;
        connection.send_stream(lane(Side::Client, 0)).finish().expect("a stream");
    }),
    ("a lane is finished behind a cell", "never finished or reset", |device| {
        device.raw.send_bytes_on(3, &cell(Class::C5, 3)).expect("the relay reads");
        let connection = &mut device.raw.quic().connection;
        connection.send_stream(lane(Side::Client, 3)).finish().expect("a stream");
    }),
    ("an empty lane is finished", "never finished or reset", |device| {
        device.raw.send_bytes_on(7, &cell(Class::C0, 7)).expect("the relay reads");
        let connection = &mut device.raw.quic().connection;
        connection.send_stream(lane(Side::Client, 5)).finish().expect("a stream");
    }),
    ("the lane in use is reset", "never finished or reset", |device| {
        let connection = &mut device.raw.quic().connection;
        connection.send_stream(lane(Side::Client, 0)).reset(VarInt::from_u32(7)).expect("a stream");
    }),
    ("a lane is reset within a cell", "never finished or reset", |device| {
        device.raw.send_bytes_on(2, &cell(Class::C5, 2)[..5_000]).expect("the relay reads");
        let connection = &mut device.raw.quic().connection;
        connection.send_stream(lane(Side::Client, 2)).reset(VarInt::from_u32(0)).expect("a stream");
    }),
    ("the lane in use is stopped", "", |device| {
        let connection = &mut device.raw.quic().connection;
        connection.recv_stream(lane(Side::Server, 0)).stop(VarInt::from_u32(0)).expect("a stream");
    }),
    ("a cell of another lane", "another lane", |device| {
        device.raw.send_bytes_on(2, &cell(Class::C0, 3)).expect("the relay reads");
    }),
    ("a cell of another lane behind a good one", "another lane", |device| {
        let cells = [cell(Class::C0, 4), cell(Class::C1, 0)].concat();
        device.raw.send_bytes_on(4, &cells).expect("the relay reads");
    }),
    ("a class beyond the last, and nothing of its cell", "malformed", |device| {
        device.raw.send_bytes_on(1, &[1, 8]).expect("the relay reads");
    }),
    ("a control cell on a lane of cells", "malformed", |device| {
        let mut control = vec![0; Class::C0.cell_len()];
        control[..HEADER_LEN].copy_from_slice(&Header::control(Class::C0, 0).encode());
        control[4] = 6;
        device.raw.send_bytes_on(6, &control).expect("the relay reads");
    }),
];

#[test]
fn who_breaks_the_rules_of_lanes_is_told_and_goes_alone() {
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    for (what, expect, mistake) in MISTAKES {
        let mut device = Device::enrol_by(&relay, Transport::Quic);
        mistake(&mut device);
        let words = device.raw.last_words();
        if expect.is_empty() {
            // The relay's own lane is the one that was stopped.
            assert!(words.is_empty(), "{what}: {words:?}");
        } else {
            assert_eq!(words.len(), 1, "{what}: {words:?}");
            assert!(words[0].starts_with("malformed"), "{what}: {words:?}");
            assert!(words[0].contains(expect), "{what}: {words:?}");
        }
        eventually(what, || total(&relay, "connections") == 2);
        exchange(&mut a, &mut b, &[Class::C2, Class::C7]);
    }
    assert_eq!(total(&relay, "bugs"), 0, "{}", relay.log().unwrap_or_default());
}

#[test]
fn fills_of_any_size_and_number_are_thrown_away() {
    const ROUNDS: usize = 400;
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    exchange(&mut a, &mut b, &[Class::C0]);
    let before = memory(relay.id(), "VmRSS:");
    for _ in 0..ROUNDS {
        let quic = a.raw.quic();
        // As many empty ones as fit a packet or two, and some that take one each.
        for size in [0; 700].into_iter().chain([1, 63, 64, 900, 1_000]) {
            let fill = vec![0x5a; size].into();
            quic.connection.datagrams().send(fill, true).expect("the relay takes them");
        }
        quic.turn(None).expect("they leave");
    }
    exchange(&mut a, &mut b, &Class::ALL);
    let grown = memory(relay.id(), "VmRSS:").saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the relay grew by {grown} bytes");
    let all = [&mut a, &mut b].map(|device| device.raw.quic().connection.stats().frame_tx.datagram);
    assert!(all[0] > 700, "{all:?} frames left");
    assert_eq!((total(&relay, "bugs"), total(&relay, "malformed")), (0, 0));
}

#[test]
fn a_lane_that_the_relay_sends_cells_on_is_not_to_be_stopped() {
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    a.raw.send(Header::unicast(Class::C0, 3, 0, b.id), b"on lane 3").expect("the relay reads");
    assert_eq!(b.raw.receive().expect("a cell").0.lane, 3);
    let connection = &mut b.raw.quic().connection;
    connection.recv_stream(lane(Side::Server, 3)).stop(VarInt::from_u32(0)).expect("a stream");
    let words = b.raw.last_words();
    assert!(words.len() == 1 && words[0].contains("never stopped"), "{words:?}");
    assert_eq!(total(&relay, "bugs"), 0);
}

/// A device that believes that it may open any stream.
fn bold() -> Options {
    Options { lie: Some(Lie::Streams), ..Options::default() }
}

/// Why QUIC itself ended a connection.
fn error_of(device: &mut Raw) -> TransportErrorCode {
    let quic = device.quic();
    let error = quic.until(PATIENCE, |_| false).expect_err("it is over");
    match quic.lost() {
        Some(ConnectionError::ConnectionClosed(close)) => close.error_code,
        lost => panic!("{error}: {lost:?}"),
    }
}

#[test]
fn streams_beyond_the_lanes_end_their_connection() {
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    let mut identity = Device::enrol_by(&relay, Transport::Quic).identity;
    for dir in [Dir::Bi, Dir::Uni] {
        let mut device = connect_with(&relay, identity, bold());
        let connection = &mut device.raw.quic().connection;
        // Of those in one direction, all lanes are allowed.
        let mut last = connection.streams().open(dir).expect("it believes so");
        while dir == Dir::Uni && last.index() < 8 {
            last = connection.streams().open(dir).expect("it believes so");
        }
        connection.send_stream(last).write(b"one too many").expect("it believes so");
        let error = error_of(&mut device.raw);
        assert_eq!(error, TransportErrorCode::STREAM_LIMIT_ERROR, "{dir:?}");
        exchange(&mut a, &mut b, &[Class::C7]);
        identity = device.identity;
    }
    // Before WELCOME there is one.
    let mut raw = connect_quic(&relay, bold()).expect("a connection");
    raw.send_bytes_on(1, &cell(Class::C0, 1)).expect("it believes so");
    assert_eq!(error_of(&mut raw), TransportErrorCode::STREAM_LIMIT_ERROR);
    eventually("they have gone", || total(&relay, "connections") == 2);
    exchange(&mut a, &mut b, &[Class::C7]);
    assert_eq!(total(&relay, "bugs"), 0);
}

/// TLS was through with the first flight when QUIC refused it.
#[test]
fn a_handshake_that_is_refused_does_not_spoil_those_behind_it() {
    for hybrid in [false, true] {
        let relay = relay();
        let (mut a, mut b) = pair(&relay);
        let lie = Some(Lie::ConnectionId);
        let options = Options { lie, hybrid, ..Options::default() };
        let error = connect_quic(&relay, options).err().expect("a refusal").to_string();
        assert!(error.contains("CID authentication failure"), "{error}");
        for _ in 0..3 {
            let mut device = Device::enrol_by(&relay, Transport::Quic);
            assert!(matches!(device.ask(1, Request::Ping), Control::Pong { .. }));
        }
        exchange(&mut a, &mut b, &[Class::C0]);
        assert_eq!(total(&relay, "proofs_refused"), 0);
    }
}

#[test]
fn halves_of_cells_on_all_lanes_go_with_their_connection() {
    const ROUNDS: usize = 24;
    const LANES: u64 = 7;
    /// The buffer that a cell of this class takes.
    const CARRY_BYTES: u64 = 20 * 1024;
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    let mut identity = Device::enrol_by(&relay, Transport::Quic).identity;
    for round in 0..ROUNDS {
        let mut device = Device::connect_by(&relay, identity, Transport::Quic);
        for lane in 1..=LANES as u32 {
            let half = &cell(Class::C6, lane)[..9_000];
            device.raw.send_bytes_on(lane, half).expect("the relay reads");
        }
        let half_bytes = LANES * 9_000;
        eventually("the halves are kept", || total(&relay, "carry_bytes") > half_bytes);
        exchange(&mut a, &mut b, &[Class::C0, Class::C6]);
        if round % 2 == 0 {
            device.raw.close();
            eventually("it has gone", || total(&relay, "connections") == 2);
        }
        // Or the next connection of the same device displaces one that has gone without a word.
        identity = device.identity;
    }
    // Buffers are kept for the next halves, and there are never more than those of two connections.
    let carried = total(&relay, "carry_bytes");
    assert!(carried <= 2 * LANES * CARRY_BYTES, "{carried} bytes");
    assert_eq!(total(&relay, "bugs"), 0);
}

/// Somebody who sends datagrams, and hears what is answered.
struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    fn of(relay: &RelayProcess) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(relay.address()).expect("an address");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket }
    }

    fn send(&self, datagram: &[u8]) {
        self.socket.send(datagram).expect("it leaves");
    }

    fn hear(&self) -> Vec<u8> {
        let mut answer = [0; 2_048];
        let length = self.socket.recv(&mut answer).expect("an answer");
        answer[..length].to_vec()
    }

    /// Answers that are there already.
    fn heard(&self) -> Vec<Vec<u8>> {
        self.socket.set_nonblocking(true).expect("a socket");
        let mut all = Vec::new();
        let mut answer = [0; 2_048];
        while let Ok(length) = self.socket.recv(&mut answer) {
            all.push(answer[..length].to_vec());
        }
        self.socket.set_nonblocking(false).expect("a socket");
        all
    }
}

/// The relay has read everything that was sent, so far as it was not lost before it.
fn await_read(relay: &RelayProcess, device: &mut Device) {
    // What came before is in the same socket.
    assert!(matches!(device.ask(1, Request::Ping), Control::Pong { .. }));
    assert_eq!(total(relay, "bugs"), 0, "{}", relay.log().unwrap_or_default());
}

/// A datagram of this version, as large as the first of a client has to be, with these connection IDs.
fn of_version(version: u32, to: &[u8], from: &[u8], length: usize) -> Vec<u8> {
    let mut datagram = vec![0xc0];
    datagram.extend_from_slice(&version.to_be_bytes());
    for id in [to, from] {
        datagram.push(id.len() as u8);
        datagram.extend_from_slice(id);
    }
    datagram.resize(length, 0x5a);
    datagram
}

#[test]
fn an_unknown_version_is_answered_with_less_than_it_took() {
    let relay = relay();
    let stranger = Stranger::of(&relay);
    // Too small to be answered (RFC 9000 §5.2.2): the first answer is to the one behind.
    stranger.send(&of_version(0x1a2a_3a4a, b"too small", b"nobody", 1_199));
    let datagram = of_version(0x1a2a_3a4a, b"whatever it is", b"somebody", 1_200);
    stranger.send(&datagram);
    let answer = stranger.hear();
    assert!(answer.len() < 100, "{} bytes", answer.len());
    assert_eq!(answer[1..5], [0; 4], "Version Negotiation");
    let (to, rest) = answer[6..].split_at(usize::from(answer[5]));
    assert_eq!(to, b"somebody");
    let (from, versions) = rest[1..].split_at(usize::from(rest[0]));
    assert_eq!(from, b"whatever it is");
    assert!(versions.chunks(4).any(|version| version == [0, 0, 0, 1]), "{versions:x?}");
    // An answer is not answered.
    stranger.send(&of_version(0, b"whatever it is", b"somebody", 1_200));
    let mut device = Device::enrol_by(&relay, Transport::Quic);
    await_read(&relay, &mut device);
    assert_eq!(stranger.heard(), [[0; 0]; 0]);
}

#[test]
fn damaged_first_datagrams_begin_nothing() {
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    let stranger = Stranger::of(&relay);
    let before = memory(relay.id(), "VmRSS:");
    let [first, ..] = &first_flight()[..] else { panic!("a first flight") };
    let mut random = Lcg(11);
    let mut sent = 0;
    let mut send = |datagram: &[u8], a: &mut Device| {
        stranger.send(datagram);
        sent += datagram.len();
        // The socket's buffer holds a few hundred.
        if random.below(64) == 0 {
            await_read(&relay, a);
        }
    };
    let mut bits = Lcg(12);
    for at in 0..first.len() {
        let mut damaged = first.clone();
        damaged[at] ^= 1 << bits.below(8);
        send(&damaged, &mut a);
        send(&first[..at], &mut a);
    }
    await_read(&relay, &mut a);
    let heard: usize = stranger.heard().iter().map(Vec::len).sum();
    assert!(heard < sent, "{heard} bytes for {sent}");
    exchange(&mut a, &mut b, &[Class::C0, Class::C7]);
    assert_eq!(total(&relay, "quic_accepted"), 2, "nobody but the pair");
    assert_eq!(total(&relay, "connections"), 2);
    let grown = memory(relay.id(), "VmRSS:").saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more");
    // The same datagram as it was does begin something.
    stranger.send(first);
    assert!(!stranger.hear().is_empty());
    assert_eq!(total(&relay, "quic_accepted"), 3);
}

#[test]
fn garbage_of_any_length_is_nothing() {
    const ROUNDS: usize = 4_000;
    let relay = relay();
    let (mut a, mut b) = pair(&relay);
    let stranger = Stranger::of(&relay);
    let before = memory(relay.id(), "VmRSS:");
    let mut random = Lcg(13);
    for round in 0..ROUNDS {
        let length = if round % 2 == 0 { random.below(48) } else { random.below(1_500) };
        let mut garbage: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        match (round % 4, garbage.first_chunk_mut::<5>()) {
            // A short header, as connections that are made have.
            (0 | 1, Some(head)) => head[0] = 0x40 | head[0] & 0x3f,
            // A long one of the version that is spoken.
            (2, Some(head)) => *head = [0xc0 | head[0] & 0x3f, 0, 0, 0, 1],
            _ => {}
        }
        stranger.send(&garbage);
        for answer in stranger.heard() {
            assert!(answer.len() < 1_500, "{} bytes", answer.len());
        }
        if round % 100 == 0 {
            exchange(&mut a, &mut b, &[Class::C3]);
        }
    }
    await_read(&relay, &mut a);
    exchange(&mut a, &mut b, &[Class::C0, Class::C7]);
    assert_eq!(total(&relay, "quic_accepted"), 2);
    assert_eq!(total(&relay, "connections"), 2);
    let grown = memory(relay.id(), "VmRSS:").saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more");
}

/// A reset answers what belongs to no connection, and is smaller than that, so that two ends that have forgotten each
/// other fall silent (RFC 9000 §10.3).
#[test]
fn what_belongs_to_no_connection_is_answered_with_less() {
    let relay = relay();
    let stranger = Stranger::of(&relay);
    let mut length = 1_200;
    let mut answers = 0;
    loop {
        let mut datagram = vec![0x42; length];
        datagram[1..9].copy_from_slice(&[answers; 8]);
        stranger.socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        stranger.send(&datagram);
        let mut answer = [0; 2_048];
        let Ok(heard) = stranger.socket.recv(&mut answer) else { break };
        assert!(heard < length, "{heard} for {length}");
        assert_eq!(answer[0] & 0xc0, 0x40, "it looks like any other packet");
        length = heard;
        answers += 1;
    }
    assert!(answers > 0, "the first one is answered");
    assert_eq!(total(&relay, "bugs"), 0);
}
