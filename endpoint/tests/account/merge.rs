//! Two branches from one parent: what is honest is joined alike everywhere, what is not is shown.

use crate::support::{add, copy, hear, id, identity, log_of, members, remove, sorted};
use hushwire::account::{AccountLog, Keep, LogError, Merge, Statement};

/// Lets both hear each other until nothing is new.
fn talk(one: (&mut AccountLog, u8), other: (&mut AccountLog, u8)) {
    for _ in 0..4 {
        hear(one.0, one.1, other.0);
        hear(other.0, other.1, one.0);
    }
    assert_eq!(one.0.head(), other.0.head());
}

#[test]
fn two_devices_add_at_once_and_both_hold() {
    for first in 10..20 {
        let mut at_one = log_of(2);
        let mut at_two = copy(&at_one, 2);
        add(&mut at_one, 1, first).expect("added");
        add(&mut at_two, 2, 30).expect("added");
        talk((&mut at_one, 1), (&mut at_two, 2));
        assert_eq!(members(&at_one), sorted(&[1, 2, first, 30]));
        assert!(at_one.waiting().is_empty() && at_two.waiting().is_empty());
    }
}

#[test]
fn a_removal_holds_against_what_the_removed_device_does_meanwhile() {
    for number in 10..20 {
        let mut at_one = log_of(3);
        let (mut at_two, mut at_three) = (copy(&at_one, 2), copy(&at_one, 3));
        remove(&mut at_one, 1, 3).expect("removed");
        add(&mut at_three, 3, number).expect("it does not know yet");
        assert_eq!(hear(&mut at_one, 1, &at_three), Merge::Kept { at: 3 });
        // Whoever heard the other branch first comes over.
        assert_eq!(hear(&mut at_two, 2, &at_three), Merge::Extended { from: 3 });
        assert_eq!(hear(&mut at_two, 2, &at_one), Merge::Replaced { at: 3 });
        assert_eq!(members(&at_two), sorted(&[1, 2]));
        hear(&mut at_three, 3, &at_one);
        assert_eq!(at_three.head(), at_one.head());
        assert!(at_three.waiting().is_empty(), "it may sign nothing any more");
    }
}

#[test]
fn a_removed_device_cannot_rewrite_the_past() {
    let mut at_one = log_of(3);
    let base = copy(&at_one, 3);
    add(&mut at_one, 1, 10).expect("added");
    remove(&mut at_one, 1, 3).expect("removed");
    // It tries many first entries, hoping for a small hash.
    for number in 40..80 {
        let mut forged = base.clone();
        add(&mut forged, 3, number).expect("signed in the past");
        assert_eq!(hear(&mut at_one, 1, &forged), Merge::Kept { at: 3 });
    }
}

#[test]
fn a_device_that_signs_two_branches_is_named() {
    let mut at_one = log_of(3);
    let (mut at_two, mut at_three) = (copy(&at_one, 2), copy(&at_one, 3));
    let base = at_three.clone();
    add(&mut at_three, 3, 10).expect("added");
    hear(&mut at_one, 1, &at_three);
    let mut second = base;
    add(&mut second, 3, 11).expect("a second entry on the same parent");
    hear(&mut at_two, 2, &second);

    let forked = Merge::Forked { at: 3, by: vec![id(3)] };
    assert_eq!(hear(&mut at_one, 1, &second), forked);
    assert_eq!(hear(&mut at_two, 2, &at_three), forked);
    let fork = at_one.fork().expect("evidence");
    assert_eq!((fork.at, fork.ours.len(), fork.theirs.len()), (3, 1, 1));
    assert!(fork.ours[0].actor() == id(3) && fork.theirs[0].actor() == id(3));
    assert_eq!(add(&mut at_one, 1, 12), Err(LogError::Forked), "nothing goes on");
    // Also not over a restart, nor by more of either branch.
    at_one = AccountLog::decode(&at_one.encode()).expect("its own bytes");
    let mut longer = at_three.clone();
    add(&mut longer, 3, 13).expect("added");
    assert_eq!(hear(&mut at_one, 1, &longer), forked);
    assert_eq!(members(&at_one), sorted(&[1, 2, 3, 10]));

    // A person decides at one device; all others follow.
    at_one.settle(&identity(1), Keep::Ours, 20).expect("decided");
    assert_eq!(members(&at_one), sorted(&[1, 2, 10]));
    assert_eq!(hear(&mut at_two, 2, &at_one), Merge::Replaced { at: 3 });
    assert_eq!(at_two.head(), at_one.head());
    assert!(at_two.fork().is_none());
    assert_eq!(hear(&mut at_one, 1, &longer), Merge::Kept { at: 4 });
}

