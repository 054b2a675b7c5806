//! The relay does not have what it forwards: not in its memory, not on its disk, not in its log.

use std::path::Path;
use std::process::Command;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::Class;
use tokio::io::AsyncWriteExt as _;

use crate::support;
use crate::support::people::{enrol, in_time, pair, random, tell};
use crate::support::program::Program;
use crate::support::raw;

/// Bytes of the marker. Half of it is a find as well: a buffer may have been written over.
const MARKER_BYTES: usize = 32;
/// Times the marker stands in the file.
const REPEATS: usize = 200_000;

/// A marker in the spellings that a careless program could give it.
fn spellings(marker: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = marker.iter().map(|byte| format!("{byte:02x}")).collect();
    let base32 = hushwire_wire::id::DeviceId::from_slice(marker).expect("32 bytes").to_text();
    let mut texts = vec![hex.clone(), hex.to_uppercase(), base32.clone(), base32.to_uppercase()];
    let mut all = vec![marker.to_vec()];
    all.extend(texts.drain(..).map(String::into_bytes));
    all
}

/// How many of `needles`, or halves of them, stand in `haystack`.
fn found(haystack: &[u8], needles: &[Vec<u8>]) -> usize {
    let halves: Vec<&[u8]> = needles
        .iter()
        .flat_map(|needle| {
            let (first, second) = needle.split_at(needle.len() / 2);
            [first, second]
        })
        .collect();
    let mut begins = [false; 256];
    halves.iter().for_each(|half| begins[usize::from(half[0])] = true);
    let mut seen = vec![false; halves.len()];
    for (at, &byte) in haystack.iter().enumerate() {
        if begins[usize::from(byte)] {
            for (half, seen) in halves.iter().zip(&mut seen) {
                *seen |= haystack[at..].starts_with(half);
            }
        }
    }
    seen.into_iter().filter(|&seen| seen).count()
}

/// Everything that a process has in its memory, pages that core dumps leave out by default included.
fn memory_of(pid: u32, directory: &Path) -> Vec<u8> {
    let core = directory.join(format!("core.{pid}"));
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-ex", "set use-coredump-filter off"])
        .args(["-ex", "set dump-excluded-mappings on", "-p", &pid.to_string()])
        .args(["-ex", &format!("gcore {}", core.display())])
        .output()
        .expect("gdb is installed: .ci/packages does it");
    let memory = std::fs::read(&core).unwrap_or_else(|error| {
        panic!("no core of process {pid}: {error}\n{}", String::from_utf8_lossy(&output.stderr))
    });
    // The next one may be as large.
    std::fs::remove_file(&core).expect("it is removed");
    memory
}

/// A relay that says all it can, and whose allocators reserve little that they do not use: a core holds
/// every page of it.
fn relay() -> RelayProcess {
    let mut options = support::options().set("log", "level", "\"trace\"");
    let small = ["MALLOC_ARENA_MAX=1", "MIMALLOC_ARENA_RESERVE=32768"].map(str::to_owned);
    let hush = options.program.display().to_string();
    // It becomes the program it names, as the same process.
    options.program = "/usr/bin/env".into();
    options.prefix = [&small[..], &[hush, "daemon".to_owned()]].concat();
    RelayProcess::start(&options).expect("the relay starts")
}

fn assert_blind(relay: &RelayProcess, marker: &[u8], cores: &Path, when: &str) {
    let needles = spellings(marker);
    assert_eq!(found(&memory_of(relay.id(), cores), &needles), 0, "in its memory {when}");
    let files = support::files_below(relay.directory());
    for path in &files {
        let bytes = std::fs::read(path).expect("a readable file");
        assert_eq!(found(&bytes, &needles), 0, "in {} {when}", path.display());
    }
    assert!(files.len() >= 3, "its tables, its configuration and its log are there");
}

#[tokio::test]
async fn what_devices_say_is_nowhere_on_the_relay() {
    let place = tempfile::tempdir().expect("a directory");
    let relay = relay();
    let a = enrol(&relay, &place.path().join("a")).await;
    let b = enrol(&relay, &place.path().join("b")).await;
    pair(&a, &b).await;

    // Made after the relay was started, so that nothing of it can have been inherited.
    let marker = random(MARKER_BYTES);
    let all: Vec<u8> = spellings(&marker).join(&b' ');
    tell(&a, &b, &all).await;
    tell(&b, &a, &all.repeat(100)).await;

    let name = String::from_utf8(spellings(&marker)[1].clone()).expect("hexadecimal");
    let content = marker.repeat(REPEATS);
    let (cores, relay) = (place.path(), &relay);
    let (mut input, output) = tokio::io::duplex(64 * 1024);
    let mut sending = a.send_reader(b.device(), output, &name).expect("begun");
    let half = content.len() / 2;
    let exchange = async {
        let offered = b.accept_transfer().await.expect("offered");
        assert_eq!(offered.name(), name);
        let mut progress = offered.progress();
        let saving = tokio::spawn(offered.save_in(cores.join("inbox")));
        input.write_all(&content[..half]).await.expect("a half is read");
        let there = progress.wait_for(|progress| progress.bytes == half as u64).await;
        there.expect("a half arrives");
        assert_blind(relay, &marker, cores, "in the middle of a file");
        input.write_all(&content[half..]).await.expect("the rest is read");
        drop(input);
        sending.finished().await.expect("it is sent");
        let saved = saving.await.expect("it ran").expect("it is saved");
        assert!(std::fs::read(saved.path).expect("there") == content);
    };
    std::fs::create_dir(cores.join("inbox")).expect("a directory");
    in_time(exchange).await;
    assert_blind(relay, &marker, cores, "afterwards");

    // The same search does find what a relay knows: which devices there are.
    let memory = memory_of(relay.id(), cores);
    for device in [a.device(), b.device()] {
        assert!(support::contains(&memory, device.as_bytes()), "the relay knows its devices");
    }
}

#[test]
fn the_search_finds_what_a_careless_device_says_in_the_clear() {
    let place = tempfile::tempdir().expect("a directory");
    let relay = relay();
    let (mut careless, mut other) = raw::pair(&relay);
    let marker = random(MARKER_BYTES);
    // A larger one may be sealed where it stands, and nothing of it is left in the clear.
    careless.send(other.id, Class::C5, &marker.repeat(8_000 / MARKER_BYTES));
    let (header, body) = other.raw.receive().expect("the cell");
    assert_eq!((header.peer, &body[..MARKER_BYTES]), (careless.id, &marker[..]));
    let memory = memory_of(relay.id(), place.path());
    assert_eq!(found(&memory, &[marker]), 2, "both halves, in the buffers it went through");
}

#[test]
fn the_search_finds_a_marker_where_there_is_one() {
    let place = tempfile::tempdir().expect("a directory");
    let marker = random(MARKER_BYTES);
    let needles = spellings(&marker);
    let text = String::from_utf8(needles[3].clone()).expect("base32");
    let script = "read -r marker; echo ready; read -r end";
    let mut holder = Program::start(Command::new("sh").args(["-c", script]));
    holder.say(&format!("{text}\n"));
    assert_eq!(holder.line(), "ready");
    assert!(found(&memory_of(holder.id(), place.path()), &needles) >= 2, "both halves");
    holder.say("\n");
    assert_eq!(holder.end().code, 0);
}
