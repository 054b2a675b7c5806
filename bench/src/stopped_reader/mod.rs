//! What a recipient that stops reading costs the others on its shard.
//!
//! Pairs are measured in short slices, alternately while the recipient reads and while it is stopped.
//! Senders to it keep one pace throughout, so that the generator has the same to do in both states.

mod command;
mod reader;
mod report;
mod senders;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use hushwire_wire::code::Invite;
use hushwire_wire::id::DeviceId;

use crate::admin::Admin;
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::QUEUE_MAX;
use crate::load::{
    self, Connector, Device, Drive, Fleet, Identity, Outcome, Shape, Sockets, Timing,
};
use crate::relay_child::Home;
use crate::server::Server;

pub(crate) use command::{StoppedReaderArgs, run};

use reader::Reader;
pub(crate) use reader::serve;
use senders::{Counts, Senders};

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);

/// What to do.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Times that either state is measured.
    rounds: usize,
    timing: Timing,
    /// The other pairs.
    shape: Shape,
    senders: usize,
    /// Cells a second of each sender.
    pace: u32,
    /// Processor of the relay.
    server_cpu: usize,
    /// Processor of the generator and of the reader.
    load_cpu: usize,
}

/// What the recipient does that may stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Reading,
    Stopped,
}

/// One measurement.
struct Slice {
    state: State,
    /// Of the other pairs.
    outcome: Outcome,
    /// Of the senders, while the pairs were measured and connected before.
    counts: Counts,
    /// Bytes that waited on the relay for the reader at its end, when the pairs had disconnected. A
    /// stopped reader's queue only grows, so this is the most.
    queue_bytes: u64,
    /// Resident memory of the relay at its end.
    resident_bytes: u64,
}

/// What remains at the end.
struct Total {
    /// The bound of the reader's queue, as the relay told it.
    queue_bytes_max: u64,
    /// The most bytes that ever waited on the relay, for all recipients together.
    pool_bytes_high: u64,
    counts: Counts,
    /// Cells that reached the reader.
    received: u64,
}

struct Bench<'a> {
    plan: Plan,
    interrupt: &'a Interrupt,
    // These two end before the relay does: its end would be an error to them.
    senders: Senders,
    reader: Reader,
    server: Server,
    /// The relay's admin socket, which it closes to whoever is silent: opened for each question.
    admin: PathBuf,
    connector: Connector,
    fleet: Fleet,
}

/// Measures and prints.
fn measure(
    plan: Plan,
    relay_binary: Option<&Path>,
    as_json: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut bench = Bench::start(plan, relay_binary, interrupt)?;
    let mut slices = Vec::new();
    for round in 1..=plan.rounds {
        let mut states = State::ALL;
        if round % 2 == 0 {
            // Whoever was first is second next time.
            states.reverse();
        }
        for state in states {
            let slice = bench.slice(state).with_context(|| format!("{state:?}, round {round}"))?;
            eprintln!(
                "round {round} of {}: {:<8} {:>9.0} cells/s, {} busy",
                plan.rounds,
                state.name(),
                slice.outcome.cells_per_s(),
                slice.counts.busy
            );
            slices.push(slice);
        }
    }
    let total = bench.account()?;
    if as_json {
        report::print_json(plan, &slices, &total);
    } else {
        report::print_table(plan, &slices, &total);
    }
    Ok(())
}

impl<'a> Bench<'a> {
    fn start(plan: Plan, binary: Option<&Path>, interrupt: &'a Interrupt) -> Result<Self> {
        let pairs = plan.shape.devices();
        let devices = pairs + plan.senders + 1;
        hushwire_uring::raise_nofile(devices as u64 + 64)?;
        let server = Server::relay(&[plan.server_cpu], binary, Home::new(devices)?, interrupt)?;
        let socket = server.admin_socket().context("a relay without an admin socket")?;
        let connector = Connector::new(server.address())?;
        let fleet = Fleet::generate(pairs)?;
        eprintln!("enrolling {devices} devices");
        fleet.enrol(&connector, &socket, interrupt.flag())?;
        let mut admin = Admin::open(&socket)?;
        let invite = admin.invite(None)?;
        let reader = Reader::start(plan.load_cpu, server.address(), &invite)?;
        let account = admin.devices()?.remove(&reader.device).context("an unknown reader")?;
        let devices = (0..plan.senders)
            .map(|_| enrolled(&mut admin, &account, &connector))
            .collect::<Result<_>>()?;
        let to: DeviceId = reader.device.parse().context("the reader is no device")?;
        let senders = Senders::start(devices, to, plan.shape.class, plan.pace)?;
        Ok(Self { plan, interrupt, server, admin: socket, connector, fleet, reader, senders })
    }

