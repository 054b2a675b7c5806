//! Every datagram comes to the socket of its shard.

use std::net::UdpSocket as StdSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use hushwire_uring::limits;
use hushwire_uring::udp::{Inbox, Steering, UdpOptions, bind_shared};

use crate::{ANY, ANY_V6, KEY, Random, group, next, peer, wait_for_any};

const SHORT: u8 = 0x40;
const LONG: u8 = 0xC0;

/// A packet with a short header (RFC 9000, section 17.3.1) and an ID of 8 bytes.
fn short(id: &[u8]) -> Vec<u8> {
    [&[SHORT], id].concat()
}

/// The start of a packet with a long header (RFC 9000, section 17.2) of version 1.
fn long(id: &[u8]) -> Vec<u8> {
    [&[LONG, 0, 0, 0, 1, id.len() as u8], id].concat()
}

#[test]
fn the_computation_is_that_of_the_protocol() {
    #[track_caller]
    fn check(key: u32, shards: usize, id: &[u8], expect: usize) {
        let steering = Steering::new(key, shards);
        assert_eq!(steering.shard_of_id(id), expect);
        let (short, long) = (short(id), long(id));
        if id.len() >= 4 {
            assert_eq!(steering.shard_of_datagram(&short), expect);
            assert_eq!(steering.shard_of_datagram(&long), expect);
        }
    }
    check(1, 256, &[0xAB, 0, 0, 0], 0xAB);
    check(1, 256, &[0xAB, 0xCD, 0xEF, 0x01, 0x23, 0x45, 0x67, 0x89], 0xAB);
    check(1, 4, &[0xAB, 0xFF, 0xFF, 0xFF], 3);
    check(1, 3, &[0xAB, 0xFF, 0xFF, 0xFF], 0);
    check(1, 1, &[0xAB, 0xFF, 0xFF, 0xFF], 0);
    check(3, 256, &[0x55, 0x55, 0x55, 0x55], 0xFF);
    check(0x0100_0001, 256, &[1, 0, 0, 2], 3);
    // An even key is made odd.
    check(0, 256, &[0xAB, 0, 0, 0], 0xAB);
    check(2, 256, &[0x55, 0x55, 0x55, 0x55], 0xFF);
    for length in 0..4 {
        check(1, 256, &[0xAB; 4][..length], 0);
    }
}

#[test]
fn the_number_of_shards_has_bounds() {
    for shards in [1, 256] {
        assert_eq!(Steering::new(KEY, shards).shards(), shards);
    }
    for shards in [0, 257, usize::MAX] {
        assert!(std::panic::catch_unwind(|| Steering::new(KEY, shards)).is_err());
    }
}

#[test]
fn random_ids_are_spread_evenly() {
    const IDS: u32 = 64_000;
    let mut random = Random(1);
    for shards in [2, 3, 4, 7, 16, 64] {
        let steering = Steering::new(random.next() as u32, shards);
        let mut counts = vec![0; shards];
        for _ in 0..IDS {
            counts[steering.shard_of_id(&random.next().to_be_bytes())] += 1;
        }
        // Where 256 is not a multiple of the shards, some have one part in 256 more than others.
        let of = |shard: usize| f64::from(IDS) * (255 - shard).div_euclid(shards) as f64 / 256.0;
        let expected = (0..shards).map(|shard| of(shard) + f64::from(IDS) / 256.0);
        let chi_square: f64 = expected
            .zip(&counts)
            .map(|(expected, &count)| (f64::from(count) - expected).powi(2) / expected)
            .sum();
        // Its mean is the number of shards less one, its deviation the root of twice that.
        let freedom = (shards - 1) as f64;
        let bound = freedom + 5.0 * (2.0 * freedom).sqrt();
        assert!(chi_square < bound, "{chi_square} of {shards} shards: {counts:?}");
    }
}

