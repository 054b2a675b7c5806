//! Keyed hashing. Device IDs can be ground, so whatever is placed by one is placed by SipHash-1-3 under
//! a key nobody outside knows.

use core::hash::BuildHasher;

use hushwire_wire::id::DeviceId;
use siphasher::sip::SipHasher13;

use crate::id::ShardId;

/// The home shard of a device among `shards`. A pure function, so that a cluster can share the key.
///
/// # Panics
/// If `shards` is zero.
#[must_use]
pub fn home_of(home_key: &[u8; 16], shards: u16, device: &DeviceId) -> ShardId {
    shard_for(home_key, shards, device.as_bytes())
}

/// The shard that keeps what belongs to `name`: an account's counters, a rendezvous.
pub(crate) fn shard_for(home_key: &[u8; 16], shards: u16, name: &[u8]) -> ShardId {
    let hash = SipHasher13::new_with_key(home_key).hash(name);
    ShardId((hash % u64::from(shards)) as u16)
}

/// The hasher of a shard's own tables.
#[derive(Clone, Copy)]
pub(crate) struct TableKey(SipHasher13);

impl TableKey {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(key))
    }

    pub(crate) fn hash_device(&self, device: &DeviceId) -> u64 {
        self.0.hash(device.as_bytes())
    }
}

impl BuildHasher for TableKey {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}
