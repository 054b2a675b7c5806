//! Each way a journal can be wrong or interrupted. Owner and steps of the file system are arguments, so every test
//! means the same to root and to an ordinary user.

mod damage;
mod faults;
mod files;
mod random;

use std::fs;
use std::path::{Path, PathBuf};

use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use tempfile::TempDir;

use super::codec::{DecodeError, Encode, Kept, Stored, decode};
use super::file::Sizes;
use super::medium::{Medium, System};
use super::*;
use crate::suite::keys::StorageKey;

/// Small, so that files of a few entries are compacted.
const SIZES: Sizes =
    Sizes { compact_bytes_min: 3_000, journal_bytes_max: 20_000, batch_bytes_max: 4_000 };

fn key() -> StorageKey {
    StorageKey::new([7; 32])
}

fn peer(number: u8) -> DeviceId {
    DeviceId::new([number; 32])
}

/// A directory that is gone with the test, and the path of a journal in it.
fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("journal");
    (directory, path)
}

fn open_with(medium: impl Medium + 'static, path: &Path) -> Result<(Journal, Logs), JournalError> {
    Journal::open_on(Box::new(medium), SIZES, path, &key(), Durability::Disk)
}

fn open(path: &Path) -> Result<(Journal, Logs), JournalError> {
    Journal::open_on(Box::new(System), SIZES, path, &key(), Durability::Process)
}

fn begun(of: u8) -> Entry {
    Entry::LogBegun { peer: peer(of), incarnation: 5, base: 0 }
}

fn queued(of: u8, number: u64, length: usize) -> Entry {
    let id = MessageId { incarnation: 5, sequence: number };
    let bytes = vec![number as u8; length];
    Entry::Queued { peer: peer(of), number, id, queued_s: 9, expires_s: Some(99), bytes }
}

fn ended(of: u8, number: u64) -> Entry {
    let outcome = Outcome::Expired { hint: Some(Undelivered::Busy) };
    Entry::Ended { peer: peer(of), number, outcome, ended_s: 10, first_sent_s: None }
}

/// What batches amount to.
fn sum(batches: &[Vec<Entry>]) -> Logs {
    let mut logs = Logs::default();
    batches.iter().flatten().for_each(|entry| logs.apply(entry.clone()));
    logs
}

/// Batches of every kind of entry, of which none changes nothing.
fn batches() -> Vec<Vec<Entry>> {
    let taken = Entry::Taken { peer: peer(2), incarnation: 3, next: 4 };
    let ahead =
        |sequence, refused| Entry::Ahead { peer: peer(2), incarnation: 3, sequence, refused };
    vec![
        vec![begun(1), queued(1, 0, 30)],
        vec![queued(1, 1, 700), taken, ahead(6, None)],
        vec![ended(1, 0), ahead(8, Some(258))],
        vec![begun(2), queued(2, 0, 0), Entry::Forgotten { peer: peer(1) }],
        vec![Entry::Unsent { peer: peer(2), from: Some(1) }],
        vec![Entry::Unsent { peer: peer(2), from: None }],
    ]
}

/// A journal of [`batches`], and the lengths of the file before the first and behind each.
fn written(path: &Path) -> Vec<u64> {
    let length = || fs::metadata(path).expect("it is there").len();
    let (mut journal, logs) = open(path).expect("a new journal");
    assert_eq!(logs, Logs::default());
    let mut lengths = vec![length()];
    for batch in batches() {
        journal.append(&batch).expect("appended");
        lengths.push(length());
    }
    lengths
}

/// The first batch adds a message to the peer's log, the next ones each add one and end the one before.
fn chat(rounds: u64) -> Vec<Vec<Entry>> {
    let mut batches = vec![vec![begun(1), queued(1, 0, 150)]];
    batches.extend((1..rounds).map(|round| vec![queued(1, round, 150), ended(1, round - 1)]));
    batches
}

#[test]
fn what_was_appended_is_there_again() {
    let (_directory, path) = place();
    written(&path);
    let all = sum(&batches());
    let (journal, logs) = open(&path).expect("opens");
    assert_eq!(logs, all);
    assert!(journal.index.is_of(&logs));
    assert_eq!(Journal::view(&path, &key()).expect("can be seen"), all);
    let shown = format!("{journal:?}");
    assert!(shown.starts_with("Journal(") && !shown.contains("07, 7"), "{shown}");
}

