//! What a cell costs with few devices and with many.

use serde_json::{Map, Value, json};

use super::{Crowding, Plan, Slice};
use crate::load::{Outcome, Shape};
use crate::report::{name_of, outcome_json};
use crate::statistics::{Spread, median};

/// The bar: the cost with many in that with few.
const RATIO_BAR: f64 = 1.3;

/// Share of its processor that the relay should have used: batches are smaller below, and a cell costs more.
const BUSY_MIN: f64 = 0.90;

fn of(slices: &[Slice], shape: Shape, crowding: Crowding, value: fn(&Outcome) -> f64) -> Vec<f64> {
    let wanted = slices.iter().filter(|it| it.shape == shape && it.crowding == crowding);
    wanted.map(|slice| value(&slice.outcome)).collect()
}

/// Many in few: of the medians, and the least and greatest of single rounds.
fn ratio(slices: &[Slice], shape: Shape) -> Option<Spread> {
    let costs = |crowding| of(slices, shape, crowding, Outcome::cpu_us_per_cell);
    let (few, many) = (costs(Crowding::Few), costs(Crowding::Many));
    Spread::of_medians(&many, &few)
}

fn server_busy(outcome: &Outcome) -> f64 {
    outcome.server_cpu_ns as f64 / outcome.elapsed_ns as f64
}

fn connected(plan: &Plan, crowding: Crowding) -> usize {
    match crowding {
        Crowding::Few => plan.active,
        Crowding::Many => plan.connected,
    }
}

pub(super) fn print_table(plan: &Plan, slices: &[Slice]) {
    println!(
        "Cost of a cell with few devices connected and with many, {} of them active; medians of {} rounds",
        plan.active, plan.rounds
    );
    println!();
    println!(
        "{:<22} {:>10} {:>9} {:>15} {:>5} {:>10}",
        "pairs x bytes x window", "connected", "us/cell", "least-greatest", "busy", "cells/s"
    );
    for &shape in &plan.shapes {
        for crowding in Crowding::ALL {
            let all = |value: fn(&Outcome) -> f64| of(slices, shape, crowding, value);
            let middle = |value: fn(&Outcome) -> f64| median(&all(value)).unwrap_or(f64::NAN);
            let costs = Spread::of(&all(Outcome::cpu_us_per_cell)).unwrap_or(Spread::NONE);
            println!(
                "{:<22} {:>10} {:>9.3} {:>15} {:>4.0}% {:>10.0}",
                name_of(shape),
                connected(plan, crowding),
                costs.median,
                costs.range(3),
                100.0 * middle(server_busy),
                middle(Outcome::cells_per_s)
            );
        }
    }
    println!();
    for &shape in &plan.shapes {
        let Some(ratio) = ratio(slices, shape) else { continue };
        let verdict = if ratio.median <= RATIO_BAR { "within" } else { "ABOVE" };
        let name = name_of(shape);
        println!("{name:<22} many / few {ratio}, {verdict} the bar of {RATIO_BAR}");
    }
    let idle = slices.iter().filter(|slice| server_busy(&slice.outcome) < BUSY_MIN).count();
    if idle > 0 {
        let (all, bar) = (slices.len(), 100.0 * BUSY_MIN);
        println!(
            "the relay used less than {bar:.0} % of its processor in {idle} of {all} measurements:"
        );
        println!("compare only what was equally busy");
    }
}

pub(super) fn print_json(plan: &Plan, slices: &[Slice]) {
    let points: Vec<Value> = plan.shapes.iter().map(|&shape| point_json(slices, shape)).collect();
    let rounds: Vec<Value> = slices
        .iter()
        .map(|slice| {
            json!({
                "connected": connected(plan, slice.crowding),
                "active": outcome_json(slice.shape, &slice.outcome),
            })
        })
        .collect();
    let object = json!({
        "connected_few": plan.active,
        "connected_many": plan.connected,
        "transport": plan.transport.to_string(),
        "crowd": plan.crowd.to_string(),
        "ratio_bar": RATIO_BAR,
        "points": points,
        "rounds": rounds,
    });
    println!("{object}");
}

fn point_json(slices: &[Slice], shape: Shape) -> Value {
    let series: Map<String, Value> = Crowding::ALL
        .into_iter()
        .map(|crowding| {
            let costs = of(slices, shape, crowding, Outcome::cpu_us_per_cell);
            let busy = median(&of(slices, shape, crowding, server_busy));
            let value = json!({
                "cpu_us_per_cell": Spread::of(&costs),
                "server_busy": busy,
            });
            (crowding.name().to_owned(), value)
        })
        .collect();
    let ratio = ratio(slices, shape);
    json!({
        "pairs": shape.pairs,
        "bytes": shape.class.cell_len(),
        "window": shape.window,
        "cost": series,
        "many_to_few": ratio,
        "within_bar": ratio.is_some_and(|ratio| ratio.median <= RATIO_BAR),
    })
}
