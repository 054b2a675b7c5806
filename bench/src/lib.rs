//! The paths of Hushwire that are measured one by one, in `benches/`, each with what it needs around it.

pub mod paths;