#[test]
fn nothing_appended_writes_nothing() {
    let (_directory, path) = place();
    let (mut journal, _) = open(&path).expect("a new journal");
    let before = fs::read(&path).expect("read");
    journal.append(&[]).expect("nothing to do");
    assert_eq!(fs::read(&path).expect("read"), before);
}

#[test]
fn content_and_names_are_not_in_the_file() {
    let (_directory, path) = place();
    let (mut journal, _) = open(&path).expect("a new journal");
    let mut entry = queued(0xab, 0, 0);
    if let Entry::Queued { bytes, .. } = &mut entry {
        *bytes = b"a sentence that nobody else may read".to_vec();
    }
    journal.append(&[begun(0xab), entry]).expect("appended");
    let bytes = fs::read(&path).expect("read");
    let find = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(!find(b"sentence") && !find(&[0xab; 8]));
}

/// The encoding is for ever, so it is written out here.
#[test]
fn entries_are_encoded_as_they_always_were() {
    let id = MessageId { incarnation: 2, sequence: 3 };
    let hint = Some(Undelivered::TooLarge);
    let ended = EndedSend {
        number: 1,
        id,
        length: 4,
        queued_s: 5,
        first_sent_s: Some(6),
        ended_s: 7,
        outcome: Outcome::Expired { hint },
    };
    let held = Held { id, queued_s: 5, expires_s: None, bytes: b"hi".to_vec() };
    let peer = peer(0xee);
    let end = |outcome| Entry::Ended { peer, number: 1, outcome, ended_s: 2, first_sent_s: None };
    let n = |number: u8| -> String { format!("{number:02x}00000000000000") };
    let message = [n(1), n(2), n(3), n(5), "00".into(), "020000006869".into()].concat();
    let kept = [n(1), n(2), n(3), n(4), n(5), format!("01{}", n(6)), n(7), "0204".into()].concat();
    let Held { queued_s, expires_s, bytes, .. } = held.clone();
    let table = [
        ("01", Stored::Fact(Entry::LogBegun { peer, incarnation: 1, base: 2 }), n(1) + &n(2)),
        (
            "02",
            Stored::Fact(Entry::Queued { peer, number: 1, id, queued_s, expires_s, bytes }),
            message.clone(),
        ),
        ("03", Stored::Fact(end(Outcome::Delivered)), n(1) + "00" + &n(2) + "00"),
        (
            "03",
            Stored::Fact(end(Outcome::Rejected { reason: 258 })),
            n(1) + "010201" + &n(2) + "00",
        ),
        ("03", Stored::Fact(end(Outcome::Expired { hint: None })), n(1) + "0200" + &n(2) + "00"),
        ("04", Stored::Fact(Entry::Taken { peer, incarnation: 1, next: 2 }), n(1) + &n(2)),
        (
            "05",
            Stored::Fact(Entry::Ahead { peer, incarnation: 1, sequence: 2, refused: Some(3) }),
            n(1) + &n(2) + "010300",
        ),
        ("06", Stored::Fact(Entry::Forgotten { peer }), String::new()),
        ("08", Stored::Fact(Entry::Unsent { peer, from: None }), "00".into()),
        ("08", Stored::Fact(Entry::Unsent { peer, from: Some(1) }), "01".to_owned() + &n(1)),
        (
            "07",
            Stored::Fact(Entry::Renamed { peer, to: DeviceId::new([0xdd; 32]) }),
            "dd".repeat(32),
        ),
        (
            "10",
            Stored::Kept(Kept::Log { peer, incarnation: 1, base: 2, next_number: 3 }),
            n(1) + &n(2) + &n(3),
        ),
        ("11", Stored::Kept(Kept::Held { peer, number: 1, held }), message),
        ("12", Stored::Kept(Kept::End { peer, ended }), kept),
    ];
    for (tag, stored, fields) in table {
        let mut bytes = Vec::new();
        stored.write(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, format!("{tag}{}{fields}", "ee".repeat(32)), "{stored:?}");
        assert_eq!(stored.encoded_len(), bytes.len());
        assert_eq!(decode(&mut &bytes[..]), Ok(stored));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&mut &bytes[..cut]), Err(DecodeError::Malformed), "{tag}, {cut}");
        }
    }
    for unknown in [0, 9, 15, 19, 255] {
        assert_eq!(decode(&mut &[unknown; 99][..]), Err(DecodeError::Unknown(unknown)));
    }
    // An option that is neither there nor not, a hint that is none, a length beyond the end.
    let ahead = [[5].as_slice(), &[1; 48], &[2, 0, 0]].concat();
    let hint = [[3].as_slice(), &[1; 40], &[2, 5], &[0; 9]].concat();
    let long = [[2].as_slice(), &[1; 64], &[0], &[255; 40]].concat();
    for malformed in [ahead, hint, long] {
        assert_eq!(decode(&mut &malformed[..]), Err(DecodeError::Malformed), "{malformed:?}");
    }
}

