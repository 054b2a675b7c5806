//! What a network between does, and sees.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hushwire::io::{CellStream, Connector, Filled};
use hushwire::keystore::RelayTrust;
use hushwire_wire::cell::Class;
use hushwire_wire::filler::SPARE_BYTES;
use hushwire_wire::limits::ALPN;
use quinn::Connection;
use tokio::net::UdpSocket;

use super::connection::settle;
use super::server::{QuicServer, cover};
use crate::support::in_time;

/// Passes datagrams between one client and a server, while it does.
struct Network {
    address: SocketAddr,
    is_out: Arc<AtomicBool>,
    /// The sizes of the client's datagrams.
    sizes: Receiver<usize>,
}

/// The network passes no larger datagrams: the least that QUIC asks of one (RFC 9000 §14).
const DATAGRAM_BYTES_MAX: usize = 1_200;
/// By how much a datagram may be shorter that ends the largest cell: a packet number of one byte where two were allowed for
/// makes room in each.
const SHORT_BYTES_MAX: usize = SPARE_BYTES + Class::C7.cell_len() / DATAGRAM_BYTES_MAX + 2;
/// What an acknowledgement alone takes, here where nothing is lost.
const ACKNOWLEDGEMENT_BYTES_MAX: usize = 60;

impl Network {
    async fn before(server: SocketAddr) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = front.local_addr().expect("an address");
        let is_out = Arc::new(AtomicBool::new(false));
        let out = is_out.clone();
        let (seen, sizes) = channel();
        tokio::spawn(async move {
            let (mut there, mut here) = ([0; 2_048], [0; 2_048]);
            let mut client = None;
            loop {
                let (socket, to, bytes) = tokio::select! {
                    came = front.recv_from(&mut there) => {
                        let (length, from) = came.expect("a datagram");
                        client = Some(from);
                        // Nobody may want to know.
                        let _unread = seen.send(length);
                        (&back, server, &there[..length])
                    }
                    came = back.recv(&mut here) => {
                        let length = came.expect("a datagram");
                        (&front, client.expect("it came first"), &here[..length])
                    }
                };
                if !out.load(Ordering::Relaxed) && bytes.len() <= DATAGRAM_BYTES_MAX {
                    // What finds no room is lost.
                    let _lost = socket.send_to(bytes, to).await;
                }
            }
        });
        Self { address, is_out, sizes }
    }

    /// The sizes of the client's datagrams that may have carried a cell, since last asked.
    fn sizes(&self) -> Vec<usize> {
        let passed = ACKNOWLEDGEMENT_BYTES_MAX + 1..=DATAGRAM_BYTES_MAX;
        self.sizes.try_iter().filter(|size| passed.contains(size)).collect()
    }
}

async fn connected(server: &QuicServer, address: SocketAddr) -> (CellStream, Connection) {
    let connector = Connector::new(&RelayTrust::Pins(vec![server.pin])).expect("one pin");
    let address = address.to_string();
    let (stream, (connection, _)) =
        in_time(async { tokio::join!(connector.connect_quic(&address, None), server.accept()) })
            .await;
    (stream.expect("connected"), connection)
}

/// Takes so many cells.
async fn take(stream: &mut CellStream, mut count: usize) {
    while count > 0 {
        let filled = stream.fill().expect("open");
        while count > 0 && stream.next_cell().expect("good cells").is_some() {
            count -= 1;
        }
        if count > 0 && filled == Filled::Drained {
            stream.ready(false).await.expect("open");
        }
    }
}

#[tokio::test]
async fn a_device_that_only_receives_is_not_silenced_by_an_outage() {
    const CELLS: usize = 600;
    let server = QuicServer::new(&[ALPN]);
    let network = Network::before(server.address).await;
    let (mut stream, connection) = connected(&server, network.address).await;
    let mut lane = connection.open_uni().await.expect("a lane");
    let send = tokio::spawn(async move {
        for counter in 0..CELLS as u64 {
            lane.write_all(&cover(Class::C7, 0, counter)).await.expect("open");
        }
        lane
    });
    in_time(take(&mut stream, CELLS / 3)).await;
    for _ in 0..2 {
        network.is_out.store(true, Ordering::Relaxed);
        let outage = tokio::time::timeout(Duration::from_secs(3), take(&mut stream, CELLS));
        assert!(outage.await.is_err(), "nothing comes");
        network.is_out.store(false, Ordering::Relaxed);
        in_time(take(&mut stream, CELLS / 10)).await;
    }
    let _open = send;
}

#[tokio::test]
async fn datagrams_with_cells_are_as_large_as_the_path_takes() {
    const ROUNDS: usize = 32;
    let server = QuicServer::new(&[ALPN]);
    let network = Network::before(server.address).await;
    let (mut stream, connection) = connected(&server, network.address).await;
    // Somebody reads, so that there is always credit.
    let reads = tokio::spawn(async move {
        let mut lane = connection.accept_uni().await.expect("a lane");
        while lane.id().index() != 7 {
            lane = connection.accept_uni().await.expect("a lane");
        }
        let mut buffer = vec![0; 65_536];
        while lane.read(&mut buffer).await.is_ok_and(|read| read.is_some()) {}
    });
    // The last of eight lanes opens all, and offsets are of one length behind its first large cell.
    let first = [Class::C7];
    let mut counter = 0;
    for class in first.into_iter().chain(Class::ALL) {
        network.sizes();
        for _ in 0..ROUNDS {
            stream.push(&cover(class, 7, counter)).expect("taken");
            counter += 1;
            in_time(settle(&mut stream)).await;
        }
        let sizes = network.sizes();
        let is_filled = |&size: &usize| size + SHORT_BYTES_MAX >= DATAGRAM_BYTES_MAX;
        let (filled, odd): (Vec<usize>, Vec<usize>) =
            sizes.iter().partition(|size| is_filled(size));
        assert!(filled.iter().sum::<usize>() > ROUNDS * class.cell_len(), "all passed here");
        // What a slow machine makes the endpoint send again is not filled.
        assert!(odd.len() * 4 < ROUNDS, "{} for {ROUNDS} of {class:?}: {odd:?}", odd.len());
    }
    reads.abort();
}
