//! The paths of Hushwire that are measured one by one, each with what it needs around it: by time in `benches/`, by
//! instructions in `hush-instructions`.

pub mod paths;
