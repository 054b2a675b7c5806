//! The text of a vector file: what the bytes are in comments, then the bytes in hex.

use std::fmt::Write as _;

use crate::builder::{Value, Vector};

pub(crate) fn file_text(vector: &Vector) -> String {
    let bytes = vector.value.encode();
    let mut text = format!("# {}\n", vector.name);
    for line in describe(&vector.value, &bytes) {
        let _ = writeln!(text, "# {line}");
    }
    for row in bytes.chunks(32) {
        let _ = writeln!(text, "{}", hex(row));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn describe(value: &Value, bytes: &[u8]) -> Vec<String> {
    match value {
        Value::Header(_) => lines("header of a cell:", header(bytes)),
        Value::Control(_) => lines("content of a control cell, MessagePack:", map(bytes)),
        Value::ControlCell { .. } => {
            let length = u32::from_le_bytes([bytes[64], bytes[65], bytes[66], bytes[67]]) as usize;
            let mut all = lines("a whole control cell:", header(bytes));
            all.push(format!("64 length(4) {length}"));
            all.push("68 content, MessagePack:".into());
            all.extend(map(&bytes[68..68 + length]));
            all.push(format!("{} zeros to the end", 68 + length));
            all
        }
        Value::Invite(_) => text(
            "an invite as ASCII text, 'hushwire:invite:' + base32 of",
            &["version(1) pin(32) relay_id(32) secret(16) len(1) host:port"],
            bytes,
        ),
        Value::Pair(_) => text(
            "a pairing code as ASCII text, 'hushwire:pair:' + base32 of",
            &["version(1) pin(32) relay_id(32) device(32) secret(16) len(1) host:port"],
            bytes,
        ),
        Value::Device(_) => {
            text("a device ID as ASCII text", &["the key of RFC 8032 section 7.1, test 1"], bytes)
        }
        Value::Proof { transcript, binding } => vec![
            "what the proof in control-hello signs, with the key of RFC 8032 section 7.1, test 1:"
                .into(),
            "0 64 bytes 0x20".into(),
            "64 'hushwire/1 hello' and a zero byte".into(),
            format!("81 transcript(32) {}", hex(transcript)),
            "   SHA-256 of control-challenge, then control-hello with its proof zeroed".into(),
            "113 transport(1) 1".into(),
            format!("114 binding(32) {}", hex(binding)),
        ],
        Value::Padme(lengths) => {
            let head = "rows of length(8) and its Padmé length(8), little-endian:".into();
            let row = |&length: &u64| format!("{length} {}", hushwire_wire::padding::padme(length));
            std::iter::once(head).chain(lengths.iter().map(row)).collect()
        }
    }
}

fn lines(head: &str, rest: Vec<String>) -> Vec<String> {
    std::iter::once(head.into()).chain(rest).collect()
}

fn text(head: &str, rest: &[&str], bytes: &[u8]) -> Vec<String> {
    let mut all = lines(head, rest.iter().map(|&line| line.into()).collect());
    all.push(String::from_utf8_lossy(bytes).into_owned());
    all
}

fn header(bytes: &[u8]) -> Vec<String> {
    let uint = |at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte))
    };
    let kind = ["cover", "unicast", "broadcast", "control"][usize::from(bytes[0])];
    vec![
        format!("0 kind(1) {} {kind}", bytes[0]),
        format!("1 class(1) {} ({} bytes)", bytes[1], 256u32 << bytes[1]),
        format!("2 flags(2) {}", uint(2, 2)),
        format!("4 lane(4) {}", uint(4, 4)),
        format!("8 counter(8) {}", uint(8, 8)),
        format!("16 peer(32) {}", hex(&bytes[16..48])),
        format!("48 channel(16) {}", hex(&bytes[48..64])),
    ]
}

/// Walks the MessagePack that this crate writes, without its reader.
fn map(bytes: &[u8]) -> Vec<String> {
    let mut rest = bytes;
    let fields = take(&mut rest, 1)[0] & 15;
    let lines =
        (0..fields).map(|_| format!("  {}: {}", item(&mut rest), item(&mut rest))).collect();
    assert!(rest.is_empty(), "bytes after the map");
    lines
}

fn item(rest: &mut &[u8]) -> String {
    let marker = take(rest, 1)[0];
    match marker {
        0x00..=0x7f => format!("uint {marker}"),
        0x80..=0x8f => {
            let fields: Vec<_> =
                (0..marker & 15).map(|_| format!("{}: {}", item(rest), item(rest))).collect();
            format!("map {{{}}}", fields.join(", "))
        }
        0x90..=0x9f => {
            let items: Vec<_> = (0..marker & 15).map(|_| item(rest)).collect();
            format!("array [{}]", items.join(", "))
        }
        0xa0..=0xbf => string(rest, usize::from(marker & 31)),
        0xc2 => "false".into(),
        0xc3 => "true".into(),
        0xc4 => {
            let len = usize::from(take(rest, 1)[0]);
            format!("bin({len}) {}", hex(take(rest, len)))
        }
        0xcc..=0xcf => {
            let bytes = take(rest, 1 << (marker & 3));
            format!("uint {}", bytes.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte)))
        }
        0xd9 => {
            let len = usize::from(take(rest, 1)[0]);
            string(rest, len)
        }
        other => panic!("no vector needs the marker {other:#04x}"),
    }
}

fn string(rest: &mut &[u8], len: usize) -> String {
    format!("{:?}", String::from_utf8_lossy(take(rest, len)))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(len);
    *rest = tail;
    head
}
