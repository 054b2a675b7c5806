//! How two devices come to know each other: a code that travels by link or camera, a handshake under its secret,
//! and six digits that people compare (`PROTOCOL.md` §6, annexes A.2 and A.3). Without I/O.
//!
//! ```text
//! offering device                                     joining device
//! Offer::new ── code, by link or QR ────────────────▶ Join::start
//! PAIR_OPEN(tag)            relay                     PAIR_JOIN(tag)
//! Offer::on_hs1 ◀────────── HS1 ───────────────────── AwaitAnswer
//! AwaitReveal ───────────── HS2 ────────────────────▶ AwaitAnswer::on_hs2
//! AwaitReveal::on_hs3 ◀──── HS3 ───────────────────── Unconfirmed
//! Unconfirmed::confirm  ═══ SAS compared by people ══ Unconfirmed::confirm
//! Paired                                              Paired
//! ```
//!
//! A code that is short enough to be spoken runs SPAKE2 first, see [`spoken`].
//!
//! How the code travelled is a type: only what a camera read ([`Qr`]) may skip the comparison, and the keystore
//! takes nothing but [`Paired`]. This does not compile:
//!
//! ```compile_fail,E0599
//! # use hushwire::pairing::{Link, Paired, Unconfirmed};
//! fn careless(by_link: Unconfirmed<Link>) -> Paired {
//!     by_link.trust_camera()
//! }
//! ```

mod fingerprint;
mod join;
mod offer;
mod outcome;
pub mod spoken;

use std::fmt;

pub use fingerprint::Fingerprint;
pub use join::{AwaitAnswer, Join};
pub use offer::{AwaitReveal, Offer};
pub use outcome::{Paired, Rejected, Sas, Unconfirmed, Verified};

use hushwire_wire::cell::Class;
use hushwire_wire::code::PairCode;
use hushwire_wire::id::DeviceId;

use crate::suite::handshake::{HandshakeError, Setup};
use crate::suite::keys::{CodeKeys, Psk};
use crate::suite::limits::HANDSHAKE_CLASS;
use crate::suite::random::Random;
use crate::suite::seal::{OpenError, OuterSeal};
use crate::suite::{Minimum, Suite};

/// The code travels as a text: whoever carried it may have read it, so people must compare the SAS.
#[derive(Clone, Copy, Debug)]
pub enum Link {}

/// The code was shown on one device's screen only and read by the other's camera.
#[derive(Clone, Copy, Debug)]
pub enum Qr {}

/// The code is a number and two words that one person tells another, good for one guess: both devices prove to each
/// other that they know it before anything else is said.
#[derive(Clone, Copy, Debug)]
pub enum Spoken {}

mod private {
    pub trait Sealed {}
    impl Sealed for super::Link {}
    impl Sealed for super::Qr {}
    impl Sealed for super::Spoken {}
}

/// How a code travels: [`Link`], [`Qr`] or [`Spoken`].
pub trait Medium: private::Sealed + fmt::Debug {
    /// What travels.
    type Code: fmt::Debug;
    /// What [`Unconfirmed::confirm`] means.
    const CONFIRMED: Verified;
}

impl Medium for Link {
    type Code = PairCode;
    const CONFIRMED: Verified = Verified::Sas;
}

impl Medium for Qr {
    type Code = PairCode;
    const CONFIRMED: Verified = Verified::Sas;
}

impl Medium for Spoken {
    type Code = spoken::SpokenCode;
    const CONFIRMED: Verified = Verified::Spoken;
}

/// What carries a whole code with its 128 bits: [`Link`] or [`Qr`].
pub trait Carrier: Medium<Code = PairCode> {}

impl Carrier for Link {}
impl Carrier for Qr {}

/// What a device allows in a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The weakest suite accepted. Default: hybrid.
    pub minimum: Minimum,
    /// The suite a joining device asks for. Default: suite 2.
    pub suite: Suite,
    /// The largest class this device wants to receive. Default: 7.
    pub class_max: Class,
}

impl Default for Terms {
    fn default() -> Self {
        Self { minimum: Minimum::Hybrid, suite: Suite::HybridAes, class_max: Class::C7 }
    }
}

/// Why a pairing did not go on. None of these destroys the code; what destroys a spoken one is
/// [`spoken::NotConfirmed::Destroyed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The cell is not of class 3, as every pairing cell is.
    #[error("the peer sent a pairing cell of {0} bytes")]
    Class(usize),
    /// Sealed under another code, or changed on the way.
    #[error("the other device used another code, or the relay changed a cell; check the code")]
    WrongCode,
    /// The peer, who has the code, broke the layout of the seal.
    #[error("the peer sealed a cell whose length or padding is wrong")]
    Padding,
    /// The code was made by this device.
    #[error("this code was made on this very device; open it on the other one")]
    OwnCode,
    /// The offer has answered too many handshakes. Make a new code.
    #[error("the code was tried too often; make a new one")]
    Exhausted,
    /// Not the message of a spoken code that was due.
    #[error("another message of the spoken code was due")]
    Unexpected,
    /// The handshake says why.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl PairError {
    /// Whether the peer began again: [`AwaitReveal::restart`] the offer and give it the same body.
    #[must_use]
    pub const fn began_again(&self) -> bool {
        matches!(self, Self::Handshake(HandshakeError::Unexpected { found: 1, .. }))
    }
}

fn setup(keys: &CodeKeys, peer: DeviceId, terms: &Terms) -> Setup {
    Setup {
        peer,
        psk: Psk::Pairing(keys.clone()),
        minimum: terms.minimum,
        class_max: terms.class_max,
    }
}

fn seal(keys: &CodeKeys, content: &[u8], random: &mut dyn Random) -> Vec<u8> {
    let mut body = vec![0; HANDSHAKE_CLASS.body_len()];
    OuterSeal::pairing(keys)
        .seal(content, &mut body, random)
        .expect("every handshake message fits class 3");
    body
}

fn open<'body>(keys: &CodeKeys, body: &'body mut [u8]) -> Result<&'body [u8], PairError> {
    if body.len() != HANDSHAKE_CLASS.body_len() {
        return Err(PairError::Class(body.len()));
    }
    OuterSeal::pairing(keys).open(body).map_err(|error| match error {
        OpenError::BodyLength(length) => PairError::Class(length),
        OpenError::Unauthentic => PairError::WrongCode,
        OpenError::Padding => PairError::Padding,
    })
}
