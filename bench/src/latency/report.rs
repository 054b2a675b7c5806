//! What the open loop says to a person, and to a program.

use serde_json::{Map, Value, json};

use super::{Plan, Series};
use crate::contender::{Group, Kind};
use crate::load::Outcome;
use crate::report::name_of;
use crate::statistics::{Spread, median};

/// Quantiles that are reported, and the bar for the relay in floors where there is one.
const QUANTILES: [(f64, &str, Option<f64>); 5] = [
    (0.5, "p50", None),
    (0.9, "p90", None),
    (0.99, "p99", Some(1.5)),
    (0.999, "p99.9", Some(2.0)),
    (0.9999, "p99.99", None),
];

fn us(outcome: &Outcome, quantile: f64) -> f64 {
    outcome.latency.value_at_quantile(quantile) as f64 / 1_000.0
}

impl Series {
    fn rounds_us(&self, quantile: f64) -> Vec<f64> {
        self.outcomes.iter().map(|outcome| us(outcome, quantile)).collect()
    }

    /// Of the rounds.
    fn median_us(&self, quantile: f64) -> f64 {
        median(&self.rounds_us(quantile)).unwrap_or(f64::NAN)
    }

    /// Of the same rounds of another.
    fn ratio(&self, other: &Self, quantile: f64) -> Option<Spread> {
        Spread::of_medians(&self.rounds_us(quantile), &other.rounds_us(quantile))
    }

    fn busy(&self) -> f64 {
        let busy: Vec<f64> = self
            .outcomes
            .iter()
            .map(|outcome| outcome.server_cpu_ns as f64 / outcome.elapsed_ns as f64)
            .collect();
        median(&busy).unwrap_or(f64::NAN)
    }
}

fn find(table: &[Series], kind: Kind) -> Option<&Series> {
    table.iter().find(|series| series.kind == kind)
}

pub(super) fn print_table(plan: &Plan, table: &[Series]) {
    println!(
        "Latency in microseconds at {}, from when a message was due; medians of {} rounds",
        name_of(plan.shape),
        plan.rounds
    );
    println!();
    print!("{:<10} {:>10} {:>5}", "server", "messages/s", "busy");
    QUANTILES.iter().for_each(|(_, name, _)| print!(" {name:>9}"));
    println!(" {:>9}", "max");
    for series in table {
        let busy = format!("{:.0}%", 100.0 * series.busy());
        print!("{:<10} {:>10} {busy:>5}", series.kind.name(), series.per_s);
        for (quantile, ..) in QUANTILES {
            print!(" {:>9.0}", series.median_us(quantile));
        }
        println!(" {:>9.0}", series.latency.max() as f64 / 1_000.0);
    }
    println!();
    let Some(relay) = find(table, Kind::Relay) else { return };
    for (quantile, name, bar) in QUANTILES {
        let floor = find(table, Kind::Floor).and_then(|floor| relay.ratio(floor, quantile));
        let (Some(bar), Some(ratio)) = (bar, floor) else { continue };
        let verdict = if ratio.median <= bar { "within" } else { "ABOVE" };
        println!("{name:<6} relay / floor {ratio} {verdict} {bar}");
        for peer in table.iter().filter(|series| series.kind.group() == Group::Peer) {
            let verdict = if relay.median_us(quantile) < peer.median_us(quantile) {
                "below"
            } else {
                "NOT BELOW"
            };
            println!("{name:<6} relay is {verdict} {}", peer.kind.name());
        }
    }
}

pub(super) fn print_json(plan: &Plan, table: &[Series]) {
    let quantiles = |of: &dyn Fn(f64) -> Value| -> Value {
        let all: Map<_, _> = QUANTILES
            .iter()
            .map(|(quantile, name, _)| ((*name).to_owned(), of(*quantile)))
            .collect();
        Value::Object(all)
    };
    let floor = find(table, Kind::Floor);
    let series: Map<String, Value> = table
        .iter()
        .map(|series| {
            let to_floor = |quantile| {
                let ratio = floor.and_then(|floor| series.ratio(floor, quantile));
                json!(ratio)
            };
            let value = json!({
                "messages_per_s": series.per_s,
                "server_busy": series.busy(),
                "latency_us": quantiles(&|quantile| json!(series.median_us(quantile))),
                "to_floor": quantiles(&to_floor),
                "max_us": series.latency.max() as f64 / 1_000.0,
                "messages": series.latency.len(),
            });
            (series.kind.key(), value)
        })
        .collect();
    let said = json!({
        "pairs": plan.shape.pairs,
        "bytes": plan.shape.class.cell_len(),
        "rounds": plan.rounds,
        "fifo": plan.fifo,
        "series": series,
    });
    println!("{said}");
}
