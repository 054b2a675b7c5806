//! Files across a real relay, with breaks on every side.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use hushwire::client::{Client, FileOptions, Options, Transfer};
use hushwire::keystore::Keystore;
use hushwire::suite::random::{OsRandom, Random as _};
use hushwire::transfer::{Phase, Saved, TransferError};
use hushwire::{Error, fuzzing};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use crate::support::in_time;
use crate::support::relay::{self, TestRelay, pair};

struct Place {
    relay: TestRelay,
    alice: Client,
    bob: Client,
    /// Where Bob receives.
    inbox: PathBuf,
}

impl Place {
    async fn new() -> Self {
        let relay = TestRelay::start(1, "");
        let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
        pair(&alice, &bob).await;
        let inbox = relay.directory.path().join("inbox");
        std::fs::create_dir(&inbox).expect("a directory");
        Self { relay, alice, bob, inbox }
    }

    fn file(&self, name: &str, length: usize) -> (PathBuf, Vec<u8>) {
        let mut bytes = vec![0; length];
        OsRandom.fill(&mut bytes);
        let path = self.relay.directory.path().join(name);
        std::fs::write(&path, &bytes).expect("written");
        (path, bytes)
    }

    async fn send(&self, path: &Path) -> Transfer {
        let options = FileOptions::default();
        self.alice.send_file(self.bob.device(), path, options).await.expect("begun")
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.inbox).expect("a directory");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("UTF-8")
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// The device of this name after its process was killed: a client that is dropped says nothing to anybody.
    async fn again(&self, name: &str) -> Client {
        let path = self.relay.directory.path().join(name);
        let keystore = in_time(async {
            loop {
                match Keystore::open(&path) {
                    Ok(keystore) => return keystore,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Client::connect(keystore.await, Options::default()).await.expect("connected")
    }
}

/// Waits until so many bytes are on the receiver's disk.
async fn durable(transfer: &Transfer, bytes: u64) {
    let mut progress = transfer.progress();
    in_time(progress.wait_for(|progress| progress.durable >= bytes)).await.expect("it goes on");
}

async fn save(client: Client, inbox: PathBuf) -> Saved {
    let offered = client.accept_transfer().await.expect("offered");
    offered.save_in(&inbox).await.expect("saved")
}

#[tokio::test]
async fn files_arrive_whole_under_names_of_their_own() {
    let place = Place::new().await;
    for (length, expect) in
        [(0, "x.bin"), (1, "x (1).bin"), (256 * 1024, "x (2).bin"), (3_000_001, "x (3).bin")]
    {
        let (path, bytes) = place.file("x.bin", length);
        let mut transfer = place.send(&path).await;
        let (sent, saved) = in_time(async {
            tokio::join!(transfer.finished(), save(place.bob.clone(), place.inbox.clone()))
        })
        .await;
        let sent = sent.expect("sent");
        assert_eq!((saved.path, &saved.content), (place.inbox.join(expect), &sent));
        assert_eq!(sent.bytes, length as u64);
        assert!(std::fs::read(place.inbox.join(expect)).expect("there") == bytes);
        let progress = transfer.progress().borrow().clone();
        assert_eq!((progress.phase, progress.durable), (Phase::Done, length as u64));
        let again = transfer.finished().await;
        assert!(matches!(again, Err(Error::Transfer(TransferError::Stopped))));
    }
    assert_eq!(place.names().len(), 4, "nothing is left beside them");
}

#[tokio::test]
async fn several_at_once_and_messages_between() {
    let place = Place::new().await;
    let mut transfers = Vec::new();
    let mut contents = Vec::new();
    for number in 0..10 {
        let (path, bytes) = place.file(&format!("{number}"), 400_000 * (number + 1));
        transfers.push(place.send(&path).await);
        contents.push(bytes);
    }
    let receiving = async {
        let mut saving = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let offered = place.bob.accept_transfer().await.expect("offered");
            assert_eq!(offered.peer(), place.alice.device());
            let inbox = place.inbox.clone();
            saving.spawn(async move { offered.save_in(inbox).await.expect("saved") });
        }
        saving.join_all().await
    };
    let talking = async {
        for number in 0..50_u8 {
            let (sent, received) =
                tokio::join!(place.alice.send(place.bob.device(), [number]), place.bob.receive());
            sent.expect("delivered");
            assert_eq!(received.expect("received").bytes, [number]);
        }
    };
    let (saved, ()) = in_time(async { tokio::join!(receiving, talking) }).await;
    assert_eq!(saved.len(), 10);
    for transfer in &mut transfers {
        in_time(transfer.finished()).await.expect("sent");
    }
    for (number, content) in contents.iter().enumerate() {
        assert!(std::fs::read(place.inbox.join(number.to_string())).expect("there") == *content);
    }
}

#[tokio::test]
async fn a_transfer_survives_a_relay_that_starts_anew() {
    let mut place = Place::new().await;
    let (path, bytes) = place.file("x", 60_000_000);
    let mut transfer = place.send(&path).await;
    let saving = tokio::spawn(save(place.bob.clone(), place.inbox.clone()));
    durable(&transfer, 1).await;
    let TestRelay { relay, directory, transports } = place.relay;
    let port = relay.address().port();
    relay.stop();
    relay.wait().expect("a clean end");
    assert!(!saving.is_finished());
    let relay = relay::start_at(&directory, port, 1, "");
    place.relay = TestRelay { relay, directory, transports };
    in_time(transfer.finished()).await.expect("sent");
    let saved = in_time(saving).await.expect("it ran");
    assert!(std::fs::read(saved.path).expect("there") == bytes);
    assert_eq!(place.names(), ["x"]);
}

#[tokio::test]
async fn a_receiver_that_was_killed_goes_on_where_it_was() {
    let mut place = Place::new().await;
    let (path, bytes) = place.file("x", 60_000_000);
    let mut transfer = place.send(&path).await;
    let saving = tokio::spawn(save(place.bob.clone(), place.inbox.clone()));
    durable(&transfer, 8 << 20).await;
    saving.abort();
    assert!(saving.await.expect_err("aborted").is_cancelled());
    let before = transfer.progress().borrow().durable;
    place.bob = place.again_after_drop("bob").await;
    let offered = in_time(place.bob.accept_transfer()).await.expect("offered again");
    assert_eq!(offered.id(), transfer.id());
    let mut received = offered.progress();
    let saving = tokio::spawn(async move { offered.save_in(place.inbox).await.expect("saved") });
    let began = in_time(received.wait_for(|progress| progress.phase == Phase::Running)).await;
    assert!(began.expect("it goes on").bytes >= before, "what was durable is not sent again");
    in_time(transfer.finished()).await.expect("sent");
    let saved = in_time(saving).await.expect("it ran");
    assert!(std::fs::read(saved.path).expect("there") == bytes);
}

impl Place {
    /// Drops Bob, and connects him again.
    async fn again_after_drop(&mut self, name: &str) -> Client {
        let gone = std::mem::replace(&mut self.bob, self.alice.clone());
        drop(gone);
        self.again(name).await
    }
}

#[tokio::test]
async fn a_sender_that_was_killed_goes_on_where_it_was() {
    let mut place = Place::new().await;
    let (path, bytes) = place.file("x", 60_000_000);
    let transfer = place.send(&path).await;
    let saving = tokio::spawn(save(place.bob.clone(), place.inbox.clone()));
    durable(&transfer, 8 << 20).await;
    let id = transfer.id();
    drop(transfer);
    place.alice = {
        let gone = std::mem::replace(&mut place.alice, place.bob.clone());
        drop(gone);
        place.again("alice").await
    };
    let mut transfer = place.send(&path).await;
    assert_eq!(transfer.id(), id, "the same file is the same transfer");
    // The same file twice at once is two transfers.
    let other = place.send(&path).await;
    assert_ne!(other.id(), id);
    drop(other);
    in_time(transfer.finished()).await.expect("sent");
    let saved = in_time(saving).await.expect("the receiver has noticed nothing");
    assert!(std::fs::read(saved.path).expect("there") == bytes);
    assert_ne!(place.send(&path).await.id(), id, "sent once more it is another one");
}

#[tokio::test]
async fn a_sender_that_was_killed_before_it_took_the_outcome_hears_it_again() {
    let mut place = Place::new().await;
    let (path, _) = place.file("x.bin", 300_000);
    let mut first = place.send(&path).await;
    let saved = in_time(save(place.bob.clone(), place.inbox.clone())).await;
    let outcome = in_time(first.finished()).await.expect("sent");
    // A crash lets go of nothing.
    std::mem::forget(first);
    place.alice = {
        let gone = std::mem::replace(&mut place.alice, place.bob.clone());
        drop(gone);
        place.again("alice").await
    };
    let mut second = place.send(&path).await;
    assert_eq!(in_time(second.finished()).await.expect("sent"), outcome);
    assert_eq!((place.names(), saved.content), (vec!["x.bin".to_owned()], outcome.clone()));

    // Whoever holds the outcome and sends the file once more means it, and so does who has let go.
    for (number, expect) in [(1, "x (1).bin"), (2, "x (2).bin")] {
        let mut more = place.send(&path).await;
        let (sent, saved) = in_time(async {
            tokio::join!(more.finished(), save(place.bob.clone(), place.inbox.clone()))
        })
        .await;
        assert_eq!(sent.expect("sent"), outcome);
        assert_eq!(saved.path, place.inbox.join(expect), "{number}");
        if number == 1 {
            drop(std::mem::replace(&mut second, more));
        }
    }
}

#[tokio::test]
async fn a_receiver_may_refuse() {
    let place = Place::new().await;
    let (path, _) = place.file("x", 1_000);
    let mut transfer = place.send(&path).await;
    let refuse = async {
        let offered = place.bob.accept_transfer().await.expect("offered");
        assert_eq!((offered.name(), offered.size()), ("x".into(), Some(1_000)));
        offered.reject("not on a Sunday").await.expect("told");
    };
    let (sent, ()) = in_time(async { tokio::join!(transfer.finished(), refuse) }).await;
    let error = sent.expect_err("refused");
    assert!(error.to_string().contains("not on a Sunday") && !error.is_retryable(), "{error}");
    assert!(place.names().is_empty());

    let taken = place.inbox.join("taken");
    std::fs::write(&taken, b"mine").expect("written");
    let mut transfer = place.send(&path).await;
    let save = async {
        let offered = place.bob.accept_transfer().await.expect("offered");
        offered.save_as(&taken).await.expect_err("not overwritten")
    };
    let (sent, error) = in_time(async { tokio::join!(transfer.finished(), save) }).await;
    assert!(matches!(error, Error::Transfer(TransferError::Exists(_))), "{error}");
    let error = sent.expect_err("refused").to_string();
    assert!(error.contains("there already") && !error.contains("inbox"), "{error}");
    assert_eq!(std::fs::read(&taken).expect("there"), b"mine");

    let mut transfer = place.send(&path).await;
    let path = place.inbox.join("chosen");
    let save = async { place.bob.accept_transfer().await.expect("offered").save_as(&path).await };
    let (sent, saved) = in_time(async { tokio::join!(transfer.finished(), save) }).await;
    assert_eq!((saved.expect("saved").path, sent.expect("sent").bytes), (path, 1_000));
}

#[tokio::test]
async fn what_was_dropped_without_a_word_is_offered_again() {
    let place = Place::new().await;
    let (path, bytes) = place.file("x", 100_000);
    let mut transfer = place.send(&path).await;
    drop(in_time(place.bob.accept_transfer()).await.expect("offered"));
    let (sent, saved) = in_time(async {
        tokio::join!(transfer.finished(), save(place.bob.clone(), place.inbox.clone()))
    })
    .await;
    sent.expect("sent");
    assert!(std::fs::read(saved.path).expect("there") == bytes);
}

#[tokio::test]
async fn a_file_that_changes_is_not_delivered() {
    let place = Place::new().await;
    let (path, _) = place.file("x", 40_000_000);
    let mut transfer = place.send(&path).await;
    let offered = in_time(place.bob.accept_transfer()).await.expect("offered");
    let mut file = std::fs::File::options().append(true).open(&path).expect("there");
    file.write_all(b"more").expect("written");
    drop(file);
    let (sent, saved) =
        in_time(async { tokio::join!(transfer.finished(), offered.save_in(&place.inbox)) }).await;
    let error = sent.expect_err("changed");
    assert!(matches!(error, Error::Transfer(TransferError::Changed)) && error.is_retryable());
    let error = saved.expect_err("given up");
    assert!(matches!(error, Error::Transfer(TransferError::Aborted(_))), "{error}");
    assert!(place.names().is_empty(), "{:?}", place.names());
    // As the error says.
    let mut transfer = place.send(&path).await;
    let (sent, saved) = in_time(async {
        tokio::join!(transfer.finished(), save(place.bob.clone(), place.inbox.clone()))
    })
    .await;
    assert_eq!(sent.expect("sent"), saved.content);
    assert_eq!(saved.content.bytes, 40_000_004);
}

#[tokio::test]
async fn what_cannot_be_sent_says_why() {
    let place = Place::new().await;
    let peer = place.bob.device();
    let send = |path: PathBuf| place.alice.send_file(peer, path, FileOptions::default());
    let missing = send(place.relay.directory.path().join("missing")).await;
    assert!(matches!(missing, Err(Error::Transfer(TransferError::Source(_)))), "{missing:?}");
    let directory = send(place.inbox.clone()).await;
    assert!(matches!(directory, Err(Error::Transfer(TransferError::NotAFile(_)))));
    let (path, _) = place.file("x", 1);
    let stranger = hushwire_wire::id::DeviceId::new([1; 32]);
    let unpaired = place.alice.send_file(stranger, path, FileOptions::default()).await;
    assert!(matches!(unpaired, Err(Error::NotPaired(_))));
}

#[tokio::test]
async fn a_pipe_survives_a_restart_of_the_receiver() {
    let mut place = Place::new().await;
    let (_, bytes) = place.file("x", 50_000_000);
    let (mut input, output) = tokio::io::duplex(1 << 20);
    let mut transfer =
        place.alice.send_reader(place.bob.device(), output, "a pipe").expect("begun");
    let content = bytes.clone();
    let writing = tokio::spawn(async move {
        input.write_all(&content).await.expect("read");
    });
    let saving = tokio::spawn(save(place.bob.clone(), place.inbox.clone()));
    durable(&transfer, 8 << 20).await;
    saving.abort();
    assert!(saving.await.expect_err("aborted").is_cancelled());
    place.bob = place.again_after_drop("bob").await;
    let (sent, saved) = in_time(async {
        tokio::join!(transfer.finished(), save(place.bob.clone(), place.inbox.clone()))
    })
    .await;
    in_time(writing).await.expect("all of it was read");
    assert_eq!(sent.expect("sent"), saved.content);
    assert_eq!(saved.path, place.inbox.join("a pipe"));
    assert!(std::fs::read(saved.path).expect("there") == bytes);
}

#[tokio::test]
async fn a_pipe_cannot_go_on_where_the_receiver_has_lost_everything() {
    let mut place = Place::new().await;
    let (mut input, output) = tokio::io::duplex(1 << 20);
    let mut transfer =
        place.alice.send_reader(place.bob.device(), output, "a pipe").expect("begun");
    let writing = tokio::spawn(async move {
        // As long as somebody reads.
        while input.write_all(&[7; 100_000]).await.is_ok() {}
    });
    let saving = tokio::spawn(save(place.bob.clone(), place.inbox.clone()));
    durable(&transfer, 20 << 20).await;
    saving.abort();
    assert!(saving.await.expect_err("aborted").is_cancelled());
    place.bob = place.again_after_drop("bob").await;
    for name in place.names() {
        std::fs::remove_file(place.inbox.join(name)).expect("removed");
    }
    let offered = in_time(place.bob.accept_transfer()).await.expect("offered");
    let (sent, saved) =
        in_time(async { tokio::join!(transfer.finished(), offered.save_in(&place.inbox)) }).await;
    let error = sent.expect_err("lost");
    assert!(matches!(error, Error::Transfer(TransferError::NotResumable)), "{error}");
    assert!(matches!(saved, Err(Error::Transfer(TransferError::Aborted(_)))));
    drop(transfer);
    in_time(writing).await.expect("it was told");
}

proptest! {
    #[test]
    fn any_bytes_may_come_over_a_channel(
        kind in prop_oneof![1..6_u8, 0x11..0x17_u8, any::<u8>()],
        payload in proptest::collection::vec(any::<u8>(), 0..80),
        fits in any::<bool>(),
    ) {
        let length = if fits { payload.len() as u32 } else { u32::MAX };
        fuzzing::transfer(&[&[kind][..], &length.to_le_bytes(), &payload].concat());
        fuzzing::transfer(&payload);
    }
}
