//! Streams with a name and an answer, against a real relay; and peers that open them badly.

use hushwire::client::Client;
use hushwire::conversation::preamble::{Label, Preamble};
use hushwire::conversation::{StreamError, StreamId};
use hushwire::io::Transports;
use hushwire::keystore::Keystore;
use hushwire::{Error, fuzzing};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::raw::RawPeer;
use crate::support::relay::{TestRelay, pair};
use crate::support::{by_either_transport, in_time};

async fn two(relay: &TestRelay) -> (Client, Client) {
    let (alice, bob) = (relay.enroll("alice").await, relay.enroll("bob").await);
    pair(&alice, &bob).await;
    (alice, bob)
}

/// A client, and a device whose streams a test writes byte by byte.
async fn client_and_raw(relay: &TestRelay) -> (Client, RawPeer) {
    let (alice, bob) = two(relay).await;
    alice.close().await;
    let keystore = Keystore::open(&relay.directory.path().join("alice")).expect("it opens");
    (bob, RawPeer::connect(keystore).await)
}

async fn ask(client: &Client, to: &Client, label: &str, question: &[u8]) -> Vec<u8> {
    let (mut writer, mut reader) =
        client.open_channel(to.device(), label).await.expect("a channel");
    writer.write_all(question).await.expect("asked");
    writer.shutdown().await.expect("read");
    drop(writer);
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.expect("answered");
    answer
}

by_either_transport!(
    answers_find_who_asked,
    a_question_that_nobody_answers_has_an_empty_answer,
    an_answer_may_be_larger_than_any_window_and_come_first,
    who_awaits_an_answer_hears_that_the_session_is_lost,
    a_bad_preamble_costs_its_own_stream_only,
    a_stream_is_answered_once,
    streams_that_are_opened_and_abandoned_leave_nothing,
);

async fn answers_find_who_asked(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = two(&relay).await;
    let serve = async {
        for _ in 0..40 {
            let mut question = alice.accept_stream().await.expect("a question");
            assert!(question.awaits_reply() && question.label().starts_with("echo "));
            tokio::spawn(async move {
                let mut bytes = question.label().as_bytes().to_vec();
                question.read_to_end(&mut bytes).await.expect("read");
                let mut answer = question.reply().await.expect("answered");
                let again = question.reply().await.expect_err("once");
                assert!(matches!(again, Error::Stream(StreamError::NotAwaited)), "{again}");
                drop(question);
                answer.write_all(&bytes).await.expect("written");
                answer.shutdown().await.expect("read");
            });
        }
    };
    let asking = async {
        for round in 0..4_u8 {
            let mut asked = tokio::task::JoinSet::new();
            for number in 0..10_u8 {
                let (bob, alice) = (bob.clone(), alice.clone());
                asked.spawn(async move {
                    let question = vec![round * 10 + number; 3_000 * usize::from(number)];
                    let label = format!("echo {number}");
                    let answer = ask(&bob, &alice, &label, &question).await;
                    assert!(answer == [label.as_bytes(), &question].concat());
                });
            }
            while let Some(one) = asked.join_next().await {
                one.expect("it has its own answer");
            }
        }
    };
    in_time(async { tokio::join!(serve, asking) }).await;

    // A stream without a name that wants no answer, as ever.
    let mut plain = alice.open_stream(bob.device()).await.expect("a stream");
    plain.write_all(b"x").await.expect("written");
    let mut read = in_time(bob.accept_stream()).await.expect("accepted");
    assert_eq!((read.label(), read.awaits_reply()), ("", false));
    assert!(matches!(read.reply().await, Err(Error::Stream(StreamError::NotAwaited))));
    assert_eq!(read.read_u8().await.expect("the byte"), b'x');
    let named = alice.open_stream_named(bob.device(), "log").await.expect("a stream");
    assert_eq!(in_time(bob.accept_stream()).await.expect("accepted").label(), "log");
    drop(named);
    for label in ["hushwire/x", "a\u{1b}", &"x".repeat(65)] {
        let refused = alice.open_stream_named(bob.device(), label).await;
        assert!(matches!(refused, Err(Error::Label(_))), "{label:?}");
        assert!(matches!(alice.open_channel(bob.device(), label).await, Err(Error::Label(_))));
    }
}

