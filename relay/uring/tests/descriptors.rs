//! Churn leaves no descriptor behind. Alone in its process, since it counts all of them.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test")]

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use hushwire_uring::sockets::{self, ListenOptions, Received};
use hushwire_uring::{Completion, DormantRing, Interest, Kind, Ring, RingOptions, Token};

const ACCEPT: Kind = Kind::accept(0);
const POLL: Kind = Kind::poll(0);
const CANCEL: Kind = Kind::cancel(0);

const CONNECTIONS: u32 = 20_000;
const BATCH: u32 = 250;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn twenty_thousand_connects_and_disconnects_leave_no_descriptor() {
    let before = descriptors();
    let listener =
        sockets::listen("0.0.0.0:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let mut server = Server::new();
    let accept = Token::new(ACCEPT, 0, 0);
    server.ring.accept_multishot(listener.socket.as_fd(), accept).unwrap();
    server.ring.submit().unwrap();
    let idle = descriptors();

    for batch in 0..CONNECTIONS / BATCH {
        // An address for each batch, so that ports in TIME_WAIT never run out.
        let address = Ipv4Addr::new(127, 0, 1, batch as u8);
        let peers: Vec<_> = (0..BATCH)
            .map(|_| TcpStream::connect(SocketAddr::from((address, listener.address.port()))))
            .collect::<Result<_, _>>()
            .unwrap();
        for (way, mut peer) in peers.into_iter().enumerate() {
            match way % 4 {
                0 => {}
                1 => peer.write_all(b"words, and the end with them").unwrap(),
                2 => peer.shutdown(std::net::Shutdown::Write).unwrap(),
                _ => rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap(),
            }
        }
        server.serve_until((batch + 1) * BATCH);
        assert_eq!(descriptors(), idle, "after batch {batch}");
    }
    assert_eq!(server.ring.armed(), 1);
    drop(server);
    drop(listener);
    assert_eq!(descriptors(), before);
}

/// Accepts, reads to the end, closes; a connection that is closing waits for both completions.
struct Server {
    ring: Ring,
    connections: HashMap<u32, OwnedFd>,
    accepted: u32,
    closed: u32,
}

impl Server {
    fn new() -> Self {
        let ring = DormantRing::new(RingOptions::default()).unwrap().enable().unwrap();
        Self { ring, connections: HashMap::new(), accepted: 0, closed: 0 }
    }

    fn serve_until(&mut self, closed: u32) {
        let mut completions = Vec::new();
        while self.closed < closed || self.ring.armed() > 1 {
            assert!(self.ring.wait(Some(Duration::from_secs(20))).unwrap(), "stuck");
            self.ring.drain(&mut completions);
            for completion in completions.drain(..) {
                self.handle(completion);
            }
        }
    }

    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { socket, more, .. } => {
                assert!(more);
                let token = Token::new(POLL, 0, self.accepted);
                self.ring.poll_multishot(socket.as_fd(), token, Interest::Read).unwrap();
                self.connections.insert(self.accepted, socket);
                self.accepted += 1;
            }
            Completion::Polled { token, more, .. } => {
                let socket = &self.connections[&token.index()];
                let over = loop {
                    match sockets::recv(socket.as_fd(), &mut [0; 16]) {
                        Ok(Received::Bytes(_)) => {}
                        Ok(Received::Empty) => break false,
                        Ok(Received::End) | Err(_) => break true,
                    }
                };
                if over {
                    sockets::shutdown_write(socket.as_fd()).unwrap();
                    self.ring.cancel(token, token.with_kind(CANCEL)).unwrap();
                }
                assert!(more);
            }
            Completion::PollEnded { token, .. } => {
                assert!(self.connections.remove(&token.index()).is_some());
                self.closed += 1;
            }
            Completion::Cancelled { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
