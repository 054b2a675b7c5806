//! Devices that are linked: by a network in memory, by a real relay in this process, by servers that a test plays. One
//! program, since each takes as long to build as all.
//!
//! | file | what |
//! |---|---|
//! | `state`, `handshakes`, `bad_peer` | without sockets: cells and frames made by hand |
//! | `conversation`, `delivery`, `sessions`, `fairness` | two conversations over a network in memory that is as unkind as asked |
//! | `client`, `pairing`, `streams`, `transfer`, `transfer_bad_peer`, `account`, `cancel` | clients of a real relay |
//! | `tls`, `quic` | what observers, impostors and networks see and do |

mod account;
mod bad_peer;
mod cancel;
mod client;
mod conversation;
mod delivery;
mod fairness;
mod handshakes;
mod pairing;
mod quic;
mod sessions;
mod state;
mod streams;
mod support;
mod tls;
mod transfer;
mod transfer_bad_peer;
