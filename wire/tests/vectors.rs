//! The files under `vectors/` are normative: the crate makes exactly their bytes and reads exactly their
//! values, and nothing that can be said on the wire is without one.

#[path = "support/builder.rs"]
mod builder;
#[path = "support/format.rs"]
mod format;

use std::collections::BTreeSet;
use std::path::PathBuf;

use builder::{Value, Vector, vectors};
use hushwire_wire::cell::{Class, HEADER_LEN, Header, Kind};
use hushwire_wire::code::{Invite, PairCode, Trust};
use hushwire_wire::control::{
    Control, CoverMode, ErrorCode, GoawayReason, Request, Transport, Undelivered, disclose,
};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");
const REWRITE: &str = "if the change is meant: cargo run -p hushwire-wire --example vectors";

fn path(name: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{name}.hex"))
}

fn bytes_of(text: &str) -> Vec<u8> {
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
        .collect()
}

/// What `bytes` say, read as the same sort of thing as `like`.
fn decode(like: &Value, bytes: &[u8]) -> Value {
    let text = || std::str::from_utf8(bytes).expect("ASCII");
    let header = || Header::decode(bytes.first_chunk().expect("64 bytes")).expect("a header");
    match like {
        Value::Header(_) => {
            assert_eq!(bytes.len(), HEADER_LEN);
            Value::Header(header())
        }
        Value::Control(_) => Value::Control(Control::decode(bytes).expect("a message")),
        Value::ControlCell { .. } => {
            assert_eq!(bytes.len(), header().class.cell_len());
            let content = disclose(&bytes[HEADER_LEN..]).expect("a body");
            let message = Control::decode(content).expect("a message");
            Value::ControlCell { counter: header().counter, message }
        }
        Value::Invite(_) => Value::Invite(Invite::from_text(text()).expect("an invite")),
        Value::Pair(_) => Value::Pair(PairCode::from_text(text()).expect("a code")),
        Value::Device(_) => Value::Device(text().parse().expect("an ID")),
        Value::Proof { .. } => {
            assert_eq!(&bytes[..81], [&[0x20; 64], b"hushwire/1 hello\0".as_slice()].concat());
            assert_eq!(bytes[113], Transport::Tls as u8);
            let array = |at: usize| bytes[at..at + 32].try_into().expect("32 bytes");
            Value::Proof { transcript: array(81), binding: array(114) }
        }
        Value::Padme(_) => Value::Padme(
            bytes
                .chunks_exact(16)
                .map(|row| u64::from_le_bytes(row[..8].try_into().expect("8 bytes")))
                .collect(),
        ),
    }
}

#[test]
fn every_vector_reads_and_writes_the_same() {
    for vector in vectors() {
        let Vector { name, value } = &vector;
        let text = std::fs::read_to_string(path(name))
            .unwrap_or_else(|error| panic!("{name}.hex: {error}; {REWRITE}"));
        let bytes = bytes_of(&text);
        assert_eq!(value.encode(), bytes, "{name}: what is written; {REWRITE}");
        assert_eq!(decode(value, &bytes), *value, "{name}: what is read");
        assert_eq!(format::file_text(&vector), text, "{name}: its comments; {REWRITE}");
    }
}

#[test]
fn no_file_is_without_a_builder() {
    let built: BTreeSet<_> = vectors().iter().map(|vector| path(&vector.name)).collect();
    assert_eq!(built.len(), vectors().len(), "two vectors share a name");
    let found: BTreeSet<_> = std::fs::read_dir(DIRECTORY)
        .expect("the directory of vectors")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let differ: Vec<_> = found.symmetric_difference(&built).collect();
    assert!(differ.is_empty(), "a file without a builder, or the reverse: {differ:?}");
}

/// A match without a wildcard beside the list of its arms: a new variant does not compile until it
/// has an arm, and an arm without a vector fails the test below.
macro_rules! arms {
    ($name:ident, $all:ident, $type:ty { $($pattern:pat => $arm:literal),+ $(,)? }) => {
        const $all: &[&str] = &[$($arm),+];

        fn $name(value: &$type) -> &'static str {
            match value { $($pattern => $arm),+ }
        }
    };
}

