//! Every number the protocol fixes or gives as a default (`PROTOCOL.md` §7), unit last.

use crate::cell::Class;

/// Default port of a relay, TCP and UDP.
pub const PORT_DEFAULT: u16 = 4433;
/// ALPN identifier of native connections, on TLS and on QUIC.
pub const ALPN: &[u8] = b"hushwire/1";
/// Exporter label that binds a device's proof to its connection (RFC 8446 §7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-hushwire/1";
/// The version of the protocol this crate implements.
pub const VERSION: u8 = 1;

/// Lanes in each direction of a hop.
pub const LANES: u32 = 8;
/// The largest class a HELLO may have, and the largest before WELCOME.
pub const HELLO_CLASS_MAX: Class = Class::C3;
/// Unprocessed input an unauthenticated connection may hold.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 8 * 1024;
/// Life of a connection that has not been welcomed.
pub const UNAUTHENTICATED_MS_MAX: u64 = 5_000;

/// Fields in the map of a control cell.
pub const CONTROL_FIELDS_MAX: usize = 32;
/// Depth to which a control map may nest.
pub const CONTROL_DEPTH_MAX: usize = 4;
/// A device's name for people, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;
/// The sentence in an error, in bytes of UTF-8.
pub const SENTENCE_BYTES_MAX: usize = 512;
/// A token in a HELLO, in bytes.
pub const TOKEN_BYTES_MAX: usize = 1_024;
/// The software name in a HELLO, in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 32;
/// An unknown operation's name as it is repeated in an error, in bytes of UTF-8.
pub const OPERATION_BYTES_MAX: usize = 32;
/// Versions a CHALLENGE may offer.
pub const VERSIONS_MAX: usize = 8;
/// Pins an invite or a WELCOME may carry.
pub const PINS_MAX: usize = 4;
/// Connection IDs for QUIC that a WELCOME may carry.
pub const QUIC_IDS_MAX: usize = 8;
/// Length of a connection ID of the relay's, in bytes.
pub const QUIC_ID_BYTES: usize = 8;
/// `host:port` in an invite or a pairing code, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Longest life of a pairing rendezvous.
pub const PAIR_TTL_S_MAX: u32 = 300;
/// Cells two devices may exchange over a rendezvous, both directions together.
pub const PAIR_CELLS_MAX: u32 = 16;
/// PAIR_JOIN requests of one account.
pub const PAIR_JOINS_PER_MINUTE: u32 = 5;

/// Tick on which a refusal is answered, so that its time says nothing.
pub const REFUSAL_TICK_MS: u64 = 250;
/// Refusals that are answered; further ones meet silence.
pub const REFUSALS_PER_MINUTE: u32 = 10;
/// Displacements of one device within ten minutes that alarm both ends.
pub const DISPLACEMENTS_ALARM: u32 = 3;

/// Full handshakes from one source address (an IPv6 /64 counts as one).
pub const HANDSHAKES_PER_S: u32 = 20;
/// Unauthenticated connections of one shard.
pub const UNAUTHENTICATED_CONNECTIONS_MAX: usize = 4_096;
/// Cells a device may send.
pub const CELLS_PER_S: u32 = 2_000;
/// Bytes a device may send.
pub const BYTES_PER_S: u64 = 16 * 1024 * 1024;
/// The burst both rates allow.
pub const BURST_S: u32 = 2;
/// What may wait for one device.
pub const EGRESS_BYTES_MAX: usize = 1024 * 1024;
/// Devices of one account.
pub const DEVICES_PER_ACCOUNT: usize = 64;
/// Grants of one account.
pub const GRANTS_PER_ACCOUNT: usize = 1_024;
/// Operations of one account.
pub const OPERATIONS_PER_MINUTE: u32 = 64;
/// A connection that says nothing for so long is closed.
pub const IDLE_MS: u64 = 60_000;
/// A device's keep-alive, a cover cell.
pub const KEEP_ALIVE_MS: u64 = 25_000;
/// First and last bound of the reconnect backoff, full jitter.
pub const BACKOFF_MS: (u64, u64) = (1_000, 30_000);

const _: () = assert!(KEEP_ALIVE_MS * 2 < IDLE_MS, "one lost keep-alive must not end a connection");
const _: () = assert!(HELLO_CLASS_MAX.cell_len() <= UNAUTHENTICATED_BYTES_MAX);
const _: () = assert!(EGRESS_BYTES_MAX >= 16 * Class::C7.cell_len());
