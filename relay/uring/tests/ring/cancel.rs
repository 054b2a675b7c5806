//! Cancelling: two operations, two completions.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use hushwire_uring::{Completion, Interest, Kind, Token, Wake};

use crate::{ACCEPT, CANCEL, POLL, WAKE, connection, listener, next, next_one, ring, token};

/// Arms with `arm`, cancels, and checks that both operations end, each once.
#[track_caller]
fn check(kind: Kind, arm: impl FnOnce(&mut hushwire_uring::Ring, Token)) {
    let mut ring = ring();
    let (target, cancellation) = (token(kind, 3), token(CANCEL, 4));
    arm(&mut ring, target);
    ring.submit().unwrap();
    ring.cancel(target, cancellation).unwrap();
    let mut tokens = Vec::new();
    for completion in next(&mut ring, 2) {
        assert!(!completion.more());
        tokens.push(completion.token());
        match completion {
            Completion::Cancelled { found, .. } => assert!(found),
            Completion::PollEnded { error, .. }
            | Completion::WatchEnded { error, .. }
            | Completion::AcceptFailed { error, .. } => {
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(tokens.contains(&target) && tokens.contains(&cancellation), "{tokens:?}");
    assert_eq!(ring.armed(), 0);
}

#[test]
fn whatever_is_armed_ends_once() {
    let ((socket, _peer), listener, wake) = (connection(), listener(), Wake::new().unwrap());
    check(POLL, |ring, token| ring.poll_once(socket.as_fd(), token, Interest::Read).unwrap());
    check(POLL, |ring, token| ring.poll_multishot(socket.as_fd(), token, Interest::Read).unwrap());
    check(ACCEPT, |ring, token| {
        ring.accept_multishot(listener.socket.as_fd(), token).unwrap();
    });
    check(WAKE, |ring, token| ring.watch(&wake, token).unwrap());
}

#[test]
fn what_is_not_armed_is_not_found() {
    let mut ring = ring();
    ring.cancel(token(POLL, 9), token(CANCEL, 9)).unwrap();
    let completion = next_one(&mut ring);
    assert!(matches!(completion, Completion::Cancelled { found: false, .. }), "{completion:?}");
    assert_eq!(completion.token(), token(CANCEL, 9));
}

#[test]
fn a_target_that_completed_first_is_not_found_and_its_completion_is_there() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    peer.write_all(b"ready").unwrap();
    ring.poll_once(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
    ring.submit().unwrap();
    ring.cancel(token(POLL, 0), token(CANCEL, 0)).unwrap();
    let completions = next(&mut ring, 2);
    assert!(matches!(completions[0], Completion::Polled { more: false, .. }), "{completions:?}");
    assert!(
        matches!(completions[1], Completion::Cancelled { found: false, .. }),
        "{completions:?}"
    );
}

#[test]
fn a_generation_is_cancelled_not_its_successor() {
    let (mut ring, (socket, _peer)) = (ring(), connection());
    let (old, new) = (Token::new(POLL, 1, 0), Token::new(POLL, 2, 0));
    ring.poll_multishot(socket.as_fd(), old, Interest::Read).unwrap();
    ring.poll_multishot(socket.as_fd(), new, Interest::Read).unwrap();
    ring.cancel(old, token(CANCEL, 0)).unwrap();
    for completion in next(&mut ring, 2) {
        assert_ne!(completion.token(), new);
    }
    assert_eq!(ring.armed(), 1);
}

#[test]
fn a_multishot_that_ended_can_be_armed_again_under_its_token() {
    let (mut ring, (socket, mut peer)) = (ring(), connection());
    for round in 0..3 {
        ring.poll_multishot(socket.as_fd(), token(POLL, 0), Interest::Read).unwrap();
        peer.write_all(b"x").unwrap();
        assert!(next_one(&mut ring).more(), "round {round}");
        ring.cancel(token(POLL, 0), token(CANCEL, 0)).unwrap();
        next(&mut ring, 2);
        assert_eq!(ring.armed(), 0);
    }
}

#[test]
#[should_panic(expected = "is not for Poll")]
fn a_token_of_another_operation_is_a_bug() {
    let (mut ring, (socket, _peer)) = (ring(), connection());
    let _ = ring.poll_once(socket.as_fd(), token(ACCEPT, 0), Interest::Read);
}
