//! A soak: pairs at a steady rate for half an hour, while other devices come and go, and whether anything has grown.

mod churn;
mod report;
mod sample;
mod verdict;
mod visitor;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use hushwire_uring::affinity::pin_current_thread;
use hushwire_wire::limits::KEEP_ALIVE_MS;
use rustix::thread::disable_transparent_huge_pages;

use crate::arguments::{MachineArgs, seconds};
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{
    CHURN_MAX, CHURN_PAIRS_MIN, QUEUE_MAX, RATE_MAX, SAMPLES_MAX, SOAK_MINUTES_MAX, VISIT_MAX,
};
use crate::load::{CellDevice, Connector, Drive, Fleet, Outcome, Run, Shape, Sockets};
use crate::progress::Progress;
use crate::relay_child::Home;
use crate::report::Directory;
use crate::server::Server;

use churn::{Churn, Counts};
use sample::{Look, Sampler};
use verdict::Windows;

/// The pairs by themselves, before anybody else comes.
const QUIET: Duration = Duration::from_millis(500);
/// How often the end looks whether everybody has left.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// Minutes that are looked at.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Seconds with everything in motion before that.
    #[arg(long, default_value_t = 60.0)]
    warm_up: f64,
    /// Seconds between two samples.
    #[arg(long, default_value_t = 10.0)]
    every: f64,
    /// Pairs of devices that stay, each of which sends to its other.
    #[arg(long, default_value_t = 256)]
    pairs: usize,
    /// Size of their messages: 256 times a power of two, up to 32768.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Messages a second of all of them together.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    rate: u64,
    /// Devices that come and go in a second; 0 for none.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=CHURN_MAX))]
    churn: u64,
    /// Run the relay under SCHED_FIFO, which takes other work on the machine out of the latencies. Needs root and chrt.
    #[arg(long)]
    fifo: bool,
    /// Write the distributions of the first and the last minutes (.hgrm) and two plots over time (.svg) into this
    /// directory.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArgs,
}

/// What is done, and how long.
#[derive(Debug, Clone, Copy)]
struct Plan {
    shape: Shape,
    /// Messages a second of all pairs.
    rate: u64,
    /// Devices a second that come and go.
    churn: u64,
    warm_up: Duration,
    every: Duration,
    /// How many samples.
    samples: usize,
    fifo: bool,
    server_cpu: usize,
}

/// One interval.
#[derive(Debug)]
struct Sample {
    /// Seconds from the end of the warm-up to its end.
    at_s: f64,
    outcome: Interval,
    /// At its end.
    look: Look,
    /// In it.
    churned: Counts,
}

/// What the pairs came to in an interval.
#[derive(Debug)]
struct Interval {
    delivered: u64,
    refused: u64,
    elapsed_ns: u64,
    server_cpu_ns: u64,
    load_cpu_ns: u64,
    /// At [`report::QUANTILES`], microseconds.
    latency_us: [f64; 5],
    /// How late the generator was with a message of a thousand, microseconds.
    late_us: f64,
}

/// Everything that was seen.
#[derive(Debug)]
struct Soak {
    samples: Vec<Sample>,
    windows: Windows,
    /// Latency in the first window and in the last.
    first: Histogram<u64>,
    last: Histogram<u64>,
    /// Before anybody came, and when everybody had left.
    before: Look,
    after: Look,
    counts: Counts,
    /// What went wrong first with somebody who came.
    failure: Option<String>,
}

impl SoakArgs {
    fn plan(&self) -> Result<Plan> {
        ensure!(
            self.minutes > 0.0 && self.minutes <= SOAK_MINUTES_MAX,
            "choose more than 0 and at most {SOAK_MINUTES_MAX} minutes"
        );
        let every = seconds(self.every)?;
        let samples = (60.0 * self.minutes / every.as_secs_f64()).round();
        ensure!(
            samples >= verdict::SAMPLES_MIN as f64 && samples <= SAMPLES_MAX as f64,
            "choose --every so that there are {} to {SAMPLES_MAX} samples",
            verdict::SAMPLES_MIN
        );
        let shape = Shape { both_ways: true, ..Shape::new(self.pairs, self.bytes, 1)? };
        let least = (1_000 * shape.devices() as u64).div_ceil(KEEP_ALIVE_MS);
        ensure!(
            self.rate >= least,
            "choose a rate of at least {least}: the relay would take slower devices for idle"
        );
        Ok(Plan {
            shape,
            rate: self.rate,
            churn: self.churn,
            warm_up: seconds(self.warm_up)?,
            every,
            samples: samples as usize,
            fifo: self.fifo,
            server_cpu: self.machine.server_cpu,
        })
    }
}

pub(crate) fn run(arguments: &SoakArgs) -> Result<()> {
    let plan = arguments.plan()?;
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    // It is made before the half hour, in case it cannot be.
    let directory = arguments.out.as_deref().map(Directory::make).transpose()?;
    let soak = measure(plan, machine.relay_binary.as_deref(), &interrupt)?;
    if let Some(directory) = &directory {
        report::write(directory, plan, &soak)?;
    }
    if machine.json {
        report::print_json(plan, &soak);
    } else {
        report::print_table(plan, &soak);
    }
    Ok(())
}

