//! The initiating side: HS1 out, HS2 in, HS3 out. In a pairing it is the joining device.

use std::fmt;

use hushwire_wire::id::DeviceId;
use ml_kem::{B32, DecapsulationKey, MlKem768, Seed};
use ml_kem::{Decapsulate, KeyExport};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::error::{HandshakeError, Refused};
use super::message::{Hs1, Hs2, Hs3, KEM_KEY_LEN};
use super::schedule::{BoxKey, Secrets, agree, commitment, early_secret, h1};
use super::versions::objection;
use super::{Established, Incompatible, Role, Setup};
use crate::identity::Identity;
use crate::suite::Suite;
use crate::suite::kdf::sha256;
use crate::suite::random::{Random, draw};

/// Begins handshakes.
#[derive(Debug)]
pub struct Initiator;

/// HS1 has been sent; HS2 is due. Secrets zeroised on drop.
pub struct AwaitHs2 {
    setup: Setup,
    suite: Suite,
    ours: DeviceId,
    time_ns: u64,
    x25519: StaticSecret,
    /// ML-KEM's d ‖ z; the decapsulation key is made from it again when it is needed, being 40 times larger.
    kem_seed: Zeroizing<[u8; 64]>,
    r_b: Zeroizing<[u8; 32]>,
    h1: [u8; 32],
}

impl Initiator {
    /// Begins a handshake and returns HS1's content.
    ///
    /// `now_ns` is the unix time; `last_ns` is the time of this device's last HS1 to this peer (0 for none). The
    /// message carries `max(now, last + 1)`, which [`AwaitHs2::time_ns`] returns to be remembered.
    ///
    /// Randomness is drawn in this order: X25519 secret (32), ML-KEM seed (64, hybrid suites), r_B (32, pairing).
    ///
    /// # Errors
    /// [`HandshakeError::Downgrade`] where the suite is below `setup.minimum`: our own fault.
    pub fn start(
        setup: Setup,
        suite: Suite,
        identity: &Identity,
        now_ns: u64,
        last_ns: u64,
        random: &mut dyn Random,
    ) -> Result<(AwaitHs2, Vec<u8>), HandshakeError> {
        if !setup.minimum.admits(suite) {
            return Err(HandshakeError::Downgrade { suite, minimum: setup.minimum });
        }
        let ours = identity.device_id();
        let time_ns = now_ns.max(last_ns.saturating_add(1));
        let x25519 = secret(random);
        let mut kem_seed = Zeroizing::new([0; 64]);
        let mut kem_key = [0; KEM_KEY_LEN];
        if suite.is_hybrid() {
            random.fill(kem_seed.as_mut());
            kem_key.copy_from_slice(&decapsulation_key(&kem_seed).encapsulation_key().to_bytes());
        }
        let mut r_b = Zeroizing::new([0; 32]);
        let mut committed = [0; 32];
        if setup.psk.is_pairing() {
            random.fill(r_b.as_mut());
            committed = commitment(&r_b);
        }
        let hs1 = Hs1 {
            suite,
            class_max: setup.class_max,
            time_ns,
            initiator: ours,
            responder: setup.peer,
            commitment: committed,
            x25519: PublicKey::from(&x25519).to_bytes(),
            kem_key: suite.is_hybrid().then_some(&kem_key),
        }
        .encode();
        let h1 = h1(&hs1);
        Ok((AwaitHs2 { setup, suite, ours, time_ns, x25519, kem_seed, r_b, h1 }, hs1))
    }
}

