//! `hushwired` as a process: its command line, its sockets, its end.

mod admin;
mod ends;
mod http;
mod sockets_in_the_way;
mod support;
mod usage;
