//! What a comparison says to a person, and to a program.

use serde_json::{Map, Value, json};

use super::{Series, at, best, find, ratio};
use crate::contender::{Group, Kind};
use crate::load::{Outcome, Shape};
use crate::report::{name_of, outcome_json};
use crate::statistics::Spread;

/// The bar: what the relay may cost, in floors.
const FLOOR_BAR: f64 = 1.25;
/// The bar: what the relay may cost, in the best peer.
const PEER_BAR: f64 = 0.5;
/// The same where every message is a wake of its own, which costs everyone what the kernel takes for it.
const PEER_BAR_AT_WINDOW_1: f64 = 0.6;

/// The bar: what the floor may cost, in the best baseline.
const BASELINE_BAR: f64 = 1.0;
/// The bar: what the relay by QUIC may cost, in quinn's forwarder.
const QUINN_BAR: f64 = 0.8;
/// Differences below this share are noise.
const NOISE: f64 = 0.1;

const fn peer_bar(shape: Shape) -> f64 {
    if shape.window == 1 { PEER_BAR_AT_WINDOW_1 } else { PEER_BAR }
}

/// A ratio with the verdict of its bar.
fn judged(ratio: Spread, bar: f64) -> String {
    let verdict = if ratio.median <= bar { "within" } else { "ABOVE" };
    format!("{ratio} {verdict} {bar}")
}

fn with_bar(ratio: Spread, bar: f64) -> Value {
    let Spread { median, least, greatest } = ratio;
    json!({ "median": median, "least": least, "greatest": greatest, "bar": bar })
}

pub(super) fn print_table(table: &[Series], shapes: &[Shape], congestion_control: &str) {
    println!("CPU of the server for one delivered cell, medians; latency of the closed loop");
    println!("TCP by {congestion_control}");
    if congestion_control == "bbr" {
        println!(
            "It paces by timers, at everybody's cost; sysctl net.ipv4.tcp_congestion_control=cubic would leave them out"
        );
    }
    println!();
    println!(
        "{:<24} {:<10} {:>9} {:>16} {:>9} {:>5} {:>9} {:>9} {:>9}  {:<26}  {:<}",
        "pairs x bytes x window",
        "server",
        "us/cell",
        "least-greatest",
        "k cells/s",
        "busy",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "relay / floor",
        "relay / best peer"
    );
    for &shape in shapes {
        for series in at(table, shape) {
            print_row(table, series);
        }
    }
    print_baselines(table, shapes);
    print_quic(table, shapes);
    let refused: u64 =
        table.iter().flat_map(|series| &series.outcomes).map(|outcome| outcome.refused).sum();
    if refused > 0 {
        println!("\n{refused} cells were refused as undeliverable and sent again as others.");
    }
}

/// Whether the ring is worth having.
fn print_baselines(table: &[Series], shapes: &[Shape]) {
    let mut heading = Some("floor / best baseline");
    for &shape in shapes {
        let floor = find(table, Kind::Floor, shape);
        let Some((floor, best)) = floor.zip(best(table, Group::Baseline, shape)) else { continue };
        let Some(ratio) = ratio(floor, best) else { continue };
        if let Some(heading) = heading.take() {
            println!("\n{:<24} {:<11} {heading}", "pairs x bytes x window", "best");
        }
        let verdict = judged(ratio, BASELINE_BAR + NOISE);
        println!("{:<24} {:<11} {verdict}", name_of(shape), best.kind.name());
    }
}

/// What QUIC costs, with fills and without, and whether the relay's own loop around quinn-proto is worth having.
fn print_quic(table: &[Series], shapes: &[Shape]) {
    let mut heading = Some(["to relay", "to floor-quic", "to quinn"]);
    for &shape in shapes {
        for kind in [Kind::RelayQuic, Kind::RelayQuicBare] {
            let Some(quic) = find(table, kind, shape) else { continue };
            let against = |kind| find(table, kind, shape).and_then(|other| ratio(quic, other));
            let start = |shape: &str, kind: &str| format!("{shape:<24} {kind:<15}");
            if let Some([relay, floor, quinn]) = heading.take() {
                let start = start("pairs x bytes x window", "");
                println!("\n{start} {relay:<26}  {floor:<26}  {quinn}");
            }
            let to_relay = against(Kind::Relay).map(|it| it.to_string()).unwrap_or_default();
            let to_floor = against(Kind::FloorQuic).map(|it| it.to_string()).unwrap_or_default();
            let to_quinn = against(Kind::Quinn).map(|it| judged(it, QUINN_BAR)).unwrap_or_default();
            let start = start(&name_of(shape), kind.name());
            println!("{start} {to_relay:<26}  {to_floor:<26}  {to_quinn}");
        }
    }
}

