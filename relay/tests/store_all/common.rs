//! What the tests of the store share.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use hushwire_relay::store::{Answer, Answers, Name, Query, Store, StoreOptions};
use hushwire_wire::id::{AccountId, DeviceId};

pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn device(number: u64) -> DeviceId {
    let mut bytes = [0xd0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    DeviceId::new(bytes)
}

pub(crate) fn account(number: u8) -> AccountId {
    AccountId::new([number; 16])
}

pub(crate) fn secret(number: u64) -> [u8; 32] {
    let mut bytes = [0x5e; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn open(path: &Path, options: StoreOptions) -> Store {
    Store::open(path, options, seeded()).unwrap()
}

/// A source that is not random, but never gives the same byte twice in a row.
pub(crate) fn seeded() -> impl FnMut(&mut [u8]) {
    let mut next = 0x11_u8;
    move |bytes| {
        for byte in bytes {
            *byte = next;
            next = next.wrapping_mul(5).wrapping_add(3);
        }
    }
}

pub(crate) fn small() -> StoreOptions {
    StoreOptions { map_bytes_start: 1 << 20, map_bytes_max: 1 << 20, ..StoreOptions::default() }
}

/// An invite `number` into a new account.
pub(crate) fn invite(number: u64, into: AccountId) -> Query {
    Query::InviteCreate {
        secret_hash: secret(number),
        expires_unix_s: NOW + 3_600,
        account: None,
        new_account: into,
        now_unix_s: NOW,
    }
}

pub(crate) fn redeem(number: u64, device: DeviceId) -> Query {
    Query::Redeem { secret_hash: secret(number), device, name: name("laptop"), now_unix_s: NOW }
}

/// Enrols `device` as the first of `account`.
pub(crate) fn enrol(store: &Store, number: u64, account: AccountId, device: DeviceId) {
    assert_eq!(store.call(invite(number, account)), Answer::Done);
    assert!(matches!(store.call(redeem(number, device)), Answer::Row(_)));
}

/// Hands answers to the test.
pub(crate) struct Collect(Sender<(u64, Answer)>);

impl Answers for Collect {
    fn deliver(&self, ticket: u64, answer: Answer) {
        // It fails when the test has heard enough.
        drop(self.0.send((ticket, answer)));
    }
}

pub(crate) fn collect() -> (Arc<Collect>, Receiver<(u64, Answer)>) {
    let (sender, receiver) = channel();
    (Arc::new(Collect(sender)), receiver)
}

/// Submits everything at once, as many shards would, and gives back the answers by ticket.
pub(crate) fn flood(store: &Store, queries: impl Iterator<Item = Query>) -> Vec<Answer> {
    let (answers, received) = collect();
    let client = store.client(answers);
    let mut collected = Vec::new();
    let mut take = |(ticket, answer): (u64, Answer)| {
        let at = usize::try_from(ticket).unwrap();
        if collected.len() <= at {
            collected.resize(at + 1, None);
        }
        collected[at] = Some(answer);
    };
    let mut waiting = 0;
    for (ticket, query) in (0..).zip(queries) {
        while client.submit(ticket, query.clone()).is_err() {
            take(received.recv().unwrap());
            waiting -= 1;
        }
        waiting += 1;
    }
    for _ in 0..waiting {
        take(received.recv().unwrap());
    }
    collected.into_iter().map(|answer| answer.expect("one answer each")).collect()
}
