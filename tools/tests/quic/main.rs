//! QUIC as devices have it, and as whoever else sends datagrams does.
//!
//! | file | what |
//! |---|---|
//! | `cells` | cells of every class and lane |
//! | `faults` | rules of lanes broken, and what is no QUIC |
//! | `floods` | addresses that are not proved, and too many of them |
//! | `ids` | the connection IDs of WELCOME |
//! | `lanes` | devices that do not read, or not everything |
//! | `migration` | devices that go on from another address, and the shards that serve them |
//! | `network` | loss, reordering, duplicates and narrow paths |
//! | `qlog` | what connections write of themselves |
//! | `openings` | rules of the opening broken, and farewells, by either transport |
//! | `restart` | a relay that was killed |

#[path = "../support/mod.rs"]
mod support;

mod cells;
mod faults;
mod floods;
mod ids;
mod lanes;
mod migration;
mod network;
mod openings;
mod qlog;
mod restart;

use std::time::Duration;

use hushwire_tools::relay_process::{Options, RelayProcess};
use hushwire_wire::cell::Class;
use hushwire_wire::control::Transport;
use support::now;
use support::raw::{Device, connect_quic, pair_by};

/// A relay with so many shards, and no more open files than any system allows.
fn options_of(shards: usize) -> Options {
    support::options().shards(shards).set("limits", "connections_max", 2_048).set(
        "limits",
        "unauthenticated_connections_max",
        1_024,
    )
}

/// The same, running.
fn relay_of(shards: usize) -> RelayProcess {
    RelayProcess::start(&options_of(shards)).expect("it starts")
}

/// Two devices by QUIC that may send to each other.
fn pair(relay: &RelayProcess) -> (Device, Device) {
    pair_by(relay, Transport::Quic, Transport::Quic)
}

/// Cells pass between two devices, both ways, and none is lost on the way.
fn exchange(a: &mut Device, b: &mut Device, classes: &[Class]) {
    for &class in classes {
        a.send(b.id, class, b"there");
        b.send(a.id, class, b"and back");
        let (header, body) = b.raw.receive().expect("a cell");
        assert_eq!((header.class, header.peer), (class, a.id));
        assert!(body.starts_with(b"there"));
        let (header, body) = a.raw.receive().expect("a cell");
        assert_eq!((header.class, header.peer), (class, b.id));
        assert!(body.starts_with(b"and back"));
    }
}

/// Turns several devices until `is_done`: while one alone is waited for, the others do not repeat what was lost.
fn turn_all(
    devices: &mut [&mut Device],
    what: &str,
    mut is_done: impl FnMut(&mut [&mut Device]) -> bool,
) {
    let deadline = now() + Duration::from_secs(60);
    while !is_done(devices) {
        for device in devices.iter_mut() {
            let quic = device.raw.quic();
            quic.turn(Some(Duration::from_millis(1))).expect("a socket");
            assert!(quic.lost().is_none(), "{what}: {:?}", quic.lost());
        }
        assert!(now() < deadline, "never happened: {what}");
    }
}

/// A device that is enrolled, by a connection made so.
fn connect_with(
    relay: &RelayProcess,
    identity: hushwire::identity::Identity,
    options: support::quic::Options,
) -> Device {
    let raw = connect_quic(relay, options).expect("the relay takes a connection");
    Device::introduce_over(raw, identity, None).expect("the device is enrolled")
}

/// Knuth's MMIX generator: what is random is the same in every run.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
