//! Wakes from other threads, and waiting.

use std::sync::Arc;
use std::time::Duration;

use hushwire_uring::{Completion, Wake};

use crate::{CANCEL, WAKE, next, next_one, nothing, ring, token};

#[test]
fn another_thread_wakes_a_ring_that_waits_for_ever() {
    let (mut ring, wake) = (ring(), Arc::new(Wake::new().unwrap()));
    ring.watch(&wake, token(WAKE, 0)).unwrap();
    for _ in 0..3 {
        let waker = Arc::clone(&wake);
        let thread = std::thread::spawn(move || waker.notify());
        assert!(ring.wait(None).unwrap());
        thread.join().unwrap();
        assert!(matches!(next_one(&mut ring), Completion::Woken { more: true, .. }));
    }
}

#[test]
fn notifications_are_merged() {
    let (mut ring, wake) = (ring(), Wake::new().unwrap());
    ring.watch(&wake, token(WAKE, 0)).unwrap();
    nothing(&mut ring);
    for _ in 0..1_000 {
        wake.notify();
    }
    next_one(&mut ring);
    nothing(&mut ring);
    wake.notify();
    next_one(&mut ring);
}

#[test]
fn a_notification_that_nobody_watched_is_not_lost() {
    let (mut ring, wake) = (ring(), Wake::new().unwrap());
    wake.notify();
    ring.watch(&wake, token(WAKE, 0)).unwrap();
    next_one(&mut ring);
    ring.cancel(token(WAKE, 0), token(CANCEL, 0)).unwrap();
    next(&mut ring, 2);
    wake.notify();
    nothing(&mut ring);
    ring.watch(&wake, token(WAKE, 0)).unwrap();
    next_one(&mut ring);
}

#[test]
fn no_notification_is_lost_between_two_threads() {
    use std::sync::atomic::{AtomicU32, Ordering};
    const POSTED: u32 = 20_000;
    let (mut ring, wake) = (ring(), Arc::new(Wake::new().unwrap()));
    ring.watch(&wake, token(WAKE, 0)).unwrap();
    let posted = Arc::new(AtomicU32::new(0));
    let thread = std::thread::spawn({
        let (wake, posted) = (Arc::clone(&wake), Arc::clone(&posted));
        move || {
            for _ in 0..POSTED {
                posted.fetch_add(1, Ordering::Release);
                wake.notify();
            }
        }
    });
    let mut completions = Vec::new();
    while posted.load(Ordering::Acquire) < POSTED {
        assert!(ring.wait(Some(crate::PATIENCE)).unwrap(), "asleep over a notification");
        ring.drain(&mut completions);
        assert!(completions.drain(..).all(|completion| completion.more()));
    }
    thread.join().unwrap();
}

#[test]
fn waiting_ends_with_the_time_and_nothing_to_drain() {
    let mut ring = ring();
    for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(20)] {
        assert!(!ring.wait(Some(timeout)).unwrap());
        nothing(&mut ring);
    }
}

#[test]
fn waiting_does_not_last_longer_than_the_first_completion() {
    let mut ring = ring();
    ring.cancel(token(WAKE, 0), token(CANCEL, 0)).unwrap();
    assert!(ring.wait(Some(Duration::MAX)).unwrap());
    // What was not drained counts too.
    assert!(ring.wait(None).unwrap());
    next_one(&mut ring);
}

#[test]
fn a_pause_is_not_cut_short_and_loses_nothing() {
    const PAUSE: Duration = Duration::from_millis(50);
    let (mut ring, wake) = (ring(), Wake::new().unwrap());
    ring.watch(&wake, token(WAKE, 0)).unwrap();
    wake.notify();
    #[expect(clippy::disallowed_methods, reason = "that it takes its time is the point")]
    let start = std::time::Instant::now();
    ring.pause(PAUSE).unwrap();
    assert!(start.elapsed() >= PAUSE);
    assert!(ring.has_pending());
    next_one(&mut ring);
}
