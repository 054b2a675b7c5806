//! The operations: one enum, one vector each.

use alloc::string::String;
use alloc::vec::Vec;

use super::fields::{device, named, need, need_device};
use super::{ControlError, ErrorCode, GoawayReason, Hello, Request, Undelivered, Welcome};
use crate::id::{DeviceId, RelayId};
use crate::limits;
use crate::map::{Fields, Value, Writer};
use crate::text::plain;

/// Number of a request, chosen by the asker, echoed in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u32);

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
        /// For a person, at most [`limits::SENTENCE_BYTES_MAX`] bytes.
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
    /// Whether [`Self::decode`] will accept what [`Self::encode`] writes. Texts for people are not
    /// checked: `encode` makes them fit.
    ///
    /// # Errors
    /// [`ControlError::Field`] names what is out of its range: a device of zeros, a `ttl_s` or lane
    /// beyond its bounds, a token or a list above its limit.
    pub fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Challenge { versions, nonce: _, relay: _ } => {
                need(versions.len() <= limits::VERSIONS_MAX, "versions")
            }
            Self::Hello(hello) => hello.check(),
            Self::Welcome(welcome) => welcome.check(),
            Self::Request { request, id: _ } => request.check(),
            Self::Paired { device, id: _, tag: _ } => need_device(device),
            Self::Undeliverable { lane, counter: _, reason: _ } => {
                need(u32::from(*lane) < limits::LANES, "lane")
            }
            Self::Error { .. } | Self::Done { .. } | Self::Pong { .. } | Self::Goaway { .. } => {
                Ok(())
            }
        }
    }

    /// The content of the control cell; [`super::enclose`] makes the cell, which always exists.
    ///
    /// Texts for people (`name`, `region`, `software`, `sentence`) are cut to their limit and freed
    /// of what could steer a terminal, see [`crate::text::plain`].
    ///
    /// # Panics
    /// Where [`Self::check`] fails: callers that pass on somebody else's values check first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if let Err(error) = self.check() {
            panic!("a control message cannot be written: {error}");
        }
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
                map.prose("text", sentence, limits::SENTENCE_BYTES_MAX);
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
        let message = Self::parse(content)?;
        message.check()?;
        Ok(message)
    }

    fn parse(content: &[u8]) -> Result<Self, ControlError> {
        let map = Fields::read(content)?;
        let id = || map.optional("id", |map| map.uint("id").map(RequestId));
        let need_id = || id()?.ok_or(ControlError::Field("id"));
        match map.str("op")? {
            "challenge" => Ok(Self::Challenge {
                nonce: map.array("nonce")?,
                relay: RelayId::new(map.array("relay_id")?),
                versions: versions(&map)?,
            }),
            "hello" => Hello::decode(&map).map(Self::Hello),
            "welcome" => Welcome::decode(&map).map(Self::Welcome),
            "error" => Ok(Self::Error {
                id: id()?,
                code: named(&map, "code", ErrorCode::from_wire)?,
                sentence: map.prose("text", limits::SENTENCE_BYTES_MAX)?,
                wait_ms: map.optional("wait_ms", |map| map.uint("wait_ms"))?,
            }),
            "done" => Ok(Self::Done { id: need_id()? }),
            "paired" => {
                Ok(Self::Paired { id: id()?, tag: map.array("tag")?, device: device(&map)? })
            }
            "pong" => Ok(Self::Pong { id: need_id()?, unix_ms: map.uint("unix_ms")? }),
            "goaway" => Ok(Self::Goaway {
                reason: named(&map, "reason", GoawayReason::from_wire)?,
                reconnect_after_ms: map.uint("reconnect_after_ms")?,
            }),
            "undeliverable" => Ok(Self::Undeliverable {
                lane: map.uint("lane")?,
                counter: map.uint("counter")?,
                reason: named(&map, "reason", Undelivered::from_wire)?,
            }),
            operation => match Request::decode(operation, &map)? {
                Some(request) => Ok(Self::Request { id: need_id()?, request }),
                None => Err(ControlError::Unsupported {
                    id: id().unwrap_or_default(),
                    operation: plain(operation, limits::OPERATION_BYTES_MAX),
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
