//! Every number of the client, unit last.

/// Cells made in one turn, or waiting for the socket, before the next turn: what one system call takes.
pub const OUT_BYTES_MAX: usize = 256 * 1024;
/// Events kept for a slow listener.
pub const EVENTS_MAX: usize = 256;
/// Pairing cells that wait for the application, and devices that joined.
pub const PAIRING_QUEUE_MAX: usize = 16;
/// Rendezvous and pairing partners at once.
pub const PAIRINGS_MAX: usize = 16;
/// A pairing cell is sent again after this.
pub const PAIRING_RESEND_MS: u64 = 3_000;
/// HS1 of a pairing is sent so often: an offer answers three.
pub const PAIRING_TRIES_MAX: u32 = 3;
/// Nameplates that are drawn for one spoken code while the relay says that they are taken.
pub const NAMEPLATES_TRIED_MAX: u32 = 8;
/// A device of the account whose answer got lost is greeted again after this, in milliseconds.
pub const GREET_AGAIN_MS: u64 = 250;
/// A grant that the relay did not answer is asked for again after this, where it does not say when.
pub const WISH_RETRY_MS: u64 = 5_000;
/// Calls that wait for the relay's answer to a grant.
pub const WISHES_WAITING_MAX: usize = 64;
/// Channels about the account or a key that are served at once.
pub const STEWARD_CHANNELS_MAX: usize = 16;
/// The same for one peer.
pub const STEWARD_CHANNELS_OF_PEER_MAX: usize = 2;
/// Time for one of them, in milliseconds.
pub const STEWARD_MS_MAX: u64 = 20_000;
/// Messages with which two logs come to be the same.
pub const STEWARD_ROUNDS_MAX: usize = 6;
/// Time for WELCOME behind the handshake.
pub const WELCOME_MS_MAX: u64 = 10_000;

/// Time in which peers are told what was received, before a client that is closed ends.
pub const CLOSE_MS_MAX: u64 = 2_000;
/// Bytes of messages stored together; a single one may be larger.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// What could not be stored is tried again after this.
pub const STORAGE_RETRY_MS: u64 = 1_000;
/// What has expired is looked for so often, in case the clock is set.
pub const EXPIRY_LOOK_MS_MAX: u64 = 60_000;
/// Streams of peers that await an answer, were dropped without one, and wait for room to be answered with nothing.
pub const ANSWERS_OWED_MAX: usize = 1_024;
/// Ends and cursors wait so long for a message to be stored with.
pub const COMPANY_MS: u64 = 5;
