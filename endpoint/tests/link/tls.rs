//! TLS as an observer and an impostor see it: real servers and a real relay behind a listening proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hushwire::client::{Event, Options};
use hushwire::io::{Connector, IoError};
use hushwire::keystore::{Relay, RelayTrust};
use hushwire::{Client, Error};
use hushwire_wire::cell::{Class, HEADER_LEN, set_counter};
use hushwire_wire::control::{self, Control, GoawayReason, RequestId};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::in_time;
use crate::support::relay::{TestRelay, pair};
use crate::support::server::{self, keystore};

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A server whose key is pinned.
struct Server {
    config: Arc<ServerConfig>,
    pin: [u8; 32],
}

impl Server {
    fn new(alpn: &[&[u8]]) -> Self {
        let (config, pin) = server::config(alpn);
        Self { config: Arc::new(config), pin }
    }

    /// Accepts `count` connections and lets `serve` have each.
    fn serve(
        &self,
        count: usize,
        serve: impl Fn(usize, Tls) + Send + 'static,
    ) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = self.config.clone();
        let thread = std::thread::spawn(move || {
            for number in 0..count {
                let (tcp, _) = listener.accept().expect("a connection");
                let tls = ServerConnection::new(config.clone()).expect("a configuration");
                serve(number, StreamOwned::new(tls, tcp));
            }
        });
        (address, thread)
    }
}

async fn connect(address: SocketAddr, pin: [u8; 32]) -> Result<(), IoError> {
    let connector = Connector::new(&RelayTrust::Pins(vec![pin])).expect("one pin");
    connector.connect_tls(&address.to_string()).await.map(drop)
}

#[tokio::test]
async fn another_key_is_named_beside_the_expected_one() {
    let server = Server::new(&[b"hushwire/1"]);
    let (address, thread) = server.serve(1, |_, mut tls| {
        assert!(tls.read(&mut [0; 1]).is_err(), "nothing is said to a stranger");
    });
    let error = connect(address, [6; 32]).await.expect_err("another key");
    let IoError::PinDiffers { expected, found } = error else { panic!("{error}") };
    assert_eq!((expected[0].0, found.0), ([6; 32], server.pin));
    thread.join().expect("served");
}

#[tokio::test]
async fn one_of_several_pins_is_enough() {
    let server = Server::new(&[b"hushwire/1"]);
    let (address, thread) = server.serve(1, |_, mut tls| {
        let _ends = tls.read(&mut [0; 1]);
    });
    let trust = RelayTrust::Pins(vec![[6; 32], server.pin, [7; 32]]);
    let connector = Connector::new(&trust).expect("three pins");
    let stream = connector.connect_tls(&address.to_string()).await.expect("connected");
    assert!(!stream.is_resumed());
    drop(stream);
    thread.join().expect("served");
}

#[tokio::test]
async fn what_is_no_relay_is_said_to_be_none() {
    for alpn in [&[b"h2".as_slice()][..], &[]] {
        let server = Server::new(alpn);
        let (address, thread) = server.serve(1, |_, mut tls| {
            let _ends = tls.read(&mut [0; 1]);
        });
        let error = connect(address, server.pin).await.expect_err("another protocol");
        assert!(matches!(error, IoError::WrongService), "{error}");
        thread.join().expect("served");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let thread = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().expect("a connection");
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").expect("written");
        let _ends = tcp.read_to_end(&mut Vec::new());
    });
    let error = connect(address, [6; 32]).await.expect_err("no TLS");
    assert!(matches!(error, IoError::WrongService), "{error}");
    thread.join().expect("served");

    let error = connect(SocketAddr::from(([127, 0, 0, 1], 1)), [6; 32]).await.expect_err("nobody");
    assert!(matches!(error, IoError::Connect { .. }), "{error}");
    let connector = Connector::new(&RelayTrust::PublicCa).expect("always");
    let error = connector.connect_tls("no port").await.expect_err("no address");
    assert!(matches!(error, IoError::Address { .. }), "{error}");
}

/// The relay's side of an opening, for servers that are a relay up to WELCOME.
struct Greeter {
    tls: Tls,
    counter: u64,
}

impl Greeter {
    fn say(&mut self, control: &Control) {
        let mut cell = control::enclose(&control.encode()).expect("small");
        set_counter(&mut cell, self.counter);
        self.counter += 1;
        self.tls.write_all(&cell).expect("written");
    }

    fn greet(tls: Tls, pins: &[[u8; 32]]) -> Self {
        let mut greeter = Self { tls, counter: 0 };
        greeter.say(&server::challenge());
        let mut hello = vec![0; Class::C0.cell_len()];
        greeter.tls.read_exact(&mut hello).expect("a HELLO");
        let content = control::disclose(&hello[HEADER_LEN..]).expect("a control cell");
        assert!(matches!(Control::decode(content), Ok(Control::Hello(_))));
        greeter.say(&server::welcome(pins, &[]));
        greeter
    }
}

