//! What it costs that a cell crosses from shard to shard.
//!
//! A relay tells every device in WELCOME which shard it lives on. So pairs are put together from devices of the same
//! shard, and of different ones, and nothing has to be guessed from what the relay counts.

mod arrangement;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;
use hushwire_wire::cell::Class;

use crate::admin::{Admin, Totals};
use crate::arguments::{PlaceArgs, SliceArgs};
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{QUEUE_MAX, SHARD_PAIRS_MAX};
use crate::load::{self, CellDevice, Connector, Drive, Fleet, Outcome, Shape, Sockets, Timing};
use crate::relay_child::{Home, Setup, connections_of};
use crate::report::name_of;
use crate::server::Server;

use arrangement::Arrangement;

/// Size and window of the points.
const POINTS: [(Class, usize); 3] = [(Class::C0, 32), (Class::C0, 1), (Class::C4, 32)];
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct ShardsArgs {
    #[command(flatten)]
    slices: SliceArgs,
    /// Pairs of devices.
    #[arg(long, default_value_t = 256)]
    pairs: usize,
    /// Bytes of cells that may wait between two shards in each direction; the relay's default if not given.
    #[arg(long)]
    mesh_bytes: Option<usize>,
    /// Processor of the generator; any of --cpus if not given.
    #[arg(long)]
    load_cpu: Option<usize>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// One arrangement at one point, all rounds.
struct Series {
    arrangement: Arrangement,
    shape: Shape,
    rounds: Vec<Round>,
}

struct Round {
    outcome: Outcome,
    /// Cells that the relay was sent, and those of them that crossed, from the first connection to the last.
    cells: u64,
    crossed: u64,
    /// Cells that found the queue to the other shard full: they come back as busy.
    mesh_full: u64,
}

/// A relay that knows the fleet.
struct Relay {
    server: Server,
    connector: Connector,
    /// Of its admin socket, which closes on whoever is silent for long.
    admin: PathBuf,
}

pub(crate) fn run(arguments: &ShardsArgs) -> Result<()> {
    let pairs = arguments.pairs;
    ensure!((1..=SHARD_PAIRS_MAX).contains(&pairs), "choose 1 to {SHARD_PAIRS_MAX} pairs");
    let timing = arguments.slices.timing()?;
    let interrupt = Interrupt::watch()?;
    if let Some(cpu) = arguments.load_cpu {
        pin_current_thread(cpu)?;
    }
    let fleet = Fleet::generate(arrangement::devices_for(pairs))?;
    let table = measure(arguments, &fleet, timing, &interrupt)?;
    if arguments.place.json {
        report::print_json(&table);
    } else {
        report::print_table(&table);
    }
    Ok(())
}

fn measure(
    arguments: &ShardsArgs,
    fleet: &Fleet,
    timing: Timing,
    interrupt: &Interrupt,
) -> Result<Vec<Series>> {
    let pairs = arguments.pairs;
    let devices = arrangement::devices_for(pairs);
    hushwire_uring::raise_nofile(devices as u64 + 64)?;
    let single = Relay::start(arguments, 1, devices, fleet, interrupt)?;
    let double = Relay::start(arguments, 2, devices, fleet, interrupt)?;
    let homes = double.homes(fleet, devices, interrupt)?;
    let shape = |(class, window)| Shape {
        pairs,
        class,
        mix: None,
        window,
        one_write_per_cell: false,
        both_ways: false,
    };
    let mut table: Vec<Series> = POINTS
        .into_iter()
        .flat_map(|point| Arrangement::ALL.map(|arrangement| (arrangement, shape(point))))
        .map(|(arrangement, shape)| Series { arrangement, shape, rounds: Vec::new() })
        .collect();
    for round in 1..=arguments.slices.rounds() {
        for (at, point) in table.chunks_mut(Arrangement::ALL.len()).enumerate() {
            // Everyone is first at some point, and at each point in some round.
            for turn in 0..point.len() {
                let series = &mut point[(round + at + turn) % Arrangement::ALL.len()];
                let Series { arrangement, shape, .. } = *series;
                let relay = match arrangement {
                    Arrangement::OneShard => &single,
                    Arrangement::Same | Arrangement::Cross | Arrangement::Random => &double,
                };
                let order = arrangement.order(&homes, pairs)?;
                let what = format!("{} at {}, round {round}", arrangement.name(), name_of(shape));
                let outcome = relay.measure(fleet, &order, shape, timing, interrupt);
                let outcome = outcome.with_context(|| what.clone())?;
                eprintln!("{what:<48} {:8.3} us per cell", outcome.outcome.cpu_us_per_cell());
                series.rounds.push(outcome);
            }
        }
    }
    Ok(table)
}

impl Relay {
    fn start(
        arguments: &ShardsArgs,
        shards: usize,
        devices: usize,
        fleet: &Fleet,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let ShardsArgs { place, mesh_bytes, .. } = arguments;
        let home = Home::with(Setup {
            connections: connections_of(devices),
            quic_connections: 0,
            shards,
            mesh_bytes: *mesh_bytes,
        })?;
        let server = Server::relay(&place.cpus, place.relay_binary.as_deref(), home, interrupt)?;
        let admin = server.admin_socket().context("a relay without an admin socket")?;
        let connector = Connector::new(server.address())?;
        eprintln!("enrolling {devices} devices, {shards} shards");
        fleet.enrol_together(&connector, &admin, interrupt.flag())?;
        Ok(Self { server, connector, admin })
    }

    /// Where each device lives.
    fn homes(&self, fleet: &Fleet, devices: usize, interrupt: &Interrupt) -> Result<Vec<u16>> {
        let order: Vec<usize> = (0..devices).collect();
        let devices: Vec<CellDevice> =
            fleet.connect_as(&order, &self.connector, interrupt.flag())?;
        let homes = devices.iter().map(|it| it.device.shard).collect();
        drop(devices);
        self.empty(interrupt)?;
        Ok(homes)
    }

    /// Waits until nobody is connected, and everything is counted.
    fn empty(&self, interrupt: &Interrupt) -> Result<Totals> {
        let clock = Clock::start();
        let mut admin = Admin::open(&self.admin)?;
        loop {
            let totals = admin.totals()?;
            if totals.of("connections")? == 0 {
                return Ok(totals);
            }
            if clock.now_ns() > QUEUE_MAX.as_nanos() as u64 {
                bail!("the devices did not disconnect within {QUEUE_MAX:?}");
            }
            interrupt.pass(LOOK)?;
        }
    }

    fn measure(
        &self,
        fleet: &Fleet,
        order: &[usize],
        shape: Shape,
        timing: Timing,
        interrupt: &Interrupt,
    ) -> Result<Round> {
        let before = self.empty(interrupt)?;
        let mut devices = fleet.connect_as(order, &self.connector, interrupt.flag())?;
        let pid = self.server.pid();
        let outcome =
            load::run(Sockets::new(&mut devices), shape, Drive::Window, timing, pid, interrupt)?;
        drop(devices);
        let after = self.empty(interrupt)?;
        let more = |name| Ok::<_, anyhow::Error>(after.of(name)? - before.of(name)?);
        Ok(Round {
            outcome,
            cells: more("cells_in")?,
            crossed: more("cells_crossed_in")?,
            mesh_full: more("mesh_full")?,
        })
    }
}
