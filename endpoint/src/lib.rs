//! End-to-end encrypted messages and streams between devices over a blind Hushwire relay.
//!
//! | module | what |
//! |---|---|
//! | [`identity`] | the device's Ed25519 key: who it is |
//! | [`suite`] | outer seal, handshake, frames: the bytes two devices exchange, without I/O |
//! | [`pairing`] | how two devices come to know each other, without I/O |
//! | [`keystore`] | the directory that keeps identity, relay and peers |
//! | [`fuzzing`] | fuzz entry points as plain functions |

pub mod conversation;
pub mod fuzzing;
pub mod identity;
pub mod io;
pub mod keystore;
pub mod link;
pub mod pairing;
pub mod suite;
