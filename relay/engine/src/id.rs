//! Names of things inside one relay process. None of them is ever on the wire.

use core::fmt;
use core::net::IpAddr;
use core::num::NonZeroU32;

/// A shard of this relay: one core, one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A connection of one shard. The generation makes it unique among all that ever used its index, so one
/// that outlives its connection is refused and never names another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// Position in the shard's tables, below [`EngineLimits::connections_max`]: the I/O layer may keep
    /// its own state of a connection in an array under it, as long as it compares the whole `ConnId`.
    ///
    /// [`EngineLimits::connections_max`]: crate::EngineLimits::connections_max
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// How often the index had been used before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({}.{})", self.index, self.generation)
    }
}

/// A pooled plaintext cell of the I/O layer. The engine holds on to it and gives it back, nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The key a pooled cell is wrapped with while it waits; room for context isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub NonZeroU32);

/// A question to the store; its answer carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Where a connection comes from: an IPv4 address or the first 64 bits of an IPv6 one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourcePrefix(pub u64);

impl SourcePrefix {
    /// The prefix of an address. An IPv4 address mapped into IPv6 (RFC 4291 §2.5.5.2) counts as itself.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64),
        }
    }
}

impl SourcePrefix {
    /// The same for an address that somebody claims and has not proved to be theirs: it has an allowance of its own, so that
    /// a stranger cannot use up the one of the address' owner.
    #[must_use]
    pub fn unproved(address: IpAddr) -> Self {
        Self(Self::of(address).0 ^ UNPROVED)
    }
}

/// No address has a prefix with these bits: ff00::/8 is multicast, and sends nothing.
const UNPROVED: u64 = 0xffff_0000_0000_0000;

impl fmt::Debug for SourcePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourcePrefix(_)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_source_is_an_address_or_a_64() {
        let check = |address: &str, expect| {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(SourcePrefix::of(address), SourcePrefix(expect), "{address}");
        };
        check("192.0.2.7", 0xc000_0207);
        check("::ffff:192.0.2.7", 0xc000_0207);
        check("2001:db8:1:2:3:4:5:6", 0x2001_0db8_0001_0002);
        check("2001:db8:1:2::9", 0x2001_0db8_0001_0002);
        let here = IpAddr::from([192, 0, 2, 7]);
        assert_ne!(SourcePrefix::unproved(here), SourcePrefix::of(here));
        assert!(!format!("{:?}", SourcePrefix(7)).contains('7'));
    }
}
