//! The account log and key rotation, without I/O.

mod converge;
mod corpus;
mod damage;
mod log;
mod merge;
mod support;
