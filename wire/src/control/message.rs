//! The operations: one enum, one vector each.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::names::names;
use super::{ControlError, ErrorCode, GoawayReason, Undelivered};
use crate::id::{DeviceId, RelayId};
use crate::limits;
use crate::map::{Fields, Value, Writer};

/// Number of a request, chosen by the asker, echoed in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u32);

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
    /// What admits a device that is not enrolled yet, or a session token.
    pub token: Option<Vec<u8>>,
    /// A name for people, taken on enrolment.
    pub name: Option<String>,
    /// Cover asked for.
    pub cover: CoverMode,
    /// Software and version.
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
    /// Pins (SHA-256 of SubjectPublicKeyInfo) to trust from now on besides the current ones.
    pub pins: Vec<[u8; 32]>,
}

/// A device asks its relay for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Adds a device to the asker's account.
    Register {
        /// The new device.
        device: DeviceId,
        /// Its name for people.
        name: String,
    },
    /// Names a device of the asker's account.
    Rename {
        /// The device.
        device: DeviceId,
        /// Its new name.
        name: String,
    },
    /// Ends a device of the asker's account for good.
    Revoke {
        /// The device.
        device: DeviceId,
    },
    /// Lets a device send to the asker.
    Grant {
        /// The sender to be.
        device: DeviceId,
    },
    /// Takes a grant back.
    Ungrant {
        /// The sender no longer.
        device: DeviceId,
    },
    /// Opens a rendezvous.
    PairOpen {
        /// Derived from the code's secret.
        tag: [u8; 16],
        /// Life, at most 300.
        ttl_s: u32,
    },
    /// Joins a rendezvous; answered with [`Control::Paired`], which the opener gets as well.
    PairJoin {
        /// Derived from the code's secret.
        tag: [u8; 16],
    },
    /// Shows or hides whether the asker is connected.
    Presence {
        /// Senders hear nothing instead of `offline`.
        hidden: bool,
    },
    /// Asks for the relay's clock.
    Ping,
}

/// Everything a control cell can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The relay's first cell.
    Challenge {
        /// Fresh randomness.
        nonce: [u8; 32],
        /// Which relay this is; the device compares it with its invite before it signs.
        relay: RelayId,
        /// Versions spoken.
        versions: Vec<u8>,
    },
    /// The device's first cell.
    Hello(Hello),
    /// The device is in.
    Welcome(Welcome),
    /// A request, or the connection, failed.
    Error {
        /// The request, where it was one.
        id: Option<RequestId>,
        /// For a program.
        code: ErrorCode,
        /// For a person.
        sentence: String,
        /// When it may work, for `rate_limited`, `busy` and `draining`.
        wait_ms: Option<u32>,
    },
    /// A request.
    Request {
        /// Echoed in the answer.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// A request was carried out and has no other answer.
    Done {
        /// The request.
        id: RequestId,
    },
    /// Two devices have met at a rendezvous. The joiner's carries its request's ID.
    Paired {
        /// The request, for the joiner.
        id: Option<RequestId>,
        /// The rendezvous.
        tag: [u8; 16],
        /// The other device.
        device: DeviceId,
    },
    /// The relay's clock.
    Pong {
        /// The request.
        id: RequestId,
        /// Milliseconds since 1970-01-01 UTC.
        unix_ms: u64,
    },
    /// The relay ends the connection.
    Goaway {
        /// Why.
        reason: GoawayReason,
        /// When to come back, jittered.
        reconnect_after_ms: u32,
    },
    /// A unicast cell of this device was not delivered.
    Undeliverable {
        /// Its lane.
        lane: u8,
        /// Its counter on that lane.
        counter: u64,
        /// Why.
        reason: Undelivered,
    },
}

