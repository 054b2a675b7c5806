//! The answering side: HS1 in, HS2 out, HS3 in. In a pairing it is the offering device.

use std::fmt;

use hushwire_wire::cell::Class;
use hushwire_wire::id::DeviceId;
use ml_kem::{EncapsulationKey, MlKem768};
use x25519_dalek::PublicKey;
use zeroize::{Zeroize, Zeroizing};

use super::error::{HandshakeError, Refused};
use super::initiator::{kem_message, secret};
use super::message::{Hs1, Hs2, Hs3, KEM_KEY_LEN};
use super::schedule::{BoxKey, Secrets, agree, commitment, early_secret, h1};
use super::{Established, Role, Setup};
use crate::identity::Identity;
use crate::suite::Suite;
use crate::suite::kdf::{Key, sha256};
use crate::suite::random::Random;

/// Answers handshakes.
#[derive(Debug)]
pub struct Responder;

/// HS2 has been sent; HS3 is due. Secrets zeroised on drop.
pub struct AwaitHs3 {
    suite: Suite,
    pairing: bool,
    peer: DeviceId,
    peer_class_max: Class,
    time_ns: u64,
    committed: [u8; 32],
    early_secret: Key,
    h1: [u8; 32],
    h2: [u8; 32],
    h3: [u8; 32],
    r_a: Zeroizing<[u8; 32]>,
}

impl Responder {
    /// Takes HS1's content and returns HS2's.
    ///
    /// `last_seen_ns` is the highest time of an HS1 from this peer (0 for none). Remember
    /// [`AwaitHs3::time_ns`] in memory at once and on disk when the handshake ends.
    ///
    /// Randomness is drawn in this order: X25519 secret (32), ML-KEM message (32, hybrid suites), r_A (32, pairing).
    ///
    /// # Errors
    /// See [`HandshakeError`]. Nothing was changed; nothing is owed to the sender.
    pub fn on_hs1(
        setup: &Setup,
        identity: &Identity,
        content: &[u8],
        last_seen_ns: u64,
        random: &mut dyn Random,
    ) -> Result<(AwaitHs3, Vec<u8>), HandshakeError> {
        let hs1 = Hs1::decode(content)?;
        admit(setup, identity, &hs1, last_seen_ns)?;
        let h1 = h1(content);
        let ours = secret(random);
        let x25519 = agree(&ours, &hs1.x25519)?;
        let (ciphertext, kem) = match hs1.kem_key {
            Some(key) => encapsulate(key, random)?,
            None => (Vec::new(), Zeroizing::default()),
        };
        let mut r_a = Zeroizing::new([0; 32]);
        if setup.psk.is_pairing() {
            random.fill(r_a.as_mut());
        }
        let early_secret = early_secret(setup.psk.as_bytes(), &kem, &x25519);
        let public = PublicKey::from(&ours).to_bytes();
        let mut hs2 = Hs2::encode_head(hs1.suite, setup.class_max, &h1, &public, &ciphertext);
        let h2 = sha256(&[&h1, &hs2]);
        let sealed = BoxKey {
            side: Role::Responder,
            suite: hs1.suite,
            early_secret: &early_secret,
            hash: &h2,
        }
        .seal(identity, &r_a);
        hs2.extend_from_slice(&sealed);
        let state = AwaitHs3 {
            suite: hs1.suite,
            pairing: setup.psk.is_pairing(),
            peer: setup.peer,
            peer_class_max: hs1.class_max,
            time_ns: hs1.time_ns,
            committed: hs1.commitment,
            early_secret,
            h1,
            h2,
            h3: sha256(&[&h2, &sealed]),
            r_a,
        };
        Ok((state, hs2))
    }
}

/// Everything that can be refused before any expensive computation.
fn admit(
    setup: &Setup,
    identity: &Identity,
    hs1: &Hs1<'_>,
    last_seen_ns: u64,
) -> Result<(), HandshakeError> {
    if hs1.initiator != setup.peer {
        return Err(HandshakeError::WrongPeer { expected: setup.peer, found: hs1.initiator });
    }
    if hs1.responder != identity.device_id() {
        return Err(HandshakeError::NotForUs { found: hs1.responder });
    }
    if !setup.minimum.admits(hs1.suite) {
        return Err(HandshakeError::Downgrade { suite: hs1.suite, minimum: setup.minimum });
    }
    if (hs1.commitment != [0; 32]) != setup.psk.is_pairing() {
        return Err(HandshakeError::Mode);
    }
    if hs1.time_ns <= last_seen_ns {
        return Err(HandshakeError::Replayed { time_ns: hs1.time_ns, last_seen_ns });
    }
    Ok(())
}

/// A fresh shared secret for the holder of `key`, after the modulus check of FIPS 203 §7.2.
fn encapsulate(
    key: &[u8; KEM_KEY_LEN],
    random: &mut dyn Random,
) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), HandshakeError> {
    let key = EncapsulationKey::<MlKem768>::new(&(*key).into())
        .map_err(|_| HandshakeError::InvalidKey)?;
    let mut message = kem_message(random);
    let (ciphertext, mut shared) = key.encapsulate_deterministic(&message);
    let kem = Zeroizing::new(shared.to_vec());
    message.as_mut_slice().zeroize();
    shared.as_mut_slice().zeroize();
    Ok((ciphertext.to_vec(), kem))
}

impl AwaitHs3 {
    /// The initiator's monotone time, unix nanoseconds.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Who is to answer.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// Takes HS3's content; returns the outcome.
    ///
    /// # Errors
    /// See [`HandshakeError`]; the state comes back with it.
    pub fn on_hs3(self, content: &[u8]) -> Result<Established, Refused<Self>> {
        match self.finish(content) {
            Ok(done) => Ok(done),
            Err(error) => Err(Refused::new(self, error)),
        }
    }

    fn finish(&self, content: &[u8]) -> Result<Established, HandshakeError> {
        let hs3 = Hs3::decode(content)?;
        if hs3.h1 != self.h1 {
            return Err(HandshakeError::Stale);
        }
        if hs3.suite != self.suite {
            return Err(HandshakeError::SuiteChanged { expected: self.suite, found: hs3.suite });
        }
        let theirs = BoxKey {
            side: Role::Initiator,
            suite: self.suite,
            early_secret: &self.early_secret,
            hash: &self.h3,
        };
        let r_b = Zeroizing::new(theirs.open(&self.peer, hs3.sealed)?);
        if self.pairing && commitment(&r_b) != self.committed {
            return Err(HandshakeError::Commitment);
        }
        if !self.pairing && *r_b != [0; 32] {
            return Err(HandshakeError::Mode);
        }
        Ok(Established {
            role: Role::Responder,
            suite: self.suite,
            peer: self.peer,
            peer_class_max: self.peer_class_max,
            time_ns: self.time_ns,
            secrets: Secrets {
                early_secret: self.early_secret.clone(),
                h2: self.h2,
                h4: sha256(&[&self.h3, &hs3.sealed]),
                r_a: self.r_a.clone(),
                r_b,
            },
        })
    }
}

impl fmt::Debug for AwaitHs3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitHs3({:?}, {:?}, ..)", self.peer, self.suite)
    }
}
