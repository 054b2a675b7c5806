//! What a cell costs when many devices are connected, against what it costs when only those are that talk.
//!
//! Two relays on the same processor know the same devices. On one only the active pairs are connected, on the
//! other a crowd beside them. The same pairs send the same through both in turns.

mod crowd;
mod report;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;
use rustix::process::{Resource, getrlimit};

use crate::arguments::{MachineArgs, SliceArgs};
use crate::interrupt::Interrupt;
use crate::limits::{
    CONNECTED_DEFAULT, CONNECTED_MAX, FILES_SPARE, GROWTH_SLICE_MAX, RECONNECTING_SPARE,
};
use crate::load::{Access, Drive, Fleet, Outcome, Shape, Timing, Transport};
use crate::relay_child::{Home, Setup};
use crate::report::name_of;
use crate::server::Server;

use crowd::Crowd;

#[derive(Debug, Args)]
pub(crate) struct GrowthArgs {
    /// Devices that are connected when there are many, the active ones among them; an even number. Default: 20000,
    /// or what open files allow.
    #[arg(long)]
    connected: Option<usize>,
    /// Active pairs of devices; when there are few, nobody else is connected.
    #[arg(long, default_value_t = 100)]
    pairs: usize,
    /// Size of a cell: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Cells of a pair that are on their way at any time: one or more such numbers, comma-separated.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32])]
    windows: Vec<usize>,
    /// What is below the cells of the active pairs.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// What is below those of the others, if not the same. By QUIC a device needs no open file.
    #[arg(long, value_enum)]
    crowd: Option<Transport>,
    #[command(flatten)]
    slices: SliceArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// What to do.
#[derive(Debug, Clone)]
struct Plan {
    /// Devices that are connected when there are many.
    connected: usize,
    /// What the active pairs send.
    shapes: Vec<Shape>,
    /// Devices in these pairs.
    active: usize,
    transport: Transport,
    /// Of those that say nothing.
    crowd: Transport,
    rounds: usize,
    timing: Timing,
    server_cpu: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crowding {
    Few,
    Many,
}

impl Crowding {
    const ALL: [Self; 2] = [Self::Few, Self::Many];

