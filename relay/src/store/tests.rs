//! Tests that need to hold the writer in the middle of a commit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use hushwire_wire::id::{AccountId, DeviceId};

use super::*;

/// Answers in the order they were given.
struct Collect(Sender<(u64, Answer)>);

impl Answers for Collect {
    fn deliver(&self, ticket: u64, answer: Answer) {
        self.0.send((ticket, answer)).expect("the test listens");
    }
}

fn collect() -> (Arc<dyn Answers>, Receiver<(u64, Answer)>) {
    let (sender, receiver) = channel();
    (Arc::new(Collect(sender)), receiver)
}

fn device(number: u64) -> DeviceId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    DeviceId::new(bytes)
}

/// A store whose writer waits before each commit for a permit, after saying that it is there.
fn held() -> (tempfile::TempDir, Store, Receiver<()>, Sender<()>) {
    let directory = tempfile::tempdir().unwrap();
    let (arrived, arrivals) = channel();
    let (permits, permit) = channel::<()>();
    let permit = RwLock::new(permit_of(permit));
    let options = StoreOptions {
        before_commit: BeforeCommit(Arc::new(move || {
            arrived.send(()).expect("the test listens");
            // Once the test has dropped its end, nothing waits any more.
            let _ = (permit.write().unwrap())();
        })),
        ..StoreOptions::default()
    };
    let store = Store::open(directory.path().join("store"), options, |b| b.fill(1)).unwrap();
    (directory, store, arrivals, permits)
}

fn permit_of(permit: Receiver<()>) -> Box<dyn FnMut() -> bool + Send + Sync> {
    // A Receiver is not Sync; a thread of its own hands the permits on.
    let (ask, asked) = sync_channel::<Sender<bool>>(0);
    std::thread::spawn(move || {
        while let Ok(reply) = asked.recv() {
            let _ = reply.send(permit.recv().is_ok());
        }
    });
    Box::new(move || {
        let (reply, answer) = channel();
        ask.send(reply).is_ok() && answer.recv().unwrap_or(false)
    })
}

fn invite(number: u64) -> Query {
    Query::InviteCreate {
        secret_hash: *device(number).as_bytes(),
        expires_unix_s: 10,
        account: None,
        new_account: AccountId::new([1; 16]),
        now_unix_s: 0,
    }
}

#[test]
fn the_defaults_are_those_of_the_configuration() {
    let (own, configured) = (StoreOptions::default(), StoreOptions::from(&Config::default()));
    assert_eq!(format!("{own:?}"), format!("{configured:?}"));
}

#[test]
fn changes_that_wait_share_one_commit() {
    let (_directory, store, arrivals, permits) = held();
    let (answers, received) = collect();
    let client = store.client(answers);
    client.submit(0, invite(0)).unwrap();
    arrivals.recv().unwrap();
    for ticket in 1..=200 {
        client.submit(ticket, invite(ticket)).unwrap();
    }
    permits.send(()).unwrap();
    assert_eq!(received.recv().unwrap(), (0, Answer::Done));
    permits.send(()).unwrap();
    for ticket in 1..=200 {
        assert_eq!(received.recv().unwrap(), (ticket, Answer::Done), "answers keep the order");
    }
    let counters = store.counters();
    assert_eq!((counters.commits, counters.changes), (2, 201));
}

#[test]
fn reads_go_on_while_the_writer_waits_for_the_disk() {
    let (_directory, store, arrivals, permits) = held();
    let (answers, received) = collect();
    let client = store.client(answers);
    client.submit(1, invite(1)).unwrap();
    arrivals.recv().unwrap();
    for _ in 0..2 * READERS {
        assert_eq!(store.call(Query::Device { device: device(1) }), Answer::Unknown);
        let Answer::Stats(stats) = store.call(Query::Stats) else { panic!("stats") };
        assert_eq!(stats.invites, 0, "what is not committed is not seen");
    }
    assert!(received.try_recv().is_err(), "the change is not answered before it is on disk");
    permits.send(()).unwrap();
    assert_eq!(received.recv().unwrap(), (1, Answer::Done));
}

#[test]
fn a_full_inbox_is_busy_and_loses_nothing() {
    let (_directory, store, arrivals, permits) = held();
    let (answers, received) = collect();
    let client = store.client(answers);
    client.submit(0, invite(0)).unwrap();
    arrivals.recv().unwrap();
    let mut accepted = 1;
    while client.submit(accepted, Query::SeenDays(Vec::new())).is_ok() {
        accepted += 1;
    }
    assert_eq!(accepted, 1 + CHANGES_MAX as u64);
    assert_eq!(store.counters().busy, 1);
    drop(permits);
    for ticket in 0..accepted {
        assert_eq!(received.recv().unwrap(), (ticket, Answer::Done));
    }
}

#[test]
fn closing_answers_everything_that_was_accepted() {
    let (_directory, store, arrivals, permits) = held();
    let (answers, received) = collect();
    let client = store.client(answers);
    client.submit(0, invite(0)).unwrap();
    arrivals.recv().unwrap();
    for ticket in 1..=1_000 {
        client.submit(ticket, invite(ticket)).unwrap();
    }
    drop(permits);
    store.close();
    let answered: Vec<_> = received.try_iter().collect();
    assert_eq!(answered.len(), 1_001);
    assert!(answered.iter().all(|(_, answer)| *answer == Answer::Done));
    assert_eq!(client.submit(9, Query::Stats), Err(StoreBusy));
    assert!(received.try_recv().is_err(), "what was not accepted is not answered");
}