arms!(operation, OPERATIONS, Control {
    Control::Challenge { .. } => "challenge",
    Control::Hello(_) => "hello",
    Control::Welcome(_) => "welcome",
    Control::Error { .. } => "error",
    Control::Request { .. } => "request",
    Control::Done { .. } => "done",
    Control::Paired { .. } => "paired",
    Control::Pong { .. } => "pong",
    Control::Goaway { .. } => "goaway",
    Control::Undeliverable { .. } => "undeliverable",
});
arms!(request, REQUESTS, Request {
    Request::Register { .. } => "register",
    Request::Rename { .. } => "rename",
    Request::Revoke { .. } => "revoke",
    Request::Grant { .. } => "grant",
    Request::Ungrant { .. } => "ungrant",
    Request::PairOpen { .. } => "pair_open",
    Request::PairJoin { .. } => "pair_join",
    Request::Presence { .. } => "presence",
    Request::Ping => "ping",
});
arms!(kind, KINDS, Kind {
    Kind::Cover => "cover",
    Kind::Unicast => "unicast",
    Kind::Broadcast => "broadcast",
    Kind::Control => "control",
});
arms!(trust, TRUSTS, Trust { Trust::Pin(_) => "pin", Trust::PublicCa => "public CA" });

#[test]
fn everything_that_can_be_said_has_a_vector() {
    let mut said = BTreeSet::new();
    for Vector { value, .. } in vectors() {
        match value {
            Value::Header(header) => {
                said.insert(format!("kind {}", kind(&header.kind)));
                said.insert(format!("class {}", header.class as u8));
                said.insert(format!("lane {}", header.lane));
                said.insert(format!("urgent {}", header.urgent));
            }
            Value::Control(message) => {
                said.insert(format!("operation {}", operation(&message)));
                said.extend(words_of(&message));
            }
            Value::Invite(invite) => {
                said.insert(format!("trust {}", trust(&invite.relay.trust())));
            }
            Value::ControlCell { .. }
            | Value::Pair(_)
            | Value::Device(_)
            | Value::Proof { .. }
            | Value::Padme(_) => {}
        }
    }
    let arms = |prefix: &str, all: &[&str]| -> Vec<String> {
        all.iter().map(|arm| format!("{prefix} {arm}")).collect()
    };
    let mut needed = [
        arms("kind", KINDS),
        arms("operation", OPERATIONS),
        arms("request", REQUESTS),
        arms("trust", TRUSTS),
        arms("urgent", &["true", "false"]),
    ]
    .concat();
    needed.extend(Class::ALL.map(|class| format!("class {}", class as u8)));
    needed.extend((0..hushwire_wire::limits::LANES).map(|lane| format!("lane {lane}")));
    needed.extend(ErrorCode::ALL.iter().map(|code| format!("code {code}")));
    needed.extend(GoawayReason::ALL.iter().map(|reason| format!("goaway {reason}")));
    needed.extend(Undelivered::ALL.iter().map(|reason| format!("undelivered {reason}")));
    needed.extend(CoverMode::ALL.iter().map(|mode| format!("cover {mode}")));
    let missing: Vec<_> = needed.into_iter().filter(|word| !said.contains(word)).collect();
    assert!(missing.is_empty(), "without a vector: {missing:?}");
}

/// The words of the closed vocabularies that stand in `message`.
fn words_of(message: &Control) -> Option<String> {
    match message {
        Control::Hello(hello) => Some(format!("cover {}", hello.cover)),
        Control::Welcome(welcome) => Some(format!("cover {}", welcome.cover)),
        Control::Error { code, .. } => Some(format!("code {code}")),
        Control::Request { request: asked, .. } => Some(format!("request {}", request(asked))),
        Control::Goaway { reason, .. } => Some(format!("goaway {reason}")),
        Control::Undeliverable { reason, .. } => Some(format!("undelivered {reason}")),
        Control::Challenge { .. }
        | Control::Done { .. }
        | Control::Paired { .. }
        | Control::Pong { .. } => None,
    }
}

