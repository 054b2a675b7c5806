//! The relay against the floor, in turns, at the six points.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::interrupt::Interrupt;
use crate::load::{self, Connector, Fleet, Outcome, Shape, Timing};
use crate::points::POINTS;
use crate::relay_child::Home;
use crate::report::{latency_us, name_of, outcome_json};
use crate::server::Server;
use crate::statistics::{median, spread};

/// The bar: what the relay may cost, in floors.
const RATIO_BAR: f64 = 1.25;

/// What to compare, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Times that every point is measured.
    pub(crate) rounds: usize,
    pub(crate) timing: Timing,
    /// Which of the points, by their place in the table from 1; all if empty.
    pub(crate) points: Vec<usize>,
    /// Processor of the servers. The generator has another.
    pub(crate) server_cpu: usize,
    /// Without the relay.
    pub(crate) floor_only: bool,
}

/// One of the servers compared.
struct Contender {
    name: &'static str,
    server: Server,
    connector: Connector,
}

/// One server at one point, all rounds.
struct Series {
    contender: &'static str,
    shape: Shape,
    outcomes: Vec<Outcome>,
}

impl Contender {
    fn new(name: &'static str, server: Server) -> Result<Self> {
        let connector = Connector::new(server.address())?;
        Ok(Self { name, server, connector })
    }
}

/// Measures and prints.
pub(crate) fn compare(
    plan: &Plan,
    relay_binary: Option<&Path>,
    as_json: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let shapes: Vec<Shape> = POINTS
        .iter()
        .enumerate()
        .filter(|(at, _)| plan.points.is_empty() || plan.points.contains(&(at + 1)))
        .map(|(_, shape)| *shape)
        .collect();
    let devices = shapes.iter().map(Shape::devices).max().context("no such point")?;
    hushwire_uring::raise_nofile(devices as u64 + 64)?;
    let fleet = Fleet::generate(devices)?;
    let mut contenders = vec![Contender::new("floor", Server::floor(plan.server_cpu)?)?];
    if !plan.floor_only {
        let home = Home::new(devices)?;
        let server = Server::relay(&[plan.server_cpu], relay_binary, home, interrupt)?;
        let relay = Contender::new("relay", server)?;
        let admin = relay.server.admin_socket().context("a relay without an admin socket")?;
        eprintln!("enrolling {devices} devices");
        fleet.enrol(&relay.connector, &admin, interrupt.flag())?;
        contenders.push(relay);
    }
    let mut table: Vec<Series> = shapes
        .iter()
        .flat_map(|&shape| contenders.iter().map(move |contender| (shape, contender.name)))
        .map(|(shape, contender)| Series { contender, shape, outcomes: Vec::new() })
        .collect();
    for round in 1..=plan.rounds {
        for &shape in &shapes {
            measure(round, shape, plan.timing, &fleet, &contenders, &mut table, interrupt)?;
            // Whoever was first is second next time.
            contenders.rotate_left(1);
        }
    }
    if as_json {
        print_json(&table)
    } else {
        print_table(&table, &shapes)
    }
    Ok(())
}

fn measure(
    round: usize,
    shape: Shape,
    timing: Timing,
    fleet: &Fleet,
    contenders: &[Contender],
    table: &mut [Series],
    interrupt: &Interrupt,
) -> Result<()> {
    for Contender { name, server, connector } in contenders {
        let what = || format!("{name} at {}, round {round}", name_of(shape));
        let mut devices =
            fleet.connect(shape.devices(), connector, interrupt.flag()).with_context(what)?;
        let outcome =
            load::run(&mut devices, shape, timing, server.pid(), interrupt).with_context(what)?;
        eprintln!("{:<42} {:8.3} us per cell", what(), outcome.cpu_us_per_cell());
        if let Some(series) =
            table.iter_mut().find(|series| series.contender == *name && series.shape == shape)
        {
            series.outcomes.push(outcome);
        }
    }
    Ok(())
}

impl Series {
    fn costs(&self) -> Vec<f64> {
        self.outcomes.iter().map(Outcome::cpu_us_per_cell).collect()
    }

