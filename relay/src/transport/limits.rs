//! The numbers of the TLS layer.

use hushwire_wire::cell::Class;

use super::record::sealed_len;

/// The most plaintext in one record, in bytes (RFC 8446 §5.1).
pub const RECORD_PLAIN_BYTES_MAX: usize = 16_384;
/// What stands before a record's ciphertext: type, version, length, in bytes.
pub const RECORD_HEADER_BYTES: usize = 5;
/// The authentication tag of every TLS 1.3 suite, in bytes.
pub const RECORD_TAG_BYTES: usize = 16;
/// What a record adds to its plaintext: header, inner content type, tag, in bytes.
pub const RECORD_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + 1 + RECORD_TAG_BYTES;

/// The most a client may have sent of a handshake that rustls has not digested yet, in bytes.
pub const HANDSHAKE_BYTES_MAX: usize = hushwire_wire::limits::UNAUTHENTICATED_BYTES_MAX;

/// Records sealed under one key before a KeyUpdate is due. RFC 8446 §5.5 allows 2^24.5 full ones.
pub const RECORDS_SEALED_DUE: u64 = 1 << 23;
/// Records sealed under one key at which sealing stops, so that an owner that forgot the update cannot
/// weaken the key.
pub const RECORDS_SEALED_MAX: u64 = 1 << 24;
/// Records opened under one key. Far above the suites' advice, which binds the writer (OpenSSL never
/// updates by itself), and far below the sequence number's end.
pub const RECORDS_OPENED_MAX: u64 = 1 << 48;

/// KeyUpdates accepted from a client in a minute. A busy endpoint needs four.
pub const KEY_UPDATES_PER_MINUTE_MAX: u8 = 32;
/// Records without content accepted in a row.
pub const EMPTY_RECORDS_MAX: u8 = 32;

/// The sizes of the buffers that hold partial records, in bytes: a record of up to 1 KiB, 4 KiB, 16 KiB,
/// and the opened first half of a 32 KiB cell before its second record.
pub const CARRY_CLASS_BYTES: [usize; 4] = [
    1_024 + RECORD_OVERHEAD_BYTES,
    4_096 + RECORD_OVERHEAD_BYTES,
    RECORD_PLAIN_BYTES_MAX + RECORD_OVERHEAD_BYTES,
    2 * RECORD_PLAIN_BYTES_MAX + RECORD_OVERHEAD_BYTES,
];
/// The default of what a shard's partial records may take together, in bytes.
pub const CARRY_BYTES_MAX: usize = 8 << 20;
/// What a shard reads into: what is carried, and the receive behind it, in bytes. Two of the largest cells: a
/// stream of them, or of those of 16 KiB, is cut between two, where next to nothing has to be carried. And a byte
/// more: where two have come and nothing else, the receive is short, and nobody has to ask whether there is more.
pub const SCRATCH_BYTES: usize = 2 * sealed_len(Class::C7.cell_len()) + 1;

/// Tickets a client is given after a full handshake unless configured otherwise.
pub const TICKETS_DEFAULT: usize = 2;

const _: () = assert!(SCRATCH_BYTES >= 2 * CARRY_CLASS_BYTES[3]);
const _: () = assert!(RECORDS_SEALED_DUE < RECORDS_SEALED_MAX);
const _: () = assert!(CARRY_BYTES_MAX >= CARRY_CLASS_BYTES[3]);
// A partial record's length and its opened half are kept in 16 bits.
const _: () = assert!(CARRY_CLASS_BYTES[3] <= u16::MAX as usize);
// Only the largest cell takes two records, and exactly two.
const _: () = assert!(Class::C6.cell_len() == RECORD_PLAIN_BYTES_MAX);
const _: () = assert!(Class::C7.cell_len() == 2 * RECORD_PLAIN_BYTES_MAX);
