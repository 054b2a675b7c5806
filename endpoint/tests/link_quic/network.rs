//! A network that fails in the middle.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hushwire::io::{CellStream, Connector, Filled};
use hushwire::keystore::RelayTrust;
use hushwire_wire::cell::Class;
use quinn::Connection;
use tokio::net::UdpSocket;

use crate::quic::{QuicServer, cover};
use crate::{ALPN, in_time};

/// Passes datagrams between one client and a server, while it does.
struct Network {
    address: SocketAddr,
    is_out: Arc<AtomicBool>,
}

impl Network {
    async fn before(server: SocketAddr) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = front.local_addr().expect("an address");
        let is_out = Arc::new(AtomicBool::new(false));
        let out = is_out.clone();
        tokio::spawn(async move {
            let (mut there, mut here) = ([0; 2_048], [0; 2_048]);
            let mut client = None;
            loop {
                let (socket, to, bytes) = tokio::select! {
                    came = front.recv_from(&mut there) => {
                        let (length, from) = came.expect("a datagram");
                        client = Some(from);
                        (&back, server, &there[..length])
                    }
                    came = back.recv(&mut here) => {
                        let length = came.expect("a datagram");
                        (&front, client.expect("it came first"), &here[..length])
                    }
                };
                if !out.load(Ordering::Relaxed) {
                    // What finds no room is lost.
                    let _lost = socket.send_to(bytes, to).await;
                }
            }
        });
        Self { address, is_out }
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
