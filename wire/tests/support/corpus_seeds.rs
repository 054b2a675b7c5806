//! The seeds of the fuzz corpora: every vector, and one input for each way to be wrong. A name begins
//! with `ok-` or `bad-`: whether the input is understood.

use hushwire_wire::limits;

use crate::builder::{Value, vectors};

pub(crate) struct Seed {
    pub(crate) target: &'static str,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut all: Vec<Seed> = vectors().into_iter().filter_map(understood).collect();
    let mut add = |target, list: Vec<(&str, Vec<u8>)>| {
        let seed = |(name, bytes): (&str, _)| Seed { target, name: name.into(), bytes };
        all.extend(list.into_iter().map(seed));
    };
    add("header", headers());
    add("control", unusual_controls());
    add("control", broken_maps());
    add("control", wrong_fields());
    add("body", bodies());
    add("code", codes());
    all
}

fn understood(vector: crate::builder::Vector) -> Option<Seed> {
    let target = match vector.value {
        Value::Header(_) => "header",
        Value::Control(_) => "control",
        Value::ControlCell { .. } => "body",
        Value::Invite(_) | Value::Pair(_) => "code",
        Value::Device(_) | Value::Proof { .. } | Value::Padme(_) => return None,
    };
    let mut bytes = vector.value.encode();
    if target == "body" {
        bytes.drain(..64);
    }
    Some(Seed { target, name: format!("ok-{}", vector.name), bytes })
}

fn vector(name: &str) -> Vec<u8> {
    let found = vectors().into_iter().find(|vector| vector.name == name);
    found.expect("a vector of this name").value.encode()
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let with = |name: &str, at: usize, bytes: &[u8]| {
        let mut header = vector(name);
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header
    };
    vec![
        ("bad-short", vector("cell-unicast")[..63].to_vec()),
        ("bad-kind-4", with("cell-unicast", 0, &[4])),
        ("bad-kind-255", with("cell-unicast", 0, &[255])),
        ("bad-class-8", with("cell-unicast", 1, &[8])),
        ("bad-flag-1", with("cell-unicast", 2, &[2])),
        ("bad-flag-15", with("cell-unicast", 3, &[0x80])),
        ("bad-urgent-cover", with("cell-cover-class-0", 2, &[1])),
        ("bad-urgent-control", with("cell-control", 2, &[1])),
        ("bad-lane-8", with("cell-unicast", 4, &[8])),
        ("bad-lane-high", with("cell-unicast", 7, &[1])),
        ("bad-lane-control", with("cell-control", 4, &[1])),
        ("bad-peer-cover", with("cell-cover-class-0", 16, &[1])),
        ("bad-peer-control", with("cell-control", 47, &[1])),
        ("bad-peer-none", with("cell-unicast", 16, &[0; 32])),
        ("bad-channel-cover", with("cell-cover-class-0", 48, &[1])),
        ("bad-channel-control", with("cell-control", 63, &[1])),
        ("bad-channel-none", with("cell-broadcast-to-relay", 48, &[0; 16])),
    ]
}

fn text(value: &str) -> Vec<u8> {
    let mut out = vec![0xda];
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value.as_bytes());
    out
}

fn uint(value: u64) -> Vec<u8> {
    [&[0xcf], value.to_be_bytes().as_slice()].concat()
}

fn bin(value: &[u8]) -> Vec<u8> {
    [&[0xc5], (value.len() as u16).to_be_bytes().as_slice(), value].concat()
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [&[0x90 | items.len() as u8], items.concat().as_slice()].concat()
}

/// The operation and its fields as a map16, with every value in its widest form.
fn map(operation: &str, fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0xde];
    out.extend((1 + fields.len() as u16).to_be_bytes());
    out.extend([text("op"), text(operation)].concat());
    for (key, value) in fields {
        out.extend([text(key), value.clone()].concat());
    }
    out
}

