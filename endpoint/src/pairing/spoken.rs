//! Pairing by a code that one person tells another: `7-crossover-clockwork` (`PROTOCOL.md` annex A.2).
//!
//! The code is too short to be a key: whoever could try all of them on recorded bytes would have it in a second. So the
//! two devices run SPAKE2 (RFC 9382's construction, in the group and encoding of the crate `spake2`) and then prove to
//! each other that they got the same key. Nobody learns more from a run than whether *one* guess was right, and a
//! device takes part in one run for a code: it is [`Burnt`] in the keystore before the first byte that
//! depends on it leaves the device.
//!
//! ```text
//! offering device                                     joining device
//! SpokenOffer::new ── code, said ───────────────────▶ SpokenCode::from_text
//! PAIR_OPEN(nameplate)      relay                     PAIR_JOIN(nameplate)
//! SpokenOffer::answer ◀──── S1 ────────────────────── SpokenJoin::start
//! AwaitS3 ───────────────── S2 ─────────────────────▶ AwaitS2::answer
//! AwaitS3::on_s3 ◀───────── S3 ────────────────────── AwaitS4
//! Offer<Spoken> ─────────── S4 ─────────────────────▶ AwaitS4::on_s4
//! Offer::on_hs1 ◀────────── HS1 ───────────────────── Agreed::start
//! ```
//!
//! From there it is the handshake of every pairing. The digits are not compared: a man in the middle would have had to
//! guess the code, once at each end.

mod code;
mod join;
mod message;
mod offer;

use std::fmt;

pub use code::{CodeMark, SpokenCode, SpokenError};
pub use join::{Agreed, AwaitS2, AwaitS4, SpokenJoin};
pub use message::{S1, S2};
pub use offer::{AwaitS3, SpokenOffer};

use super::PairError;
use crate::suite::handshake::Refused;
use crate::suite::kdf::{Key, expand, hmac, sha256};
use crate::suite::keys::{CodeKeys, Tag};
use crate::suite::random::{Random, draw};
use message::{HEAD_LEN, Head};

/// The keystore has written down that this code is being tried. Only the keystore makes one
/// ([`Keystore::burn`](crate::keystore::Keystore::burn)), and the messages that depend on the code cannot be had
/// without it.
#[derive(Debug)]
pub struct Burnt(CodeMark);

impl Burnt {
    pub(crate) const fn new(mark: CodeMark) -> Self {
        Self(mark)
    }

    /// A token for another code is a bug of ours.
    fn assert_for(&self, code: &SpokenCode) {
        assert!(self.0 == code.mark(), "the code that was burnt is the code that is used");
    }
}

/// Why a confirmation did not lead on.
#[derive(Debug)]
pub enum NotConfirmed<State> {
    /// Not a confirmation at all; the state still waits for one.
    Dropped(Refused<State, PairError>),
    /// The other end does not know the code. The code is gone: count it with
    /// [`Keystore::count_failed_confirmation`](crate::keystore::Keystore::count_failed_confirmation).
    Destroyed,
}

/// What both ends have after S2, if they know the same code: `K`, and `t` over both messages.
struct Shared {
    key: Key,
    transcript: [u8; 32],
    tag: Tag,
}

impl Shared {
    fn new(key: Vec<u8>, s1: &Head, s2: &Head, tag: Tag) -> Self {
        let key = zeroize::Zeroizing::new(key);
        let key = Key::new(key.as_slice().try_into().expect("SPAKE2 ends in 32 bytes"));
        Self { key, transcript: sha256(&[s1, s2]), tag }
    }

    /// `HMAC(Kc, side ‖ t)`.
    fn confirmation(&self, side: &[u8]) -> Key {
        let key = expand(&self.key, "hw1 confirm", &self.transcript);
        hmac(key.as_slice(), &[side, &self.transcript])
    }

    fn keys(&self) -> CodeKeys {
        CodeKeys::agreed(&expand(&self.key, "hw1 code psk", &self.transcript), self.tag)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:?}, ..)", self.tag)
    }
}

const JOIN: &[u8] = b"join";
const OFFER: &[u8] = b"offer";

/// `context ‖ tag`: who is who in SPAKE2.
fn spake_identity(context: &[u8], tag: Tag) -> spake2::Identity {
    spake2::Identity::new(&[context, tag.as_bytes()].concat())
}

fn joiner(tag: Tag) -> spake2::Identity {
    spake_identity(b"hushwire/1 join", tag)
}

fn offerer(tag: Tag) -> spake2::Identity {
    spake_identity(b"hushwire/1 offer", tag)
}

/// An S4 that confirms nothing: what an offering device says in place of one, so that the other end need not wait.
#[must_use]
pub fn farewell(random: &mut dyn Random) -> Vec<u8> {
    message::body(&message::make(message::Kind::S4, &draw(random)), random)
}

const _: () = assert!(HEAD_LEN == 35);