async fn a_question_that_nobody_answers_has_an_empty_answer(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = two(&relay).await;
    let drop_all = async {
        loop {
            drop(alice.accept_stream().await.expect("a question"));
        }
    };
    let ask_all = async {
        // More than may be open at once, one after the other.
        for number in 0..100_u8 {
            let (mut writer, mut reader) =
                bob.open_channel(alice.device(), "anybody?").await.expect("a channel");
            // The reader may be gone already.
            let _gone = writer.write_all(&[number]).await;
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).await.expect("an end");
            assert!(answer.is_empty());
        }
    };
    in_time(async {
        tokio::select! { () = drop_all => {} () = ask_all => {} }
    })
    .await;
}

async fn an_answer_may_be_larger_than_any_window_and_come_first(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = two(&relay).await;
    let answer: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let serve = async {
        let mut question = alice.accept_stream().await.expect("a question");
        let mut writer = question.reply().await.expect("answered before it is read");
        writer.write_all(&answer).await.expect("written");
        writer.shutdown().await.expect("read");
        let mut asked = Vec::new();
        question.read_to_end(&mut asked).await.expect("the question");
        assert_eq!(asked, [7]);
    };
    let asking = async {
        let (mut writer, mut reader) =
            bob.open_channel(alice.device(), "").await.expect("a channel");
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.expect("whole");
        writer.write_u8(7).await.expect("written");
        writer.shutdown().await.expect("read");
        bytes
    };
    let ((), bytes) = in_time(async { tokio::join!(serve, asking) }).await;
    assert!(bytes == answer);
}

