//! How large a control message is.

use hushwire_wire::cell::Class;
use hushwire_wire::control::Control;
use hushwire_wire::padding::LENGTH_LEN;

/// The class of the cell that holds `control`.
///
/// # Panics
/// If no cell holds it: none that a relay says is that large.
pub(crate) fn class_of(control: &Control) -> Class {
    match control {
        Control::Undeliverable { .. }
        | Control::Done { .. }
        | Control::Paired { .. }
        | Control::Pong { .. }
        | Control::Goaway { .. } => Class::C0,
        Control::Challenge { .. }
        | Control::Hello(_)
        | Control::Welcome(_)
        | Control::Error { .. }
        | Control::Request { .. } => Class::for_body(LENGTH_LEN + control.encode().len())
            .expect("a control message fits a cell"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use hushwire_wire::control::{ErrorCode, GoawayReason, RequestId, Undelivered};
    use hushwire_wire::id::DeviceId;
    use hushwire_wire::limits;

    use crate::limits::SLOT_CLASS_MIN;

    #[test]
    fn the_class_is_that_of_the_encoded_cell_at_its_largest() {
        let id = RequestId(u32::MAX);
        let table = [
            Control::Undeliverable { lane: 7, counter: u64::MAX, reason: Undelivered::TooLarge },
            Control::Done { id },
            Control::Paired { id: Some(id), tag: [255; 16], device: DeviceId::new([255; 32]) },
            Control::Pong { id, unix_ms: u64::MAX },
            Control::Goaway { reason: GoawayReason::Superseded, reconnect_after_ms: u32::MAX },
            Control::Error {
                id: Some(id),
                code: ErrorCode::Unauthenticated,
                sentence: "x".repeat(limits::SENTENCE_BYTES_MAX),
                wait_ms: Some(u32::MAX),
            },
            Control::Error {
                id: None,
                code: ErrorCode::Busy,
                sentence: String::new(),
                wait_ms: None,
            },
        ];
        for control in table {
            let needed = Class::for_body(LENGTH_LEN + control.encode().len());
            assert_eq!(Some(class_of(&control)), needed, "{control:?}");
            assert!(class_of(&control) <= SLOT_CLASS_MIN);
        }
    }
}
