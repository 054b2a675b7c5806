//! The opening of a connection: what a device says first and what its relay allows it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::ControlError;
use super::fields::{device, named, need, need_device};
use super::names::names;
use crate::id::DeviceId;
use crate::limits;
use crate::map::{Fields, Value, Writer};

names! {
    /// How a hop is covered (`PROTOCOL.md` §3.2).
    CoverMode {
        /// Real cells only.
        Off = "off",
        /// Real cells at once, cover in the silence.
        AdaptiveFast = "adaptive-fast",
        /// Slots at exponentially distributed intervals.
        Adaptive = "adaptive",
        /// Slots at strict intervals.
        Constant = "constant",
    }
}

/// A device introduces itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Version of the protocol, one of those offered.
    pub version: u8,
    /// Who is speaking.
    pub device: DeviceId,
    /// Ed25519 signature over [`super::proof_message`].
    pub proof: [u8; 64],
    /// What admits a device that is not enrolled yet: the 16 bytes of an invite's secret. At most
    /// [`limits::TOKEN_BYTES_MAX`] bytes.
    pub token: Option<Vec<u8>>,
    /// A name for people, taken on enrolment.
    pub name: Option<String>,
    /// Cover asked for.
    pub cover: CoverMode,
    /// Software and version, at most [`limits::SOFTWARE_BYTES_MAX`] bytes.
    pub software: String,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("version", &self.version)
            .field("device", &self.device)
            .field("token", &self.token.as_ref().map(|_| "present"))
            .field("cover", &self.cover)
            .field("software", &self.software)
            .finish_non_exhaustive()
    }
}

/// What the relay allows this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopLimits {
    /// Cells a second.
    pub cells_per_s: u32,
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// Bytes that may wait for this device.
    pub egress_bytes: u32,
    /// Silence after which the connection is closed, in milliseconds.
    pub idle_ms: u32,
}

/// The relay admits a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The home shard.
    pub shard: u16,
    /// Shards in all.
    pub shards: u16,
    /// The operator's name for the place, may be empty.
    pub region: String,
    /// Cover granted.
    pub cover: CoverMode,
    /// Limits in force.
    pub limits: HopLimits,
    /// Whether an older connection of this device was displaced.
    pub replaced: bool,
    /// Pins (SHA-256 of SubjectPublicKeyInfo) to trust from now on besides the current ones, at
    /// most [`limits::PINS_MAX`].
    pub pins: Vec<[u8; 32]>,
    /// Connection IDs of the home shard, at most [`limits::QUIC_IDS_MAX`]: each is for the first packet of one later
    /// QUIC connection. None where the relay has no QUIC.
    pub quic_ids: Vec<[u8; limits::QUIC_ID_BYTES]>,
}

impl Hello {
    pub(super) fn encode(&self, map: &mut Writer) {
        map.uint("version", self.version);
        map.bytes("device", self.device.as_bytes());
        map.bytes("proof", &self.proof);
        if let Some(token) = &self.token {
            map.bytes("token", token);
        }
        if let Some(name) = &self.name {
            map.prose("name", name, limits::NAME_BYTES_MAX);
        }
        map.text("cover", self.cover.as_str());
        map.prose("software", &self.software, limits::SOFTWARE_BYTES_MAX);
    }

    pub(super) fn check(&self) -> Result<(), ControlError> {
        need_device(&self.device)?;
        let token = self.token.as_deref().unwrap_or_default();
        need(token.len() <= limits::TOKEN_BYTES_MAX, "token")
    }

    pub(super) fn decode(map: &Fields<'_>) -> Result<Self, ControlError> {
        Ok(Self {
            version: map.uint("version")?,
            device: device(map)?,
            proof: map.array("proof")?,
            token: map.optional("token", |map| map.bytes("token").map(<[u8]>::to_vec))?,
            name: map.optional("name", |map| map.prose("name", limits::NAME_BYTES_MAX))?,
            cover: named(map, "cover", CoverMode::from_wire)?,
            software: map.prose("software", limits::SOFTWARE_BYTES_MAX)?,
        })
    }
}

impl Welcome {
    pub(super) fn encode(&self, map: &mut Writer) {
        map.uint("shard", self.shard).uint("shards", self.shards);
        map.prose("region", &self.region, limits::NAME_BYTES_MAX);
        map.text("cover", self.cover.as_str());
        let mut hop = Writer::new();
        hop.uint("cells_per_s", self.limits.cells_per_s);
        hop.uint("bytes_per_s", self.limits.bytes_per_s);
        hop.uint("egress_bytes", self.limits.egress_bytes);
        hop.uint("idle_ms", self.limits.idle_ms);
        map.map("limits", hop).boolean("replaced", self.replaced);
        if !self.pins.is_empty() {
            map.byte_strings("pins", &self.pins);
        }
        if !self.quic_ids.is_empty() {
            map.byte_strings("quic_ids", &self.quic_ids);
        }
    }

    pub(super) fn check(&self) -> Result<(), ControlError> {
        need(self.pins.len() <= limits::PINS_MAX, "pins")?;
        need(self.quic_ids.len() <= limits::QUIC_IDS_MAX, "quic_ids")
    }

    pub(super) fn decode(map: &Fields<'_>) -> Result<Self, ControlError> {
        let hop = map.map("limits")?;
        Ok(Self {
            shard: map.uint("shard")?,
            shards: map.uint("shards")?,
            region: map.prose("region", limits::NAME_BYTES_MAX)?,
            cover: named(map, "cover", CoverMode::from_wire)?,
            limits: HopLimits {
                cells_per_s: hop.uint("cells_per_s")?,
                bytes_per_s: hop.uint("bytes_per_s")?,
                egress_bytes: hop.uint("egress_bytes")?,
                idle_ms: hop.uint("idle_ms")?,
            },
            replaced: map.boolean("replaced")?,
            pins: arrays(map, "pins", limits::PINS_MAX)?,
            quic_ids: arrays(map, "quic_ids", limits::QUIC_IDS_MAX)?,
        })
    }
}

/// A list of byte strings of one length, empty where the field is absent.
fn arrays<const N: usize>(
    map: &Fields<'_>,
    field: &'static str,
    max: usize,
) -> Result<Vec<[u8; N]>, ControlError> {
    let list = map.optional(field, |map| map.list(field, max))?.unwrap_or_default();
    list.into_iter()
        .map(|value| if let Value::Bytes(bytes) = value { bytes.try_into().ok() } else { None })
        .collect::<Option<_>>()
        .ok_or(ControlError::Field(field))
}