fn print_row(table: &[Series], series: &Series) {
    let shape = series.shape;
    let start = format!("{:<24} {:<10}", name_of(shape), series.kind.name());
    if let Some(problem) = &series.failed {
        println!("{start} failed: {problem}");
        return;
    }
    let (mut to_floor, mut to_peer) = (String::new(), String::new());
    if series.kind == Kind::Relay {
        let floor = find(table, Kind::Floor, shape);
        if let Some(ratio) = floor.and_then(|floor| ratio(series, floor)) {
            to_floor = judged(ratio, FLOOR_BAR);
        }
        if let Some(best) = best(table, Group::Peer, shape)
            && let Some(ratio) = ratio(series, best)
        {
            to_peer = format!("{} {}", judged(ratio, peer_bar(shape)), best.kind.name());
        }
    }
    let costs = Spread::of(&series.costs()).unwrap_or(Spread::NONE);
    let [p50, p99, p999] = series.latency_us();
    let row = format!(
        "{start} {:>9.3} {:>16} {:>9.1} {:>4.0}% {:>9.0} {:>9.0} {:>9.0}  {to_floor:<26}  {to_peer}",
        costs.median,
        costs.range(3),
        series.median_of(Outcome::cells_per_s) / 1_000.0,
        100.0 * series.busy(),
        p50,
        p99,
        p999,
    );
    println!("{}", row.trim_end());
}

pub(super) fn print_json(table: &[Series], shapes: &[Shape], congestion_control: &str) {
    let mut points: Vec<Value> = shapes.iter().map(|&shape| point(table, shape)).collect();
    for point in &mut points {
        point["tcp_congestion_control"] = congestion_control.into();
    }
    println!("{}", Value::Array(points));
}

