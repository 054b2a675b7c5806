//! The simulation over its default seeds, and its checkers over broken engines.
//!
//! More seeds, or one again: `cargo run --release -p hushwire-engine --example simulate_engines -- --help`.

mod sim;

use sim::{Fault, Plan, Summary};

const SEEDS: u64 = 300;

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
        ("reported", total.reported),
        ("queued", total.queued),
        ("crossed", total.crossed),
        ("handed over", total.handed_over),
        ("covers", total.covers),
    ] {
        assert!(count > SEEDS, "only {count} were {name}: the simulation does not get there");
    }
}

#[test]
fn a_seed_plays_the_same_twice() {
    for seed in 0..10 {
        let plan = Plan::open(seed, Fault::None);
        assert_eq!(sim::play(plan), sim::play(plan), "seed {seed}");
    }
}

/// Each broken engine is caught, by a checker that is there for it.
#[test]
fn broken_engines_are_caught() {
    for fault in Fault::ALL {
        let caught = sim::catch(fault, 100);
        let Some((_, violation)) = caught else { panic!("{fault:?} was not caught") };
        assert!(fault.checkers().contains(&violation.checker), "{fault:?}: {violation:?}");
    }
}
