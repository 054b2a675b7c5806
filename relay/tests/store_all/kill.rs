//! `kill -9` in the middle of commits: every change that was answered is there afterwards.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hushwire_relay::store::{Answer, Answers, Query, StoreOptions};

use crate::common::{account, device, enrol, name, open};

const DIRECTORY: &str = "HUSHWIRE_KILL_TEST_DIRECTORY";
const FIRST: &str = "HUSHWIRE_KILL_TEST_FIRST";
const ROUNDS: u64 = 12;
/// More than a child lives to see.
const NUMBERS_PER_ROUND: u64 = 4_000;

fn options() -> StoreOptions {
    StoreOptions {
        map_bytes_start: 1 << 20,
        devices_per_account: 65_000,
        grants_per_account: 65_000,
        ..StoreOptions::default()
    }
}

#[test]
fn answered_changes_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path, options());
    enrol(&store, 1, account(1), device(0));
    store.close();

    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut answered: Vec<u64> = Vec::new();
    for round in 0..ROUNDS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let first = 1 + round * NUMBERS_PER_ROUND;
        answered.extend(kill_after(&path, first, seed >> 33 & 0x7ff));

        let store = open(&path, options());
        for &number in &answered {
            let row = store.call(Query::Device { device: device(number) });
            assert!(matches!(row, Answer::Row(_)), "round {round}: {number} was lost: {row:?}");
        }
        let Answer::Stats(stats) = store.call(Query::Stats) else { panic!("stats") };
        // A kill between the two transactions leaves one device without its grant.
        let without_grant = stats.devices - 1 - stats.grants;
        assert!(without_grant <= round + 1, "changes are done in order: {without_grant}");
    }
    assert!(answered.len() > 1_000, "{}", answered.len());
}

/// Starts a writer, kills it after `acknowledgements` answers, and returns all it has answered.
fn kill_after(path: &Path, first: u64, acknowledgements: u64) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_writer", "--nocapture"])
        .env(DIRECTORY, path)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut answered = Vec::new();
    let mut line = String::new();
    while (answered.len() as u64) < acknowledgements {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended by itself");
        answered.extend(acknowledged(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    // The last line may be cut.
    answered
        .extend(rest.split_inclusive('\n').filter(|l| l.ends_with('\n')).filter_map(acknowledged));
    answered
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("done ")?.trim_end().parse().ok()
}

/// Prints each answer at once.
struct Print;

impl Answers for Print {
    fn deliver(&self, ticket: u64, answer: Answer) {
        assert_eq!(answer, Answer::Done);
        if ticket % 2 == 1 {
            let line = format!("done {}\n", ticket / 2);
            let mut output = std::io::stdout().lock();
            output
                .write_all(line.as_bytes())
                .and_then(|()| output.flush())
                .expect("the parent reads");
        }
    }
}

#[test]
fn child_writer() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let first: u64 = std::env::var_os(FIRST)
        .map(OsString::into_string)
        .and_then(|text| text.ok()?.parse().ok())
        .expect("a number to begin with");
    let store = open(Path::new(&directory), options());
    let client = store.client(Arc::new(Print));
    for number in first..first + NUMBERS_PER_ROUND {
        let register =
            Query::Register { account: account(1), device: device(number), name: name("phone") };
        let grant = Query::Grant { recipient: device(number), sender: device(0) };
        for (ticket, query) in [(2 * number, register), (2 * number + 1, grant)] {
            while client.submit(ticket, query.clone()).is_err() {
                // Full: let the writer work, and wait for a place with a call.
                assert_eq!(store.call(Query::SeenDays(Vec::new())), Answer::Done);
            }
        }
    }
    // Until the parent kills this process.
    loop {
        std::thread::park();
    }
}
