//! What networks do to datagrams: nothing of it reaches cells.

use std::time::Duration;

use hushwire::identity::Identity;
use hushwire::suite::random::OsRandom;
use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind, set_counter};
use hushwire_wire::code::Invite;
use hushwire_wire::control::{Control, Request, Transport};
use hushwire_wire::filler::SPARE_BYTES;
use hushwire_wire::id::DeviceId;
use quinn_proto::{Dir, Side, StreamId};

use crate::support::proxy::Way;
use crate::support::quic::Options;
use crate::support::raw::{Device, connect_quic_at, pair_by};
use crate::support::udp_proxy::{UdpProxy, Weather};
use crate::support::{relay, total};
use crate::turn_all;

/// What a path of IPv6's least MTU leaves for UDP's contents.
const NARROW_BYTES: usize = 1_280 - 48;
/// The least that QUIC itself asks of a path (RFC 9000 §14).
const LEAST_BYTES: usize = 1_200;
/// Above what acknowledgements and other frames without cells take, below the smallest cell.
const SMALL_BYTES: usize = 256;

/// A new device whose datagrams go through `proxy`.
fn enrol_through(relay: &RelayProcess, proxy: &UdpProxy, options: Options) -> Device {
    let invite = Invite::from_text(&relay.invite().expect("an invite")).expect("an invite");
    let token = Some(invite.secret.as_bytes().to_vec());
    let raw = connect_quic_at(proxy.address(), options).expect("a way through");
    Device::introduce_over(raw, Identity::generate(&mut OsRandom), token).expect("it is welcome")
}

fn grant_each_other(a: &mut Device, b: &mut Device) {
    let (to_a, to_b) = (a.id, b.id);
    assert!(matches!(a.ask(1, Request::Grant { device: to_b }), Control::Done { .. }));
    assert!(matches!(b.ask(1, Request::Grant { device: to_a }), Control::Done { .. }));
}

/// Sends a cell of every class on each lane both ways, and sees all of them arrive, once and in order. What is on its way
/// at a time fits a sender's share of a queue.
fn exchange_all(a: &mut Device, b: &mut Device, lanes: u32, between: impl Fn(u32)) {
    const LANES_AT_ONCE: u32 = 2;
    let from: [DeviceId; 2] = [b.id, a.id];
    let mut expected: [Vec<(u32, Class)>; 2] = Default::default();
    for lane in 0..lanes {
        for class in Class::ALL {
            for (device, to) in [(&mut *a, from[0]), (&mut *b, from[1])] {
                let body = format!("{class:?} on {lane}");
                let header = Header::unicast(class, lane, 0, to);
                device.raw.send(header, body.as_bytes()).expect("the relay reads");
            }
            expected.iter_mut().for_each(|cells| cells.push((lane, class)));
        }
        between(lane);
        if (lane + 1) % LANES_AT_ONCE != 0 {
            continue;
        }
        turn_all(&mut [&mut *a, &mut *b], "every cell arrives", |devices| {
            for (at, device) in devices.iter_mut().enumerate() {
                while device.raw.quic().has_cell(Duration::ZERO) {
                    let (header, body) = device.raw.receive().expect("a cell");
                    assert_eq!((header.kind, header.peer), (Kind::Unicast, from[at]));
                    let next = expected[at].iter().position(|(lane, _)| *lane == header.lane);
                    let (lane, class) = expected[at].remove(next.expect("none comes twice"));
                    assert_eq!(header.class, class, "in the order of its lane");
                    assert!(body.starts_with(format!("{class:?} on {lane}").as_bytes()));
                }
            }
            expected.iter().all(Vec::is_empty)
        });
    }
}

#[test]
fn cells_arrive_once_and_in_order_through_a_bad_network() {
    let relay = crate::relay_of(2);
    for seed in 1..=3 {
        let weather = Weather { seed, lost: 50, twice: 50, late: 200 };
        let proxies = [weather, Weather { seed: seed + 100, ..weather }]
            .map(|weather| UdpProxy::start(relay.address(), weather));
        let mut a = enrol_through(&relay, &proxies[0], Options::default());
        let mut b = enrol_through(&relay, &proxies[1], Options::default());
        grant_each_other(&mut a, &mut b);
        exchange_all(&mut a, &mut b, 8, |_| {});
    }
    assert_eq!(total(&relay, "malformed"), 0);
    assert_eq!(total(&relay, "bugs"), 0);
}

