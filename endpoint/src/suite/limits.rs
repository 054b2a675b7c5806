//! Every number of the end-to-end suites (`PROTOCOL.md` §6, §7 and annex A), unit last.

use hushwire_wire::cell::Class;
use hushwire_wire::padding::{FRAME_OVERHEAD, SEAL_OVERHEAD};

/// Class of every handshake message and pairing cell.
pub const HANDSHAKE_CLASS: Class = Class::C3;
/// A handshake that has not ended is given up.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Handshakes pending at one device, one a peer.
pub const HANDSHAKES_PENDING_MAX: usize = 64;

/// Sequence numbers behind the highest that are still taken, once each.
pub const WINDOW_FRAMES: u64 = 1_024;
/// How far beyond the highest a sequence number may lie.
pub const SEQUENCE_JUMP_MAX: u64 = 1 << 20;
/// Frames under one key after which a session is renewed (RFC 9001 §6.6 has the same for AES-GCM).
pub const FRAMES_RENEW: u64 = 1 << 23;
/// Frames under one key after which sending stops until the session has been renewed.
pub const FRAMES_MAX: u64 = 1 << 24;
/// Failed opens under one key after which a session is renewed.
pub const FAILED_OPENS_RENEW: u64 = 1 << 20;
/// Failed opens under one key after which it opens nothing more.
pub const FAILED_OPENS_MAX: u64 = 1 << 21;
/// A session is renewed at a random age between these two.
pub const RENEWAL_AGE_NS: (u64, u64) = (45 * 60 * 1_000_000_000, 60 * 60 * 1_000_000_000);
/// How long the previous session still receives.
pub const PREVIOUS_SESSION_NS_MAX: u64 = 60 * 1_000_000_000;

/// Ranges in one acknowledgement.
pub const ACK_RANGES_MAX: usize = 15;

/// Handshakes one offer answers. A malicious relay that holds the code needs about 10^6 of them to make two
/// SAS agree by chance.
pub const OFFER_ATTEMPTS_MAX: u32 = 3;

/// The secret of a spoken code, in words of a list of 2 048: 22 bits.
pub const SPOKEN_WORDS: usize = 2;
/// The highest nameplate of a spoken code.
pub const NAMEPLATE_MAX: u16 = 9_999;
/// The longest text that is looked at for a spoken code.
pub const SPOKEN_TEXT_BYTES_MAX: usize = 128;
/// How long a code that was tried is refused: longer than a relay could keep its other end waiting, and than people
/// remember it.
pub const SPOKEN_BURNT_S: u64 = 24 * 60 * 60;
/// Codes that were tried in that time, on one device. Beyond it spoken codes are refused.
pub const SPOKEN_BURNT_MAX: usize = 48;

const _: () = assert!(SPOKEN_WORDS * 11 >= 20, "a spoken code has at least 20 random bits");
const _: () = assert!(FRAMES_RENEW < FRAMES_MAX && FAILED_OPENS_RENEW < FAILED_OPENS_MAX);
const _: () = assert!(HANDSHAKE_CLASS.body_len() - SEAL_OVERHEAD >= 1_328, "HS1 fits a seal");
const _: () = assert!(HANDSHAKE_CLASS.body_len() - FRAME_OVERHEAD >= 4 + 1_328, "HS1 fits a frame");
const _: () = assert!(WINDOW_FRAMES.is_multiple_of(64) && WINDOW_FRAMES < SEQUENCE_JUMP_MAX);