    fn median_of(&self, value: impl Fn(&Outcome) -> f64) -> f64 {
        let values: Vec<f64> = self.outcomes.iter().map(value).collect();
        median(&values).unwrap_or(f64::NAN)
    }

    fn latency_us(&self) -> [f64; 3] {
        [0, 1, 2].map(|at| self.median_of(|outcome| latency_us(outcome)[at]))
    }
}

/// Cost of the relay in floors: of the medians, and the least and greatest of single rounds.
fn ratio(floor: &Series, relay: &Series) -> Option<(f64, f64, f64)> {
    let (floors, relays) = (floor.costs(), relay.costs());
    let each: Vec<f64> = relays.iter().zip(&floors).map(|(relay, floor)| relay / floor).collect();
    let (least, greatest) = spread(&each)?;
    Some((median(&relays)? / median(&floors)?, least, greatest))
}

fn find<'a>(table: &'a [Series], contender: &str, shape: Shape) -> Option<&'a Series> {
    table.iter().find(|series| series.contender == contender && series.shape == shape)
}

fn print_table(table: &[Series], shapes: &[Shape]) {
    println!("CPU of the server for one delivered cell, medians; latency of the closed loop");
    println!();
    println!(
        "{:<24} {:<6} {:>9} {:>16} {:>9} {:>5} {:>9} {:>9} {:>9}  {:<}",
        "pairs x bytes x window",
        "server",
        "us/cell",
        "least-greatest",
        "k cells/s",
        "busy",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "relay / floor"
    );
    for &shape in shapes {
        for name in ["floor", "relay"] {
            let Some(series) = find(table, name, shape) else { continue };
            let costs = series.costs();
            let (least, greatest) = spread(&costs).unwrap_or((f64::NAN, f64::NAN));
            let [p50, p99, p999] = series.latency_us();
            let busy = series.median_of(|it| it.server_cpu_ns as f64 / it.elapsed_ns as f64);
            let against = match find(table, "floor", shape).and_then(|floor| ratio(floor, series)) {
                Some((ratio, least, greatest)) if name == "relay" => {
                    let verdict = if ratio <= RATIO_BAR { "within" } else { "ABOVE" };
                    format!("{ratio:.2} ({least:.2}-{greatest:.2}) {verdict} {RATIO_BAR}")
                }
                Some(_) | None => String::new(),
            };
            println!(
                "{:<24} {:<6} {:>9.3} {:>16} {:>9.1} {:>4.0}% {:>9.0} {:>9.0} {:>9.0}  {}",
                name_of(shape),
                name,
                median(&costs).unwrap_or(f64::NAN),
                format!("{least:.3}-{greatest:.3}"),
                series.median_of(Outcome::cells_per_s) / 1_000.0,
                100.0 * busy,
                p50,
                p99,
                p999,
                against
            );
        }
    }
    let refused: u64 =
        table.iter().flat_map(|series| &series.outcomes).map(|outcome| outcome.refused).sum();
    if refused > 0 {
        println!("\n{refused} cells were refused as undeliverable and sent again as others.");
    }
}

fn print_json(table: &[Series]) {
    let rows: Vec<Value> = table
        .iter()
        .map(|series| {
            let rounds: Vec<Value> =
                series.outcomes.iter().map(|it| outcome_json(series.shape, it)).collect();
            let against = find(table, "floor", series.shape)
                .filter(|floor| floor.contender != series.contender)
                .and_then(|floor| ratio(floor, series))
                .map(|(median, least, greatest)| {
                    json!({ "median": median, "least": least, "greatest": greatest })
                });
            let [p50, p99, p999] = series.latency_us();
            json!({
                "server": series.contender,
                "point": name_of(series.shape),
                "cpu_us_per_cell": median(&series.costs()),
                "latency_us": { "p50": p50, "p99": p99, "p999": p999 },
                "ratio_to_floor": against,
                "rounds": rounds,
            })
        })
        .collect();
    println!("{}", json!({ "ratio_bar": RATIO_BAR, "series": rows }));
}

/// What `--quick` means: one look, not a measurement.
pub(crate) const QUICK: (usize, Timing) =
    (1, Timing { warm_up: Duration::from_millis(300), measured: Duration::from_millis(1_000) });