impl AwaitHs2 {
    /// The monotone time in our HS1, unix nanoseconds: the next one must be later.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Who is to answer.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.setup.peer
    }

    /// What a VERSIONS content objects to in our HS1. `None` where it answers another one or objects to nothing.
    #[must_use]
    pub fn on_versions(&self, content: &[u8]) -> Option<Incompatible> {
        objection(content, &self.h1, self.suite)
    }

    /// Takes HS2's content; returns the outcome and HS3's content, to be sent again until the peer's first frame
    /// arrives.
    ///
    /// # Errors
    /// See [`HandshakeError`]; the state comes back with it.
    pub fn on_hs2(
        self,
        identity: &Identity,
        content: &[u8],
    ) -> Result<(Established, Vec<u8>), Refused<Self>> {
        match self.finish(identity, content) {
            Ok(done) => Ok(done),
            Err(error) => Err(Refused::new(self, error)),
        }
    }

    fn finish(
        &self,
        identity: &Identity,
        content: &[u8],
    ) -> Result<(Established, Vec<u8>), HandshakeError> {
        assert_eq!(
            identity.device_id(),
            self.ours,
            "a handshake ends with the identity it began with"
        );
        let hs2 = Hs2::decode(content)?;
        if hs2.h1 != self.h1 {
            return Err(HandshakeError::Stale);
        }
        if hs2.suite != self.suite {
            return Err(HandshakeError::SuiteChanged { expected: self.suite, found: hs2.suite });
        }
        let x25519 = agree(&self.x25519, &hs2.x25519)?;
        let mut kem = Zeroizing::new(Vec::new());
        if let Some(ciphertext) = hs2.kem_ciphertext {
            let mut shared = decapsulation_key(&self.kem_seed).decapsulate(&(*ciphertext).into());
            kem.extend_from_slice(&shared);
            shared.as_mut_slice().zeroize();
        }
        let early_secret = early_secret(self.setup.psk.as_bytes(), &kem, &x25519);
        let h2 = sha256(&[&self.h1, hs2.head]);
        let theirs = BoxKey {
            side: Role::Responder,
            suite: self.suite,
            early_secret: &early_secret,
            hash: &h2,
        };
        let r_a = Zeroizing::new(theirs.open(&self.setup.peer, hs2.sealed)?);
        if !self.setup.psk.is_pairing() && *r_a != [0; 32] {
            return Err(HandshakeError::Mode);
        }
        let h3 = sha256(&[&h2, &hs2.sealed]);
        let ours = BoxKey { side: Role::Initiator, hash: &h3, ..theirs };
        let sealed = ours.seal(identity, &self.r_b);
        let h4 = sha256(&[&h3, &sealed]);
        let hs3 = Hs3 { suite: self.suite, h1: self.h1, sealed }.encode();
        let established = Established {
            role: Role::Initiator,
            suite: self.suite,
            peer: self.setup.peer,
            peer_class_max: hs2.class_max,
            time_ns: self.time_ns,
            secrets: Secrets { early_secret, h2, h4, r_a, r_b: self.r_b.clone() },
        };
        Ok((established, hs3))
    }
}

impl fmt::Debug for AwaitHs2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitHs2({:?}, {:?}, ..)", self.setup.peer, self.suite)
    }
}

pub(super) fn secret(random: &mut dyn Random) -> StaticSecret {
    StaticSecret::from(*Zeroizing::new(draw::<32>(random)))
}

fn decapsulation_key(seed: &[u8; 64]) -> DecapsulationKey<MlKem768> {
    DecapsulationKey::from_seed(Seed::from(*seed))
}

/// 32 uniform bytes: FIPS 203's m, which `encapsulate_deterministic` takes as an argument.
pub(super) fn kem_message(random: &mut dyn Random) -> B32 {
    B32::from(draw::<32>(random))
}

/// What only a cheating holder of the pre-shared key can do.
#[cfg(test)]
mod tests {
    use hushwire_wire::cell::Class;
    use hushwire_wire::code::Secret;

    use super::*;
    use crate::suite::Minimum;
    use crate::suite::handshake::{AwaitHs3, Responder};
    use crate::suite::keys::{CodeKeys, PairKey, Psk};
    use crate::suite::random::OsRandom;

    fn alice() -> Identity {
        Identity::from_secret(&[1; 32])
    }

    fn bob() -> Identity {
        Identity::from_secret(&[2; 32])
    }

    fn mallory() -> Identity {
        Identity::from_secret(&[3; 32])
    }

    fn code() -> Psk {
        Psk::Pairing(CodeKeys::derive(&Secret::new([4; 16])))
    }

    fn pair_key() -> Psk {
        Psk::Session(PairKey::new([5; 32]))
    }

    fn setup(peer: &Identity, psk: Psk) -> Setup {
        Setup { peer: peer.device_id(), psk, minimum: Minimum::Any, class_max: Class::C7 }
    }

