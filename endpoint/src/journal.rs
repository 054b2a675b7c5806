//! What messages must not lose over a crash: every message until its end, how each one ended, and how far the
//! application is in what came from each peer.
//!
//! An [`Entry`] is one fact. [`Logs`] is what all facts up to now amount to; it is bounded, because a fact that a later
//! one has overtaken is dropped.

mod entry;
mod logs;

pub use entry::{Entry, MessageId, MessageIdError, Outcome};
pub use logs::{ENDED_KEPT_MAX, EndedSend, Held, IncomingLog, Logs, OutgoingLog, PeerLogs};
