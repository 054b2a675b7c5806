//! CHALLENGE and WELCOME as they should not be: a clear error, or a limit of the client's own.

use std::time::Duration;

use hushwire::client::Options;
use hushwire::keystore::RelayTrust;
use hushwire::{Client, Error};
use hushwire_wire::cell::{Class, HEADER_LEN, Header};
use hushwire_wire::control::{Control, ErrorCode, GoawayReason, HopLimits, RequestId, Welcome};
use hushwire_wire::id::{DeviceId, RelayId};

use crate::connection::{Greeting, Out, RELAY, cell, welcome};
use crate::people::{Homes, disconnected, end, in_time, one_message, pair};
use crate::relay::HostileRelay;

fn challenge(relay: RelayId, versions: Vec<u8>) -> Vec<u8> {
    cell(&Control::Challenge { nonce: [1; 32], relay, versions })
}

fn refuses(code: ErrorCode, wait_ms: Option<u32>) -> Vec<u8> {
    cell(&Control::Error { id: None, code, sentence: "because I can".into(), wait_ms })
}

/// A control cell of this class with these bytes where its length and content stand.
pub(crate) fn crooked(class: Class, body: &[u8]) -> Vec<u8> {
    let mut cell = Header::control(class, 0).encode().to_vec();
    cell.extend_from_slice(body);
    cell.resize(class.cell_len(), 0);
    cell
}

#[tokio::test]
async fn an_opening_that_goes_wrong_has_its_sentence() {
    async fn check(what: &str, sentence: &str, retry: bool, greeting: Greeting) {
        let relay = HostileRelay::greeting(move |_| greeting.clone()).await;
        let homes = Homes::new();
        let keystore = homes.keystore("device", &relay);
        let error = in_time(Client::connect(keystore, Options::default())).await;
        let error = error.expect_err(what);
        let text = error.to_string();
        assert!(text.contains(sentence), "{what}: {text}");
        assert_eq!(error.is_retryable(), retry, "{what}: {text}");
        assert!(text.len() < 1_000, "{what}: {text}");
    }
    let first = |first: Vec<Vec<u8>>| Greeting { first, ..Greeting::default() };
    let second = |second: Vec<Vec<u8>>| Greeting { second, ..Greeting::default() };
    let other = RelayId::new([9; 32]);
    let unicast = crooked_header(&Header::unicast(Class::C0, 0, 0, DeviceId::new([1; 32])));
    let table = [
        ("another relay", "enrol again", first(vec![challenge(other, vec![1])])),
        ("a newer relay", "upgrade this software", first(vec![challenge(RELAY, vec![2, 3])])),
        ("an older relay", "the relay must be upgraded", first(vec![challenge(RELAY, vec![0])])),
        ("WELCOME first", "broke the protocol", first(vec![cell(&Control::Welcome(welcome()))])),
        ("a routed cell first", "broke the protocol", first(vec![unicast.clone()])),
        ("no map", "broke the protocol", first(vec![crooked(Class::C7, &[0xff; 32_000])])),
        ("CHALLENGE twice", "broke the protocol", second(vec![challenge(RELAY, vec![1])])),
        ("a routed cell second", "broke the protocol", second(vec![unicast])),
        ("an answer second", "broke the protocol", {
            second(vec![cell(&Control::Done { id: RequestId(1) })])
        }),
        ("a length beyond the cell", "broke the protocol", {
            second(vec![crooked(Class::C0, &u32::MAX.to_le_bytes())])
        }),
        ("not enrolled", "because I can", second(vec![refuses(ErrorCode::Unauthenticated, None)])),
        ("forbidden", "because I can", second(vec![refuses(ErrorCode::Forbidden, None)])),
        ("unsupported", "because I can", second(vec![refuses(ErrorCode::Unsupported, None)])),
    ];
    for (what, sentence, greeting) in table {
        check(what, sentence, false, greeting).await;
    }
    let busy = second(vec![refuses(ErrorCode::Busy, Some(u32::MAX))]);
    check("busy for weeks", "because I can", true, busy).await;
    let reason = GoawayReason::Draining;
    let farewell = Control::Goaway { reason, reconnect_after_ms: u32::MAX };
    check("a farewell for weeks", "draining", true, second(vec![cell(&farewell)])).await;
}