/// Everything about one point; who was not measured there is left out.
fn point(table: &[Series], shape: Shape) -> Value {
    let of_all = |value: &dyn Fn(&Series) -> Value| -> Value {
        let measured = at(table, shape).filter(|series| series.is_measured());
        let values: Map<_, _> = measured.map(|it| (it.kind.key(), value(it))).collect();
        Value::Object(values)
    };
    let failed: Map<_, _> = at(table, shape)
        .filter_map(|it| Some((it.kind.key(), Value::from(it.failed.clone()?))))
        .collect();
    let relay = find(table, Kind::Relay, shape);
    let floor = find(table, Kind::Floor, shape);
    let against = |one: Option<&Series>, other: Option<&Series>, bar| -> Value {
        let ratio = one.zip(other).and_then(|(one, other)| ratio(one, other));
        ratio.map_or(Value::Null, |ratio| with_bar(ratio, bar))
    };
    let (quic, quinn) = (find(table, Kind::RelayQuic, shape), find(table, Kind::Quinn, shape));
    let quic_to_floor = quic.zip(find(table, Kind::FloorQuic, shape));
    let quic_to_floor = quic_to_floor.and_then(|(quic, floor)| ratio(quic, floor));
    let bare = find(table, Kind::RelayQuicBare, shape);
    let quic_to_bare = quic.zip(bare).and_then(|(quic, bare)| ratio(quic, bare));
    let quic_to_relay = quic.zip(relay).and_then(|(quic, relay)| ratio(quic, relay));
    let peer = best(table, Group::Peer, shape);
    let baseline = best(table, Group::Baseline, shape);
    json!({
        "pairs": shape.pairs,
        "bytes": shape.class.cell_len(),
        "window": shape.window,
        "one_write_per_cell": shape.one_write_per_cell,
        "cpu_us_per_message": of_all(&|it| json!(it.median_cost())),
        "p50_us": of_all(&|it| json!(it.latency_us()[0])),
        "p99_us": of_all(&|it| json!(it.latency_us()[1])),
        "p999_us": of_all(&|it| json!(it.latency_us()[2])),
        "server_busy": of_all(&|it| json!(it.busy())),
        "jain": of_all(&|it| {
            let jain = |outcome: &Outcome| outcome.fairness().map_or(f64::NAN, |it| it.jain);
            json!(it.median_of(jain))
        }),
        "relay_to_floor": against(relay, floor, FLOOR_BAR),
        "best_baseline": baseline.map(|best| best.kind.key()),
        "floor_to_best_baseline": against(floor, baseline, BASELINE_BAR),
        "best_peer": peer.map(|best| best.kind.key()),
        "relay_to_best_peer": against(relay, peer, peer_bar(shape)),
        "relay_quic_to_relay": quic_to_relay,
        "relay_quic_to_floor_quic": quic_to_floor,
        "relay_quic_to_bare": quic_to_bare,
        "relay_quic_to_quinn": against(quic, quinn, QUINN_BAR),
        "relay_quic_bare_to_quinn": against(bare, quinn, QUINN_BAR),
        "failed": failed,
        "rounds": of_all(&|it| {
            it.outcomes.iter().map(|outcome| outcome_json(shape, outcome)).collect()
        }),
    })
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::peers::Peer;
    use crate::points::POINTS;

    /// A server that took so many microseconds for a message in each round.
    fn series(kind: Kind, shape: Shape, costs: &[u64]) -> Series {
        let outcome = |&cost: &u64| Outcome {
            delivered: 1_000,
            bytes: 256_000,
            refused: 0,
            elapsed_ns: 1_000_000_000,
            server_cpu_ns: cost * 1_000 * 1_000,
            load_cpu_ns: 0,
            latency: Histogram::new(3).unwrap(),
            late: Histogram::new(3).unwrap(),
            by_pair: vec![400, 400, 200],
        };
        let outcomes = costs.iter().map(outcome).collect();
        Series { kind, shape, outcomes, failed: None }
    }

    #[test]
    fn a_point_holds_the_relay_against_the_floor_and_the_best_peer() {
        let [one, many, ..] = POINTS;
        let mut table = vec![
            series(Kind::Floor, one, &[8, 8, 8]),
            series(Kind::Relay, one, &[10, 8, 12]),
            series(Kind::Peer(Peer::Nats), one, &[20, 20, 20]),
            series(Kind::Peer(Peer::IrohRelay), one, &[30, 16, 16]),
            series(Kind::Peer(Peer::Redis), one, &[1]),
            series(Kind::Floor, many, &[1]),
        ];
        table[4].failed = Some("lost".to_owned());
        let said = point(&table, one);
        assert_eq!(
            said["cpu_us_per_message"],
            json!({ "floor": 8.0, "relay": 10.0, "nats": 20.0, "iroh_relay": 16.0 })
        );
        assert_eq!(
            said["relay_to_floor"],
            json!({ "median": 1.25, "least": 1.0, "greatest": 1.5, "bar": 1.25 })
        );
        assert_eq!(said["best_peer"], "iroh_relay");
        assert_eq!(
            said["relay_to_best_peer"],
            json!({ "median": 0.625, "least": 10.0 / 30.0, "greatest": 0.75, "bar": 0.6 })
        );
        assert_eq!(said["failed"], json!({ "redis": "lost" }));
        let jain = said["jain"]["relay"].as_f64().unwrap();
        assert!((jain - 25.0 / 27.0).abs() < 1e-9, "{said}");
        assert_eq!(said["rounds"]["relay"][0]["per_pair"]["least"], 200);
        assert_eq!(said["rounds"]["relay"].as_array().unwrap().len(), 3);
        let said = point(&table, many);
        assert_eq!(said["cpu_us_per_message"], json!({ "floor": 1.0 }));
        assert!(said["relay_to_floor"].is_null() && said["relay_to_best_peer"].is_null());
        assert_eq!(peer_bar(many), 0.5);
    }

    #[test]
    fn verdicts() {
        let text = |median| judged(Spread { median, least: 0.4, greatest: 0.7 }, 0.5);
        assert_eq!(text(0.5), "0.50 (0.40-0.70) within 0.5");
        assert_eq!(text(0.51), "0.51 (0.40-0.70) ABOVE 0.5");
    }
}
