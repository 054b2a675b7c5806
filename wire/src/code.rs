//! Invites and pairing codes, as they stand in a link or a QR code (`PROTOCOL.md` annex A.2).
//!
//! Both say which relay to trust and carry a secret of 128 bits that works once.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::base32;
use crate::id::{DeviceId, RelayId};
use crate::limits::ADDRESS_BYTES_MAX;

/// What an invite's text begins with.
pub const INVITE_PREFIX: &str = "hushwire:invite:";
/// What a pairing link begins with.
pub const PAIR_PREFIX: &str = "hushwire:pair:";

const CODE_VERSION: u8 = 1;

/// A secret of 128 bits that works once. Zeroised on drop, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Wraps 16 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a key derivation.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a device knows the relay it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// SHA-256 of the certificate's SubjectPublicKeyInfo.
    Pin([u8; 32]),
    /// A certificate from a public authority for the host's name. On the wire: a pin of zeros.
    PublicCa,
}

impl Trust {
    const fn to_wire(self) -> [u8; 32] {
        match self {
            Self::Pin(pin) => pin,
            Self::PublicCa => [0; 32],
        }
    }

    fn from_wire(bytes: [u8; 32]) -> Self {
        if bytes == [0; 32] { Self::PublicCa } else { Self::Pin(bytes) }
    }
}

/// Where a relay is and how to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// How to know the relay.
    pub trust: Trust,
    /// Which installation it must be.
    pub relay: RelayId,
    /// `host:port`, at most 255 bytes.
    pub address: String,
}

/// An operator's invitation to enrol one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The relay.
    pub relay: RelayAddress,
    /// What the device presents; the relay keeps its hash only.
    pub secret: Secret,
}

/// An offer to pair with one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairCode {
    /// The relay both meet at.
    pub relay: RelayAddress,
    /// The offering device.
    pub device: DeviceId,
    /// Known to the two devices only.
    pub secret: Secret,
}

/// Why a text is no invite or pairing code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeError {
    /// It begins with something else.
    Prefix {
        /// What it should begin with.
        expected: &'static str,
    },
    /// A character was changed or lost.
    Damaged,
    /// Made by a newer version.
    Version(u8),
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix { expected } => {
                write!(f, "the text does not begin with '{expected}'; copy all of it")
            }
            Self::Damaged => f.write_str("a character is missing or wrong; copy the text again"),
            Self::Version(version) => {
                write!(
                    f,
                    "the code has version {version}, this software knows 1; upgrade this side"
                )
            }
        }
    }
}

impl core::error::Error for CodeError {}

/// Reads fields off the front; what is left over at the end is damage.
struct Cut<'a>(&'a [u8]);

impl Cut<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodeError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(CodeError::Damaged)?;
        self.0 = rest;
        Ok(*head)
    }

    fn relay(&mut self) -> Result<(Trust, RelayId), CodeError> {
        Ok((Trust::from_wire(self.array()?), RelayId::new(self.array()?)))
    }

    fn address(self) -> Result<String, CodeError> {
        let (&len, text) = self.0.split_first().ok_or(CodeError::Damaged)?;
        if text.len() != usize::from(len) {
            return Err(CodeError::Damaged);
        }
        let text = core::str::from_utf8(text).map_err(|_| CodeError::Damaged)?;
        let well_formed = text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if well_formed && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(text.into())
        } else {
            Err(CodeError::Damaged)
        }
    }
}

fn begin(relay: &RelayAddress) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(160);
    bytes.push(CODE_VERSION);
    bytes.extend_from_slice(&relay.trust.to_wire());
    bytes.extend_from_slice(relay.relay.as_bytes());
    bytes
}

fn end(mut bytes: Vec<u8>, prefix: &str, address: &str) -> String {
    let address = &address.as_bytes()[..address.len().min(ADDRESS_BYTES_MAX)];
    bytes.push(address.len() as u8);
    bytes.extend_from_slice(address);
    let mut text = String::from(prefix);
    text.push_str(&base32::encode(&bytes));
    bytes.zeroize();
    text
}

