//! Short sends, which the ring finishes.

use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;

use hushwire_uring::Completion;
use hushwire_uring::sockets::{self, SocketBuffers};

use crate::{CANCEL, SEND, connection, next, next_one, nothing, ring, token};

const MIB: usize = 1 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Sends until the kernel has no room; returns how much that was.
fn fill(socket: &std::os::fd::OwnedFd, bytes: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        match sockets::send(socket.as_fd(), &bytes[sent..]).unwrap() {
            0 => return sent,
            more => sent += more,
        }
    }
}

#[test]
fn a_short_send_to_a_slow_reader_is_finished_by_the_ring() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    let small = SocketBuffers { send: Some(32_768), ..SocketBuffers::default() };
    sockets::set_buffers(socket.as_fd(), &small).unwrap();
    let buffer = pattern(8 * MIB);
    let (address, expected) = (buffer.as_ptr(), buffer.clone());

    let short = fill(&socket, &buffer);
    assert!(short > 0 && short < buffer.len(), "{short}");
    ring.send(socket.as_fd(), token(SEND, 0), buffer, short).unwrap();
    nothing(&mut ring);

    let reader = std::thread::spawn(move || {
        let mut received = vec![0; 8 * MIB];
        for chunk in received.chunks_mut(10_000) {
            peer.read_exact(chunk).unwrap();
        }
        (received, peer)
    });
    let Completion::Sent { token: of, buffer, result } = next_one(&mut ring) else {
        panic!("not a send");
    };
    assert_eq!(of, token(SEND, 0));
    assert_eq!(result.unwrap(), 8 * MIB - short);
    assert_eq!(buffer.as_ptr(), address, "the buffer itself comes back");
    assert!(buffer == expected);
    assert_eq!(ring.armed(), 0);
    let (received, _peer) = reader.join().unwrap();
    assert!(received == expected);
}

#[test]
fn a_cancelled_send_gives_its_buffer_back_and_says_how_far_it_came() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    let buffer = pattern(16 * MIB);
    let short = fill(&socket, &buffer);
    ring.send(socket.as_fd(), token(SEND, 0), buffer, short).unwrap();
    nothing(&mut ring);

    // Nothing went out by the ring yet: the cancellation is its result.
    ring.cancel(token(SEND, 0), token(CANCEL, 0)).unwrap();
    let mut buffers = Vec::new();
    for completion in next(&mut ring, 2) {
        match completion {
            Completion::Sent { buffer, result, .. } => {
                assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
                buffers.push(buffer);
            }
            Completion::Cancelled { found, .. } => assert!(found),
            other => panic!("{other:?}"),
        }
    }
    let buffer = buffers.pop().unwrap();
    assert_eq!(buffer.len(), 16 * MIB);

    // Something did: the result is how much, and the peer has exactly that.
    ring.send(socket.as_fd(), token(SEND, 0), buffer, short).unwrap();
    let mut received = vec![0; short + 1];
    let mut at = 0;
    while at < received.len() {
        at += peer.read(&mut received[at..]).unwrap();
        nothing(&mut ring);
    }
    ring.cancel(token(SEND, 0), token(CANCEL, 0)).unwrap();
    let mut sent = None;
    for completion in next(&mut ring, 2) {
        if let Completion::Sent { result, buffer, .. } = completion {
            assert!(buffer == pattern(16 * MIB));
            sent = Some(result.unwrap());
        }
    }
    drop(socket);
    drop(ring);
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), short + sent.unwrap());
    assert!(received == pattern(16 * MIB)[..received.len()]);
}

#[test]
fn a_send_whose_peer_dies_gives_its_buffer_back() {
    let (mut ring, (socket, peer)) = (ring(), connection());
    let buffer = pattern(8 * MIB);
    let short = fill(&socket, &buffer);
    ring.send(socket.as_fd(), token(SEND, 0), buffer, short).unwrap();
    nothing(&mut ring);
    drop(peer);
    let Completion::Sent { buffer, result, .. } = next_one(&mut ring) else {
        panic!("not a send");
    };
    let kind = result.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    assert_eq!(buffer.len(), 8 * MIB);
}

#[test]
fn a_buffer_outlives_its_descriptor() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    let buffer = pattern(8 * MIB);
    let short = fill(&socket, &buffer);
    ring.send(socket.as_fd(), token(SEND, 0), buffer, short).unwrap();
    ring.submit().unwrap();
    drop(socket);
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    });
    let Completion::Sent { buffer, result, .. } = next_one(&mut ring) else {
        panic!("not a send");
    };
    assert_eq!(result.unwrap(), 8 * MIB - short);
    assert!(reader.join().unwrap() == buffer);
}

#[test]
fn a_send_waits_for_room_also_in_non_blocking_mode() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    rustix::io::ioctl_fionbio(&socket, true).unwrap();
    let buffer = pattern(8 * MIB);
    let short = fill(&socket, &buffer);
    ring.send(socket.as_fd(), token(SEND, 0), buffer, short).unwrap();
    nothing(&mut ring);
    let reader = std::thread::spawn(move || {
        peer.read_exact(&mut vec![0; 8 * MIB]).unwrap();
        peer
    });
    let Completion::Sent { result, .. } = next_one(&mut ring) else { panic!("not a send") };
    assert_eq!(result.unwrap(), 8 * MIB - short);
    reader.join().unwrap();
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_buffer() {
    let (mut ring, (socket, _peer)) = (ring(), connection());
    let mut check = |length: usize, offset: usize, expect: Option<ErrorKind>| {
        let outcome = ring.send(socket.as_fd(), token(SEND, 0), vec![1; length], offset);
        let found = outcome.err().map(|refused| {
            assert_eq!(refused.buffer.len(), length);
            refused.error.kind()
        });
        assert_eq!(found, expect, "{length} from {offset}");
    };
    check(0, 0, Some(ErrorKind::InvalidInput));
    check(10, 10, Some(ErrorKind::InvalidInput));
    check(10, 11, Some(ErrorKind::InvalidInput));
    check(10, usize::MAX, Some(ErrorKind::InvalidInput));
    check(10, 9, None);
    check(10, 9, Some(ErrorKind::AlreadyExists));
    next_one(&mut ring);
    nothing(&mut ring);
}

#[test]
fn a_ring_dropped_with_sends_armed_keeps_their_buffers_until_then() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    let buffer = pattern(8 * MIB);
    let expected = buffer.clone();
    let short = fill(&socket, &buffer);
    ring.send(socket.as_fd(), token(SEND, 0), buffer, short).unwrap();
    ring.submit().unwrap();
    drop(ring);
    drop(socket);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(received == expected[..received.len()]);
    assert_eq!(received.len(), short, "nothing is sent after the drop");
}

#[test]
fn what_was_not_submitted_is_never_sent() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    ring.send(socket.as_fd(), token(SEND, 0), pattern(10), 0).unwrap();
    drop(ring);
    drop(socket);
    assert_eq!(peer.read(&mut [0; 10]).unwrap(), 0);
}
