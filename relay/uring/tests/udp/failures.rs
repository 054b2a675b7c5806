//! What goes wrong with one datagram does not concern the next one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hushwire_uring::udp::{BoundUdp, Inbox, Outgoing};

use crate::{ANY, ANY_V6, address, bound, next_one, nothing, to};

/// The socket sends and receives as if nothing had been: with segments, marks and addresses.
#[track_caller]
fn check_sound(bound: &BoundUdp) {
    assert!(bound.socket.segments_max() > 1);
    let this = SocketAddr::new(
        match bound.address.ip() {
            any if any.is_unspecified() && any.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
            any if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            other => other,
        },
        bound.address.port(),
    );
    let outgoing = Outgoing { ecn: Some(2), from: Some(this.ip()), ..to(this, b"still here") };
    assert!(bound.socket.send(&outgoing).unwrap());
    let arrived = next_one(bound);
    assert_eq!((arrived.bytes, arrived.ecn), (b"still here".to_vec(), Some(2)));
}

#[test]
fn what_cannot_be_sent_is_dropped() {
    #[track_caller]
    fn check(any: &str, out: Outgoing<'_>) {
        let bound = bound(any);
        for _ in 0..3 {
            assert!(bound.socket.send(&out).unwrap());
        }
        nothing(&bound.socket);
        check_sound(&bound);
    }
    let huge = vec![0; 70_000];
    // Nobody there; addresses that lead nowhere (RFC 1112, RFC 3849); everybody.
    check(ANY, to(address("127.0.0.1:9"), b"x"));
    check("0.0.0.0:0", to(address("240.0.0.1:443"), b"x"));
    check("0.0.0.0:0", to(address("255.255.255.255:443"), b"x"));
    check(ANY_V6, to(address("[::1]:9"), b"x"));
    check("[::]:0", to(address("[2001:db8::1]:443"), b"x"));
    // No port, as a forged sender has it.
    check(ANY, to(address("127.0.0.1:0"), b"x"));
    check(ANY_V6, to(address("[::1]:0"), b"x"));
    check(ANY, Outgoing { segment: Some(1), ecn: Some(2), ..to(address("127.0.0.1:0"), b"xyz") });
    // Longer than a datagram can be.
    check(ANY, to(address("127.0.0.1:9"), &huge));
    check(ANY_V6, to(address("[::1]:9"), &huge));
}

#[test]
fn an_address_that_is_not_ours_costs_neither_segments_nor_marks() {
    #[track_caller]
    fn check(any: &str, not_ours: &str) {
        let (bound, there) = (bound(any), bound(if any.contains("::") { ANY_V6 } else { ANY }));
        let mut inbox = Inbox::new();
        for _ in 0..3 {
            let from = Some(not_ours.parse().unwrap());
            let out = Outgoing { from, ecn: Some(1), ..to(there.address, b"from elsewhere") };
            assert!(bound.socket.send(&out).unwrap());
            // The kernel drops some of them.
            if there.socket.receive(&mut inbox).unwrap() {
                let arrived = inbox.datagrams().next().unwrap();
                assert_eq!((arrived.from.port(), arrived.ecn), (bound.address.port(), Some(1)));
            }
        }
        check_sound(&bound);
    }
    // As the answer to a broadcast, to a multicast and to an address we no longer have.
    check("0.0.0.0:0", "127.255.255.255");
    check("0.0.0.0:0", "255.255.255.255");
    check("0.0.0.0:0", "224.0.0.1");
    check("0.0.0.0:0", "192.0.2.1");
    check(ANY_V6, "ff02::1");
    check(ANY_V6, "2001:db8::1");
}

#[test]
fn news_that_nobody_is_there_do_not_end_receiving() {
    for any in [ANY, ANY_V6] {
        // A port of its own choice the kernel would take back below.
        let at = crate::bound(any).address;
        let bound = bound(&at.to_string());
        // The kernel tells it only to sockets that asked for it or are connected; so this one is.
        let nobody = SocketAddr::new(at.ip(), 9);
        rustix::net::connect(&bound.socket, &nobody).unwrap();
        let mut inbox = Inbox::new();
        for _ in 0..3 {
            assert!(bound.socket.send(&to(nobody, b"anybody?")).unwrap());
            assert!(bound.socket.receive(&mut inbox).unwrap(), "an error is something");
            assert_eq!(inbox.datagrams().count(), 0);
            nothing(&bound.socket);
            // And the other way round: the next send meets it.
            assert!(bound.socket.send(&to(nobody, b"anybody?")).unwrap());
            assert!(bound.socket.send(&to(nobody, b"anybody?")).unwrap());
            while bound.socket.receive(&mut inbox).unwrap() {}
        }
        rustix::net::connect_unspec(&bound.socket).unwrap();
        let theirs = crate::bound(any);
        assert!(theirs.socket.send(&to(at, b"hello")).unwrap());
        assert_eq!(next_one(&bound).bytes, b"hello");
    }
}

#[test]
fn what_is_wrong_with_the_socket_is_an_error() {
    let bound = bound(ANY);
    let of_other_family = to(address("[::1]:9"), b"IPv6 over a socket of IPv4");
    let error = bound.socket.send(&of_other_family).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
    check_sound(&bound);
}

#[test]
#[should_panic(expected = "empty segments, or too many")]
fn empty_segments_are_a_bug_of_ours() {
    let bound = bound(ANY);
    let _ = bound.socket.send(&Outgoing { segment: Some(0), ..to(bound.address, b"x") });
}