fn unusual_controls() -> Vec<(&'static str, Vec<u8>)> {
    let id = || ("id", uint(7));
    let extension = [0xd4, 1, 2].to_vec();
    let deep = [0x91, 0x91, 0x91, 0xc0].to_vec();
    let every = array(&[
        vec![0xc0],
        vec![0xff],
        vec![0xd0, 1],
        vec![0xd1, 1, 2],
        vec![0xd2, 1, 2, 3, 4],
        vec![0xd3, 1, 2, 3, 4, 5, 6, 7, 8],
        vec![0xca, 1, 2, 3, 4],
        vec![0xcb, 1, 2, 3, 4, 5, 6, 7, 8],
        vec![0xc7, 1, 2, 3],
        vec![0xd5, 1, 2, 3],
        vec![0x81, 0xa0, 0xc3],
    ]);
    let keys: Vec<String> = (0..limits::CONTROL_FIELDS_MAX - 2).map(|n| format!("x{n}")).collect();
    let mut many = vec![id()];
    many.extend(keys.iter().map(|key| (key.as_str(), vec![0xc0])));
    vec![
        ("ok-wide-forms", map("done", &[id()])),
        ("ok-unknown-key-extension", map("done", &[id(), ("new", extension)])),
        ("ok-unknown-key-nested", map("done", &[id(), ("new", deep)])),
        ("ok-unknown-key-every-type", map("done", &[id(), ("new", every)])),
        (
            "ok-foreign-id",
            map(
                "goaway",
                &[
                    ("id", text("of another operation")),
                    ("reason", text("idle")),
                    ("reconnect_after_ms", uint(0)),
                ],
            ),
        ),
        ("ok-fields-32", map("done", &many)),
        ("bad-unsupported", map("teleport", &[id()])),
        ("bad-unsupported-steering", map("\x1b[2J", &[])),
    ]
}

