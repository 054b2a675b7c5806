//! The simulation of endpoints on engines over its default seeds, and its checkers over broken parts.
//!
//! More seeds, or one again: `cargo run --release -p hushwire-tools --example simulate_endpoints -- --help`.

mod sim;

use sim::{Fault, Summary};

const SEEDS: u64 = 200;
/// Seeds beyond those that failed once.
const FAILED_ONCE: [u64; 22] = [
    456, 632, 786, 1433, 2106, 2719, 2875, 3022, 3311, 3560, 3587, 3602, 3788, 3982, 4137, 4840,
    5172, 5226, 7569, 7697, 8424, 9873,
];

#[test]
fn the_default_seeds_pass() {
    let mut total = Summary::default();
    for seed in 0..SEEDS {
        match sim::play_seed(seed, Fault::None) {
            Ok(summary) => total.add(&summary),
            Err(violation) => panic!("seed {seed}: {}: {}", violation.checker, violation.what),
        }
    }
    for (name, count) in [
        ("delivered", total.delivered),
        ("rejected", total.rejected),
        ("expired", total.expired),
        ("lost before they were promised", total.lost),
        ("kills", total.kills),
        ("sessions", total.sessions),
        ("disk failures", total.disk_failures),
        ("hostile relays", total.hostile),
        ("set back", total.set_backs),
    ] {
        assert!(count > 0, "{count} {name}: the simulation does not get there");
    }
}

#[test]
fn seeds_that_failed_once_pass() {
    for seed in FAILED_ONCE {
        assert_eq!(sim::play_seed(seed, Fault::None).err(), None, "seed {seed}");
    }
}

#[test]
fn a_seed_plays_the_same_twice() {
    for seed in 0..10 {
        let first = sim::play_seed(seed, Fault::None);
        assert_eq!(first, sim::play_seed(seed, Fault::None), "seed {seed}");
    }
}

/// Each broken part is caught, by a checker that is there for it.
#[test]
fn broken_parts_are_caught() {
    for fault in Fault::ALL {
        let caught = sim::catch(fault, 100);
        let Some((_, violation)) = caught else { panic!("{fault:?} was not caught") };
        assert!(fault.checkers().contains(&violation.checker), "{fault:?}: {violation:?}");
    }
}
