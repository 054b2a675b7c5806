//! Peers that break the rules of a transfer: each costs its own transfer only, and nothing wrong gets a name.

use std::path::{Path, PathBuf};

use hushwire::Error;
use hushwire::client::{Client, FileOptions};
use hushwire::conversation::StreamId;
use hushwire::conversation::preamble::{Label, Preamble};
use hushwire::keystore::Keystore;
use hushwire::transfer::message::LABEL;
use hushwire::transfer::{Saved, TransferError};

use crate::support::in_time;
use crate::support::raw::{self, RawPeer};
use crate::support::relay::{TestRelay, pair};

const OFFER: u8 = 0x01;
const BEGIN: u8 = 0x02;
const DATA: u8 = 0x03;
const END: u8 = 0x04;
const ACCEPT: u8 = 0x11;
const PROGRESS: u8 = 0x12;
const DONE: u8 = 0x15;
const REJECT: u8 = 0x16;

/// SHA-256 of `hello` and of nothing.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}

fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    [&[kind][..], &(payload.len() as u32).to_le_bytes(), &payload].concat()
}

fn number(kind: u8, offset: u64) -> Vec<u8> {
    message(kind, &[&offset.to_le_bytes()])
}

fn offer(id: u8, size: Option<u64>, name: &str) -> Vec<u8> {
    let known = [u8::from(size.is_some())];
    message(OFFER, &[&[id; 16], &known, &size.unwrap_or(0).to_le_bytes(), name.as_bytes()])
}

fn hash(kind: u8, size: u64, sha256: &str) -> Vec<u8> {
    message(kind, &[&size.to_le_bytes(), &unhex(sha256)])
}

fn preamble(label: &str, awaits: bool, answers: u32) -> Vec<u8> {
    let label = Label::new(label).expect("a label");
    Preamble { label, awaits, answers: std::num::NonZeroU32::new(answers) }.encode()
}

struct Place {
    relay: TestRelay,
    bob: Client,
    raw: RawPeer,
    inbox: PathBuf,
}

impl Place {
    async fn new() -> Self {
        let relay = TestRelay::start(1, "");
        let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
        pair(&alice, &bob).await;
        alice.close().await;
        let keystore = Keystore::open(&relay.directory.path().join("alice")).expect("it opens");
        let raw = RawPeer::connect(keystore).await;
        let inbox = relay.directory.path().join("inbox");
        std::fs::create_dir(&inbox).expect("a directory");
        Self { relay, bob, raw, inbox }
    }

    fn names(&self) -> Vec<String> {
        names(&self.inbox)
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("UTF-8")
    };
    entries.map(name).collect()
}

/// The raw end's channel to Bob.
struct Channel {
    out: StreamId,
    back: StreamId,
}

impl Channel {
    async fn open(raw: &mut RawPeer, offer: &[u8]) -> Self {
        let out = raw.open(&[&preamble(LABEL, true, 0)[..], offer].concat()).await;
        let back = raw.accept().await;
        assert_eq!(raw.read(back, 6).await, preamble("", false, out.number()));
        Self { out, back }
    }

    /// The next message: its type and payload.
    async fn hear(&self, raw: &mut RawPeer) -> (u8, Vec<u8>) {
        let head = raw.read(self.back, 5).await;
        let length = u32::from_le_bytes(head[1..5].try_into().expect("four")) as usize;
        (head[0], raw.read(self.back, length).await)
    }
}

async fn save(bob: &Client, inbox: &Path) -> Result<Saved, Error> {
    bob.accept_transfer().await.expect("offered").save_in(inbox).await
}

