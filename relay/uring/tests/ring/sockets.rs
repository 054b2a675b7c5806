//! Listening and the system calls of a connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use hushwire_uring::sockets::{
    self, ListenError, ListenOptions, PortSharing, Received, SocketBuffers, Transport, listen,
    listen_shared,
};
use rustix::net::sockopt;

use crate::{PATIENCE, connection, listener, receive};

const ANY: &str = "127.0.0.1:0";

fn sharing(reuse_port: PortSharing) -> ListenOptions {
    ListenOptions { reuse_port, ..ListenOptions::default() }
}

#[track_caller]
fn check_in_use(address: SocketAddr, options: &ListenOptions) {
    match listen(address, options) {
        Err(ListenError::InUse { transport: Transport::Tcp, address: of }) => {
            assert_eq!(of, address);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn port_0_becomes_a_port() {
    for reuse_port in [PortSharing::Exclusive, PortSharing::First] {
        for any in [ANY, "[::1]:0"] {
            let any: SocketAddr = any.parse().unwrap();
            let listener = listen(any, &sharing(reuse_port)).unwrap();
            assert_eq!(listener.address.ip(), any.ip());
            assert_ne!(listener.address.port(), 0);
            TcpStream::connect(listener.address).unwrap();
        }
    }
}

#[test]
fn a_port_in_use_is_detected_whoever_has_it() {
    let plain = TcpListener::bind(ANY).unwrap();
    let group = listen_shared(ANY.parse().unwrap(), 2, &ListenOptions::default()).unwrap();
    let alone = listener();
    for address in [plain.local_addr().unwrap(), group[0].address, alone.address] {
        check_in_use(address, &sharing(PortSharing::Exclusive));
        check_in_use(address, &sharing(PortSharing::First));
        assert!(matches!(
            listen_shared(address, 2, &ListenOptions::default()),
            Err(ListenError::InUse { .. })
        ));
    }
    // Without looking first, SO_REUSEPORT joins a group that is not ours.
    listen(group[0].address, &sharing(PortSharing::Join)).unwrap();
    check_in_use(plain.local_addr().unwrap(), &sharing(PortSharing::Join));
}

#[test]
fn a_port_is_free_again_at_once() {
    let (old, peer) = {
        let old = listener();
        let peer = TcpStream::connect(old.address).unwrap();
        let accepted = rustix::net::accept(&old.socket).unwrap();
        // The side that closes first keeps the port in TIME_WAIT.
        drop(accepted);
        (old, peer)
    };
    let address = old.address;
    drop(old);
    drop(peer);
    let again = listen_shared(address, 2, &ListenOptions::default()).unwrap();
    assert_eq!(again[0].address, address);
}

#[test]
fn a_group_shares_one_address_and_every_listener_gets_connections() {
    let group = listen_shared(ANY.parse().unwrap(), 3, &ListenOptions::default()).unwrap();
    assert!(group.iter().all(|listener| listener.address == group[0].address));
    let peers: Vec<_> = (0..200).map(|_| TcpStream::connect(group[0].address).unwrap()).collect();
    let mut accepted = 0;
    for listener in &group {
        rustix::io::ioctl_fionbio(&listener.socket, true).unwrap();
        let mut share = 0;
        while rustix::net::accept(&listener.socket).is_ok() {
            share += 1;
        }
        assert!(share > 0);
        accepted += share;
    }
    assert_eq!(accepted, peers.len());
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    // TEST-NET-1 (RFC 5737) is nobody's.
    let address = "192.0.2.1:443".parse().unwrap();
    let error = listen(address, &ListenOptions::default()).unwrap_err();
    assert!(matches!(error, ListenError::NotLocal { .. }), "{error}");
    assert!(error.to_string().contains("192.0.2.1:443 is not an address of this machine"));
}

#[test]
fn errors_name_cause_and_remedy() {
    #[track_caller]
    fn check(error: &ListenError, cause: &str, remedy: &str) {
        let text = error.to_string();
        assert!(text.contains(cause) && text.contains(remedy), "{text}");
    }
    let address: SocketAddr = "127.0.0.1:443".parse().unwrap();
    for (transport, name) in [(Transport::Tcp, "TCP"), (Transport::Udp, "UDP")] {
        check(&ListenError::InUse { transport, address }, "in use", "another port");
        check(&ListenError::InUse { transport, address }, name, "127.0.0.1:443");
    }
    check(&ListenError::Forbidden { address }, "may not be used", "CAP_NET_BIND_SERVICE");
    check(&ListenError::NotLocal { address }, "not an address", "ip address");
    let source = std::io::Error::from_raw_os_error(libc::ENOBUFS);
    let transport = Transport::Udp;
    check(&ListenError::Failed { transport, address, source }, "No buffer space", "system log");
}

#[test]
fn a_connection_inherits_the_options_of_its_listener() {
    let buffers =
        SocketBuffers { send: Some(40_000), receive: Some(50_000), unsent_low_water: Some(16_384) };
    let options = ListenOptions { buffers, ..ListenOptions::default() };
    let listener = listen(ANY.parse().unwrap(), &options).unwrap();
    let _peer = TcpStream::connect(listener.address).unwrap();
    let socket = rustix::net::accept(&listener.socket).unwrap();
    assert!(sockopt::tcp_nodelay(&socket).unwrap());
    assert_eq!(sockopt::socket_send_buffer_size(&socket).unwrap(), 80_000);
    assert_eq!(sockopt::socket_recv_buffer_size(&socket).unwrap(), 100_000);

    sockets::set_no_delay(socket.as_fd(), false).unwrap();
    assert!(!sockopt::tcp_nodelay(&socket).unwrap());
}

#[test]
fn the_low_water_mark_bounds_what_is_writable() {
    let unsent = |low_water| {
        let (socket, _peer) = connection();
        let buffers = SocketBuffers { unsent_low_water: low_water, ..SocketBuffers::default() };
        sockets::set_buffers(socket.as_fd(), &buffers).unwrap();
        let mut sent = 0;
        loop {
            match sockets::send(socket.as_fd(), &[0; 4_096]).unwrap() {
                0 => return sent,
                more => sent += more,
            }
        }
    };
    assert!(unsent(Some(4_096)) < unsent(None));
}

#[test]
fn receiving_tells_bytes_from_nothing_and_from_the_end() {
    let (socket, mut peer) = connection();
    assert_eq!(receive(&socket, 10), Received::Empty);
    peer.write_all(b"hello").unwrap();
    assert_eq!(receive(&socket, 3), Received::Bytes(3));
    assert_eq!(receive(&socket, 10), Received::Bytes(2));
    assert_eq!(receive(&socket, 10), Received::Empty);
    drop(peer);
    assert_eq!(receive(&socket, 10), Received::End);
    assert_eq!(receive(&socket, 10), Received::End);
}

#[test]
fn sending_to_a_dead_connection_is_an_error_and_no_signal() {
    let (socket, peer) = connection();
    sockopt::set_socket_linger(&peer, Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    let first = sockets::send(socket.as_fd(), b"x").unwrap_err();
    assert_eq!(first.kind(), ErrorKind::ConnectionReset);
    let second = sockets::send(socket.as_fd(), b"x").unwrap_err();
    assert_eq!(second.kind(), ErrorKind::BrokenPipe);
    assert!(sockets::peer_addr(socket.as_fd()).is_err());
    sockets::shutdown_write(socket.as_fd()).unwrap();
}

#[test]
fn ending_our_stream_leaves_the_other_direction_open() {
    let (socket, mut peer) = connection();
    assert_eq!(sockets::peer_addr(socket.as_fd()).unwrap(), peer.local_addr().unwrap());
    sockets::send(socket.as_fd(), b"bye").unwrap();
    sockets::shutdown_write(socket.as_fd()).unwrap();
    let mut received = Vec::new();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"bye");
    peer.write_all(b"one more thing").unwrap();
    assert_eq!(receive(&socket, 100), Received::Bytes(14));
}

#[test]
fn a_peer_that_is_no_internet_address_is_refused() {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = sockets::peer_addr(ours.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_tail_that_more_may_follow_waits_for_it_or_for_a_push() {
    let (socket, mut peer) = connection();
    let socket = socket.as_fd();
    let other = peer.try_clone().unwrap();
    let mut comes = |bytes: &[u8]| {
        let mut buffer = vec![0; bytes.len()];
        peer.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, bytes);
    };
    // The kernel lets a tail go by itself after 200 ms: seldom is one let go before anybody looks.
    let is_held = |tail: &[u8]| {
        assert_eq!(sockets::send_more(socket, tail).unwrap(), tail.len());
        rustix::io::ioctl_fionread(&other).unwrap() == 0
    };
    let mut held = 0;
    for _ in 0..20 {
        held += u32::from(is_held(b"one"));
        assert_eq!(sockets::send(socket, b", two").unwrap(), 5);
        comes(b"one, two");
        held += u32::from(is_held(b"three"));
        sockets::push(socket).unwrap();
        comes(b"three");
    }
    assert!(held >= 30, "{held} of 40 tails were held back");
}
