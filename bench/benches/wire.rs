//! Bytes to types and back: headers, control messages, padding.

mod settings;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, readdress};
use hushwire_wire::control::{Control, CoverMode, Hello, Undelivered, disclose, enclose};
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::VERSION;
use hushwire_wire::padding::{FRAME_OVERHEAD, class_for, padme};

const DEVICE: DeviceId = DeviceId::new([5; 32]);

fn main() {
    let mut criterion = settings::criterion();
    headers(&mut criterion);
    controls(&mut criterion);
    padding(&mut criterion);
    criterion.final_summary();
}

fn headers(criterion: &mut Criterion) {
    let header = Header::unicast(Class::C0, 3, 7, DEVICE);
    let bytes = header.encode();
    let mut cell = [0; Class::C0.cell_len()];
    let mut group = criterion.benchmark_group("cell");
    group.throughput(Throughput::Bytes(HEADER_LEN as u64));
    group.bench_function("encode", |b| b.iter(|| black_box(&header).encode()));
    group.bench_function("decode", |b| b.iter(|| Header::decode(black_box(&bytes))));
    group.bench_function("readdress", |b| {
        b.iter(|| readdress(black_box(&mut cell), black_box(&DEVICE)));
    });
    group.finish();
}

/// The longest message that a device sends, and the most frequent one that it gets.
fn controls(criterion: &mut Criterion) {
    let hello = Control::Hello(Hello {
        version: VERSION,
        device: DEVICE,
        proof: [6; 64],
        token: Some(vec![7; 16]),
        name: Some("the laptop in the study".into()),
        cover: CoverMode::Off,
        software: "hushwire 0.1.0".into(),
    });
    let undeliverable =
        Control::Undeliverable { lane: 3, counter: 1 << 40, reason: Undelivered::Offline };
    for (name, message) in [("hello", hello), ("undeliverable", undeliverable)] {
        let content = message.encode();
        let cell = enclose(&content).expect("a small message");
        let mut group = criterion.benchmark_group("control");
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_function(format!("{name}/encode"), |b| {
            b.iter(|| enclose(&black_box(&message).encode()));
        });
        group.bench_function(format!("{name}/decode"), |b| {
            b.iter(|| disclose(&black_box(&cell)[HEADER_LEN..]).map(Control::decode));
        });
        group.finish();
    }
}

fn padding(criterion: &mut Criterion) {
    let lengths: Vec<usize> = (0..1_024).map(|at| at * 32).collect();
    let mut group = criterion.benchmark_group("padding");
    group.throughput(Throughput::Elements(lengths.len() as u64));
    group.bench_function("bucket", |b| {
        b.iter(|| {
            for &length in &lengths {
                black_box(class_for(black_box(length), FRAME_OVERHEAD));
            }
        });
    });
    group.bench_function("padme", |b| {
        b.iter(|| {
            for &length in &lengths {
                black_box(padme(black_box(length as u64 * 1_021)));
            }
        });
    });
    group.finish();
}
