//! Addresses that are not proved to be anybody's: they get little, and take little from others.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, Request, Transport};

use crate::support::quic::{Options, first_flight, small_first_flight};
use crate::support::raw::{Device, connect_quic};
use crate::support::{self, eventually, total};
use crate::{exchange, pair};

/// Longer than the relay pauses between two attempts to be heard.
const SILENCE: Duration = Duration::from_secs(6);

/// A datagram before the path is known to take more.
const LAST_BYTES: usize = 1_200;

/// Bytes that come until nothing has come for a while.
fn heard_until_silence(socket: &UdpSocket) -> usize {
    socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let mut bytes = 0;
    let mut buffer = [0; 2_048];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => bytes += length,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                return bytes;
            }
        }
    }
}

/// RFC 9000 §8: before an address has proved itself it gets three times what came from it at most.
#[test]
fn who_never_answers_gets_three_times_what_it_sent_at_most() {
    // Long enough for the relay to repeat its flight more often than it may.
    let options = support::options().set("limits", "unauthenticated_ms_max", 8_000);
    let relay = RelayProcess::start(&options).expect("it starts");
    let whole = first_flight();
    assert!(whole.len() > 1, "a key share of ML-KEM takes more than one datagram");
    let flights = [first_flight()[..1].to_vec(), whole, small_first_flight()];
    std::thread::scope(|scope| {
        for flight in &flights {
            let relay = &relay;
            scope.spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
                socket.connect(relay.address()).expect("an address");
                let mut sent = 0;
                for datagram in flight {
                    sent += socket.send(datagram).expect("it leaves");
                }
                let heard = heard_until_silence(&socket);
                assert!(heard > 0, "the relay does answer");
                // quinn lets the last datagram leave whole where a part of it would have been too much.
                assert!(heard < 3 * sent + LAST_BYTES, "{heard} bytes for {sent}");
            });
        }
    });
    eventually("they are given up", || total(&relay, "connections") == 0);
    assert_eq!(total(&relay, "quic_accepted"), flights.len() as u64);
}

/// Somebody who owns a network, or pretends to.
fn source(number: u64) -> Ipv4Addr {
    let [.., a, b] = number.to_be_bytes();
    Ipv4Addr::new(127, 77, a, b)
}

#[test]
fn a_flood_from_many_addresses_leaves_devices_alone_and_newcomers_a_way_in() {
    const FIRST_DATAGRAMS: u64 = 1_500;
    let options = support::options().set("limits", "handshakes_in_progress_max", 32).set(
        "limits",
        "unauthenticated_ms_max",
        3_000,
    );
    let relay = RelayProcess::start(&options).expect("it starts");
    let (mut a, mut b) = pair(&relay);
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let socket = UdpSocket::bind((source(number), 0)).expect("an address of ours");
                for datagram in small_first_flight() {
                    socket.send_to(&datagram, relay.address()).expect("it leaves");
                }
            }
        });
        let through_it = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the flood has an effect", || total(&relay, "quic_retries") > 50);
            let mut newcomers = Vec::new();
            while sent.load(Ordering::Relaxed) < FIRST_DATAGRAMS || newcomers.len() < 5 {
                exchange(&mut a, &mut b, &[Class::C0, Class::C4, Class::C7]);
                newcomers.push(Device::enrol_by(&relay, Transport::Quic));
                newcomers.push(Device::enrol_by(&relay, Transport::Tls));
            }
            for mut device in newcomers {
                assert!(matches!(device.ask(1, Request::Ping), Control::Pong { .. }));
                device.raw.close();
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = through_it {
            std::panic::resume_unwind(panic);
        }
    });
    exchange(&mut a, &mut b, &[Class::C7]);
    eventually("what the flood left is given up", || {
        let totals = relay.status().expect("a status").totals;
        (totals["connections"], totals["unauthenticated"]) == (2, 0)
    });
    assert_eq!(total(&relay, "bugs"), 0);
}

#[test]
fn an_address_that_makes_too_many_connections_is_refused_and_others_are_not() {
    const AT_ONCE: usize = 200;
    let from = |last| Options {
        from: Some(IpAddr::V4(Ipv4Addr::new(127, 78, 0, last))),
        ..Options::default()
    };
    let options = support::options().set("limits", "handshakes_per_s", 3);
    let relay = RelayProcess::start(&options).expect("it starts");
    let refused = (0..AT_ONCE).find_map(|_| connect_quic(&relay, from(1)).err());
    let error = refused.expect("so many in a row are too many").to_string();
    // CONNECTION_REFUSED (RFC 9000 §20.1), after the address had proved itself.
    assert!(error.contains("refused"), "{error}");
    assert!(total(&relay, "quic_retries") > 0, "it was asked for a proof first");
    assert!(total(&relay, "turned_source") > 0);
    connect_quic(&relay, from(2)).expect("another address is another matter");
}

/// Somebody else's datagrams, under the address of a device, do not use up what that device may do.
#[test]
fn datagrams_under_a_false_address_do_not_lock_its_owner_out() {
    let owner = Ipv4Addr::new(127, 79, 0, 1);
    let options = support::options().set("limits", "handshakes_per_s", 3);
    let relay = RelayProcess::start(&options).expect("it starts");
    for _ in 0..40 {
        let socket = UdpSocket::bind((owner, 0)).expect("an address of ours");
        for datagram in small_first_flight() {
            socket.send_to(&datagram, relay.address()).expect("it leaves");
        }
    }
    eventually("they have been read", || total(&relay, "datagrams_in") >= 40);
    let options = Options { from: Some(IpAddr::V4(owner)), ..Options::default() };
    connect_quic(&relay, options).expect("its owner comes in");
    assert!(total(&relay, "quic_retries") > 0);
}

#[test]
fn connections_beyond_the_limit_are_refused_at_once() {
    let options = support::options().set("limits", "quic_connections_max", 2);
    let relay = RelayProcess::start(&options).expect("it starts");
    let (mut a, mut b) = pair(&relay);
    let error = connect_quic(&relay, Options::default()).err().expect("a refusal").to_string();
    assert!(error.contains("refused"), "{error}");
    // Each datagram of its flight was.
    assert!(total(&relay, "quic_turned") > 0);
    // A device goes on by TLS meanwhile (PROTOCOL.md §2.3), and by QUIC as soon as there is room.
    let device = Device::enrol_by(&relay, Transport::Tls);
    exchange(&mut a, &mut b, &[Class::C7]);
    b.raw.close();
    eventually("it has gone", || total(&relay, "connections") == 2);
    let mut device = Device::connect_by(&relay, device.identity, Transport::Quic);
    assert!(matches!(device.ask(1, Request::Ping), Control::Pong { .. }));
}

#[test]
fn an_answer_to_nobody_is_not_larger_than_the_question() {
    // Nobody is taken without proof.
    let options = support::options().set("limits", "handshakes_in_progress_max", 1);
    let relay = RelayProcess::start(&options).expect("it starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(relay.address()).expect("an address");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let holder = UdpSocket::bind("127.0.0.1:0").expect("a port");
    holder.send_to(&first_flight()[0], relay.address()).expect("it leaves");
    eventually("one handshake is under way", || total(&relay, "quic_accepted") == 1);
    let first = &small_first_flight()[0];
    socket.send(first).expect("it leaves");
    let mut retry = [0; 2_048];
    let length = socket.recv(&mut retry).expect("an answer");
    assert_eq!(retry[0] >> 4, 0xf, "a Retry (RFC 9000 §17.2.5)");
    assert!(length < first.len(), "{length} bytes");
    assert_eq!(total(&relay, "quic_retries"), 1);
}
