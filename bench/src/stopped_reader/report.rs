//! What the two states come to.

use serde_json::{Value, json};

use super::{Plan, Slice, State, Total};
use crate::load::Outcome;
use crate::report::{name_of, outcome_json};
use crate::statistics::{Spread, median};

/// The bar: how far the throughput of the other pairs may change.
const CHANGE_BAR: f64 = 0.10;

/// Share of its processor that the relay should have used: below, the generator or other work on the
/// machine decided the throughput.
const BUSY_MIN: f64 = 0.90;

fn of(slices: &[Slice], state: State, value: impl Fn(&Slice) -> f64) -> Vec<f64> {
    slices.iter().filter(|slice| slice.state == state).map(value).collect()
}

fn throughput(slice: &Slice) -> f64 {
    slice.outcome.cells_per_s()
}

fn cost(slice: &Slice) -> f64 {
    slice.outcome.cpu_us_per_cell()
}

/// Stopped against reading, round by round, as other work on the machine comes and goes over minutes: the
/// median, the least and the greatest.
fn ratio(slices: &[Slice], value: fn(&Slice) -> f64) -> Option<Spread> {
    let reading = of(slices, State::Reading, value);
    let stopped = of(slices, State::Stopped, value);
    Spread::of_ratios(&stopped, &reading)
}

fn queue_bytes_most(slices: &[Slice]) -> u64 {
    slices.iter().map(|slice| slice.queue_bytes).max().unwrap_or(0)
}

fn is_within(ratio: f64) -> bool {
    (ratio - 1.0).abs() < CHANGE_BAR
}

pub(super) fn print_table(plan: Plan, slices: &[Slice], total: &Total) {
    println!(
        "Other pairs on the shard of a recipient that reads, and is stopped (SIGSTOP); medians"
    );
    println!("{} other pairs, {}", plan.shape.pairs, name_of(plan.shape));
    println!(
        "{} senders to the recipient, {} cells/s each, in both states",
        plan.senders, plan.pace
    );
    println!();
    println!(
        "{:<10} {:>10} {:>19} {:>9} {:>5} {:>9} {:>9} {:>11} {:>9}",
        "recipient",
        "cells/s",
        "least-greatest",
        "us/cell",
        "busy",
        "sent",
        "`busy`",
        "queue KiB",
        "RSS KiB"
    );
    for state in State::ALL {
        let rates = of(slices, state, throughput);
        let rates = Spread::of(&rates).unwrap_or(Spread::NONE);
        let middle =
            |value: fn(&Slice) -> f64| median(&of(slices, state, value)).unwrap_or(f64::NAN);
        let sum = |value: fn(&Slice) -> f64| of(slices, state, value).iter().sum::<f64>();
        let most = |value: fn(&Slice) -> f64| {
            Spread::of(&of(slices, state, value)).map_or(f64::NAN, |it| it.greatest / 1_024.0)
        };
        println!(
            "{:<10} {:>10.0} {:>19} {:>9.3} {:>4.0}% {:>9.0} {:>9.0} {:>11.0} {:>9.0}",
            state.name(),
            rates.median,
            rates.range(0),
            middle(cost),
            100.0 * middle(|it| server_busy(&it.outcome)),
            sum(|it| it.counts.sent as f64),
            sum(|it| it.counts.busy as f64),
            most(|it| it.queue_bytes as f64),
            most(|it| it.resident_bytes as f64)
        );
    }
    println!();
    if let Some(ratio) = ratio(slices, throughput) {
        let verdict = if is_within(ratio.median) { "within" } else { "NOT WITHIN" };
        let bar = 100.0 * CHANGE_BAR;
        println!("throughput, stopped / reading: {ratio:.3}, {verdict} {bar:.0} %");
    }
    let used = slices.iter().map(|slice| server_busy(&slice.outcome));
    let idle = used.filter(|&busy| busy < BUSY_MIN).count();
    if idle > 0 {
        let (all, bar) = (slices.len(), 100.0 * BUSY_MIN);
        println!(
            "the relay used less than {bar:.0} % of its processor in {idle} of {all} measurements:"
        );
        println!("it was not what limited the throughput there; quiet the machine");
    }
    if let Some(ratio) = ratio(slices, cost) {
        println!("cost of a cell, stopped / reading: {ratio:.3}");
    }
    let Total { queue_bytes_max, pool_bytes_high, counts, received } = *total;
    let most = queue_bytes_most(slices);
    let verdict = if most <= queue_bytes_max { "within" } else { "ABOVE" };
    println!("queue of the recipient: {most} bytes, {verdict} the bound of {queue_bytes_max}");
    println!("queues of all together: at most {pool_bytes_high} bytes");
    println!(
        "of {} cells sent to the recipient {received} arrived in order and {} came back as `busy`",
        counts.sent, counts.busy
    );
    let refused: u64 = slices.iter().map(|slice| slice.outcome.refused).sum();
    if refused > 0 {
        println!("{refused} cells of the other pairs were refused as undeliverable.");
    }
}

fn server_busy(outcome: &Outcome) -> f64 {
    outcome.server_cpu_ns as f64 / outcome.elapsed_ns as f64
}

pub(super) fn print_json(plan: Plan, slices: &[Slice], total: &Total) {
    let rows: Vec<Value> = slices
        .iter()
        .map(|slice| {
            json!({
                "state": slice.state.name(),
                "others": outcome_json(plan.shape, &slice.outcome),
                "sent": slice.counts.sent,
                "busy": slice.counts.busy,
                "queue_bytes": slice.queue_bytes,
                "resident_bytes": slice.resident_bytes,
            })
        })
        .collect();
    let states: serde_json::Map<String, Value> = State::ALL
        .into_iter()
        .map(|state| {
            let rates = of(slices, state, throughput);
            let object = json!({
                "cells_per_s": Spread::of(&rates),
                "cpu_us_per_cell": median(&of(slices, state, cost)),
            });
            (state.name().to_owned(), object)
        })
        .collect();
    let against = |value| ratio(slices, value);
    let within = ratio(slices, throughput).is_some_and(|it| is_within(it.median));
    let object = json!({
        "senders": plan.senders,
        "cells_per_s_of_a_sender": plan.pace,
        "change_bar": CHANGE_BAR,
        "ratio_of_throughput": against(throughput),
        "ratio_of_throughput_within": within,
        "ratio_of_cost": against(cost),
        "states": states,
        "queue_bytes_max": total.queue_bytes_max,
        "queue_bytes_most": queue_bytes_most(slices),
        "pool_bytes_high": total.pool_bytes_high,
        "sent": total.counts.sent,
        "busy": total.counts.busy,
        "received": total.received,
        "slices": rows,
    });
    println!("{object}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_either_direction_counts() {
        let check = |ratio, expect| assert_eq!(is_within(ratio), expect, "{ratio}");
        check(1.0, true);
        check(0.91, true);
        check(1.09, true);
        check(0.89, false);
        check(1.11, false);
        check(f64::NAN, false);
    }
}
