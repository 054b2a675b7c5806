//! The relay against the floor and the peers, and the floor against the baselines, in turns, at the six points.

mod command;
mod report;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::contender::{Contender, Group, Kind, Lineup};
use crate::interrupt::Interrupt;
use crate::load::{Drive, Fleet, Outcome, Shape, Timing};
use crate::points::POINTS;
use crate::procfs;
use crate::report::{latency_us, name_of};
use crate::statistics::{Spread, median};

pub(crate) use command::{CompareArgs, run};

/// What to compare, and how long.
#[derive(Debug, Clone)]
struct Plan {
    /// Times that every point is measured.
    rounds: usize,
    timing: Timing,
    /// Which of the points, by their place in the table from 1; all if empty.
    points: Vec<usize>,
    lineup: Lineup,
}

/// One server at one point, all rounds.
struct Series {
    kind: Kind,
    shape: Shape,
    outcomes: Vec<Outcome>,
    /// Why a peer could not be measured here.
    failed: Option<String>,
}

/// Measures and prints.
fn compare(
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
    let congestion_control = procfs::congestion_control()?;
    hushwire_uring::raise_nofile(devices as u64 + 64)?;
    let fleet = Fleet::generate(devices)?;
    let contenders = plan.lineup.start(relay_binary, devices, &fleet, interrupt)?;
    let mut table: Vec<Series> = shapes
        .iter()
        .flat_map(|&shape| contenders.iter().map(move |contender| (shape, contender.kind())))
        .map(|(shape, kind)| Series { kind, shape, outcomes: Vec::new(), failed: None })
        .collect();
    for round in 1..=plan.rounds {
        for (at, &shape) in shapes.iter().enumerate() {
            for turn in 0..contenders.len() {
                // Everyone is first at some point, and at each point in some round.
                let contender = &contenders[(round + at + turn) % contenders.len()];
                let of_this = |it: &&mut Series| it.kind == contender.kind() && it.shape == shape;
                let series = table.iter_mut().find(of_this).context("a series for everyone")?;
                measure(contender, series, round, plan.timing, &fleet, interrupt)?;
            }
        }
    }
    if as_json {
        report::print_json(&table, &shapes, &congestion_control)
    } else {
        report::print_table(&table, &shapes, &congestion_control)
    }
    Ok(())
}

/// One run. A peer that fails at a point is left out there, and does not end a measurement of the relay.
fn measure(
    contender: &Contender,
    series: &mut Series,
    round: usize,
    timing: Timing,
    fleet: &Fleet,
    interrupt: &Interrupt,
) -> Result<()> {
    if series.failed.is_some() {
        return Ok(());
    }
    let what = format!("{} at {}, round {round}", series.kind.name(), name_of(series.shape));
    match contender.measure(fleet, series.shape, Drive::Window, timing, interrupt) {
        Ok(outcome) => {
            eprintln!("{what:<48} {:8.3} us per message", outcome.cpu_us_per_cell());
            series.outcomes.push(outcome);
        }
        Err(error) if series.kind.group() == Group::Peer => {
            interrupt.check()?;
            eprintln!("{what:<48} failed: {error:#}");
            series.failed = Some(format!("{error:#}"));
        }
        Err(error) => return Err(error.context(what)),
    }
    Ok(())
}

impl Series {
    fn costs(&self) -> Vec<f64> {
        self.outcomes.iter().map(Outcome::cpu_us_per_cell).collect()
    }

    fn median_cost(&self) -> f64 {
        median(&self.costs()).unwrap_or(f64::NAN)
    }

    fn median_of(&self, value: impl Fn(&Outcome) -> f64) -> f64 {
        let values: Vec<f64> = self.outcomes.iter().map(value).collect();
        median(&values).unwrap_or(f64::NAN)
    }

    fn latency_us(&self) -> [f64; 3] {
        [0, 1, 2].map(|at| self.median_of(|outcome| latency_us(outcome)[at]))
    }

    /// How much of its processor it used.
    fn busy(&self) -> f64 {
        self.median_of(|it| it.server_cpu_ns as f64 / it.elapsed_ns as f64)
    }

    fn is_measured(&self) -> bool {
        self.failed.is_none() && !self.outcomes.is_empty()
    }
}

/// The cost of `one` in that of `other`: of the medians, with the spread of single rounds.
fn ratio(one: &Series, other: &Series) -> Option<Spread> {
    Spread::of_medians(&one.costs(), &other.costs())
}

fn find(table: &[Series], kind: Kind, shape: Shape) -> Option<&Series> {
    at(table, shape).find(|series| series.kind == kind && series.is_measured())
}

/// Everyone at one point.
fn at(table: &[Series], shape: Shape) -> impl Iterator<Item = &Series> {
    table.iter().filter(move |series| series.shape == shape)
}

/// The cheapest of a group at a point.
fn best(table: &[Series], group: Group, shape: Shape) -> Option<&Series> {
    at(table, shape)
        .filter(|series| series.kind.group() == group && series.is_measured())
        .min_by(|one, other| one.median_cost().total_cmp(&other.median_cost()))
}

/// What `--quick` means: one look, not a measurement.
const QUICK: (usize, Timing) =
    (1, Timing { warm_up: Duration::from_millis(300), measured: Duration::from_millis(1_000) });
