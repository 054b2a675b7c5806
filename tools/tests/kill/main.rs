//! Real processes, killed at random moments: nothing is lost, nothing comes twice, every send has one end.
//!
//! `cargo run --release -p hushwire-tools --example kill -- --help` plays as many kills as one likes.

mod torture;

use std::path::PathBuf;

use torture::{Plan, play};

/// So many kills are a matter of some twenty seconds.
const KILLS: u64 = 20;

#[test]
fn nothing_is_lost_or_repeated_whoever_is_killed() {
    let hush = PathBuf::from(env!("CARGO_BIN_EXE_hush"));
    let plan = Plan { hush, seed: 1, kills: KILLS, keep: false };
    let summary = play(&plan).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{summary}");
    assert_eq!(summary.kills.values().sum::<u64>(), KILLS);
    assert_eq!(summary.kills.len(), 5, "everybody was killed: {:?}", summary.kills);
    assert!(summary.lines > 100 && summary.files > 0, "{summary}");
}
