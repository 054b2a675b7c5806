//! The numbers of an account log, unit last.

use hushwire_wire::limits::NAME_BYTES_MAX;

/// Devices of one account at a time; the relay's default limit is the same.
pub const DEVICES_MAX: usize = 64;
/// Entries of a log. A log that is full takes no more: begin a new account.
pub const ENTRIES_MAX: usize = 1_024;
/// The longest entry: an ADD with a name of 64 bytes, or a ROTATE.
pub const ENTRY_BYTES_MAX: usize = super::entry::HEAD_LEN + 208 + super::entry::SIGNATURE_LEN;
/// The longest log.
pub const LOG_BYTES_MAX: usize = ENTRIES_MAX * ENTRY_BYTES_MAX;
/// Entries of ours on branches that lost, which are remembered so that no two are signed on one parent.
pub const SIGNED_MAX: usize = 256;
/// Devices whose branches a person has refused.
pub const REFUSED_MAX: usize = 256;
/// The longest file: two branches, operations that wait, entries signed, devices refused.
pub const FILE_BYTES_MAX: usize = 4 * LOG_BYTES_MAX;

const _: () = assert!(32 + 64 + NAME_BYTES_MAX <= 208, "an ADD is no longer than a ROTATE");
