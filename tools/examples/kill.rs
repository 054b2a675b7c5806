//! Kills a relay and those who use it at random moments and looks whether anything is lost:
//! `cargo build --release -p hushwire-tools && cargo run --release -p hushwire-tools --example kill -- --kills 200`.

mod support;
#[path = "../tests/kill/torture/mod.rs"]
mod torture;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use torture::{Plan, play};

/// Kills a relay, both ends of a chat and both ends of file transfers, all of them real processes, at random moments,
/// and looks whether every line and every file has arrived exactly once and whole.
#[derive(Debug, Parser)]
struct Arguments {
    /// Decides who is killed when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds from that one on, a run each.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Kills in a run.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// The program `hush`; beside this one's directory where absent.
    #[arg(long)]
    hush: Option<PathBuf>,
    /// Leave the directories of a run that fails where they are.
    #[arg(long)]
    keep: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let hush = arguments.hush.map_or_else(support::hush_beside, Ok)?;
    let mut failed = 0;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let plan = Plan { hush: hush.clone(), seed, kills: arguments.kills, keep: arguments.keep };
        match play(&plan) {
            Ok(summary) => println!("seed {seed}: {summary}"),
            Err(error) => {
                failed += 1;
                println!("seed {seed} FAILS: {error:#}");
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
