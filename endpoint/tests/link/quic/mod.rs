//! QUIC against real servers of another make, and which transport wins where there are two.

mod connection;
mod network;
mod race;
mod server;
