//! Latency in an open loop: messages at a rate that the servers can sustain, timed from when each was due.

mod command;
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

use crate::contender::{Contender, Group, Kind, Lineup};
use crate::hgrm;
use crate::interrupt::Interrupt;
use crate::limits::RATE_MAX;
use crate::load::{Drive, Fleet, Outcome, Shape, Timing};
use crate::plot::{Line, percentiles};
use crate::report::{Directory, name_of};

pub(crate) use command::{LatencyArgs, run};

/// What is measured, and how long.
#[derive(Debug, Clone)]
struct Plan {
    rounds: usize,
    timing: Timing,
    shape: Shape,
    /// Messages a second; where absent, `share` of what the slower of floor and relay takes in a closed loop.
    rate: Option<u64>,
    /// Of its own saturation, whatever the rate is, anybody else gets no more than this share.
    share: f64,
    lineup: Lineup,
    /// Servers under SCHED_FIFO, where nothing else on the machine takes their processor.
    fifo: bool,
    /// Where the distributions and the plot go.
    directory: Option<PathBuf>,
}

/// One server, all rounds at its rate.
struct Series {
    kind: Kind,
    per_s: u64,
    outcomes: Vec<Outcome>,
    /// All rounds together.
    latency: Histogram<u64>,
}

/// Measures, prints and writes.
fn measure(
    plan: &Plan,
    relay_binary: Option<&Path>,
    as_json: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let devices = plan.shape.devices();
    hushwire_uring::raise_nofile(devices as u64 + 64)?;
    let fleet = Fleet::generate(devices)?;
    let mut contenders = plan.lineup.start(relay_binary, devices, &fleet, interrupt)?;
    if plan.fifo {
        contenders.iter().try_for_each(Contender::under_fifo)?;
    }
    let mut table = rates(plan, &contenders, &fleet, interrupt)?;
    for round in 1..=plan.rounds {
        for contender in &contenders {
            let series = table.iter_mut().find(|series| series.kind == contender.kind());
            let series = series.context("a series for everyone")?;
            let (kind, drive) = (series.kind, Drive::Rate(series.per_s));
            let what = format!("{} at {} messages/s, round {round}", kind.name(), series.per_s);
            let outcome = contender.measure(&fleet, plan.shape, drive, plan.timing, interrupt);
            let outcome = outcome.with_context(|| what.clone())?;
            let p99_us = outcome.latency.value_at_quantile(0.99) as f64 / 1_000.0;
            eprintln!("{what:<48} p99 {p99_us:9.0} us");
            series.latency.add(&outcome.latency)?;
            series.outcomes.push(outcome);
        }
        contenders.rotate_left(1);
    }
    if let Some(directory) = &plan.directory {
        write(directory, plan, &table)?;
    }
    if as_json {
        report::print_json(plan, &table);
    } else {
        report::print_table(plan, &table);
    }
    Ok(())
}

/// At which rate everyone is measured: one look at what each takes at most comes first.
fn rates(
    plan: &Plan,
    contenders: &[Contender],
    fleet: &Fleet,
    interrupt: &Interrupt,
) -> Result<Vec<Series>> {
    let mut most = Vec::new();
    for contender in contenders {
        let outcome =
            contender.measure(fleet, plan.shape, Drive::Window, plan.timing, interrupt)?;
        eprintln!(
            "{:<48} {:9.0} messages/s at most",
            contender.kind().name(),
            outcome.cells_per_s()
        );
        most.push((contender.kind(), outcome.cells_per_s()));
    }
    let is_ours = |kind: &Kind| matches!(kind.group(), Group::Floor | Group::Relay);
    let ours = most.iter().filter(|(kind, _)| is_ours(kind));
    let slower = ours.map(|(_, per_s)| *per_s).fold(f64::MAX, f64::min);
    let common = plan.rate.unwrap_or((plan.share * slower) as u64);
    ensure!((1..=RATE_MAX).contains(&common), "choose a rate of 1 to {RATE_MAX} messages a second");
    let series = |(kind, most): (Kind, f64)| -> Result<Series> {
        let own = (plan.share * most) as u64;
        let per_s = if is_ours(&kind) { common } else { common.min(own).max(1) };
        Ok(Series { kind, per_s, outcomes: Vec::new(), latency: Histogram::new(3)? })
    };
    most.into_iter().map(series).collect()
}

/// One `.hgrm` for each server, and the plot of all.
fn write(directory: &Path, plan: &Plan, table: &[Series]) -> Result<()> {
    let directory = Directory::make(directory)?;
    for series in table {
        directory.save(&format!("{}.hgrm", series.kind.key()), &hgrm::text(&series.latency))?;
    }
    let names: Vec<String> =
        table.iter().map(|series| format!("{} ({}/s)", series.kind.name(), series.per_s)).collect();
    let lines: Vec<Line<'_>> = table
        .iter()
        .zip(&names)
        .map(|(series, name)| Line { name, latency: &series.latency })
        .collect();
    let title = format!("Latency in an open loop, {}", name_of(plan.shape));
    directory.save("latency.svg", &percentiles(&title, &lines))
}
