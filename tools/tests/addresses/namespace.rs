//! Two network namespaces and a cable between them.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::gettid;

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The cable. Both namespaces end with the last process in them.
pub(crate) struct Network {
    relay: Place,
    devices: Place,
    address: Address,
}

/// A namespace, and the thread that keeps it.
struct Place {
    thread: i32,
    /// The thread ends when this is dropped.
    _lives: Sender<()>,
}

/// The address of the devices.
pub(crate) struct Address {
    last: AtomicU8,
}

impl Address {
    /// Takes the interface's address away and gives it another one.
    pub(crate) fn change(&self) {
        let old = self.last.fetch_add(1, Ordering::Relaxed);
        let new = old + 1;
        // In this order: an address of the same network is the first one's, and goes with it.
        assert!(ip(&format!("address del 10.77.0.{old}/24 dev devices")));
        assert!(ip(&format!("address add 10.77.0.{new}/24 dev devices")));
    }
}

impl Place {
    fn make() -> Option<Self> {
        let (lives, is_over) = channel::<()>();
        let (up, is_up) = channel();
        std::thread::spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET).is_ok() && ip("link set lo up");
            // Nobody sends: it waits until the other end is gone.
            if up.send(made.then(|| gettid().as_raw())).is_ok() {
                let _dropped = is_over.recv();
            }
        });
        let thread = is_up.recv().ok()??;
        Some(Self { thread, _lives: lives })
    }

    /// Does something in the namespace, and waits for it.
    fn run<T: Send>(&self, order: impl FnOnce() -> T + Send) -> T {
        let thread = self.thread;
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                let namespace = std::fs::File::open(format!("/proc/self/task/{thread}/ns/net"));
                setns(namespace.expect("it lives"), CloneFlags::CLONE_NEWNET)
                    .expect("a namespace of our own");
                order()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Network {
    /// `None` where the system does not let this process do it.
    pub(crate) fn make() -> Option<Self> {
        let (relay, devices) = (Place::make()?, Place::make()?);
        let to = devices.thread;
        let joined = relay.run(|| {
            ip(&format!("link add relay type veth peer name devices netns {to}"))
                && ip("address add 10.77.0.1/24 dev relay")
                && ip("link set relay up")
        });
        let reached = joined
            && devices
                .run(|| ip("address add 10.77.0.20/24 dev devices") && ip("link set devices up"));
        reached.then(|| Self { relay, devices, address: Address { last: AtomicU8::new(20) } })
    }

    /// Does something where the relay is, under this address.
    pub(crate) fn at_the_relay<T: Send>(&mut self, order: impl FnOnce(IpAddr) -> T + Send) -> T {
        self.relay.run(|| order(RELAY.into()))
    }

    /// Does something where the devices are.
    pub(crate) fn at_the_devices<T: Send>(&self, order: impl FnOnce(&Address) -> T + Send) -> T {
        self.devices.run(|| order(&self.address))
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}
