//! Every query, every refusal, and what a repeated request does.

use crate::common::{NOW, account, device, enrol, flood, invite, name, open, redeem, secret};
use hushwire_relay::store::{
    Answer, DEVICES_PAGE_MAX, INVITES_MAX, Query, REVOKED_PER_ACCOUNT_MAX, Refusal, Row,
    SEEN_BATCH_MAX, Status, Store, StoreOptions,
};
use hushwire_wire::id::{AccountId, DeviceId};

fn store() -> (tempfile::TempDir, Store) {
    store_with(StoreOptions::default())
}

fn store_with(options: StoreOptions) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"), options);
    (directory, store)
}

fn row_of(store: &Store, device: DeviceId) -> Row {
    let Answer::Row(row) = store.call(Query::Device { device }) else { panic!("no row") };
    *row
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal)
}

fn register(account: AccountId, device: DeviceId) -> Query {
    Query::Register { account, device, name: name("phone") }
}

fn grant(recipient: DeviceId, sender: DeviceId) -> Query {
    Query::Grant { recipient, sender }
}

#[test]
fn an_unknown_device_is_unknown() {
    let (_directory, store) = store();
    assert_eq!(store.call(Query::Device { device: device(1) }), Answer::Unknown);
}

#[test]
fn an_invite_makes_an_account_and_works_once() {
    let (_directory, store) = store();
    assert_eq!(store.call(invite(1, account(1))), Answer::Done);
    let expected = Row {
        account: account(1),
        name: name("laptop"),
        status: Status::Active,
        native_only: false,
        presence_hidden: false,
        grants: Vec::new(),
    };
    let row = Answer::Row(Box::new(expected.clone()));
    assert_eq!(store.call(redeem(1, device(1))), row);
    assert_eq!(row_of(&store, device(1)), expected);

    // The same device may ask again, also when the invite has expired since.
    assert_eq!(store.call(redeem(1, device(1))), row);
    let late = Query::Redeem {
        secret_hash: secret(1),
        device: device(1),
        name: name("renamed"),
        now_unix_s: NOW + 7_200,
    };
    assert_eq!(store.call(late), row, "repeating changes nothing");

    let check = |query: Query, expect: Refusal| assert_eq!(store.call(query), refused(expect));
    check(redeem(1, device(2)), Refusal::InviteUsed);
    check(redeem(2, device(2)), Refusal::InviteUnknown);
    check(invite(1, account(2)), Refusal::InviteExists);
    assert_eq!(store.call(invite(3, account(3))), Answer::Done);
    check(redeem(3, device(1)), Refusal::AlreadyEnrolled);
    let late = Query::Redeem {
        secret_hash: secret(3),
        device: device(3),
        name: name(""),
        now_unix_s: NOW + 3_600,
    };
    check(late, Refusal::InviteExpired);
    assert!(matches!(store.call(redeem(3, device(3))), Answer::Row(_)), "not used up by refusals");
    assert_eq!(store.call(Query::Revoke { account: None, device: device(3) }), Answer::Done);
    check(redeem(3, device(3)), Refusal::Revoked);
}

#[test]
fn an_invite_can_lead_into_an_account_that_exists() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(1));
    let into = |number, account| Query::InviteCreate {
        secret_hash: secret(number),
        expires_unix_s: NOW + 1,
        account: Some(account),
        new_account: AccountId::ZERO,
        now_unix_s: NOW,
    };
    assert_eq!(store.call(into(2, account(9))), refused(Refusal::UnknownAccount));
    assert_eq!(store.call(into(2, account(1))), Answer::Done);
    assert!(matches!(store.call(redeem(2, device(2))), Answer::Row(_)));
    assert_eq!(row_of(&store, device(2)).account, account(1));
    let Answer::Stats(stats) = store.call(Query::Stats) else { panic!("stats") };
    assert_eq!((stats.devices, stats.accounts, stats.grants, stats.invites), (2, 1, 0, 2));
    assert!(stats.map_bytes_used > 0 && stats.map_bytes_used < stats.map_bytes_total);
}

