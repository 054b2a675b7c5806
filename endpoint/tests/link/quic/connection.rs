//! The opening, lanes, what breaks the protocol, and what an observer could connect.

use std::collections::BTreeSet;
use std::time::Duration;

use hushwire::client::{Options, Transports};
use hushwire::io::{CellStream, Connector, Filled, IoError, Racer};
use hushwire::keystore::RelayTrust;
use hushwire::link::LinkError;
use hushwire::{Client, Error};
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::control::{Control, GoawayReason, RequestId, Transport};
use hushwire_wire::limits::ALPN;
use quinn::{Connection, ConnectionError, RecvStream};

use super::server::{Greeter, QuicServer, cover};
use crate::support::{in_time, server};

fn connector(pin: [u8; 32]) -> Connector {
    Connector::new(&RelayTrust::Pins(vec![pin])).expect("one pin")
}

/// A connection and its other end.
async fn connected(server: &QuicServer) -> (CellStream, Connection) {
    let (connector, address) = (connector(server.pin), server.address.to_string());
    let (stream, (connection, _)) =
        in_time(async { tokio::join!(connector.connect_quic(&address, None), server.accept()) })
            .await;
    (stream.expect("connected"), connection)
}

/// Why there is no connection, while the server does as it does.
async fn refused(server: &QuicServer, pin: [u8; 32]) -> IoError {
    let (connector, address) = (connector(pin), server.address.to_string());
    let serve = async {
        while let Some(incoming) = server.endpoint.accept().await {
            incoming.await.expect_err("no handshake");
        }
    };
    let refused = async {
        tokio::select! {
            connected = connector.connect_quic(&address, None) => connected.expect_err("refused"),
            () = serve => unreachable!("the endpoint is open"),
        }
    };
    in_time(refused).await
}

async fn next_cell(stream: &mut CellStream) -> Result<Vec<u8>, Error> {
    loop {
        let filled = stream.fill()?;
        if let Some(cell) = stream.next_cell().map_err(Error::Link)? {
            return Ok(cell.to_vec());
        }
        match filled {
            Filled::Ended => return Err(IoError::Closed.into()),
            Filled::Some => {}
            Filled::Drained => stream.ready(false).await?,
        }
    }
}

/// Sends until the server has acknowledged everything.
pub(super) async fn settle(stream: &mut CellStream) {
    while !stream.flush().expect("open") || !stream.is_settled() {
        stream.ready(true).await.expect("open");
        stream.fill().expect("open");
    }
}

fn lane_and_counter(cell: &[u8]) -> (u32, u64) {
    let header = Header::decode(cell.first_chunk::<HEADER_LEN>().expect("whole")).expect("good");
    (header.lane, header.counter)
}

#[tokio::test]
async fn a_device_is_welcomed_and_proves_that_it_came_by_quic() {
    let server = QuicServer::new(&[ALPN]);
    let directory = tempfile::tempdir().expect("a directory");
    let keystore = server::keystore(&directory, server.address, server.pin);
    let options = Options { transports: Transports::OnlyQuic, ..Options::default() };
    let serve = async {
        let (connection, id) = server.accept().await;
        assert_eq!(id.len(), 8, "as long as those that relays give");
        Greeter::greet(connection, &[]).await
    };
    let (client, mut greeter) =
        in_time(async { tokio::join!(Client::connect(keystore, options), serve) }).await;
    let client = client.expect("welcomed");
    assert_eq!(client.relay_info().expect("connected").transport, Transport::Quic);
    let answer = async {
        let mut ping = vec![0; Class::C0.cell_len()];
        greeter.hello.read_exact(&mut ping).await.expect("a request");
        greeter.say(&Control::Pong { id: RequestId(1), unix_ms: 77 }).await;
    };
    let (clock, ()) = in_time(async { tokio::join!(client.relay_clock(), answer) }).await;
    assert_eq!(clock.expect("answered"), 77);
    in_time(client.close()).await;
    let closed = in_time(greeter.connection.closed()).await;
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
    assert_eq!((close.error_code.into_inner(), close.reason.len()), (0, 0));
}

