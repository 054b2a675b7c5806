//! Plays seeds of the simulation: `cargo run --release -p hushwire-engine --example simulate_engines -- --seeds
//! 10000`, or one again: `-- --seed 4711`.

#[path = "../tests/simulation/sim/mod.rs"]
mod sim;

use std::process::ExitCode;

use sim::{Fault, Plan, Summary};

const HELP: &str = "\
Plays the engine's simulation: engines, devices, a store and a network from a seed, with checkers.

  --seeds N    play seeds FIRST to FIRST + N - 1 (default 1000)
  --first N    the first of them (default 0)
  --seed N     play this seed only, and say what it is
  --broken     break the engine in each way the checkers must notice, and say how they did
  --help       this text

Ends with 1 if a seed fails; a seed that fails fails again when it is played again.";

struct Wanted {
    first: u64,
    seeds: u64,
    is_one: bool,
    is_broken: bool,
}

fn main() -> ExitCode {
    let wanted = match parse(std::env::args().skip(1)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if wanted.is_one {
        println!("{:#?}", Plan::open(wanted.first, Fault::None));
        println!("{:#?}", Plan::constant(wanted.first, true, Fault::None));
    }
    if wanted.is_broken {
        return break_engines(wanted.seeds);
    }
    let (mut total, mut failed) = (Summary::default(), 0);
    for seed in wanted.first..wanted.first.saturating_add(wanted.seeds) {
        match sim::play_seed(seed, Fault::None) {
            Ok(summary) => total.add(&summary),
            Err(violation) => {
                failed += 1;
                println!("seed {seed} fails: {}: {}", violation.checker, violation.what);
            }
        }
    }
    println!("{} of {} seeds pass", wanted.seeds - failed, wanted.seeds);
    println!("{total:#?}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn break_engines(seeds: u64) -> ExitCode {
    let mut all = true;
    for fault in Fault::ALL {
        match sim::catch(fault, seeds) {
            Some((seed, violation)) => {
                all &= fault.checkers().contains(&violation.checker);
                println!("{fault:?}: seed {seed}: {}: {}", violation.checker, violation.what);
            }
            None => {
                all = false;
                println!("{fault:?}: not caught in {seeds} seeds");
            }
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wanted>, String> {
    let mut wanted = Wanted { first: 0, seeds: 1_000, is_one: false, is_broken: false };
    while let Some(name) = arguments.next() {
        if name == "--help" {
            return Ok(None);
        }
        if name == "--broken" {
            wanted.is_broken = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a number"))?;
        let number = value.parse().map_err(|_| format!("{name}: '{value}' is not a number"))?;
        match name.as_str() {
            "--seeds" => wanted.seeds = number,
            "--first" => wanted.first = number,
            "--seed" => wanted = Wanted { first: number, seeds: 1, is_one: true, is_broken: false },
            _ => return Err(format!("there is no {name}")),
        }
    }
    Ok(Some(wanted))
}
