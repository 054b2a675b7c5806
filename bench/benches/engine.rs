//! The engine's verdict on one cell, on a shard with many devices.

mod settings;

use criterion::Throughput;
use hushwire_bench::paths::verdict::{Recipient, Shard};

/// Devices of the shard. Their state is larger than a second-level cache.
const DEVICES: u32 = 4_096;

fn main() {
    let mut criterion = settings::criterion();
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    for (name, recipient) in [
        ("verdict/same recipient", Recipient::Same),
        ("verdict/another recipient", Recipient::Another),
        ("verdict/refused", Recipient::Closed),
        ("verdict/to another shard", Recipient::Elsewhere),
        ("verdict/from another shard", Recipient::Arrival),
    ] {
        group.bench_function(name, |b| {
            let mut shard = Shard::new(recipient, DEVICES);
            b.iter(|| shard.step());
        });
    }
    // What a cell costs may not depend on how many are connected.
    for devices in [200, 20_000] {
        group.bench_function(format!("verdict/same recipient/{devices} devices"), |b| {
            let mut shard = Shard::new(Recipient::Same, devices);
            b.iter(|| shard.step());
        });
    }
    group.finish();
    criterion.final_summary();
}