    /// Measures the other pairs once, on new connections.
    fn slice(&mut self, state: State) -> Result<Slice> {
        let Plan { shape, timing, .. } = self.plan;
        match state {
            State::Reading => {
                // Reports that were on their way when the queue ran empty belong to the state before.
                let mut last = None;
                self.until("the queue did not empty", |bench| {
                    let busy = Some(bench.senders.counts()?.busy);
                    Ok(bench.total("egress_pool_bytes")? == 0
                        && std::mem::replace(&mut last, busy) == busy)
                })?;
                // Also the reader's keep-alive.
                self.reader.received()?;
            }
            State::Stopped => {
                let before = self.senders.counts()?.busy;
                self.reader.stop()?;
                self.until("the senders did not hear `busy`", |bench| {
                    Ok(bench.senders.counts()?.busy > before)
                })?;
            }
        }
        let before = self.senders.counts()?;
        let flag = self.interrupt.flag();
        let mut devices = self.fleet.connect(shape.devices(), &self.connector, flag)?;
        let pid = self.server.pid();
        let outcome = load::run(
            Sockets::new(&mut devices),
            shape,
            Drive::Window,
            timing,
            pid,
            self.interrupt,
        )?;
        let counts = self.senders.counts()?.since(before);
        let resident_bytes = self.server.resident()?.all_bytes;
        drop(devices);
        let others = self.plan.senders as u64 + 1;
        self.until("the pairs did not disconnect", |bench| {
            Ok(bench.total("connections")? == others)
        })?;
        let queue_bytes = self.total("egress_pool_bytes")?;
        if state == State::Stopped {
            self.reader.resume()?;
        }
        Ok(Slice { state, outcome, counts, queue_bytes, resident_bytes })
    }

    /// Lets everything that was sent arrive, or come back.
    fn account(&mut self) -> Result<Total> {
        self.senders.pause();
        let mut received = 0;
        self.until("cells of the senders neither arrived nor came back", |bench| {
            let has_all = bench.senders.rest();
            received = bench.reader.received()?;
            let Counts { sent, busy } = bench.senders.counts()?;
            Ok(has_all && received + busy == sent)
        })?;
        Ok(Total {
            queue_bytes_max: self.reader.egress_bytes_max,
            pool_bytes_high: self.total("egress_pool_bytes_high")?,
            counts: self.senders.counts()?,
            received,
        })
    }

    /// One of the relay's numbers.
    fn total(&mut self, name: &str) -> Result<u64> {
        Admin::open(&self.admin)?.totals()?.of(name)
    }

    fn until(
        &mut self,
        problem: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let clock = Clock::start();
        while !done(self)? {
            if clock.now_ns() > QUEUE_MAX.as_nanos() as u64 {
                bail!("{problem} within {QUEUE_MAX:?}");
            }
            self.interrupt.pass(LOOK)?;
        }
        Ok(())
    }
}

/// A new device of the account, connected.
fn enrolled(admin: &mut Admin, account: &str, connector: &Connector) -> Result<Device> {
    let text = admin.invite(Some(account))?;
    let invite = Invite::from_text(&text).map_err(|error| anyhow!("an invite: {error}"))?;
    connector.connect(&Identity::generate()?, Some(invite.secret.as_bytes()))
}

impl State {
    pub(crate) const ALL: [Self; 2] = [Self::Reading, Self::Stopped];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Stopped => "stopped",
        }
    }
}
