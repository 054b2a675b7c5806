//! What an idle device costs in memory: after a connect storm, at rest, and after churn.

mod command;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::interrupt::Interrupt;
use crate::load::{Access, Crew, Fleet, Transport};
use crate::procfs::Resident;
use crate::relay_child::Home;
use crate::server::Server;

pub(crate) use command::{IdleArgs, run};

/// The bar: bytes resident for one idle device.
const BYTES_PER_DEVICE_BAR: f64 = 2.5 * 1024.0;

/// Devices that come and go before the base is read: what the first connections bring into memory, code
/// above all, does not grow with their number.
const WARM_UP_DEVICES: usize = 64;

/// What to do.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Devices.
    connections: usize,
    /// Rest after the storm.
    rest: Duration,
    /// Times that all disconnect and connect again.
    rounds: usize,
    transport: Transport,
    server_cpu: usize,
    /// The floor in the relay's place.
    floor: bool,
}

struct Reading {
    moment: &'static str,
    connected: usize,
    resident: Resident,
}

/// Measures and prints.
fn idle(
    plan: Plan,
    relay_binary: Option<&Path>,
    as_json: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let count = plan.connections;
    hushwire_uring::raise_nofile(count as u64 + 64)?;
    let fleet = Fleet::generate(count)?;
    let server = if plan.floor {
        Server::floor(plan.transport, plan.server_cpu)?
    } else {
        enrolled(&fleet, plan, relay_binary, interrupt)?
    };
    let access = Access::new(plan.transport, server.address())?;
    let mut readings = Vec::new();
    let mut read = |moment, devices: Option<&Crew>| -> Result<()> {
        let connected = devices.map_or(0, |_| count);
        let ended = connected - devices.map_or(0, Crew::connected);
        ensure!(ended == 0, "{ended} connections have ended");
        readings.push(Reading { moment, connected, resident: server.resident()? });
        Ok(())
    };
    read("started", None)?;
    drop(access.crew(&fleet, WARM_UP_DEVICES.min(count), interrupt.flag())?);
    read("warmed up", None)?;
    let connect = || access.crew(&fleet, count, interrupt.flag());
    eprintln!("connecting {count} devices");
    let mut devices = connect()?;
    read("after the storm", Some(&devices))?;
    devices.stay(plan.rest, interrupt)?;
    read("at rest", Some(&devices))?;
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}: all disconnect and connect again", plan.rounds);
        drop(devices);
        devices = connect()?;
    }
    if plan.rounds > 0 {
        read("after the rounds", Some(&devices))?;
        devices.stay(plan.rest, interrupt)?;
        read("at rest again", Some(&devices))?;
    }
    drop(devices);
    let bill = server.admin_socket().map(|admin| memory_bill(&admin)).transpose()?;
    if as_json {
        print_json(plan, &readings, bill)
    } else {
        print_table(&readings, bill)
    }
    Ok(())
}

/// A relay that knows the fleet and was started after it learnt it: what enrolling left behind in its
/// memory would otherwise be reused by the connections, and they would seem to cost less.
fn enrolled(
    fleet: &Fleet,
    plan: Plan,
    binary: Option<&Path>,
    interrupt: &Interrupt,
) -> Result<Server> {
    let start = |home| Server::relay(&[plan.server_cpu], binary, home, interrupt);
    let server = start(Home::new(plan.connections)?)?;
    let admin = server.admin_socket().context("a relay without an admin socket")?;
    eprintln!("enrolling {} devices", plan.connections);
    fleet.enrol(&Access::new(Transport::Tls, server.address())?, &admin, interrupt.flag())?;
    start(server.end().context("a relay without files")?)
}

/// What the relay's bill says that it will not exceed, bytes.
fn memory_bill(admin: &Path) -> Result<u64> {
    Admin::open(admin)?.status()?["memory_bill_bytes"].as_u64().context("a status without a bill")
}

impl Reading {
    /// Bytes for each connection above `base`, the last reading without any.
    fn per_connection(&self, base: &Self) -> Option<f64> {
        let more = self.resident.all_bytes as f64 - base.resident.all_bytes as f64;
        (self.connected > 0).then(|| more / self.connected as f64)
    }
}

fn base(readings: &[Reading]) -> Option<&Reading> {
    readings.iter().rfind(|reading| reading.connected == 0)
}

fn print_table(readings: &[Reading], bill: Option<u64>) {
    let Some(base) = base(readings) else { return };
    println!(
        "Resident memory of the server; what the kernel keeps for its sockets is not part of it"
    );
    println!();
    println!("{:<18} {:>10} {:>12} {:>12} {:>12}", "", "connected", "KiB", "own KiB", "bytes each");
    for reading in readings {
        let Resident { all_bytes, anonymous_bytes } = reading.resident;
        let each = reading.per_connection(base).map(|each| format!("{each:.0}"));
        println!(
            "{:<18} {:>10} {:>12} {:>12} {:>12}",
            reading.moment,
            reading.connected,
            all_bytes / 1024,
            anonymous_bytes / 1024,
            each.unwrap_or_default()
        );
    }
    println!();
    println!("bytes each: above \"{}\"; the bar is {BYTES_PER_DEVICE_BAR:.0}", base.moment);
    if let Some(bill) = bill {
        println!("the relay's memory bill promises at most {} KiB", bill / 1024);
    }
}

fn print_json(plan: Plan, readings: &[Reading], bill: Option<u64>) {
    let Some(base) = base(readings) else { return };
    let rows: Vec<Value> = readings
        .iter()
        .map(|reading| {
            json!({
                "moment": reading.moment,
                "connected": reading.connected,
                "resident_bytes": reading.resident.all_bytes,
                "anonymous_bytes": reading.resident.anonymous_bytes,
                "bytes_per_connection": reading.per_connection(base),
            })
        })
        .collect();
    let object = json!({
        "connections": plan.connections,
        "transport": plan.transport.to_string(),
        "rounds": plan.rounds,
        "bytes_per_connection_bar": BYTES_PER_DEVICE_BAR,
        "memory_bill_bytes": bill,
        "readings": rows,
    });
    println!("{object}");
}
