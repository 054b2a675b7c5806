//! Replays the corpus of the fuzz entry points. `HUSHWIRE_BLESS=1` writes the seeds anew.

use std::fs;
use std::path::Path;

use crate::support::{add, copy, hear, identity, log_of, remove};
use hushwire::account::{Message, Proof, Statement};
use hushwire::fuzzing;

fn replay(name: &str, entry: fn(&[u8]), seeds: &[(&str, Vec<u8>)]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    if std::env::var_os("HUSHWIRE_BLESS").is_some() {
        fs::create_dir_all(&directory).expect("a directory for the corpus");
        for (seed, bytes) in seeds {
            fs::write(directory.join(seed), bytes).expect("a seed");
        }
    }
    let mut inputs = 0;
    for input in fs::read_dir(&directory).expect("the corpus") {
        entry(&fs::read(input.expect("an input").path()).expect("its bytes"));
        inputs += 1;
    }
    assert!(inputs >= seeds.len(), "{name}: the corpus has at least its seeds");
}

#[test]
fn account_log() {
    let mut log = log_of(2);
    let mut left = copy(&log, 2);
    let mut right = left.clone();
    add(&mut left, 2, 3).expect("left");
    remove(&mut right, 2, 1).expect("right");
    hear(&mut log, 1, &left);
    hear(&mut log, 1, &right);
    assert!(log.fork().is_some(), "the file of a log with two branches");
    let mut rotated = log_of(1);
    rotated
        .rotate(&identity(11), Statement::sign(&identity(1), &identity(11), 2), 3)
        .expect("rotated");
    // The log of the entry point begins with this genesis, so these are an extension and a branch.
    let first = hushwire::account::AccountLog::begin(&identity(1), "first", 1).expect("a log");
    let mut added = first.clone();
    add(&mut added, 1, 2).expect("added");
    let mut newer = first.entries_from(0);
    newer[0] = 2;
    let mut lying = first.entries_from(0);
    lying[2] = 0xff;
    let seeds = [
        ("genesis", first.entries_from(0)),
        ("added", added.entries_from(1)),
        ("removed", right.entries_from(0)),
        ("rotated", rotated.entries_from(0)),
        ("file", log_of(3).encode()),
        ("file-forked", log.encode()),
        ("cut", log.encode()[..300].to_vec()),
        ("newer", newer),
        ("lying-length", lying),
    ];
    replay("account_log", fuzzing::account_log, &seeds);
}

#[test]
fn account_message() {
    let log = log_of(2);
    let proof = Proof::sign(&identity(3), &log.id());
    let seeds = [
        ("head", log.greeting().encode()),
        ("entries", Message::Entries(log.entries_from(0)).encode()),
        ("invite", Message::Invite { log: log.id() }.encode()),
        ("welcome", Message::Welcome(log.entries_from(0)).encode()),
        ("same", Message::Same.encode()),
        ("want", Message::Want { from: u32::MAX }.encode()),
        ("consent", Message::Consent(proof).encode()),
        ("taken", Message::Taken.encode()),
        ("nothing", Message::Nothing.encode()),
        ("cut", log.greeting().encode()[..40].to_vec()),
        ("unknown", vec![5]),
        ("empty", vec![]),
    ];
    replay("account_message", fuzzing::account_message, &seeds);
}

#[test]
fn rotation() {
    let statement = Statement::sign(&identity(1), &identity(2), 3).encode();
    let mut unsigned = statement;
    unsigned[207] ^= 1;
    let mut newer = statement;
    newer[0] = 2;
    let seeds = [
        ("statement", statement.to_vec()),
        ("unsigned", unsigned.to_vec()),
        ("newer", newer.to_vec()),
        ("cut", statement[..207].to_vec()),
    ];
    replay("rotation", fuzzing::rotation, &seeds);
}
