//! Fuzz entry points as plain functions: each takes any bytes, must not panic, and asserts that what was understood
//! is said again in the same words. Tests replay the corpus; a fuzzer grows it.

use crate::account::{self, AccountLog, Message, Statement};
use crate::conversation::preamble::PreambleReader;
use crate::identity::{Identity, Words};
use crate::keystore;
use crate::pairing::spoken::{S1, S2, SpokenCode};
use crate::suite::frame_types::{Frame, FrameWriter, Frames};
use crate::suite::handshake;
use crate::transfer::message::{self, ToReceiver, ToSender};

/// Any bytes as the content of a frame cell.
///
/// # Panics
/// Where a frame is not written as it was read: a fault of this crate.
pub fn frames(data: &[u8]) {
    let mut at = 0;
    for frame in Frames::new(data) {
        let Ok(frame) = frame else { return };
        let length = frame.encoded_len();
        let mut again = vec![0xff; length];
        let mut writer = FrameWriter::new(&mut again);
        writer.push(&frame).expect("the buffer has the frame's own length");
        assert_eq!(again, data[at..at + length], "a frame has one encoding");
        at += length;
        if let Frame::Handshake { message } = frame {
            handshake(message);
        }
    }
    assert_eq!(at, data.len(), "frames fill their content");
}

/// Any bytes as a handshake message.
///
/// # Panics
/// Where a message is not written as it was read: a fault of this crate.
pub fn handshake(data: &[u8]) {
    handshake::inspect(data);
}

/// Any bytes as the beginning of a stream.
///
/// # Panics
/// Where a preamble is not written as it was read, or takes more than its own bytes: a fault of this crate.
pub fn preamble(data: &[u8]) {
    let (mut reader, mut at) = (PreambleReader::default(), 0);
    loop {
        let Ok(wanted) = reader.wanted() else { return };
        if wanted.is_empty() {
            break;
        }
        let count = wanted.len().min(data.len() - at);
        if count == 0 {
            assert!(reader.finish().is_err(), "a preamble that is cut short is none");
            return;
        }
        wanted[..count].copy_from_slice(&data[at..at + count]);
        reader.advance(count);
        at += count;
    }
    if let Ok(preamble) = reader.finish() {
        assert_eq!(preamble.encode(), data[..at], "a preamble has one encoding");
    }
}

/// Any bytes as the file of a journal under the storage key of 32 bytes 7.
///
/// # Panics
/// Where a torn tail changes what is read before it: a fault of this crate.
pub fn journal(data: &[u8]) {
    crate::journal::inspect_file(data);
}

/// Any bytes as the entries of a journal, as they are before they are sealed.
///
/// # Panics
/// Where an entry is not written as it was read: a fault of this crate.
pub fn journal_entries(data: &[u8]) {
    crate::journal::inspect_entries(data);
}

/// Any bytes as a file of a keystore or as a backup file, with their own sum and with the right one.
///
/// # Panics
/// Never, but for a fault of this crate.
pub fn keystore(data: &[u8]) {
    keystore::inspect(data);
}

/// Any bytes as the words of a backup.
///
/// # Panics
/// Where words are not written as they were read: a fault of this crate.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(words) = Words::parse(text) else { return };
    let again = words.to_text();
    assert!(text.split_whitespace().map(str::to_lowercase).eq(again.split(' ')), "one spelling");
    assert!(Words::parse(&again).is_ok_and(|parsed| parsed == words), "words are words again");
}

/// Any bytes as the messages of a transfer, from either end.
///
/// # Panics
/// Where a message is not written as it was read: a fault of this crate.
pub fn transfer(data: &[u8]) {
    messages(data, ToReceiver::encode);
    messages(data, ToSender::encode);
}

fn messages<M: message::Message>(mut data: &[u8], encode: impl Fn(&M) -> Vec<u8>) {
    while let Some((head, rest)) = data.split_first_chunk() {
        let Ok((kind, length)) = message::decode_head::<M>(*head) else { return };
        let Some((payload, rest)) = rest.split_at_checked(length) else { return };
        let read = if M::is_data(kind) { &[][..] } else { payload };
        let Ok(message) = M::decode(kind, length, read) else { return };
        let written = encode(&message);
        assert_eq!(written, data[..written.len()], "a message has one encoding");
        data = rest;
    }
}
/// Any bytes as what a person typed for a spoken code.
///
/// # Panics
/// Where a code is not read as it was written, or a sentence about one could steer a terminal: a fault of this crate.
pub fn spoken_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match SpokenCode::from_text(text) {
        Ok(code) => assert_eq!(SpokenCode::from_text(&code.to_text()), Ok(code), "one code"),
        Err(error) => {
            assert!(
                error.to_string().chars().all(hushwire_wire::text::is_plain),
                "a plain sentence"
            );
        }
    }
}

/// Any bytes as the front of a body with a message of a spoken code.
pub fn spoken_message(data: &[u8]) {
    let mut body = vec![0; crate::suite::limits::HANDSHAKE_CLASS.body_len()];
    let length = data.len().min(body.len());
    body[..length].copy_from_slice(&data[..length]);
    assert!(S1::parse(&body).is_err() || S2::parse(&body).is_err(), "a message is one of the two");
    // As it is, for lengths that are no cell's.
    let _refused = (S1::parse(data), S2::parse(data));
}

/// Any bytes as what happens to a conversation behind the encryption: the peer's frames, the application's calls, time,
/// the disk and restarts.
///
/// # Panics
/// Where a limit does not hold or what is written is no frames: a fault of this crate.
pub fn conversation(data: &[u8]) {
    crate::conversation::inspect(data);
}

/// Any bytes as what a relay does to the messages of a handshake between two honest devices: order, copies, changes.
///
/// # Panics
/// Where both ends finish with different keys, or a message that was changed is taken: a fault of this crate.
pub fn handshake_states(data: &[u8]) {
    handshake::inspect_states(data);
}

/// Any bytes as entries of an account log, as a log's file, and as what a peer gives to a log.
///
/// # Panics
/// Where something is not written as it was read, or a log changes though it refuses: a fault of this crate.
pub fn account_log(data: &[u8]) {
    account::inspect(data);
    let identity = Identity::from_secret(&[1; 32]);
    let mut log = AccountLog::begin(&identity, "first", 1).expect("a plain name");
    let before = log.encode();
    if log.extend(&identity, data, 2).is_err() {
        assert_eq!(log.encode(), before, "a log that refuses stays as it was");
    }
}

/// Any bytes as what a device says about the log of its account, heard by a log.
///
/// # Panics
/// Where a message is not written as it was read: a fault of this crate.
pub fn account_message(data: &[u8]) {
    let Ok(message) = Message::decode(data) else { return };
    assert_eq!(message.encode(), data, "a message has one encoding");
    let identity = Identity::from_secret(&[1; 32]);
    let mut log = AccountLog::begin(&identity, "first", 1).expect("a plain name");
    let (_, answer) = log.hear(&identity, &message, 2);
    assert_eq!(Message::decode(&answer.encode()), Ok(answer), "what is said can be read");
}

/// Any bytes as the statement that a device's key is replaced.
///
/// # Panics
/// Where a statement is not written as it was read: a fault of this crate.
pub fn rotation(data: &[u8]) {
    if let Ok(statement) = Statement::decode(data) {
        assert_eq!(statement.encode(), data, "a statement has one encoding");
    }
}
