//! What the transfers come to.

use serde_json::json;

use super::{Outcome, Piped, Plan, Transfer, Way};
use crate::ends::Each;
use crate::statistics::Spread;

/// The bar: the throughput of the whole path in that of OpenSSL's one hop.
const RATIO_BAR: f64 = 0.5;

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

pub(super) fn mib_per_s(bytes: u64, elapsed_ns: u64) -> f64 {
    bytes as f64 / MIB / (elapsed_ns as f64 / 1e9)
}

/// Seconds of processor time for a GiB.
fn s_per_gib(bytes: u64, cpu_ns: u64) -> f64 {
    cpu_ns as f64 / 1e9 / (bytes as f64 / GIB)
}

/// A middle with its spread; not a number of nothing.
fn row(values: &[f64]) -> Spread {
    Spread::of(values).unwrap_or(Spread::NONE)
}

fn of(outcome: &Outcome, way: Way) -> impl Iterator<Item = &Transfer> {
    outcome.transfers.iter().filter(move |it| it.way == way)
}

/// Hushwire in OpenSSL, round by round, as other work on the machine comes and goes over minutes.
fn ratios(outcome: &Outcome, way: Way) -> Vec<f64> {
    let pairs = of(outcome, way).zip(&outcome.piped);
    pairs.map(|(ours, theirs)| theirs.elapsed_ns as f64 / ours.elapsed_ns as f64).collect()
}

fn median_cpu(plan: &Plan, outcome: &Outcome, way: Way) -> Each<f64> {
    let middle = |which: fn(&Transfer) -> u64| {
        let each: Vec<_> = of(outcome, way).map(|it| s_per_gib(plan.bytes, which(it))).collect();
        row(&each).median
    };
    Each {
        sender: middle(|it| it.cpu_ns.sender),
        relay: middle(|it| it.cpu_ns.relay),
        receiver: middle(|it| it.cpu_ns.receiver),
    }
}

fn median_piped(plan: &Plan, outcome: &Outcome, which: fn(&Piped) -> u64) -> f64 {
    let each: Vec<_> = outcome.piped.iter().map(|it| s_per_gib(plan.bytes, which(it))).collect();
    row(&each).median
}

fn rates(plan: &Plan, elapsed_ns: impl Iterator<Item = u64>) -> Spread {
    row(&elapsed_ns.map(|ns| mib_per_s(plan.bytes, ns)).collect::<Vec<_>>())
}

pub(super) fn print_table(plan: &Plan, outcome: &Outcome) {
    let cpus: Vec<_> = plan.cpus.iter().map(usize::to_string).collect();
    println!(
        "A file of {:.0} MiB by {}, {} rounds; every process on processors {}; medians",
        plan.bytes as f64 / MIB,
        plan.transport,
        plan.rounds,
        cpus.join(" and ")
    );
    println!();
    println!(
        "{:<10} {:>7} {:>15}   {:<26} peak resident MiB",
        "", "MiB/s", "least-greatest", "processor s/GiB"
    );
    let line = |name: &str, rates: Spread, cpu: String, peak: String| {
        let (middle, range) = (rates.median, rates.range(0));
        println!("{name:<10} {middle:>7.0} {range:>15}   {cpu:<26} {peak}");
    };
    if !outcome.piped.is_empty() {
        let client = median_piped(plan, outcome, |it| it.client_cpu_ns);
        let server = median_piped(plan, outcome, |it| it.server_cpu_ns);
        let peak = |which: fn(&Piped) -> u64| {
            outcome.piped.iter().map(which).max().unwrap_or(0) as f64 / MIB
        };
        line(
            "openssl",
            rates(plan, outcome.piped.iter().map(|it| it.elapsed_ns)),
            format!("{client:.2} + {server:.2} = {:.2}", client + server),
            format!(
                "{:.1} + {:.1}",
                peak(|it| it.client_peak_bytes),
                peak(|it| it.server_peak_bytes)
            ),
        );
    }
    let peak = outcome.peak_bytes.map(|peak| peak.map(|bytes| bytes as f64 / MIB));
    let peak = peak.map_or_else(String::new, |it| {
        format!("{:.1} + {:.1} + {:.1}", it.sender, it.relay, it.receiver)
    });
    for way in [Way::File, Way::Stream] {
        let Each { sender, relay, receiver } = median_cpu(plan, outcome, way);
        line(
            way.name(),
            rates(plan, of(outcome, way).map(|it| it.elapsed_ns)),
            format!("{sender:.2} + {relay:.2} + {receiver:.2} = {:.2}", sender + relay + receiver),
            peak.clone(),
        );
    }
    println!();
    println!("processor time and memory: client + server; sender + relay + receiver");
    if !outcome.piped.is_empty() {
        for way in [Way::File, Way::Stream] {
            let ratio = row(&ratios(outcome, way));
            let verdict = if ratio.median >= RATIO_BAR { "meets" } else { "MISSES" };
            println!("{} / openssl: {ratio}, {verdict} the bar of {RATIO_BAR}", way.name());
        }
    }
}

pub(super) fn print_json(plan: &Plan, outcome: &Outcome) {
    let each =
        |it: Each<f64>| json!({ "sender": it.sender, "relay": it.relay, "receiver": it.receiver });
    let peak = outcome
        .peak_bytes
        .map(|it| json!({ "sender": it.sender, "relay": it.relay, "receiver": it.receiver }));
    let openssl = (!outcome.piped.is_empty()).then(|| {
        let most = |which: fn(&Piped) -> u64| outcome.piped.iter().map(which).max();
        json!({
            "mib_per_s": rates(plan, outcome.piped.iter().map(|it| it.elapsed_ns)),
            "cpu_s_per_gib": {
                "client": median_piped(plan, outcome, |it| it.client_cpu_ns),
                "server": median_piped(plan, outcome, |it| it.server_cpu_ns),
            },
            "peak_resident_bytes": {
                "client": most(|it| it.client_peak_bytes),
                "server": most(|it| it.server_peak_bytes),
            },
        })
    });
    let of_way = |way: Way| {
        let ratio = Spread::of(&ratios(outcome, way));
        json!({
            "mib_per_s": rates(plan, of(outcome, way).map(|it| it.elapsed_ns)),
            "cpu_s_per_gib": each(median_cpu(plan, outcome, way)),
            "ratio_to_openssl": ratio,
        })
    };
    let object = json!({
        "bytes": plan.bytes,
        "transport": plan.transport.to_string(),
        "rounds": plan.rounds,
        "cpus": plan.cpus,
        "openssl": openssl,
        "file": of_way(Way::File),
        "stream": of_way(Way::Stream),
        "peak_resident_bytes": peak,
        "ratio_bar": RATIO_BAR,
    });
    println!("{object}");
}
