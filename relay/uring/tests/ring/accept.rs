//! Multishot accept.

use std::net::TcpStream;
use std::os::fd::AsFd as _;

use hushwire_uring::Completion;
use hushwire_uring::sockets::{self, Received};

use crate::{ACCEPT, CANCEL, PATIENCE, listener, next, next_one, nothing, receive, ring, token};

#[test]
fn one_operation_accepts_many_connections() {
    let (mut ring, listener) = (ring(), listener());
    ring.accept_multishot(listener.socket.as_fd(), token(ACCEPT, 0)).unwrap();
    ring.submit().unwrap();
    for _ in 0..3 {
        let peer = TcpStream::connect(listener.address).unwrap();
        let Completion::Accepted { token: of, socket, more: true } = next_one(&mut ring) else {
            panic!("not an accepted connection");
        };
        assert_eq!(of, token(ACCEPT, 0));
        assert_eq!(sockets::peer_addr(socket.as_fd()).unwrap(), peer.local_addr().unwrap());
    }
    assert_eq!(ring.armed(), 1);
}

#[test]
fn connections_that_waited_are_accepted_when_armed() {
    let (mut ring, listener) = (ring(), listener());
    let _peers: Vec<_> = (0..5).map(|_| TcpStream::connect(listener.address).unwrap()).collect();
    ring.accept_multishot(listener.socket.as_fd(), token(ACCEPT, 0)).unwrap();
    for completion in next(&mut ring, 5) {
        assert!(matches!(completion, Completion::Accepted { more: true, .. }), "{completion:?}");
    }
}

#[test]
fn an_accepted_connection_is_in_blocking_mode_and_receiving_does_not_block() {
    let (mut ring, listener) = (ring(), listener());
    ring.accept_multishot(listener.socket.as_fd(), token(ACCEPT, 0)).unwrap();
    ring.submit().unwrap();
    let _peer = TcpStream::connect(listener.address).unwrap();
    let Completion::Accepted { socket, .. } = next_one(&mut ring) else { panic!("not accepted") };
    let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    let flags = rustix::io::fcntl_getfd(&socket).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert_eq!(receive(&socket, 10), Received::Empty);
}

#[test]
fn the_mode_of_the_listener_does_not_matter() {
    let (mut ring, listener) = (ring(), listener());
    rustix::io::ioctl_fionbio(&listener.socket, true).unwrap();
    ring.accept_multishot(listener.socket.as_fd(), token(ACCEPT, 0)).unwrap();
    nothing(&mut ring);
    let _peer = TcpStream::connect(listener.address).unwrap();
    assert!(matches!(next_one(&mut ring), Completion::Accepted { more: true, .. }));
}

#[test]
fn dropping_a_ring_closes_the_connections_that_nobody_drained() {
    let (mut ring, listener) = (ring(), listener());
    ring.accept_multishot(listener.socket.as_fd(), token(ACCEPT, 0)).unwrap();
    let mut peer = TcpStream::connect(listener.address).unwrap();
    assert!(ring.wait(Some(PATIENCE)).unwrap());
    drop(ring);
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(std::io::Read::read(&mut peer, &mut [0; 10]).unwrap(), 0);
}

#[test]
fn pausing_is_cancelling_and_arming_again() {
    let (mut ring, listener) = (ring(), listener());
    let armed = token(ACCEPT, 0);
    ring.accept_multishot(listener.socket.as_fd(), armed).unwrap();
    ring.cancel(armed, token(CANCEL, 0)).unwrap();
    let (mut cancelled, mut ended) = (0, 0);
    for completion in next(&mut ring, 2) {
        match completion {
            Completion::Cancelled { found: true, .. } => cancelled += 1,
            Completion::AcceptFailed { error, more: false, .. } => {
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((cancelled, ended, ring.armed()), (1, 1, 0));

    // The kernel goes on connecting, up to the backlog; nobody accepts.
    let _peer = TcpStream::connect(listener.address).unwrap();
    nothing(&mut ring);
    ring.accept_multishot(listener.socket.as_fd(), armed).unwrap();
    assert!(matches!(next_one(&mut ring), Completion::Accepted { more: true, .. }));
}

#[test]
fn accepting_on_what_is_no_listener_fails_finally() {
    let (mut ring, (socket, _peer)) = (ring(), crate::connection());
    ring.accept_multishot(socket.as_fd(), token(ACCEPT, 0)).unwrap();
    let Completion::AcceptFailed { error, more: false, .. } = next_one(&mut ring) else {
        panic!("accepted on a connection");
    };
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(ring.armed(), 0);
}
