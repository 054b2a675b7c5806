//! What several tests stand on.

pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod world;
