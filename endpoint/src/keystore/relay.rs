//! The relay a device is enrolled at.

use hushwire_wire::code::{RelayAddress, Trust};
use hushwire_wire::id::RelayId;
use hushwire_wire::limits::{ADDRESS_BYTES_MAX, NAME_BYTES_MAX, PINS_MAX};

/// How a relay is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayTrust {
    /// By one of 1 to 4 SHA-256 hashes of SubjectPublicKeyInfo.
    Pins(Vec<[u8; 32]>),
    /// By a certificate from a public authority.
    PublicCa,
}

/// A relay, as the keystore remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// `host:port`, at most 255 bytes.
    pub address: String,
    /// How to know it.
    pub trust: RelayTrust,
    /// Which installation it must be.
    pub relay: RelayId,
    /// What the user calls the account there, at most 64 bytes.
    pub account: String,
}

impl Relay {
    /// The relay of an invite or a pairing code.
    #[must_use]
    pub fn new(relay: &RelayAddress, account: &str) -> Self {
        let trust = match relay.trust() {
            Trust::Pin(pin) => RelayTrust::Pins(vec![pin]),
            Trust::PublicCa => RelayTrust::PublicCa,
        };
        let address = relay.address().to_owned();
        Self { address, trust, relay: relay.relay(), account: account.into() }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let address_fits = !self.address.is_empty() && self.address.len() <= ADDRESS_BYTES_MAX;
        let pins_fit = match &self.trust {
            RelayTrust::Pins(pins) => (1..=PINS_MAX).contains(&pins.len()),
            RelayTrust::PublicCa => true,
        };
        if !address_fits {
            Err("a relay's address has 1 to 255 bytes")
        } else if !pins_fit {
            Err("a relay has 1 to 4 pins")
        } else if self.account.len() > NAME_BYTES_MAX {
            Err("an account's label has at most 64 bytes")
        } else {
            Ok(())
        }
    }
}
