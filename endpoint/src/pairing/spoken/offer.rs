//! The device that made the code.

use std::fmt;

use spake2::{Ed25519Group, Password, Spake2};

use super::message::{self, Head, Kind, S1, Source};
use super::{Burnt, JOIN, NotConfirmed, OFFER, Shared, SpokenCode, joiner, offerer};
use crate::pairing::{Offer, Spoken, Terms};
use crate::suite::handshake::Refused;
use crate::suite::keys::Tag;
use crate::suite::random::Random;

/// A code that has been made and waits to be used, once.
#[derive(Debug)]
pub struct SpokenOffer {
    code: SpokenCode,
    terms: Terms,
}

/// S2 has been sent, S3 is due.
pub struct AwaitS3 {
    code: SpokenCode,
    terms: Terms,
    s1: Head,
    shared: Shared,
}

impl SpokenOffer {
    /// Makes a code. `conflicts` is how many nameplates the relay has said are taken: they get longer.
    #[must_use]
    pub fn new(conflicts: u32, terms: Terms, random: &mut dyn Random) -> Self {
        Self { code: SpokenCode::draw(conflicts, random), terms }
    }

    /// What to say to the other person.
    #[must_use]
    pub const fn code(&self) -> &SpokenCode {
        &self.code
    }

    /// The tag for PAIR_OPEN.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.code.tag()
    }

    /// Answers the first S1; returns S2's body. There is no second answer, whoever asks.
    #[must_use]
    pub fn answer(self, s1: S1, burnt: &Burnt, random: &mut dyn Random) -> (AwaitS3, Vec<u8>) {
        burnt.assert_for(&self.code);
        let tag = self.code.tag();
        let (spake, message) = Spake2::<Ed25519Group>::start_b_with_rng(
            &Password::new(self.code.password()),
            &joiner(tag),
            &offerer(tag),
            Source(random),
        );
        let s2 = message::make(Kind::S2, &message::element_of(&message));
        let key = spake.finish(&message::sided(b'A', &s1.0)).expect("the element was checked");
        let shared = Shared::new(key, &s1.0, &s2, tag);
        let body = message::body(&s2, random);
        (AwaitS3 { code: self.code, terms: self.terms, s1: s1.0, shared }, body)
    }
}

impl AwaitS3 {
    /// Whether a body is the S1 that was answered, again: S2 did not arrive, and may be sent again as it was.
    #[must_use]
    pub fn is_repeated(&self, body: &[u8]) -> bool {
        message::head(body, Kind::S1).is_ok_and(|head| head == self.s1)
    }

    /// Takes S3's body. Returns an offer that waits for HS1 under the agreed key, and S4's body.
    ///
    /// # Errors
    /// See [`NotConfirmed`].
    pub fn on_s3(
        self,
        body: &[u8],
        random: &mut dyn Random,
    ) -> Result<(Offer<Spoken>, Vec<u8>), NotConfirmed<Self>> {
        let theirs = self.shared.confirmation(JOIN);
        match message::confirms(body, Kind::S3, &theirs) {
            Err(error) => Err(NotConfirmed::Dropped(Refused::new(self, error))),
            Ok(false) => Err(NotConfirmed::Destroyed),
            Ok(true) => {
                let s4 = message::make(Kind::S4, &self.shared.confirmation(OFFER));
                let keys = self.shared.keys();
                Ok((Offer::under(self.code, keys, self.terms), message::body(&s4, random)))
            }
        }
    }
}

impl fmt::Debug for AwaitS3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitS3({:?}, ..)", self.shared.tag)
    }
}