fn measure(plan: Plan, relay_binary: Option<&Path>, interrupt: &Interrupt) -> Result<Soak> {
    let pairs_that_churn = CHURN_PAIRS_MIN.max(plan.churn as usize);
    let devices = plan.shape.devices() + 2 * pairs_that_churn;
    hushwire_uring::raise_nofile(devices as u64 + 64)?;
    // Inherited. What the kernel makes of small pages, at a moment of its own, would look like growth: it fills their gaps.
    disable_transparent_huge_pages(true).context("huge pages cannot be switched off")?;
    let server = Server::relay(&[plan.server_cpu], relay_binary, Home::new(devices)?, interrupt)?;
    let admin = server.admin_socket().context("a relay without an admin socket")?;
    let connector = Connector::new(server.address())?;
    eprintln!("enrolling {devices} devices");
    let residents = Fleet::generate(plan.shape.devices())?;
    residents.enrol(&connector, &admin, interrupt.flag())?;
    let visitors = Fleet::generate(2 * pairs_that_churn)?;
    visitors.enrol(&connector, &admin, interrupt.flag())?;
    if plan.fifo {
        server.under_fifo()?;
    }
    let mut churn = Churn::new(&connector, &visitors, pairs_that_churn, plan.churn)?;
    let sampler = Sampler::new(&server, admin);
    let mut devices = residents.connect(plan.shape.devices(), &connector, interrupt.flag())?;
    let drive = Drive::Rate(plan.rate);
    let run = Run::start(
        Sockets::new(&mut devices),
        plan.shape,
        drive,
        server.pid(),
        &mut churn,
        interrupt,
    )?;
    soak(plan, run, sampler, interrupt)
}

fn soak(
    plan: Plan,
    mut run: Run<'_, Sockets<'_, CellDevice>, Churn<'_>>,
    sampler: Sampler,
    interrupt: &Interrupt,
) -> Result<Soak> {
    let mut progress = Progress::new();
    run.go_on(QUIET)?;
    let before = sampler.look()?;
    let opened = run.elapsed();
    if plan.churn > 0 {
        run.beside.open(opened.as_nanos() as u64);
    }
    progress.tell(&format!("warming up for {:?}", plan.warm_up));
    run.go_on(opened + plan.warm_up)?;
    run.begin()?;
    let begun = run.elapsed();
    let windows = Windows::of(plan.samples, plan.every);
    let (mut first, mut last) = (Histogram::new(3)?, Histogram::new(3)?);
    let mut samples = Vec::with_capacity(plan.samples);
    let mut churned = run.beside.counts();
    for number in 0..plan.samples {
        let at = plan.every * (number as u32 + 1);
        let outcome = run.lap(begun + at)?;
        if windows.first().contains(&number) {
            first.add(&outcome.latency)?;
        }
        if windows.last().contains(&number) {
            last.add(&outcome.latency)?;
        }
        let counts = run.beside.counts();
        let sample = Sample {
            at_s: at.as_secs_f64(),
            outcome: Interval::of(&outcome),
            look: sampler.look()?,
            churned: counts.since(std::mem::replace(&mut churned, counts)),
        };
        progress.tell(&report::line(plan, &sample));
        samples.push(sample);
    }
    run.beside.close();
    let clock = Clock::start();
    while !run.beside.is_empty() {
        if clock.now_ns() > (VISIT_MAX + QUEUE_MAX).as_nanos() as u64 {
            bail!("visitors were still there {VISIT_MAX:?} after the last came");
        }
        run.go_on(run.elapsed() + LOOK)?;
    }
    let (counts, failure) = (run.beside.counts(), run.beside.failure().map(str::to_owned));
    let after = settled(&mut run, &sampler, &before)?;
    run.land()?;
    interrupt.check()?;
    Ok(Soak { samples, windows, first, last, before, after, counts, failure })
}

/// Looks until the relay has closed what the last visitors left, or has had time enough to.
fn settled(
    run: &mut Run<'_, Sockets<'_, CellDevice>, Churn<'_>>,
    sampler: &Sampler,
    before: &Look,
) -> Result<Look> {
    let clock = Clock::start();
    loop {
        run.go_on(run.elapsed() + LOOK)?;
        let look = sampler.look()?;
        if look.descriptors <= before.descriptors || clock.now_ns() > QUEUE_MAX.as_nanos() as u64 {
            return Ok(look);
        }
    }
}

impl Interval {
    fn of(outcome: &Outcome) -> Self {
        let late = outcome.late.value_at_quantile(0.999) as f64 / 1_000.0;
        Self {
            delivered: outcome.delivered,
            refused: outcome.refused,
            elapsed_ns: outcome.elapsed_ns,
            server_cpu_ns: outcome.server_cpu_ns,
            load_cpu_ns: outcome.load_cpu_ns,
            latency_us: report::latency_us(&outcome.latency),
            late_us: late,
        }
    }

    fn per_s(&self, count: u64) -> f64 {
        count as f64 * 1e9 / self.elapsed_ns as f64
    }

    fn server_busy(&self) -> f64 {
        self.server_cpu_ns as f64 / self.elapsed_ns as f64
    }
}
