//! Replays the fuzz corpora: nothing in them makes the crate panic, and the seeds are understood or
//! refused as their names say. A fuzzer's finds join the directories under any other name.

#[path = "support/builder.rs"]
mod builder;
#[path = "support/corpus_seeds.rs"]
mod corpus_seeds;

use std::path::{Path, PathBuf};

use hushwire_wire::cell::Header;
use hushwire_wire::code::{Invite, PairCode};
use hushwire_wire::control::{Control, disclose};
use hushwire_wire::fuzzing;

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn check(target: &str, run: fn(&[u8]), understood: fn(&[u8]) -> bool) {
    for seed in corpus_seeds::seeds().iter().filter(|seed| seed.target == target) {
        let stored = std::fs::read(directory(target).join(&seed.name)).ok();
        assert_eq!(
            stored.as_ref(),
            Some(&seed.bytes),
            "{target}/{}: run cargo run -p hushwire-wire --example vectors",
            seed.name
        );
    }
    for entry in std::fs::read_dir(directory(target)).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a readable file");
        println!("{}", path.display());
        run(&bytes);
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if name.starts_with("ok-") {
            assert!(understood(&bytes), "{target}/{name} is not understood");
        } else if name.starts_with("bad-") {
            assert!(!understood(&bytes), "{target}/{name} is understood");
        }
    }
}

#[test]
fn headers() {
    check("header", fuzzing::header, |bytes| {
        bytes.first_chunk().is_some_and(|bytes| Header::decode(bytes).is_ok())
    });
}

#[test]
fn controls() {
    check("control", fuzzing::control, |bytes| Control::decode(bytes).is_ok());
}

#[test]
fn bodies() {
    check("body", fuzzing::body, |bytes| {
        disclose(bytes).is_ok_and(|content| Control::decode(content).is_ok())
    });
}

#[test]
fn codes() {
    check("code", fuzzing::code, |bytes| {
        std::str::from_utf8(bytes)
            .is_ok_and(|text| Invite::from_text(text).is_ok() || PairCode::from_text(text).is_ok())
    });
}
