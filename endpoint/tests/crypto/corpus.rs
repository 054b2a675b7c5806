//! Replays the corpus of the fuzz entry points. `HUSHWIRE_BLESS=1` writes the seeds anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Replay, alice, code, hs1, hs2};
use hushwire::fuzzing;
use hushwire::journal::{Durability, Entry, Journal, MessageId};
use hushwire::pairing::spoken::{SpokenCode, SpokenJoin};
use hushwire::suite::Suite;
use hushwire::suite::frame_types::{
    Ack, AckRange, AckRanges, Data, Frame, FrameWriter, Frames, Stream,
};
use hushwire::suite::keys::StorageKey;
use hushwire_wire::id::DeviceId;

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

#[test]
fn journal() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal");
    let (key, durability) = (StorageKey::new([7; 32]), Durability::Process);
    let (mut journal, _) = Journal::open(&path, &key, durability).expect("a new journal");
    let peer = DeviceId::new([1; 32]);
    let mut seeds = vec![("empty".to_owned(), fs::read(&path).expect("written"))];
    journal.append(&[Entry::LogBegun { peer, incarnation: 1, base: 0 }]).expect("appended");
    let id = MessageId { incarnation: 1, sequence: 0 };
    let bytes = vec![2; 600];
    let queued = Entry::Queued { peer, number: 0, id, queued_s: 3, expires_s: Some(4), bytes };
    journal.append(&[queued]).expect("appended");
    let whole = fs::read(&path).expect("written");
    let (cut, at) = (whole.len() - 1, whole.len() - 300);
    seeds.push(("cut".to_owned(), whole[..cut].to_vec()));
    seeds.push(("zeros".to_owned(), [&whole[..at], &[0; 300]].concat()));
    let mut damaged = whole.clone();
    damaged[at] ^= 1;
    seeds.push(("damaged".to_owned(), damaged));
    let mut newer = whole.clone();
    newer[8] = 2;
    seeds.push(("newer".to_owned(), newer));
    seeds.push(("whole".to_owned(), whole));
    replay("journal", fuzzing::journal, &seeds);
}

/// The layouts of `codec.rs`.
#[test]
fn journal_entries() {
    let numbers = |values: &[u64]| -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    let entry = |tag: u8, parts: &[&[u8]]| [&[tag], [9; 32].as_slice(), &parts.concat()].concat();
    let message = [&numbers(&[0, 1, 0, 3]), [1].as_slice(), &numbers(&[4]), &[2, 0, 0, 0], b"hi"];
    let end = numbers(&[0, 1, 0, 2, 3]);
    let table = [
        ("log-begun", entry(1, &[&numbers(&[1, 0])])),
        ("queued", entry(2, &message)),
        ("delivered", entry(3, &[&numbers(&[0]), &[0], &numbers(&[5]), &[1], &numbers(&[4])])),
        ("rejected", entry(3, &[&numbers(&[0]), &[1, 7, 0], &numbers(&[5]), &[0]])),
        ("expired", entry(3, &[&numbers(&[0]), &[2, 1], &numbers(&[5]), &[0]])),
        ("taken", entry(4, &[&numbers(&[1, 2])])),
        ("ahead", entry(5, &[&numbers(&[1, 2]), &[0]])),
        ("refused", entry(5, &[&numbers(&[1, 2]), &[1, 3, 0]])),
        ("forgotten", entry(6, &[])),
        ("kept-log", entry(16, &[&numbers(&[1, 0, 2])])),
        ("kept-held", entry(17, &message)),
        ("kept-end", entry(18, &[&end, &[0], &numbers(&[6]), &[2, 0]])),
    ];
    let mut seeds: Vec<_> = table.iter().map(|(name, b)| ((*name).to_owned(), b.clone())).collect();
    seeds.push(("all".to_owned(), table.iter().flat_map(|(_, bytes)| bytes.clone()).collect()));
    seeds.push(("unknown".to_owned(), entry(7, &[&[0; 40]])));
    let lying: [&[u8]; 3] = [&numbers(&[0, 1, 0, 3]), &[0], &[255; 8]];
    seeds.push(("lying-length".to_owned(), entry(2, &lying)));
    replay("journal-entries", fuzzing::journal_entries, &seeds);
}

