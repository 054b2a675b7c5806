//! What carries the messages of a run: sockets of TLS, or connections of QUIC.

use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use hushwire_uring::{Completion, Ring};

use super::dialect::{Message, News};
use crate::clock::Clock;

/// Devices that are connected, and the way to them and from them. A run decides who sends when, and counts.
///
/// A turn of a run is: [`leave`](Self::leave), a wait for the ring, [`complete`](Self::complete) for everything it
/// tells, [`begin`](Self::begin), and [`next`](Self::next) until there is nothing.
pub(crate) trait Carrier {
    /// How many devices there are.
    fn devices(&self) -> usize;

    /// Has the ring tell of what arrives.
    fn listen(&mut self, ring: &mut Ring) -> Result<()>;

    /// Takes note of what the ring tells.
    fn complete(&mut self, completion: Completion, ring: &mut Ring) -> Result<()>;

    /// Begins to read.
    fn begin(&mut self, clock: Clock) -> Result<()>;

    /// What has happened to one device; `None` when everyone was heard in this turn. What became of messages is in `news`.
    fn next(&mut self, clock: Clock, message: &Message, news: &mut News) -> Result<Option<Heard>>;

    /// Whether a device has to get rid of something before it can take a message.
    fn is_full(&self, index: usize) -> bool;

    /// Whether the server waits for a word of this device that is no message.
    fn owes(&self, index: usize) -> bool;

    /// Makes messages of these numbers, which are to go together, and what the device owes.
    fn seal(&mut self, index: usize, message: &mut Message, numbers: Range<u64>) -> Result<()>;

    /// Sends what was sealed last.
    fn send(&mut self, index: usize, clock: Clock, ring: &mut Ring) -> Result<()>;

    /// Does what is due before a wait.
    fn leave(&mut self, clock: Clock) -> Result<()>;

    /// How long there is nothing to do unless something arrives; `None`: for ever.
    fn idle_for(&self, clock: Clock) -> Option<Duration>;
}

/// What has happened to a device.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    /// Something arrived for it at this time.
    Read { index: usize, at_ns: u64 },
    /// It was full and is not any more.
    Room { index: usize },
}
