//! Small messages to a peer and back, against a bare TCP echo between the same two processes, and beside a stream
//! that takes all it can get.

mod command;
mod report;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::ends::{Durability, Ends};
use crate::interrupt::Interrupt;
use crate::load::Transport;

pub(crate) use command::{RoundTripArgs, run};

/// What to do.
#[derive(Debug, Clone)]
struct Plan {
    /// Round trips of one measurement.
    messages: u64,
    bytes: usize,
    /// Times that each is measured.
    rounds: usize,
    /// Also beside a stream from the same device to the same peer.
    with_transfer: bool,
    durability: Durability,
    transport: Transport,
    /// Processors of everything.
    cpus: Vec<usize>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Messages with nothing else to do.
    Alone,
    /// Messages beside a stream.
    Beside,
    /// Bytes over TCP, directly.
    Tcp,
}

/// One measurement, nanoseconds.
struct Slice {
    kind: Kind,
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    /// Bytes of the stream in a second, beside the messages.
    stream_bytes_per_s: f64,
}

/// Measures and prints.
fn measure(
    plan: &Plan,
    relay_binary: Option<&Path>,
    as_json: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut ends =
        Ends::start(&plan.cpus, (plan.durability, plan.transport), relay_binary, interrupt)?;
    let echo = ends.receiver.ask(&json!({ "ask": "tcp echo", "bytes": plan.bytes }))?;
    let echo = echo["listen"].as_str().context("an echo without an address")?.to_owned();
    ends.receiver.ask(&json!({ "ask": "answer" }))?;
    let mut kinds = vec![Kind::Tcp, Kind::Alone];
    if plan.with_transfer {
        kinds.push(Kind::Beside);
    }
    let mut slices = Vec::new();
    for round in 1..=plan.rounds {
        for &kind in &kinds {
            let slice = slice(plan, &mut ends, kind, &echo)
                .with_context(|| format!("{}, round {round}", kind.name()))?;
            eprintln!(
                "round {round} of {}: {:<16} p50 {:>7.1} us, p99 {:>7.1} us",
                plan.rounds,
                kind.name(),
                slice.p50_ns as f64 / 1e3,
                slice.p99_ns as f64 / 1e3
            );
            slices.push(slice);
        }
        // Whoever was first is last next time.
        kinds.reverse();
    }
    if as_json {
        report::print_json(plan, &slices);
    } else {
        report::print_table(plan, &slices);
    }
    Ok(())
}

fn slice(plan: &Plan, ends: &mut Ends<'_>, kind: Kind, echo: &str) -> Result<Slice> {
    let mut question = json!({ "ask": "ping", "messages": plan.messages, "bytes": plan.bytes });
    if kind == Kind::Tcp {
        question["ask"] = json!("tcp ping");
        question["address"] = json!(echo);
    }
    // So that what is new to the processor is not among what is counted.
    let mut first = question.clone();
    first["messages"] = json!((plan.messages / 10).max(1));
    ends.sender.ask(&first)?;
    let mut stream_bytes_per_s = 0.0;
    let answer = if kind == Kind::Beside {
        ends.receiver.ask(&json!({ "ask": "drain" }))?;
        ends.sender.ask(&json!({ "ask": "flood" }))?;
        ends.sender.ask(&first)?;
        let before = drained(ends)?;
        let clock = crate::clock::Clock::start();
        let answer = ends.sender.ask(&question)?;
        let bytes = drained(ends)? - before;
        stream_bytes_per_s = bytes as f64 / (clock.now_ns() as f64 / 1e9);
        ends.sender.ask(&json!({ "ask": "stop" }))?;
        ends.receiver.ask(&json!({ "ask": "stop" }))?;
        answer
    } else {
        ends.sender.ask(&question)?
    };
    let ns = |name: &str| answer[name].as_u64().with_context(|| format!("no {name}"));
    Ok(Slice {
        kind,
        p50_ns: ns("p50_ns")?,
        p99_ns: ns("p99_ns")?,
        p999_ns: ns("p999_ns")?,
        stream_bytes_per_s,
    })
}

/// Bytes that the receiver has read of streams so far.
fn drained(ends: &mut Ends<'_>) -> Result<u64> {
    let answer: Value = ends.receiver.ask(&json!({ "ask": "drained" }))?;
    answer["bytes"].as_u64().context("no count of bytes")
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Alone => "messages alone",
            Self::Beside => "beside a stream",
            Self::Tcp => "bare TCP echo",
        }
    }
}
