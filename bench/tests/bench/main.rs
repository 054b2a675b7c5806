//! Tests of the program as a person starts it: whole measurements, small, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ends;
mod forwarding;
mod growth;
mod handshakes;
mod lanes;
mod open_loop;
mod peers;
mod refusals;
mod relay;
mod server;
mod shards;
mod soak;
mod stopped_reader;