#[test]
fn the_proof_in_the_hello_verifies() {
    let find = |name: &str| {
        vectors().into_iter().find(|vector| vector.name == name).expect("a vector").value
    };
    let Value::Control(Control::Hello(hello)) = find("control-hello") else { panic!("a HELLO") };
    let key = ed25519_dalek::VerifyingKey::from_bytes(hello.device.as_bytes()).expect("a key");
    let signature = ed25519_dalek::Signature::from_bytes(&hello.proof);
    let message = find("proof-message").encode();
    assert!(key.verify_strict(&message, &signature).is_ok());
}

#[test]
fn the_proof_in_the_registration_verifies() {
    let find = |name: &str| {
        vectors().into_iter().find(|vector| vector.name == name).expect("a vector").value
    };
    let Value::Control(Control::Hello(hello)) = find("control-hello") else { panic!("a HELLO") };
    let Value::Control(Control::Challenge { relay, .. }) = find("control-challenge") else {
        panic!("a CHALLENGE")
    };
    let Value::Control(Control::Request {
        request: Request::Register { device, proof, .. }, ..
    }) = find("control-request-register")
    else {
        panic!("a registration")
    };
    let key = ed25519_dalek::VerifyingKey::from_bytes(device.as_bytes()).expect("a key");
    let message = hushwire_wire::control::register_message(&relay, &hello.device, &device);
    let signature = ed25519_dalek::Signature::from_bytes(&proof);
    assert!(key.verify_strict(&message, &signature).is_ok());
}

/// The hex of `PROTOCOL.md`'s indented lines, its comments and spaces taken out, in one piece.
fn quoted() -> String {
    let page = include_str!("../PROTOCOL.md");
    let example = page.split_once("## 9. Worked example").expect("the example").1;
    example
        .lines()
        .filter(|line| line.starts_with("    "))
        .flat_map(|line| line.trim().split(' ').map_while(hex_word).collect::<Vec<_>>())
        .collect()
}

/// A word of hex, or one of the gaps that align a column; a comment ends the line.
fn hex_word(word: &str) -> Option<&str> {
    (word.len().is_multiple_of(2) && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then_some(word)
}

#[test]
fn the_specification_quotes_the_vectors() {
    let quoted = quoted();
    for name in ["control-challenge", "proof-message", "control-hello", "control-welcome"] {
        let text = std::fs::read_to_string(path(name)).expect("a vector");
        let hex: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(quoted.contains(&hex), "PROTOCOL.md §9 shows another {name}");
    }
    let ping = std::fs::read_to_string(path("cell-control-ping")).expect("a vector");
    let hex: String = ping.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(quoted.contains(&hex[..2 * 81]), "PROTOCOL.md §9 shows another cell");
}

#[test]
fn the_specification_names_every_word() {
    let page = include_str!("../PROTOCOL.md");
    let words = (OPERATIONS.iter().chain(REQUESTS).copied())
        .filter(|&operation| operation != "request")
        .chain(ErrorCode::ALL.iter().map(|code| code.as_str()))
        .chain(GoawayReason::ALL.iter().map(|reason| reason.as_str()))
        .chain(Undelivered::ALL.iter().map(|reason| reason.as_str()))
        .chain(CoverMode::ALL.iter().map(|mode| mode.as_str()));
    for word in words {
        assert!(page.contains(&format!("`{word}`")), "PROTOCOL.md does not name `{word}`");
    }
    for kind in KINDS {
        assert!(page.contains(kind), "PROTOCOL.md does not name {kind}");
    }
    for Vector { value, .. } in vectors() {
        if let Value::Pair(code) = value {
            assert!(page.contains(&code.to_text()), "PROTOCOL.md §9 shows another pairing code");
        }
    }
}
