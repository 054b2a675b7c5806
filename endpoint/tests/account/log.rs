//! Who may do what, and what a log says of itself.

use crate::support::{add, copy, hear, id, identity, log_of, members, remove, sorted};
use hushwire::account::limits::{DEVICES_MAX, ENTRIES_MAX};
use hushwire::account::{AccountLog, LogError, Merge, Operation, Proof, Statement};

#[test]
fn each_device_is_added_by_a_member_and_visible_to_all() {
    let mut at_one = log_of(2);
    let mut at_two = copy(&at_one, 2);
    add(&mut at_two, 2, 3).expect("a member adds");
    assert_eq!(hear(&mut at_one, 1, &at_two), Merge::Extended { from: 2 });
    assert_eq!(members(&at_one), sorted(&[1, 2, 3]));
    let third = at_one.member(&id(3)).expect("a member");
    assert_eq!((third.added_by, third.since, third.name.as_str()), (id(2), 2, "device 3"));
    assert_eq!(at_one.fingerprint(), at_two.fingerprint());
    assert_eq!(at_one.fingerprint().len(), 24);
    assert_eq!(hear(&mut at_one, 1, &at_two), Merge::Known);
}

#[test]
fn only_members_act() {
    let mut log = log_of(2);
    assert_eq!(add(&mut log, 9, 3), Err(LogError::NotMember(id(9))));
    assert_eq!(remove(&mut log, 9, 1), Err(LogError::NotMember(id(9))));
    remove(&mut log, 1, 2).expect("a member removes");
    assert_eq!(add(&mut log, 2, 3), Err(LogError::NotMember(id(2))), "it was removed");
    assert_eq!(log.entries().len(), 3, "nothing was written");
}

#[test]
fn who_was_removed_never_comes_back() {
    let mut log = log_of(2);
    assert_eq!(add(&mut log, 1, 2), Err(LogError::Present(id(2))));
    remove(&mut log, 1, 2).expect("removed");
    assert_eq!(add(&mut log, 1, 2), Err(LogError::Ended(id(2))));
    assert_eq!(remove(&mut log, 1, 2), Err(LogError::NotMember(id(2))));
    assert_eq!(remove(&mut log, 1, 1), Err(LogError::Last));
}

#[test]
fn a_device_is_added_with_its_consent_to_this_log_only() {
    let mut log = log_of(1);
    let other = AccountLog::begin(&identity(1), "device 1", 2).expect("another log");
    let foreign = Proof::sign(&identity(2), &other.id());
    let by_another = Proof::sign(&identity(3), &log.id());
    for proof in [foreign, by_another] {
        let added = log.add(&identity(1), (id(2), proof), "phone", 3);
        assert_eq!(added, Err(LogError::Unsigned));
    }
    let proof = Proof::sign(&identity(2), &log.id());
    for name in ["a\u{202e}b", "a\nb", &"x".repeat(65)] {
        let added = log.add(&identity(1), (id(2), proof), name, 3);
        assert_eq!(added, Err(LogError::Name), "{name:?}");
    }
}

#[test]
fn a_device_goes_on_under_a_new_key() {
    let mut log = log_of(2);
    let statement = Statement::sign(&identity(2), &identity(22), 5);
    assert_eq!(
        log.rotate(&identity(1), statement, 6),
        Err(LogError::NotMember(id(1))),
        "the new key itself says so"
    );
    log.rotate(&identity(22), statement, 6).expect("rotated");
    assert_eq!(members(&log), sorted(&[1, 22]));
    assert_eq!(log.member(&id(22)).expect("a member").name, "device 2");
    assert_eq!(add(&mut log, 2, 3), Err(LogError::NotMember(id(2))));
    assert_eq!(add(&mut log, 1, 2), Err(LogError::Ended(id(2))));
    let back = Statement::sign(&identity(22), &identity(2), 7);
    assert_eq!(log.rotate(&identity(2), back, 8), Err(LogError::Ended(id(2))));
    add(&mut log, 22, 3).expect("the new key acts");
}

#[test]
fn a_log_is_joined_by_a_member_only_and_whole() {
    let log = log_of(3);
    let joined = |bytes: &[u8], number| AccountLog::join(bytes, &id(number)).map(|log| log.id());
    assert_eq!(joined(&log.entries_from(0), 2), Ok(log.id()));
    assert_eq!(joined(&log.entries_from(0), 9), Err(LogError::NotMember(id(9))));
    assert_eq!(joined(&[], 1), Err(LogError::Missing(0)));
    assert_eq!(joined(&log.entries_from(1), 1), Err(LogError::Broken(0)));
}

#[test]
fn missing_entries_are_named() {
    let log = log_of(5);
    let mut behind = AccountLog::join(&log_of(2).entries_from(0), &id(2)).expect("a prefix");
    let extend =
        |behind: &mut AccountLog, from| behind.extend(&identity(2), &log.entries_from(from), 9);
    assert_eq!(extend(&mut behind, 3), Err(LogError::Missing(2)));
    assert_eq!(extend(&mut behind, 1), Ok(Merge::Extended { from: 2 }));
    assert!(log.has(&behind.head()) && behind.has(&log.head()));
    let mut other = log_of(4);
    remove(&mut other, 1, 4).expect("removed");
    assert!(!log.has(&other.head()));
    add(&mut other, 1, 5).expect("added");
    assert_eq!(behind.extend(&identity(2), &other.entries_from(5), 9), Err(LogError::Missing(0)));
}

#[test]
fn a_log_is_bounded() {
    let mut log = log_of(u8::try_from(DEVICES_MAX).expect("64"));
    assert_eq!(add(&mut log, 1, 99), Err(LogError::DevicesFull));
    let mut key = identity(64);
    for turn in u64::try_from(DEVICES_MAX).expect("64")..u64::try_from(ENTRIES_MAX).expect("1 024")
    {
        let mut secret = [0xee; 32];
        secret[..8].copy_from_slice(&turn.to_le_bytes());
        let next = hushwire::identity::Identity::from_secret(&secret);
        log.rotate(&next, Statement::sign(&key, &next, turn), turn).expect("room");
        key = next;
    }
    assert_eq!(remove(&mut log, 1, 2), Err(LogError::EntriesFull));
    let bytes = log.encode();
    assert!(bytes.len() < hushwire::account::limits::FILE_BYTES_MAX);
    assert_eq!(AccountLog::decode(&bytes).expect("its own bytes").head(), log.head());
}

#[test]
fn it_is_the_same_after_a_restart() {
    let mut log = log_of(3);
    remove(&mut log, 1, 3).expect("removed");
    let again = AccountLog::decode(&log.encode()).expect("its own bytes");
    assert_eq!((again.head(), members(&again)), (log.head(), members(&log)));
    assert!(
        matches!(again.entries()[0].operation(), Operation::Genesis { name } if name == "device 1")
    );
}
