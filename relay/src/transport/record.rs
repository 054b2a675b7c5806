//! What records look like on the wire after the handshake (RFC 8446 §5).

use super::limits::{RECORD_OVERHEAD_BYTES, RECORD_PLAIN_BYTES_MAX};

pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
pub(super) const LEGACY_VERSION: [u8; 2] = [3, 3];
/// The handshake message that changes keys (RFC 8446 §4.6.3).
pub(super) const KEY_UPDATE: u8 = 24;

/// The length on the wire of one record with `plain` bytes of content and padding.
#[must_use]
pub const fn record_len(plain: usize) -> usize {
    plain + RECORD_OVERHEAD_BYTES
}

/// The length on the wire of `plain` bytes in as few records as hold them: one, or two for a 32 KiB cell.
#[must_use]
pub const fn sealed_len(plain: usize) -> usize {
    plain + plain.div_ceil(RECORD_PLAIN_BYTES_MAX) * RECORD_OVERHEAD_BYTES
}
