//! The relay's TLS records by bucket: one cell sealed out of place into its output, one opened in place, and of the large ones, one
//! opened and sealed again where it stands.

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
    pass_on(&mut criterion);
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
    of_sealed(criterion, "open", &Class::ALL, Records::open);
}

fn pass_on(criterion: &mut Criterion) {
    of_sealed(criterion, "pass_on", &[Class::C6, Class::C7], Records::pass_on);
}

/// Times what is done with a cell as it arrives.
fn of_sealed(
    criterion: &mut Criterion,
    name: &str,
    classes: &[Class],
    take: fn(&mut Records, &mut [u8]) -> usize,
) {
    let mut group = criterion.benchmark_group("record");
    for class in classes {
        // Both closures have the same two ends: cells are sealed one read ahead of their opening.
        let records = std::cell::RefCell::new(Records::new(*class));
        let batch = BatchSize::NumIterations((READ_BYTES / class.cell_len()) as u64);
        group.throughput(Throughput::Bytes(class.cell_len() as u64));
        group.bench_function(BenchmarkId::new(name, class.cell_len()), |b| {
            b.iter_batched_ref(
                || records.borrow_mut().sealed(),
                |bytes| take(&mut records.borrow_mut(), bytes),
                batch,
            );
        });
    }
    group.finish();
}
