//! The Hushwire wire format: bytes to types and back, nothing else.
//!
//! The specification in force is `PROTOCOL.md` beside this crate; the vectors under `vectors/` are
//! normative and every test run checks them. The crate has no clock, no socket, no random source and
//! no keys: a relay and an endpoint share it and nothing more.
//!
//! | module | what |
//! |---|---|
//! | [`id`] | device, account, channel and relay IDs, and their text form |
//! | [`cell`] | the fixed-size unit that crosses a hop: classes, kinds, the 64-byte header |
//! | [`control`] | the MessagePack maps inside control cells |
//! | [`padding`] | which bucket holds how much, and Padmé lengths |
//! | [`filler`] | how much fills the datagrams of QUIC up |
//! | [`code`] | invites and pairing codes, as people carry them |
//! | [`text`] | what may stand in a name or a sentence |
//! | [`limits`] | every number the protocol fixes |
//!
//! ```
//! use hushwire_wire::cell::{Class, Header, HEADER_LEN};
//! use hushwire_wire::id::DeviceId;
//!
//! let header = Header::unicast(Class::C0, 3, 7, DeviceId::new([5; 32]));
//! let bytes: [u8; HEADER_LEN] = header.encode();
//! assert_eq!(Header::decode(&bytes), Ok(header));
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cell;
pub mod code;
pub mod control;
pub mod filler;
pub mod fuzzing;
pub mod id;
pub mod limits;
mod map;
pub mod padding;
pub mod text;

mod base32;