#[tokio::test]
async fn another_key_is_named_beside_the_expected_one() {
    let server = QuicServer::new(&[ALPN]);
    let error = refused(&server, [6; 32]).await;
    let IoError::PinDiffers { expected, found } = error else { panic!("{error}") };
    assert_eq!((expected[0].0, found.0), ([6; 32], server.pin));
}

#[tokio::test]
async fn what_is_no_relay_is_said_to_be_none() {
    let server = QuicServer::new(&[b"h3"]);
    let error = refused(&server, server.pin).await;
    assert!(matches!(error, IoError::WrongService), "{error}");
}

#[tokio::test]
async fn a_relay_may_have_no_room() {
    let server = QuicServer::new(&[ALPN]);
    let (connector, address) = (connector(server.pin), server.address.to_string());
    let refuse = async { server.endpoint.accept().await.expect("a client").refuse() };
    let (connected, ()) =
        in_time(async { tokio::join!(connector.connect_quic(&address, None), refuse) }).await;
    let error = connected.expect_err("refused");
    assert!(matches!(error, IoError::QuicRefused), "{error}");
}

/// Nobody waits for a port that is closed until time is over.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_closed_port_is_noticed() {
    for host in ["127.0.0.1", "::1"] {
        let Ok(socket) = std::net::UdpSocket::bind((host, 0)) else { continue };
        let address = socket.local_addr().expect("an address").to_string();
        drop(socket);
        let connected = in_time(connector([1; 32]).connect_quic(&address, None)).await;
        let error = connected.expect_err("nobody is there");
        let IoError::Connect { error, .. } = error else { panic!("{error}") };
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_connection_is_resumed_and_its_ticket_used_once() {
    let server = QuicServer::new(&[ALPN]);
    let (connector, address) = (connector(server.pin), server.address.to_string());
    let mut resumed = Vec::new();
    for _ in 0..2 {
        let serve = async {
            let (connection, _) = server.accept().await;
            let mut lane = connection.open_uni().await.expect("a lane");
            lane.write_all(&cover(Class::C0, 0, 0)).await.expect("written");
            (connection, lane)
        };
        let (stream, _open) = in_time(async {
            tokio::join!(
                async {
                    let stream = connector.connect_quic(&address, None).await;
                    let mut stream = stream.expect("connected");
                    // The tickets come before it.
                    next_cell(&mut stream).await.expect("a cell");
                    stream
                },
                serve
            )
        })
        .await;
        resumed.push(stream.is_resumed());
    }
    assert_eq!(resumed, [false, true]);
}

/// Reads whole cells of one class off a lane, and who they say they are.
async fn read_lane(
    mut lane: RecvStream,
    class: Class,
    count: usize,
) -> (RecvStream, Vec<(u32, u64)>) {
    let mut cells = Vec::new();
    for _ in 0..count {
        let mut cell = vec![0; class.cell_len()];
        lane.read_exact(&mut cell).await.expect("a cell");
        cells.push(lane_and_counter(&cell));
    }
    (lane, cells)
}

#[tokio::test]
async fn every_lane_is_a_stream_of_its_own() {
    const CELLS: usize = 40;
    let server = QuicServer::new(&[ALPN]);
    let (mut stream, connection) = connected(&server).await;
    for counter in 0..CELLS as u64 {
        // From the highest lane down, whose stream opens those below.
        for lane in (0..8).rev() {
            stream.push(&cover(Class::C5, lane, counter)).expect("taken");
        }
    }
    let read = async {
        let mut readers = Vec::new();
        for _ in 0..8 {
            let lane = connection.accept_uni().await.expect("a lane");
            let index = lane.id().index();
            readers.push((index, tokio::spawn(read_lane(lane, Class::C5, CELLS))));
        }
        // A lane that quinn's caller lets go of is stopped.
        let mut lanes = Vec::new();
        for (index, reader) in readers {
            let (lane, cells) = reader.await.expect("read");
            lanes.push(lane);
            let expect: Vec<_> = (0..CELLS as u64).map(|counter| (index as u32, counter)).collect();
            assert_eq!(cells, expect);
        }
        lanes
    };
    let ((), _lanes) = in_time(async { tokio::join!(settle(&mut stream), read) }).await;
    // What was acknowledged has arrived, whatever becomes of the connection.
    drop(stream);
    let closed = in_time(connection.closed()).await;
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
}

#[tokio::test]
async fn a_lane_that_stalls_in_the_middle_of_a_cell_holds_up_no_other() {
    let server = QuicServer::new(&[ALPN]);
    let (mut stream, connection) = connected(&server).await;
    let mut lanes = Vec::new();
    for _ in 0..8 {
        lanes.push(connection.open_uni().await.expect("eight lanes are granted"));
    }
    let stalled = cover(Class::C7, 2, 0);
    let (half, rest) = stalled.split_at(20_000);
    lanes[2].write_all(half).await.expect("written");
    let mut expect = BTreeSet::new();
    for counter in 0..20 {
        for lane in [7, 0, 1, 3, 4, 5, 6] {
            let cell = cover(Class::ALL[lane], lane as u32, counter);
            lanes[lane].write_all(&cell).await.expect("written");
            expect.insert((lane as u32, counter));
        }
    }
    let mut next = [0; 8];
    while !expect.is_empty() {
        let cell = in_time(next_cell(&mut stream)).await.expect("a cell");
        let (lane, counter) = lane_and_counter(&cell);
        assert_eq!(counter, next[lane as usize], "in order on lane {lane}");
        next[lane as usize] += 1;
        assert!(expect.remove(&(lane, counter)));
    }
    lanes[2].write_all(rest).await.expect("written");
    let cell = in_time(next_cell(&mut stream)).await.expect("a cell");
    assert!(cell == stalled, "whole and unharmed");
}

#[tokio::test]
async fn eight_lanes_are_granted_and_fills_thrown_away() {
    let server = QuicServer::new(&[ALPN]);
    let (mut stream, connection) = connected(&server).await;
    let soon = Duration::from_millis(20);
    let mut lanes = Vec::new();
    for _ in 0..8 {
        lanes.push(in_time(connection.open_uni()).await.expect("a lane"));
    }
    assert!(tokio::time::timeout(soon, connection.open_uni()).await.is_err(), "a ninth lane");
    assert!(tokio::time::timeout(soon, connection.open_bi()).await.is_err(), "both ways");
    // More than it keeps, with cells before, between and behind.
    for counter in 0..4 {
        for fill in [1, 700, 1_100] {
            connection.send_datagram(vec![0x5a; fill].into()).expect("a fill is taken");
        }
        lanes[3].write_all(&cover(Class::C2, 3, counter)).await.expect("written");
    }
    for counter in 0..4 {
        let cell = in_time(next_cell(&mut stream)).await.expect("a cell");
        assert_eq!(lane_and_counter(&cell), (3, counter));
    }
}

#[tokio::test]
async fn a_lane_never_ends() {
    let check = async |end: &'static str| {
        let server = QuicServer::new(&[ALPN]);
        let (mut stream, connection) = connected(&server).await;
        let mut lane = connection.open_uni().await.expect("a lane");
        lane.write_all(&cover(Class::C1, 0, 0)).await.expect("written");
        next_cell(&mut stream).await.expect("a good cell");
        stream.push(&cover(Class::C0, 0, 0)).expect("taken");
        settle(&mut stream).await;
        let mut theirs = connection.accept_uni().await.expect("a lane");
        match end {
            "finished" => lane.finish().expect("open"),
            "reset" => lane.reset(0u32.into()).expect("open"),
            _ => theirs.stop(0u32.into()).expect("open"),
        }
        let error = next_cell(&mut stream).await.expect_err("broken");
        let Error::Link(LinkError::Malformed(why)) = error else { panic!("{end}: {error}") };
        assert!(why.contains(end), "{end}: {why}");
    };
    for end in ["finished", "reset", "stopped"] {
        in_time(check(end)).await;
    }
}