    const fn name(self) -> &'static str {
        match self {
            Self::Few => "few",
            Self::Many => "many",
        }
    }
}

/// One measurement.
#[derive(Debug)]
struct Slice {
    shape: Shape,
    crowding: Crowding,
    outcome: Outcome,
}

/// Measures and prints.
pub(crate) fn run(arguments: &GrowthArgs) -> Result<()> {
    let plan = plan(arguments)?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let slices = measure(&plan, machine.relay_binary.as_deref(), &interrupt)?;
    if machine.json {
        report::print_json(&plan, &slices);
    } else {
        report::print_table(&plan, &slices);
    }
    Ok(())
}

fn plan(arguments: &GrowthArgs) -> Result<Plan> {
    let timing = arguments.slices.timing()?;
    ensure!(
        timing.warm_up + timing.measured <= GROWTH_SLICE_MAX,
        "choose at most {GROWTH_SLICE_MAX:?} with the warm-up: whoever says nothing for longer is disconnected"
    );
    let GrowthArgs { pairs, bytes, .. } = *arguments;
    let shape = |&window| Shape::new(pairs, bytes, window);
    let mut shapes = arguments.windows.iter().map(shape).collect::<Result<Vec<_>>>()?;
    shapes.sort_by_key(|shape| shape.window);
    shapes.dedup();
    let active = shapes.first().context("choose a window")?.devices();
    let transport = arguments.transport;
    let crowd = arguments.crowd.unwrap_or(transport);
    let connected = match (arguments.connected, crowd) {
        (Some(asked), _) => asked,
        (None, Transport::Quic) => CONNECTED_DEFAULT,
        (None, Transport::Tls) => {
            let most = connected_at_most(getrlimit(Resource::Nofile).maximum, active);
            if most < CONNECTED_DEFAULT {
                eprintln!(
                    "{most} devices, where {CONNECTED_DEFAULT} are meant: raise RLIMIT_NOFILE for more"
                );
            }
            most
        }
    };
    ensure!(
        connected.is_multiple_of(2) && (active + 2..=CONNECTED_MAX).contains(&connected),
        "choose an even number of connected devices, more than the {active} active ones and at most {CONNECTED_MAX}"
    );
    let (rounds, server_cpu) = (arguments.slices.rounds(), arguments.machine.server_cpu);
    Ok(Plan { connected, shapes, active, transport, crowd, rounds, timing, server_cpu })
}

/// As many as are meant, or as so many open files allow, of which the relay needs some for itself.
fn connected_at_most(files: Option<u64>, active: usize) -> usize {
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let room = files.saturating_sub(active + RECONNECTING_SPARE + FILES_SPARE);
    room.min(CONNECTED_DEFAULT) & !1
}

fn measure(plan: &Plan, binary: Option<&Path>, interrupt: &Interrupt) -> Result<Vec<Slice>> {
    let Plan { connected, active, transport, crowd, .. } = *plan;
    let sockets = match crowd {
        Transport::Tls => connected,
        Transport::Quic => active,
    };
    hushwire_uring::raise_nofile((sockets + FILES_SPARE) as u64)?;
    let fleet = Fleet::generate(connected)?;
    // Connections of the last run may still be closing while the pairs connect anew.
    let connections = connected + active + RECONNECTING_SPARE;
    let start = |home| Server::relay(&[plan.server_cpu], binary, home, interrupt);
    let by = |wanted| match (transport == wanted, crowd == wanted) {
        (_, true) => connections,
        (true, false) => 2 * active + RECONNECTING_SPARE,
        (false, false) => 0,
    };
    let setup = Setup {
        connections: by(Transport::Tls),
        quic_connections: by(Transport::Quic),
        shards: 1,
        mesh_bytes: None,
    };
    let server = start(Home::with(setup)?)?;
    let admin = server.admin_socket().context("a relay without an admin socket")?;
    eprintln!("enrolling {connected} devices");
    fleet.enrol(&Access::new(Transport::Tls, server.address())?, &admin, interrupt.flag())?;
    let home = server.end().context("a relay without files")?;
    let twin = home.twin()?;
    let (few, many) = (start(home)?, start(twin)?);
    eprintln!("connecting {} devices that say nothing", connected - active);
    let way = Access::new(crowd, many.address())?;
    let mut others = Crowd::gather(&fleet, active..connected, &way, interrupt)?;
    let ways = [Access::new(transport, few.address())?, Access::new(transport, many.address())?];
    let mut slices = Vec::new();
    for round in 1..=plan.rounds {
        for &shape in &plan.shapes {
            let mut turns = Crowding::ALL;
            if round % 2 == 0 {
                // Whoever was first is second next time.
                turns.reverse();
            }
            for crowding in turns {
                others.keep_alive(interrupt)?;
                let (server, way) = match crowding {
                    Crowding::Few => (&few, &ways[0]),
                    Crowding::Many => (&many, &ways[1]),
                };
                let what = format!("{} at {}, round {round}", crowding.name(), name_of(shape));
                let mut pairs = way.crew(&fleet, active, interrupt.flag())?;
                let outcome = pairs
                    .run(shape, Drive::Window, plan.timing, server.pid(), interrupt)
                    .with_context(|| what.clone())?;
                drop(pairs);
                others.check()?;
                eprintln!("{what:<36} {:8.3} us per cell", outcome.cpu_us_per_cell());
                slices.push(Slice { shape, crowding, outcome });
            }
        }
    }
    Ok(slices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_bound_the_crowd() {
        let spare = RECONNECTING_SPARE + FILES_SPARE;
        let check = |files: Option<u64>, expect| {
            assert_eq!(connected_at_most(files, 200), expect, "{files:?}");
        };
        check(None, CONNECTED_DEFAULT);
        check(Some(u64::MAX), CONNECTED_DEFAULT);
        check(Some(10_001), (9_801 - spare) & !1);
        check(Some(64), 0);
    }
}
