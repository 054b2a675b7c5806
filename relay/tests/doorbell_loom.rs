//! Every interleaving of one sleeper and two posters: nobody sleeps over a post.

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}
#[path = "../src/mesh/sleep_flag.rs"]
mod sleep_flag;

use atomics::Ordering;
use sleep_flag::SleepFlag;

struct Shard {
    flag: SleepFlag,
    inbox: AtomicUsize,
    wakes: AtomicUsize,
}

#[test]
fn a_post_is_never_slept_over_and_wakes_at_most_once() {
    loom::model(|| {
        let shard = Arc::new(Shard {
            flag: SleepFlag::new(),
            inbox: AtomicUsize::new(0),
            wakes: AtomicUsize::new(0),
        });
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let shard = Arc::clone(&shard);
                thread::spawn(move || {
                    shard.inbox.fetch_add(1, Ordering::Relaxed);
                    if shard.flag.should_wake() {
                        shard.wakes.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();

        shard.flag.raise();
        let slept = shard.inbox.load(Ordering::Relaxed) == 0;
        if !slept {
            shard.flag.lower();
        }
        for poster in posters {
            poster.join().expect("the poster ends");
        }
        let wakes = shard.wakes.load(Ordering::Relaxed);
        assert!(wakes <= 1, "woken {wakes} times");
        if slept {
            assert_eq!(wakes, 1, "two posts and nobody woke the sleeper");
        }
    });
}
