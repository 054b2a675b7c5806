//! Invites and pairing codes, as they stand in a link or a QR code (`PROTOCOL.md` annex A.2).
//!
//! Both say which relay to trust and carry a secret of 128 bits that works once.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::base32;
use crate::id::{DeviceId, RelayId};
use crate::limits::ADDRESS_BYTES_MAX;

/// What an invite's text begins with.
pub const INVITE_PREFIX: &str = "hushwire:invite:";
/// What a pairing link begins with.
pub const PAIR_PREFIX: &str = "hushwire:pair:";

const CODE_VERSION: u8 = 1;

/// A secret of 128 bits that works once. Zeroised on drop, never shown by `Debug`.
#[derive(Clone, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 16]);

/// Compares in a time that does not depend on where two secrets differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let differ = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | (a ^ b));
        core::hint::black_box(differ) == 0
    }
}

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
    trust: Trust,
    relay: RelayId,
    address: String,
}

impl RelayAddress {
    /// `address` is `host:port` in printable ASCII, at most 255 bytes; an IPv6 address stands in
    /// brackets. A host with other letters is written in its IDNA form.
    ///
    /// # Errors
    /// [`CodeError::Address`], or [`CodeError::Pin`] for a pin of zeros, which on the wire would turn
    /// into [`Trust::PublicCa`].
    pub fn new(trust: Trust, relay: RelayId, address: &str) -> Result<Self, CodeError> {
        if trust == Trust::Pin([0; 32]) {
            return Err(CodeError::Pin);
        }
        let plain = address.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || address.len() > ADDRESS_BYTES_MAX || split(address).is_none() {
            return Err(CodeError::Address);
        }
        Ok(Self { trust, relay, address: address.into() })
    }

    /// How to know the relay.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// Which installation it must be.
    #[must_use]
    pub const fn relay(&self) -> RelayId {
        self.relay
    }

    /// `host:port` as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The host, an IPv6 address without its brackets, and the port.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        split(&self.address).unwrap_or_else(|| unreachable!("checked when it was made"))
    }
}

/// Host and port; a host with colons must stand in brackets.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, digits) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains([':', ']']) => return None,
        None => host,
    };
    let canonical = !digits.starts_with(['0', '+']);
    let port = digits.parse().ok().filter(|_| canonical)?;
    (!host.is_empty()).then_some((host, port))
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
    /// The relay's address is not `host:port`, or longer than 255 bytes.
    Address,
    /// The pin is all zeros, which is no hash of any key.
    Pin,
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
            Self::Address => write!(
                f,
                "the relay's address is not host:port in plain ASCII of at most {ADDRESS_BYTES_MAX} bytes"
            ),
            Self::Pin => f.write_str("the relay's pin is all zeros; copy it again"),
        }
    }
}

impl core::error::Error for CodeError {}

/// Reads fields off the front; what is left over at the end is damage.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodeError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(CodeError::Damaged)?;
        self.0 = rest;
        Ok(*head)
    }

    fn relay(&mut self) -> Result<(Trust, RelayId), CodeError> {
        Ok((Trust::from_wire(self.array()?), RelayId::new(self.array()?)))
    }

    fn address(self) -> Result<&'a str, CodeError> {
        let (&len, text) = self.0.split_first().ok_or(CodeError::Damaged)?;
        if text.len() != usize::from(len) {
            return Err(CodeError::Damaged);
        }
        core::str::from_utf8(text).map_err(|_| CodeError::Damaged)
    }
}

/// The longest code: a pairing code with the longest address.
const CODE_BYTES_MAX: usize = 1 + 32 + RelayId::LEN + DeviceId::LEN + 16 + 1 + ADDRESS_BYTES_MAX;

/// Room for all of it at once: a buffer that grew would leave the secret behind.
fn begin(relay: &RelayAddress) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(CODE_BYTES_MAX));
    bytes.push(CODE_VERSION);
    bytes.extend_from_slice(&relay.trust.to_wire());
    bytes.extend_from_slice(relay.relay.as_bytes());
    bytes
}

fn end(mut bytes: Zeroizing<Vec<u8>>, prefix: &str, relay: &RelayAddress) -> String {
    bytes.push(relay.address.len() as u8);
    bytes.extend_from_slice(relay.address.as_bytes());
    let body = Zeroizing::new(base32::encode(&bytes));
    let mut text = String::with_capacity(prefix.len() + body.len());
    text.push_str(prefix);
    text.push_str(&body);
    text
}

