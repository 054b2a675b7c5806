//! What to stop, from the command line.

use anyhow::{Result, ensure};
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;

use super::{Plan, measure};
use crate::arguments::{MachineArgs, SliceArgs};
use crate::interrupt::Interrupt;
use crate::limits::{PACE_MAX, SENDERS_MAX, STOPPED_MAX};
use crate::load::Shape;

#[derive(Debug, Args)]
pub(crate) struct StoppedReaderArgs {
    #[command(flatten)]
    slices: SliceArgs,
    /// Other pairs of devices.
    #[arg(long, default_value_t = 64)]
    pairs: usize,
    /// Size of a cell: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 4_096)]
    bytes: usize,
    /// Cells of a pair that are on their way at any time.
    #[arg(long, default_value_t = 8)]
    window: usize,
    /// Senders to the recipient that is stopped. One may fill a quarter of its queue.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=SENDERS_MAX))]
    senders: u16,
    /// Cells a second of each of them, whether the recipient reads or not.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=PACE_MAX))]
    pace: u32,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(arguments: &StoppedReaderArgs) -> Result<()> {
    let timing = arguments.slices.timing()?;
    ensure!(
        timing.warm_up + timing.measured <= STOPPED_MAX,
        "choose at most {STOPPED_MAX:?} with the warm-up: a stopped device says nothing, and is idle later"
    );
    let shape = Shape::new(arguments.pairs, arguments.bytes, arguments.window)?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = Plan {
        rounds: arguments.slices.rounds(),
        timing,
        shape,
        senders: usize::from(arguments.senders),
        pace: arguments.pace,
        server_cpu: machine.server_cpu,
        load_cpu: machine.load_cpu,
    };
    measure(plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}
