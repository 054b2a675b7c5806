//! The key schedule and the signed boxes of the handshake.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes256Gcm, aead};
use chacha20poly1305::ChaCha20Poly1305;
use hushwire_wire::id::DeviceId;
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Role;
use super::error::HandshakeError;
use super::message::BOX_LEN;
use crate::identity::{Identity, SIGNATURE_LEN, verify};
use crate::suite::Suite;
use crate::suite::kdf::{Key, expand, expand_into, extract, hmac, sha256};
use crate::suite::keys::PairKey;

const REVEAL_LEN: usize = 32;
const PLAINTEXT_LEN: usize = REVEAL_LEN + SIGNATURE_LEN + 32;

/// `h1 = H("hushwire/1 handshake" ‖ HS1)`.
pub(super) fn h1(hs1: &[u8]) -> [u8; 32] {
    sha256(&[b"hushwire/1 handshake", hs1])
}

/// What HS1 carries for r_B: `H("hw1 sas" ‖ r_B)`.
pub(super) fn commitment(reveal: &[u8; REVEAL_LEN]) -> [u8; 32] {
    sha256(&[b"hw1 sas", reveal])
}

/// The X25519 result, refusing the all-zero one of low-order points (RFC 7748 §6.1).
pub(super) fn agree(ours: &StaticSecret, theirs: &[u8; 32]) -> Result<Key, HandshakeError> {
    let shared = ours.diffie_hellman(&PublicKey::from(*theirs));
    if shared.was_contributory() {
        Ok(Key::new(shared.to_bytes()))
    } else {
        Err(HandshakeError::InvalidKey)
    }
}

/// `ES = Extract(psk, mlkem_ss ‖ x25519_ss)`; `kem` is empty in suite 3.
pub(super) fn early_secret(psk: &[u8; 32], kem: &[u8], x25519: &Key) -> Key {
    extract(psk, &[kem, x25519.as_slice()])
}

/// The labels of one side's box.
struct Labels {
    context: &'static str,
    key: &'static str,
    fin: &'static str,
}

impl Labels {
    const fn of(side: Role) -> Self {
        match side {
            Role::Initiator => {
                Self { context: "hushwire/1 initiator", key: "hw1 i hs", fin: "hw1 i fin" }
            }
            Role::Responder => {
                Self { context: "hushwire/1 responder", key: "hw1 r hs", fin: "hw1 r fin" }
            }
        }
    }
}

/// What a box is made under: whose it is, the suite, ES and the hash it covers.
pub(super) struct BoxKey<'a> {
    pub(super) side: Role,
    pub(super) suite: Suite,
    pub(super) early_secret: &'a Key,
    pub(super) hash: &'a [u8; 32],
}

impl BoxKey<'_> {
    /// `AEAD(key, nonce 0, AAD hash, reveal ‖ sig ‖ fin)`.
    pub(super) fn seal(&self, identity: &Identity, reveal: &[u8; REVEAL_LEN]) -> [u8; BOX_LEN] {
        let labels = Labels::of(self.side);
        let signature = identity.sign(labels.context, &[self.hash, reveal]);
        let fin = self.fin(&labels, reveal, &signature);
        let mut sealed = [0; BOX_LEN];
        let (plaintext, tag) = sealed.split_at_mut(PLAINTEXT_LEN);
        plaintext[..REVEAL_LEN].copy_from_slice(reveal);
        plaintext[REVEAL_LEN..][..SIGNATURE_LEN].copy_from_slice(&signature);
        plaintext[REVEAL_LEN + SIGNATURE_LEN..].copy_from_slice(fin.as_slice());
        let key = expand(self.early_secret, labels.key, self.hash);
        tag.copy_from_slice(&match self.suite {
            Suite::HybridChaCha => encrypt::<ChaCha20Poly1305>(&key, self.hash, plaintext),
            Suite::HybridAes | Suite::ClassicalAes => {
                encrypt::<Aes256Gcm>(&key, self.hash, plaintext)
            }
        });
        sealed
    }

    /// Opens the box of `peer` and returns what it reveals, all three layers checked.
    pub(super) fn open(
        &self,
        peer: &DeviceId,
        mut sealed: [u8; BOX_LEN],
    ) -> Result<[u8; REVEAL_LEN], HandshakeError> {
        let labels = Labels::of(self.side);
        let key = expand(self.early_secret, labels.key, self.hash);
        let (plaintext, tag) = sealed.split_last_chunk_mut::<16>().expect("a box ends in a tag");
        match self.suite {
            Suite::HybridChaCha => decrypt::<ChaCha20Poly1305>(&key, self.hash, plaintext, tag),
            Suite::HybridAes | Suite::ClassicalAes => {
                decrypt::<Aes256Gcm>(&key, self.hash, plaintext, tag)
            }
        }
        .map_err(|_| HandshakeError::Unauthentic)?;
        let (reveal, rest) = plaintext.split_first_chunk().expect("a box holds a reveal");
        let (signature, fin) = rest.split_first_chunk().expect("a box holds a signature");
        verify(peer, labels.context, &[self.hash, reveal], signature)
            .map_err(|_| HandshakeError::ForeignSignature { expected: *peer })?;
        if bool::from(self.fin(&labels, reveal, signature).as_slice().ct_eq(fin)) {
            Ok(*reveal)
        } else {
            Err(HandshakeError::Finished)
        }
    }

    fn fin(&self, labels: &Labels, reveal: &[u8; 32], signature: &[u8; SIGNATURE_LEN]) -> Key {
        let key = expand(self.early_secret, labels.fin, self.hash);
        hmac(key.as_slice(), &[self.hash, reveal, signature])
    }
}

