//! What a soak says to a person, and to a program.

use std::ops::Range;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::verdict::{Change, Verdict};
use super::{Plan, Sample, Soak};
use crate::hgrm;
use crate::plot::{Curve, Measure, over_time};
use crate::report::Directory;
use crate::statistics::median;

/// Quantiles that are reported.
pub(super) const QUANTILES: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];
/// Rows of the table, at most.
const ROWS_MAX: usize = 15;
const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn latency_us(latency: &Histogram<u64>) -> [f64; 5] {
    QUANTILES.map(|(quantile, _)| latency.value_at_quantile(quantile) as f64 / 1_000.0)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// The progress of one sample.
pub(super) fn line(plan: Plan, sample: &Sample) -> String {
    let [_, _, p99, p999, _] = sample.outcome.latency_us;
    let all_s = plan.every.as_secs_f64() * plan.samples as f64;
    format!(
        "{:6.0} s of {all_s:.0}: {:.0} messages/s, p99 {p99:.0} us, p99.9 {p999:.0} us, {:.1} MiB, {} descriptors",
        sample.at_s,
        sample.outcome.per_s(sample.outcome.delivered),
        mib(sample.look.resident.anonymous_bytes),
        sample.look.descriptors
    )
}

/// Several samples in a row.
fn row(soak: &Soak, range: Range<usize>) -> Option<String> {
    let samples = soak.samples.get(range)?;
    let end = samples.last()?;
    let middle = |value: &dyn Fn(&Sample) -> f64| {
        median(&samples.iter().map(value).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let at = |at: usize| middle(&|sample: &Sample| sample.outcome.latency_us[at]);
    let worst = samples.iter().map(|sample| sample.outcome.latency_us[4]).fold(0.0, f64::max);
    let errors: u64 = end.look.errors_since(&soak.before).iter().map(|(_, more)| more).sum();
    let churned: u64 = samples.iter().map(|it| it.churned.visited + it.churned.deserted).sum();
    let seconds: f64 = samples.iter().map(|it| it.outcome.elapsed_ns as f64 / 1e9).sum();
    Some(format!(
        "{:>6.1} {:>10.0} {:>8} {:>7.1} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>5.0}% {:>8.2} {:>8.2} {:>6.0} {:>6}",
        end.at_s / 60.0,
        middle(&|it| it.outcome.per_s(it.outcome.delivered)),
        samples.iter().map(|it| it.outcome.refused).sum::<u64>(),
        churned as f64 / seconds,
        at(0),
        at(2),
        at(3),
        worst,
        middle(&|it| it.outcome.late_us),
        100.0 * middle(&|it| it.outcome.server_busy()),
        mib(end.look.resident.anonymous_bytes),
        mib(end.look.resident.all_bytes),
        middle(&|it| it.look.descriptors as f64),
        errors,
    ))
}

pub(super) fn print_table(plan: Plan, soak: &Soak) {
    let Plan { shape, rate, churn, .. } = plan;
    println!(
        "{} pairs both ways, {} bytes, {rate} messages/s, from when each was due; {churn} devices come and go each second",
        shape.pairs,
        shape.class.cell_len()
    );
    println!("medians of samples of {:?}, the worst of them as max", plan.every);
    println!();
    println!(
        "{:>6} {:>10} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>8} {:>8} {:>6} {:>6}",
        "minute",
        "messages/s",
        "refused",
        "churn/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "late us",
        "busy",
        "own MiB",
        "RSS MiB",
        "files",
        "errors"
    );
    let step = soak.samples.len().div_ceil(ROWS_MAX).max(1);
    for from in (0..soak.samples.len()).step_by(step) {
        let range = from..(from + step).min(soak.samples.len());
        println!("{}", row(soak, range).unwrap_or_default());
    }
    println!();
    print_verdict(soak, &Verdict::of(soak));
}

fn word(within: bool) -> &'static str {
    if within { "within" } else { "ABOVE" }
}

fn print_verdict(soak: &Soak, verdict: &Verdict) {
    let [memory_bar, descriptors_bar, p999_bar] = Verdict::bars();
    println!("the first {0:?} against the last {0:?}:", soak.windows.each);
    let Change { first, last, within } = verdict.memory;
    let each = verdict.bytes_per_connection.map(|each| format!(", {each:+.1} bytes a connection"));
    println!(
        "own memory        {:.2} -> {:.2} MiB, {:+.0} KiB{}; {} {:.0} KiB more",
        first / MIB,
        last / MIB,
        (last - first) / 1024.0,
        each.unwrap_or_default(),
        word(within),
        memory_bar / 1024.0
    );
    let Change { first, last, within } = verdict.descriptors;
    println!(
        "descriptors       {first:.0} -> {last:.0}; {} {descriptors_bar:.0} more",
        word(within)
    );
    let Change { first, last, within } = verdict.p999;
    println!(
        "p99.9             {first:.0} -> {last:.0} us, {:.2} times; {} {p999_bar}",
        last / first,
        word(within)
    );
    let Change { first, last, within } = verdict.at_rest;
    println!(
        "descriptors with the pairs alone, before and after: {first:.0} -> {last:.0}; {} 0 more",
        word(within)
    );
    if verdict.errors.is_empty() {
        println!("error counters    none has moved");
    } else {
        let moved: Vec<String> =
            verdict.errors.iter().map(|(name, more)| format!("{name} {more}")).collect();
        println!("error counters    MOVED: {}", moved.join(", "));
    }
    let counts = soak.counts;
    println!(
        "came and went     {} devices welcomed, {} that left before, {} FAILED",
        counts.visited, counts.deserted, counts.failed
    );
    if let Some(failure) = &soak.failure {
        println!("                  the first failure: {failure}");
    }
    if verdict.refused > 0 {
        println!("REFUSED           {} messages of the pairs came back", verdict.refused);
    }
    let sentence = if verdict.is_within() { "nothing has grown" } else { "NOT as it should be" };
    println!("all together      {sentence}");
}

fn change_json(change: Change, bar: f64) -> Value {
    json!({ "first": change.first, "last": change.last, "bar": bar, "within": change.within })
}

fn sample_json(soak: &Soak, sample: &Sample) -> Value {
    let outcome = &sample.outcome;
    let latency: Map<String, Value> = QUANTILES
        .iter()
        .zip(outcome.latency_us)
        .map(|((_, name), us)| ((*name).to_owned(), json!(us)))
        .collect();
    let errors: Map<String, Value> = sample
        .look
        .errors_since(&soak.before)
        .into_iter()
        .map(|(name, more)| (name.to_owned(), json!(more)))
        .collect();
    json!({
        "at_s": sample.at_s,
        "delivered": outcome.delivered,
        "refused": outcome.refused,
        "messages_per_s": outcome.per_s(outcome.delivered),
        "latency_us": latency,
        "generator_late_p999_us": outcome.late_us,
        "server_busy": outcome.server_busy(),
        "load_busy": outcome.load_cpu_ns as f64 / outcome.elapsed_ns as f64,
        "anonymous_bytes": sample.look.resident.anonymous_bytes,
        "resident_bytes": sample.look.resident.all_bytes,
        "descriptors": sample.look.descriptors,
        "connections_closed": sample.look.closed,
        "visited": sample.churned.visited,
        "deserted": sample.churned.deserted,
        "failed": sample.churned.failed,
        "errors": errors,
    })
}

pub(super) fn print_json(plan: Plan, soak: &Soak) {
    let verdict = Verdict::of(soak);
    let [memory_bar, descriptors_bar, p999_bar] = Verdict::bars();
    let errors: Map<String, Value> =
        verdict.errors.iter().map(|(name, more)| ((*name).to_owned(), json!(more))).collect();
    let samples: Vec<Value> = soak.samples.iter().map(|it| sample_json(soak, it)).collect();
    let object = json!({
        "pairs": plan.shape.pairs,
        "bytes": plan.shape.class.cell_len(),
        "messages_per_s": plan.rate,
        "churn_per_s": plan.churn,
        "warm_up_s": plan.warm_up.as_secs_f64(),
        "every_s": plan.every.as_secs_f64(),
        "window_s": soak.windows.each.as_secs_f64(),
        "fifo": plan.fifo,
        "anonymous_bytes": change_json(verdict.memory, memory_bar),
        "bytes_per_connection": verdict.bytes_per_connection,
        "descriptors": change_json(verdict.descriptors, descriptors_bar),
        "descriptors_at_rest": change_json(verdict.at_rest, 0.0),
        "p999_us": change_json(verdict.p999, p999_bar),
        "errors": errors,
        "visited": soak.counts.visited,
        "deserted": soak.counts.deserted,
        "failed": soak.counts.failed,
        "failure": soak.failure,
        "refused": verdict.refused,
        "within": verdict.is_within(),
        "samples": samples,
    });
    println!("{object}");
}

/// The distributions of the two windows, and two plots over time.
pub(super) fn write(directory: &Directory, plan: Plan, soak: &Soak) -> Result<()> {
    directory.save("first.hgrm", &hgrm::text(&soak.first))?;
    directory.save("last.hgrm", &hgrm::text(&soak.last))?;
    let curve = |name: &'static str, value: &dyn Fn(&Sample) -> f64| {
        let points = soak.samples.iter().map(|sample| (sample.at_s, value(sample))).collect();
        Curve { name, points }
    };
    let Plan { shape, rate, churn, .. } = plan;
    let what = format!(
        "{} pairs, {} bytes, {rate} messages/s, churn of {churn}/s",
        shape.pairs,
        shape.class.cell_len()
    );
    let delivered = curve("messages", &|it| it.outcome.per_s(it.outcome.delivered));
    let title = format!("Throughput: {what}");
    let plot = over_time(&title, Measure::Number("/s"), &[delivered]);
    directory.save("throughput.svg", &plot)?;
    let percentiles: Vec<Curve<'_>> = QUANTILES
        .iter()
        .enumerate()
        .map(|(at, (_, name))| curve(name, &|it| it.outcome.latency_us[at]))
        .collect();
    let title = format!("Latency: {what}");
    directory.save("latency.svg", &over_time(&title, Measure::Microseconds, &percentiles))
}