fn broken_maps() -> Vec<(&'static str, Vec<u8>)> {
    let done = |tail: &[u8]| [b"\x82\xa2op\xa4done\xa1x", tail].concat();
    let keys: Vec<String> = (0..limits::CONTROL_FIELDS_MAX).map(|n| format!("x{n}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), vec![0xc0])).collect();
    vec![
        ("bad-empty", vec![]),
        ("bad-nil", vec![0xc0]),
        ("bad-array", vec![0x90]),
        ("bad-empty-map", vec![0x80]),
        ("bad-cut", b"\x81\xa2op".to_vec()),
        ("bad-cut-key", b"\x81\xa2o".to_vec()),
        ("bad-trailing", b"\x82\xa2op\xa4done\xa2id\x07\x00".to_vec()),
        ("bad-duplicate-key", b"\x83\xa2op\xa4done\xa2id\x07\xa2id\x07".to_vec()),
        ("bad-key-number", b"\x81\x01\xa4done".to_vec()),
        ("bad-fields-33", map("done", &many)),
        ("bad-map32", b"\xdf\x00\x00\x00\x02\xa2op\xa4done\xa2id\x07".to_vec()),
        ("bad-array32-lies", done(b"\xdd\xff\xff\xff\xff")),
        ("bad-map32-lies", done(b"\xdf\xff\xff\xff\xff")),
        ("bad-text-lies", done(b"\xdb\xff\xff\xff\xff")),
        ("bad-bytes-lie", done(b"\xc6\xff\xff\xff\xff")),
        ("bad-extension-lies", done(b"\xc9\xff\xff\xff\xff\x01")),
        ("bad-reserved-marker", done(b"\xc1")),
        ("bad-utf8", done(b"\xa1\xff")),
        ("bad-depth", done(&[&[0x91; 5][..], &[0xc0]].concat())),
        ("bad-depth-thousands", done(&[&[0x91; 5_000][..], &[0xc0]].concat())),
    ]
}

fn wrong_fields() -> Vec<(&'static str, Vec<u8>)> {
    let id = || ("id", uint(7));
    let device = || ("device", bin(&[1; 32]));
    let tag = || ("tag", bin(&[1; 16]));
    let error = |code: &str, sentence: &str| {
        map("error", &[id(), ("code", text(code)), ("text", text(sentence))])
    };
    let rename = |name: &str| map("rename", &[id(), device(), ("name", text(name))]);
    let pair_open = |ttl_s| map("pair_open", &[id(), tag(), ("ttl_s", uint(ttl_s))]);
    let challenge = |versions: Vec<u8>| {
        let fields =
            [("nonce", bin(&[1; 32])), ("relay_id", bin(&[2; 32])), ("versions", versions)];
        map("challenge", &fields)
    };
    let hello = |proof: usize, token: usize, cover: &str| {
        let fields = [
            ("version", uint(1)),
            device(),
            ("proof", bin(&vec![1; proof])),
            ("token", bin(&vec![2; token])),
            ("cover", text(cover)),
            ("software", text("x")),
        ];
        map("hello", &fields)
    };
    let hop = || {
        let fields = ["cells_per_s", "bytes_per_s", "egress_bytes", "idle_ms"];
        let fields: Vec<_> = fields.into_iter().flat_map(|key| [text(key), uint(1)]).collect();
        [vec![0x84], fields.concat()].concat()
    };
    let welcome = |limits: Vec<u8>, lists: [Vec<u8>; 2]| {
        let [pins, quic_ids] = lists;
        let fields = [
            ("shard", uint(0)),
            ("shards", uint(1)),
            ("region", text("")),
            ("cover", text("off")),
            ("limits", limits),
            ("replaced", vec![0xc2]),
            ("pins", pins),
            ("quic_ids", quic_ids),
        ];
        map("welcome", &fields)
    };
    let undeliverable = |lane, reason: &str| {
        let fields = [("lane", uint(lane)), ("counter", uint(0)), ("reason", text(reason))];
        map("undeliverable", &fields)
    };
    vec![
        ("bad-operation-none", b"\x81\xa2id\x07".to_vec()),
        ("bad-operation-number", b"\x81\xa2op\x07".to_vec()),
        ("bad-id-none", map("done", &[])),
        ("bad-id-text", map("done", &[("id", text("7"))])),
        ("bad-id-negative", map("done", &[("id", vec![0xff])])),
        ("bad-id-signed", map("done", &[("id", vec![0xd0, 7])])),
        ("bad-id-33-bits", map("done", &[("id", uint(1 << 32))])),
        ("bad-device-short", map("grant", &[id(), ("device", bin(&[1; 31]))])),
        ("bad-device-long", map("grant", &[id(), ("device", bin(&[1; 33]))])),
        ("bad-device-zero", map("grant", &[id(), ("device", bin(&[0; 32]))])),
        ("bad-device-text", map("grant", &[id(), ("device", text(&"a".repeat(32)))])),
        ("bad-device-none", map("grant", &[id()])),
        ("bad-name-long", rename(&"n".repeat(limits::NAME_BYTES_MAX + 1))),
        ("bad-name-escape", rename("\x1b]0;title\x07")),
        ("bad-name-newline", rename("a\nb")),
        ("bad-name-direction", rename("abc\u{202e}txt.exe")),
        ("bad-sentence-long", error("busy", &"s".repeat(limits::SENTENCE_BYTES_MAX + 1))),
        ("bad-sentence-c1", error("busy", "\u{9b}31m")),
        ("bad-error-code", error("tired", "")),
        ("bad-tag-short", map("pair_join", &[id(), ("tag", bin(&[1; 15]))])),
        ("bad-ttl-0", pair_open(0)),
        ("bad-ttl-301", pair_open(301)),
        ("bad-hidden-number", map("presence", &[id(), ("hidden", uint(1))])),
        ("bad-versions-9", challenge(array(&vec![uint(1); 9]))),
        ("bad-version-256", challenge(array(&[uint(256)]))),
        ("bad-version-text", challenge(array(&[text("1")]))),
        ("bad-versions-number", challenge(uint(1))),
        ("bad-proof-63", hello(63, 16, "off")),
        ("bad-proof-65", hello(65, 16, "off")),
        ("bad-token-long", hello(64, limits::TOKEN_BYTES_MAX + 1, "off")),
        ("bad-cover", hello(64, 16, "total")),
        ("bad-limits-number", welcome(uint(1), [array(&[]), array(&[])])),
        ("bad-limits-empty", welcome(vec![0x80], [array(&[]), array(&[])])),
        ("bad-pins-5", welcome(vec![0x80], [array(&vec![bin(&[1; 32]); 5]), array(&[])])),
        ("bad-quic-ids-9", welcome(hop(), [array(&[]), array(&vec![bin(&[1; 8]); 9])])),
        ("bad-quic-id-short", welcome(hop(), [array(&[]), array(&[bin(&[1; 7])])])),
        ("bad-lane-8", undeliverable(8, "busy")),
        ("bad-lane-256", undeliverable(256, "busy")),
        ("bad-reason", undeliverable(0, "tired")),
        (
            "bad-goaway-reason",
            map("goaway", &[("reason", text("bored")), ("reconnect_after_ms", uint(0))]),
        ),
    ]
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let good = vector("cell-control-ping").split_off(64);
    let with = |at: usize, bytes: &[u8]| {
        let mut body = good.clone();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        body
    };
    vec![
        ("bad-empty", vec![]),
        ("bad-short", good[..3].to_vec()),
        ("bad-length-none", with(0, &[0])),
        ("bad-length-short", with(0, &[good[0] - 1])),
        ("bad-length-beyond", with(0, &[189])),
        ("bad-length-huge", with(0, &[0xff; 4])),
        ("bad-padding-last", with(191, &[1])),
        ("bad-padding-first", with(4 + usize::from(good[0]), &[1])),
    ]
}

/// RFC 4648 §6 in lower case, written again so that the corpus does not lean on what it tests.
fn base32(bytes: &[u8]) -> String {
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1)).collect();
    bits.chunks(5)
        .map(|five| {
            let value = (0..5).fold(0, |value, n| value << 1 | five.get(n).copied().unwrap_or(0));
            char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(value)])
        })
        .collect()
}

