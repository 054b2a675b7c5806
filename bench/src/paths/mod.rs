//! Hot paths without sockets, clocks and random numbers: two runs of one do the same, instruction by instruction.
//!
//! | module | what |
//! |---|---|
//! | [`verdict`] | the engine: where a cell goes |
//! | [`records`] | the relay's TLS records, opened and sealed |
//! | [`channel`] | the endpoint's secure channel, sealed and opened; and its handshake |

pub mod channel;
pub mod records;
pub mod verdict;
