//! The relay's store on a temporary directory: look-ups and commits, one at a time and many at once.

mod settings;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use hushwire_relay::store::{Answer, Answers, Client, Name, Query, Store, StoreOptions};
use hushwire_wire::id::{AccountId, DeviceId};

/// Devices in the store, each the only one of its account.
const DEVICES: u32 = 512;
/// Queries that are under way at a time where there are many.
const MANY: u32 = 256;
const NOW_UNIX_S: u64 = 1_800_000_000;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = filled(directory.path());
    let mut criterion = settings::criterion();
    look_ups(&mut criterion, &store);
    commits(&mut criterion, &store);
    criterion.final_summary();
}

fn look_ups(criterion: &mut Criterion, store: &Store) {
    let mut group = criterion.benchmark_group("store/look-up");
    let device = |number: u32| Query::Device { device: device(number) };
    let reach = |number: u32| Query::Reach {
        sender: self::device(number),
        sender_account: account(number),
        recipient: self::device((number + 1) % DEVICES),
    };
    let known = |answer: &Answer| matches!(answer, Answer::Row(_));
    let refused = |answer: &Answer| matches!(answer, Answer::Refused(_));
    one_and_many(&mut group, store, "device", device, known);
    one_and_many(&mut group, store, "reach", reach, refused);
    group.finish();
}

/// Changes that leave the store as large as it was. Each is on disk when it is answered: alone it pays for its own
/// fsync, among many for a share of one.
fn commits(criterion: &mut Criterion, store: &Store) {
    let mut group = criterion.benchmark_group("store/commit");
    group.sample_size(10);
    let mut hidden = false;
    let hide = |number: u32| {
        hidden ^= number == 0;
        Query::PresenceHide { device: device(number), hidden }
    };
    one_and_many(&mut group, store, "presence", hide, |answer| *answer == Answer::Done);
    group.finish();
}

/// `make` makes a query about a device; `is_right` checks its answer.
fn one_and_many(
    group: &mut BenchmarkGroup<'_, WallTime>,
    store: &Store,
    name: &str,
    mut make: impl FnMut(u32) -> Query,
    is_right: impl Fn(&Answer) -> bool,
) {
    let mut number = 0;
    let mut next = || {
        number = (number + 1) % DEVICES;
        make(number)
    };
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{name}/one"), |b| {
        b.iter(|| assert!(is_right(&store.call(next())), "a right answer"));
    });
    let shard = Shard::new(store);
    group.throughput(Throughput::Elements(u64::from(MANY)));
    group.bench_function(format!("{name}/{MANY}"), |b| {
        b.iter(|| {
            for ticket in 0..MANY {
                shard.client.submit(u64::from(ticket), next()).expect("room in the inbox");
            }
            for answer in shard.answers.iter().take(MANY as usize) {
                assert!(is_right(&answer), "a right answer");
            }
        });
    });
}

/// A shard's end of the store.
struct Shard {
    client: Client,
    answers: Receiver<Answer>,
}

struct Inbox(SyncSender<Answer>);

impl Answers for Inbox {
    fn deliver(&self, _ticket: u64, answer: Answer) {
        self.0.try_send(answer).expect("a place for each query under way");
    }
}

impl Shard {
    fn new(store: &Store) -> Self {
        let (sender, answers) = sync_channel(MANY as usize);
        Self { client: store.client(Arc::new(Inbox(sender))), answers }
    }
}

/// A store in which every device has redeemed an invite into an account of its own.
fn filled(directory: &std::path::Path) -> Store {
    let random = |bytes: &mut [u8]| bytes.fill(7);
    let store = Store::open(directory.join("store"), StoreOptions::default(), random);
    let store = store.expect("a new store");
    let shard = Shard::new(&store);
    for first in (0..DEVICES).step_by(MANY as usize) {
        for make in [invite, redeem] {
            for number in first..first + MANY {
                shard.client.submit(0, make(number)).expect("room in the inbox");
            }
            for answer in shard.answers.iter().take(MANY as usize) {
                assert!(matches!(answer, Answer::Done | Answer::Row(_)), "{answer:?}");
            }
        }
    }
    store
}

fn invite(number: u32) -> Query {
    Query::InviteCreate {
        secret_hash: *device(number).as_bytes(),
        expires_unix_s: NOW_UNIX_S + 3_600,
        account: None,
        new_account: account(number),
        now_unix_s: NOW_UNIX_S,
    }
}

fn redeem(number: u32) -> Query {
    let name = Name::new("laptop").expect("a short name");
    let (device, now_unix_s) = (device(number), NOW_UNIX_S);
    Query::Redeem { secret_hash: *device.as_bytes(), device, name, now_unix_s }
}

fn device(number: u32) -> DeviceId {
    let mut bytes = [0xd0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::new(bytes)
}

fn account(number: u32) -> AccountId {
    AccountId::new(u128::from(number).to_be_bytes())
}
