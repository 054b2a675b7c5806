//! Which shard a QUIC packet belongs to.

use std::fmt;

use libc::sock_filter;

use super::filter::{jump, statement};
use crate::limits;

/// The first bit of a long header (RFC 8999, section 5.1), which has a version and a length before
/// the connection ID; a short one has neither (section 5.2).
const LONG: u8 = 0x80;
const ID_AT_LONG: usize = 6;
const ID_AT_SHORT: usize = 1;

/// How a QUIC packet finds its shard (protocol §8): by the first four bytes of the destination
/// connection ID, `((load32(id) * key mod 2^32) >> 24) mod shards`.
///
/// IDs look random to whoever does not have the key. Multiplying by an odd number loses nothing,
/// so random IDs, such as a client's own first one, are spread evenly.
#[derive(Clone, Copy)]
pub struct Steering {
    /// Odd.
    key: u32,
    /// From 1 to [`limits::STEERING_SHARDS_MAX`].
    shards: u32,
}

impl Steering {
    /// The steering of a relay. An even key becomes odd.
    ///
    /// # Panics
    ///
    /// Unless there are 1 to [`limits::STEERING_SHARDS_MAX`] shards.
    #[must_use]
    pub const fn new(key: u32, shards: usize) -> Self {
        assert!(0 < shards && shards <= limits::STEERING_SHARDS_MAX, "1 to 256 shards");
        Self { key: key | 1, shards: shards as u32 }
    }

    /// How many shards there are.
    #[must_use]
    pub const fn shards(&self) -> usize {
        self.shards as usize
    }

    /// The shard of a connection ID; 0 if it is shorter than four bytes.
    #[must_use]
    pub fn shard_of_id(&self, id: &[u8]) -> usize {
        let Some(start) = id.first_chunk() else { return 0 };
        let mixed = u32::from_be_bytes(*start).wrapping_mul(self.key);
        ((mixed >> 24) % self.shards) as usize
    }

    /// The shard of a datagram, as the kernel's filter computes it: that of the four bytes where
    /// the ID begins, however long it says it is, or 0 if the datagram ends before.
    #[must_use]
    pub fn shard_of_datagram(&self, datagram: &[u8]) -> usize {
        let Some(first) = datagram.first() else { return 0 };
        let id_at = if first & LONG == 0 { ID_AT_SHORT } else { ID_AT_LONG };
        self.shard_of_id(datagram.get(id_at..).unwrap_or_default())
    }

    /// The same for the kernel, which runs it at the start of the UDP payload. What it returns is
    /// the index of the socket in the order of binding. A load past the end ends it with 0.
    pub(super) fn program(&self) -> [sock_filter; 9] {
        const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
        // Big-endian.
        const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        const COMPUTE: u32 = libc::BPF_ALU | libc::BPF_K;
        [
            statement(LOAD_BYTE, 0),
            jump(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, u32::from(LONG), 0, 2),
            statement(LOAD_WORD, ID_AT_LONG as u32),
            statement(libc::BPF_JMP | libc::BPF_JA, 1),
            statement(LOAD_WORD, ID_AT_SHORT as u32),
            statement(COMPUTE | libc::BPF_MUL, self.key),
            statement(COMPUTE | libc::BPF_RSH, 24),
            statement(COMPUTE | libc::BPF_MOD, self.shards),
            statement(libc::BPF_RET | libc::BPF_A, 0),
        ]
    }
}

/// Without the key, which keeps the shard of an ID secret.
impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("shards", &self.shards).finish_non_exhaustive()
    }
}