async fn who_awaits_an_answer_hears_that_the_session_is_lost(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (alice, bob) = two(&relay).await;
    let (writer, mut reader) = bob.open_channel(alice.device(), "x").await.expect("a channel");
    let question = in_time(alice.accept_stream()).await.expect("accepted");
    // A client that is dropped is as good as a process that is killed.
    drop((question, alice));
    let keystore = in_time(async {
        loop {
            match Keystore::open(&relay.directory.path().join("alice")) {
                Ok(keystore) => return keystore,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let alice = Client::connect(keystore.await, relay.options()).await.expect("connected");
    let (sent, _) =
        in_time(async { tokio::join!(alice.send(bob.device(), b"here again"), bob.receive()) })
            .await;
    sent.expect("delivered");
    let error = in_time(reader.read_u8()).await.expect_err("the session is another one");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    drop(writer);
}

/// Ends a stream and waits until its end was read.
async fn finish(raw: &mut RawPeer, id: StreamId) {
    raw.conversation.finish_stream(id).expect("it is open");
    raw.until(|raw| raw.conversation.is_stream_done(id).expect("open").then_some(())).await;
}

fn preamble(label: &str, awaits: bool, answers: u32) -> Vec<u8> {
    let label = Label::new(label).expect("a label");
    Preamble { label, awaits, answers: std::num::NonZeroU32::new(answers) }.encode()
}

async fn a_bad_preamble_costs_its_own_stream_only(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (bob, mut raw) = client_and_raw(&relay).await;
    // Never sent whole; the stream is held and nobody is troubled with it.
    let silent = raw.open(b"\x05\x00\x00").await;
    let table: [(&[u8], u16, &str); 7] = [
        (&[200, 0, 0, 0, 0, 0], 1, "too long"),
        (&[0, 2, 0, 0, 0, 0], 1, "an unknown flag"),
        (&[1, 0, 0, 0, 0, 0, 0xff], 1, "no text"),
        (&preamble("hushwire/no-such-thing", true, 0), 2, "an unknown label of the library"),
        (&preamble("", false, 77), 1, "an answer to a stream that never was"),
        (&preamble("x", false, 1), 1, "an answer with a label"),
        (&preamble("", true, 2), 1, "an answer that awaits an answer"),
    ];
    for (bytes, reason, why) in table {
        let id = raw.open(bytes).await;
        assert_eq!(raw.refused(id).await, StreamError::Abandoned(reason), "{why}");
        fuzzing::preamble(bytes);
    }
    let good = raw.open(&[&preamble("good", false, 0)[..], b"content"].concat()).await;
    let read = async {
        let mut reader = bob.accept_stream().await.expect("accepted");
        assert_eq!(reader.label(), "good", "nothing else reaches the application");
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.expect("whole");
        assert_eq!(bytes, b"content");
    };
    in_time(async { tokio::join!(read, finish(&mut raw, good)) }).await;
    // An end instead of a preamble.
    raw.conversation.finish_stream(silent).expect("open");
    assert_eq!(raw.refused(silent).await, StreamError::Abandoned(1));
}

async fn a_stream_is_answered_once(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (bob, mut raw) = client_and_raw(&relay).await;
    let peer = bob.peers()[0].device;
    let asking = async {
        let (mut writer, mut reader) = bob.open_channel(peer, "q").await.expect("a channel");
        writer.write_all(b"question").await.expect("written");
        let mut bytes = [0; 6];
        reader.read_exact(&mut bytes).await.expect("the first answer");
        assert_eq!(&bytes, b"answer");
        reader
    };
    let answering = async {
        let question = raw.accept().await;
        let expect = [&preamble("q", true, 0)[..], b"question"].concat();
        assert_eq!(raw.read(question, expect.len()).await, expect);
        let head = preamble("", false, question.number());
        let first = raw.open(&[&head[..], b"answer"].concat()).await;
        let second = raw.open(&[&head[..], b"forged"].concat()).await;
        assert_eq!(raw.refused(second).await, StreamError::Abandoned(1));
        first
    };
    let (mut reader, first) = in_time(async { tokio::join!(asking, answering) }).await;
    let rest = async {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.expect("its end");
        assert!(bytes.is_empty());
    };
    in_time(async { tokio::join!(rest, finish(&mut raw, first)) }).await;
}

async fn streams_that_are_opened_and_abandoned_leave_nothing(transports: Transports) {
    let relay = TestRelay::start(1, "").by(transports);
    let (bob, mut raw) = client_and_raw(&relay).await;
    #[expect(clippy::disallowed_methods, reason = "the raw end has no clock of its own")]
    let now = || hushwire::conversation::Moment { now: std::time::Instant::now(), unix_ns: 0 };
    for _ in 0..200 {
        let id = raw.open(&preamble("gone", true, 0)).await;
        raw.conversation.release_writing(id, now());
        // Each awaits an answer, and gets an empty one.
        let answer = raw.accept().await;
        assert_eq!(raw.read(answer, 6).await, preamble("", false, id.number()));
        raw.conversation.release_reading(answer, now());
    }
    let good = raw.open(&preamble("good", false, 0)).await;
    let read = async {
        let mut reader = bob.accept_stream().await.expect("accepted");
        assert_eq!(reader.label(), "good");
        assert_eq!(reader.read(&mut [0; 1]).await.expect("its end"), 0);
    };
    in_time(async { tokio::join!(read, finish(&mut raw, good)) }).await;
}

proptest! {
    #[test]
    fn any_bytes_may_begin_a_stream(
        mut data in proptest::collection::vec(any::<u8>(), 0..90),
        length in 0..70_u8,
    ) {
        fuzzing::preamble(&data);
        // Most random bytes fail at the length: give the rest a chance.
        if data.len() >= 2 {
            (data[0], data[1]) = (length, data[1] & 3);
            data.iter_mut().skip(6).for_each(|byte| *byte &= 0x7f);
        }
        fuzzing::preamble(&data);
    }
}