    /// A handshake in Alice's name up to HS2.
    fn begun(psk: Psk) -> (AwaitHs2, AwaitHs3, Vec<u8>) {
        let (random, suite) = (&mut OsRandom, Suite::ClassicalAes);
        let to_bob = setup(&bob(), psk.clone());
        let (state, hs1) = Initiator::start(to_bob, suite, &alice(), 7, 0, random).expect("HS1");
        let from_alice = setup(&alice(), psk);
        let (answer, hs2) = Responder::on_hs1(&from_alice, &bob(), &hs1, 0, random).expect("HS2");
        (state, answer, hs2)
    }

    #[test]
    fn an_initiator_that_is_not_whom_it_names_is_found_out() {
        let (mut state, answer, hs2) = begun(pair_key());
        state.ours = mallory().device_id();
        let (_, hs3) = state.on_hs2(&mallory(), &hs2).expect("HS3");
        let expected = alice().device_id();
        let refused = answer.on_hs3(&hs3).unwrap_err();
        assert_eq!(refused.error, HandshakeError::ForeignSignature { expected });
    }

    #[test]
    fn a_responder_that_is_not_whom_it_names_is_found_out() {
        let (random, suite) = (&mut OsRandom, Suite::ClassicalAes);
        let to_mallory = setup(&mallory(), pair_key());
        let (mut state, hs1) =
            Initiator::start(to_mallory, suite, &alice(), 7, 0, random).expect("HS1");
        // As if HS1 had named Bob: what the hashes cover is the same for both sides.
        state.setup.peer = bob().device_id();
        let from_alice = setup(&alice(), pair_key());
        let (_, hs2) = Responder::on_hs1(&from_alice, &mallory(), &hs1, 0, random).expect("HS2");
        let expected = bob().device_id();
        let refused = state.on_hs2(&alice(), &hs2).unwrap_err();
        assert_eq!(refused.error, HandshakeError::ForeignSignature { expected });
    }

    #[test]
    fn an_initiator_cannot_change_its_mind_about_r_b() {
        let (mut state, answer, hs2) = begun(code());
        state.r_b[0] ^= 1;
        let (_, hs3) = state.on_hs2(&alice(), &hs2).expect("HS3");
        assert_eq!(answer.on_hs3(&hs3).unwrap_err().error, HandshakeError::Commitment);
    }

    /// Behind HS2 he knows both random values, and finds values of his own under which the digits end as he likes:
    /// about one in ten ends in a 7. None of them is taken, and one that he committed to is all he has.
    #[test]
    fn whoever_knows_both_values_cannot_choose_the_digits() {
        const TRIES: u16 = 1_000;
        let (mut state, mut answer, hs2) = begun(code());
        let (honest, first) = state.finish(&alice(), &hs2).expect("HS3");
        let committed = u16::from_le_bytes([state.r_b[0], state.r_b[1]]);
        let mut suits = 0;
        for other in 1..=TRIES {
            state.r_b[..2].copy_from_slice(&(committed ^ other).to_le_bytes());
            let (established, hs3) = state.finish(&alice(), &hs2).expect("HS3");
            suits += u32::from(established.sas() % 10 == 7);
            let refused = answer.on_hs3(&hs3).unwrap_err();
            assert_eq!(refused.error, HandshakeError::Commitment);
            answer = *refused.state;
        }
        assert!((50..200).contains(&suits), "without the commitment he had a choice: {suits}");
        let bobs = answer.on_hs3(&first).expect("what he committed to");
        assert_eq!(bobs.sas(), honest.sas());
    }

    #[test]
    fn sessions_reveal_nothing() {
        let (mut state, answer, hs2) = begun(pair_key());
        state.r_b[0] = 1;
        let (_, hs3) = state.on_hs2(&alice(), &hs2).expect("HS3");
        assert_eq!(answer.on_hs3(&hs3).unwrap_err().error, HandshakeError::Mode);

        // The same bytes as a code's secret: only what is revealed tells the two modes apart.
        let Psk::Pairing(keys) = code() else { panic!("a code") };
        let (mut state, _, hs2) = begun(code());
        state.setup.psk = Psk::Session(PairKey::new(*keys.psk()));
        let refused = state.on_hs2(&alice(), &hs2).unwrap_err();
        assert_eq!(refused.error, HandshakeError::Mode);
    }
}
