//! Somebody on the path of one device by QUIC: loses, repeats, delays and measures datagrams, and changes the port that
//! the relay sees, as a NAT does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::now;
use super::proxy::Way;

/// What happens to datagrams, in parts of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub seed: u64,
    pub lost: u64,
    pub twice: u64,
    /// They are overtaken by those that follow within a few milliseconds.
    pub late: u64,
}

/// Late by so many milliseconds at most.
const LATE_MS_MAX: u64 = 12;
/// How long the proxy looks at one side only.
const LOOK: Duration = Duration::from_millis(1);

/// A datagram that was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub way: Way,
    pub bytes: usize,
}

struct Orders {
    datagram_bytes_max: AtomicUsize,
    rebinds: AtomicUsize,
    is_over: AtomicBool,
}

/// A proxy on a port of its own. It ends when it is dropped.
pub struct UdpProxy {
    address: SocketAddr,
    orders: Arc<Orders>,
    passed: Receiver<Passed>,
}

impl UdpProxy {
    /// Forwards what one device sends to `relay`, and back.
    pub fn start(relay: &str, weather: Weather) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = front.local_addr().expect("a bound socket");
        let orders = Arc::new(Orders {
            datagram_bytes_max: AtomicUsize::new(usize::MAX),
            rebinds: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let (sender, passed) = channel();
        let path = Path {
            relay: relay.parse().expect("an address"),
            front,
            back: upstream(),
            device: None,
            weather,
            random: weather.seed,
            waiting: BinaryHeap::new(),
            number: 0,
            orders: Arc::clone(&orders),
            passed: sender,
        };
        std::thread::spawn(move || path.run());
        Self { address, orders, passed }
    }

    /// Where the device connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops larger datagrams from now on.
    pub fn narrow(&self, datagram_bytes_max: usize) {
        self.orders.datagram_bytes_max.store(datagram_bytes_max, Ordering::Relaxed);
    }

    /// The relay sees another port from now on, and what it sends to the old one is lost.
    pub fn rebind(&self) {
        self.orders.rebinds.fetch_add(1, Ordering::Relaxed);
    }

    /// What was passed on since last asked.
    pub fn passed(&self) -> Vec<Passed> {
        self.passed.try_iter().collect()
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.orders.is_over.store(true, Ordering::Relaxed);
    }
}

fn upstream() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

/// A datagram that waits: when it is due, its place among those, and itself.
type Waiting = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Path {
    relay: SocketAddr,
    front: UdpSocket,
    back: UdpSocket,
    device: Option<SocketAddr>,
    weather: Weather,
    random: u64,
    waiting: BinaryHeap<Waiting>,
    number: u64,
    orders: Arc<Orders>,
    passed: Sender<Passed>,
}

impl Path {
    fn run(mut self) {
        let mut rebinds = 0;
        let mut buffer = [0; 65_536];
        while !self.orders.is_over.load(Ordering::Relaxed) {
            let asked = self.orders.rebinds.load(Ordering::Relaxed);
            if std::mem::replace(&mut rebinds, asked) != asked {
                self.back = upstream();
            }
            let mut is_quiet = true;
            while let Ok((length, _)) = self.back.recv_from(&mut buffer) {
                self.take(Way::ToDevice, &buffer[..length]);
                is_quiet = false;
            }
            self.front.set_nonblocking(!is_quiet).expect("a socket");
            self.front.set_read_timeout(Some(LOOK)).expect("a timeout");
            while let Ok((length, from)) = self.front.recv_from(&mut buffer) {
                self.device = Some(from);
                self.take(Way::ToRelay, &buffer[..length]);
                self.front.set_nonblocking(true).expect("a socket");
            }
            self.send_what_is_due();
        }
    }

    /// Knuth's MMIX generator: the weather of a seed is the same in every run.
    fn happens(&mut self, parts: u64) -> bool {
        self.below(1_000) < parts
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn take(&mut self, way: Way, datagram: &[u8]) {
        let Weather { lost, twice, late, .. } = self.weather;
        let is_too_large = datagram.len() > self.orders.datagram_bytes_max.load(Ordering::Relaxed);
        if is_too_large || self.happens(lost) {
            return;
        }
        for _ in 0..1 + usize::from(self.happens(twice)) {
            let wait = if self.happens(late) { 1 + self.below(LATE_MS_MAX) } else { 0 };
            self.number += 1;
            let due = now() + Duration::from_millis(wait);
            self.waiting.push(Reverse((due, self.number, way as usize, datagram.to_vec())));
        }
    }

    fn send_what_is_due(&mut self) {
        let at = now();
        while self.waiting.peek().is_some_and(|Reverse((due, ..))| *due <= at) {
            let Some(Reverse((_, _, way, datagram))) = self.waiting.pop() else { return };
            let (socket, to, way) = if way == Way::ToRelay as usize {
                (&self.back, Some(self.relay), Way::ToRelay)
            } else {
                (&self.front, self.device, Way::ToDevice)
            };
            let Some(to) = to else { continue };
            // Nobody may be there any more, and nobody may want to know what passed.
            let _gone = socket.send_to(&datagram, to);
            let _unread = self.passed.send(Passed { way, bytes: datagram.len() });
        }
    }
}