#[test]
fn a_nat_that_forgets_changes_nothing() {
    let relay = crate::relay_of(2);
    let proxies = [(); 2].map(|()| UdpProxy::start(relay.address(), Weather::default()));
    // Nobody but the device can tell the relay of the new port: whoever has nothing to send has keep-alives.
    let lively = || {
        let mut options = Options::default();
        options.transport.keep_alive_interval(Some(Duration::from_millis(100)));
        options
    };
    let mut a = enrol_through(&relay, &proxies[0], lively());
    let mut b = enrol_through(&relay, &proxies[1], lively());
    grant_each_other(&mut a, &mut b);
    let before = (total(&relay, "admitted"), total(&relay, "quic_accepted"));
    for _ in 0..4 {
        exchange_all(&mut a, &mut b, 4, |lane| proxies[lane as usize % 2].rebind());
    }
    assert_eq!((total(&relay, "admitted"), total(&relay, "quic_accepted")), before);
    // The relay did see other addresses, and asked them.
    for device in [&mut a, &mut b] {
        let challenges = device.raw.quic().connection.stats().frame_rx.path_challenge;
        assert!(challenges > 0, "no path was validated");
    }
    assert_eq!(total(&relay, "datagrams_strayed"), 0);
}

#[test]
fn a_narrow_path_and_one_that_becomes_narrow_carry_all_cells() {
    let relay = relay();
    let proxies = [(); 2].map(|()| UdpProxy::start(relay.address(), Weather::default()));
    proxies[0].narrow(NARROW_BYTES);
    let mut a = enrol_through(&relay, &proxies[0], Options::default());
    let mut b = enrol_through(&relay, &proxies[1], Options::default());
    grant_each_other(&mut a, &mut b);
    exchange_all(&mut a, &mut b, 8, |_| {});
    let largest = |proxy: &UdpProxy, way| {
        let passed = proxy.passed().into_iter().filter(|passed| passed.way == way);
        passed.map(|passed| passed.bytes).max().expect("something passed")
    };
    assert!(largest(&proxies[0], Way::ToDevice) <= NARROW_BYTES);
    let wide = largest(&proxies[1], Way::ToDevice);
    assert!(wide > NARROW_BYTES, "the relay finds out what the path takes: {wide}");
    proxies[1].narrow(NARROW_BYTES);
    proxies[1].passed();
    exchange_all(&mut a, &mut b, 8, |_| {});
    assert!(largest(&proxies[1], Way::ToDevice) <= NARROW_BYTES);
}

/// By how much a datagram may be shorter that ends the largest cell: a packet number of one byte where two were allowed for
/// makes room in each.
const SHORT_BYTES_MAX: usize = SPARE_BYTES + Class::C7.cell_len() / LEAST_BYTES + 2;

/// What an acknowledgement alone takes, here where nothing is lost.
const ACKNOWLEDGEMENT_BYTES_MAX: usize = 60;

/// Sizes of datagrams that went to a device since last asked.
fn sizes(proxy: &UdpProxy) -> Vec<usize> {
    let passed = proxy.passed().into_iter().filter(|passed| passed.way == Way::ToDevice);
    passed.map(|passed| passed.bytes).collect()
}

