//! `hush chat` as a program uses it.

use std::path::Path;
use std::process::Command;

use hushwire_wire::id::DeviceId;
use serde_json::Value;

use crate::support;
use crate::support::people::{enrol, pair};
use crate::support::program::Program;

/// So that 16 of them fill an outbox.
const LINE_BYTES: usize = 1 << 20;
/// What fits into an outbox.
const FITTING: usize = 16;
/// Given to each end at first.
const LINES: usize = FITTING + 2;

fn chat(home: &Path, peer: DeviceId) -> Program {
    let mut command = Command::new(support::hush());
    command.arg("--json").arg("--keystore").arg(home).args(["chat", "--stay", &peer.to_text()]);
    Program::start(&mut command)
}

/// Waits for so many lines of this kind.
fn expect(program: &mut Program, kind: &str, count: usize) {
    let mut seen = 0;
    while seen < count {
        let line: Value = serde_json::from_str(&program.line()).expect("JSON");
        seen += usize::from(!line[kind].is_null());
    }
}

#[tokio::test]
async fn two_full_outboxes_do_not_wait_for_each_other() {
    let place = tempfile::tempdir().expect("a directory");
    let relay = support::relay();
    let homes = ["a", "b"].map(|name| place.path().join(name));
    let [a, b] = [enrol(&relay, &homes[0]).await, enrol(&relay, &homes[1]).await];
    pair(&a, &b).await;
    let (to_a, to_b) = (a.device(), b.device());
    a.close().await;
    b.close().await;

    let lines = format!("{}\n", "x".repeat(LINE_BYTES)).repeat(LINES);
    // Each fills its outbox while the other is away; the second one stays, and waits for room.
    let mut first = chat(&homes[0], to_b);
    first.say(&lines);
    expect(&mut first, "queued", FITTING);
    drop(first);
    let mut second = chat(&homes[1], to_a);
    second.say(&lines);
    expect(&mut second, "queued", FITTING);
    // Back again, the first one has more to say at once.
    let mut first = chat(&homes[0], to_b);
    first.say(&lines);
    expect(&mut first, "queued", LINES);
    expect(&mut second, "queued", LINES - FITTING);
}
