//! The cryptographic core from outside, without I/O: one file a failure mode or format.

mod corpus;
mod damage;
mod downgrade;
mod frame_types;
mod frames;
mod identity;
mod man_in_the_middle;
mod pairing;
mod receivers;
mod replay;
mod roundtrip;
mod seal;
mod spoken;
mod support;
mod vectors;
