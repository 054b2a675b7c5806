//! Control cells: what a device and its relay say to each other (`PROTOCOL.md` §4).
//!
//! A control cell's body is `length(u32) ‖ MessagePack map ‖ zeros`. A request has an `id`, its answer
//! echoes it. Unknown keys are ignored; an unknown operation is answered with `unsupported`.

mod fields;
mod message;
mod names;
mod opening;
mod request;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use message::{Control, RequestId};
pub use names::{ErrorCode, GoawayReason, Transport, Undelivered};
pub use opening::{CoverMode, Hello, HopLimits, Welcome};
pub use request::Request;

use crate::cell::{Class, HEADER_LEN, Header};
use crate::id::{DeviceId, RelayId};
use crate::padding::LENGTH_LEN;

/// Why a control cell was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// Not a MessagePack map of at most 32 distinct text keys, or the padding is not zero.
    Malformed,
    /// A field is missing, has the wrong type or is out of its range.
    Field(&'static str),
    /// The operation is not known here: answered with `unsupported`, the connection goes on.
    Unsupported {
        /// The request to answer, where it had an ID.
        id: Option<RequestId>,
        /// The operation's name, plain and cut to 32 bytes.
        operation: String,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("a control cell holds no well-formed map"),
            Self::Field(name) => write!(f, "a control cell's field '{name}' is missing or wrong"),
            Self::Unsupported { operation, .. } => {
                write!(f, "the operation '{operation}' is not supported")
            }
        }
    }
}

impl core::error::Error for ControlError {}

/// Encloses `content` in the body of a cell: `length(u32) ‖ content ‖ zeros`, the whole cell returned
/// with its header's counter still zero. `None` where no cell is large enough.
#[must_use]
pub fn enclose(content: &[u8]) -> Option<Vec<u8>> {
    let class = Class::for_body(LENGTH_LEN + content.len())?;
    let mut cell = alloc::vec![0; class.cell_len()];
    cell[..HEADER_LEN].copy_from_slice(&Header::control(class, 0).encode());
    let length = content.len() as u32;
    cell[HEADER_LEN..HEADER_LEN + LENGTH_LEN].copy_from_slice(&length.to_le_bytes());
    cell[HEADER_LEN + LENGTH_LEN..][..content.len()].copy_from_slice(content);
    Some(cell)
}

/// The content in the body of a control cell.
///
/// # Errors
/// [`ControlError::Malformed`] where the length exceeds the body or the padding is not zero.
pub fn disclose(body: &[u8]) -> Result<&[u8], ControlError> {
    let (length, rest) = body.split_first_chunk::<LENGTH_LEN>().ok_or(ControlError::Malformed)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (content, padding) = rest.split_at_checked(length).ok_or(ControlError::Malformed)?;
    if padding.iter().all(|&byte| byte == 0) { Ok(content) } else { Err(ControlError::Malformed) }
}

/// What a device signs in its HELLO: everything but the SHA-256 of
/// `CHALLENGE content ‖ HELLO content with the proof zeroed`, which the caller computes.
///
/// `binding` is the TLS exporter of the connection for [`Transport::Tls`] and [`Transport::Quic`].
#[must_use]
pub fn proof_message(transcript: &[u8; 32], transport: Transport, binding: &[u8; 32]) -> Vec<u8> {
    let mut message = alloc::vec![0x20; 64];
    message.extend_from_slice(b"hushwire/1 hello\0");
    message.extend_from_slice(transcript);
    message.push(transport as u8);
    message.extend_from_slice(binding);
    message
}

/// What a device signs to be registered at `relay` by `asker`, a device that is enrolled there: nobody else can use it,
/// nowhere else.
#[must_use]
pub fn register_message(relay: &RelayId, asker: &DeviceId, device: &DeviceId) -> Vec<u8> {
    let mut message = alloc::vec![0x20; 64];
    message.extend_from_slice(b"hushwire/1 register\0");
    message.extend_from_slice(relay.as_bytes());
    message.extend_from_slice(asker.as_bytes());
    message.extend_from_slice(device.as_bytes());
    message
}

