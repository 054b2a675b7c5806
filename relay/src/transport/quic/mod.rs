//! QUIC without sockets: quinn-proto with this relay's settings, connection IDs that name a shard, and cells on lanes
//! (`PROTOCOL.md` §2.3).
//!
//! `QuicServer` is what all shards share, so that a packet means the same to each: the TLS of the relay, the keys of
//! stateless resets and address tokens, and the [`Steering`]. `ShardIds` draws the IDs of one shard. `LanesIn` cuts
//! cells from what a device sends, `LanesOut` holds what is on its way to one.
//!
//! [`Steering`]: hushwire_uring::udp::Steering

mod ids;
mod incoming_lanes;
pub mod limits;
mod outgoing_lanes;
mod qlog;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use ids::ShardIds;
pub(crate) use incoming_lanes::{CarriedLanes, LaneFault, LaneRead, LanesIn, whole_cell};
pub(crate) use outgoing_lanes::LanesOut;
pub(crate) use server::{QuicOptions, QuicServer, transport};
