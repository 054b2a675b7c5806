//! The Hushwire relay: forwards sealed cells that it cannot read.

mod mesh;
pub mod metrics;
mod shard;
pub mod store;
pub mod transport;