#[tokio::test]
async fn a_sender_that_breaks_the_rules_gets_no_file() {
    let Place { relay: _relay, bob, mut raw, inbox } = Place::new().await;
    let begin = number(BEGIN, 0);
    let hello = message(DATA, &[b"hello"]);
    let table: [(Option<u64>, Vec<u8>, &str); 12] = [
        (Some(4), [&begin[..], &hello].concat(), "more than it announced"),
        (Some(5), [&begin[..], &hello, &hello].concat(), "more than it announced"),
        (Some(6), [&begin[..], &hello, &hash(END, 5, HELLO)].concat(), "another size"),
        (None, [&begin[..], &hello, &hash(END, 6, HELLO)].concat(), "another size"),
        (Some(5), number(BEGIN, 3), "nobody is"),
        (Some(5), hello.clone(), "where it begins"),
        (Some(5), [&begin[..], &begin].concat(), "begins twice"),
        (Some(5), [&begin[..], &offer(1, None, "x")].concat(), "begins twice"),
        (None, [&begin[..], &message(0x77, &[])].concat(), "unknown message"),
        (None, [&begin[..], &[DATA, 0xff, 0xff, 0xff, 0xff]].concat(), "too long"),
        (None, [&begin[..], &[DATA, 0, 0, 0, 0]].concat(), "unknown message"),
        (Some(u64::MAX), [&begin[..], &hash(END, u64::MAX, HELLO)].concat(), "another size"),
    ];
    for (id, (size, bytes, why)) in table.into_iter().enumerate() {
        let attack = async {
            let channel = Channel::open(&mut raw, &offer(id as u8, size, "x")).await;
            let (kind, accepted) = channel.hear(&mut raw).await;
            assert_eq!(kind, ACCEPT);
            assert_eq!(accepted, [&[0; 8][..], &unhex(NOTHING)].concat());
            raw.write(channel.out, &bytes).await;
            let (kind, said) = channel.hear(&mut raw).await;
            assert_eq!((kind, said[0]), (REJECT, 0), "{why}");
            assert!(String::from_utf8_lossy(&said).contains(why), "{why}: {said:?}");
            raw.conversation.release_reading(channel.back, raw::moment());
            // Which the other end must hear.
            raw.refused(channel.out).await;
        };
        let ((), saved) = in_time(async { tokio::join!(attack, save(&bob, &inbox)) }).await;
        let error = saved.expect_err(why);
        assert!(matches!(error, Error::Transfer(TransferError::Peer(_))), "{why}: {error}");
        assert!(names(&inbox).is_empty(), "{why}: {:?}", names(&inbox));
    }
}

#[tokio::test]
async fn what_is_damaged_is_asked_for_again_and_gets_no_name() {
    let Place { relay: _relay, bob, mut raw, inbox } = Place::new().await;
    let offer = offer(9, Some(5), "../../x");
    let sending = async {
        let damaged = [&number(BEGIN, 0)[..], &message(DATA, &[b"hellO"])].concat();
        let whole = [&number(BEGIN, 0)[..], &message(DATA, &[b"hello"])].concat();
        let end = hash(END, 5, HELLO);
        let first = Channel::open(&mut raw, &offer).await;
        assert_eq!(first.hear(&mut raw).await.0, ACCEPT);
        raw.write(first.out, &[&damaged[..], &end].concat()).await;
        let (kind, said) = first.hear(&mut raw).await;
        assert_eq!((kind, said[0]), (REJECT, 1), "again: {said:?}");
        assert!(names(&inbox).is_empty());
        raw.conversation.release_reading(first.back, raw::moment());
        let second = Channel::open(&mut raw, &offer).await;
        assert_eq!(second.hear(&mut raw).await.0, ACCEPT);
        raw.write(second.out, &[&whole[..], &end].concat()).await;
        let (kind, said) = second.hear(&mut raw).await;
        assert_eq!((kind, said), (DONE, hash(DONE, 5, HELLO)[5..].to_vec()));
        raw.conversation.release_reading(second.back, raw::moment());
        // Who has not heard it asks again, and the application is not troubled with it.
        let third = Channel::open(&mut raw, &offer).await;
        assert_eq!(third.hear(&mut raw).await, (DONE, hash(DONE, 5, HELLO)[5..].to_vec()));
    };
    let ((), saved) = in_time(async { tokio::join!(sending, save(&bob, &inbox)) }).await;
    assert_eq!(saved.expect("saved").path, inbox.join("x"), "no folder of the peer's choice");
    assert_eq!(names(&inbox), ["x"]);
}

