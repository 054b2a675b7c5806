//! What the relay relies on of the kernel and of this crate's ring, one module for each concern.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test")]

mod accept;
mod cancel;
mod close;
mod overflow;
mod poll;
mod send;
mod sockets;
mod threads;
mod wake;

use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use hushwire_uring::sockets::{ListenOptions, Received};
use hushwire_uring::{Completion, DormantRing, Kind, Ring, RingOptions, Token};

const ACCEPT: Kind = Kind::accept(0);
const POLL: Kind = Kind::poll(0);
const SEND: Kind = Kind::send(0);
const CANCEL: Kind = Kind::cancel(0);
const WAKE: Kind = Kind::wake(0);

/// How long a test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn ring() -> Ring {
    ring_of(RingOptions::default())
}

fn ring_of(options: RingOptions) -> Ring {
    DormantRing::new(options).unwrap().enable().unwrap()
}

/// The ends of one TCP connection: the relay's and the peer's.
fn connection() -> (OwnedFd, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (listener.accept().unwrap().0.into(), peer)
}

/// The next `count` completions, and no more than these.
#[track_caller]
fn next(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < count {
        assert!(ring.wait(Some(PATIENCE)).unwrap(), "nothing after {completions:?}");
        ring.drain(&mut completions);
    }
    assert_eq!(completions.len(), count, "{completions:?}");
    completions
}

/// The next completion.
#[track_caller]
fn next_one(ring: &mut Ring) -> Completion {
    next(ring, 1).remove(0)
}

/// Everything that the kernel has done up to now has been told. (The kernel runs what it put off
/// for the ring's thread in the order it happened; on the loopback a packet arrives within the
/// call that sends it.)
#[track_caller]
fn nothing(ring: &mut Ring) {
    let mut completions = Vec::new();
    ring.wait(Some(Duration::ZERO)).unwrap();
    ring.drain(&mut completions);
    assert!(completions.is_empty(), "{completions:?}");
}

fn receive(socket: &OwnedFd, at_most: usize) -> Received {
    hushwire_uring::sockets::recv(socket.as_fd(), &mut vec![0; at_most]).unwrap()
}

fn token(kind: Kind, index: u32) -> Token {
    Token::new(kind, 1, index)
}

fn listener() -> hushwire_uring::sockets::Listener {
    let any = "127.0.0.1:0".parse().unwrap();
    hushwire_uring::sockets::listen(any, &ListenOptions::default()).unwrap()
}
