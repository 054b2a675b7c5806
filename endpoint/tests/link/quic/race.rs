//! Which transport wins where only one gets through, and what a client remembers of it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hushwire::Client;
use hushwire::client::Options;
use hushwire::io::{CellStream, IoError, Racer, Transports};
use hushwire::keystore::RelayTrust;
use hushwire_wire::control::Transport;
use hushwire_wire::limits::ALPN;
use rustls::{ServerConfig, ServerConnection};
use tokio::sync::mpsc;

use super::server::{Greeter, QuicServer};
use crate::support::{in_time, server};

fn racer(pin: [u8; 32], transports: Transports) -> Racer {
    Racer::new(&RelayTrust::Pins(vec![pin]), transports).expect("one pin")
}

/// The same port of UDP and TCP.
fn port() -> (UdpSocket, TcpListener, SocketAddr) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = tcp.local_addr().expect("an address");
        // Somebody else may have it.
        if let Ok(udp) = UdpSocket::bind(address) {
            udp.set_nonblocking(true).expect("set");
            return (udp, tcp, address);
        }
    }
}

/// Makes handshakes over TCP for as long as the test runs. Says of each what `look` saw when the connection came.
fn serve_tls<T: Send + 'static>(
    tcp: TcpListener,
    config: ServerConfig,
    look: impl Fn() -> T + Send + 'static,
) -> mpsc::UnboundedReceiver<T> {
    let (said, saw) = mpsc::unbounded_channel();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = tcp.accept() {
            let _over = said.send(look());
            let mut tls = ServerConnection::new(config.clone()).expect("a configuration");
            // Until the client has gone.
            std::thread::spawn(move || {
                while tls.complete_io(&mut socket).is_ok_and(|(read, _)| read > 0) {}
            });
        }
    });
    saw
}

/// Says yes to whoever comes over QUIC, and keeps the connection.
fn serve_quic(server: QuicServer) {
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Some(incoming) = server.endpoint.accept().await {
            connections.push(incoming.await);
        }
    });
}

async fn connect(racer: &mut Racer, address: SocketAddr) -> Result<CellStream, IoError> {
    in_time(racer.connect(&address.to_string())).await
}

/// To which connections the datagrams belong that have come and that nobody has read: what stands in Initial packets
/// as their destination (RFC 9000 §17.2).
fn attempts(udp: &UdpSocket) -> BTreeSet<Vec<u8>> {
    let mut bytes = [0; 2_048];
    std::iter::from_fn(|| udp.recv(&mut bytes).ok().map(|_| bytes[6..][..8].to_vec())).collect()
}

#[tokio::test]
async fn a_network_that_swallows_udp_costs_a_head_start_once() {
    let (udp, tcp, address) = port();
    let (config, pin) = server::config(&[ALPN]);
    let mut saw = serve_tls(tcp, config, move || attempts(&udp));
    let mut racer = racer(pin, Transports::Both);
    let first = connect(&mut racer, address).await.expect("by TLS");
    assert_eq!(first.transport(), Transport::Tls);
    let before = saw.recv().await.expect("a connection");
    assert_eq!(before.len(), 1, "QUIC was tried before");
    let second = connect(&mut racer, address).await.expect("by TLS");
    assert_eq!(second.transport(), Transport::Tls);
    assert_eq!(saw.recv().await.expect("a connection"), before, "only its farewell came since");
}