#[test]
fn an_account_has_a_limit_of_devices() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(1));
    for number in 2..=64 {
        assert_eq!(store.call(register(account(1), device(number))), Answer::Done);
    }
    assert_eq!(store.call(register(account(1), device(65))), refused(Refusal::AccountFull));
    let into = Query::InviteCreate {
        secret_hash: secret(2),
        expires_unix_s: NOW + 1,
        account: Some(account(1)),
        new_account: AccountId::ZERO,
        now_unix_s: NOW,
    };
    assert_eq!(store.call(into), Answer::Done);
    assert_eq!(store.call(redeem(2, device(65))), refused(Refusal::AccountFull));
    let revoke = Query::Revoke { account: Some(account(1)), device: device(2) };
    assert_eq!(store.call(revoke), Answer::Done);
    assert!(matches!(store.call(redeem(2, device(65))), Answer::Row(_)), "room was made");
}

#[test]
fn registering_and_renaming() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(1));
    enrol(&store, 2, account(2), device(2));
    let rename = |account, device| Query::Rename { account, device, name: name("desk") };
    let check = |query: Query, expect: Answer| assert_eq!(store.call(query), expect);
    check(register(account(1), device(3)), Answer::Done);
    check(register(account(1), device(3)), Answer::Done);
    check(register(account(2), device(3)), refused(Refusal::OtherAccount));
    check(register(account(9), device(4)), refused(Refusal::UnknownAccount));
    check(rename(account(1), device(3)), Answer::Done);
    check(rename(account(2), device(3)), refused(Refusal::UnknownDevice));
    check(rename(account(1), device(9)), refused(Refusal::UnknownDevice));
    assert_eq!(row_of(&store, device(3)).name, name("desk"));
    check(Query::Revoke { account: Some(account(1)), device: device(3) }, Answer::Done);
    check(register(account(1), device(3)), refused(Refusal::Revoked));
    check(rename(account(1), device(3)), refused(Refusal::UnknownDevice));
}

#[test]
fn flags_of_a_device() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(1));
    let hide = |device, hidden| Query::PresenceHide { device, hidden };
    assert_eq!(store.call(hide(device(1), true)), Answer::Done);
    assert!(row_of(&store, device(1)).presence_hidden);
    assert_eq!(store.call(hide(device(1), false)), Answer::Done);
    assert!(!row_of(&store, device(1)).presence_hidden);
    assert_eq!(store.call(hide(device(2), true)), refused(Refusal::UnknownDevice));
    let native = Query::MarkNative { device: device(1), native_only: true };
    assert_eq!(store.call(native), Answer::Done);
    assert!(row_of(&store, device(1)).native_only);
    let native = Query::MarkNative { device: device(2), native_only: true };
    assert_eq!(store.call(native), refused(Refusal::UnknownDevice));
}

#[test]
fn who_may_reach_whom() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(1));
    enrol(&store, 2, account(2), device(2));
    assert_eq!(store.call(register(account(1), device(3))), Answer::Done);
    let reach = |sender: DeviceId, sender_account: AccountId, recipient: DeviceId| {
        store.call(Query::Reach { sender, sender_account, recipient })
    };
    let offline = |hidden| Answer::Offline { push: false, hidden };
    assert_eq!(reach(device(1), account(1), device(3)), offline(false), "same account");
    assert_eq!(reach(device(2), account(2), device(1)), refused(Refusal::NotAllowed));
    assert_eq!(reach(device(2), account(2), device(9)), refused(Refusal::NotAllowed));

    assert_eq!(store.call(grant(device(1), device(2))), Answer::Done);
    assert_eq!(store.call(grant(device(1), device(2))), Answer::Done, "granting twice is once");
    assert_eq!(row_of(&store, device(1)).grants, [device(2)]);
    assert_eq!(reach(device(2), account(2), device(1)), offline(false));
    assert_eq!(reach(device(1), account(1), device(2)), refused(Refusal::NotAllowed), "one way");
    let hide = Query::PresenceHide { device: device(1), hidden: true };
    assert_eq!(store.call(hide), Answer::Done);
    assert_eq!(reach(device(2), account(2), device(1)), offline(true));

    let ungrant = Query::Ungrant { recipient: device(1), sender: device(2) };
    assert_eq!(store.call(ungrant.clone()), Answer::Done);
    assert_eq!(store.call(ungrant), Answer::Done, "taking back twice is once");
    assert_eq!(reach(device(2), account(2), device(1)), refused(Refusal::NotAllowed));
    let ungrant = Query::Ungrant { recipient: device(9), sender: device(2) };
    assert_eq!(store.call(ungrant), Answer::Done);
    assert_eq!(store.call(grant(device(9), device(2))), refused(Refusal::UnknownDevice));
}