#[tokio::test]
async fn a_cell_on_the_wrong_lane_breaks_the_protocol() {
    let server = QuicServer::new(&[ALPN]);
    let (mut stream, connection) = connected(&server).await;
    let mut lane = connection.open_uni().await.expect("a lane");
    lane.write_all(&cover(Class::C0, 1, 0)).await.expect("written");
    let error = in_time(next_cell(&mut stream)).await.expect_err("broken");
    assert!(matches!(error, Error::Link(LinkError::Malformed(_))), "{error}");
}

#[tokio::test]
async fn a_connection_goes_on_from_another_address() {
    let server = QuicServer::new(&[ALPN]);
    let (mut stream, connection) = connected(&server).await;
    let mut down = connection.open_uni().await.expect("a lane");
    stream.push(&cover(Class::C0, 0, 0)).expect("taken");
    in_time(settle(&mut stream)).await;
    let mut up = connection.accept_uni().await.expect("a lane");
    let before = connection.remote_address();
    stream.rebind().expect("another socket");
    stream.push(&cover(Class::C6, 0, 1)).expect("taken");
    in_time(async { tokio::join!(settle(&mut stream), read_two(&mut up)) }).await;
    assert_ne!(connection.remote_address(), before);
    down.write_all(&cover(Class::C6, 0, 0)).await.expect("written");
    let cell = in_time(next_cell(&mut stream)).await.expect("a cell");
    assert_eq!(lane_and_counter(&cell), (0, 0));
}

