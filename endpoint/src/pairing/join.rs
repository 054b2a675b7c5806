//! The device that was given the code.

use std::fmt;
use std::marker::PhantomData;

use hushwire_wire::code::PairCode;
use hushwire_wire::id::DeviceId;

use super::{Carrier, Medium, PairError, Terms, Unconfirmed, open, seal, setup};
use crate::identity::Identity;
use crate::suite::handshake::{AwaitHs2, Initiator, Refused};
use crate::suite::keys::{CodeKeys, Tag};
use crate::suite::random::Random;

/// Starts joining.
#[derive(Debug)]
pub struct Join;

/// HS1 is on its way; HS2 is due.
pub struct AwaitAnswer<C: Medium> {
    keys: CodeKeys,
    state: Box<AwaitHs2>,
    carrier: PhantomData<C>,
}

impl Join {
    /// The tag for PAIR_JOIN, which comes before [`Join::start`]'s body can be sent.
    #[must_use]
    pub fn tag(code: &PairCode) -> Tag {
        CodeKeys::derive(&code.secret).tag()
    }

    /// Begins and returns HS1's body, for the device that [`PairCode::device`] names. `now_ns` is the unix time.
    ///
    /// # Errors
    /// [`PairError::OwnCode`], or a downgrade where `terms` contradict themselves: our own fault.
    pub fn start<C: Carrier>(
        code: &PairCode,
        identity: &Identity,
        terms: &Terms,
        now_ns: u64,
        random: &mut dyn Random,
    ) -> Result<(AwaitAnswer<C>, Vec<u8>), PairError> {
        if code.device == identity.device_id() {
            return Err(PairError::OwnCode);
        }
        let keys = CodeKeys::derive(&code.secret);
        AwaitAnswer::start(keys, code.device, identity, terms, now_ns, random)
    }
}

impl<C: Medium> AwaitAnswer<C> {
    /// Begins under keys that both devices have, however they came to have them.
    pub(super) fn start(
        keys: CodeKeys,
        peer: DeviceId,
        identity: &Identity,
        terms: &Terms,
        now_ns: u64,
        random: &mut dyn Random,
    ) -> Result<(Self, Vec<u8>), PairError> {
        let setup = setup(&keys, peer, terms);
        let (state, hs1) = Initiator::start(setup, terms.suite, identity, now_ns, 0, random)?;
        let body = seal(&keys, &hs1, random);
        Ok((Self { keys, state: Box::new(state), carrier: PhantomData }, body))
    }

    /// The device that made the code.
    #[must_use]
    pub fn peer(&self) -> DeviceId {
        self.state.peer()
    }

    /// Takes HS2's body; returns the outcome and HS3's body, to be sent again until the peer is heard from.
    ///
    /// # Errors
    /// See [`PairError`]; the state comes back with it.
    pub fn on_hs2(
        self,
        identity: &Identity,
        body: &mut [u8],
        random: &mut dyn Random,
    ) -> Result<(Unconfirmed<C>, Vec<u8>), Refused<Self, PairError>> {
        let Self { keys, state, carrier } = self;
        let content = match open(&keys, body) {
            Ok(content) => content,
            Err(error) => return Err(Refused::new(Self { keys, state, carrier }, error)),
        };
        match state.on_hs2(identity, content) {
            Ok((established, hs3)) => {
                let body = seal(&keys, &hs3, random);
                Ok((Unconfirmed::new(&established), body))
            }
            Err(Refused { state, error }) => {
                Err(Refused::new(Self { keys, state, carrier }, error.into()))
            }
        }
    }
}

impl<C: Medium> fmt::Debug for AwaitAnswer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitAnswer({:?}, {:?}, ..)", self.keys.tag(), self.state.peer())
    }
}
