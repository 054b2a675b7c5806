//! Devices that go on from another address, and the shards that serve them.

use std::net::UdpSocket;
use std::time::Duration;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, Header};

use crate::support::raw::Device;
use crate::support::total;
use crate::{exchange, pair, turn_all};

/// What no change of address may change.
const STEADY: [&str; 6] =
    ["admitted", "quic_accepted", "handed_over", "taken_over", "connections", "datagrams_strayed"];

fn steady(relay: &RelayProcess) -> [u64; STEADY.len()] {
    let totals = relay.status().expect("a status").totals;
    STEADY.map(|name| totals[name])
}

/// The device's packets come from another port from now on.
fn move_away(device: &mut Device) {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    device.raw.quic().rebind(socket).expect("it goes on");
}

#[test]
fn devices_go_on_from_other_addresses_whichever_shard_they_live_on() {
    const ROUNDS: usize = 12;
    for shards in [1, 2, 4] {
        let relay = crate::relay_of(shards);
        let mut pairs: Vec<(Device, Device)> = (0..4).map(|_| pair(&relay)).collect();
        let before = steady(&relay);
        for round in 0..ROUNDS {
            for (a, b) in &mut pairs {
                exchange(a, b, &[Class::C0, Class::C5]);
                if round % 2 == 0 {
                    move_away(a);
                }
                if round % 3 == 0 {
                    move_away(b);
                }
                exchange(a, b, &[Class::C7, Class::C1]);
            }
        }
        assert_eq!(steady(&relay), before, "{STEADY:?} with {shards} shards");
        if shards == 4 {
            assert!(total(&relay, "handed_over") > 0, "some live where their IDs do not lead to");
        }
        for (a, b) in &mut pairs {
            for device in [a, b] {
                let stats = device.raw.quic().connection.stats();
                assert!(stats.frame_rx.path_challenge > 0, "the relay asks the new address");
            }
        }
        assert_eq!(total(&relay, "bugs"), 0);
    }
}

/// Moves at any moment: with cells on their way in both directions, and with half a cell behind it.
#[test]
fn a_change_of_address_between_the_parts_of_cells_loses_nothing() {
    const ROUNDS: u32 = 20;
    let relay = crate::relay_of(4);
    let (mut a, mut b) = pair(&relay);
    let before = steady(&relay);
    let (mut to_a, mut to_b) = (0, 0);
    let (id_a, id_b) = (a.id, b.id);
    for round in 0..ROUNDS {
        for lane in 0..8 {
            for (device, to) in [(&mut a, id_b), (&mut b, id_a)] {
                let header = Header::unicast(Class::C5, lane, 0, to);
                device.raw.send(header, &round.to_le_bytes()).expect("the relay reads");
            }
            match lane % 4 {
                1 => move_away(&mut a),
                3 => move_away(&mut b),
                _ => {}
            }
        }
        turn_all(&mut [&mut a, &mut b], "all cells of a round arrive", |devices| {
            for (at, device) in devices.iter_mut().enumerate() {
                while device.raw.quic().has_cell(Duration::ZERO) {
                    let (_, body) = device.raw.receive().expect("a cell");
                    assert_eq!(body[..4], round.to_le_bytes(), "of this round, and once");
                    *[&mut to_a, &mut to_b][at] += 1;
                }
            }
            (to_a, to_b) == (8 * (round + 1), 8 * (round + 1))
        });
    }
    assert_eq!(steady(&relay), before, "{STEADY:?}");
    assert_eq!(total(&relay, "bugs"), 0);
}

#[test]
fn a_hundred_thousand_datagrams_come_to_the_shard_that_their_ids_name() {
    const SHARDS: usize = 4;
    const DATAGRAMS: u64 = 100_000;
    const DATAGRAMS_MOVED: u64 = 20_000;
    let relay = crate::relay_of(SHARDS);
    let mut pairs: Vec<(Device, Device)> = (0..6).map(|_| pair(&relay)).collect();
    let flow = |pairs: &mut [(Device, Device)], datagrams: u64| {
        let enough = total(&relay, "datagrams_in") + datagrams;
        while total(&relay, "datagrams_in") < enough {
            std::thread::scope(|scope| {
                for (a, b) in &mut *pairs {
                    scope.spawn(|| exchange(a, b, &[Class::C7; 8]));
                }
            });
        }
    };
    flow(&mut pairs, DATAGRAMS);
    assert_eq!(total(&relay, "datagrams_strayed"), 0);
    assert!(total(&relay, "handed_over") > 0, "not all shards are one");
    for _ in 0..4 {
        for (a, b) in &mut pairs {
            move_away(a);
            move_away(b);
        }
        flow(&mut pairs, DATAGRAMS_MOVED / 4);
    }
    assert_eq!(total(&relay, "datagrams_strayed"), 0);
    assert_eq!(total(&relay, "bugs"), 0);
}