#[test]
fn persons_may_decide_differently() {
    let mut at_one = log_of(3);
    let (mut at_two, base) = (copy(&at_one, 2), copy(&at_one, 3));
    let (mut left, mut right) = (base.clone(), base);
    add(&mut left, 3, 10).expect("left");
    add(&mut right, 3, 11).expect("right");
    for (log, at) in [(&mut at_one, 1), (&mut at_two, 2)] {
        hear(log, at, &left);
        hear(log, at, &right);
    }
    at_one.settle(&identity(1), Keep::Ours, 20).expect("decided");
    at_two.settle(&identity(2), Keep::Theirs, 20).expect("decided");
    assert_eq!(members(&at_two), sorted(&[1, 2, 11]));
    let here = hear(&mut at_one, 1, &at_two);
    let there = hear(&mut at_two, 2, &at_one);
    // Both have done with the device; each person refused the other's branch, so each keeps its own.
    assert_eq!((here, there), (Merge::Kept { at: 3 }, Merge::Kept { at: 3 }));
}

#[test]
fn two_devices_that_remove_each_other_are_a_persons_matter() {
    let mut at_one = log_of(4);
    let (mut at_two, mut at_three, mut at_four) =
        (copy(&at_one, 2), copy(&at_one, 3), copy(&at_one, 4));
    remove(&mut at_one, 1, 2).expect("removed");
    remove(&mut at_two, 2, 1).expect("removed");
    hear(&mut at_three, 3, &at_one);
    let Merge::Forked { at: 4, mut by } = hear(&mut at_three, 3, &at_two) else {
        panic!("forked");
    };
    by.sort();
    assert_eq!(by, sorted(&[1, 2]));
    hear(&mut at_four, 4, &at_two);
    hear(&mut at_four, 4, &at_one);
    at_three.settle(&identity(3), Keep::Ours, 9).expect("decided");
    at_four.settle(&identity(4), Keep::Theirs, 9).expect("decided");
    assert_eq!(at_three.head(), at_four.head());
    assert_eq!(members(&at_three), sorted(&[1, 3, 4]));
    // The one that lost does not bring it up again.
    assert!(matches!(hear(&mut at_three, 3, &at_two), Merge::Kept { .. }));
    add(&mut at_three, 3, 5).expect("it goes on");
}

#[test]
fn a_thief_with_an_old_key_changes_nothing_and_two_new_keys_are_shown() {
    let mut at_one = log_of(2);
    let base = copy(&at_one, 2);
    at_one
        .rotate(&identity(22), Statement::sign(&identity(2), &identity(22), 5), 6)
        .expect("rotated");
    let mut thief = base.clone();
    add(&mut thief, 2, 66).expect("signed with the old key");
    assert_eq!(hear(&mut at_one, 1, &thief), Merge::Kept { at: 2 });
    let mut late = copy(&base, 1);
    hear(&mut late, 1, &thief);
    assert_eq!(hear(&mut late, 1, &at_one), Merge::Replaced { at: 2 });
    assert_eq!(members(&late), sorted(&[1, 22]));

    let mut thief = base;
    thief
        .rotate(&identity(66), Statement::sign(&identity(2), &identity(66), 5), 6)
        .expect("a second new key for one old");
    assert_eq!(hear(&mut at_one, 1, &thief), Merge::Forked { at: 2, by: vec![id(2)] });
    at_one.settle(&identity(1), Keep::Ours, 9).expect("decided");
    assert_eq!(members(&at_one), sorted(&[1]), "what the key became is removed with it");
    let mut other = late;
    hear(&mut other, 1, &thief);
    assert_eq!(hear(&mut other, 1, &at_one), Merge::Extended { from: 3 });
    assert_eq!(other.head(), at_one.head());
}

#[test]
fn a_key_that_was_replaced_on_a_lost_branch_is_replaced_again() {
    for number in 10..20 {
        let mut at_one = log_of(2);
        let mut at_two = copy(&at_one, 2);
        add(&mut at_one, 1, number).expect("added");
        add(&mut at_two, 2, 30).expect("added");
        at_two
            .rotate(&identity(22), Statement::sign(&identity(2), &identity(22), 5), 6)
            .expect("rotated");
        talk((&mut at_one, 1), (&mut at_two, 22));
        assert_eq!(members(&at_one), sorted(&[1, 22, number, 30]));
    }
}
