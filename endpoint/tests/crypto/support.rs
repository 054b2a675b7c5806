//! Randomness that repeats itself, and a pair of devices to use it.

use hushwire::identity::Identity;
use hushwire::suite::frames::{ConnectionSalt, Session};
use hushwire::suite::handshake::{AwaitHs2, AwaitHs3, Established, Initiator, Responder, Setup};
use hushwire::suite::keys::{CodeKeys, PairKey, Psk};
use hushwire::suite::random::Random;
use hushwire::suite::{Minimum, Suite};
use hushwire_wire::cell::Class;
use hushwire_wire::code::Secret;
use sha2::{Digest, Sha256};

/// Unix time of every test, ns.
pub(crate) const NOW_NS: u64 = 1_800_000_000_000_000_000;

/// `SHA-256(seed ‖ 0) ‖ SHA-256(seed ‖ 1) ‖ …`, counters of 8 bytes; remembers what was drawn.
pub(crate) struct Replay {
    seed: &'static str,
    counter: u64,
    rest: Vec<u8>,
    pub(crate) drawn: Vec<u8>,
}

impl Replay {
    pub(crate) fn new(seed: &'static str) -> Self {
        Self { seed, counter: 0, rest: Vec::new(), drawn: Vec::new() }
    }
}

impl Random for Replay {
    fn fill(&mut self, bytes: &mut [u8]) {
        while self.rest.len() < bytes.len() {
            let mut hash = Sha256::new();
            hash.update(self.seed);
            hash.update(self.counter.to_le_bytes());
            self.rest.extend_from_slice(&hash.finalize());
            self.counter += 1;
        }
        let kept = self.rest.split_off(bytes.len());
        bytes.copy_from_slice(&self.rest);
        self.rest = kept;
        self.drawn.extend_from_slice(bytes);
    }
}

pub(crate) fn alice() -> Identity {
    Identity::from_secret(&[0xa1; 32])
}

pub(crate) fn bob() -> Identity {
    Identity::from_secret(&[0xb0; 32])
}

pub(crate) fn mallory() -> Identity {
    Identity::from_secret(&[0xee; 32])
}

pub(crate) fn pair_key() -> Psk {
    Psk::Session(PairKey::new([0x5e; 32]))
}

pub(crate) fn code() -> Psk {
    Psk::Pairing(CodeKeys::derive(&Secret::new([0xc0; 16])))
}

pub(crate) fn setup(peer: &Identity, psk: Psk) -> Setup {
    Setup { peer: peer.device_id(), psk, minimum: Minimum::Any, class_max: Class::C7 }
}

/// Alice's HS1 to Bob.
pub(crate) fn hs1(suite: Suite, psk: Psk) -> (AwaitHs2, Vec<u8>) {
    let random = &mut Replay::new("initiator");
    Initiator::start(setup(&bob(), psk), suite, &alice(), NOW_NS, 0, random).expect("HS1")
}

/// Bob's answer.
pub(crate) fn hs2(psk: Psk, hs1: &[u8]) -> (AwaitHs3, Vec<u8>) {
    let random = &mut Replay::new("responder");
    Responder::on_hs1(&setup(&alice(), psk), &bob(), hs1, 0, random).expect("HS2")
}

/// A handshake from end to end: what Alice and what Bob have of it.
pub(crate) fn established(suite: Suite, psk: &Psk) -> (Established, Established) {
    let (initiator, hs1) = hs1(suite, psk.clone());
    let (responder, hs2) = hs2(psk.clone(), &hs1);
    let (alices, hs3) = initiator.on_hs2(&alice(), &hs2).expect("HS3");
    (alices, responder.on_hs3(&hs3).expect("the end"))
}

pub(crate) fn session(established: &Established) -> Session {
    let salt = ConnectionSalt::draw(&mut Replay::new("salt"));
    Session::new(&established.session_keys(), salt, NOW_NS, &mut Replay::new("age"))
}

/// Alice's and Bob's ends of a session.
pub(crate) fn sessions(suite: Suite) -> (Session, Session) {
    let (alices, bobs) = established(suite, &pair_key());
    (session(&alices), session(&bobs))
}

/// A cell's body of class 0.
pub(crate) fn body() -> Vec<u8> {
    vec![0; Class::C0.body_len()]
}
