//! Every number of the journal, unit last.
//!
//! A file is never longer than [`COMPACT_BYTES_MIN`] or twice what lived in it when that was last summed up, whichever
//! is more, and one record; where it cannot be compacted, for want of room say, it grows on up to
//! [`JOURNAL_BYTES_MAX`]. What lives of one peer is at most the messages held for it (16 MiB, or one that is longer), [`ENDED_KEPT_MAX`] ended ones of
//! up to 93 bytes and a window of [`MESSAGES_AHEAD_MAX`] taken ahead of 52 bytes: less than 33 MiB. While a file
//! is compacted, what lives is on the disk twice.

use super::logs::ENDED_KEPT_MAX;
use crate::conversation::limits::{MESSAGE_BYTES_MAX, MESSAGES_AHEAD_MAX, OUTBOX_BYTES_MAX};
use crate::keystore::PEERS_MAX;

/// Entries that are written at once, encoded; a longest message and then some.
pub const BATCH_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (1 << 20);
/// The file. It is beyond what all peers together can fill, so that only a fault gets there.
pub const JOURNAL_BYTES_MAX: u64 = 128 << 30;
/// A shorter file is not compacted.
pub const COMPACT_BYTES_MIN: u64 = 4 << 20;
/// What lives is written anew in records of about this size.
pub const COMPACT_BATCH_BYTES: usize = 256 << 10;
/// Times that a reader beside the writer looks again before it believes in damage.
pub const VIEWS_MAX: u32 = 8;

/// Encoded, of one peer: one message over the limit, what was there before it, ended ones, what is ahead.
const PEER_BYTES_MAX: usize =
    OUTBOX_BYTES_MAX + MESSAGE_BYTES_MAX + (ENDED_KEPT_MAX + MESSAGES_AHEAD_MAX + 4_096) * 128;

const _: () = assert!(PEER_BYTES_MAX < 34 << 20);
const _: () = assert!(2 * (PEERS_MAX as u64) * (34 << 20) < JOURNAL_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < u32::MAX as usize);
/// Bytes that are written within microseconds, to the memory of the kernel.
pub const QUICK_BYTES_MAX: usize = 64 << 10;