impl Control {
    /// The content of the control cell; [`super::enclose`] makes the cell.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut map = Writer::new();
        map.text("op", self.operation());
        match self {
            Self::Challenge { nonce, relay, versions } => {
                map.bytes("nonce", nonce);
                map.bytes("relay_id", relay.as_bytes());
                map.uints("versions", versions);
            }
            Self::Hello(hello) => hello.encode(&mut map),
            Self::Welcome(welcome) => welcome.encode(&mut map),
            Self::Error { id, code, sentence, wait_ms } => {
                if let Some(id) = id {
                    map.uint("id", id.0);
                }
                map.text("code", code.as_str());
                map.text("text", sentence);
                if let Some(wait_ms) = wait_ms {
                    map.uint("wait_ms", *wait_ms);
                }
            }
            Self::Request { id, request } => {
                map.uint("id", id.0);
                request.encode(&mut map);
            }
            Self::Done { id } => {
                map.uint("id", id.0);
            }
            Self::Paired { id, tag, device } => {
                if let Some(id) = id {
                    map.uint("id", id.0);
                }
                map.bytes("tag", tag);
                map.bytes("device", device.as_bytes());
            }
            Self::Pong { id, unix_ms } => {
                map.uint("id", id.0);
                map.uint("unix_ms", *unix_ms);
            }
            Self::Goaway { reason, reconnect_after_ms } => {
                map.text("reason", reason.as_str());
                map.uint("reconnect_after_ms", *reconnect_after_ms);
            }
            Self::Undeliverable { lane, counter, reason } => {
                map.uint("lane", *lane);
                map.uint("counter", *counter);
                map.text("reason", reason.as_str());
            }
        }
        map.finish()
    }

    /// Reads the content of a control cell.
    ///
    /// # Errors
    /// See [`ControlError`]: all but `Unsupported` are the peer's fault and end its connection.
    pub fn decode(content: &[u8]) -> Result<Self, ControlError> {
        let map = Fields::read(content)?;
        let id = map.optional("id", |map| map.uint("id").map(RequestId))?;
        let need_id = || id.ok_or(ControlError::Field("id"));
        match map.str("op")? {
            "challenge" => Ok(Self::Challenge {
                nonce: map.array("nonce")?,
                relay: RelayId::new(map.array("relay_id")?),
                versions: versions(&map)?,
            }),
            "hello" => Hello::decode(&map).map(Self::Hello),
            "welcome" => Welcome::decode(&map).map(Self::Welcome),
            "error" => Ok(Self::Error {
                id,
                code: named(&map, "code", ErrorCode::from_wire)?,
                sentence: map.text("text", limits::SENTENCE_BYTES_MAX)?,
                wait_ms: map.optional("wait_ms", |map| map.uint("wait_ms"))?,
            }),
            "done" => Ok(Self::Done { id: need_id()? }),
            "paired" => Ok(Self::Paired { id, tag: map.array("tag")?, device: device(&map)? }),
            "pong" => Ok(Self::Pong { id: need_id()?, unix_ms: map.uint("unix_ms")? }),
            "goaway" => Ok(Self::Goaway {
                reason: named(&map, "reason", GoawayReason::from_wire)?,
                reconnect_after_ms: map.uint("reconnect_after_ms")?,
            }),
            "undeliverable" => Ok(Self::Undeliverable {
                lane: map
                    .uint("lane")
                    .ok()
                    .filter(|&lane: &u8| u32::from(lane) < limits::LANES)
                    .ok_or(ControlError::Field("lane"))?,
                counter: map.uint("counter")?,
                reason: named(&map, "reason", Undelivered::from_wire)?,
            }),
            operation => match Request::decode(operation, &map)? {
                Some(request) => Ok(Self::Request { id: need_id()?, request }),
                None => Err(ControlError::Unsupported {
                    id,
                    operation: operation.chars().take(32).collect(),
                }),
            },
        }
    }

    /// The name of the operation on the wire.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Challenge { .. } => "challenge",
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Error { .. } => "error",
            Self::Request { request, .. } => request.operation(),
            Self::Done { .. } => "done",
            Self::Paired { .. } => "paired",
            Self::Pong { .. } => "pong",
            Self::Goaway { .. } => "goaway",
            Self::Undeliverable { .. } => "undeliverable",
        }
    }
}