/// A cell of nothing but this header.
fn crooked_header(header: &Header) -> Vec<u8> {
    let mut cell = vec![0; header.class.cell_len()];
    cell[..HEADER_LEN].copy_from_slice(&header.encode());
    cell
}

#[tokio::test]
async fn a_relay_that_falls_silent_in_the_opening_is_given_up() {
    let silent = [
        Greeting { second: Vec::new(), ..Greeting::default() },
        Greeting { first: vec![cell(&Control::Done { id: RequestId(1) })], second: Vec::new() },
    ];
    let mut given_up = Vec::new();
    for greeting in silent {
        given_up.push(tokio::spawn(async move {
            let relay = HostileRelay::greeting(move |_| greeting.clone()).await;
            let homes = Homes::new();
            let keystore = homes.keystore("device", &relay);
            let error = in_time(Client::connect(keystore, Options::default())).await;
            error.expect_err("no WELCOME came")
        }));
    }
    let [waited, broken] = given_up.try_into().expect("two");
    let error = waited.await.expect("ended");
    assert!(matches!(error, Error::Io(_)) && error.is_retryable(), "{error}");
    let error = broken.await.expect("ended");
    assert!(matches!(error, Error::Link(_)) && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn absurd_limits_neither_stop_nor_break_a_client() {
    let least = HopLimits { cells_per_s: 0, bytes_per_s: 0, egress_bytes: 0, idle_ms: 0 };
    let most = HopLimits {
        cells_per_s: u32::MAX,
        bytes_per_s: u64::MAX,
        egress_bytes: u32::MAX,
        idle_ms: u32::MAX,
    };
    for limits in [least, most] {
        let (shard, shards) = (u16::MAX, 0);
        let region = "x".repeat(64);
        let absurd = Welcome { shard, shards, region, limits, replaced: true, ..welcome() };
        let second = vec![cell(&Control::Welcome(absurd))];
        let greeting = Greeting { second, ..Greeting::default() };
        let relay = HostileRelay::greeting(move |_| greeting.clone()).await;
        let homes = Homes::new();
        let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
        pair(&alice, &bob, ["alice", "bob"]).await;
        one_message(&alice, &bob, "through").await;
    }
}

#[tokio::test]
async fn announced_pins_push_none_out_and_are_four_at_most() {
    // Another four each time, and one that would mean: no pin.
    let relay = HostileRelay::greeting(|number| {
        let number = u8::try_from(number).expect("few connections");
        let mut pins: Vec<[u8; 32]> = (1..4).map(|pin| [10 * (number + 1) + pin; 32]).collect();
        pins.insert(0, [0; 32]);
        let second = vec![cell(&Control::Welcome(Welcome { pins, ..welcome() }))];
        Greeting { second, ..Greeting::default() }
    })
    .await;
    let homes = Homes::new();
    let mut client = homes.client("device", &relay).await;
    let expect = RelayTrust::Pins(vec![relay.pin, [11; 32], [12; 32], [13; 32]]);
    for _ in 0..3 {
        in_time(client.relay_clock()).await.expect("connected");
        end(client).await;
        let known = homes.open("device").relay().cloned().expect("enrolled");
        assert_eq!(known.trust, expect, "the first pin stays, and of the others the first three");
        client = homes.again("device").await;
    }
}

#[tokio::test]
async fn a_second_welcome_ends_the_connection_and_nothing_else() {
    let (relay, homes) = (HostileRelay::start().await, Homes::new());
    let (alice, bob) = (homes.client("alice", &relay).await, homes.client("bob", &relay).await);
    pair(&alice, &bob, ["alice", "bob"]).await;
    let mut events = alice.events();
    relay.send(alice.device(), Out::Cell(cell(&Control::Welcome(welcome()))));
    let (why, next_try) = disconnected(&mut events).await;
    assert!(why.contains("broke the protocol"), "{why}");
    assert!(next_try.is_some_and(|wait| wait <= Duration::from_secs(1)));
    one_message(&alice, &bob, "on another connection").await;
}
