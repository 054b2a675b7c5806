//! Control cells as they should not be, farewells, and answers that do not fit the question.

use std::time::Duration;

use hushwire::Error;
use hushwire::client::PairingOptions;
use hushwire::pairing::Link;
use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, ErrorCode, GoawayReason, Request, RequestId};
use hushwire_wire::id::DeviceId;

use crate::connection::{Out, cell, welcome};
use crate::opening::crooked;
use crate::people::{Homes, connected, disconnected, in_time, one_message, pair};
use crate::relay::HostileRelay;

/// A map of so many pairs, each nested so deep.
fn map(pairs: u16, depth: usize) -> Vec<u8> {
    let mut content = vec![0xde];
    content.extend_from_slice(&pairs.to_be_bytes());
    for pair in 0..pairs {
        content.push(0xa4);
        content.extend_from_slice(format!("{pair:04}").as_bytes());
        content.resize(content.len() + depth, 0x91);
        content.push(0xc0);
    }
    content
}

fn with_length(class: Class, content: &[u8]) -> Vec<u8> {
    let mut body = u32::try_from(content.len()).expect("short").to_le_bytes().to_vec();
    body.extend_from_slice(content);
    crooked(class, &body)
}

#[tokio::test]
async fn a_malformed_cell_ends_the_connection_with_a_sentence() {
    let mut padded = cell(&Control::Done { id: RequestId(1) });
    *padded.last_mut().expect("a cell") = 1;
    let cut = cell(&Control::Done { id: RequestId(1) })[..100].to_vec();
    let mut lane = vec![0; 256];
    lane[4] = 8;
    let mut kind = vec![0; 256];
    kind[0] = 4;
    let mut counter = vec![0; 256];
    counter[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let table = [
        ("a length beyond the body", Out::Cell(crooked(Class::C3, &u32::MAX.to_le_bytes()))),
        ("nothing", Out::Cell(with_length(Class::C0, &[]))),
        ("33 pairs", Out::Cell(with_length(Class::C2, &map(33, 0)))),
        ("65 535 pairs", Out::Cell(with_length(Class::C0, &[0xde, 0xff, 0xff]))),
        ("nested without end", Out::Cell(with_length(Class::C7, &map(1, 30_000)))),
        ("nothing but nesting", Out::Cell(with_length(Class::C7, &vec![0x81; 32_000]))),
        ("padding that is none", Out::Cell(padded)),
        ("a kind of later", Out::Raw(kind)),
        ("a lane of later", Out::Raw(lane)),
        ("a counter at the end", Out::Raw(counter)),
        ("a class of later", Out::Raw(vec![3, 8, 0, 0])),
        ("a second CHALLENGE", {
            let relay = crate::connection::RELAY;
            Out::Cell(cell(&Control::Challenge { nonce: [1; 32], relay, versions: vec![1] }))
        }),
        ("a WELCOME", Out::Cell(cell(&Control::Welcome(welcome())))),
        ("a request", {
            Out::Cell(cell(&Control::Request { id: RequestId(1), request: Request::Ping }))
        }),
        ("an ERROR", {
            let (code, sentence) = (ErrorCode::Malformed, "your fault".into());
            Out::Cell(cell(&Control::Error { id: None, code, sentence, wait_ms: Some(u32::MAX) }))
        }),
    ];
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    for (number, (what, out)) in table.into_iter().enumerate() {
        let client = homes.client(&number.to_string(), &relay).await;
        let mut events = client.events();
        relay.send(client.device(), out);
        let (why, next_try) = disconnected(&mut events).await;
        assert!(why.contains("broke the protocol") || why == "your fault", "{what}: {why}");
        assert!(next_try.is_some_and(|wait| wait <= Duration::from_secs(1)), "{what}");
    }
    // A cell that is begun and not ended is merely awaited.
    let client = homes.client("last", &relay).await;
    let mut events = client.events();
    relay.send(client.device(), Out::Raw(cut));
    relay.send(client.device(), Out::Cut);
    let (why, _) = disconnected(&mut events).await;
    assert!(!why.contains("protocol"), "{why}");
    connected(&mut events).await;
    assert_eq!(in_time(client.relay_clock()).await.expect("connected again"), 1);
}

#[tokio::test]
async fn words_of_a_later_version_and_floods_of_nothing_change_nothing() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
    pair(&alice, &bob, ["alice", "bob"]).await;
    let to = alice.device();
    // {"op": "sing"}
    let song = [&[0x81, 0xa2][..], b"op", &[0xa4], b"sing"].concat();
    relay.send(to, Out::Cell(with_length(Class::C7, &song)));
    let (code, sentence) = (ErrorCode::Unsupported, "x".repeat(512));
    relay.say(to, &Control::Error { id: None, code, sentence, wait_ms: None });
    for number in 0..5_000_u32 {
        let (tag, device) = ([number as u8; 16], DeviceId::new([1 + number as u8 % 200; 32]));
        relay.say(to, &Control::Paired { id: None, tag, device });
        let id = RequestId(1_000_000 + number);
        relay.say(to, &Control::Paired { id: Some(id), tag, device });
        relay.say(to, &Control::Pong { id, unix_ms: u64::MAX });
        if number % 100 == 0 {
            relay.forge(bob.device(), to, 3, &vec![0; Class::C7.body_len()]);
            relay.forge(device, to, 3, &vec![0; Class::C3.body_len()]);
        }
    }
    assert_eq!(in_time(alice.relay_clock()).await.expect("a healthy connection"), 1);
    one_message(&alice, &bob, "still here").await;
    one_message(&bob, &alice, "so am I").await;
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_bounded() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let client = homes.client("device", &relay).await;
    let (code, sentence) = (ErrorCode::RateLimited, "not for weeks".into());
    relay.say(
        client.device(),
        &Control::Error { id: None, code, sentence, wait_ms: Some(u32::MAX) },
    );
    // Requests are not held back, so the relay is still asked.
    assert_eq!(in_time(client.relay_clock()).await.expect("asked"), 1);
}

