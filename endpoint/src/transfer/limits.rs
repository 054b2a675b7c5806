//! Every number of transfers, unit last.

use std::time::Duration;

/// Transfers to one peer, and from one peer, that run at once; others wait in line.
pub const TRANSFERS_ACTIVE_MAX: usize = 4;
/// Offers of one peer that wait for the application; more are turned away and come back by themselves.
pub const OFFERS_WAITING_MAX: usize = 16;
/// The longest name that is offered, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest name that a file gets, in bytes: a number may be added to it.
pub const FILE_NAME_BYTES_MAX: usize = 200;
/// The longest sentence that goes over the wire, in bytes.
pub const SENTENCE_BYTES_MAX: usize = 256;
/// The longest message but DATA, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// The longest DATA, in bytes.
pub const DATA_BYTES_MAX: usize = 1 << 20;
/// Read, hashed and written at a time, in bytes.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks between the network and the disk.
pub const BLOCKS_MAX: usize = 6;
/// What was written is made durable after so many bytes …
pub const DURABLE_STEP_BYTES: u64 = 8 << 20;
/// … or after this time.
pub const DURABLE_STEP: Duration = Duration::from_secs(1);
/// Bytes of a pipe that are kept until the receiver has them on disk.
pub const REREAD_BYTES_MAX: usize = 32 << 20;
/// A full disk is tried again after this.
pub const FULL_RETRY: Duration = Duration::from_secs(3);
/// Time for an OFFER on a new channel.
pub const OFFER_PATIENCE: Duration = Duration::from_secs(30);
/// Time in which the last word of a transfer is read.
pub const FAREWELL_PATIENCE: Duration = Duration::from_secs(10);
/// Time in which a sender that has gone may come back to a receiver that still waits.
pub const SENDER_AWAY_MAX: Duration = Duration::from_secs(600);
/// Transfer IDs are kept for this long: those begun by the sender, those finished by the receiver.
pub const REMEMBERED_S_MAX: u64 = 7 * 24 * 60 * 60;
/// Begun transfers remembered by a sender.
pub const BEGUN_MAX: usize = 1_024;
/// Finished transfers remembered by a receiver, for each peer.
pub const FINISHED_MAX: usize = 512;
/// Files of one name before a receiver gives up looking for a free one.
pub const COPIES_MAX: u32 = 10_000;
/// A file that arrives damaged is sent so often.
pub const DAMAGED_MAX: u32 = 3;
/// Pause before the first further attempt; later ones wait as a lost connection does.
pub const RETRY_FIRST: Duration = Duration::from_millis(50);
/// Pause before a part that another task is about to let go of is tried again, and how often.
pub const LOCKED_RETRY: Duration = Duration::from_millis(50);
/// Tries of a locked part.
pub const LOCKED_TRIES_MAX: u32 = 200;
/// The largest state file, in bytes.
pub const STATE_BYTES_MAX: usize = 16 * 1024;

const _: () = assert!(BLOCK_BYTES <= DATA_BYTES_MAX && DATA_BYTES_MAX <= REREAD_BYTES_MAX);
const _: () =
    assert!(2 * DURABLE_STEP_BYTES <= REREAD_BYTES_MAX as u64, "a pipe does not wait for the disk");
const _: () = assert!(
    NAME_BYTES_MAX + 64 <= MESSAGE_BYTES_MAX && SENTENCE_BYTES_MAX + 64 <= MESSAGE_BYTES_MAX
);
