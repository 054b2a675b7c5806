//! What crossing costs, to a person and to a program.

use serde_json::{Map, Value, json};

use super::arrangement::Arrangement;
use super::{Round, Series};
use crate::load::Outcome;
use crate::report::{name_of, outcome_json};
use crate::statistics::{Spread, median};

impl Round {
    /// Which part of the cells crossed.
    fn crossing(&self) -> f64 {
        self.crossed as f64 / self.cells as f64
    }
}

impl Series {
    fn median_of(&self, value: impl Fn(&Round) -> f64) -> f64 {
        let values: Vec<f64> = self.rounds.iter().map(value).collect();
        median(&values).unwrap_or(f64::NAN)
    }

    fn costs(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| round.outcome.cpu_us_per_cell()).collect()
    }

    fn cost(&self) -> f64 {
        median(&self.costs()).unwrap_or(f64::NAN)
    }

    fn sum(&self, value: impl Fn(&Round) -> u64) -> u64 {
        self.rounds.iter().map(value).sum()
    }
}

/// What is made of one point.
struct Point<'a> {
    series: &'a [Series],
}

impl<'a> Point<'a> {
    fn of(&self, arrangement: Arrangement) -> Option<&'a Series> {
        self.series.iter().find(|series| series.arrangement == arrangement)
    }

    /// The cost of one arrangement in that of another: of the medians, and the least and the greatest of a round.
    fn ratio(&self, one: Arrangement, other: Arrangement) -> Option<Spread> {
        Spread::of_medians(&self.of(one)?.costs(), &self.of(other)?.costs())
    }

    /// What crossing adds to a cell, microseconds.
    fn crossing_us(&self) -> Option<f64> {
        Some(self.of(Arrangement::Cross)?.cost() - self.of(Arrangement::Same)?.cost())
    }

    /// What a cell should cost as it happens: as much of the way from `same` to `cross` as cells cross.
    fn random_expected_us(&self) -> Option<f64> {
        let random = self.of(Arrangement::Random)?;
        let share = random.median_of(Round::crossing);
        Some(self.of(Arrangement::Same)?.cost() + share * self.crossing_us()?)
    }
}

fn points(table: &[Series]) -> impl Iterator<Item = Point<'_>> {
    table.chunks(Arrangement::ALL.len()).map(|series| Point { series })
}

fn server_busy(outcome: &Outcome) -> f64 {
    outcome.server_cpu_ns as f64 / outcome.elapsed_ns as f64
}

fn load_busy(outcome: &Outcome) -> f64 {
    outcome.load_cpu_ns as f64 / outcome.elapsed_ns as f64
}

pub(super) fn print_table(table: &[Series]) {
    println!("CPU of the relay for one delivered cell, medians; two shards but for \"one shard\"");
    println!("busy: of one processor; relay and generator share all of them");
    println!();
    println!(
        "{:<20} {:<11} {:>9} {:>16} {:>9} {:>6} {:>6} {:>8} {:>9} {:>9}",
        "pairs x bytes x window",
        "pairs are",
        "us/cell",
        "least-greatest",
        "k cells/s",
        "busy",
        "load",
        "crossed",
        "mesh full",
        "refused"
    );
    for series in table {
        let costs = Spread::of(&series.costs()).unwrap_or(Spread::NONE);
        println!(
            "{:<22} {:<11} {:>7.3} {:>16} {:>9.1} {:>5.0}% {:>5.0}% {:>7.1}% {:>9} {:>9}",
            name_of(series.shape),
            series.arrangement.name(),
            costs.median,
            costs.range(3),
            series.median_of(|it| it.outcome.cells_per_s()) / 1_000.0,
            100.0 * series.median_of(|it| server_busy(&it.outcome)),
            100.0 * series.median_of(|it| load_busy(&it.outcome)),
            100.0 * series.median_of(Round::crossing),
            series.sum(|it| it.mesh_full),
            series.sum(|it| it.outcome.refused),
        );
    }
    println!();
    println!(
        "{:<22} {:>20} {:>20} {:>14} {:>22}",
        "", "cross / same", "same / one shard", "crossing adds", "random, and expected"
    );
    let text = |ratio: Option<Spread>| ratio.map(|it| it.to_string()).unwrap_or_default();
    for point in points(table) {
        let Some(random) = point.of(Arrangement::Random) else { continue };
        println!(
            "{:<22} {:>20} {:>20} {:>11.3} us {:>22}",
            name_of(random.shape),
            text(point.ratio(Arrangement::Cross, Arrangement::Same)),
            text(point.ratio(Arrangement::Same, Arrangement::OneShard)),
            point.crossing_us().unwrap_or(f64::NAN),
            format!(
                "{:.3} us, {:.3} us",
                random.cost(),
                point.random_expected_us().unwrap_or(f64::NAN)
            ),
        );
    }
}

pub(super) fn print_json(table: &[Series]) {
    let points: Vec<Value> = points(table).map(|point| point_json(&point)).collect();
    println!("{}", Value::Array(points));
}

fn point_json(point: &Point<'_>) -> Value {
    let shape = point.series.first().map(|series| series.shape);
    let of_all = |value: &dyn Fn(&Series) -> Value| -> Value {
        let all = point.series.iter().map(|it| (it.arrangement.key().to_owned(), value(it)));
        Value::Object(all.collect::<Map<_, _>>())
    };
    let ratio = |one, other| point.ratio(one, other);
    json!({
        "pairs": shape.map(|it| it.pairs),
        "bytes": shape.map(|it| it.class.cell_len()),
        "window": shape.map(|it| it.window),
        "cpu_us_per_cell": of_all(&|it| json!(it.cost())),
        "cells_per_s": of_all(&|it| json!(it.median_of(|round| round.outcome.cells_per_s()))),
        "server_busy": of_all(&|it| json!(it.median_of(|round| server_busy(&round.outcome)))),
        "load_busy": of_all(&|it| json!(it.median_of(|round| load_busy(&round.outcome)))),
        "crossed": of_all(&|it| json!(it.median_of(Round::crossing))),
        "mesh_full": of_all(&|it| json!(it.sum(|round| round.mesh_full))),
        "cross_to_same": ratio(Arrangement::Cross, Arrangement::Same),
        "same_to_one_shard": ratio(Arrangement::Same, Arrangement::OneShard),
        "random_to_one_shard": ratio(Arrangement::Random, Arrangement::OneShard),
        "crossing_us": point.crossing_us(),
        "random_expected_us": point.random_expected_us(),
        "rounds": of_all(&|it| {
            it.rounds.iter().map(|round| outcome_json(it.shape, &round.outcome)).collect()
        }),
    })
}