#[tokio::test]
async fn farewell_after_farewell_is_no_race() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let client = homes.client("device", &relay).await;
    let mut events = client.events();
    let reason = GoawayReason::Draining;
    let mut waits = Vec::new();
    for _ in 0..4 {
        // Twenty at once are one.
        for _ in 0..20 {
            relay.say(client.device(), &Control::Goaway { reason, reconnect_after_ms: 0 });
        }
        let (why, next_try) = disconnected(&mut events).await;
        assert!(why.contains("farewell"), "{why}");
        waits.push(next_try.expect("it comes back"));
        connected(&mut events).await;
    }
    assert_eq!(waits[0], Duration::ZERO, "the first is believed");
    assert!(waits[1..].iter().sum::<Duration>() > Duration::from_millis(5), "{waits:?}");

    relay.say(client.device(), &Control::Goaway { reason, reconnect_after_ms: u32::MAX });
    let (_, next_try) = disconnected(&mut events).await;
    assert_eq!(next_try, Some(Duration::from_secs(300)), "not in seven weeks");
}

#[tokio::test]
async fn a_farewell_for_good_is_reported_as_that() {
    for (reason, revoked) in [(GoawayReason::Revoked, true), (GoawayReason::Superseded, false)] {
        let (relay, homes) = (HostileRelay::start().await, Homes::new());
        let client = homes.client("device", &relay).await;
        let mut events = client.events();
        relay.say(client.device(), &Control::Goaway { reason, reconnect_after_ms: 5 });
        let (_, next_try) = disconnected(&mut events).await;
        assert_eq!(next_try, None);
        let error = in_time(client.receive()).await.expect_err("over");
        assert_eq!(matches!(error, Error::Revoked), revoked, "{error}");
        assert_eq!(matches!(error, Error::Superseded), !revoked, "{error}");
    }
}

/// Whatever is asked, and by whom, is answered so.
async fn answers_all(relay: &HostileRelay, make: fn(RequestId) -> Vec<Control>) {
    relay
        .answers(move |from, id, _| {
            Some(make(id).into_iter().map(|control| (from, control)).collect())
        })
        .await;
}

#[tokio::test]
async fn answers_that_do_not_fit_the_question_are_none() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let client = homes.client("device", &relay).await;
    let device = DeviceId::new([5; 32]);
    // DONE to a question after the time.
    answers_all(&relay, |id| vec![Control::Done { id }]).await;
    assert!(matches!(in_time(client.relay_clock()).await, Err(Error::NoAnswer)));
    // Twice, the second time otherwise.
    answers_all(&relay, |id| {
        let (code, sentence) = (ErrorCode::Conflict, "never mind".into());
        let refused = Control::Error { id: Some(id), code, sentence, wait_ms: Some(u32::MAX) };
        vec![Control::Pong { id, unix_ms: 7 }, refused, Control::Done { id }]
    })
    .await;
    assert_eq!(in_time(client.relay_clock()).await.expect("the first counts"), 7);
    // An error.
    answers_all(&relay, |id| {
        let (code, sentence) = (ErrorCode::Busy, "weeks from now".into());
        vec![Control::Error { id: Some(id), code, sentence, wait_ms: Some(u32::MAX) }]
    })
    .await;
    let error = in_time(client.grant(device)).await.expect_err("refused");
    assert!(matches!(error, Error::Refused { code: ErrorCode::Busy, .. }), "{error}");
    // Nothing at all: more than may be open fail at once, the others in their time.
    answers_all(&relay, |_| Vec::new()).await;
    let asked: Vec<_> = (0..70)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.grant(device).await })
        })
        .collect();
    let (mut silent, mut crowded) = (0, 0);
    for answer in asked {
        match in_time(answer).await.expect("no panic") {
            Err(Error::NoAnswer) => silent += 1,
            Err(Error::Disconnected) => crowded += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((silent, crowded), (64, 6));
    assert!(client.is_connected());
    // A rendezvous that is answered by anything but a meeting.
    answers_all(&relay, |id| vec![Control::Done { id }]).await;
    let offer = client.offer_pairing::<Link>(PairingOptions::default()).await.expect("opened");
    let other = homes.client("other", &relay).await;
    let error = in_time(other.join_pairing::<Link>(&offer.link())).await.expect_err("nobody");
    assert!(matches!(error, Error::NoAnswer), "{error}");
}