/// Lines without their sum, which the entry point adds: as in `vectors/keystore`, and with one field that is absurd.
#[test]
fn keystore() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/keystore");
    let mut seeds = Vec::new();
    for (folder, names) in [
        ("plain", &["identity", "storage", "relay", "counters", "backup"][..]),
        ("sealed", &["passphrase", "relay"]),
    ] {
        for name in names {
            let file = vectors.join(folder).join(format!("{name}.json"));
            let text = fs::read_to_string(file).expect("a vector");
            let line = text.lines().next().expect("a record");
            seeds.push((format!("{folder}-{name}"), line.as_bytes().to_vec()));
            let newer = line.replace("\"version\":", "\"version\":429496729");
            seeds.push((format!("{folder}-{name}-newer"), newer.into_bytes()));
        }
    }
    let peers = fs::read_dir(vectors.join("plain/peers")).expect("a folder");
    for peer in peers {
        let text = fs::read_to_string(peer.expect("a peer").path()).expect("a vector");
        seeds.push(("plain-peer".to_owned(), text.into_bytes()));
    }
    seeds.push(("backup-file".to_owned(), fs::read(vectors.join("backup")).expect("a vector")));
    let cost = br#"{"version":1,"argon2id":{"memory_kib":4294967295,"passes":1,"lanes":1},"salt":"","stage":"sealed","keys":""}"#;
    seeds.push(("absurd-cost".to_owned(), cost.to_vec()));
    replay("keystore", fuzzing::keystore, &seeds);
}

#[test]
fn words() {
    let good = alice().words().to_text();
    let seeds = [
        ("good", good.as_bytes().to_vec()),
        ("loud", good.to_uppercase().replace(' ', "\t\n ").into_bytes()),
        ("short", good[..good.len() - 3].as_bytes().to_vec()),
        ("unknown", good.replacen(' ', " abondon ", 1).into_bytes()),
        ("other-letters", "élève ".repeat(24).into_bytes()),
        ("endless", "zoo ".repeat(2_000).into_bytes()),
    ];
    let seeds = seeds.map(|(name, bytes)| (name.to_owned(), bytes));
    replay("words", fuzzing::words, &seeds);
}

#[test]
fn spoken_code() {
    let seeds = [
        ("good", &b"7-apple-river"[..]),
        ("heard", b" 0042 APPLE, River.\n"),
        ("unknown", b"7-aple-river"),
        ("steering", b"7-\x1b[2J-\xe2\x80\xae"),
        ("many", b"7 a b c d e f g h"),
        ("number", b"99999999999999999999999"),
        ("kelvin", "7-\u{212a}-\u{130}".as_bytes()),
        ("empty", b""),
    ];
    let seeds = seeds.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    replay("spoken-code", fuzzing::spoken_code, &seeds);
}

#[test]
fn spoken_message() {
    let code = SpokenCode::from_text("7-apple-river").expect("a code");
    let (_, s1) = SpokenJoin::start(code, &mut Replay::new("corpus"));
    let mut s2 = s1[..35].to_vec();
    s2[0] = 0x52;
    let mut no_point = s2.clone();
    no_point[3..].fill(0xff);
    let seeds =
        [("s1", s1[..35].to_vec()), ("s2", s2), ("no-point", no_point), ("short", vec![0x51])];
    let seeds = seeds.map(|(name, bytes)| (name.to_owned(), bytes));
    replay("spoken-message", fuzzing::spoken_message, &seeds);
}