/// A pipe keeps only what the receiver does not have on disk yet, so it waits for that word.
#[tokio::test]
async fn a_sender_that_begins_anew_hears_what_is_on_disk_of_its_own() {
    let Place { relay: _relay, bob, mut raw, inbox } = Place::new().await;
    let offer = offer(9, None, "x");
    let sending = async {
        let first = Channel::open(&mut raw, &offer).await;
        assert_eq!(first.hear(&mut raw).await.0, ACCEPT);
        let before = message(DATA, &[b"what it has no more"]);
        raw.write(first.out, &[&number(BEGIN, 0)[..], &before].concat()).await;
        assert_eq!(first.hear(&mut raw).await, (PROGRESS, 19_u64.to_le_bytes().to_vec()));
        // The sender is killed, and begins again.
        raw.conversation.release_writing(first.out, raw::moment());
        let second = Channel::open(&mut raw, &offer).await;
        let (kind, accepted) = second.hear(&mut raw).await;
        assert_eq!((kind, &accepted[..8]), (ACCEPT, &19_u64.to_le_bytes()[..]));
        let part = [&number(BEGIN, 0)[..], &message(DATA, &[b"hel"])].concat();
        raw.write(second.out, &part).await;
        assert_eq!(second.hear(&mut raw).await, (PROGRESS, 3_u64.to_le_bytes().to_vec()));
        let rest = [&message(DATA, &[b"lo"])[..], &hash(END, 5, HELLO)].concat();
        raw.write(second.out, &rest).await;
        let end = loop {
            let (kind, said) = second.hear(&mut raw).await;
            if kind != PROGRESS {
                break (kind, said);
            }
        };
        assert_eq!(end, (DONE, hash(DONE, 5, HELLO)[5..].to_vec()));
    };
    let ((), saved) = in_time(async { tokio::join!(sending, save(&bob, &inbox)) }).await;
    let saved = saved.expect("saved");
    assert_eq!(std::fs::read(saved.path).expect("there"), b"hello");
}

