//! Files that are not what was written: what a crash can do is repaired, all else is told and left as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::journal::file::read_bytes;
use crate::journal::reading::{End, ReadError, open_header, replay};
use crate::journal::record::{HEAD_LEN, HEADER_LEN, TAG_LEN};
use crate::suite::kdf::sha256;
use crate::suite::random::OsRandom;

fn put(path: &Path, bytes: &[u8]) {
    // Made anew, for some file systems force a file to the disk that was emptied and written again.
    if path.exists() {
        fs::remove_file(path).expect("ours");
    }
    fs::write(path, bytes).expect("ours");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
}

/// Opens a file of these bytes, which is left as it is where that fails.
fn opened(path: &Path, bytes: &[u8]) -> Result<(Journal, Logs), JournalError> {
    put(path, bytes);
    let opened = open(path);
    if opened.is_err() {
        assert!(fs::read(path).expect("read") == bytes, "a file that is refused is not touched");
    }
    opened
}

fn refused(path: &Path, bytes: &[u8]) -> JournalError {
    opened(path, bytes).map(|_| ()).unwrap_err()
}

fn damaged(path: &Path, bytes: &[u8], at: u64) {
    let error = refused(path, bytes);
    let here = matches!(error, JournalError::Damaged { at: found, .. } if found == at);
    assert!(here, "at {at}: {error:?}");
    assert!(error.to_string().contains("left untouched; restore it"), "{error}");
    let error = Journal::view(path, &key()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
}

/// Whatever a file is cut to, it opens with the batches that are whole, and goes on from there.
#[test]
fn a_file_cut_anywhere_holds_its_whole_batches() {
    let (_directory, path) = place();
    let lengths = written(&path);
    let whole = fs::read(&path).expect("read");
    for cut in 0..whole.len() {
        let Some(batches_left) = lengths.iter().rposition(|length| *length <= cut as u64) else {
            let error = refused(&path, &whole[..cut]);
            // A new file gets its name when its header is on the disk: this is no crash of ours.
            let said = matches!(
                (cut, &error),
                (0..8, JournalError::NotAJournal { .. })
                    | (8.., JournalError::Damaged { at: 0, .. })
            );
            assert!(said, "{cut}: {error:?}");
            continue;
        };
        put(&path, &whole[..cut]);
        let left = sum(&batches()[..batches_left]);
        assert_eq!(Journal::view(&path, &key()).expect("seen"), left, "{cut}");
        assert_eq!(fs::read(&path).expect("read").len(), cut, "looking repairs nothing");
        let (mut journal, logs) = open(&path).expect("opens");
        assert_eq!(logs, left, "{cut}");
        assert_eq!(fs::metadata(&path).expect("there").len(), lengths[batches_left]);
        let rest = batches()[batches_left..].concat();
        journal.append(&rest).expect("appended");
        drop(journal);
        assert_eq!(open(&path).expect("opens").1, sum(&batches()), "{cut}");
    }
}

#[test]
fn a_bit_changed_anywhere_is_found() {
    let (_directory, path) = place();
    let lengths = written(&path);
    let whole = fs::read(&path).expect("read");
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = read_bytes(&bytes, &key()).unwrap_err();
        let in_header = bit / 8 < HEADER_LEN;
        let right = match error {
            ReadError::Header(_) => in_header,
            ReadError::Damaged(at) => {
                let record = lengths.iter().rposition(|length| *length <= (bit / 8) as u64);
                !in_header && at == lengths[record.expect("behind the header")]
            }
            ReadError::Io(_) | ReadError::Unknown(_) => false,
        };
        assert!(right, "bit {bit}: {error:?}");
        if bit % 101 == 0 {
            refused(&path, &bytes);
        }
    }
}

/// A system that made the file longer before the bytes were on the disk shows zeros in whole sectors.
#[test]
fn sectors_of_zeros_at_the_end_are_a_torn_tail() {
    // In the first file the record's head is within a sector, in the second one it is not.
    for (first_len, head_split) in [(200, false), (250, true)] {
        let (_directory, path) = place();
        let (mut journal, _) = open(&path).expect("a new journal");
        let first = vec![begun(1), queued(1, 0, first_len)];
        journal.append(&first).expect("appended");
        let begin = journal.end.position as usize;
        journal.append(&[queued(1, 1, 1_700)]).expect("appended");
        drop(journal);
        let whole = fs::read(&path).expect("read");
        assert!(begin < 512 && whole.len() > 2_048, "{begin}, {}", whole.len());
        assert_eq!(begin + HEAD_LEN > 512, head_split, "{begin}");
        zero_sectors(&path, &whole, begin, &sum(&[first]));
    }
}

