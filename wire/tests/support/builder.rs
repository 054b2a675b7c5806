//! Every vector, built through the API. The files under `vectors/` are what this makes, written down.

use ed25519_dalek::{Signer, SigningKey};
use hushwire_wire::cell::{Class, Header, Kind, set_counter};
use hushwire_wire::code::{Invite, PairCode, RelayAddress, Secret, Trust};
use hushwire_wire::control::{
    Control, CoverMode, ErrorCode, GoawayReason, Hello, HopLimits, Request, RequestId, Transport,
    Undelivered, Welcome, enclose, proof_message, register_message, replace_proof,
};
use hushwire_wire::id::{ChannelId, DeviceId, RelayId};
use hushwire_wire::padding::padme;
use sha2::{Digest, Sha256};

/// Seed of the device that speaks in the vectors: RFC 8032 §7.1, test 1.
const DEVICE_SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
/// The other device: RFC 8032 §7.1, test 2.
const PEER_SEED: [u8; 32] = [
    0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
    0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
];
/// Expand(Extract("hushwire/1 code", secret of the pairing code), "hw1 rendezvous", "", 16).
const TAG: [u8; 16] = [
    0x40, 0x3a, 0x1d, 0x34, 0xee, 0x7e, 0x06, 0x51, 0xbe, 0x2c, 0xff, 0xec, 0xc4, 0x7b, 0x18, 0xae,
];
/// What the TLS exporter is taken to have given.
const BINDING_FROM: u8 = 0xc0;

/// One thing on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// The header of a cell.
    Header(Header),
    /// The content of a control cell.
    Control(Control),
    /// A whole control cell.
    ControlCell { counter: u64, message: Control },
    /// The text of an invite.
    Invite(Invite),
    /// The text of a pairing code.
    Pair(PairCode),
    /// The text of a device ID.
    Device(DeviceId),
    /// What the device of `hello` signs.
    Proof { transcript: [u8; 32], binding: [u8; 32] },
    /// Lengths and their Padmé lengths.
    Padme(Vec<u64>),
}

#[derive(Clone, Debug)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) value: Value,
}

impl Value {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Header(header) => header.encode().to_vec(),
            Self::Control(message) => message.encode(),
            Self::ControlCell { counter, message } => {
                let mut cell = enclose(&message.encode()).expect("every message fits a cell");
                set_counter(&mut cell, *counter);
                cell
            }
            Self::Invite(invite) => invite.to_text().into_bytes(),
            Self::Pair(code) => code.to_text().into_bytes(),
            Self::Device(device) => device.to_text().into_bytes(),
            Self::Proof { transcript, binding } => {
                proof_message(transcript, Transport::Tls, binding)
            }
            Self::Padme(lengths) => lengths
                .iter()
                .flat_map(|&length| [length.to_le_bytes(), padme(length).to_le_bytes()])
                .flatten()
                .collect(),
        }
    }
}

fn run<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|i| from.wrapping_add(i as u8))
}

fn device(seed: &[u8; 32]) -> DeviceId {
    DeviceId::new(SigningKey::from_bytes(seed).verifying_key().to_bytes())
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut all = Vec::new();
    let mut add = |name: &str, value| all.push(Vector { name: name.into(), value });
    for (name, header) in headers() {
        add(&name, Value::Header(header));
    }
    for (name, message) in controls() {
        add(&name, Value::Control(message));
    }
    let ping = Control::Request { id: RequestId(7), request: Request::Ping };
    add("cell-control-ping", Value::ControlCell { counter: 3, message: ping });
    let hello = signed_hello(None, None, CoverMode::Off);
    let (transcript, binding) = (transcript(&hello), run(BINDING_FROM));
    add("cell-control-hello", Value::ControlCell { counter: 0, message: hello });
    add("proof-message", Value::Proof { transcript, binding });
    add("id-device", Value::Device(device(&DEVICE_SEED)));
    add("code-invite", Value::Invite(invite(Trust::Pin(run(0x70)), "relay.example:4433")));
    add("code-invite-public-ca", Value::Invite(invite(Trust::PublicCa, "[2001:db8::1]:443")));
    add("code-pair", Value::Pair(pair_code()));
    let lengths = [0, 1, 2, 9, 15, 100, 1_000, 1_025, 32_653, 32_770, 50_009, 100_009, 262_153];
    add("padding-padme", Value::Padme(lengths.to_vec()));
    all
}