fn codes() -> Vec<(&'static str, Vec<u8>)> {
    let invite = String::from_utf8(vector("code-invite")).expect("ASCII");
    let pair = String::from_utf8(vector("code-pair")).expect("ASCII");
    let built = |version: u8, address: &str, len: usize| {
        let mut bytes = vec![version];
        bytes.extend([[1; 32], [2; 32]].concat());
        bytes.extend([3; 16]);
        bytes.push(len as u8);
        bytes.extend(address.as_bytes());
        format!("hushwire:invite:{}", base32(&bytes)).into_bytes()
    };
    let address = |address: &str| built(1, address, address.len());
    let mut unused_bit = pair.clone().into_bytes();
    let last = unused_bit.len() - 1;
    unused_bit[last] += 1;
    vec![
        ("ok-built", address("r:1")),
        ("ok-spaces", format!("  {invite}\r\n").into_bytes()),
        ("bad-empty", vec![]),
        ("bad-no-prefix", invite.replace("hushwire:", "").into_bytes()),
        ("bad-no-body", b"hushwire:pair:".to_vec()),
        ("bad-prefix-exchanged", pair.replace("pair", "invite").into_bytes()),
        ("bad-upper-case", invite.to_uppercase().into_bytes()),
        ("bad-upper-case-body", invite.replace('a', "A").into_bytes()),
        ("bad-foreign-character", invite.replacen('a', "1", 1).into_bytes()),
        ("bad-not-ascii", format!("{invite}é").into_bytes()),
        ("bad-not-utf8", [invite.as_bytes(), &[0xff]].concat()),
        ("bad-cut", invite[..invite.len() - 2].into()),
        ("bad-cut-pair", pair[..60].into()),
        ("bad-unused-bit", unused_bit),
        ("bad-appended", format!("{invite}aaaaaaaa").into_bytes()),
        ("bad-version-0", built(0, "r:1", 3)),
        ("bad-version-2", built(2, "r:1", 3)),
        ("bad-length-short", built(1, "r:1", 2)),
        ("bad-length-long", built(1, "r:1", 4)),
        ("bad-address-empty", address("")),
        ("bad-address-no-port", address("r")),
        ("bad-address-no-host", address(":1")),
        ("bad-address-port-0", address("r:0")),
        ("bad-address-port-01", address("r:01")),
        ("bad-address-port-65536", address("r:65536")),
        ("bad-address-space", address("r :1")),
        ("bad-address-escape", address("r\x1b[2J:1")),
        ("bad-address-ipv6-bare", address("::1:1")),
        ("bad-address-not-ascii", address("rä:1")),
    ]
}
