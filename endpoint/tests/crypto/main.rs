//! The cryptographic core from outside, without I/O: one file a failure mode or format.

mod corpus;
mod damage;
mod downgrade;
mod frame_types;
mod frames;
mod identity;
mod pairing;
mod receivers;
mod replay;
mod roundtrip;
mod seal;
mod support;
mod vectors;
