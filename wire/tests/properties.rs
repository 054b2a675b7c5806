//! What holds for every input: any bytes, any message, any valid message with a few bytes changed.

#[path = "support/builder.rs"]
mod builder;

use builder::{Value, vectors};
use hushwire_wire::cell::{Class, Header, Kind, LaneCounters};
use hushwire_wire::code::{Invite, PairCode, RelayAddress, Secret, Trust};
use hushwire_wire::control::{
    Control, CoverMode, ErrorCode, GoawayReason, Hello, HopLimits, Request, RequestId, Undelivered,
    Welcome, disclose, enclose,
};
use hushwire_wire::id::{ChannelId, DeviceId, RelayId};
use hushwire_wire::padding::padme;
use hushwire_wire::{fuzzing, limits, text};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Texts as strangers send them: any character, of any length around the limits.
fn prose() -> impl Strategy<Value = String> {
    vec(prop_oneof![3 => any::<char>(), 1 => prop::char::range('\0', '\u{9f}')], 0..600)
        .prop_map(String::from_iter)
}

fn device() -> impl Strategy<Value = DeviceId> {
    any::<[u8; 32]>().prop_map(DeviceId::new).prop_filter("zero is no device", |id| !id.is_zero())
}

fn request() -> impl Strategy<Value = Request> {
    let tag = any::<[u8; 16]>;
    prop_oneof![
        (device(), prose(), any::<[[u8; 32]; 2]>()).prop_map(|(device, name, halves)| {
            let mut proof = [0; 64];
            proof.copy_from_slice(halves.as_flattened());
            Request::Register { device, name, proof }
        }),
        (device(), prose()).prop_map(|(device, name)| Request::Rename { device, name }),
        device().prop_map(|device| Request::Revoke { device }),
        device().prop_map(|device| Request::Grant { device }),
        device().prop_map(|device| Request::Ungrant { device }),
        (tag(), 1..=limits::PAIR_TTL_S_MAX)
            .prop_map(|(tag, ttl_s)| Request::PairOpen { tag, ttl_s }),
        tag().prop_map(|tag| Request::PairJoin { tag }),
        any::<bool>().prop_map(|hidden| Request::Presence { hidden }),
        Just(Request::Ping),
    ]
}

fn hello() -> impl Strategy<Value = Control> {
    let proof = any::<[[u8; 32]; 2]>().prop_map(|halves| {
        let mut proof = [0; 64];
        proof.copy_from_slice(halves.as_flattened());
        proof
    });
    let token = option::of(vec(any::<u8>(), 0..=limits::TOKEN_BYTES_MAX));
    let cover = select(CoverMode::ALL);
    (any::<u8>(), device(), proof, token, option::of(prose()), cover, prose()).prop_map(
        |(version, device, proof, token, name, cover, software)| {
            Control::Hello(Hello { version, device, proof, token, name, cover, software })
        },
    )
}

fn welcome() -> impl Strategy<Value = Control> {
    let hop = any::<(u32, u64, u32, u32)>().prop_map(
        |(cells_per_s, bytes_per_s, egress_bytes, idle_ms)| HopLimits {
            cells_per_s,
            bytes_per_s,
            egress_bytes,
            idle_ms,
        },
    );
    let pins = vec(any::<[u8; 32]>(), 0..=limits::PINS_MAX);
    let quic_ids = vec(any::<[u8; limits::QUIC_ID_BYTES]>(), 0..=limits::QUIC_IDS_MAX);
    (any::<(u16, u16, bool)>(), prose(), select(CoverMode::ALL), hop, pins, quic_ids).prop_map(
        |((shard, shards, replaced), region, cover, limits, pins, quic_ids)| {
            Control::Welcome(Welcome {
                shard,
                shards,
                region,
                cover,
                limits,
                replaced,
                pins,
                quic_ids,
            })
        },
    )
}

