//! What `hush`, its demo, the tests and the measurements share: a relay in a process of its own, and the
//! operator's end of its admin socket.

pub mod admin;
pub mod relay_process;
