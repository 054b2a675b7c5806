//! The Hushwire relay: forwards sealed cells that it cannot read.

pub mod transport;
