//! One cell from shard to shard: copied into a buffer, posted, taken, its buffer sent home.

mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput};
use hushwire_engine::{Config, ConnId, Engine, EngineLimits, Envelope, Origin, ShardId};
use hushwire_engine::{SourcePrefix, Time};
use hushwire_relay::measuring::{Neighbour, neighbours};
use hushwire_wire::cell::Class;
use hushwire_wire::id::{AccountId, DeviceId, RelayId};

/// Bytes of cells that may be on their way.
const BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Cells that a shard posts before the other one has its turn.
const TURN: u64 = 32;
const CLASSES: [Class; 3] = [Class::C0, Class::C4, Class::C7];

fn main() {
    let mut criterion = settings::criterion();
    one_thread(&mut criterion);
    two_threads(&mut criterion);
    criterion.final_summary();
}

/// Both ends in one thread, turn by turn: what the code costs, without the traffic between two caches.
fn one_thread(criterion: &mut Criterion) {
    let envelope = envelope();
    let mut group = criterion.benchmark_group("mesh/one thread");
    for class in CLASSES {
        let cell = vec![7; class.cell_len()];
        let [mut here, mut there] = neighbours(BYTES_MAX).expect("descriptors");
        group.throughput(Throughput::Bytes(TURN * class.cell_len() as u64));
        group.bench_function(BenchmarkId::new("32 hops", class.cell_len()), |b| {
            b.iter(|| {
                for _ in 0..TURN {
                    assert!(here.post(envelope, &cell), "there is room");
                }
                here.ring();
                while take(&mut there) {}
            });
        });
    }
    group.finish();
}

/// Another thread takes what comes. A full queue is waited for, so this is the pace of the slower end.
fn two_threads(criterion: &mut Criterion) {
    let envelope = envelope();
    let mut group = criterion.benchmark_group("mesh/two threads");
    for class in CLASSES {
        let cell = vec![7; class.cell_len()];
        let [mut here, mut there] = neighbours(BYTES_MAX).expect("descriptors");
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let taker = thread::spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                while take(&mut there) {}
                thread::yield_now();
            }
        });
        group.throughput(Throughput::Bytes(class.cell_len() as u64));
        group.bench_function(BenchmarkId::new("hop", class.cell_len()), |b| {
            b.iter(|| {
                while !here.post(envelope, &cell) {
                    thread::yield_now();
                }
            });
        });
        done.store(true, Ordering::Relaxed);
        taker.join().expect("the other thread takes cells until it is told to end");
    }
    group.finish();
}

/// Takes a cell and reads its header, as a shard does.
fn take(there: &mut Neighbour) -> bool {
    there.take(|envelope, cell| {
        std::hint::black_box((envelope.recipient, cell[0]));
    })
}

fn envelope() -> Envelope {
    let (conn, heard) = (connection(), Time::from_millis(1));
    Envelope {
        sender: DeviceId::new([1; 32]),
        sender_account: AccountId::new([2; 16]),
        recipient: DeviceId::new([3; 32]),
        class: Class::C0,
        urgent: false,
        origin: Origin { shard: ShardId(0), conn, lane: 0, counter: 0, heard },
    }
}

/// Only an engine names connections.
fn connection() -> ConnId {
    let mut engine = Engine::new(Config {
        shard: ShardId(0),
        shards: 1,
        home_key: [1; 16],
        table_key: [2; 16],
        relay: RelayId::new([3; 32]),
        region: String::new(),
        quic_ids: 0,
        limits: EngineLimits { connections_max: 1, ..EngineLimits::default() },
        seed: 4,
        unix_ms_at_zero: 0,
    });
    engine.handle_accept(SourcePrefix(1), Time::from_millis(1)).expect("room")
}
