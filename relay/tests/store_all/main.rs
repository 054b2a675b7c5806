//! The store, through its public interface and on real files.
//!
//! | file | what |
//! |---|---|
//! | `changes` | every query, every refusal, what a repeated request does |
//! | `faults` | what is found when a store is opened: in use, foreign, damaged, open to others |
//! | `full` | growth, a full map, a full disk, a read-only file system |
//! | `kill` | `kill -9` at random moments |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod changes;
mod common;
mod faults;
mod full;
mod kill;
