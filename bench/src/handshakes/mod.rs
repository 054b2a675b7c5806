//! What a connect costs: the relay against a bare rustls server with the same certificate, groups and tickets.
//!
//! Devices connect, prove themselves, are welcomed and go, several at once. The generator has as much to
//! compute as the server and one processor as well, so what is measured is the server's processor time for one
//! handshake, and what one core could do in a second follows from it.

mod greeter;
mod report;
mod storm;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use hushwire_uring::affinity::pin_current_thread;

use crate::arguments::{MachineArgs, seconds};
use crate::interrupt::Interrupt;
use crate::limits::{DEVICES_PER_THREAD, HANDSHAKES_AT_ONCE_MAX, ROUNDS_MAX};
use crate::load::{Connector, Fleet, Timing};
use crate::relay_child::Home;
use crate::server::Server;

use storm::{Outcome, Storm, Way};

#[derive(Debug, Args)]
pub(crate) struct HandshakesArgs {
    /// Rounds: how often each is measured. Many short ones say more than a few long ones on a machine with other work.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=ROUNDS_MAX))]
    rounds: u16,
    /// Seconds of each that are counted.
    #[arg(long, default_value_t = 0.8)]
    seconds: f64,
    /// Seconds of each before anything is counted.
    #[arg(long, default_value_t = 0.2)]
    warm_up: f64,
    /// Handshakes under way at any time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=HANDSHAKES_AT_ONCE_MAX))]
    at_once: u16,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GreeterArgs {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Certificate, a PEM file.
    #[arg(long)]
    certificate: PathBuf,
    /// Its private key, a PEM file.
    #[arg(long)]
    key: PathBuf,
}

/// What to do.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Times that each is measured.
    rounds: usize,
    timing: Timing,
    /// Handshakes under way at any time.
    at_once: usize,
    server_cpu: usize,
}

impl Plan {
    const fn devices(&self) -> usize {
        DEVICES_PER_THREAD * self.at_once
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Bare,
    Relay,
}

impl Contender {
    const ALL: [Self; 2] = [Self::Bare, Self::Relay];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Relay => "relay",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Slice {
    way: Way,
    contender: Contender,
    outcome: Outcome,
}

/// Measures and prints.
pub(crate) fn run(arguments: &HandshakesArgs) -> Result<()> {
    let timing =
        Timing { warm_up: seconds(arguments.warm_up)?, measured: seconds(arguments.seconds)? };
    let interrupt = Interrupt::watch()?;
    let machine = &arguments.machine;
    pin_current_thread(machine.load_cpu)?;
    let plan = Plan {
        rounds: usize::from(arguments.rounds),
        timing,
        at_once: usize::from(arguments.at_once),
        server_cpu: machine.server_cpu,
    };
    let slices = measure(plan, machine.relay_binary.as_deref(), &interrupt)?;
    if machine.json {
        report::print_json(plan, &slices);
    } else {
        report::print_table(plan, &slices);
    }
    Ok(())
}

/// Is the bare server.
pub(crate) fn serve(arguments: &GreeterArgs) -> Result<()> {
    let greeter = greeter::Greeter::new(arguments.listen, &arguments.certificate, &arguments.key)?;
    crate::report::print_address(greeter.address());
    greeter.run()
}

fn measure(plan: Plan, binary: Option<&Path>, interrupt: &Interrupt) -> Result<Vec<Slice>> {
    let fleet = Fleet::generate(plan.devices())?;
    let home = Home::new(plan.devices())?;
    let relay = Server::relay(&[plan.server_cpu], binary, home, interrupt)?;
    let admin = relay.admin_socket().context("a relay without an admin socket")?;
    let to_relay = Connector::new(relay.address())?;
    fleet.enrol(&to_relay, &admin, interrupt.flag())?;
    let identity = relay.identity().context("a relay without a certificate")?;
    let bare = Server::greeter(plan.server_cpu, &identity)?;
    let to_bare = Connector::new(bare.address())?;
    let storm_of =
        |connector, server: &Server| Storm::new(&fleet, connector, server.pid(), interrupt);
    let on_bare = storm_of(&to_bare, &bare).context("the bare server")?;
    let on_relay = storm_of(&to_relay, &relay).context("the relay")?;
    let mut slices = Vec::new();
    for round in 1..=plan.rounds {
        for way in Way::ALL {
            let mut turns = Contender::ALL;
            if round % 2 == 0 {
                // Whoever was first is second next time.
                turns.reverse();
            }
            for contender in turns {
                let name = contender.name();
                let storm = match contender {
                    Contender::Bare => &on_bare,
                    Contender::Relay => &on_relay,
                };
                let outcome = storm
                    .run(way, plan.timing, interrupt)
                    .with_context(|| format!("{way} handshakes, {name}, round {round}"))?;
                let cost = outcome.cpu_us_each();
                eprintln!("round {round} of {}: {way:<8} {name:<6} {cost:8.1} us", plan.rounds);
                slices.push(Slice { way, contender, outcome });
            }
        }
    }
    Ok(slices)
}