#[test]
fn grants_are_counted_by_account() {
    let (_directory, store) =
        store_with(StoreOptions { grants_per_account: 4, ..StoreOptions::default() });
    enrol(&store, 1, account(1), device(1));
    assert_eq!(store.call(register(account(1), device(2))), Answer::Done);
    for sender in 10..12 {
        assert_eq!(store.call(grant(device(1), device(sender))), Answer::Done);
        assert_eq!(store.call(grant(device(2), device(sender))), Answer::Done);
    }
    assert_eq!(store.call(grant(device(1), device(20))), refused(Refusal::GrantsFull));
    let ungrant = Query::Ungrant { recipient: device(2), sender: device(10) };
    assert_eq!(store.call(ungrant), Answer::Done);
    assert_eq!(store.call(grant(device(1), device(20))), Answer::Done);
    assert_eq!(row_of(&store, device(1)).grants, [device(10), device(11), device(20)]);

    // Revoking deletes what the device granted, so the account may grant anew.
    let revoke = Query::Revoke { account: None, device: device(1) };
    assert_eq!(store.call(revoke), Answer::Done);
    assert_eq!(row_of(&store, device(1)).grants, []);
    for sender in 30..33 {
        assert_eq!(store.call(grant(device(2), device(sender))), Answer::Done);
    }
    assert_eq!(store.call(grant(device(2), device(33))), refused(Refusal::GrantsFull));
}

#[test]
fn revoking_is_for_good() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(1));
    enrol(&store, 2, account(2), device(2));
    assert_eq!(store.call(grant(device(1), device(2))), Answer::Done);
    let revoke = |account, device| Query::Revoke { account, device };
    let unknown = refused(Refusal::UnknownDevice);
    assert_eq!(store.call(revoke(Some(account(2)), device(1))), unknown, "not its account");
    assert_eq!(store.call(revoke(None, device(9))), unknown);
    assert_eq!(store.call(revoke(Some(account(1)), device(1))), Answer::Done);
    assert_eq!(store.call(revoke(None, device(1))), Answer::Done, "twice is once");
    assert_eq!(row_of(&store, device(1)).status, Status::Revoked);
    let reach =
        Query::Reach { sender: device(2), sender_account: account(2), recipient: device(1) };
    assert_eq!(store.call(reach), refused(Refusal::NotAllowed));
    assert_eq!(store.call(grant(device(1), device(2))), unknown);
}

#[test]
fn an_account_remembers_a_bounded_number_of_revoked_devices() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(0));
    let last = u64::from(REVOKED_PER_ACCOUNT_MAX) + 1;
    for number in 1..=last {
        assert_eq!(store.call(register(account(1), device(number))), Answer::Done);
        let revoke = Query::Revoke { account: Some(account(1)), device: device(number) };
        assert_eq!(store.call(revoke), Answer::Done);
    }
    assert_eq!(store.call(Query::Device { device: device(1) }), Answer::Unknown, "forgotten");
    assert_eq!(row_of(&store, device(2)).status, Status::Revoked);
    assert_eq!(row_of(&store, device(last)).status, Status::Revoked);
    let Answer::Stats(stats) = store.call(Query::Stats) else { panic!("stats") };
    assert_eq!(stats.devices, u64::from(REVOKED_PER_ACCOUNT_MAX) + 1);
}

