//! Servers of QUIC that are a relay up to WELCOME, or nearly one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hushwire::identity;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, set_counter};
use hushwire_wire::control::{self, Control, Transport};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TransportConfig};
use sha2::{Digest, Sha256};

use crate::support::server;

/// A server whose key is pinned, on a UDP port of its own.
pub(super) struct QuicServer {
    pub(super) endpoint: Endpoint,
    pub(super) address: SocketAddr,
    pub(super) pin: [u8; 32],
    config: quinn::ServerConfig,
}

impl QuicServer {
    pub(super) fn new(alpn: &[&[u8]]) -> Self {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (config, pin) = server::config(alpn);
        Self::on(socket, config, pin)
    }

    pub(super) fn on(
        socket: std::net::UdpSocket,
        config: rustls::ServerConfig,
        pin: [u8; 32],
    ) -> Self {
        let address = socket.local_addr().expect("an address");
        let crypto = QuicServerConfig::try_from(config).expect("TLS 1.3");
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let (runtime, ours) = (Arc::new(quinn::TokioRuntime), Some(config.clone()));
        let endpoint = Endpoint::new(EndpointConfig::default(), ours, socket, runtime);
        Self { endpoint: endpoint.expect("an endpoint"), address, pin, config }
    }

    /// Connections made from now on end after so much silence.
    pub(super) fn give_up_after(&self, time: Duration) {
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(time.try_into().expect("short")));
        let mut config = self.config.clone();
        config.transport_config(Arc::new(transport));
        self.endpoint.set_server_config(Some(config));
    }

    /// The next connection, and the ID by which its first packet was sent.
    pub(super) async fn accept(&self) -> (Connection, Vec<u8>) {
        let incoming = self.endpoint.accept().await.expect("the endpoint is open");
        let id = incoming.orig_dst_cid().to_vec();
        (incoming.await.expect("a handshake"), id)
    }
}

/// The relay's side of a connection.
pub(super) struct Greeter {
    pub(super) connection: Connection,
    pub(super) lanes: Vec<SendStream>,
    pub(super) hello: RecvStream,
    counters: [u64; 8],
}

impl Greeter {
    /// Says CHALLENGE, checks the HELLO's proof and says WELCOME.
    pub(super) async fn greet(connection: Connection, quic_ids: &[[u8; 8]]) -> Self {
        let mut lane = connection.open_uni().await.expect("a lane");
        let challenge = server::challenge();
        lane.write_all(&cell(&challenge, 0)).await.expect("written");
        let mut hello = connection.accept_uni().await.expect("a lane");
        assert_eq!(hello.id().index(), 0, "HELLO comes on lane 0");
        check_hello(&connection, &challenge.encode(), &mut hello).await;
        lane.write_all(&cell(&server::welcome(&[], quic_ids), 1)).await.expect("written");
        Self { connection, lanes: vec![lane], hello, counters: [2, 0, 0, 0, 0, 0, 0, 0] }
    }

    pub(super) async fn say(&mut self, control: &Control) {
        let cell = cell(control, self.counter(0));
        self.lanes[0].write_all(&cell).await.expect("written");
    }

    fn counter(&mut self, lane: usize) -> u64 {
        self.counters[lane] += 1;
        self.counters[lane] - 1
    }
}

async fn check_hello(connection: &Connection, challenge: &[u8], lane: &mut RecvStream) {
    let mut cell = vec![0; Class::C0.cell_len()];
    lane.read_exact(&mut cell).await.expect("a HELLO");
    let content = control::disclose(&cell[HEADER_LEN..]).expect("a control cell");
    let Ok(Control::Hello(hello)) = Control::decode(content) else { panic!("no HELLO") };
    let mut unproven = content.to_vec();
    control::replace_proof(&mut unproven, &[0; 64]).expect("a HELLO has one");
    let mut transcript = Sha256::new();
    transcript.update(challenge);
    transcript.update(&unproven);
    let mut binding = [0; 32];
    connection
        .export_keying_material(&mut binding, b"EXPORTER-hushwire/1", &[])
        .expect("an exporter");
    let parts: [&[u8]; 3] = [&transcript.finalize(), &[Transport::Quic as u8], &binding];
    identity::verify(&hello.device, "hushwire/1 hello", &parts, &hello.proof).expect("proven");
}

fn cell(control: &Control, counter: u64) -> Vec<u8> {
    let mut cell = control::enclose(&control.encode()).expect("small");
    set_counter(&mut cell, counter);
    cell
}

/// A cell that says nothing but where it belongs.
pub(super) fn cover(class: Class, lane: u32, counter: u64) -> Vec<u8> {
    let mut cell = Header::cover(class, lane, counter).encode().to_vec();
    cell.resize(class.cell_len(), 7);
    cell
}