fn headers() -> Vec<(String, Header)> {
    let (peer, channel) = (device(&PEER_SEED), ChannelId::new(run(0x71)));
    let mut all: Vec<_> = Class::ALL
        .map(|class| {
            let number = class as u32;
            let counter = 1 << (8 * number);
            (format!("cell-cover-class-{number}"), Header::cover(class, number, counter))
        })
        .into();
    let unicast = Header::unicast(Class::C0, 3, 0x0102_0304_0506_0708, peer);
    let broadcast = Header { kind: Kind::Broadcast, peer: DeviceId::ZERO, channel, ..unicast };
    let table = [
        ("cell-unicast", unicast),
        ("cell-unicast-urgent", Header { urgent: true, ..unicast }),
        ("cell-unicast-by-channel", Header { channel, ..unicast }),
        ("cell-broadcast-to-relay", broadcast),
        ("cell-broadcast-from-relay", Header { peer, ..broadcast }),
        ("cell-control", Header::control(Class::C3, 1)),
    ];
    all.extend(table.map(|(name, header)| (name.into(), header)));
    all
}

fn challenge() -> Control {
    Control::Challenge { nonce: run(0x10), relay: RelayId::new(run(0x50)), versions: vec![1] }
}

/// SHA-256 of the CHALLENGE's content and the HELLO's with its proof zeroed.
fn transcript(hello: &Control) -> [u8; 32] {
    let mut content = hello.encode();
    replace_proof(&mut content, &[0; 64]).expect("a HELLO has a proof");
    Sha256::new().chain_update(challenge().encode()).chain_update(content).finalize().into()
}

fn signed_hello(token: Option<Vec<u8>>, name: Option<String>, cover: CoverMode) -> Control {
    let hello = Hello {
        version: 1,
        device: device(&DEVICE_SEED),
        proof: [0; 64],
        token,
        name,
        cover,
        software: "hush/0.1.0".into(),
    };
    let transcript = transcript(&Control::Hello(hello.clone()));
    let message = proof_message(&transcript, Transport::Tls, &run(BINDING_FROM));
    let proof = SigningKey::from_bytes(&DEVICE_SEED).sign(&message).to_bytes();
    Control::Hello(Hello { proof, ..hello })
}

fn welcome(cover: CoverMode, pins: Vec<[u8; 32]>, quic_ids: Vec<[u8; 8]>) -> Control {
    Control::Welcome(Welcome {
        shard: 1,
        shards: 2,
        region: "eu-1".into(),
        cover,
        limits: HopLimits {
            cells_per_s: 2_000,
            bytes_per_s: 16_777_216,
            egress_bytes: 1_048_576,
            idle_ms: 60_000,
        },
        replaced: !pins.is_empty(),
        pins,
        quic_ids,
    })
}