/// The bytes behind the prefix and the version.
fn open(text: &str, prefix: &'static str) -> Result<Vec<u8>, CodeError> {
    let body = text.trim().strip_prefix(prefix).ok_or(CodeError::Prefix { expected: prefix })?;
    let mut bytes = base32::decode(body).ok_or(CodeError::Damaged)?;
    match bytes.first() {
        Some(&CODE_VERSION) => Ok(bytes.split_off(1)),
        Some(&version) => Err(CodeError::Version(version)),
        None => Err(CodeError::Damaged),
    }
}

impl Invite {
    /// `version(1) ‖ pin(32) ‖ relay_id(32) ‖ secret(16) ‖ len(1) ‖ host:port` in base32, behind its prefix.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = begin(&self.relay);
        bytes.extend_from_slice(self.secret.as_bytes());
        end(bytes, INVITE_PREFIX, &self.relay.address)
    }

    /// Reads what a person pasted.
    ///
    /// # Errors
    /// See [`CodeError`]; each says what to do.
    pub fn from_text(text: &str) -> Result<Self, CodeError> {
        let bytes = open(text, INVITE_PREFIX)?;
        let mut cut = Cut(&bytes);
        let (trust, relay) = cut.relay()?;
        let secret = Secret::new(cut.array()?);
        Ok(Self { relay: RelayAddress { trust, relay, address: cut.address()? }, secret })
    }
}

impl PairCode {
    /// `version(1) ‖ pin(32) ‖ relay_id(32) ‖ device(32) ‖ secret(16) ‖ len(1) ‖ host:port` in base32, behind its prefix.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = begin(&self.relay);
        bytes.extend_from_slice(self.device.as_bytes());
        bytes.extend_from_slice(self.secret.as_bytes());
        end(bytes, PAIR_PREFIX, &self.relay.address)
    }

    /// Reads what a person pasted or a camera saw.
    ///
    /// # Errors
    /// See [`CodeError`]; each says what to do.
    pub fn from_text(text: &str) -> Result<Self, CodeError> {
        let bytes = open(text, PAIR_PREFIX)?;
        let mut cut = Cut(&bytes);
        let (trust, relay) = cut.relay()?;
        let device = DeviceId::new(cut.array()?);
        let secret = Secret::new(cut.array()?);
        Ok(Self { relay: RelayAddress { trust, relay, address: cut.address()? }, device, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn relay(address: &str) -> RelayAddress {
        RelayAddress {
            trust: Trust::Pin([7; 32]),
            relay: RelayId::new([8; 32]),
            address: address.into(),
        }
    }

    #[test]
    fn codes_survive_the_clipboard() {
        let invite = Invite { relay: relay("relay.example:4433"), secret: Secret::new([1; 16]) };
        assert_eq!(Invite::from_text(&format!("  {}\n", invite.to_text())), Ok(invite));
        let code = PairCode {
            relay: RelayAddress { trust: Trust::PublicCa, ..relay("[::1]:4433") },
            device: DeviceId::new([9; 32]),
            secret: Secret::new([1; 16]),
        };
        assert_eq!(PairCode::from_text(&code.to_text()), Ok(code));
    }

    #[test]
    fn damaged_codes_say_so() {
        let text = Invite { relay: relay("r:1"), secret: Secret::new([1; 16]) }.to_text();
        let check = |text: &str, expect| assert_eq!(Invite::from_text(text), Err(expect), "{text}");
        check("", CodeError::Prefix { expected: INVITE_PREFIX });
        check(&text.replace("invite", "pair"), CodeError::Prefix { expected: INVITE_PREFIX });
        check(&text[..text.len() - 3], CodeError::Damaged);
        check(&format!("{text}aaaaaaaa"), CodeError::Damaged);
        check(&text.replace(":invite:a", ":invite:b"), CodeError::Version(9));
        for address in ["r", ":1", "r:0", "r:65536", "r :1"] {
            let text = Invite { relay: relay(address), secret: Secret::new([1; 16]) }.to_text();
            check(&text, CodeError::Damaged);
        }
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let invite = Invite { relay: relay("r:1"), secret: Secret::new([0xab; 16]) };
        assert!(!format!("{invite:?}").contains("171"));
    }
}
