//! The relay's TLS layer against rustls and OpenSSL clients, in memory and over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cells;
mod fuzz;
mod handshakes;
mod openssl;
mod records;
mod refused;
mod sockets;
mod support;
