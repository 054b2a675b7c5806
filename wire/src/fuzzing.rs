//! Fuzz entry points as plain functions: each takes any bytes, must not panic, and asserts that what was
//! understood is said again in the same words. Tests replay the corpus; a fuzzer grows it.

use crate::cell::{HEADER_LEN, Header};
use crate::code::{Invite, PairCode};
use crate::control::{Control, disclose, enclose, replace_proof};

/// Any bytes as a cell header.
///
/// # Panics
/// Where a header does not encode to the bytes it was decoded from: a fault of this crate.
pub fn header(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<HEADER_LEN>()
        && let Ok(header) = Header::decode(bytes)
    {
        assert_eq!(header.encode(), *bytes);
    }
}

/// Any bytes as the content of a control cell.
///
/// # Panics
/// Where a message changes when it is written and read again: a fault of this crate.
pub fn control(data: &[u8]) {
    if let Ok(message) = Control::decode(data) {
        let again = message.encode();
        assert_eq!(Control::decode(&again), Ok(message));
        if let Some(cell) = enclose(&again) {
            assert_eq!(disclose(&cell[HEADER_LEN..]), Ok(again.as_slice()));
        }
    }
    replace_proof(&mut data.to_vec(), &[0; 64]);
}

/// Any bytes as the body of a control cell.
pub fn body(data: &[u8]) {
    if let Ok(content) = disclose(data) {
        control(content);
    }
}

/// Any text as an invite or a pairing code.
///
/// # Panics
/// Where a code changes when it is written and read again: a fault of this crate.
pub fn code(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(invite) = Invite::from_text(text) {
        assert_eq!(invite.to_text(), text.trim());
    }
    if let Ok(code) = PairCode::from_text(text) {
        assert_eq!(code.to_text(), text.trim());
    }
}
