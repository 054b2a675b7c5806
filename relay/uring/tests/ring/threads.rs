//! Which thread a ring belongs to, and which processor a thread.

use hushwire_uring::affinity::{available_cpus, pin_current_thread};
use hushwire_uring::{DormantRing, KernelVersion, NofileError, RingOptions, probe, raise_nofile};

use crate::{CANCEL, POLL, next_one, token};

#[test]
fn a_ring_belongs_to_the_thread_that_enabled_it() {
    let dormant = DormantRing::new(RingOptions::default()).unwrap();
    let shard = std::thread::spawn(move || {
        let mut ring = dormant.enable().unwrap();
        ring.cancel(token(POLL, 0), token(CANCEL, 0)).unwrap();
        next_one(&mut ring);
    });
    shard.join().unwrap();
}

#[test]
fn a_thread_can_be_kept_on_each_available_processor() {
    let cpus = available_cpus().unwrap();
    assert!(!cpus.is_empty() && cpus.is_sorted());
    for cpu in cpus {
        let thread = std::thread::spawn(move || {
            pin_current_thread(cpu).unwrap();
            assert_eq!(available_cpus().unwrap(), [cpu]);
            assert_eq!(rustix::thread::sched_getcpu(), cpu);
        });
        thread.join().unwrap();
    }
}

#[test]
fn a_processor_that_is_not_there_is_refused() {
    for cpu in [1_023, 1_024, usize::MAX] {
        let error = pin_current_thread(cpu).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{cpu}");
    }
}

#[test]
fn the_probe_passes_where_the_tests_do() {
    let found = probe().unwrap();
    assert!(found.kernel >= KernelVersion::FLOOR);
    assert!(found.release.starts_with(&found.kernel.to_string()), "{found:?}");
    assert!(found.nofile_soft > 0 && found.nofile_soft <= found.nofile_hard);
}

#[test]
fn descriptors_can_be_had_up_to_the_hard_limit() {
    let hard = probe().unwrap().nofile_hard;
    assert_eq!(raise_nofile(hard).unwrap(), hard);
    assert_eq!(probe().unwrap().nofile_soft, hard);
    if let Some(needed) = hard.checked_add(1) {
        assert_eq!(raise_nofile(needed).unwrap_err(), NofileError::HardLimit { needed, hard });
    }
}