fn encrypt<A: AeadInOut + KeyInit>(key: &Key, aad: &[u8; 32], plaintext: &mut [u8]) -> Tag<A> {
    A::new_from_slice(key.as_slice())
        .expect("both AEADs take 32 bytes")
        .encrypt_inout_detached(&Nonce::<A>::default(), aad, plaintext.into())
        .expect("a box is short")
}

fn decrypt<A: AeadInOut + KeyInit>(
    key: &Key,
    aad: &[u8; 32],
    ciphertext: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), aead::Error> {
    let tag = Tag::<A>::try_from(tag.as_slice()).map_err(|_| aead::Error)?;
    A::new_from_slice(key.as_slice()).expect("both AEADs take 32 bytes").decrypt_inout_detached(
        &Nonce::<A>::default(),
        aad,
        ciphertext.into(),
        &tag,
    )
}

/// What everything after the handshake derives from.
pub(super) struct Secrets {
    pub(super) early_secret: Key,
    pub(super) h2: [u8; 32],
    pub(super) h4: [u8; 32],
    /// From the responder.
    pub(super) r_a: Zeroizing<[u8; REVEAL_LEN]>,
    /// From the initiator.
    pub(super) r_b: Zeroizing<[u8; REVEAL_LEN]>,
}

impl Secrets {
    pub(super) fn session_keys(&self, role: Role, suite: Suite) -> SessionKeys {
        let key = |label| expand(&self.early_secret, label, &self.h4);
        SessionKeys {
            role,
            suite,
            initiator: DirectionKeys { key: key("hw1 i key"), header: key("hw1 i hp") },
            responder: DirectionKeys { key: key("hw1 r key"), header: key("hw1 r hp") },
            exporter: key("hw1 exporter"),
        }
    }

    pub(super) fn pair_key(&self) -> PairKey {
        PairKey::new(*expand(&self.early_secret, "hw1 pair key", &self.h4))
    }

    /// `Expand(Extract(h2, r_B ‖ r_A), "hw1 sas", 4) mod 10^6`, the four bytes little-endian like every integer.
    pub(super) fn sas(&self) -> u32 {
        let key = extract(&self.h2, &[self.r_b.as_slice(), self.r_a.as_slice()]);
        let mut bytes = [0; 4];
        expand_into(&key, "hw1 sas", b"", &mut bytes);
        u32::from_le_bytes(bytes) % 1_000_000
    }
}

/// The keys of one direction of a session.
pub(crate) struct DirectionKeys {
    pub(crate) key: Key,
    pub(crate) header: Key,
}

/// The keys of a session, both directions. Zeroised on drop, never shown by `Debug`.
pub struct SessionKeys {
    pub(crate) role: Role,
    pub(crate) suite: Suite,
    pub(crate) initiator: DirectionKeys,
    pub(crate) responder: DirectionKeys,
    pub(crate) exporter: Key,
}

impl SessionKeys {
    /// 32 bytes that both ends share and nobody else, for whatever else needs a secret of this session.
    #[must_use]
    pub fn exporter(&self) -> &[u8; 32] {
        &self.exporter
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({:?}, {:?}, ..)", self.role, self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(early_secret: &Key, suite: Suite) -> BoxKey<'_> {
        BoxKey { side: Role::Initiator, suite, early_secret, hash: &[7; 32] }
    }

    /// Signature and MAC are checked one by one: neither covers for the other.
    #[test]
    fn a_box_with_a_right_signature_and_a_wrong_mac_is_refused() {
        let identity = Identity::from_secret(&[1; 32]);
        let device = identity.device_id();
        let early_secret = Key::new([2; 32]);
        for suite in Suite::ALL {
            let ours = key(&early_secret, suite);
            let sealed = ours.seal(&identity, &[9; 32]);
            assert_eq!(ours.open(&device, sealed), Ok([9; 32]));

            for (at, expect) in [
                (PLAINTEXT_LEN - 1, HandshakeError::Finished),
                (REVEAL_LEN, HandshakeError::ForeignSignature { expected: device }),
                (0, HandshakeError::ForeignSignature { expected: device }),
            ] {
                let mut cheated = sealed;
                let labels = Labels::of(ours.side);
                let box_key = expand(&early_secret, labels.key, ours.hash);
                let (plaintext, tag) = cheated.split_last_chunk_mut::<16>().expect("a tag");
                let old = *tag;
                let cheat = |plaintext: &mut [u8], tag: &mut [u8; 16]| match suite {
                    Suite::HybridChaCha => {
                        decrypt::<ChaCha20Poly1305>(&box_key, ours.hash, plaintext, &old)
                            .expect("ours");
                        plaintext[at] ^= 1;
                        let new = encrypt::<ChaCha20Poly1305>(&box_key, ours.hash, plaintext);
                        tag.copy_from_slice(&new);
                    }
                    Suite::HybridAes | Suite::ClassicalAes => {
                        decrypt::<Aes256Gcm>(&box_key, ours.hash, plaintext, &old).expect("ours");
                        plaintext[at] ^= 1;
                        tag.copy_from_slice(&encrypt::<Aes256Gcm>(&box_key, ours.hash, plaintext));
                    }
                };
                cheat(plaintext, tag);
                assert_eq!(ours.open(&device, cheated), Err(expect), "byte {at}");
            }
        }
    }

    #[test]
    fn a_side_does_not_open_its_own_box_as_the_others() {
        let identity = Identity::from_secret(&[1; 32]);
        let early_secret = Key::new([2; 32]);
        let ours = key(&early_secret, Suite::HybridAes);
        let sealed = ours.seal(&identity, &[9; 32]);
        let theirs = BoxKey { side: Role::Responder, ..ours };
        let opened = theirs.open(&identity.device_id(), sealed);
        assert_eq!(opened, Err(HandshakeError::Unauthentic));
    }
}