/// Any of the last record's sectors are missing; the first one as far as the record is in it.
fn zero_sectors(path: &Path, whole: &[u8], begin: usize, before: &Logs) {
    let sectors: Vec<_> = [begin].into_iter().chain((512..whole.len()).step_by(512)).collect();
    for missing in 1_u32..1 << sectors.len() {
        let is_missing = |index: usize| missing & (1 << index) != 0;
        let mut bytes = whole.to_vec();
        for index in (0..sectors.len()).filter(|index| is_missing(*index)) {
            let to = sectors.get(index + 1).copied().unwrap_or(whole.len());
            bytes[sectors[index]..to].fill(0);
        }
        let first = missing.trailing_zeros() as usize;
        let to_the_end = (first..sectors.len()).all(is_missing);
        let in_head = (0..sectors.len()).any(|at| is_missing(at) && sectors[at] < begin + HEAD_LEN);
        if to_the_end || !in_head {
            let (_, logs) = opened(path, &bytes).expect("a torn tail");
            assert_eq!(logs, *before, "{missing:b}");
        } else {
            // Without its head a record that is partly there is no tear that can be told from damage.
            damaged(path, &bytes, begin as u64);
        }
    }
    let longer = [whole, &[0; 700]].concat();
    assert_ne!(opened(path, &longer).expect("a torn tail").1, *before);
    // Zeros, but not to the end, or not of a sector.
    damaged(path, &[longer.as_slice(), &[1]].concat(), whole.len() as u64);
    let mut bytes = whole.to_vec();
    bytes[1_100..1_500].fill(0);
    damaged(path, &bytes, begin as u64);
}

#[test]
fn zeros_in_the_middle_are_damage() {
    let (_directory, path) = place();
    let lengths = written(&path);
    let whole = fs::read(&path).expect("read");
    for record in 0..3 {
        let [from, to] = [lengths[record] as usize, lengths[record + 1] as usize];
        let mut bytes = whole.clone();
        bytes[from..to].fill(0);
        damaged(&path, &bytes, lengths[record]);
        let mut bytes = whole.clone();
        bytes[from + HEAD_LEN..to].fill(0);
        damaged(&path, &bytes, lengths[record]);
    }
}

#[test]
fn records_keep_their_places() {
    let (directory, path) = place();
    let (mut journal, _) = open(&path).expect("a new journal");
    let alike = |number| vec![queued(1, number, 40)];
    journal.append(&[begun(1)]).expect("appended");
    let copy = directory.path().join("copy");
    let a = journal.end.position as usize;
    journal.append(&alike(0)).expect("appended");
    let b = journal.end.position as usize;
    let went_on = fs::read(&path).expect("read");
    for number in 1..4 {
        journal.append(&alike(number)).expect("appended");
    }
    let whole = fs::read(&path).expect("read");
    let len = b - a;
    let record = |index: usize| &whole[a + index * len..a + (index + 1) * len];
    assert_eq!(whole.len(), a + 4 * len);
    let (first, at) = (&whole[..a], |index: usize| (a + index * len) as u64);
    let exchanged = [first, record(1), record(0), record(2), record(3)].concat();
    damaged(&copy, &exchanged, at(0));
    damaged(&copy, &[first, record(0), record(2), record(3)].concat(), at(1));
    damaged(&copy, &[first, record(0), record(0), record(2)].concat(), at(1));
    // The copy of an earlier day goes on with another message of the same length, where this file has record 1.
    put(&copy, &went_on);
    let (mut other, _) = open(&copy).expect("opens");
    other.append(&alike(7)).expect("appended");
    other.append(&alike(8)).expect("appended");
    drop(other);
    let copied = fs::read(&copy).expect("read");
    let mixed = [&copied[..a + 2 * len], record(2), record(3)].concat();
    damaged(&copy, &mixed, at(2));
    // Another file under the same key, with the same entries.
    let other_path = directory.path().join("other");
    let (mut other, _) = open(&other_path).expect("a new journal");
    other.append(&[begun(1)]).expect("appended");
    other.append(&alike(0)).expect("appended");
    let moved = fs::read(&other_path).expect("read");
    assert_eq!(moved.len(), b);
    damaged(&copy, &[&whole[..a], &moved[a..], record(1)].concat(), at(0));
}

