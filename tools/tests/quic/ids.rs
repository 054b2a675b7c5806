//! The connection IDs of WELCOME: they lead home, and are never the same.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::Duration;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::control::Transport;
use hushwire_wire::limits::QUIC_IDS_MAX;

use crate::connect_with;
use crate::support::quic::{Options, first_flight};
use crate::support::raw::Device;
use crate::support::{self, by_either_transport, total};

by_either_transport!(ids_never_repeat);

#[test]
fn a_device_comes_home_at_once_with_every_id_it_was_given() {
    const SHARDS: usize = 4;
    const DEVICES: usize = 6;
    let relay = crate::relay_of(SHARDS);
    let mut homes = HashSet::new();
    for _ in 0..DEVICES {
        let Device { welcome, mut identity, .. } = Device::enrol_by(&relay, Transport::Quic);
        assert_eq!(welcome.quic_ids.len(), QUIC_IDS_MAX);
        // A shard shows what it has counted when it next rests.
        let mut before = total(&relay, "handed_over");
        crate::support::eventually("the numbers rest", || {
            std::mem::replace(&mut before, total(&relay, "handed_over")) == before
        });
        for id in &welcome.quic_ids {
            let options = Options { first_id: Some(*id), ..Options::default() };
            let device = connect_with(&relay, identity, options);
            assert_eq!((device.welcome.shard, device.welcome.shards), (welcome.shard, 4));
            identity = device.identity;
        }
        assert_eq!(total(&relay, "handed_over"), before, "with an ID of its home");
        homes.insert(welcome.shard);
        // And without one it does land elsewhere, sooner or later.
        for _ in 0..16 {
            identity = connect_with(&relay, identity, Options::default()).identity;
        }
        assert!(total(&relay, "handed_over") > before);
    }
    assert!(homes.len() > 1, "devices have different homes");
    assert_eq!(total(&relay, "datagrams_strayed"), 0);
}

fn ids_never_repeat(transport: Transport) {
    const CONNECTIONS: usize = 100;
    let relay = crate::relay_of(2);
    let mut seen = HashSet::new();
    let mut device = Device::enrol_by(&relay, transport);
    for _ in 0..CONNECTIONS {
        assert_eq!(device.welcome.quic_ids.len(), QUIC_IDS_MAX);
        for id in &device.welcome.quic_ids {
            assert!(seen.insert(*id), "an ID comes twice");
        }
        device = Device::connect_by(&relay, device.identity, transport);
    }
}

#[test]
fn a_relay_without_quic_gives_no_ids_and_does_not_answer() {
    let options = support::options().set("limits", "quic_connections_max", 0);
    let relay = RelayProcess::start(&options).expect("it starts");
    let device = Device::enrol_by(&relay, Transport::Tls);
    assert!(device.welcome.quic_ids.is_empty(), "{:?}", device.welcome);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(relay.address()).expect("an address");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket.send(&first_flight()[0]).expect("it leaves");
    let error = socket.recv(&mut [0; 2_048]).expect_err("nobody has the port");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}
