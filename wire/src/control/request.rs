//! What a device asks of its relay.

use alloc::string::String;

use super::ControlError;
use super::fields::{device, need, need_device};
use crate::id::DeviceId;
use crate::limits;
use crate::map::{Fields, Writer};

/// A device asks its relay for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Adds a device to the asker's account.
    Register {
        /// The new device.
        device: DeviceId,
        /// Its name for people; see [`Control::encode`](super::Control::encode).
        name: String,
        /// The new device's Ed25519 signature over [`super::register_message`].
        proof: [u8; 64],
    },
    /// Names a device of the asker's account.
    Rename {
        /// The device.
        device: DeviceId,
        /// Its new name; see [`Control::encode`](super::Control::encode).
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
        /// Life in seconds, 1 to 300.
        ttl_s: u32,
    },
    /// Joins a rendezvous; answered with [`Control::Paired`](super::Control::Paired), which the opener gets as well.
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

impl Request {
    pub(super) fn operation(&self) -> &'static str {
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

    pub(super) fn encode(&self, map: &mut Writer) {
        match self {
            Self::Register { device, name, proof } => {
                map.bytes("device", device.as_bytes()).prose("name", name, limits::NAME_BYTES_MAX);
                map.bytes("proof", proof);
            }
            Self::Rename { device, name } => {
                map.bytes("device", device.as_bytes()).prose("name", name, limits::NAME_BYTES_MAX);
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

    pub(super) fn decode(operation: &str, map: &Fields<'_>) -> Result<Option<Self>, ControlError> {
        let name = || map.prose("name", limits::NAME_BYTES_MAX);
        Ok(Some(match operation {
            "register" => {
                Self::Register { device: device(map)?, name: name()?, proof: map.array("proof")? }
            }
            "rename" => Self::Rename { device: device(map)?, name: name()? },
            "revoke" => Self::Revoke { device: device(map)? },
            "grant" => Self::Grant { device: device(map)? },
            "ungrant" => Self::Ungrant { device: device(map)? },
            "pair_open" => Self::PairOpen { tag: map.array("tag")?, ttl_s: map.uint("ttl_s")? },
            "pair_join" => Self::PairJoin { tag: map.array("tag")? },
            "presence" => Self::Presence { hidden: map.boolean("hidden")? },
            "ping" => Self::Ping,
            _ => return Ok(None),
        }))
    }

    pub(super) fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Register { device, name: _, proof: _ }
            | Self::Rename { device, name: _ }
            | Self::Revoke { device }
            | Self::Grant { device }
            | Self::Ungrant { device } => need_device(device),
            Self::PairOpen { tag: _, ttl_s } => {
                need((1..=limits::PAIR_TTL_S_MAX).contains(ttl_s), "ttl_s")
            }
            Self::PairJoin { tag: _ } | Self::Presence { hidden: _ } | Self::Ping => Ok(()),
        }
    }
}