impl Request {
    fn operation(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::Rename { .. } => "rename",
            Self::Revoke { .. } => "revoke",
            Self::Grant { .. } => "grant",
            Self::Ungrant { .. } => "ungrant",
            Self::PairOpen { .. } => "pair_open",
            Self::PairJoin { .. } => "pair_join",
            Self::Presence { .. } => "presence",
            Self::Ping => "ping",
        }
    }

    fn encode(&self, map: &mut Writer) {
        match self {
            Self::Register { device, name } | Self::Rename { device, name } => {
                map.bytes("device", device.as_bytes()).text("name", name);
            }
            Self::Revoke { device } | Self::Grant { device } | Self::Ungrant { device } => {
                map.bytes("device", device.as_bytes());
            }
            Self::PairOpen { tag, ttl_s } => {
                map.bytes("tag", tag).uint("ttl_s", *ttl_s);
            }
            Self::PairJoin { tag } => {
                map.bytes("tag", tag);
            }
            Self::Presence { hidden } => {
                map.boolean("hidden", *hidden);
            }
            Self::Ping => {}
        }
    }

    fn decode(operation: &str, map: &Fields<'_>) -> Result<Option<Self>, ControlError> {
        let name = || map.text("name", limits::NAME_BYTES_MAX);
        Ok(Some(match operation {
            "register" => Self::Register { device: device(map)?, name: name()? },
            "rename" => Self::Rename { device: device(map)?, name: name()? },
            "revoke" => Self::Revoke { device: device(map)? },
            "grant" => Self::Grant { device: device(map)? },
            "ungrant" => Self::Ungrant { device: device(map)? },
            "pair_open" => Self::PairOpen {
                tag: map.array("tag")?,
                ttl_s: map
                    .uint("ttl_s")
                    .ok()
                    .filter(|&ttl_s| ttl_s <= limits::PAIR_TTL_S_MAX)
                    .ok_or(ControlError::Field("ttl_s"))?,
            },
            "pair_join" => Self::PairJoin { tag: map.array("tag")? },
            "presence" => Self::Presence { hidden: map.boolean("hidden")? },
            "ping" => Self::Ping,
            _ => return Ok(None),
        }))
    }
}

impl Hello {
    fn encode(&self, map: &mut Writer) {
        map.uint("version", self.version);
        map.bytes("device", self.device.as_bytes());
        map.bytes("proof", &self.proof);
        if let Some(token) = &self.token {
            map.bytes("token", token);
        }
        if let Some(name) = &self.name {
            map.text("name", name);
        }
        map.text("cover", self.cover.as_str());
        map.text("software", &self.software);
    }

    fn decode(map: &Fields<'_>) -> Result<Self, ControlError> {
        Ok(Self {
            version: map.uint("version")?,
            device: device(map)?,
            proof: map.array("proof")?,
            token: map.optional("token", |map| {
                let token = map.bytes("token")?;
                if token.len() > limits::TOKEN_BYTES_MAX {
                    return Err(ControlError::Field("token"));
                }
                Ok(token.to_vec())
            })?,
            name: map.optional("name", |map| map.text("name", limits::NAME_BYTES_MAX))?,
            cover: named(map, "cover", CoverMode::from_wire)?,
            software: map.text("software", limits::SOFTWARE_BYTES_MAX)?,
        })
    }
}

impl Welcome {
    fn encode(&self, map: &mut Writer) {
        map.uint("shard", self.shard).uint("shards", self.shards).text("region", &self.region);
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
    }

    fn decode(map: &Fields<'_>) -> Result<Self, ControlError> {
        let hop = map.map("limits")?;
        Ok(Self {
            shard: map.uint("shard")?,
            shards: map.uint("shards")?,
            region: map.text("region", limits::NAME_BYTES_MAX)?,
            cover: named(map, "cover", CoverMode::from_wire)?,
            limits: HopLimits {
                cells_per_s: hop.uint("cells_per_s")?,
                bytes_per_s: hop.uint("bytes_per_s")?,
                egress_bytes: hop.uint("egress_bytes")?,
                idle_ms: hop.uint("idle_ms")?,
            },
            replaced: map.boolean("replaced")?,
            pins: map.optional("pins", pins)?.unwrap_or_default(),
        })
    }
}

fn device(map: &Fields<'_>) -> Result<DeviceId, ControlError> {
    map.array("device").map(DeviceId::new)
}

fn named<T>(
    map: &Fields<'_>,
    key: &'static str,
    from_wire: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ControlError> {
    from_wire(map.str(key)?).ok_or(ControlError::Field(key))
}

fn versions(map: &Fields<'_>) -> Result<Vec<u8>, ControlError> {
    let list = map.list("versions", limits::VERSIONS_MAX)?;
    list.into_iter()
        .map(
            |value| {
                if let Value::Uint(version) = value { u8::try_from(version).ok() } else { None }
            },
        )
        .collect::<Option<_>>()
        .ok_or(ControlError::Field("versions"))
}

fn pins(map: &Fields<'_>) -> Result<Vec<[u8; 32]>, ControlError> {
    let list = map.list("pins", limits::PINS_MAX)?;
    list.into_iter()
        .map(|value| if let Value::Bytes(pin) = value { pin.try_into().ok() } else { None })
        .collect::<Option<_>>()
        .ok_or(ControlError::Field("pins"))
}