#[test]
fn another_version_key_or_kind_is_told_apart() {
    let (_directory, path) = place();
    written(&path);
    let whole = fs::read(&path).expect("read");
    let with_version = |version: u32, sum: bool| {
        let mut bytes = whole.clone();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        if sum {
            let digest = sha256(&[&bytes[..HEADER_LEN - TAG_LEN]]);
            bytes[HEADER_LEN - TAG_LEN..HEADER_LEN].copy_from_slice(&digest[..TAG_LEN]);
        }
        bytes
    };
    for sum in [false, true] {
        let error = refused(&path, &with_version(2, sum));
        let what = NewerPart::Format(2);
        let newer = matches!(error, JournalError::Newer { what: found, .. } if found == what);
        assert!(newer, "{error:?}");
        assert!(error.to_string().ends_with("(format 2, known is 1); upgrade"), "{error}");
        damaged(&path, &with_version(0, sum), 0);
    }
    put(&path, &whole);
    let other = StorageKey::new([8; 32]);
    let opened = Journal::open(&path, &other, Durability::Disk).map(|_| ());
    for error in [opened.unwrap_err(), Journal::view(&path, &other).unwrap_err()] {
        assert!(matches!(error, JournalError::WrongKey { .. }), "{error:?}");
        assert!(error.to_string().contains("belongs to another keystore"), "{error}");
    }
    for bytes in [&b""[..], b"HWJ", b"not a journal, but long enough for a header", &[0; 500]] {
        let error = refused(&path, bytes);
        assert!(matches!(error, JournalError::NotAJournal { .. }), "{error:?}");
    }
    open_again(&path, &whole);
}

fn open_again(path: &Path, whole: &[u8]) {
    assert_eq!(opened(path, whole).expect("opens").1, sum(&batches()));
}

/// Appends a record of any plaintext to a file.
fn with_record(whole: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let length = whole.len() as u64;
    let key = open_header(&whole, length, &key()).expect("a header");
    let End { position, chain } = replay(&whole, length, &key, |_, _| Ok(())).expect("records");
    let fill = |out: &mut Vec<u8>| out.extend_from_slice(plaintext);
    let sealed = key.seal(position, &chain, plaintext.len(), &mut OsRandom, fill);
    [whole, &sealed.bytes].concat()
}

#[test]
fn entries_of_a_newer_version_ask_for_an_upgrade() {
    let (_directory, path) = place();
    written(&path);
    let whole = fs::read(&path).expect("read");
    let mut known = Vec::new();
    begun(9).write(&mut known);
    for plaintext in [vec![9], vec![255; 50], [known.as_slice(), &[0x20, 1, 2]].concat()] {
        let error = refused(&path, &with_record(&whole, &plaintext));
        let newer =
            matches!(error, JournalError::Newer { what: NewerPart::Entry(9 | 0x20 | 0xff), .. });
        assert!(newer, "{error:?}");
        assert!(error.to_string().ends_with("; upgrade"), "{error}");
    }
    // Whoever has the key and does not write entries.
    for plaintext in [&b""[..], &known[..10], &[known.as_slice(), &[1, 2]].concat()] {
        damaged(&path, &with_record(&whole, plaintext), whole.len() as u64);
    }
}

#[test]
fn a_length_that_lies_is_not_believed() {
    let (_directory, path) = place();
    let lengths = written(&path);
    let whole = fs::read(&path).expect("read");
    for record in &lengths[..4] {
        let at = *record as usize;
        let right = u32::from_le_bytes(whole[at..at + 4].try_into().expect("four bytes"));
        for lie in [0, 1, 15, 16, right - 1, right + 1, 1 << 20, 1 << 24, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            damaged(&path, &bytes, *record);
        }
    }
}

#[test]
fn a_file_of_absurd_length_is_not_read() {
    let (_directory, path) = place();
    written(&path);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("ours");
    file.set_len(1 << 40).expect("a hole");
    let error = open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { at: 20_000, .. }), "{error:?}");
}
