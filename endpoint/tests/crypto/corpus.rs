//! Replays the corpus of the fuzz entry points. `HUSHWIRE_BLESS=1` writes the seeds anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{alice, code, hs1, hs2};
use hushwire::fuzzing;
use hushwire::suite::Suite;
use hushwire::suite::frame_types::{
    Ack, AckRange, AckRanges, Data, Frame, FrameWriter, Frames, Stream,
};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

fn replay(name: &str, entry: fn(&[u8]), seeds: &[(String, Vec<u8>)]) {
    let directory = corpus(name);
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
fn frames() {
    let mut ranges = AckRanges::default();
    ranges.push(AckRange { from_next: 1, count: 2 }).expect("one range");
    let data = Data { slot: 1, sequence: 2, offset: 0, total: 2, expiry_s: Some(3), bytes: b"hi" };
    let table = [
        ("data", Frame::Data(data)),
        ("stream", Frame::Stream(Stream { stream: 2, offset: 1, fin: true, bytes: b"end" })),
        ("ack", Frame::Ack(Ack { slot: 1, next: 2, ranges })),
        (
            "open",
            Frame::Open { slot: 1, conversation: [1; 16], incarnation: 2, first_held: 3, next: 4 },
        ),
        ("state", Frame::State { slot: 1, incarnation: 2, next_expected: 3 }),
        ("gap", Frame::Gap { slot: 1, from: 2, to: 3 }),
        ("reject", Frame::Reject { slot: 1, sequence: 2, reason: 3 }),
        ("reset", Frame::Reset { reason: 1, stream: 2 }),
        ("window", Frame::Window { stream: 0, limit: 65_536 }),
        ("handshake", Frame::Handshake { message: &[1, 1, 2, 0] }),
        ("close", Frame::Close { reason: 1 }),
        ("padding", Frame::Padding { length: 3 }),
    ];
    let mut seeds = Vec::new();
    let mut all = Vec::new();
    for (name, frame) in table {
        let mut bytes = vec![0; frame.encoded_len()];
        FrameWriter::new(&mut bytes).push(&frame).expect("fits");
        assert_eq!(Frames::new(&bytes).collect::<Vec<_>>(), [Ok(frame)]);
        all.extend_from_slice(&bytes);
        seeds.push((name.to_owned(), bytes));
    }
    seeds.push(("all".to_owned(), all));
    seeds.push(("unknown".to_owned(), vec![0x1b, 0, 0]));
    seeds.push(("lying-length".to_owned(), vec![0x19, 0, 0xff, 0xff]));
    replay("frames", fuzzing::frames, &seeds);
}

#[test]
fn handshake() {
    let mut seeds = Vec::new();
    for suite in Suite::ALL {
        let (initiator, first) = hs1(suite, code());
        let (_, second) = hs2(code(), &first);
        let (_, third) = initiator.on_hs2(&alice(), &second).expect("HS3");
        let number = suite as u16;
        seeds.push((format!("cut-{number}"), first[..first.len() - 1].to_vec()));
        for (message, bytes) in [(1, first), (2, second), (3, third)] {
            seeds.push((format!("hs{message}-{number}"), bytes));
        }
    }
    seeds.push(("newer".to_owned(), vec![1, 2, 0]));
    replay("handshake", fuzzing::handshake, &seeds);
}
