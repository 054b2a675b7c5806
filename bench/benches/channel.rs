//! The endpoint's secure channel by suite and bucket: one DATA frame written and sealed, and opened.

mod settings;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use hushwire::suite::Suite;
use hushwire_bench::paths::channel::Channel;
use hushwire_wire::cell::Class;

/// The two AEADs; the third suite differs in its handshake alone.
const SUITES: [(&str, Suite); 2] =
    [("aes-256-gcm", Suite::HybridAes), ("chacha20-poly1305", Suite::HybridChaCha)];
/// Bytes of cells that are opened one behind the other.
const READ_BYTES: usize = 64 * 1024;

fn main() {
    let mut criterion = settings::criterion();
    for (name, suite) in SUITES {
        seal(&mut criterion, name, suite);
        open(&mut criterion, name, suite);
    }
    criterion.final_summary();
}

fn seal(criterion: &mut Criterion, name: &str, suite: Suite) {
    let mut group = criterion.benchmark_group(format!("channel/{name}"));
    for class in Class::ALL {
        let mut channel = Channel::new(suite, class);
        group.throughput(Throughput::Bytes(class.cell_len() as u64));
        group.bench_function(BenchmarkId::new("seal", class.cell_len()), |b| {
            b.iter(|| channel.seal().len());
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion, name: &str, suite: Suite) {
    let mut group = criterion.benchmark_group(format!("channel/{name}"));
    for class in Class::ALL {
        // Both closures have the same two ends.
        let channel = std::cell::RefCell::new(Channel::new(suite, class));
        let batch = BatchSize::NumIterations((READ_BYTES / class.cell_len()) as u64);
        group.throughput(Throughput::Bytes(class.cell_len() as u64));
        group.bench_function(BenchmarkId::new("open", class.cell_len()), |b| {
            b.iter_batched_ref(
                || channel.borrow_mut().seal().to_vec(),
                |body| channel.borrow_mut().open(body),
                batch,
            );
        });
    }
    group.finish();
}