/// The bytes behind the prefix, the version included.
fn open(text: &str, prefix: &'static str) -> Result<Zeroizing<Vec<u8>>, CodeError> {
    let body = text.trim().strip_prefix(prefix).ok_or(CodeError::Prefix { expected: prefix })?;
    if body.len() > (CODE_BYTES_MAX * 8).div_ceil(5) {
        return Err(CodeError::Damaged);
    }
    let bytes = Zeroizing::new(base32::decode(body).ok_or(CodeError::Damaged)?);
    match bytes.first() {
        Some(&CODE_VERSION) => Ok(bytes),
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
        end(bytes, INVITE_PREFIX, &self.relay)
    }

    /// Reads what a person pasted.
    ///
    /// # Errors
    /// See [`CodeError`]; each says what to do.
    pub fn from_text(text: &str) -> Result<Self, CodeError> {
        let bytes = open(text, INVITE_PREFIX)?;
        let mut cut = Cut(&bytes[1..]);
        let (trust, relay) = cut.relay()?;
        let secret = Secret::new(cut.array()?);
        let relay = RelayAddress::new(trust, relay, cut.address()?)?;
        Ok(Self { relay, secret })
    }
}

impl PairCode {
    /// `version(1) ‖ pin(32) ‖ relay_id(32) ‖ device(32) ‖ secret(16) ‖ len(1) ‖ host:port` in base32, behind its prefix.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = begin(&self.relay);
        bytes.extend_from_slice(self.device.as_bytes());
        bytes.extend_from_slice(self.secret.as_bytes());
        end(bytes, PAIR_PREFIX, &self.relay)
    }

    /// Reads what a person pasted or a camera saw.
    ///
    /// # Errors
    /// See [`CodeError`]; each says what to do.
    pub fn from_text(text: &str) -> Result<Self, CodeError> {
        let bytes = open(text, PAIR_PREFIX)?;
        let mut cut = Cut(&bytes[1..]);
        let (trust, relay) = cut.relay()?;
        let device = DeviceId::new(cut.array()?);
        let secret = Secret::new(cut.array()?);
        let relay = RelayAddress::new(trust, relay, cut.address()?)?;
        Ok(Self { relay, device, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn relay(address: &str) -> RelayAddress {
        RelayAddress::new(Trust::Pin([7; 32]), RelayId::new([8; 32]), address).expect("an address")
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
        assert_eq!(PairCode::from_text(&code.to_text()), Ok(code.clone()));
        let longest = format!("{}:65535", "h".repeat(249));
        let code = PairCode { relay: relay(&longest), ..code };
        assert_eq!(PairCode::from_text(&code.to_text()), Ok(code));
    }

    #[test]
    fn damaged_codes_say_so() {
        let text = Invite { relay: relay("r:1"), secret: Secret::new([1; 16]) }.to_text();
        let check = |text: &str, expect| assert_eq!(Invite::from_text(text), Err(expect), "{text}");
        check("", CodeError::Prefix { expected: INVITE_PREFIX });
        check(INVITE_PREFIX, CodeError::Damaged);
        check(&text.replace("invite", "pair"), CodeError::Prefix { expected: INVITE_PREFIX });
        check(&text[..text.len() - 3], CodeError::Damaged);
        check(&format!("{text}aaaaaaaa"), CodeError::Damaged);
        check(&format!("{text}{}", "a".repeat(1 << 20)), CodeError::Damaged);
        check(&text.replace(":invite:a", ":invite:b"), CodeError::Version(9));
        let relay = RelayAddress { address: "r :1".into(), ..relay("r:1") };
        let text = Invite { relay, secret: Secret::new([1; 16]) }.to_text();
        check(&text, CodeError::Address);
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let check = |address: &str, expect: Option<(&str, u16)>| {
            let made = RelayAddress::new(Trust::PublicCa, RelayId::new([8; 32]), address);
            let found = made.as_ref().ok().map(RelayAddress::host_and_port);
            assert_eq!(found, expect, "{address}");
        };
        check("relay.example:4433", Some(("relay.example", 4433)));
        check("192.0.2.1:1", Some(("192.0.2.1", 1)));
        check("[2001:db8::1]:65535", Some(("2001:db8::1", 65535)));
        let long = format!("{}:65535", "h".repeat(250));
        for bad in [
            "", "r", ":1", "r:", "r:0", "r:01", "r:+1", "r:65536", "r :1", "rä:1", "::1:1", "[]:1",
            "[::1:1", "::1]:1", "r\x1b:1", &long,
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_pin_of_zeros_does_not_become_a_public_authority() {
        let made = RelayAddress::new(Trust::Pin([0; 32]), RelayId::new([8; 32]), "r:1");
        assert_eq!(made, Err(CodeError::Pin));
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let invite = Invite { relay: relay("r:1"), secret: Secret::new([0xab; 16]) };
        assert!(!format!("{invite:?}").contains("171"));
    }
}
