//! A peer, as the keystore remembers it.

use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::NAME_BYTES_MAX;
use hushwire_wire::text::plain;
use zeroize::Zeroizing;

use super::record::{GrantRecord, Hex32, PeerRecord, VerifiedRecord};
use crate::account::Statement;
use crate::pairing::{Paired, Verified};
use crate::suite::keys::PairKey;
use crate::suite::{Minimum, Suite};

/// Whether a peer may send to this device, and whether the relay knows it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It shall; the relay has not answered yet, and is asked again at every connection.
    Wanted,
    /// It may: the relay has said so.
    Given,
    /// It shall no longer; the relay has not answered yet, and is asked again at every connection.
    Withdrawn,
    /// It may not.
    None,
}

impl Grant {
    /// The same for a new ID, of the peer or of this device, of which the relay knows nothing yet.
    const fn for_new_id(self) -> Self {
        match self {
            Self::Wanted | Self::Given => Self::Wanted,
            Self::Withdrawn | Self::None => Self::None,
        }
    }
}

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
    grant: Grant,
    /// Key of ours that the pair key belongs to; `None` before we have replaced ours for the first time.
    ours: Option<DeviceId>,
    /// New key of ours that the peer has acknowledged last.
    acknowledged: Option<DeviceId>,
}

impl Peer {
    pub(super) fn new(
        paired: &Paired,
        name: &str,
        now_s: u64,
        hybrid_before: bool,
        grant: Grant,
    ) -> Self {
        Self {
            grant,
            device: paired.peer(),
            name: name.into(),
            pair_key: paired.pair_key().clone(),
            verified: paired.verified(),
            verified_at_s: now_s,
            last_seen_ns: 0,
            last_sent_ns: 0,
            hybrid_seen: hybrid_before || paired.suite().is_hybrid(),
            ours: None,
            acknowledged: None,
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

    /// Whether it may send to this device.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        self.grant
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

    pub(super) fn granted(&self, grant: Grant) -> Self {
        Self { grant, ..self.clone() }
    }

    /// Whether the peer knows that this device will be, or is, `new`.
    #[must_use]
    pub fn has_acknowledged(&self, new: &DeviceId) -> bool {
        self.acknowledged == Some(*new)
    }

    pub(super) const fn ours(&self) -> Option<DeviceId> {
        self.ours
    }

    /// The pair key is one with this device, `ours`.
    pub(super) fn with(self, ours: DeviceId) -> Self {
        Self { ours: Some(ours), ..self }
    }

    pub(super) fn acknowledged(&self, new: DeviceId) -> Self {
        Self { acknowledged: Some(new), ..self.clone() }
    }

    /// After the peer has replaced its key.
    pub(super) fn repinned(&self, statement: &Statement) -> Self {
        let pair_key = statement.next_pair_key(&self.pair_key);
        let grant = self.grant.for_new_id();
        Self { device: statement.new_device(), pair_key, grant, ..self.clone() }
    }

    /// After this device has replaced its key.
    pub(super) fn rekeyed(&self, statement: &Statement) -> Self {
        let pair_key = statement.next_pair_key(&self.pair_key);
        let (ours, grant) = (Some(statement.new_device()), self.grant.for_new_id());
        Self { pair_key, ours, grant, ..self.clone() }
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
                Verified::Spoken => VerifiedRecord::Spoken,
            },
            verified_at_s: self.verified_at_s,
            last_seen_ns: self.last_seen_ns,
            last_sent_ns: self.last_sent_ns,
            hybrid_seen: self.hybrid_seen,
            grant: match self.grant {
                Grant::Wanted => GrantRecord::Wanted,
                Grant::Given => GrantRecord::Given,
                Grant::Withdrawn => GrantRecord::Withdrawn,
                Grant::None => GrantRecord::None,
            },
            ours: self.ours.map(|device| device.to_text()),
            acknowledged: self.acknowledged.map(|device| device.to_text()),
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
                VerifiedRecord::Spoken => Verified::Spoken,
            },
            verified_at_s: record.verified_at_s,
            last_seen_ns: record.last_seen_ns,
            last_sent_ns: record.last_sent_ns,
            hybrid_seen: record.hybrid_seen,
            grant: match record.grant {
                GrantRecord::Wanted => Grant::Wanted,
                GrantRecord::Given => Grant::Given,
                GrantRecord::Withdrawn => Grant::Withdrawn,
                GrantRecord::None => Grant::None,
            },
            ours: record
                .ours
                .map(|text| text.parse().ok())
                .map_or(Some(None), |id| id.map(Some))?,
            acknowledged: record
                .acknowledged
                .map(|text| text.parse().ok())
                .map_or(Some(None), |id| id.map(Some))?,
        })
    }
}
