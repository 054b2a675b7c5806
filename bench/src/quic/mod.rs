//! quinn-proto on a ring, as bare as it goes: one UDP socket and the connections on it. The generator's devices and the
//! floor stand on it; what they keep of a connection is theirs.

mod hub;

pub(crate) use hub::{Hub, Port, Wire};
