//! What the round trips come to.

use serde_json::{Value, json};

use super::{Kind, Plan, Slice};
use crate::statistics::{Spread, median};

/// The bar: how much a stream to the same peer may add to the slowest hundredth of small messages.
const BESIDE_BAR: f64 = 2.0;

type Quantile = (&'static str, fn(&Slice) -> u64);

const QUANTILES: [Quantile; 3] =
    [("p50", |it| it.p50_ns), ("p99", |it| it.p99_ns), ("p99.9", |it| it.p999_ns)];

fn of(slices: &[Slice], kind: Kind, value: fn(&Slice) -> u64) -> Vec<f64> {
    slices.iter().filter(|it| it.kind == kind).map(|it| value(it) as f64 / 1e3).collect()
}

/// One kind in another, round by round.
fn ratio(slices: &[Slice], kind: Kind, to: Kind, value: fn(&Slice) -> u64) -> Option<Spread> {
    Spread::of_ratios(&of(slices, kind, value), &of(slices, to, value))
}

fn stream_mib_per_s(slices: &[Slice]) -> Option<f64> {
    let beside = slices.iter().filter(|it| it.kind == Kind::Beside);
    median(&beside.map(|it| it.stream_bytes_per_s / 1_048_576.0).collect::<Vec<_>>())
}

pub(super) fn print_table(plan: &Plan, slices: &[Slice]) {
    let cpus: Vec<_> = plan.cpus.iter().map(usize::to_string).collect();
    println!(
        "{} round trips of {} bytes one at a time by {}, {} rounds; every process on processors {}",
        plan.messages,
        plan.bytes,
        plan.transport,
        plan.rounds,
        cpus.join(" and ")
    );
    println!("messages survive the end of the {}", plan.durability.survived());
    println!("medians of the rounds, microseconds; in brackets the least and the greatest round");
    println!();
    println!("{:<18} {:>24} {:>24} {:>24}", "", "p50", "p99", "p99.9");
    for kind in [Kind::Tcp, Kind::Alone, Kind::Beside] {
        let columns: Vec<_> = QUANTILES
            .iter()
            .filter_map(|(_, value)| {
                let all = Spread::of(&of(slices, kind, *value))?;
                Some(format!("{all:.1}"))
            })
            .collect();
        if let [p50, p99, p999] = &columns[..] {
            println!("{:<18} {p50:>24} {p99:>24} {p999:>24}", kind.name());
        }
    }
    println!();
    for (name, value) in &QUANTILES[..2] {
        if let Some(ratio) = ratio(slices, Kind::Alone, Kind::Tcp, *value) {
            println!("{name}, messages / TCP echo: {ratio}");
        }
    }
    if let Some(ratio) = ratio(slices, Kind::Beside, Kind::Alone, |it| it.p99_ns) {
        let verdict = if ratio.median <= BESIDE_BAR { "meets" } else { "MISSES" };
        println!("p99, beside a stream / alone: {ratio}, {verdict} the bar of {BESIDE_BAR}");
    }
    if let Some(rate) = stream_mib_per_s(slices) {
        println!("the stream beside them: {rate:.0} MiB/s");
    }
}

pub(super) fn print_json(plan: &Plan, slices: &[Slice]) {
    let kinds: serde_json::Map<String, Value> =
        [(Kind::Tcp, "tcp_echo"), (Kind::Alone, "alone"), (Kind::Beside, "beside_stream")]
            .into_iter()
            .filter(|(kind, _)| slices.iter().any(|it| it.kind == *kind))
            .map(|(kind, name)| {
                let quantiles: serde_json::Map<String, Value> = QUANTILES
                    .iter()
                    .filter_map(|(quantile, value)| {
                        let all = Spread::of(&of(slices, kind, *value))?;
                        Some((format!("{}_us", quantile.replace('.', "")), json!(all)))
                    })
                    .collect();
                (name.to_owned(), Value::Object(quantiles))
            })
            .collect();
    let p99 = |it: &Slice| it.p99_ns;
    let object = json!({
        "messages": plan.messages,
        "bytes": plan.bytes,
        "durability": plan.durability.name(),
        "transport": plan.transport.to_string(),
        "rounds": plan.rounds,
        "cpus": plan.cpus,
        "round_trips": kinds,
        "p50_to_tcp": ratio(slices, Kind::Alone, Kind::Tcp, |it| it.p50_ns),
        "p99_to_tcp": ratio(slices, Kind::Alone, Kind::Tcp, p99),
        "p99_beside_to_alone": ratio(slices, Kind::Beside, Kind::Alone, p99),
        "p99_beside_bar": BESIDE_BAR,
        "stream_mib_per_s": stream_mib_per_s(slices),
    });
    println!("{object}");
}
