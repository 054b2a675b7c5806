//! The simulation over its default seeds, and its checkers over broken engines.
//!
//! More seeds, or one again: `cargo run --release -p hushwire-engine --example simulate -- --help`.

mod sim;

use sim::{Fault, Plan, Summary};

const SEEDS: u64 = 300;

#[test]
fn the_default_seeds_pass() {
    let mut total = Summary::default();
    for seed in 0..SEEDS {
        match sim::play_seed(seed) {
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
    let check = |fault: Fault, checkers: &[&str]| {
        let caught = (0..100).find_map(|seed| {
            let open = sim::play(Plan::open(seed, fault)).err();
            open.or_else(|| sim::play_unobservable(seed, fault).err())
        });
        let Some(violation) = caught else { panic!("{fault:?} was not caught in a hundred seeds") };
        assert!(checkers.contains(&violation.checker), "{fault:?} was caught by {violation:?}");
    };
    check(Fault::UnboundedQueue, &["bounded"]);
    check(Fault::MisroutedVerdict, &["no bleed"]);
    check(Fault::IgnoredGeneration, &["no bleed", "bounded"]);
    check(Fault::SlotReusedEarly, &["no bleed"]);
    check(Fault::LostReport, &["accounted"]);
    check(Fault::DoubledReport, &["accounted"]);
    check(Fault::EagerCell, &["unobservable"]);
}
