//! Whatever is changed, cut, repeated or left out of a log: it is refused, or it is no news.

use crate::support::{add, copy, id, identity, log_of, remove};
use hushwire::account::{AccountLog, LogError, Merge, Statement};
use proptest::prelude::*;

/// All operations.
fn full() -> AccountLog {
    let mut log = log_of(3);
    log.rotate(&identity(22), Statement::sign(&identity(2), &identity(22), 5), 6).expect("rotated");
    remove(&mut log, 22, 3).expect("removed");
    add(&mut log, 22, 4).expect("added");
    log
}

/// The bytes of each entry.
fn pieces(log: &AccountLog) -> Vec<Vec<u8>> {
    log.entries().iter().map(|entry| entry.bytes().to_vec()).collect()
}

#[test]
fn every_bit_of_an_entry_is_signed_or_fixed() {
    let log = full();
    let whole = log.entries_from(0);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(AccountLog::join(&bytes, &id(1)).is_err(), "byte {at}");
    }
}

#[test]
fn every_bit_of_the_file_counts_and_every_cut_shows() {
    let bytes = full().encode();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(AccountLog::decode(&changed).is_err(), "byte {at}");
        assert!(AccountLog::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_relay_that_leaves_out_repeats_or_swaps_changes_nothing() {
    let log = full();
    let pieces = pieces(&log);
    let start = copy(&log_of(1), 1);
    for left_out in 1..pieces.len() - 1 {
        let bytes: Vec<u8> = pieces
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out)
            .flat_map(|(_, piece)| piece.clone())
            .collect();
        let mut at_one = start.clone();
        let refused = at_one.extend(&identity(1), &bytes, 9);
        assert!(matches!(refused, Err(LogError::Broken(_) | LogError::Missing(_))), "{refused:?}");
        assert_eq!(at_one.head(), start.head());
    }
    for swapped in 1..pieces.len() - 1 {
        let mut pieces = pieces.clone();
        pieces.swap(swapped, swapped + 1);
        let mut at_one = start.clone();
        assert!(at_one.extend(&identity(1), &pieces.concat(), 9).is_err());
    }
    for doubled in 0..pieces.len() {
        let mut pieces = pieces.clone();
        pieces.insert(doubled, pieces[doubled].clone());
        let mut at_one = start.clone();
        assert!(at_one.extend(&identity(1), &pieces.concat(), 9).is_err());
    }
}

#[test]
fn a_log_never_goes_back() {
    let log = full();
    let mut at_one = copy(&log, 1);
    let pieces = pieces(&log);
    for kept in 1..pieces.len() {
        let merge = at_one.extend(&identity(1), &pieces[..kept].concat(), 9);
        assert_eq!(merge, Ok(Merge::Known));
        assert_eq!(at_one.head(), log.head());
    }
}

#[test]
fn another_account_is_refused() {
    let mut at_one = log_of(2);
    let other = AccountLog::begin(&identity(1), "device 1", 99).expect("another");
    let refused = at_one.extend(&identity(1), &other.entries_from(0), 9);
    assert_eq!(refused, Err(LogError::OtherLog));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        hushwire::fuzzing::account_log(&bytes);
        hushwire::fuzzing::rotation(&bytes);
    }

    #[test]
    fn a_statement_with_any_change_is_refused(at in 0usize..208, mask in 1u8..) {
        let statement = Statement::sign(&identity(1), &identity(2), 3);
        let mut bytes = statement.encode();
        prop_assert_eq!(Statement::decode(&bytes), Ok(statement));
        bytes[at] ^= mask;
        prop_assert!(Statement::decode(&bytes).is_err());
        prop_assert!(Statement::decode(&bytes[..at]).is_err());
    }
}