#[tokio::test]
async fn where_udp_is_closed_tls_is_taken() {
    let (udp, tcp, address) = port();
    drop(udp);
    let (config, pin) = server::config(&[ALPN]);
    let _saw = serve_tls(tcp, config, || ());
    let stream = connect(&mut racer(pin, Transports::Both), address).await.expect("by TLS");
    assert_eq!(stream.transport(), Transport::Tls);
    let error = connect(&mut racer(pin, Transports::OnlyQuic), address).await;
    let error = error.expect_err("there is no QUIC");
    assert!(matches!(error, IoError::Connect { .. } | IoError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn quic_is_preferred_and_enough() {
    for tls in [false, true] {
        let (udp, tcp, address) = port();
        let (config, pin) = server::config(&[ALPN]);
        let mut saw = tls.then(|| serve_tls(tcp, config.clone(), || ()));
        serve_quic(QuicServer::on(udp, config, pin));
        for _ in 0..2 {
            let stream = connect(&mut racer(pin, Transports::Both), address).await;
            assert_eq!(stream.expect("by QUIC").transport(), Transport::Quic);
        }
        if let Some(saw) = &mut saw {
            let stream = connect(&mut racer(pin, Transports::OnlyTls), address).await;
            assert_eq!(stream.expect("by TLS").transport(), Transport::Tls);
            saw.recv().await.expect("a connection");
        }
    }
}

#[tokio::test]
async fn another_service_on_udp_does_no_harm() {
    let (udp, tcp, address) = port();
    let (config, pin) = server::config(&[ALPN]);
    let _saw = serve_tls(tcp, config, || ());
    let (other, other_pin) = server::config(&[b"h3"]);
    serve_quic(QuicServer::on(udp, other, other_pin));
    let stream = connect(&mut racer(pin, Transports::Both), address).await.expect("by TLS");
    assert_eq!(stream.transport(), Transport::Tls);
}

#[tokio::test]
async fn a_relay_without_room_for_quic_is_reached_by_tls() {
    let (udp, tcp, address) = port();
    let (config, pin) = server::config(&[ALPN]);
    let _saw = serve_tls(tcp, config.clone(), || ());
    let server = QuicServer::on(udp, config, pin);
    tokio::spawn(async move {
        while let Some(incoming) = server.endpoint.accept().await {
            incoming.refuse();
        }
    });
    let stream = connect(&mut racer(pin, Transports::Both), address).await.expect("by TLS");
    assert_eq!(stream.transport(), Transport::Tls);
}

#[tokio::test]
async fn where_both_fail_the_error_that_tells_more_is_told() {
    let (udp, tcp, address) = port();
    let (config, pin) = server::config(&[b"h2"]);
    let _saw = serve_tls(tcp, config.clone(), || ());
    serve_quic(QuicServer::on(udp, config, pin));
    let error = connect(&mut racer([6; 32], Transports::Both), address).await;
    let error = error.expect_err("no relay");
    assert!(matches!(error, IoError::WrongService), "{error}");

    let (udp, tcp, address) = port();
    drop(tcp);
    let (config, pin) = server::config(&[ALPN]);
    serve_quic(QuicServer::on(udp, config, pin));
    let error = connect(&mut racer([6; 32], Transports::Both), address).await;
    let error = error.expect_err("another key, and nobody");
    assert!(matches!(error, IoError::PinDiffers { .. }), "{error}");
}

#[tokio::test]
async fn a_client_that_lost_quic_in_silence_comes_back_by_tls() {
    let (udp, tcp, address) = port();
    let (config, pin) = server::config(&[ALPN]);
    let mut saw = serve_tls(tcp, config.clone(), || ());
    let server = QuicServer::on(udp, config, pin);
    // Both ends give up after the shorter time.
    server.give_up_after(Duration::from_secs(1));
    let directory = tempfile::tempdir().expect("a directory");
    let keystore = server::keystore(&directory, address, pin);
    let serve = async {
        let (connection, _) = server.accept().await;
        Greeter::greet(connection, &[]).await
    };
    let connecting = Client::connect(keystore, Options::default());
    let (client, _greeter) = in_time(async { tokio::join!(connecting, serve) }).await;
    let client = client.expect("welcomed");
    assert_eq!(client.relay_info().expect("connected").transport, Transport::Quic);
    // There is QUIC to be had still, within the head start of whoever goes first.
    in_time(async {
        tokio::select! {
            () = async { while server.endpoint.accept().await.is_some() {} } => {}
            came = saw.recv() => came.expect("by TLS"),
        }
    })
    .await;
}