#[test]
fn days_are_batched_and_only_go_forward() {
    let (_directory, store) = store();
    enrol(&store, 1, account(1), device(1));
    let day = (NOW / 86_400) as u32;
    let seen_day = || {
        let list = store.call(Query::Devices { after: None, limit: 9 });
        let Answer::Devices { page, next: None } = list else { panic!("no page") };
        page[0].seen_day
    };
    assert_eq!(seen_day(), day, "enrolling is being seen");
    let seen = vec![(device(1), day + 2), (device(9), day), (device(1), day + 1)];
    assert_eq!(store.call(Query::SeenDays(seen)), Answer::Done);
    assert_eq!(seen_day(), day + 2);
    let many = vec![(device(1), day); SEEN_BATCH_MAX + 1];
    assert_eq!(store.call(Query::SeenDays(many)), refused(Refusal::TooMany));
}

#[test]
fn devices_are_listed_in_pages() {
    let (_directory, store) =
        store_with(StoreOptions { devices_per_account: 1_000, ..StoreOptions::default() });
    enrol(&store, 1, account(1), device(0));
    for number in 1..300 {
        assert_eq!(store.call(register(account(1), device(number))), Answer::Done);
    }
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    let mut after = None;
    loop {
        let Answer::Devices { page, next } =
            store.call(Query::Devices { after, limit: usize::MAX })
        else {
            panic!("no page");
        };
        sizes.push(page.len());
        seen.extend(page.iter().map(|entry| entry.device));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(sizes, [DEVICES_PAGE_MAX, 300 - DEVICES_PAGE_MAX]);
    assert_eq!(seen, (0..300).map(device).collect::<Vec<_>>());
    let exact = store.call(Query::Devices { after: Some(device(297)), limit: 2 });
    let Answer::Devices { page, next: None } = exact else { panic!("the last page has no next") };
    assert_eq!(page.len(), 2);
    let Answer::Devices { page, .. } = store.call(Query::Devices { after: None, limit: 0 }) else {
        panic!("no page");
    };
    assert!(page.is_empty());
}

#[test]
fn everything_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er/store");
    let first = open(&path, StoreOptions::default());
    enrol(&first, 1, account(1), device(1));
    assert_eq!(first.call(grant(device(1), device(2))), Answer::Done);
    let (meta, row) = (first.meta(), row_of(&first, device(1)));
    assert_eq!(meta.steering % 2, 1);
    assert_eq!(format!("{meta:?}"), "Meta { schema: 1, .. }", "keys are not shown");
    first.close();
    let again =
        Store::open(&path, StoreOptions::default(), |_| panic!("nothing is drawn")).unwrap();
    assert_eq!((again.meta(), row_of(&again, device(1))), (meta, row));
}

#[test]
fn expired_invites_make_room() {
    let (_directory, store) = store();
    let invites = (0..INVITES_MAX).map(|number| invite(number, account(1)));
    assert!(flood(&store, invites).iter().all(|answer| *answer == Answer::Done));
    assert_eq!(store.call(invite(99_999, account(1))), refused(Refusal::InvitesFull));
    let later = Query::InviteCreate {
        secret_hash: secret(99_999),
        expires_unix_s: NOW + 9_999,
        account: None,
        new_account: account(2),
        now_unix_s: NOW + 3_600,
    };
    assert_eq!(store.call(later), Answer::Done);
    let Answer::Stats(stats) = store.call(Query::Stats) else { panic!("stats") };
    assert_eq!(stats.invites, 1);
}

#[test]
fn used_invites_make_room() {
    let (_directory, store) = store();
    let invites = (0..INVITES_MAX).map(|number| invite(number, account(1)));
    assert!(flood(&store, invites).iter().all(|answer| *answer == Answer::Done));
    let enrolled = store.call(redeem(7, device(7)));
    assert!(matches!(enrolled, Answer::Row(_)));
    assert_eq!(store.call(redeem(7, device(7))), enrolled, "it may ask again");
    assert_eq!(store.call(invite(99_999, account(2))), Answer::Done);
    assert_eq!(row_of(&store, device(7)).account, account(1), "it stays what it is");
    assert_eq!(store.call(redeem(7, device(8))), refused(Refusal::InviteUnknown));
    assert_eq!(store.call(invite(99_998, account(2))), refused(Refusal::InvitesFull));
    assert!(matches!(store.call(redeem(8, device(8))), Answer::Row(_)), "open ones stay open");
}
