//! The relay's TLS records by bucket: one cell sealed out of place into its output, one opened in place.

mod settings;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use hushwire_bench::paths::records::Records;
use hushwire_wire::cell::Class;

/// Bytes of records that are opened one behind the other: one receive of a shard.
const READ_BYTES: usize = 64 * 1024;

fn main() {
    let mut criterion = settings::criterion();
    seal(&mut criterion);
    open(&mut criterion);
    criterion.final_summary();
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for class in Class::ALL {
        let mut records = Records::new(class);
        group.throughput(Throughput::Bytes(class.cell_len() as u64));
        group.bench_function(BenchmarkId::new("seal", class.cell_len()), |b| {
            b.iter(|| records.seal());
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for class in Class::ALL {
        // Both closures have the same two ends: cells are sealed one read ahead of their opening.
        let records = std::cell::RefCell::new(Records::new(class));
        let batch = BatchSize::NumIterations((READ_BYTES / class.cell_len()) as u64);
        group.throughput(Throughput::Bytes(class.cell_len() as u64));
        group.bench_function(BenchmarkId::new("open", class.cell_len()), |b| {
            b.iter_batched_ref(
                || records.borrow_mut().sealed(),
                |bytes| records.borrow_mut().open(bytes),
                batch,
            );
        });
    }
    group.finish();
}
