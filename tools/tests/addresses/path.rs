//! The way from many devices to the relay: it loses some datagrams and delays all. Each address that a device sends from
//! is another one to the relay, too.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, mpsc::Receiver};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::now;

/// What the path does to datagrams, in each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost_per_thousand: u64,
    pub(crate) delay: Duration,
    pub(crate) seed: u64,
}

/// The path. It ends when it is dropped.
pub(crate) struct Path {
    address: SocketAddr,
    relay: Sender<SocketAddr>,
    lost: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Path {
    /// A path that begins at `address`, in the namespace of the calling thread.
    pub(crate) fn open(address: SocketAddr, weather: Weather) -> Self {
        let front = UdpSocket::bind(address).expect("an address of this namespace");
        front.set_nonblocking(true).expect("a socket");
        let address = front.local_addr().expect("it is bound");
        let (relay, leads_to) = channel();
        let (lost, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let carrier = Carrier {
            front,
            backs: HashMap::new(),
            weather,
            random: weather.seed,
            waiting: BinaryHeap::new(),
            number: 0,
            lost: Arc::clone(&lost),
            is_over: Arc::clone(&is_over),
        };
        // A thread is born in the namespace of the one that makes it.
        std::thread::spawn(move || carrier.run(&leads_to));
        Self { address, relay, lost, is_over }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads; before, nothing passes.
    pub(crate) fn lead_to(&self, relay: SocketAddr) {
        self.relay.send(relay).expect("the path is open");
    }

    /// Datagrams lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A datagram that is due at a time: its number keeps the order, then whether it goes to the relay, and of which device.
type Waiting = Reverse<(Instant, u64, bool, SocketAddr, Vec<u8>)>;

struct Carrier {
    front: UdpSocket,
    /// By the device's address.
    backs: HashMap<SocketAddr, UdpSocket>,
    weather: Weather,
    random: u64,
    waiting: BinaryHeap<Waiting>,
    number: u64,
    lost: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Carrier {
    fn run(mut self, leads_to: &Receiver<SocketAddr>) {
        let Ok(relay) = leads_to.recv() else { return };
        let mut buffer = [0; 65_536];
        while !self.is_over.load(Ordering::Relaxed) {
            self.wait();
            while let Ok((length, device)) = self.front.recv_from(&mut buffer) {
                self.backs.entry(device).or_insert_with(|| {
                    let back = UdpSocket::bind((relay.ip(), 0)).expect("a port");
                    back.set_nonblocking(true).expect("a socket");
                    back
                });
                self.take(true, device, &buffer[..length]);
            }
            for device in self.backs.keys().copied().collect::<Vec<_>>() {
                while let Some(Ok(length)) =
                    self.backs.get(&device).map(|back| back.recv(&mut buffer))
                {
                    self.take(false, device, &buffer[..length]);
                }
            }
            self.pass_on(relay);
        }
    }

    /// Until something comes, or is due.
    fn wait(&self) {
        let due =
            self.waiting.peek().map(|Reverse((due, ..))| due.saturating_duration_since(now()));
        let wait = due.unwrap_or(Duration::from_millis(100)).min(Duration::from_millis(100));
        let sockets = std::iter::once(&self.front).chain(self.backs.values());
        let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let _woken = poll(&mut polled, Some(&timeout));
    }

    fn take(&mut self, to_relay: bool, device: SocketAddr, datagram: &[u8]) {
        // Knuth's MMIX generator.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        if (self.random >> 33) % 1_000 < self.weather.lost_per_thousand {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.number += 1;
        let due = now() + self.weather.delay;
        self.waiting.push(Reverse((due, self.number, to_relay, device, datagram.to_vec())));
    }

    fn pass_on(&mut self, relay: SocketAddr) {
        let at = now();
        while self.waiting.peek().is_some_and(|Reverse((due, ..))| *due <= at) {
            let Some(Reverse((_, _, to_relay, device, datagram))) = self.waiting.pop() else {
                return;
            };
            // An address that nobody has any more takes nothing.
            let _sent = match self.backs.get(&device) {
                Some(back) if to_relay => back.send_to(&datagram, relay),
                _ => self.front.send_to(&datagram, device),
            };
        }
    }
}
