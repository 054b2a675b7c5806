//! The sans-I/O core of one shard of the Hushwire relay (`ARCHITECTURE.md`, "The engine").
//!
//! One [`Engine`] is one shard's whole state: its connections, the devices that live on it, what waits
//! for them, and what it has asked the store and the other shards. Inputs are the `handle_*` methods,
//! outputs are the [`Verdict`]s they return, [`Engine::poll_command`] and [`Engine::poll_egress`]. Time
//! is an argument, the seed of its jitter is part of its [`Config`], and it never sees the body of a
//! routed cell: it says where a cell goes, the I/O layer moves it.
//!
//! What a peer can cause is answered with a verdict or a command. What only the I/O layer can get wrong
//! is an assertion, also in release builds.
//!
//! | module | what |
//! |---|---|
//! | [`limits`] | every bound of the engine |
//! | [`command`] | what the engine wants of the I/O layer |
//! | [`port`] | what shards say to each other |
//! | [`store`] | what the engine asks the store, and the answers |
//! | [`counters`] | what happened, for the metrics |
//! | [`audit`] | lengths of every queue, for the simulation's checkers |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod audit;
pub mod command;
pub mod counters;
pub mod limits;
pub mod port;
pub mod store;

mod absent;
mod bounded;
mod connection;
mod control;
mod devices;
mod engine;
mod hash;
mod id;
mod queue;
mod random;
mod rate;
mod slab;
mod time;
mod wheel;

pub use command::{Alarm, Command, Egress, Introduction, Stage, Stored, Turned, Verdict, Why};
pub use engine::{Config, Engine, MemoryLine, Slots};
pub use hash::home_of;
pub use id::{ConnId, KeyId, ShardId, Slot, SourcePrefix, Ticket};
pub use limits::EngineLimits;
pub use port::{Envelope, Origin, PortMessage};
pub use store::{StoreAnswer, StoreQuestion};
pub use time::Time;
