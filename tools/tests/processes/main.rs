//! Whole processes: the programs, relays and examples as people run them.
//!
//! One binary, since most of these wait most of the time and each program to link takes a while. What must be alone on the
//! machine, or measures, has one of its own beside this one.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod blindness;
mod chat;
mod chat_full;
mod completions;
mod devices;
mod examples;
mod full_disk;
mod hush;
mod hushctl;
mod keys;
mod openssl;
mod pairing;
mod plaintext;
mod reconnect;
mod relay_bad_input;
mod status;
mod trace;
mod transfer;
