//! A peer, as the keystore remembers it.

use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::NAME_BYTES_MAX;
use hushwire_wire::text::plain;
use zeroize::Zeroizing;

use super::record::{Hex32, PeerRecord, VerifiedRecord};
use crate::pairing::{Paired, Verified};
use crate::suite::keys::PairKey;
use crate::suite::{Minimum, Suite};

/// A device this one is paired with. `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct Peer {
    device: DeviceId,
    name: String,
    pair_key: PairKey,
    verified: Verified,
    verified_at_s: u64,
    last_seen_ns: u64,
    last_sent_ns: u64,
    hybrid_seen: bool,
}

impl Peer {
    pub(super) fn new(paired: &Paired, name: &str, now_s: u64, hybrid_before: bool) -> Self {
        Self {
            device: paired.peer(),
            name: name.into(),
            pair_key: paired.pair_key().clone(),
            verified: paired.verified(),
            verified_at_s: now_s,
            last_seen_ns: 0,
            last_sent_ns: 0,
            hybrid_seen: hybrid_before || paired.suite().is_hybrid(),
        }
    }

    pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            Err("a peer's name has 1 to 64 bytes")
        } else if plain(name, NAME_BYTES_MAX) != name {
            Err("a peer's name holds no control or direction characters")
        } else {
            Ok(())
        }
    }

    /// Its pinned identity.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// What the user calls it, unique in this keystore.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key both share.
    #[must_use]
    pub const fn pair_key(&self) -> &PairKey {
        &self.pair_key
    }

    /// Why it is trusted.
    #[must_use]
    pub const fn verified(&self) -> Verified {
        self.verified
    }

    /// Since when, unix seconds.
    #[must_use]
    pub const fn verified_at_s(&self) -> u64 {
        self.verified_at_s
    }

    /// The highest time of an HS1 it has sent, unix ns; 0 before the first.
    #[must_use]
    pub const fn last_seen_ns(&self) -> u64 {
        self.last_seen_ns
    }

    /// The time of our last HS1 to it, unix ns; 0 before the first.
    #[must_use]
    pub const fn last_sent_ns(&self) -> u64 {
        self.last_sent_ns
    }

    /// Whether the pair has ever used a hybrid suite.
    #[must_use]
    pub const fn hybrid_seen(&self) -> bool {
        self.hybrid_seen
    }

    /// The weakest suite this pair accepts.
    #[must_use]
    pub const fn minimum(&self) -> Minimum {
        if self.hybrid_seen { Minimum::Hybrid } else { Minimum::Any }
    }

    pub(super) fn renamed(&self, name: &str) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    pub(super) fn sent(&self, time_ns: u64) -> Self {
        Self { last_sent_ns: self.last_sent_ns.max(time_ns), ..self.clone() }
    }

    pub(super) fn seen(&self, time_ns: u64) -> Self {
        Self { last_seen_ns: self.last_seen_ns.max(time_ns), ..self.clone() }
    }

    pub(super) fn used(&self, suite: Suite) -> Self {
        Self { hybrid_seen: self.hybrid_seen || suite.is_hybrid(), ..self.clone() }
    }

    pub(super) fn to_record(&self, version: u32) -> PeerRecord {
        PeerRecord {
            version,
            device: self.device.to_text(),
            name: self.name.clone(),
            pair_key: Hex32(Zeroizing::new(*self.pair_key.as_bytes())),
            verified: match self.verified {
                Verified::Sas => VerifiedRecord::Sas,
                Verified::Camera => VerifiedRecord::Camera,
            },
            verified_at_s: self.verified_at_s,
            last_seen_ns: self.last_seen_ns,
            last_sent_ns: self.last_sent_ns,
            hybrid_seen: self.hybrid_seen,
        }
    }

    pub(super) fn from_record(record: PeerRecord) -> Option<Self> {
        Self::check_name(&record.name).ok()?;
        Some(Self {
            device: record.device.parse().ok()?,
            name: record.name,
            pair_key: PairKey::new(*record.pair_key.0),
            verified: match record.verified {
                VerifiedRecord::Sas => Verified::Sas,
                VerifiedRecord::Camera => Verified::Camera,
            },
            verified_at_s: record.verified_at_s,
            last_seen_ns: record.last_seen_ns,
            last_sent_ns: record.last_sent_ns,
            hybrid_seen: record.hybrid_seen,
        })
    }
}