/// Sends `count` packets of all kinds from several sockets; each must come to its shard.
#[track_caller]
fn check_steered(at: &str, shards: usize, count: usize) {
    const BATCH: usize = 50;
    let steering = Steering::new(KEY, shards);
    let group = group(at, &steering);
    let to = group.sockets[0].address;
    let peers: Vec<_> = (0..7).map(|_| StdSocket::bind((to.ip(), 0)).unwrap()).collect::<Vec<_>>();
    let (mut inbox, mut random) = (Inbox::new(), Random(shards as u64));
    let mut seen = vec![false; count];
    let mut of_shard = vec![0; shards];
    for start in (0..count).step_by(BATCH) {
        for number in start..start + BATCH {
            let mut id = [0; 20];
            random.fill(&mut id);
            let mut packet = match number % 4 {
                0 | 1 => short(&id[..8]),
                2 => long(&id[..8]),
                _ => long(&id),
            };
            packet.extend_from_slice(&(number as u32).to_be_bytes());
            let peer = &peers[random.next() as usize % peers.len()];
            peer.send_to(&packet, to).unwrap();
        }
        // To take them at once paces the senders: the loopback drops what has no room.
        for packet in next(&group.sockets, &mut inbox, BATCH) {
            assert_eq!(packet.shard, steering.shard_of_datagram(&packet.bytes));
            let number = u32::from_be_bytes(*packet.bytes.last_chunk().unwrap()) as usize;
            assert!(!std::mem::replace(&mut seen[number], true), "{number} came twice");
            of_shard[packet.shard] += 1;
        }
    }
    assert!(seen.iter().all(|&seen| seen));
    let fair = count / shards;
    assert!(of_shard.iter().all(|&share| share > fair * 9 / 10), "{of_shard:?}");
    println!("{count} of {count} over {at}, {shards} shards: {of_shard:?}");
}

#[test]
fn a_hundred_thousand_packets_come_to_their_shards() {
    check_steered(ANY, 4, 100_000);
}

#[test]
fn so_they_do_with_other_numbers_of_shards_and_over_ipv6() {
    check_steered(ANY, 1, 5_000);
    check_steered(ANY, 3, 20_000);
    check_steered(ANY_V6, 4, 20_000);
    check_steered(ANY_V6, 3, 20_000);
}

#[test]
fn the_kernel_and_the_function_agree_on_every_length_and_first_byte() {
    let (peer, mut inbox, mut random) = (peer(), Inbox::new(), Random(2));
    for shards in [1, 3, 4, limits::STEERING_SHARDS_MAX] {
        let steering = Steering::new(random.next() as u32, shards);
        let group = group(ANY, &steering);
        // Every first byte where it is cheap; otherwise those on both sides of each of its bits.
        let first: Vec<u8> = match shards {
            4 => (0..=u8::MAX).collect(),
            _ => vec![0x00, 0x01, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0xBF, 0xC0, 0xFF],
        };
        for first in first {
            for length in 0..=32 {
                let mut datagram = [0; 32];
                random.fill(&mut datagram);
                datagram[0] = first;
                let datagram = &datagram[..length];
                peer.send_to(datagram, group.sockets[0].address).unwrap();
                let arrived = next(&group.sockets, &mut inbox, 1).remove(0);
                assert_eq!(arrived.bytes, datagram);
                let expect = steering.shard_of_datagram(datagram);
                assert_eq!(arrived.shard, expect, "{first:#x}, {length} bytes, {shards} shards");
                let id_at = if first < 0x80 { 1 } else { 6 };
                assert!(expect == 0 || length >= id_at + 4);
            }
        }
    }
}

/// Ends the sender also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_misplaced_while_the_sockets_are_bound() {
    const GROUPS: usize = 200;
    let (steering, peer) = (Steering::new(KEY, 8), peer());
    let to = group(ANY, &steering).sockets[0].address;
    let over = AtomicBool::new(false);
    let arrived = std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            let mut random = Random(3);
            while !over.load(Ordering::Relaxed) {
                peer.send_to(&short(&random.next().to_be_bytes()), to).unwrap();
            }
        });
        let (mut bound, mut arrived, mut inbox) = (0, 0, Inbox::new());
        while bound < GROUPS {
            let Ok(group) = bind_shared(to, &steering, &UdpOptions::default()) else {
                // Another test has been given the port since the last group.
                std::thread::yield_now();
                continue;
            };
            bound += 1;
            wait_for_any(&group.sockets);
            for (shard, socket) in group.sockets.iter().map(|bound| &bound.socket).enumerate() {
                // The first ones tell; to the end it would go on for ever.
                for _ in 0..5 {
                    socket.receive(&mut inbox).unwrap();
                    for datagram in inbox.datagrams() {
                        assert_eq!(shard, steering.shard_of_datagram(datagram.bytes));
                        arrived += 1;
                    }
                }
            }
        }
        arrived
    });
    println!("{arrived} datagrams came to {GROUPS} groups when they were bound");
    assert!(arrived >= GROUPS);
}
