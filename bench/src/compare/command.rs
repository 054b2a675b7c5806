//! What to compare, from the command line.

use anyhow::Result;
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;

use super::{Plan, QUICK, compare};
use crate::arguments::{MachineArgs, OthersArgs, timing};
use crate::interrupt::Interrupt;
use crate::limits::ROUNDS_MAX;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Rounds: how often every point is measured on every server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Seconds of each that are counted.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of each before anything is counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// One short round.
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "warm_up"])]
    quick: bool,
    /// Only these points, 1 to 6, comma-separated.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=6))]
    points: Vec<u8>,
    /// Without the relay: only the floor, and the baselines and peers that are named.
    #[arg(long)]
    floor_only: bool,
    #[command(flatten)]
    others: OthersArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(arguments: &CompareArgs) -> Result<()> {
    let (rounds, timing) = if arguments.quick {
        QUICK
    } else {
        (usize::from(arguments.rounds), timing(arguments.warm_up, arguments.seconds)?)
    };
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = Plan {
        rounds,
        timing,
        points: arguments.points.iter().map(|&point| usize::from(point)).collect(),
        lineup: arguments.others.lineup(machine.server_cpu, !arguments.floor_only),
    };
    compare(&plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}