#[test]
fn a_batch_beyond_its_limit_is_refused_and_nothing_written() {
    let (_directory, path) = place();
    let (mut journal, _) = open(&path).expect("a new journal");
    journal.append(&[begun(1)]).expect("appended");
    let before = fs::read(&path).expect("read");
    let error = journal.append(&[queued(1, 0, 2_000), queued(1, 1, 2_000)]).unwrap_err();
    let refused = matches!(error, JournalError::BatchTooLong { bytes: 4_156, bytes_max: 4_000 });
    assert!(refused, "{error:?}");
    assert!(error.to_string().contains("write them in parts"), "{error}");
    assert_eq!(fs::read(&path).expect("read"), before);
    journal.append(&[queued(1, 0, 2_000)]).expect("in parts");
    journal.append(&[queued(1, 1, 2_000)]).expect("in parts");
}

#[test]
fn a_file_beyond_its_limit_is_refused_until_something_ends() {
    let (_directory, path) = place();
    let (mut journal, _) = open(&path).expect("a new journal");
    let mut all = vec![vec![begun(1)]];
    journal.append(&all[0]).expect("appended");
    let error = (0..)
        .find_map(|number| {
            let batch = vec![queued(1, number, 3_000)];
            match journal.append(&batch) {
                Ok(()) => all.push(batch),
                Err(error) => return Some(error),
            }
            None
        })
        .expect("a limit");
    assert!(matches!(error, JournalError::JournalFull { bytes_max: 20_000, .. }), "{error:?}");
    assert!(error.to_string().contains("wait until messages"), "{error}");
    assert_eq!(all.len(), 7, "six of 3 000 bytes fit");
    let ends = (0..6).map(|number| ended(1, number)).collect::<Vec<_>>();
    journal.append(&ends).expect("small ones fit");
    all.push(ends);
    let more = vec![queued(1, 6, 3_000)];
    journal.append(&more).expect("there is room again");
    all.push(more);
    drop(journal);
    assert_eq!(open(&path).expect("opens").1, sum(&all));
}

#[test]
fn the_longest_message_fits() {
    let (_directory, path) = place();
    let (mut journal, _) = Journal::open(&path, &key(), Durability::Process).expect("a new one");
    let entry = queued(1, 0, crate::conversation::limits::MESSAGE_BYTES_MAX);
    journal.append(&[begun(1), entry.clone()]).expect("appended");
    drop(journal);
    let (mut journal, logs) = Journal::open(&path, &key(), Durability::Disk).expect("opens");
    assert_eq!(logs, sum(&[vec![begun(1), entry]]));
    journal.append(&[ended(1, 0)]).expect("appended");
    let length = fs::metadata(&path).expect("it is there").len();
    assert!(length < 1_000, "compacted to {length} bytes");
}

#[test]
fn an_index_holds_no_content() {
    let (_directory, path) = place();
    written(&path);
    let (journal, _) = open(&path).expect("opens");
    let shown = format!("{:?}", journal.index);
    assert!(shown.contains("bytes: []") && !shown.contains("bytes: [0"), "{shown}");
}
