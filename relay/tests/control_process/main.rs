//! `hushwired` as a process: its command line, its sockets, its end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod admin;
mod ends;
mod http;
mod sockets_in_the_way;
mod support;
mod usage;
