//! What one cell costs the engine: `cargo run --release -p hushwire-engine --example hot_path`.
//!
//! Pairs of devices on one shard, each sending a run of cells to its peer, as a busy connection does. The
//! I/O layer is a counter: every verdict seals, every sealed byte drains at the end of the run.

use std::time::Instant;

use hushwire_engine::store::DeviceRow;
use hushwire_engine::{
    Command, Config, ConnId, Engine, EngineLimits, Introduction, ShardId, SourcePrefix, Stage,
    StoreAnswer, Time, Verdict,
};
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::control::{CoverMode, Transport};
use hushwire_wire::id::{AccountId, DeviceId, RelayId};

struct Pair {
    conn: [ConnId; 2],
    device: [DeviceId; 2],
    sent: [u64; 2],
}

fn main() {
    println!("{:>11} {:>6} {:>14} {:>10}", "connections", "run", "same peer", "ns a cell");
    for connections in [2, 200, 20_000] {
        for run in [1, 8, 32] {
            let ns = measure(connections, run, 1);
            println!("{connections:>11} {run:>6} {:>14} {ns:>10.1}", "yes");
        }
    }
    let ns = measure(200, 32, 2);
    println!("{:>11} {:>6} {:>14} {ns:>10.1}", 200, 32, "no");
}

/// Nanoseconds a cell, header decoding included. Each sender takes turns between `peers` recipients.
fn measure(connections: u32, run: u64, peers: usize) -> f64 {
    let mut engine = engine(connections);
    let mut pairs: Vec<Pair> = (0..connections / 2).map(|n| pair(&mut engine, n)).collect();
    let cells_wanted = 4_000_000;
    let (mut cells, mut now) = (0_u64, Time::from_millis(1_000));
    let mut drained: Vec<(ConnId, u32)> = Vec::with_capacity(64);
    let started = clock();
    while cells < cells_wanted {
        for at in 0..pairs.len() {
            let others = if peers == 1 { [at, at] } else { [at, (at + 1) % pairs.len()] };
            let targets = others.map(|other| pairs[other].device[1]);
            let from = &mut pairs[at];
            for n in 0..run {
                let peer = targets[n as usize % 2];
                let header = Header::unicast(Class::C0, 0, from.sent[0], peer).encode();
                let header: [u8; HEADER_LEN] = std::hint::black_box(header);
                let header = Header::decode(&header).expect("well formed");
                from.sent[0] += 1;
                let verdict = engine.handle_cell(from.conn[0], &header, now);
                let Verdict::Forward { to, stage: Stage::Sealed } = verdict else {
                    panic!("a cell was not forwarded at once: {verdict:?}")
                };
                drained.push((to, EngineLimits::sealed_len(header.class)));
            }
            cells += run;
            for (to, bytes) in drained.drain(..) {
                engine.handle_drained(to, bytes);
            }
            now = now.after_nanos(300 * run);
        }
    }
    started.elapsed().as_nanos() as f64 / cells as f64
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn clock() -> Instant {
    Instant::now()
}

fn engine(connections: u32) -> Engine {
    Engine::new(Config {
        shard: ShardId(0),
        shards: 1,
        home_key: [1; 16],
        table_key: [2; 16],
        relay: RelayId::new([3; 32]),
        region: String::new(),
        limits: EngineLimits {
            connections_max: connections,
            cells_per_s: 1_000_000_000,
            bytes_per_s: u64::MAX / 2,
            unauthenticated_max: connections,
            handshakes_per_s: 1_000_000,
            ..EngineLimits::default()
        },
        seed: 4,
        unix_ms_at_zero: 0,
    })
}

fn pair(engine: &mut Engine, number: u32) -> Pair {
    let device = [0, 1].map(|half| {
        let mut bytes = [0xaa; 32];
        bytes[..4].copy_from_slice(&(number * 2 + half).to_le_bytes());
        DeviceId::new(bytes)
    });
    Pair { conn: device.map(|device| connect(engine, device)), device, sent: [1, 1] }
}

fn connect(engine: &mut Engine, device: DeviceId) -> ConnId {
    let now = Time::from_millis(1);
    let conn = engine.handle_accept(SourcePrefix(1), now).expect("room");
    assert_eq!(engine.handle_cell(conn, &Header::control(Class::C0, 0), now), Verdict::ReadControl);
    let introduction = Introduction {
        device,
        transport: Transport::Tls,
        cover: CoverMode::Off,
        token: None,
        name: None,
        software: String::new(),
    };
    engine.handle_hello(conn, introduction, now);
    let Some(Command::AskStore { ticket, .. }) = engine.poll_command() else {
        panic!("a question")
    };
    let account = AccountId::new([5; 16]);
    let row = DeviceRow { account, hidden: false, grants: Vec::new() };
    engine.handle_store(ticket, StoreAnswer::Admitted(row), now);
    while let Some(command) = engine.poll_command() {
        if let Command::Send { conn, control } = command {
            let class = Class::for_body(4 + control.encode().len()).expect("small");
            engine.handle_drained(conn, EngineLimits::sealed_len(class));
        }
    }
    conn
}