#[test]
fn datagrams_with_cells_are_as_large_as_the_path_takes() {
    const ROUNDS: usize = 4;
    let relay = relay();
    let proxy = UdpProxy::start(relay.address(), Weather::default());
    proxy.narrow(LEAST_BYTES);
    let mut sender = Device::enrol_by(&relay, Transport::Tls);
    let mut receiver = enrol_through(&relay, &proxy, Options::default());
    let granted = receiver.ask(1, Request::Grant { device: sender.id });
    assert!(matches!(granted, Control::Done { .. }), "{granted:?}");
    // Behind its first large cell the offsets of a lane are of one length.
    for (round, class) in [Class::C7].into_iter().chain(Class::ALL).enumerate() {
        sizes(&proxy);
        for _ in 0..ROUNDS {
            for lane in 0..8 {
                let header = Header::unicast(class, lane, 0, receiver.id);
                sender.raw.send(header, b"of some size").expect("the relay reads");
                receiver.raw.receive().expect("a cell");
            }
        }
        let answer = receiver.ask(2 + round as u32, Request::Ping);
        assert!(matches!(answer, Control::Pong { .. }), "{answer:?}");
        let cells = ROUNDS * 8;
        let mut sizes = sizes(&proxy);
        assert!(sizes.iter().sum::<usize>() > cells * class.cell_len(), "all passed here");
        if round == 0 {
            continue;
        }
        sizes.retain(|&bytes| bytes > ACKNOWLEDGEMENT_BYTES_MAX);
        let is_filled = |&bytes: &usize| bytes + SHORT_BYTES_MAX >= LEAST_BYTES;
        let odd: Vec<usize> = sizes.iter().copied().filter(|bytes| !is_filled(bytes)).collect();
        // What a slow machine makes the relay send again is not filled.
        assert!(odd.len() * 4 < cells, "{} for {cells} cells of {class:?}: {odd:?}", odd.len());
    }
}

#[test]
fn acknowledgements_alone_are_not_padded() {
    const CELLS: usize = 20;
    let relay = relay();
    let proxy = UdpProxy::start(relay.address(), Weather::default());
    proxy.narrow(LEAST_BYTES);
    let mut receiver = Device::enrol_by(&relay, Transport::Tls);
    let mut sender = enrol_through(&relay, &proxy, Options::default());
    let granted = receiver.ask(1, Request::Grant { device: sender.id });
    assert!(matches!(granted, Control::Done { .. }), "{granted:?}");
    for id in 2..5 {
        assert!(matches!(sender.ask(id, Request::Ping), Control::Pong { .. }));
    }
    for cell in 0..CELLS {
        sender.send(receiver.id, Class::C2, b"heard and no more");
        receiver.raw.receive().expect("a cell");
        if cell == 0 {
            // By now the answers have passed.
            sizes(&proxy);
        }
    }
    let sizes = sizes(&proxy);
    assert!(!sizes.is_empty(), "the relay acknowledges");
    assert!(sizes.iter().all(|&bytes| bytes < SMALL_BYTES), "{sizes:?}");
}

/// Nobody acknowledges acknowledgements: did they take part of what may be on its way, nothing would be let out behind them.
#[test]
fn who_has_only_sent_for_long_still_hears() {
    const ROUNDS: usize = 10;
    const CELLS: usize = 100;
    let relay = relay();
    let (mut sender, mut receiver) = pair_by(&relay, Transport::Quic, Transport::Tls);
    // Until the relay has found out what the path takes: its probes are acknowledged, and all before them.
    for id in 2..18 {
        assert!(matches!(sender.ask(id, Request::Ping), Control::Pong { .. }));
    }
    let lane = StreamId::new(Side::Client, Dir::Uni, 0);
    for _ in 0..ROUNDS {
        for _ in 0..CELLS {
            // It reads meanwhile, and answers, nothing: what it sends later would acknowledge acknowledgements by the way.
            let mut cell = vec![0; Class::C0.cell_len()];
            let header = Header::unicast(Class::C0, 0, 0, receiver.id);
            cell[..HEADER_LEN].copy_from_slice(&header.encode());
            set_counter(&mut cell, sender.raw.counters.take(0));
            let quic = sender.raw.quic();
            assert_eq!(quic.connection.send_stream(lane).write(&cell), Ok(cell.len()));
            quic.transmit().expect("it leaves");
            receiver.raw.receive().expect("a cell");
        }
        receiver.send(sender.id, Class::C7, b"and back");
        assert!(sender.raw.receive().expect("a cell").1.starts_with(b"and back"));
    }
}
