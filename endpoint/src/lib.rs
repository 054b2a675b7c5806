//! End-to-end encrypted messages and streams between devices over a blind Hushwire relay.
//!
//! | module | what |
//! |---|---|
//! | [`client`] | what applications use: connect, send, receive, streams, pairing |
//! | [`identity`] | the device's Ed25519 key: who it is |
//! | [`keystore`] | the directory that keeps identity, relay and peers |
//! | [`pairing`] | how two devices come to know each other, without I/O |
//! | [`conversation`] | messages and streams with one peer, without I/O |
//! | [`link`] | the connection to the relay, without I/O |
//! | [`suite`] | outer seal, handshake, frames: the bytes two devices exchange, without I/O |
//! | [`io`] | TLS over TCP on tokio |
//! | [`fuzzing`] | fuzz entry points as plain functions |

pub mod client;
pub mod conversation;
mod error;
pub mod fuzzing;
pub mod identity;
pub mod io;
pub mod keystore;
pub mod link;
pub mod pairing;
pub mod suite;

pub use client::Client;
pub use error::Error;