fn controls() -> Vec<(String, Control)> {
    let token = invite(Trust::PublicCa, "r:1").secret.as_bytes().to_vec();
    let enrol = signed_hello(Some(token), Some("Zoë's phone".into()), CoverMode::AdaptiveFast);
    let mut all: Vec<(String, Control)> = vec![
        ("challenge".into(), challenge()),
        ("hello".into(), signed_hello(None, None, CoverMode::Off)),
        ("hello-enrol".into(), enrol),
        ("welcome".into(), welcome(CoverMode::Adaptive, vec![], vec![])),
        ("welcome-pins".into(), welcome(CoverMode::Constant, vec![run(0x70), run(0x90)], vec![])),
        (
            "welcome-quic".into(),
            welcome(CoverMode::Off, vec![], (0..8).map(|n| run(8 * n)).collect()),
        ),
        ("done".into(), Control::Done { id: RequestId(300) }),
        (
            "paired-opener".into(),
            Control::Paired { id: None, tag: TAG, device: device(&PEER_SEED) },
        ),
        (
            "paired-joiner".into(),
            Control::Paired { id: Some(RequestId(7)), tag: TAG, device: device(&DEVICE_SEED) },
        ),
        ("pong".into(), Control::Pong { id: RequestId(7), unix_ms: 1_790_000_000_000 }),
    ];
    all.extend(requests().map(|(name, request)| {
        (format!("request-{name}"), Control::Request { id: RequestId(7), request })
    }));
    all.extend(ErrorCode::ALL.iter().map(|&code| (format!("error-{code}"), error(code))));
    all.extend(GoawayReason::ALL.iter().map(|&reason| {
        (format!("goaway-{reason}"), Control::Goaway { reason, reconnect_after_ms: 1_500 })
    }));
    all.extend(Undelivered::ALL.iter().zip(0..).map(|(&reason, lane)| {
        let counter = 65_536 * u64::from(lane);
        (format!("undeliverable-{reason}"), Control::Undeliverable { lane, counter, reason })
    }));
    all.into_iter().map(|(name, message)| (format!("control-{name}"), message)).collect()
}

/// An error without an ID is about the connection, one with an ID about that request.
fn error(code: ErrorCode) -> Control {
    let (id, sentence, wait_ms) = match code {
        ErrorCode::Malformed => (None, "A cell sets reserved flags.", None),
        ErrorCode::Unauthenticated => (None, "The proof does not verify.", None),
        ErrorCode::Forbidden => (Some(7), "Another account owns this device.", None),
        ErrorCode::UnknownDevice => (Some(7), "No such device in this account.", None),
        ErrorCode::Busy => (Some(7), "Too many pairings are open; try again.", Some(5_000)),
        ErrorCode::RateLimited => (Some(7), "5 pairings a minute; wait 42 s.", Some(42_000)),
        ErrorCode::TooLarge => (Some(7), "An account has at most 64 devices.", None),
        ErrorCode::Expired => (None, "The invite was used or is too old.", None),
        ErrorCode::Conflict => (Some(70_000), "The device is enrolled already.", None),
        ErrorCode::Unsupported => (Some(7), "This relay has no operation 'teleport'.", None),
        ErrorCode::Draining => (None, "The relay is stopping.", Some(1_500)),
    };
    Control::Error { id: id.map(RequestId), code, sentence: sentence.into(), wait_ms }
}

fn requests() -> [(&'static str, Request); 10] {
    let asker = device(&DEVICE_SEED);
    let device = device(&PEER_SEED);
    let message = register_message(&RelayId::new(run(0x50)), &asker, &device);
    let proof = SigningKey::from_bytes(&PEER_SEED).sign(&message).to_bytes();
    [
        ("register", Request::Register { device, name: "build server".into(), proof }),
        ("rename", Request::Rename { device, name: "old laptop".into() }),
        ("revoke", Request::Revoke { device }),
        ("grant", Request::Grant { device }),
        ("ungrant", Request::Ungrant { device }),
        ("pair-open", Request::PairOpen { tag: TAG, ttl_s: 300 }),
        ("pair-join", Request::PairJoin { tag: TAG }),
        ("presence-hidden", Request::Presence { hidden: true }),
        ("presence-shown", Request::Presence { hidden: false }),
        ("ping", Request::Ping),
    ]
}

fn invite(trust: Trust, address: &str) -> Invite {
    let relay = RelayAddress::new(trust, RelayId::new(run(0x50)), address).expect("an address");
    Invite { relay, secret: Secret::new(run(0xe0)) }
}

fn pair_code() -> PairCode {
    let Invite { relay, .. } = invite(Trust::Pin(run(0x70)), "relay.example:4433");
    PairCode { relay, device: device(&DEVICE_SEED), secret: Secret::new(run(0xa0)) }
}
