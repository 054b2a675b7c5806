//! Queues that are too small for what happens: nothing is lost.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use hushwire_uring::{Completion, Interest, RingOptions, SetupError, Wake};

use crate::{
    ACCEPT, CANCEL, PATIENCE, POLL, WAKE, connection, listener, next_one, nothing, ring_of, token,
};

const TINY: RingOptions = RingOptions { entries: 2, completions: 4 };
const WAKES: u32 = 100;

#[test]
fn a_full_submission_queue_submits_by_itself_and_completions_wait_their_turn() {
    let mut ring = ring_of(TINY);
    for index in 0..WAKES {
        ring.cancel(token(POLL, index), token(CANCEL, index)).unwrap();
    }
    assert_eq!(ring.armed(), WAKES as usize);
    let mut completions = Vec::new();
    while ring.armed() > 0 {
        assert!(ring.wait(Some(PATIENCE)).unwrap());
        ring.drain(&mut completions);
    }
    let indexes: Vec<_> = completions.iter().map(|done| done.token().index()).collect();
    assert_eq!(indexes, (0..WAKES).collect::<Vec<_>>());
    nothing(&mut ring);
}

#[test]
fn multishots_that_an_overflow_ended_say_so_and_can_be_armed_again() {
    let mut ring = ring_of(TINY);
    let wakes: Vec<_> = (0..WAKES).map(|_| Wake::new().unwrap()).collect();
    for (wake, index) in wakes.iter().zip(0..) {
        ring.watch(wake, token(WAKE, index)).unwrap();
    }
    ring.submit().unwrap();
    let mut ended = 0;
    for _ in 0..3 {
        wakes.iter().for_each(Wake::notify);
        let mut waiting: HashSet<u32> = (0..WAKES).collect();
        let mut completions = Vec::new();
        while !waiting.is_empty() {
            assert!(ring.wait(Some(PATIENCE)).unwrap(), "{waiting:?}");
            ring.drain(&mut completions);
            for completion in completions.drain(..) {
                let Completion::Woken { token, more } = completion else {
                    panic!("{completion:?}");
                };
                waiting.remove(&token.index());
                if !more {
                    ended += 1;
                    ring.watch(&wakes[token.index() as usize], token).unwrap();
                }
            }
        }
        assert_eq!(ring.armed(), WAKES as usize);
    }
    // If this fails the kernel has become kinder, and rule 6 may be struck out.
    assert!(ended > 0, "no multishot ended");
}

#[test]
fn no_connection_is_lost_in_an_overflow() {
    const CONNECTIONS: usize = 50;
    let (mut ring, listener) = (ring_of(TINY), listener());
    let accept = token(ACCEPT, 0);
    ring.accept_multishot(listener.socket.as_fd(), accept).unwrap();
    ring.submit().unwrap();
    let peers: Vec<_> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(listener.address).unwrap()).collect();
    let (mut sockets, mut completions) = (Vec::new(), Vec::new());
    while sockets.len() < peers.len() {
        assert!(ring.wait(Some(PATIENCE)).unwrap(), "{} accepted", sockets.len());
        ring.drain(&mut completions);
        for completion in completions.drain(..) {
            let Completion::Accepted { socket, more, .. } = completion else {
                panic!("{completion:?}");
            };
            sockets.push(socket);
            if !more {
                ring.accept_multishot(listener.socket.as_fd(), accept).unwrap();
            }
        }
    }
    nothing(&mut ring);
}

#[test]
fn an_overflow_is_pending_until_it_is_drained() {
    let mut ring = ring_of(TINY);
    for index in 0..20 {
        ring.cancel(token(POLL, index), token(CANCEL, index)).unwrap();
    }
    ring.submit().unwrap();
    let mut completions = Vec::new();
    while ring.has_pending() {
        ring.submit().unwrap();
        ring.drain(&mut completions);
    }
    assert_eq!(completions.len(), 20);
    assert_eq!(ring.armed(), 0);
}

#[test]
fn what_the_kernel_put_off_is_pending() {
    let mut ring = ring_of(TINY);
    let (socket, mut peer) = connection();
    ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    nothing(&mut ring);
    assert!(!ring.has_pending());
    peer.write_all(b"x").unwrap();
    assert!(ring.has_pending());
    next_one(&mut ring);
    assert!(!ring.has_pending());
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    #[track_caller]
    fn check(entries: u32, completions: u32, fits: bool) {
        let outcome = hushwire_uring::DormantRing::new(RingOptions { entries, completions });
        match outcome {
            Ok(_) => assert!(fits),
            Err(SetupError::Sizes { .. }) => assert!(!fits),
            Err(other) => panic!("{other}"),
        }
    }
    check(0, 0, false);
    check(0, 16, false);
    check(1, 1, true);
    check(8, 7, false);
    check(3, 5, true);
    check(32_768, 65_536, true);
    check(32_769, 65_536, false);
    check(32_768, 65_537, false);
    check(u32::MAX, u32::MAX, false);
}
