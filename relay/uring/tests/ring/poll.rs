//! Readiness: one-shot and multishot polls, and the traps of the latter.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::AsFd as _;

use hushwire_uring::sockets::{self, Received};
use hushwire_uring::{Completion, Interest, Readiness, Ring};

use crate::{POLL, connection, next_one, nothing, receive, ring, token};

/// The next completion is a poll's, which is armed afterwards or not.
#[track_caller]
fn polled(ring: &mut Ring, expect_more: bool) -> Readiness {
    match next_one(ring) {
        Completion::Polled { token: of, ready, more } if of == token(POLL, 0) => {
            assert_eq!(more, expect_more);
            ready
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_one_shot_poll_completes_once() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.poll_once(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    nothing(&mut ring);
    peer.write_all(b"one").unwrap();
    let ready = polled(&mut ring, false);
    assert!(ready.readable() && !ready.writable() && !ready.peer_closed());
    assert_eq!(ring.armed(), 0);
    peer.write_all(b"two").unwrap();
    nothing(&mut ring);
}

#[test]
fn a_one_shot_poll_looks_at_the_state_it_finds() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    peer.write_all(b"before").unwrap();
    for _ in 0..3 {
        ring.poll_once(socket.as_fd(), token(POLL, 0), Interest::ReadWrite).unwrap();
        let ready = polled(&mut ring, false);
        assert!(ready.readable() && ready.writable());
    }
}

#[test]
fn a_multishot_poll_reports_again_after_everything_was_read() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    for _ in 0..3 {
        peer.write_all(b"0123456789").unwrap();
        assert!(polled(&mut ring, true).readable());
        assert_eq!(receive(&socket, 100), Received::Bytes(10));
        assert_eq!(receive(&socket, 100), Received::Empty);
        nothing(&mut ring);
    }
    assert_eq!(ring.armed(), 1);
}

#[test]
fn after_a_partial_read_a_multishot_poll_does_not_report_again() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    peer.write_all(b"0123456789").unwrap();
    polled(&mut ring, true);
    assert_eq!(receive(&socket, 4), Received::Bytes(4));
    nothing(&mut ring);
    assert_eq!(receive(&socket, 4), Received::Bytes(4));
    nothing(&mut ring);
    // More bytes report what is left with them.
    peer.write_all(b"ab").unwrap();
    polled(&mut ring, true);
    assert_eq!(receive(&socket, 100), Received::Bytes(4));
}

#[test]
fn a_reader_stopped_by_its_budget_continues_from_its_own_list() {
    const BUDGET: usize = 1_000;
    const SENT: usize = 64_000;
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    ring.submit().unwrap();
    let writer = std::thread::spawn(move || {
        peer.write_all(&vec![7; SENT]).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        peer
    });
    let (mut received, mut ready, mut completions) = (0, false, Vec::new());
    loop {
        // With something on the list there is no waiting: nobody would wake this thread.
        let timeout = if ready { std::time::Duration::ZERO } else { crate::PATIENCE };
        assert!(ring.wait(Some(timeout)).unwrap() || ready, "stuck at {received}");
        ring.drain(&mut completions);
        ready |= !completions.is_empty();
        completions.clear();
        match receive(&socket, BUDGET) {
            Received::Bytes(count) => received += count,
            Received::Empty => ready = false,
            Received::End => break,
        }
    }
    assert_eq!(received, SENT);
    writer.join().unwrap();
}

#[test]
fn an_end_of_stream_in_the_same_event_as_data_is_announced_once() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    peer.write_all(b"the last words").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    let ready = polled(&mut ring, true);
    assert!(ready.readable() && ready.peer_closed());
    // A short read, as of a reader that stops when it got less than it asked for.
    assert_eq!(receive(&socket, 100), Received::Bytes(14));
    nothing(&mut ring);
    assert_eq!(receive(&socket, 100), Received::End);
}

#[test]
fn an_end_of_stream_after_data_is_an_event_of_its_own() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    peer.write_all(b"more").unwrap();
    assert!(!polled(&mut ring, true).peer_closed());
    assert_eq!(receive(&socket, 100), Received::Bytes(4));
    peer.shutdown(Shutdown::Write).unwrap();
    let ready = polled(&mut ring, true);
    assert!(ready.peer_closed() && !ready.hung_up());
}

#[test]
fn a_reset_is_reported_as_an_error() {
    let (mut ring, (socket, peer)) = (ring(), connection());
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    ring.submit().unwrap();
    rustix::net::sockopt::set_socket_linger(&peer, Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    let ready = polled(&mut ring, true);
    assert!(ready.error() && ready.hung_up() && ready.peer_closed());
    let error = sockets::recv(socket.as_fd(), &mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_multishot_poll_for_writing_reports_when_there_is_room_again() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    while sockets::send(socket.as_fd(), &[0; 65_536]).unwrap() != 0 {}
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Write).unwrap();
    nothing(&mut ring);
    let mut sink = vec![0; 1 << 20];
    let mut completions = Vec::new();
    while completions.is_empty() {
        std::io::Read::read(&mut peer, &mut sink).unwrap();
        ring.wait(Some(std::time::Duration::ZERO)).unwrap();
        ring.drain(&mut completions);
    }
    let Completion::Polled { ready, more: true, .. } = completions.remove(0) else {
        panic!("not a poll that goes on");
    };
    assert!(ready.writable() && !ready.readable());
}

#[test]
fn a_poll_for_writing_only_still_tells_of_the_peers_end() {
    let (mut ring, (socket, peer)) = (ring(), connection());
    while sockets::send(socket.as_fd(), &[0; 65_536]).unwrap() != 0 {}
    ring.poll_once(socket.as_fd(), token(POLL, 0), Interest::Write).unwrap();
    nothing(&mut ring);
    peer.shutdown(Shutdown::Write).unwrap();
    let ready = polled(&mut ring, false);
    assert!(ready.peer_closed() && !ready.writable());
}