async fn read_two(lane: &mut RecvStream) {
    for (class, expect) in [(Class::C0, (0, 0)), (Class::C6, (0, 1))] {
        let mut cell = vec![0; class.cell_len()];
        lane.read_exact(&mut cell).await.expect("a cell");
        assert_eq!(lane_and_counter(&cell), expect);
    }
}

#[tokio::test]
async fn each_id_of_the_relay_is_used_once() {
    let server = QuicServer::new(&[ALPN]);
    let (address, ids) = (server.address.to_string(), [[0xa1; 8], [0xb2; 8]]);
    let trust = RelayTrust::Pins(vec![server.pin]);
    let mut racer = Racer::new(&trust, Transports::OnlyQuic).expect("one pin");
    racer.set_quic_ids(ids.to_vec());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (stream, (_connection, id)) =
            in_time(async { tokio::join!(racer.connect(&address), server.accept()) }).await;
        drop(stream.expect("connected"));
        seen.push(id);
    }
    let distinct: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), 4, "none twice: {seen:?}");
    assert!(ids.iter().all(|id| distinct.contains(&id[..])), "both were used: {seen:?}");
    assert!(seen.iter().all(|id| id.len() == 8), "{seen:?}");
}

#[tokio::test]
async fn the_ids_of_a_welcome_are_for_the_next_connection() {
    let server = QuicServer::new(&[ALPN]);
    let directory = tempfile::tempdir().expect("a directory");
    let keystore = server::keystore(&directory, server.address, server.pin);
    let options = Options { transports: Transports::OnlyQuic, ..Options::default() };
    let serve = async {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (connection, id) = server.accept().await;
            seen.push(id);
            let mut greeter = Greeter::greet(connection, &[[seen.len() as u8; 8]]).await;
            let reason = GoawayReason::Draining;
            greeter.say(&Control::Goaway { reason, reconnect_after_ms: 0 }).await;
            // The device closes.
            greeter.connection.closed().await;
        }
        seen
    };
    let (client, seen) =
        in_time(async { tokio::join!(Client::connect(keystore, options), serve) }).await;
    drop(client.expect("connected"));
    assert_eq!(seen[1..], [vec![1; 8], vec![2; 8]]);
}
