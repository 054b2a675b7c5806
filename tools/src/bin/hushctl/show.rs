//! Answers as people and programs read them.

use std::io::Write;

use hushwire_relay::control::admin::{Device, Status};
use serde::Serialize;

use crate::failure::Failure;
use hushwire_tools::days::date;

/// One object on one line.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?;
    Ok(writeln!(out, "{text}")?)
}

pub(crate) fn status(out: &mut impl Write, status: &Status) -> Result<(), Failure> {
    let mut row = |name: &str, value: String| writeln!(out, "{name:<16}{value}");
    let state = if status.draining { "draining" } else { "running" };
    row("relay", format!("{state} for {}, version {}", span(status.uptime_s), status.version))?;
    row("relay id", status.relay_id.clone())?;
    row("pin", status.pin.clone())?;
    row("listens on", status.listen.join(", "))?;
    let public = match status.public_address.as_str() {
        "" => "nothing yet: set [relay] public_address",
        address => address,
    };
    row("invites name", public.to_owned())?;
    row("metrics", format!("http://{}/metrics", status.control))?;
    row(
        "memory",
        format!(
            "{} now, {} at most so far, {} promised",
            bytes(status.resident_bytes),
            bytes(status.resident_bytes_max),
            bytes(status.memory_bill_bytes)
        ),
    )?;
    let store = &status.store;
    row(
        "store",
        format!(
            "{} accounts, {} devices, {} grants, {} open invites; {} of {}",
            store.accounts,
            store.devices,
            store.grants,
            store.invites,
            bytes(store.map_used_bytes),
            bytes(store.map_bytes)
        ),
    )?;
    let total = |name: &str| status.totals.get(name).copied().unwrap_or(0);
    row("connections", total("open_connections").to_string())?;
    row("cells", format!("{} in, {} out", total("cells_in"), total("cells_out")))?;
    row(
        "not delivered",
        format!(
            "{} offline, {} busy, {} refused, {} too large",
            total("undeliverable_offline"),
            total("undeliverable_busy"),
            total("undeliverable_refused"),
            total("undeliverable_too_large")
        ),
    )?;
    let bugs = total("bugs");
    if bugs > 0 {
        row("bugs", format!("{bugs} connections were closed by a fault of the relay: report it"))?;
    }
    Ok(())
}

pub(crate) fn invite(out: &mut impl Write, invite: &str, ttl_s: u32) -> Result<(), Failure> {
    writeln!(out, "{invite}")?;
    eprintln!(
        "This invite works once, for {}. It is a secret: hand it over in private.\n\
         On the device: hush enroll INVITE",
        span(u64::from(ttl_s))
    );
    Ok(())
}

pub(crate) fn devices_heading(out: &mut impl Write, empty: bool) -> Result<(), Failure> {
    if empty {
        return Ok(writeln!(out, "No devices yet: `hushctl invite` makes an invite for one.")?);
    }
    Ok(writeln!(out, "{:<52}  {:<26}  {:<10}  {:<7}  NAME", "DEVICE", "ACCOUNT", "SEEN", "STATE")?)
}

pub(crate) fn device(out: &mut impl Write, device: &Device) -> Result<(), Failure> {
    let Device { device, account, name, revoked, seen_day } = device;
    let seen = if *seen_day == 0 { "never".to_owned() } else { date(*seen_day) };
    let state = if *revoked { "revoked" } else { "active" };
    let name = printable(name);
    Ok(writeln!(out, "{device:<52}  {account:<26}  {seen:<10}  {state:<7}  {name}")?)
}

/// Names are chosen by devices: what a terminal would obey, or what turns the direction of writing, is
/// not shown.
fn printable(name: &str) -> String {
    let shown = |c: char| match c {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    name.chars().map(shown).collect()
}

/// A time, in its two largest units.
fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, minutes) => format!("{minutes} min {rest} s"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = Some(next);
    }
    format!("{value:.1} {}", unit.unwrap_or(&"TiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes() {
        let check = |seconds, expect| assert_eq!(span(seconds), expect);
        check(0, "0 s");
        check(59, "59 s");
        check(61, "1 min 1 s");
        check(86_399, "23 h 59 min");
        check(90_000, "1 d 1 h");
        let check = |count, expect| assert_eq!(bytes(count), expect);
        check(0, "0 B");
        check(1_023, "1023 B");
        check(1_536, "1.5 KiB");
        check(64 << 20, "64.0 MiB");
        check(4 << 30, "4.0 GiB");
        check(u64::MAX, "16777216.0 TiB");
    }

    #[test]
    fn a_name_cannot_rule_the_terminal() {
        let check = |name, expect| assert_eq!(printable(name), expect);
        check("Zoë's build machine", "Zoë's build machine");
        check("\u{1b}[2Jgone", "\u{fffd}[2Jgone");
        check("a\u{202e}b\nc", "a\u{fffd}b\u{fffd}c");
    }
}
