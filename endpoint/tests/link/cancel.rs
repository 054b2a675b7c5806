//! Futures of a client that are dropped at random points, against a real relay; and that handles may go between threads.

use std::time::Duration;

use hushwire::client::{
    Client, Delivery, Events, FileOptions, IncomingMessage, IncomingTransfer, PairingOffer,
    PendingPair, SpokenOffer, StreamReader, StreamWriter, Transfer,
};
use hushwire::pairing::{Link, Spoken};
use hushwire::{DeviceId, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::in_time;
use crate::support::relay::{TestRelay, pair};

const fn shared<T: Send + Sync + 'static>() {}
const _: () = {
    shared::<Client>();
    shared::<Delivery>();
    shared::<Error>();
    shared::<Events>();
    shared::<IncomingMessage>();
    shared::<IncomingTransfer>();
    shared::<PairingOffer<Link>>();
    shared::<PendingPair<Spoken>>();
    shared::<SpokenOffer>();
    shared::<StreamReader>();
    shared::<StreamWriter>();
    shared::<Transfer>();
};

fn sendable<T: Send>(_future: &T) {}

/// Never called: that it compiles is the test.
#[expect(dead_code, reason = "the compiler looks at it")]
fn futures_go_between_threads(client: &Client, peer: DeviceId, reader: &mut StreamReader) {
    sendable(&client.send(peer, "x"));
    sendable(&client.enqueue(peer, "x"));
    sendable(&client.next_message());
    sendable(&client.receive());
    sendable(&client.open_stream(peer));
    sendable(&client.open_channel(peer, "x"));
    sendable(&client.accept_stream());
    sendable(&client.accept_transfer());
    sendable(&client.send_file(peer, "x", FileOptions::default()));
    sendable(&client.offer_spoken(hushwire::client::PairingOptions::default()));
    sendable(&client.join_pairing::<Link>("x"));
    sendable(&client.unpair(peer));
    sendable(&client.clone().close());
    sendable(&reader.reply());
}

/// SplitMix64: replays from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Drops `future` at some moment, unless it ends before: after a few turns of everybody else, or within `ms_max`.
async fn for_a_while<F: Future>(dice: &mut Dice, ms_max: u64, future: F) -> Option<F::Output> {
    let (turns, after) = (dice.below(8), Duration::from_millis(dice.below(ms_max + 1)));
    let is_short = dice.below(2) == 0;
    let until = async {
        if is_short {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(after).await;
        }
    };
    tokio::select! {
        biased;
        output = future => Some(output),
        () = until => None,
    }
}

async fn two(relay: &TestRelay) -> (Client, Client) {
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    (alice, bob)
}

#[tokio::test]
async fn messages_arrive_once_whatever_was_dropped_while_they_were_given_and_taken() {
    const MESSAGES: u32 = 300;
    let relay = TestRelay::start(1, "");
    let (alice, bob) = two(&relay).await;
    let to = bob.device();
    let giving = async {
        let (mut dice, mut promised, mut dropped) = (Dice(1), Vec::new(), 0);
        for number in 0..MESSAGES {
            let given = alice.enqueue(to, number.to_be_bytes());
            match for_a_while(&mut dice, 20, given).await {
                Some(delivery) => promised.push((number, delivery.expect("it is taken"))),
                None => dropped += 1,
            }
        }
        assert!(dropped > 0 && !promised.is_empty(), "{dropped} of {MESSAGES} were dropped");
        // The last one is given for certain, and everything before it is older.
        alice.send(to, u32::MAX.to_be_bytes()).await.expect("it is taken");
        promised
    };
    let taking = async {
        let (mut dice, mut taken, mut undecided, mut missed) = (Dice(2), Vec::new(), 0, 0);
        loop {
            let Some(message) = for_a_while(&mut dice, 5, bob.next_message()).await else {
                missed += 1;
                continue;
            };
            let message = message.expect("a message");
            if dice.below(3) == 0 {
                undecided += 1;
                continue;
            }
            let bytes = message.confirm().bytes;
            let number = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
            if number == u32::MAX {
                break;
            }
            taken.push(number);
        }
        assert!(undecided > 0 && missed > 0, "{undecided} were given back, {missed} calls dropped");
        taken
    };
    let (promised, taken) = in_time(async { tokio::join!(giving, taking) }).await;
    assert!(taken.is_sorted_by(|one, next| one < next), "in order, and once: {taken:?}");
    for (number, delivery) in promised {
        assert!(taken.contains(&number), "{number} was promised");
        assert_eq!(in_time(delivery).await.expect("it was taken").peer, to);
    }
    // What was dropped before it was on disk may have gone or not; nothing is left over.
    let given = alice.sends(to);
    assert_eq!(given.len(), taken.len() + 1);
}

#[tokio::test]
async fn streams_that_were_not_opened_and_not_accepted_take_up_no_room() {
    let relay = TestRelay::start(1, "");
    let (alice, bob) = two(&relay).await;
    let mut dice = Dice(3);
    // Each of them might leave one of 64 places taken.
    let mut opened = 0;
    for _ in 0..200 {
        let opening = alice.open_channel(bob.device(), "dropped");
        opened += u32::from(for_a_while(&mut dice, 5, opening).await.is_some());
        if let Some(stream) = for_a_while(&mut dice, 5, bob.accept_stream()).await {
            let mut stream = stream.expect("a stream");
            let _answer = for_a_while(&mut dice, 5, stream.reply()).await;
        }
    }
    assert!(opened > 0, "some were opened");
    let asking = async {
        let (mut writer, mut reader) =
            alice.open_channel(bob.device(), "kept").await.expect("there is room");
        writer.write_all(b"question").await.expect("it goes");
        writer.shutdown().await.expect("it is read");
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.expect("the whole answer");
        answer
    };
    let answering = async {
        // A call that is dropped takes no stream from the next one.
        let mut stream = loop {
            let Some(stream) = for_a_while(&mut dice, 5, bob.accept_stream()).await else {
                continue;
            };
            let stream = stream.expect("a stream");
            if stream.label() == "kept" {
                break stream;
            }
        };
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.expect("the whole question");
        let mut writer = loop {
            if let Some(writer) = for_a_while(&mut dice, 5, stream.reply()).await {
                break writer.expect("an answer is awaited");
            }
        };
        writer.write_all(&question).await.expect("it goes");
        writer.shutdown().await.expect("it is read");
    };
    let (answer, ()) = in_time(async { tokio::join!(asking, answering) }).await;
    assert_eq!(answer, b"question");
}

#[tokio::test]
async fn a_file_is_offered_until_it_is_taken() {
    let relay = TestRelay::start(1, "");
    let (alice, bob) = two(&relay).await;
    let path = relay.directory.path();
    let mut dice = Dice(4);
    for round in 0..4_u8 {
        let file = path.join(format!("file-{round}"));
        std::fs::write(&file, [round; 100_000]).expect("a file");
        let begun = alice.send_file(bob.device(), &file, FileOptions::default());
        let mut sending = in_time(begun).await.expect("it begins");
        let taking = async {
            let mut is_dropped = false;
            loop {
                let Some(offer) = for_a_while(&mut dice, 5, bob.accept_transfer()).await else {
                    continue;
                };
                let offer = offer.expect("an offer");
                // What was taken of it is gone on with when it is offered again.
                let saved = offer.save_as(path.join(format!("saved-{round}")));
                if is_dropped {
                    return in_time(saved).await.expect("it is saved");
                }
                is_dropped = true;
                if let Some(saved) = for_a_while(&mut dice, 20, saved).await {
                    return saved.expect("it is saved");
                }
            }
        };
        let finishing = async {
            let mut impatience = Dice(5);
            loop {
                // The outcome is kept while nobody has it.
                if let Some(sent) = for_a_while(&mut impatience, 5, sending.finished()).await {
                    return sent.expect("it is sent");
                }
            }
        };
        in_time(async {
            tokio::pin!(finishing);
            tokio::select! {
                saved = taking => assert_eq!(saved.content, finishing.await),
                // The call was dropped behind its last step: nothing is offered again.
                sent = &mut finishing => assert_eq!(sent.bytes, 100_000),
            }
        })
        .await;
        let saved = std::fs::read(path.join(format!("saved-{round}"))).expect("the file");
        assert!(saved == [round; 100_000], "it is what was sent");
    }
}
