//! Loads one server that is already running.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;

use super::{Access, Drive, Fleet, Mix, Shape, Transport};
use crate::arguments::timing;
use crate::interrupt::Interrupt;
use crate::limits::RATE_MAX;
use crate::report;

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Address of the server.
    #[arg(long)]
    connect: SocketAddr,
    /// Process ID of the server, whose processor time is counted.
    #[arg(long)]
    pid: u32,
    /// Admin socket of a relay, to enrol the devices; the floor needs none.
    #[arg(long)]
    admin: Option<PathBuf>,
    /// What is below the cells.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// Pairs of devices.
    #[arg(long, default_value_t = 256)]
    pairs: usize,
    /// Size of a cell: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Instead of one size, several, and how often each is drawn: 256:70,4096:25,32768:5. The draw is the same in every
    /// run.
    #[arg(long, conflicts_with = "bytes")]
    mix: Option<Mix>,
    /// Cells of a pair that are on their way at any time.
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Instead of keeping a window full, send so many cells a second of all pairs together, and count the latency from
    /// when each was due.
    #[arg(long, conflicts_with = "one_write_per_cell", value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    rate: Option<u64>,
    /// Write every cell by itself, where otherwise all that the window allows go together.
    #[arg(long)]
    one_write_per_cell: bool,
    /// Let the second device of each pair send as well.
    #[arg(long)]
    both_ways: bool,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Processor of the generator.
    #[arg(long)]
    cpu: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &LoadArgs) -> Result<()> {
    let shape = Shape::new(arguments.pairs, arguments.bytes, arguments.window)?;
    let shape = Shape {
        one_write_per_cell: arguments.one_write_per_cell,
        both_ways: arguments.both_ways,
        ..arguments.mix.map_or(shape, |mix| shape.mixed(mix))
    };
    let timing = timing(arguments.warm_up, arguments.seconds)?;
    let interrupt = Interrupt::watch()?;
    if let Some(cpu) = arguments.cpu {
        pin_current_thread(cpu)?;
    }
    hushwire_uring::raise_nofile(shape.devices() as u64 + 64)?;
    let access = Access::new(arguments.transport, arguments.connect)?;
    let fleet = Fleet::generate(shape.devices())?;
    if let Some(admin) = &arguments.admin {
        fleet.enrol(&access, admin, interrupt.flag())?;
    }
    let mut devices = access.crew(&fleet, shape.devices(), interrupt.flag())?;
    let drive = arguments.rate.map_or(Drive::Window, Drive::Rate);
    let outcome = devices.run(shape, drive, timing, arguments.pid, &interrupt)?;
    report::print_outcome(shape, &outcome, arguments.json);
    Ok(())
}
