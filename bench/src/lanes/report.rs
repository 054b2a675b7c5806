//! What the two states come to.

use serde_json::{Map, Value, json};

use super::{Plan, Slice};
use crate::statistics::Spread;
use crate::stopped_reader::State;

/// The bar: how far throughput and p99 of the other lanes may change.
const CHANGE_BAR: f64 = 0.10;

/// One figure of a slice.
type Measure = fn(&Slice) -> f64;

fn of(slices: &[Slice], state: State, value: Measure) -> Vec<f64> {
    slices.iter().filter(|slice| slice.state == state).map(value).collect()
}

/// Stopped against reading, round by round.
fn ratio(slices: &[Slice], value: Measure) -> Option<Spread> {
    Spread::of_ratios(&of(slices, State::Stopped, value), &of(slices, State::Reading, value))
}

/// What is held against the bar.
const JUDGED: [(&str, Measure); 2] =
    [("throughput", |slice| slice.cells_per_s), ("p99", |slice| slice.p99_us)];

/// Faster is no change to complain of.
fn is_within(name: &str, ratio: f64) -> bool {
    if name == "p99" { ratio < 1.0 + CHANGE_BAR } else { ratio > 1.0 - CHANGE_BAR }
}

pub(super) fn print_table(plan: Plan, slices: &[Slice]) {
    println!(
        "Seven lanes of one device by QUIC, while the recipient on its eighth reads and while it does not; medians"
    );
    println!(
        "cells of {} bytes, window {}; {} a second on the eighth lane in both states",
        plan.class.cell_len(),
        plan.window,
        plan.pace
    );
    println!();
    println!(
        "{:<8} {:>10} {:>17} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "lane 0", "cells/s", "least-greatest", "p50 us", "p99 us", "us/cell", "sent", "`busy`"
    );
    for state in State::ALL {
        let middle = |value| Spread::of(&of(slices, state, value)).unwrap_or(Spread::NONE);
        let rates = middle(|slice| slice.cells_per_s);
        let sum = |value| of(slices, state, value).iter().sum::<f64>();
        println!(
            "{:<8} {:>10.0} {:>17} {:>8.0} {:>8.0} {:>9.2} {:>9.0} {:>9.0}",
            state.name(),
            rates.median,
            rates.range(0),
            middle(|slice| slice.p50_us).median,
            middle(|slice| slice.p99_us).median,
            middle(|slice| slice.cpu_us_per_cell).median,
            sum(|slice| slice.paced as f64),
            sum(|slice| slice.busy as f64)
        );
    }
    println!();
    for (name, value) in JUDGED {
        let Some(ratio) = ratio(slices, value) else { continue };
        let verdict = if is_within(name, ratio.median) { "within" } else { "NOT WITHIN" };
        println!("{name}, stopped / reading: {ratio}, {verdict} {:.0} %", 100.0 * CHANGE_BAR);
    }
}

pub(super) fn print_json(plan: Plan, slices: &[Slice]) {
    let rows: Vec<Value> = slices
        .iter()
        .map(|slice| {
            json!({
                "state": slice.state.name(),
                "cells_per_s": slice.cells_per_s,
                "p50_us": slice.p50_us,
                "p99_us": slice.p99_us,
                "cpu_us_per_cell": slice.cpu_us_per_cell,
                "sent": slice.paced,
                "busy": slice.busy,
            })
        })
        .collect();
    let ratios: Map<String, Value> = JUDGED
        .into_iter()
        .map(|(name, value)| {
            let ratio = ratio(slices, value);
            let within = ratio.is_some_and(|it| is_within(name, it.median));
            (name.to_owned(), json!({ "ratio": ratio, "within": within }))
        })
        .collect();
    let object = json!({
        "bytes": plan.class.cell_len(),
        "window": plan.window,
        "cells_per_s_on_lane_0": plan.pace,
        "change_bar": CHANGE_BAR,
        "stopped_to_reading": ratios,
        "slices": rows,
    });
    println!("{object}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_for_the_worse_counts() {
        let check = |name, ratio, expect| assert_eq!(is_within(name, ratio), expect, "{ratio}");
        check("p99", 1.09, true);
        check("p99", 0.5, true);
        check("p99", 1.11, false);
        check("throughput", 0.91, true);
        check("throughput", 1.5, true);
        check("throughput", 0.89, false);
        check("throughput", f64::NAN, false);
    }
}
