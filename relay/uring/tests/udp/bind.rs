//! Who gets a port, and what the sockets are.

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::fd::AsFd as _;

use hushwire_uring::sockets::{ListenError, ListenOptions, Transport, listen};
use hushwire_uring::udp::{Steering, UdpOptions, bind_shared};
use rustix::io::FdFlags;
use rustix::net::sockopt;

use crate::{ANY, ANY_V6, KEY, address, group};

const FOUR: Steering = Steering::new(KEY, 4);

#[track_caller]
fn check_in_use(at: SocketAddr) {
    for shards in [1, 4] {
        let steering = Steering::new(KEY, shards);
        let error = bind_shared(at, &steering, &UdpOptions::default()).unwrap_err();
        let ListenError::InUse { transport: Transport::Udp, address } = error else {
            panic!("{error}");
        };
        assert_eq!(address, at);
    }
}

#[test]
fn port_0_becomes_one_port_of_all() {
    for any in [ANY, ANY_V6, "0.0.0.0:0", "[::]:0"] {
        let group = group(any, &FOUR);
        let first = group.sockets[0].address;
        assert_eq!(first.ip(), address(any).ip());
        assert_ne!(first.port(), 0);
        assert!(group.sockets.iter().all(|bound| bound.address == first));
    }
}

#[test]
fn a_port_in_use_is_detected_whoever_has_it() {
    let plain = StdSocket::bind(ANY).unwrap();
    check_in_use(plain.local_addr().unwrap());
    let group = group(ANY, &FOUR);
    check_in_use(group.sockets[0].address);
    // Everywhere includes there.
    check_in_use(SocketAddr::from(([0, 0, 0, 0], group.sockets[0].address.port())));
}

#[test]
fn a_port_is_free_again_at_once() {
    let at = group(ANY, &FOUR).sockets[0].address;
    let again = bind_shared(at, &FOUR, &UdpOptions::default()).unwrap();
    assert_eq!(again.sockets[3].address, at);
}

#[test]
fn tcp_may_have_the_same_port() {
    let listener = listen(address(ANY), &ListenOptions::default()).unwrap();
    // Unless another test happens to have that port of UDP.
    match bind_shared(listener.address, &FOUR, &UdpOptions::default()) {
        Ok(group) => assert_eq!(group.sockets[0].address, listener.address),
        Err(error) => assert!(StdSocket::bind(listener.address).is_err(), "{error}"),
    }
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    // TEST-NET-1 (RFC 5737) is nobody's.
    let nobodys = address("192.0.2.1:443");
    let error = bind_shared(nobodys, &FOUR, &UdpOptions::default()).unwrap_err();
    assert!(matches!(error, ListenError::NotLocal { address } if address == nobodys), "{error}");
}

#[test]
fn the_sockets_have_their_options() {
    let options = UdpOptions {
        receive_buffer: Some(50_000),
        send_buffer: Some(40_000),
        ..UdpOptions::default()
    };
    for bound in bind_shared(address(ANY), &FOUR, &options).unwrap().sockets {
        let socket = bound.socket.as_fd();
        assert_eq!(sockopt::socket_recv_buffer_size(socket).unwrap(), 100_000);
        assert_eq!(sockopt::socket_send_buffer_size(socket).unwrap(), 80_000);
        assert!(rustix::io::fcntl_getfd(socket).unwrap().contains(FdFlags::CLOEXEC));
        assert!(!bound.socket.may_fragment());
        assert!(bound.socket.segments_max() > 1);
    }
}

#[test]
fn an_ipv6_socket_takes_ipv4_or_leaves_it() {
    for ipv6_only in [false, true] {
        let options = UdpOptions { ipv6_only, ..UdpOptions::default() };
        let group = bind_shared(address("[::]:0"), &FOUR, &options).unwrap();
        let socket = group.sockets[0].socket.as_fd();
        assert_eq!(sockopt::ipv6_v6only(socket).unwrap(), ipv6_only);
        let on_ipv4 = SocketAddr::from(([127, 0, 0, 1], group.sockets[0].address.port()));
        let peer = StdSocket::bind(ANY).unwrap();
        peer.send_to(b"anybody?", on_ipv4).unwrap();
        let mut inbox = hushwire_uring::udp::Inbox::new();
        let received = group.sockets[0].socket.receive(&mut inbox).unwrap()
            | group.sockets[1..].iter().any(|bound| bound.socket.receive(&mut inbox).unwrap());
        assert_eq!(received, !ipv6_only);
    }
}
