//! The Hushwire relay: forwards sealed cells that it cannot read.

pub mod config;
pub mod control;
pub mod daemon;
pub mod identity;
pub mod limits;
pub mod logging;
#[doc(hidden)]
pub mod measuring;
mod mesh;
pub mod metrics;
#[doc(hidden)]
pub mod pausing;
mod shard;
pub mod store;
pub mod transport;
