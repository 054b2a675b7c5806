//! What the relay relies on of UDP sockets, one module for each concern.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod bind;
mod exchange;
mod failures;
mod steering;

use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use hushwire_uring::udp::{
    BoundUdp, Datagram, Inbox, Outgoing, Steering, UdpGroup, UdpOptions, UdpSocket, bind_shared,
};
use rustix::event::{PollFd, PollFlags, Timespec};

const ANY: &str = "127.0.0.1:0";
const ANY_V6: &str = "[::1]:0";
const KEY: u32 = 0x9E37_79B1;

/// How long a test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn group(at: &str, steering: &Steering) -> UdpGroup {
    let group = bind_shared(address(at), steering, &UdpOptions::default()).unwrap();
    assert!(group.steered);
    assert_eq!(group.sockets.len(), steering.shards());
    group
}

/// One socket.
fn bound(at: &str) -> BoundUdp {
    group(at, &Steering::new(KEY, 1)).sockets.remove(0)
}

fn peer() -> StdSocket {
    let peer = StdSocket::bind(ANY).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

/// A datagram that outlives its inbox.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    shard: usize,
    from: SocketAddr,
    to: Option<IpAddr>,
    ecn: Option<u8>,
    bytes: Vec<u8>,
}

impl Arrived {
    fn new(shard: usize, datagram: &Datagram<'_>) -> Self {
        let Datagram { from, to, ecn, bytes } = *datagram;
        Self { shard, from, to, ecn, bytes: bytes.to_vec() }
    }
}

/// The next `count` datagrams of a group, and no more than these.
#[track_caller]
fn next(sockets: &[BoundUdp], inbox: &mut Inbox, count: usize) -> Vec<Arrived> {
    let mut arrived = Vec::new();
    loop {
        for (shard, bound) in sockets.iter().enumerate() {
            while bound.socket.receive(inbox).unwrap() {
                arrived.extend(inbox.datagrams().map(|datagram| Arrived::new(shard, &datagram)));
            }
        }
        if arrived.len() >= count {
            assert_eq!(arrived.len(), count);
            return arrived;
        }
        wait_for_any(sockets);
    }
}

/// Until something is there for one of them.
#[track_caller]
fn wait_for_any(sockets: &[BoundUdp]) {
    let fds = sockets.iter().map(|bound| PollFd::new(&bound.socket, PollFlags::IN));
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    let ready = rustix::event::poll(&mut fds.collect::<Vec<_>>(), Some(&timeout)).unwrap();
    assert!(ready > 0, "nothing arrived");
}

/// The next datagram of one socket.
#[track_caller]
fn next_one(bound: &BoundUdp) -> Arrived {
    next(std::slice::from_ref(bound), &mut Inbox::new(), 1).remove(0)
}

fn to(to: SocketAddr, contents: &[u8]) -> Outgoing<'_> {
    Outgoing { to, from: None, ecn: None, contents, segment: None }
}

/// Nothing is there. (On the loopback a packet arrives within the call that sends it.)
#[track_caller]
fn nothing(socket: &UdpSocket) {
    let mut inbox = Inbox::new();
    assert!(!socket.receive(&mut inbox).unwrap());
    assert_eq!(inbox.datagrams().count(), 0);
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}

#[test]
fn what_is_printed_tells_neither_key_nor_contents_nor_addresses() {
    let bound = bound(ANY);
    let secret = b"secret";
    bound.socket.send(&to(bound.address, secret)).unwrap();
    let mut inbox = Inbox::new();
    assert!(bound.socket.receive(&mut inbox).unwrap());
    let datagram = inbox.datagrams().next().unwrap();
    assert_eq!(datagram.bytes, secret);
    let printed = format!(
        "{:?} {:?} {inbox:?} {datagram:?}",
        Steering::new(KEY, 4),
        to(bound.address, secret)
    );
    let (key, contents) = (KEY.to_string(), format!("{secret:?}"));
    for hidden in [key.as_str(), contents.as_str(), "127.0.0.1"] {
        assert!(!printed.contains(hidden), "{printed}");
    }
}

#[test]
fn a_socket_is_polled_by_the_ring() {
    use hushwire_uring::{Completion, DormantRing, Interest, Kind, RingOptions, Token};
    let (bound, peer) = (bound(ANY), peer());
    let mut ring = DormantRing::new(RingOptions::default()).unwrap().enable().unwrap();
    let token = Token::new(Kind::poll(0), 1, 0);
    ring.poll_multishot(bound.socket.as_fd(), token, Interest::Read).unwrap();
    let mut completions = Vec::new();
    for _ in 0..3 {
        peer.send_to(b"hello", bound.address).unwrap();
        assert!(ring.wait(Some(PATIENCE)).unwrap());
        ring.drain(&mut completions);
        let polled = completions.pop();
        assert!(completions.is_empty());
        assert!(
            matches!(polled, Some(Completion::Polled { ready, more: true, .. }) if ready.readable())
        );
        assert_eq!(next_one(&bound).bytes, b"hello");
    }
}
