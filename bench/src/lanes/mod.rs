//! What one blocked lane of a connection by QUIC costs the others on it.
//!
//! One device has a lane to each of eight others. The one on lane 0 reads, or leaves its socket alone; it is sent cells at one
//! pace in both states, and `busy` is all that the sender hears of it. The other seven lanes keep their windows full.

mod report;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;
use hushwire_wire::cell::Class;

use crate::arguments::{MachineArgs, SliceArgs};
use crate::interrupt::Interrupt;
use crate::limits::{LANE_QUEUE_BYTES_MAX, PACE_MAX, QUEUE_MAX, STOPPED_MAX};
use crate::load::{Access, Fan, Fleet, QuicConnector, RECIPIENTS, Shape, Timing, Transport};
use crate::procfs;
use crate::relay_child::Home;
use crate::server::Server;
use crate::stopped_reader::State;

#[derive(Debug, Args)]
pub(crate) struct LanesArgs {
    #[command(flatten)]
    slices: SliceArgs,
    /// Size of a cell: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 4_096)]
    bytes: usize,
    /// Cells of a lane that are on their way at any time, of all lanes but the first.
    #[arg(long, default_value_t = 4)]
    window: usize,
    /// Cells a second on the first lane, whether its recipient reads or not.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=PACE_MAX))]
    pace: u32,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    timing: Timing,
    class: Class,
    window: usize,
    pace: u32,
    server_cpu: usize,
}

/// One measurement of the seven others.
#[derive(Debug)]
struct Slice {
    /// Of the recipient on lane 0.
    state: State,
    cells_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us_per_cell: f64,
    /// Cells on lane 0, and those that came back.
    paced: u64,
    busy: u64,
}

pub(crate) fn run(arguments: &LanesArgs) -> Result<()> {
    let timing = arguments.slices.timing()?;
    ensure!(
        timing.warm_up + timing.measured <= STOPPED_MAX,
        "choose at most {STOPPED_MAX:?} with the warm-up: a stopped device says nothing, and is idle later"
    );
    // For its checks of size and window.
    let shape = Shape::new(1, arguments.bytes, arguments.window)?;
    ensure!(
        arguments.bytes * arguments.window <= LANE_QUEUE_BYTES_MAX,
        "choose a window of at most {LANE_QUEUE_BYTES_MAX} bytes: all lanes share the credit of one connection"
    );
    let machine = &arguments.machine;
    let plan = Plan {
        rounds: arguments.slices.rounds(),
        timing,
        class: shape.class,
        window: shape.window,
        pace: arguments.pace,
        server_cpu: machine.server_cpu,
    };
    let interrupt = Interrupt::watch()?;
    pin_current_thread(machine.load_cpu)?;
    let slices = measure(plan, machine.relay_binary.as_deref(), &interrupt)?;
    if machine.json {
        report::print_json(plan, &slices);
    } else {
        report::print_table(plan, &slices);
    }
    Ok(())
}

fn measure(plan: Plan, binary: Option<&Path>, interrupt: &Interrupt) -> Result<Vec<Slice>> {
    let devices = RECIPIENTS + 1;
    let server = Server::relay(&[plan.server_cpu], binary, Home::new(devices)?, interrupt)?;
    let admin = server.admin_socket().context("a relay without an admin socket")?;
    let fleet = Fleet::generate(devices)?;
    let way = Access::new(Transport::Tls, server.address())?;
    fleet.enrol_together(&way, &admin, interrupt.flag())?;
    let connector = QuicConnector::new(server.address())?;
    let pace = u64::from(plan.pace);
    let mut fan = Fan::connect(&connector, fleet.identities(), plan.class, pace)?;
    fan.begin(plan.window)?;
    let mut slices = Vec::new();
    for round in 1..=plan.rounds {
        let mut states = State::ALL;
        if round % 2 == 0 {
            // Whoever was first is second next time.
            states.reverse();
        }
        for state in states {
            let slice = slice(&mut fan, plan, state, server.pid(), interrupt)
                .with_context(|| format!("{state:?}, round {round}"))?;
            let Slice { cells_per_s, p99_us, busy, .. } = slice;
            eprintln!(
                "round {round} of {}: {:<8} {cells_per_s:>9.0} cells/s, p99 {p99_us:.0} us, {busy} busy",
                plan.rounds,
                state.name()
            );
            slices.push(slice);
        }
    }
    Ok(slices)
}

/// Measures once, when the state has come about: what waited for lane 0 has arrived or come back, or some has come back.
fn slice(
    fan: &mut Fan,
    plan: Plan,
    state: State,
    server: u32,
    interrupt: &Interrupt,
) -> Result<Slice> {
    let stopped = state == State::Stopped;
    let start_ns = fan.now_ns();
    let busy_before = fan.tally.busy;
    loop {
        let there = match state {
            State::Reading => fan.tally.is_settled(),
            State::Stopped => fan.tally.busy > busy_before,
        };
        if there {
            break;
        }
        if fan.now_ns() - start_ns > QUEUE_MAX.as_nanos() as u64 {
            bail!("the first lane did not come to be {} within {QUEUE_MAX:?}", state.name());
        }
        interrupt.check()?;
        fan.turn(stopped)?;
    }
    go_on(fan, plan.timing.warm_up.as_nanos() as u64, stopped, interrupt)?;
    let (began_ns, cpu_ns) = (fan.now_ns(), procfs::cpu_ns(server)?);
    fan.tally.latency.reset();
    let before = fan.tally.clone();
    go_on(fan, plan.timing.measured.as_nanos() as u64, stopped, interrupt)?;
    let seconds = (fan.now_ns() - began_ns) as f64 / 1e9;
    let cells = (fan.tally.delivered - before.delivered) as f64;
    let cpu_us = (procfs::cpu_ns(server)? - cpu_ns) as f64 / 1e3;
    let quantile_us = |of: f64| fan.tally.latency.value_at_quantile(of) as f64 / 1e3;
    Ok(Slice {
        state,
        cells_per_s: cells / seconds,
        p50_us: quantile_us(0.5),
        p99_us: quantile_us(0.99),
        cpu_us_per_cell: cpu_us / cells,
        paced: fan.tally.paced - before.paced,
        busy: fan.tally.busy - before.busy,
    })
}

fn go_on(fan: &mut Fan, time_ns: u64, stopped: bool, interrupt: &Interrupt) -> Result<()> {
    let end_ns = fan.now_ns() + time_ns;
    while fan.now_ns() < end_ns {
        interrupt.check()?;
        fan.turn(stopped)?;
    }
    Ok(())
}
