//! The relay a device is enrolled at.

use hushwire_wire::code::{CodeError, RelayAddress, Trust};
use hushwire_wire::id::RelayId;
use hushwire_wire::limits::{NAME_BYTES_MAX, PINS_MAX};
use hushwire_wire::text::plain;

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
        let address = relay.address().into();
        Self { address, trust, relay: relay.relay(), account: account.into() }
    }

    /// The same rules as for an invite, for every pin.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let fits = |trust| RelayAddress::new(trust, self.relay, &self.address);
        let checked = match &self.trust {
            RelayTrust::Pins(pins) if !(1..=PINS_MAX).contains(&pins.len()) => {
                return Err("a relay has 1 to 4 pins");
            }
            RelayTrust::Pins(pins) => {
                pins.iter().try_for_each(|pin| fits(Trust::Pin(*pin)).map(drop))
            }
            RelayTrust::PublicCa => fits(Trust::PublicCa).map(drop),
        };
        match checked {
            Err(CodeError::Pin) => Err("a relay's pin is not all zeros"),
            Err(_) => Err("a relay's address is host:port in at most 255 printable characters"),
            Ok(()) if plain(&self.account, NAME_BYTES_MAX) != self.account => {
                Err("an account's label has at most 64 bytes and no control characters")
            }
            Ok(()) => Ok(()),
        }
    }
}