/// Frames behind the encryption, each as a step, with what an application may do in between.
fn conversations() -> Vec<(String, Vec<u8>)> {
    let open =
        Frame::Open { slot: 1, conversation: [0; 16], incarnation: 2, first_held: 0, next: 9 };
    let data = |sequence, offset, total, bytes: &'static [u8]| {
        Frame::Data(Data { slot: 1, sequence, offset, total, expiry_s: None, bytes })
    };
    let stream =
        |offset, fin, bytes: &'static [u8]| Frame::Stream(Stream { stream: 2, offset, fin, bytes });
    let mut ranges = AckRanges::default();
    ranges.push(AckRange { from_next: 1, count: 1 }).expect("one range");
    let feed = |frames: &[Frame<'_>]| {
        let mut step = Vec::new();
        for frame in frames {
            let length = frame.encoded_len();
            let mut bytes = vec![0; length];
            FrameWriter::new(&mut bytes).push(frame).expect("its own length");
            step.extend(bytes);
        }
        step.resize(step.len().next_multiple_of(2), 0);
        // The length comes first and counts as a part of what is fed: a PADDING of its own value follows it.
        [vec![0, (step.len() / 2) as u8], step].concat()
    };
    let table: [(&str, Vec<Vec<u8>>); 5] = [
        ("messages", vec![feed(&[open, data(0, 0, 2, b"hi")]), vec![6, 7, 3, 9, 11, 7, 10, 200]]),
        (
            "pieces-and-gaps",
            vec![
                feed(&[open, data(1, 2, 4, b"lo"), data(1, 0, 4, b"he")]),
                feed(&[Frame::Gap { slot: 1, from: 0, to: 1 }]),
                vec![6, 7, 1, 9, 11, 7],
            ],
        ),
        (
            "sent",
            vec![
                vec![5, 3, 5, 9, 5, 1, 9, 11, 7, 11, 7],
                feed(&[Frame::Ack(Ack { slot: 1, next: 1, ranges })]),
                feed(&[Frame::Reject { slot: 1, sequence: 1, reason: 3 }]),
                vec![9, 12, 7, 10, 255, 14, 0, 15, 1, 9, 11, 7],
            ],
        ),
        (
            "streams",
            vec![
                feed(&[stream(0, false, b"abc"), stream(3, true, b"d")]),
                vec![13, 1, 13, 3, 13, 0, 13, 2, 11, 7, 13, 4, 11, 7],
                feed(&[Frame::Window { stream: 1, limit: 2_000_000 }]),
                feed(&[Frame::Reset { reason: 1, stream: 2 }]),
            ],
        ),
        ("restarts", vec![feed(&[open, data(0, 0, 1, b"x")]), vec![6, 15, 1, 15, 0, 9, 11, 7]]),
    ];
    table.into_iter().map(|(name, steps)| (name.to_owned(), steps.concat())).collect()
}

#[test]
fn conversation() {
    let seeds = conversations();
    replay("conversation", fuzzing::conversation, &seeds);
    // Steps of the seeds in other orders, with bytes changed.
    let mut dice = 1_u64;
    let mut roll = |bound: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % bound
    };
    for _ in 0..3_000 {
        let mut input = Vec::new();
        for _ in 0..1 + roll(6) {
            let (_, seed) = &seeds[roll(seeds.len())];
            let from = roll(seed.len());
            input.extend_from_slice(&seed[if roll(3) == 0 { from } else { 0 }..]);
        }
        for _ in 0..roll(4) {
            let at = roll(input.len());
            input[at] = roll(256) as u8;
        }
        fuzzing::conversation(&input);
    }
}

#[test]
fn handshake_states() {
    let table: [(&str, &[u8]); 4] = [
        ("honest", &[0, 0, 0, 0, 1, 0, 0, 0, 3, 1, 0, 0, 5, 2, 0, 0]),
        ("replayed", &[0, 0, 0, 0, 1, 0, 0, 0, 3, 1, 0, 0, 1, 0, 0, 0, 5, 2, 0, 0, 5, 2, 0, 0]),
        ("changed", &[0, 0, 0, 0, 1, 0, 1, 9, 1, 0, 0, 0, 3, 1, 4, 200, 3, 1, 0, 0, 5, 2, 8, 3]),
        ("begun-again", &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 3, 2, 0, 0, 5, 3, 0, 0]),
    ];
    let seeds = table.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    replay("handshake-states", fuzzing::handshake_states, &seeds);
}

/// Grown by a fuzzer; the layouts have tests of their own.
#[test]
fn preamble_and_transfer() {
    replay("preamble", fuzzing::preamble, &[]);
    replay("transfer", fuzzing::transfer, &[]);
}