#[tokio::test]
async fn offers_that_are_none_and_too_many_hold_up_nobody() {
    let mut place = Place::new().await;
    for bytes in [
        message(OFFER, &[&[1; 3]]),
        offer(1, None, &"x".repeat(256)),
        hello_first(),
        vec![OFFER, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let out = place.raw.open(&[&preamble(LABEL, true, 0)[..], &bytes].concat()).await;
        let error = place.raw.refused(out).await;
        assert_eq!(error, hushwire::conversation::StreamError::Abandoned(0), "{bytes:?}");
    }
    // One that says nothing at all is open all the while.
    let silent = Channel::open(&mut place.raw, &[]).await;
    let mut channels = Vec::new();
    for id in 0..16 {
        channels.push(Channel::open(&mut place.raw, &offer(id, Some(5), "x")).await);
    }
    let last = [preamble(LABEL, true, 0), offer(16, Some(5), "x")].concat();
    let last = place.raw.open(&last).await;
    // One of them is one too many.
    let refused = |raw: &mut RawPeer| {
        let mut outs = channels.iter().map(|channel| channel.out).chain([last]);
        outs.position(|out| raw.conversation.is_stream_done(out).is_err())
    };
    let refused = place.raw.until(refused).await;
    let mut accepted = Vec::new();
    for _ in 0..16 {
        accepted.push(in_time(place.bob.accept_transfer()).await.expect("offered"));
    }
    let ours = accepted.iter().position(|transfer| transfer.id().0[0] < 16).expect("most are");
    let transfer = accepted.swap_remove(ours);
    let id = transfer.id().0[0];
    assert_ne!(usize::from(id), refused);
    let other = Channel::open(&mut place.raw, &offer(id, Some(6), "x")).await;
    let (kind, said) = other.hear(&mut place.raw).await;
    assert_eq!((kind, said[0]), (REJECT, 0), "one ID, two transfers: {said:?}");
    let sending = async {
        let channel = &channels[usize::from(id)];
        assert_eq!(channel.hear(&mut place.raw).await.0, ACCEPT);
        let hello = message(DATA, &[b"hello"]);
        let bytes = [&number(BEGIN, 0)[..], &hello, &hash(END, 5, HELLO)].concat();
        place.raw.write(channel.out, &bytes).await;
        assert_eq!(channel.hear(&mut place.raw).await.0, DONE);
        place.raw.conversation.release_reading(channel.back, raw::moment());
        assert_eq!(place.raw.conversation.is_stream_done(silent.out), Ok(false), "it is open");
        place.raw.refused(channel.out).await;
    };
    let saving = transfer.save_in(&place.inbox);
    let ((), saved) = in_time(async { tokio::join!(sending, saving) }).await;
    saved.expect("saved");
    assert_eq!(place.names(), ["x"]);
}

fn hello_first() -> Vec<u8> {
    message(DATA, &[b"hello"])
}

#[tokio::test]
async fn a_receiver_that_says_what_cannot_be_is_found_out() {
    let mut place = Place::new().await;
    let path = place.relay.directory.path().join("x");
    std::fs::write(&path, b"hello").expect("written");
    let peer = place.bob.peers()[0].device;
    let accept = |offset, sha256| hash(ACCEPT, offset, sha256);
    let begun = accept(0, NOTHING);
    let table: [(Vec<u8>, &str); 9] = [
        (accept(6, HELLO), "more than there is"),
        (accept(u64::MAX, NOTHING), "more than there is"),
        (number(PROGRESS, 1), "before it began"),
        ([&begun[..], &begun].concat(), "accepts twice"),
        ([&begun[..], &number(PROGRESS, 6)].concat(), "never sent"),
        ([&begun[..], &number(PROGRESS, 5), &number(PROGRESS, 4)].concat(), "less than before"),
        ([&begun[..], &hash(DONE, 5, NOTHING)].concat(), "never sent"),
        (hash(DONE, 5, NOTHING), "never sent"),
        (hash(DONE, 9, HELLO), "never sent"),
    ];
    for (bytes, why) in table {
        let options = FileOptions::default();
        let mut transfer = place.bob.send_file(peer, &path, options).await.expect("begun");
        let (raw, transfer_id) = (&mut place.raw, transfer.id());
        let attack = async {
            let channel = raw.accept().await;
            let id = transfer_id.0;
            let expect = [
                preamble(LABEL, true, 0),
                message(OFFER, &[&id, &[1], &[5, 0, 0, 0], &[0; 4], b"x"]),
            ];
            let expect = expect.concat();
            assert_eq!(raw.read(channel, expect.len()).await, expect);
            let back = preamble("", false, channel.number());
            // What was sent must be there before it is acknowledged.
            let (accepting, rest) = bytes.split_at(bytes.len().min(45));
            let back = raw.open(&[&back[..], accepting].concat()).await;
            if !rest.is_empty() && accepting == begun {
                raw.read(channel, 13 + 10).await;
            }
            raw.write(back, rest).await;
            raw.refused(back).await;
            raw.conversation.release_reading(channel, raw::moment());
        };
        let progress = transfer.progress();
        let ((), sent) = in_time(async { tokio::join!(attack, transfer.finished()) }).await;
        let error = sent.expect_err(why);
        assert!(matches!(error, Error::Transfer(TransferError::Peer(_))), "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert!(progress.borrow().durable <= 5);
    }
}
