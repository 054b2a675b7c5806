//! Closing is a state, and what happens to those who do not know it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use hushwire_uring::sockets;
use hushwire_uring::{Completion, Interest, Token};

use crate::{CANCEL, POLL, connection, next, next_one, ring, token};

#[test]
fn the_end_of_our_stream_reaches_the_peer_within_100_ms_of_closing() {
    for multishot in [true, false] {
        let (mut ring, (socket, mut peer)) = (ring(), connection());
        match multishot {
            true => ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap(),
            false => ring.poll_once(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap(),
        }
        ring.submit().unwrap();

        sockets::shutdown_write(socket.as_fd()).unwrap();
        ring.cancel(token(POLL, 0), token(CANCEL, 0)).unwrap();
        peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(peer.read(&mut [0; 10]).unwrap(), 0, "before the target's completion");
        next(&mut ring, 2);
        assert_eq!(ring.armed(), 0);
        drop(socket);

        // The socket is really gone: whoever writes to it is reset, and told at the next write.
        peer.write_all(b"anyone?").unwrap();
        assert_eq!(peer.write(b"no?").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn closing_under_an_armed_poll_tells_the_peer_nothing() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    ring.submit().unwrap();
    drop(socket);
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // The socket lives on in the poll, and still reports.
    peer.write_all(b"to nobody").unwrap();
    assert!(matches!(next_one(&mut ring), Completion::Polled { more: true, .. }));
    assert_eq!(peer.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // Only the end of the poll closes it.
    ring.cancel(token(POLL, 0), token(CANCEL, 0)).unwrap();
    next(&mut ring, 2);
    peer.set_nonblocking(false).unwrap();
    assert_eq!(peer.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_completion_that_outlives_its_connection_carries_the_old_generation() {
    let (mut ring, (first, mut first_peer)) = (ring(), connection());
    let (old, new) = (Token::new(POLL, 1, 0), Token::new(POLL, 2, 0));
    ring.poll_once(first.as_fd(), old, Interest::Read).unwrap();
    first_peer.write_all(b"late").unwrap();
    assert!(ring.wait(Some(crate::PATIENCE)).unwrap());

    // The completion waits in the queue while its slot, and its number, go to the next one.
    let (second, mut second_peer) = connection();
    let mut reused = first;
    rustix::io::dup2(&second, &mut reused).unwrap();
    drop(second);
    ring.poll_once(reused.as_fd(), new, Interest::Read).unwrap();
    second_peer.write_all(b"new").unwrap();
    let tokens: Vec<_> = next_after(&mut ring);
    assert_eq!(tokens, [old, new]);
}

/// The tokens of what is there and of one completion more.
fn next_after(ring: &mut hushwire_uring::Ring) -> Vec<Token> {
    let mut completions = Vec::new();
    ring.drain(&mut completions);
    completions.extend(next(ring, 1));
    completions.iter().map(Completion::token).collect()
}

#[test]
fn dropping_a_ring_releases_what_was_armed() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    ring.submit().unwrap();
    drop(ring);
    drop(socket);
    assert_eq!(peer.read(&mut [0; 10]).unwrap(), 0);
}