fn message() -> impl Strategy<Value = Control> {
    let id = || any::<u32>().prop_map(RequestId);
    let versions = vec(any::<u8>(), 0..=limits::VERSIONS_MAX);
    prop_oneof![
        (any::<[u8; 32]>(), any::<[u8; 32]>(), versions).prop_map(|(nonce, relay, versions)| {
            Control::Challenge { nonce, relay: RelayId::new(relay), versions }
        }),
        hello(),
        welcome(),
        (option::of(id()), select(ErrorCode::ALL), prose(), option::of(any::<u32>())).prop_map(
            |(id, code, sentence, wait_ms)| Control::Error { id, code, sentence, wait_ms }
        ),
        (id(), request()).prop_map(|(id, request)| Control::Request { id, request }),
        id().prop_map(|id| Control::Done { id }),
        (option::of(id()), any::<[u8; 16]>(), device())
            .prop_map(|(id, tag, device)| Control::Paired { id, tag, device }),
        (id(), any::<u64>()).prop_map(|(id, unix_ms)| Control::Pong { id, unix_ms }),
        (select(GoawayReason::ALL), any::<u32>()).prop_map(|(reason, reconnect_after_ms)| {
            Control::Goaway { reason, reconnect_after_ms }
        }),
        (0..8u8, any::<u64>(), select(Undelivered::ALL)).prop_map(|(lane, counter, reason)| {
            Control::Undeliverable { lane, counter, reason }
        }),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    let class = select(&Class::ALL);
    (class, any::<bool>(), 0..limits::LANES, any::<u64>(), device(), any::<[u8; 16]>(), 0..4u8)
        .prop_filter_map("a channel", |(class, urgent, lane, counter, peer, channel, kind)| {
            let routed = Header {
                urgent,
                channel: ChannelId::new(channel),
                ..Header::unicast(class, lane, counter, peer)
            };
            match kind {
                0 => Some(Header::cover(class, lane, counter)),
                1 => Some(routed),
                2 => (!routed.channel.is_zero())
                    .then_some(Header { kind: Kind::Broadcast, ..routed }),
                _ => Some(Header::control(class, counter)),
            }
        })
}

/// `message` with its texts as they arrive.
fn as_received(message: Control) -> Control {
    match message {
        Control::Hello(hello) => Control::Hello(Hello {
            name: hello.name.map(|name| text::plain(&name, limits::NAME_BYTES_MAX)),
            software: text::plain(&hello.software, limits::SOFTWARE_BYTES_MAX),
            ..hello
        }),
        Control::Welcome(welcome) => Control::Welcome(Welcome {
            region: text::plain(&welcome.region, limits::NAME_BYTES_MAX),
            ..welcome
        }),
        Control::Error { id, code, sentence, wait_ms } => {
            let sentence = text::plain(&sentence, limits::SENTENCE_BYTES_MAX);
            Control::Error { id, code, sentence, wait_ms }
        }
        Control::Request { id, request } => {
            let named = |name: &str| text::plain(name, limits::NAME_BYTES_MAX);
            let request = match request {
                Request::Register { device, name, proof } => {
                    Request::Register { device, name: named(&name), proof }
                }
                Request::Rename { device, name } => Request::Rename { device, name: named(&name) },
                other @ (Request::Revoke { .. }
                | Request::Grant { .. }
                | Request::Ungrant { .. }
                | Request::PairOpen { .. }
                | Request::PairJoin { .. }
                | Request::Presence { .. }
                | Request::Ping) => other,
            };
            Control::Request { id, request }
        }
        other @ (Control::Challenge { .. }
        | Control::Done { .. }
        | Control::Paired { .. }
        | Control::Pong { .. }
        | Control::Goaway { .. }
        | Control::Undeliverable { .. }) => other,
    }
}

/// A change to valid bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Cut(usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        at().prop_map(Change::Remove),
        at().prop_map(Change::Cut),
        (at(), 1..40usize).prop_map(|(at, len)| Change::Repeat(at, len)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match *change {
        Change::Set(at, byte) => bytes[at % len] = byte,
        Change::Flip(at, bit) => bytes[at % len] ^= 1 << bit,
        Change::Insert(at, byte) => bytes.insert(at % len, byte),
        Change::Remove(at) => {
            bytes.remove(at % len);
        }
        Change::Cut(at) => bytes.truncate(at % len),
        Change::Repeat(at, count) => {
            let at = at % len;
            let piece = bytes[at..(at + count).min(len)].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..512)) {
        fuzzing::header(&bytes);
        fuzzing::control(&bytes);
        fuzzing::body(&bytes);
        fuzzing::code(&bytes);
    }

    #[test]
    fn any_base32_is_read_without_panic(body in "[a-z2-7]{0,700}", pair: bool) {
        let prefix = if pair { "hushwire:pair:a" } else { "hushwire:invite:a" };
        fuzzing::code(format!("{prefix}{body}").as_bytes());
    }

    #[test]
    fn changed_vectors_are_read_without_panic(
        index in any::<prop::sample::Index>(),
        changes in vec(change(), 1..6),
    ) {
        let vectors = vectors();
        let vector = index.get(&vectors);
        println!("{}", vector.name);
        let mut bytes = vector.value.encode();
        for change in &changes {
            apply(&mut bytes, change);
        }
        match vector.value {
            Value::Header(_) => fuzzing::header(&bytes),
            Value::Control(_) => fuzzing::control(&bytes),
            Value::ControlCell { .. } => fuzzing::body(bytes.get(64..).unwrap_or_default()),
            Value::Invite(_) | Value::Pair(_) | Value::Device(_) => fuzzing::code(&bytes),
            Value::Proof { .. } | Value::Padme(_) => {}
        }
    }

    #[test]
    fn every_message_arrives_as_it_was_meant(message in message()) {
        prop_assert_eq!(message.check(), Ok(()));
        let content = message.encode();
        let cell = enclose(&content).expect("every message fits a cell");
        prop_assert_eq!(disclose(&cell[64..]), Ok(content.as_slice()));
        prop_assert_eq!(Control::decode(&content), Ok(as_received(message)));
    }

    #[test]
    fn every_header_arrives_as_it_was_meant(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn every_code_arrives_as_it_was_meant(
        pin in option::of(any::<[u8; 32]>()),
        host in "[a-z0-9.-]{1,240}",
        port in 1..=u16::MAX,
        device in device(),
        secret: [u8; 16],
    ) {
        let trust = pin.map_or(Trust::PublicCa, Trust::Pin);
        let address = format!("{host}:{port}");
        let relay = RelayAddress::new(trust, RelayId::new([3; 32]), &address).expect("an address");
        prop_assert_eq!(relay.host_and_port(), (host.as_str(), port));
        let invite = Invite { relay: relay.clone(), secret: Secret::new(secret) };
        prop_assert_eq!(Invite::from_text(&invite.to_text()), Ok(invite));
        let code = PairCode { relay, device, secret: Secret::new(secret) };
        prop_assert_eq!(PairCode::from_text(&code.to_text()), Ok(code));
    }

    #[test]
    fn plain_text_is_plain_short_and_stays(given in prose(), bytes_max in 0..600usize) {
        let plain = text::plain(&given, bytes_max);
        prop_assert!(plain.len() <= bytes_max && plain.chars().all(text::is_plain));
        prop_assert_eq!(text::plain(&plain, bytes_max), plain);
    }

    #[test]
    fn padme_is_monotone_idempotent_and_cheap(a: u64, b: u64) {
        prop_assert!(padme(a) >= a);
        prop_assert!(u128::from(padme(a)) * 100 <= u128::from(a) * 112);
        prop_assert_eq!(padme(padme(a)), padme(a));
        prop_assert!(padme(a.min(b)) <= padme(a.max(b)));
    }

    #[test]
    fn a_counter_is_accepted_in_order_only(lanes in vec(0..8usize, 0..100), wrong: u64) {
        let (mut sent, mut seen) = (LaneCounters::default(), LaneCounters::default());
        for lane in lanes {
            let counter = sent.take(lane);
            prop_assert!(wrong == counter || !seen.accept(lane as u32, wrong));
            prop_assert!(seen.accept(lane as u32, counter));
        }
    }
}
