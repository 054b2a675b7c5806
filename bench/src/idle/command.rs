//! Whose memory to look at, from the command line.

use anyhow::{Result, ensure};
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;

use super::{Plan, idle};
use crate::arguments::{MachineArgs, seconds};
use crate::interrupt::Interrupt;
use crate::limits::{PAIRS_MAX, ROUNDS_MAX};
use crate::load::Transport;

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Devices, an even number.
    #[arg(long, default_value_t = 4_000)]
    connections: usize,
    /// Seconds of rest before the second look. The relay puts idle keys away after 10.
    #[arg(long, default_value_t = 15.0)]
    rest: f64,
    /// Rounds of disconnecting and connecting all.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=ROUNDS_MAX))]
    rounds: u16,
    /// What is below the cells.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// Measure the floor instead of the relay.
    #[arg(long)]
    floor: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(arguments: &IdleArgs) -> Result<()> {
    let connections = arguments.connections;
    ensure!(
        connections.is_multiple_of(2) && (2..=2 * PAIRS_MAX).contains(&connections),
        "choose an even number of connections, 2 to {}",
        2 * PAIRS_MAX
    );
    let rest = seconds(arguments.rest)?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = Plan {
        connections,
        rest,
        transport: arguments.transport,
        rounds: usize::from(arguments.rounds),
        server_cpu: machine.server_cpu,
        floor: arguments.floor,
    };
    idle(plan, machine.relay_binary.as_deref(), machine.json, &interrupt)
}
