//! A process that appends to a journal is killed at any moment, again and again: what it was told is written is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hushwire::journal::{Durability, Entry, Journal, Logs, MessageId, Outcome};
use hushwire::suite::keys::StorageKey;
use hushwire_wire::id::DeviceId;

const CHILD: &str = "HUSHWIRE_TEST_JOURNAL";
const PEER: DeviceId = DeviceId::new([3; 32]);
const KILLS: u64 = 40;
/// So that files are compacted every 30 rounds or so.
const MESSAGE_BYTES: usize = 128 << 10;

/// Round `number` queues a message and ends the one before.
fn round(number: u64) -> Vec<Entry> {
    let id = MessageId { incarnation: 1, sequence: number };
    let bytes = vec![number as u8; MESSAGE_BYTES];
    let queued = Entry::Queued { peer: PEER, number, id, queued_s: number, expires_s: None, bytes };
    let Some(before) = number.checked_sub(1) else {
        return vec![Entry::LogBegun { peer: PEER, incarnation: 1, base: 0 }, queued];
    };
    let outcome = Outcome::Delivered;
    let ended =
        Entry::Ended { peer: PEER, number: before, outcome, ended_s: number, first_sent_s: None };
    vec![queued, ended]
}

fn next_round(logs: &Logs) -> u64 {
    logs.peer(&PEER).and_then(|peer| peer.outgoing.as_ref()).map_or(0, |log| log.next_number)
}

/// What the first `rounds` amount to, from what the ones before do.
fn advance(logs: &mut Logs, rounds: u64) {
    for number in next_round(logs)..rounds {
        round(number).into_iter().for_each(|entry| logs.apply(entry));
    }
}

fn open(path: &Path) -> (Journal, Logs) {
    let key = StorageKey::new([4; 32]);
    Journal::open(path, &key, Durability::Process).expect("opens after any kill")
}

/// The child: goes on where the journal ends, and says so of every round, until it is killed.
fn append_for_ever(path: &Path) -> ! {
    let (mut journal, logs) = open(path);
    let mut out = std::io::stdout();
    for number in next_round(&logs).. {
        journal.append(&round(number)).expect("appended");
        writeln!(out, "\nround {number}").and_then(|()| out.flush()).expect("somebody listens");
    }
    unreachable!("numbers do not end")
}

#[test]
fn whatever_was_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        append_for_ever(Path::new(&path));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal");
    let (mut expect, mut draw, mut beyond) = (Logs::default(), 1_u64, 0);
    for kill in 0..KILLS {
        // A fixed sequence of how many rounds a child is given.
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let rounds = 1 + (draw >> 33) % 24;
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "whatever_was_acknowledged_survives_a_kill", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let said = |line: std::io::Result<String>| -> Option<u64> {
            line.expect("text").strip_prefix("round ")?.parse().ok()
        };
        let mut said = lines.filter_map(said);
        let mut last = said.by_ref().nth(rounds as usize - 1).expect("so many rounds");
        child.kill().expect("it runs");
        last = said.last().unwrap_or(last);
        assert!(!child.wait().expect("it ended").success());

        let (_, logs) = open(&path);
        let next = next_round(&logs);
        assert!(next == last + 1 || next == last + 2, "kill {kill}: {next} after {last}");
        beyond += u64::from(next == last + 2);
        advance(&mut expect, next);
        assert!(logs == expect, "kill {kill}: not what {next} rounds amount to");
    }
    assert!(next_round(&expect) > 200, "files were compacted meanwhile");
    println!("{beyond} of {KILLS} kills came between the write and its acknowledgement");
}
