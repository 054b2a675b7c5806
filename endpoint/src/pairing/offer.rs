//! The device that made the code.

use std::fmt;

use hushwire_wire::code::{PairCode, RelayAddress, Secret};
use hushwire_wire::id::DeviceId;

use super::{Carrier, Medium, PairError, Terms, Unconfirmed, open, seal, setup};
use crate::identity::Identity;
use crate::suite::handshake::{AwaitHs3, Refused, Responder};
use crate::suite::keys::{CodeKeys, Tag};
use crate::suite::limits::OFFER_ATTEMPTS_MAX;
use crate::suite::random::{Random, draw};

/// A code that has been made and waits for a peer. Good for one pairing: the first handshake that
/// authenticates consumes it.
pub struct Offer<C: Medium> {
    code: C::Code,
    keys: CodeKeys,
    terms: Terms,
    attempts: u32,
    wrong_codes: u32,
}

/// HS2 has been sent to somebody who knows the code; HS3 is due.
pub struct AwaitReveal<C: Medium> {
    offer: Offer<C>,
    state: Box<AwaitHs3>,
}

impl<C: Carrier> Offer<C> {
    /// Makes a code with a fresh secret of 128 bits, to meet at `relay`.
    #[must_use]
    pub fn new(
        identity: &Identity,
        relay: RelayAddress,
        terms: Terms,
        random: &mut dyn Random,
    ) -> Self {
        let secret = Secret::new(draw(random));
        let keys = CodeKeys::derive(&secret);
        let code = PairCode { relay, device: identity.device_id(), secret };
        Self::under(code, keys, terms)
    }
}

impl<C: Medium> Offer<C> {
    /// Waits for a peer that has these keys.
    pub(super) const fn under(code: C::Code, keys: CodeKeys, terms: Terms) -> Self {
        Self { code, keys, terms, attempts: 0, wrong_codes: 0 }
    }

    /// What to show, as a link or a QR code, or to say.
    #[must_use]
    pub const fn code(&self) -> &C::Code {
        &self.code
    }

    /// The tag for PAIR_OPEN.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        self.keys.tag()
    }

    /// Cells that came under another code.
    #[must_use]
    pub const fn wrong_codes(&self) -> u32 {
        self.wrong_codes
    }

    /// Takes the body that `from` (the header's peer, as PAIR_JOIN announced it) sent and returns HS2's body.
    ///
    /// # Errors
    /// See [`PairError`]; the offer comes back with it and stands.
    pub fn on_hs1(
        mut self,
        identity: &Identity,
        from: DeviceId,
        body: &mut [u8],
        random: &mut dyn Random,
    ) -> Result<(AwaitReveal<C>, Vec<u8>), Refused<Self, PairError>> {
        match self.answer(identity, from, body, random) {
            Ok((state, hs2)) => {
                self.attempts += 1;
                let body = seal(&self.keys, &hs2, random);
                Ok((AwaitReveal { offer: self, state: Box::new(state) }, body))
            }
            Err(error) => {
                self.count(error);
                Err(Refused::new(self, error))
            }
        }
    }

    fn answer(
        &self,
        identity: &Identity,
        from: DeviceId,
        body: &mut [u8],
        random: &mut dyn Random,
    ) -> Result<(AwaitHs3, Vec<u8>), PairError> {
        if self.attempts >= OFFER_ATTEMPTS_MAX {
            return Err(PairError::Exhausted);
        }
        let content = open(&self.keys, body)?;
        let setup = setup(&self.keys, from, &self.terms);
        Ok(Responder::on_hs1(&setup, identity, content, 0, random)?)
    }

    fn count(&mut self, error: PairError) {
        if error == PairError::WrongCode {
            self.wrong_codes = self.wrong_codes.saturating_add(1);
        }
    }
}

impl<C: Medium> AwaitReveal<C> {
    /// The device that knows the code, not proven yet.
    #[must_use]
    pub fn peer(&self) -> DeviceId {
        self.state.peer()
    }

    /// Takes HS3's body; the code is used up.
    ///
    /// # Errors
    /// See [`PairError`]; the state comes back with it. After [`PairError::began_again`] the peer's body is another
    /// HS1.
    pub fn on_hs3(self, body: &mut [u8]) -> Result<Unconfirmed<C>, Refused<Self, PairError>> {
        let Self { mut offer, state } = self;
        let content = match open(&offer.keys, body) {
            Ok(content) => content,
            Err(error) => {
                offer.count(error);
                return Err(Refused::new(Self { offer, state }, error));
            }
        };
        match state.on_hs3(content) {
            Ok(established) => Ok(Unconfirmed::new(&established)),
            Err(Refused { state, error }) => Err(Refused::new(Self { offer, state }, error.into())),
        }
    }

    /// Gives the peer up and waits for another HS1. The offer remembers how many it has answered: each one shows its
    /// sender what the SAS would be, and whoever may try without end finds one that suits.
    #[must_use]
    pub fn restart(self) -> Offer<C> {
        self.offer
    }
}

impl<C: Medium> fmt::Debug for Offer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer({:?}, attempts {}, ..)", self.keys.tag(), self.attempts)
    }
}

impl<C: Medium> fmt::Debug for AwaitReveal<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitReveal({:?}, {:?}, ..)", self.offer.keys.tag(), self.state.peer())
    }
}
