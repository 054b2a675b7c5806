//! Devices over QUIC (`PROTOCOL.md` §2.3): quinn-proto by hand (`crate::quic`), beside the sockets of the others.
//!
//! [`Devices`] are a hub, that is one UDP socket with many connections, and there is one for each thread that connects devices. One socket
//! for all costs the generator least: a receive brings what has arrived for many devices, and it is the generator that has
//! to keep up with a server that does the same work without having to check it. The server cannot tell: it has one socket
//! either way, finds connections by their IDs, and a system call of its own carries datagrams of one connection alone. What
//! a loopback device adds to a send of the server, the delivery to the generator's socket, becomes less: of many sockets each
//! would have to be woken. That is no part of the server's work where the devices are elsewhere.
//!
//! | file | what |
//! |---|---|
//! | `connector` | how a device is configured |
//! | `line` | one connection: cells to its lanes, cells from them |
//! | `cells` | cells cut from a lane, and checked |
//! | `opening` | a handshake, CHALLENGE, HELLO, WELCOME |
//! | `carrier` | a run over hubs |
//! | `fan` | one device with a lane to each of several |

mod carrier;
mod cells;
mod connector;
mod fan;
mod line;
mod opening;

pub(crate) use carrier::Lanes;
pub(crate) use connector::QuicConnector;
pub(crate) use fan::{Fan, RECIPIENTS};
pub(crate) use opening::{Devices, Newcomer};
