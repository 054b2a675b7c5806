//! The Hushwire relay: forwards sealed cells that it cannot read.

pub mod store;
pub mod transport;