/// Sets the 64 bytes of a HELLO's proof to `proof` in place and returns what stood there. `None` where
/// the content has no such field.
pub fn replace_proof(hello_content: &mut [u8], proof: &[u8; 64]) -> Option<[u8; 64]> {
    let fields = crate::map::Fields::read(hello_content).ok()?;
    let found: [u8; 64] = fields.array("proof").ok()?;
    let at = fields.bytes("proof").ok()?.as_ptr() as usize - hello_content.as_ptr() as usize;
    hello_content[at..at + 64].copy_from_slice(proof);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DeviceId;
    use crate::limits;

    #[test]
    fn a_plain_hello_fits_the_smallest_cell() {
        let hello = Control::Hello(Hello {
            version: 1,
            device: DeviceId::new([1; 32]),
            proof: [2; 64],
            token: None,
            name: None,
            cover: CoverMode::AdaptiveFast,
            software: "hush/0.1.0".into(),
        });
        let mut content = hello.encode();
        assert_eq!(enclose(&content).map(|cell| cell.len()), Some(256));
        assert_eq!(replace_proof(&mut content, &[0; 64]), Some([2; 64]));
        let Ok(Control::Hello(zeroed)) = Control::decode(&content) else { panic!("a hello") };
        assert_eq!(zeroed.proof, [0; 64]);
    }

    #[test]
    fn padding_must_be_zero_and_the_length_inside() {
        let mut cell = enclose(&Control::Done { id: RequestId(1) }.encode()).expect("small");
        let last = cell.len() - 1;
        cell[last] = 1;
        assert_eq!(disclose(&cell[HEADER_LEN..]), Err(ControlError::Malformed));
        assert_eq!(disclose(&[189, 0, 0, 0]), Err(ControlError::Malformed));
        assert_eq!(disclose(&[0, 0]), Err(ControlError::Malformed));
    }

    #[test]
    fn unknown_keys_are_ignored_and_unknown_operations_named() {
        let with_extra = b"\x83\xa2op\xa4done\xa2id\x07\xa3new\x91\xc0";
        assert_eq!(Control::decode(with_extra), Ok(Control::Done { id: RequestId(7) }));
        let unknown = b"\x82\xa2op\xa8teleport\xa2id\x07";
        let expect =
            ControlError::Unsupported { id: Some(RequestId(7)), operation: "teleport".into() };
        assert_eq!(Control::decode(unknown), Err(expect));
    }

    #[test]
    fn maps_that_lie_are_malformed() {
        let table: [&[u8]; 9] = [
            b"",
            b"\xc0",
            b"\x81\xa2op",
            b"\x82\xa2op\xa4done\xa2op\xa4done",
            b"\x81\x01\xa4done",
            b"\x81\xa2op\xa4done\x00",
            b"\xdf\xff\xff\xff\xff",
            b"\x82\xa2op\xa4done\xa1x\xdd\xff\xff\xff\xff",
            b"\x82\xa2op\xa4done\xa1x\x91\x91\x91\x91\x91\x91\x91\xc0",
        ];
        for content in table {
            assert_eq!(Control::decode(content), Err(ControlError::Malformed), "{content:x?}");
        }
    }

    #[test]
    fn what_the_decoder_would_refuse_is_not_written() {
        let check = |message: Control, field| {
            assert_eq!(message.check(), Err(ControlError::Field(field)), "{message:?}");
        };
        let request = |request| Control::Request { id: RequestId(1), request };
        let device = DeviceId::ZERO;
        check(request(Request::Grant { device }), "device");
        check(request(Request::Register { device, name: String::new(), proof: [0; 64] }), "device");
        check(Control::Paired { id: None, tag: [0; 16], device }, "device");
        for ttl_s in [0, 301, u32::MAX] {
            check(request(Request::PairOpen { tag: [0; 16], ttl_s }), "ttl_s");
        }
        let reason = Undelivered::Busy;
        check(Control::Undeliverable { lane: 8, counter: 0, reason }, "lane");
    }

    #[test]
    fn texts_are_made_to_fit_and_steering_ones_refused() {
        let error = |sentence: &str| Control::Error {
            id: None,
            code: ErrorCode::Busy,
            sentence: sentence.into(),
            wait_ms: None,
        };
        let check = |sentence: &str, expect: &str| {
            assert_eq!(Control::decode(&error(sentence).encode()), Ok(error(expect)));
        };
        check("Wait.", "Wait.");
        check("a\x1b[2Jb", "a\u{fffd}[2Jb");
        check(&"x".repeat(600), &"x".repeat(512));
        let raw = b"\x83\xa2op\xa5error\xa4code\xa4busy\xa4text\xa2a\n";
        assert_eq!(Control::decode(raw), Err(ControlError::Field("text")));
        let unknown = b"\x81\xa2op\xa3\x1b[2";
        let expect = ControlError::Unsupported { id: None, operation: "\u{fffd}[2".into() };
        assert_eq!(Control::decode(unknown), Err(expect));
    }

    #[test]
    fn the_largest_hello_fits_its_cell() {
        let hello = Control::Hello(Hello {
            version: u8::MAX,
            device: DeviceId::new([1; 32]),
            proof: [2; 64],
            token: Some(alloc::vec![3; limits::TOKEN_BYTES_MAX]),
            name: Some("n".repeat(limits::NAME_BYTES_MAX)),
            cover: CoverMode::AdaptiveFast,
            software: "s".repeat(limits::SOFTWARE_BYTES_MAX),
        });
        let cell = enclose(&hello.encode()).expect("a cell");
        assert!(cell.len() <= limits::HELLO_CLASS_MAX.cell_len());
    }
}
