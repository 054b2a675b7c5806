//! Every number of this crate that bounds something.

use std::time::Duration;

/// Operations that can wait for one submission, by default. A fuller queue submits by itself, so
/// this decides how large a batch gets, not how many operations can be armed. 64 bytes each.
pub const RING_ENTRIES: u32 = 256;
/// The kernel's own limit for submission entries (IORING_MAX_ENTRIES).
pub const RING_ENTRIES_MAX: u32 = 32_768;
/// Completions that can wait to be drained, by default, 16 bytes each. When they are more, none is
/// lost (the kernel keeps them aside) but multishot operations end and must be armed again.
pub const RING_COMPLETIONS: u32 = 8_192;
/// The kernel's own limit for completions (IORING_MAX_CQ_ENTRIES).
pub const RING_COMPLETIONS_MAX: u32 = 2 * RING_ENTRIES_MAX;
/// Bytes of one send through the ring: what the kernel sends in one operation.
pub const SEND_BYTES_MAX: usize = i32::MAX as usize;
/// Connections that the kernel accepts ahead of us on one listener, by default;
/// `net.core.somaxconn` (4096 unless set) bounds it too.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// Shards among which datagrams can be steered: what the one byte that decides can tell apart.
pub const STEERING_SHARDS_MAX: usize = 256;
/// Buffers of an [`Inbox`](crate::udp::Inbox): what one receive takes at most.
pub const INBOX_BUFFERS: usize = 8;
/// Bytes of one such buffer: the longest run of datagrams that the kernel joins into one (GRO).
pub const INBOX_BUFFER_BYTES: usize = 65_536;
/// Datagrams that one send can hold: what every kernel with GSO takes (UDP_MAX_SEGMENTS; newer ones
/// take more).
pub const SEGMENTS_MAX: usize = 64;
/// How long a ring that is dropped waits for operations that are running at that moment.
pub(crate) const DROP_CANCEL_MAX: Duration = Duration::from_secs(1);
/// How often a ring that is dropped asks the kernel for the operations it cancelled. One is
/// enough for everything this crate arms; what has not come back then is leaked, never freed.
pub(crate) const DROP_ROUNDS_MAX: u32 = 16;

const _: () = assert!(RING_ENTRIES.is_power_of_two() && RING_ENTRIES <= RING_ENTRIES_MAX);
const _: () = assert!(RING_COMPLETIONS >= RING_ENTRIES && RING_COMPLETIONS <= RING_COMPLETIONS_MAX);
const _: () = assert!(0 < INBOX_BUFFERS && INBOX_BUFFERS <= quinn_udp::BATCH_SIZE);
