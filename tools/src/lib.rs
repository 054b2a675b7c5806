//! What `hush`, its demo, the tests and the measurements share: a relay in a process of its own, the
//! operator's end of its admin socket, files over streams, days as people write them, and scripts for shells.

pub mod admin;
pub mod completions;
pub mod days;
pub mod relay_process;