/// A relay that says farewell once; whether the second connection was resumed, and what the keystore trusts then.
async fn farewell(pins: &'static [[u8; 32]]) -> (bool, RelayTrust, [u8; 32]) {
    let server = Server::new(&[b"hushwire/1"]);
    let (address, thread) = server.serve(2, |number, tls| {
        let mut greeter = Greeter::greet(tls, pins);
        if number == 0 {
            let reason = GoawayReason::Draining;
            greeter.say(&Control::Goaway { reason, reconnect_after_ms: 120 });
        } else {
            let mut cell = vec![0; Class::C0.cell_len()];
            greeter.tls.read_exact(&mut cell).expect("a request");
            greeter.say(&Control::Pong { id: RequestId(1), unix_ms: 77 });
        }
        let _ends = greeter.tls.read_to_end(&mut Vec::new());
    });
    let directory = tempfile::tempdir().expect("a directory");
    let keystore = keystore(&directory, address, server.pin);
    let client = Client::connect(keystore, Options::default()).await.expect("connected");
    let mut events = client.events();
    let told = in_time(async {
        loop {
            if let Some(Event::Disconnected { next_try, .. }) = events.next().await {
                return next_try;
            }
        }
    })
    .await;
    assert_eq!(told, Some(Duration::from_millis(120)));
    let resumed = in_time(async {
        loop {
            if let Some(Event::Connected { resumed, .. }) = events.next().await {
                return resumed;
            }
        }
    })
    .await;
    assert_eq!(in_time(client.relay_clock()).await.expect("answered"), 77);
    drop(client);
    let served = tokio::task::spawn_blocking(move || thread.join().expect("served"));
    in_time(served).await.expect("served");
    let keystore = hushwire::keystore::Keystore::open(&directory.path().join("device"));
    let relay = keystore.expect("closed by the client").relay().cloned().expect("known");
    (resumed, relay.trust, server.pin)
}

#[tokio::test]
async fn after_a_farewell_the_client_comes_back_when_told() {
    let (resumed, trust, pin) = farewell(&[]).await;
    assert!(resumed, "the ticket of the first connection is good for the second");
    assert_eq!(trust, RelayTrust::Pins(vec![pin]));
}

#[tokio::test]
async fn a_pin_announced_by_the_relay_is_learnt() {
    let (resumed, trust, pin) = farewell(&[[9; 32]]).await;
    assert!(!resumed, "tickets stay with the trust they were issued under");
    assert_eq!(trust, RelayTrust::Pins(vec![pin, [9; 32]]));
}

#[tokio::test]
async fn a_server_that_sends_no_cells_is_no_relay() {
    let server = Server::new(&[b"hushwire/1"]);
    let (address, thread) = server.serve(1, |_, mut tls| {
        let _handshake = tls.conn.complete_io(&mut tls.sock);
        let mut cell = vec![0; Class::C0.cell_len()];
        cell[0] = 200;
        tls.write_all(&cell).expect("written");
        let _ends = tls.read_to_end(&mut Vec::new());
    });
    let directory = tempfile::tempdir().expect("a directory");
    let keystore = keystore(&directory, address, server.pin);
    let error = in_time(Client::connect(keystore, Options::default())).await.expect_err("no relay");
    assert!(matches!(error, Error::Link(_)) && !error.is_retryable(), "{error}");
    thread.join().expect("served");
}

/// Passes bytes between a client and a relay and keeps what the client sent.
fn proxy(relay: SocketAddr) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a connection");
        let mut server = TcpStream::connect(relay).expect("the relay");
        let (mut from, mut to) =
            (server.try_clone().expect("a copy"), client.try_clone().expect("a copy"));
        let back = std::thread::spawn(move || {
            let _gone = std::io::copy(&mut from, &mut to);
        });
        let mut kept = Vec::new();
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            server.write_all(&buffer[..count]).expect("written");
        }
        let _gone = server.shutdown(Shutdown::Both);
        back.join().expect("copied");
        kept
    });
    (address, thread)
}

#[tokio::test]
async fn an_observer_sees_nothing_but_buckets() {
    let relay = TestRelay::start(1, "");
    let bob = relay.enroll("bob").await;
    let alice = relay.enroll("alice").await;
    pair(&alice, &bob).await;
    let bob_id = bob.device();
    alice.close().await;
    // Again, past the proxy.
    let (address, observed) = proxy(relay.relay.address());
    let mut keystore = hushwire::keystore::Keystore::open(&relay.directory.path().join("alice"))
        .expect("closed before");
    let known = keystore.relay().cloned().expect("enrolled");
    keystore.set_relay(Relay { address: address.to_string(), ..known }).expect("stored");
    let alice = Client::connect(keystore, Options::default()).await.expect("connected");
    for length in [0, 10, 200, 3_000, 40_000, 300_000] {
        let (receipt, message) =
            in_time(async { tokio::join!(alice.send(bob_id, vec![1; length]), bob.receive()) })
                .await;
        receipt.expect("delivered");
        assert_eq!(message.expect("received").bytes.len(), length);
    }
    drop(alice);
    let sent = tokio::task::spawn_blocking(move || observed.join().expect("observed"));
    let sent = in_time(sent).await.expect("observed");
    let mut records = Vec::new();
    let mut rest = &sent[..];
    while let Some((&[kind, _, _, high, low], behind)) = rest.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        records.push((kind, length));
        rest = &behind[length..];
    }
    assert!(rest.is_empty(), "whole records to the very end");
    // ClientHello, change_cipher_spec and Finished; after them only cells: 23 is application data.
    let first = records.iter().position(|(kind, _)| *kind == 23).expect("Finished") + 1;
    let tag = 17;
    let buckets: Vec<usize> = Class::ALL[..7].iter().map(|class| class.cell_len() + tag).collect();
    let cells = &records[first..];
    assert!(cells.len() > 15);
    for (kind, length) in cells {
        assert!(*kind == 23 && buckets.contains(length), "a record of {length} bytes, type {kind}");
    }
}
