//! The device that was told the code.

use std::fmt;

use hushwire_wire::id::DeviceId;
use spake2::{Ed25519Group, Password, Spake2};

use super::message::{self, Head, Kind, S2, Source};
use super::{Burnt, JOIN, NotConfirmed, OFFER, Shared, SpokenCode, joiner, offerer};
use crate::identity::Identity;
use crate::pairing::{AwaitAnswer, PairError, Spoken, Terms};
use crate::suite::handshake::Refused;
use crate::suite::keys::CodeKeys;
use crate::suite::random::Random;

/// Starts joining.
#[derive(Debug)]
pub struct SpokenJoin;

/// S1 is on its way; S2 is due.
pub struct AwaitS2 {
    code: SpokenCode,
    spake: Spake2<Ed25519Group>,
    s1: Head,
}

/// S3 has been sent, S4 is due.
pub struct AwaitS4 {
    s2: Head,
    shared: Shared,
}

/// The other device knows the code too.
#[derive(Debug)]
pub struct Agreed {
    keys: CodeKeys,
}

impl SpokenJoin {
    /// Begins and returns S1's body. It says nothing about the code to anybody.
    #[must_use]
    pub fn start(code: SpokenCode, random: &mut dyn Random) -> (AwaitS2, Vec<u8>) {
        let tag = code.tag();
        let (spake, message) = Spake2::<Ed25519Group>::start_a_with_rng(
            &Password::new(code.password()),
            &joiner(tag),
            &offerer(tag),
            Source(random),
        );
        let s1 = message::make(Kind::S1, &message::element_of(&message));
        let body = message::body(&s1, random);
        (AwaitS2 { code, spake, s1 }, body)
    }
}

impl AwaitS2 {
    /// The code, to be burnt before [`AwaitS2::answer`].
    #[must_use]
    pub const fn code(&self) -> &SpokenCode {
        &self.code
    }

    /// Takes the first S2; returns S3's body. Whoever sent S2 learns from S3 whether one guess was right.
    #[must_use]
    pub fn answer(self, s2: S2, burnt: &Burnt, random: &mut dyn Random) -> (AwaitS4, Vec<u8>) {
        burnt.assert_for(&self.code);
        let key = self.spake.finish(&message::sided(b'B', &s2.0)).expect("the element was checked");
        let shared = Shared::new(key, &self.s1, &s2.0, self.code.tag());
        let s3 = message::make(Kind::S3, &shared.confirmation(JOIN));
        let body = message::body(&s3, random);
        (AwaitS4 { s2: s2.0, shared }, body)
    }
}

impl AwaitS4 {
    /// Whether a body is the S2 that was answered, again: S3 did not arrive, and may be sent again as it was.
    #[must_use]
    pub fn is_repeated(&self, body: &[u8]) -> bool {
        message::head(body, Kind::S2).is_ok_and(|head| head == self.s2)
    }

    /// Takes S4's body.
    ///
    /// # Errors
    /// See [`NotConfirmed`].
    pub fn on_s4(self, body: &[u8]) -> Result<Agreed, NotConfirmed<Self>> {
        match message::confirms(body, Kind::S4, &self.shared.confirmation(OFFER)) {
            Err(error) => Err(NotConfirmed::Dropped(Refused::new(self, error))),
            Ok(false) => Err(NotConfirmed::Destroyed),
            Ok(true) => Ok(Agreed { keys: self.shared.keys() }),
        }
    }
}

impl Agreed {
    /// Begins the handshake with `peer`, whom the relay named: only the device that knows the code can answer under
    /// this name. Returns HS1's body. `now_ns` is the unix time.
    ///
    /// # Errors
    /// [`PairError::OwnCode`], or a downgrade where `terms` contradict themselves: our own fault.
    pub fn start(
        self,
        peer: DeviceId,
        identity: &Identity,
        terms: &Terms,
        now_ns: u64,
        random: &mut dyn Random,
    ) -> Result<(AwaitAnswer<Spoken>, Vec<u8>), PairError> {
        if peer == identity.device_id() {
            return Err(PairError::OwnCode);
        }
        AwaitAnswer::start(self.keys, peer, identity, terms, now_ns, random)
    }
}

impl fmt::Debug for AwaitS2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitS2({:?}, ..)", self.code)
    }
}

impl fmt::Debug for AwaitS4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitS4({:?}, ..)", self.shared.tag)
    }
}
