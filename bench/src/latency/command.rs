//! What to time, from the command line.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;

use super::{Plan, measure};
use crate::arguments::{MachineArgs, OthersArgs, timing};
use crate::interrupt::Interrupt;
use crate::limits::{RATE_MAX, ROUNDS_MAX};
use crate::load::Shape;

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Pairs of devices.
    #[arg(long, default_value_t = 256)]
    pairs: usize,
    /// Size of a message: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Messages a second of all pairs together. Default: --share of what the servers take.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    rate: Option<u64>,
    /// Which part of what a server takes in a closed loop with a window of 1.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Rounds: how often every server is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Seconds of each that are counted.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of each before anything is counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Run the servers under SCHED_FIFO, which takes other work on the machine out of the figures. Needs root and chrt.
    #[arg(long)]
    fifo: bool,
    /// Write the distributions of all (.hgrm) and a plot (latency.svg) into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    #[command(flatten)]
    others: OthersArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(arguments: &LatencyArgs) -> Result<()> {
    let timing = timing(arguments.warm_up, arguments.seconds)?;
    ensure!((0.01..=1.0).contains(&arguments.share), "choose a share of 0.01 to 1");
    let shape = Shape::new(arguments.pairs, arguments.bytes, 1)?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = Plan {
        rounds: usize::from(arguments.rounds),
        timing,
        shape,
        rate: arguments.rate,
        share: arguments.share,
        lineup: arguments.others.lineup(machine.server_cpu, true),
        fifo: arguments.fifo,
        directory: arguments.out.clone(),
    };
    measure(&plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}
