//! What the handshakes of both servers come to.

use serde_json::{Map, Value, json};

use super::{Contender, Outcome, Plan, Slice, Way};
use crate::statistics::{Spread, median};

/// The bar: full handshakes a second of the relay, in those of the bare server.
const RATIO_BAR: f64 = 0.80;

fn of(
    slices: &[Slice],
    way: Way,
    contender: Contender,
    value: impl Fn(&Outcome) -> f64,
) -> Vec<f64> {
    let wanted = slices.iter().filter(|it| it.way == way && it.contender == contender);
    wanted.map(|slice| value(&slice.outcome)).collect()
}

/// Handshakes a second of one core, relay in bare, round by round, as a machine is faster at some moments than at
/// others.
fn ratio(slices: &[Slice], way: Way) -> Option<Spread> {
    let rates = |contender| of(slices, way, contender, Outcome::of_one_core_per_s);
    let (relay, bare) = (rates(Contender::Relay), rates(Contender::Bare));
    Spread::of_ratios(&relay, &bare)
}

pub(super) fn print_table(plan: Plan, slices: &[Slice]) {
    println!("Connects, from TCP to WELCOME; medians of {} rounds", plan.rounds);
    println!(
        "{} at once of {} devices, TLS 1.3, X25519MLKEM768, the same ECDSA P-256 certificate",
        plan.at_once,
        plan.devices()
    );
    println!();
    println!(
        "{:<10} {:<7} {:>8} {:>15} {:>11} {:>10} {:>5} {:>10}",
        "handshake",
        "server",
        "us each",
        "least-greatest",
        "one core/s",
        "reached/s",
        "busy",
        "generator"
    );
    for way in Way::ALL {
        for contender in Contender::ALL {
            let all = |value: fn(&Outcome) -> f64| of(slices, way, contender, value);
            let middle = |value: fn(&Outcome) -> f64| median(&all(value)).unwrap_or(f64::NAN);
            let costs = Spread::of(&all(Outcome::cpu_us_each)).unwrap_or(Spread::NONE);
            println!(
                "{:<10} {:<7} {:>8.1} {:>15} {:>11.0} {:>10.0} {:>4.0}% {:>9.0}%",
                way.name(),
                contender.name(),
                costs.median,
                costs.range(1),
                middle(Outcome::of_one_core_per_s),
                middle(Outcome::reached_per_s),
                100.0 * middle(Outcome::server_busy),
                100.0 * middle(Outcome::load_busy)
            );
        }
    }
    println!();
    for way in Way::ALL {
        let Some(ratio) = ratio(slices, way) else { continue };
        let verdict = match way {
            Way::Full if ratio.median >= RATIO_BAR => format!(", within the bar of {RATIO_BAR}"),
            Way::Full => format!(", BELOW the bar of {RATIO_BAR}"),
            Way::Resumed => String::new(),
        };
        let name = way.name();
        println!("{name:<8} relay / bare, one core/s: {ratio}{verdict}");
    }
}

pub(super) fn print_json(plan: Plan, slices: &[Slice]) {
    let mut ways = Map::new();
    for way in Way::ALL {
        let mut object = Map::new();
        for contender in Contender::ALL {
            object.insert(contender.name().to_owned(), series_json(slices, way, contender));
        }
        object.insert("relay_to_bare".to_owned(), json!(ratio(slices, way)));
        ways.insert(way.name().to_owned(), Value::Object(object));
    }
    let within = ratio(slices, Way::Full).is_some_and(|ratio| ratio.median >= RATIO_BAR);
    let rounds: Vec<Value> = slices.iter().map(slice_json).collect();
    let object = json!({
        "at_once": plan.at_once,
        "devices": plan.devices(),
        "ratio_bar": RATIO_BAR,
        "full_within_bar": within,
        "handshakes": ways,
        "rounds": rounds,
    });
    println!("{object}");
}

fn series_json(slices: &[Slice], way: Way, contender: Contender) -> Value {
    let all = |value: fn(&Outcome) -> f64| of(slices, way, contender, value);
    let costs = all(Outcome::cpu_us_each);
    json!({
        "cpu_us_each": Spread::of(&costs),
        "one_core_per_s": median(&all(Outcome::of_one_core_per_s)),
        "reached_per_s": median(&all(Outcome::reached_per_s)),
        "server_busy": median(&all(Outcome::server_busy)),
        "load_busy": median(&all(Outcome::load_busy)),
    })
}

fn slice_json(slice: &Slice) -> Value {
    let Slice { way, contender, outcome } = slice;
    json!({
        "handshake": way.name(),
        "server": contender.name(),
        "handshakes": outcome.handshakes,
        "cpu_us_each": outcome.cpu_us_each(),
        "reached_per_s": outcome.reached_per_s(),
        "server_busy": outcome.server_busy(),
        "load_busy": outcome.load_busy(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(contender: Contender, handshakes: u64) -> Slice {
        let outcome = Outcome {
            handshakes,
            elapsed_ns: 1_000_000_000,
            server_cpu_ns: 1_000_000_000,
            load_cpu_ns: 0,
        };
        Slice { way: Way::Full, contender, outcome }
    }

    #[test]
    fn a_ratio_is_of_rates_and_has_its_spread_from_rounds() {
        let (bare, relay) = (Contender::Bare, Contender::Relay);
        // The order within a round does not matter.
        let slices =
            [(bare, 100), (relay, 90), (relay, 150), (bare, 300), (bare, 200), (relay, 160)];
        let slices = slices.map(|(contender, handshakes)| slice(contender, handshakes));
        let Spread { median, least, greatest } = ratio(&slices, Way::Full).unwrap();
        let close = |found: f64, expect: f64| assert!((found - expect).abs() < 1e-9, "{found}");
        close(median, 0.8);
        close(least, 0.5);
        close(greatest, 0.9);
        assert_eq!(ratio(&slices, Way::Resumed), None);
    }
}
