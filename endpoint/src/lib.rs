#![doc = include_str!("../GUIDE.md")]
//!
//! # The modules
//!
//! | module | what |
//! |---|---|
//! | [`client`] | what applications use: connect, send, receive, streams, pairing |
//! | [`identity`] | the device's Ed25519 key: who it is; on paper as 24 words |
//! | [`keystore`] | the directory that keeps identity, relay and peers; its passphrase and backup |
//! | [`account`] | the devices of one account in a signed log, and new keys for old, without I/O |
//! | [`pairing`] | how two devices come to know each other, without I/O |
//! | [`conversation`] | messages and streams with one peer, without I/O |
//! | [`journal`] | messages, their ends and cursors, over a crash |
//! | [`transfer`] | files that arrive whole or not at all, and go on after a break |
//! | [`link`] | the connection to the relay, without I/O |
//! | [`suite`] | outer seal, handshake, frames: the bytes two devices exchange, without I/O |
//! | [`io`] | TLS over TCP, and QUIC, on tokio |
//! | [`fuzzing`] | fuzz entry points as plain functions |

pub mod account;
pub mod client;
pub mod conversation;
mod error;
mod exclusive;
pub mod fuzzing;
pub mod identity;
pub mod io;
pub mod journal;
pub mod keystore;
pub mod link;
pub mod pairing;
pub mod suite;
pub mod transfer;

pub use client::Client;
pub use error::Error;
pub use hushwire_wire::code::Invite;
pub use hushwire_wire::id::DeviceId;
