//! AEAD and nonce mask of one direction of a session (annex A.4).
//!
//! The AEAD is aws-lc's, which rustls links anyway and which is several times as fast as the crates that seal
//! handshakes; a test holds the two against each other.

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipherCore};
use aws_lc_rs::aead::{
    AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use chacha20::variants::Ietf;
use chacha20::{ChaChaCore, R20};
use zeroize::Zeroize;

use super::Suite;
use super::handshake::DirectionKeys;
use super::kdf::Key;

pub(super) const TAG_LEN: usize = 16;

/// The keys of one direction, ready for use.
pub(super) struct FrameKey {
    aead: LessSafeKey,
    mask: Mask,
}

enum Mask {
    Aes(Box<Aes256Enc>),
    ChaCha(Key),
}

/// Tag or associated data do not match. The ciphertext has been overwritten.
#[derive(Debug)]
pub(super) struct Unauthentic;

impl FrameKey {
    pub(super) fn new(suite: Suite, keys: &DirectionKeys) -> Self {
        let (algorithm, mask) = match suite {
            Suite::HybridChaCha => (&CHACHA20_POLY1305, Mask::ChaCha(keys.header.clone())),
            Suite::HybridAes | Suite::ClassicalAes => {
                let key = Aes256Enc::new(&(*keys.header).into());
                (&AES_256_GCM, Mask::Aes(Box::new(key)))
            }
        };
        let key = UnboundKey::new(algorithm, keys.key.as_slice());
        Self { aead: LessSafeKey::new(key.expect("both AEADs take 32 bytes")), mask }
    }

    /// Seals `plaintext` in place and returns the tag. `nonce` must never repeat.
    pub(super) fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &mut [u8]) -> [u8; TAG_LEN] {
        let unique = Nonce::assume_unique_for_key(nonce);
        let tag = self.aead.seal_in_place_separate_tag(unique, Aad::from(nonce), plaintext);
        let tag = tag.expect("a cell is shorter than what the AEAD takes");
        tag.as_ref().try_into().expect("both tags have 16 bytes")
    }

    /// Opens `ciphertext ‖ tag` in place.
    pub(super) fn open<'a>(
        &self,
        nonce: [u8; NONCE_LEN],
        ciphertext: &'a mut [u8],
    ) -> Result<&'a [u8], Unauthentic> {
        let unique = Nonce::assume_unique_for_key(nonce);
        match self.aead.open_in_place(unique, Aad::from(nonce), ciphertext) {
            Ok(plaintext) => Ok(plaintext),
            Err(_) => Err(Unauthentic),
        }
    }

    /// Masks or unmasks a nonce by the first 16 bytes of its ciphertext.
    pub(super) fn mask(&self, sample: &[u8; 16], nonce: [u8; NONCE_LEN]) -> [u8; NONCE_LEN] {
        let mut mask = [0; NONCE_LEN];
        match &self.mask {
            Mask::Aes(key) => {
                let mut block = (*sample).into();
                key.encrypt_block(&mut block);
                mask.copy_from_slice(&block[..NONCE_LEN]);
            }
            Mask::ChaCha(key) => chacha(key, sample, &mut mask),
        }
        std::array::from_fn(|at| nonce[at] ^ mask[at])
    }
}

/// The first bytes of the block of ChaCha20 (RFC 8439 §2.3) that `sample` names. One block cannot run off the
/// end of the key stream, so the last counter, which a relay may write into a sample, is as good as any.
fn chacha(key: &Key, sample: &[u8; 16], out: &mut [u8; NONCE_LEN]) {
    let (counter, nonce) = sample.split_first_chunk::<4>().expect("a sample has 16 bytes");
    let mut core = ChaChaCore::<R20, Ietf>::new_from_slices(key.as_slice(), nonce)
        .expect("a key has 32 bytes, a nonce 12");
    core.set_block_pos(u32::from_le_bytes(*counter));
    let mut block = Default::default();
    core.write_keystream_block(&mut block);
    out.copy_from_slice(&block[..NONCE_LEN]);
    block.zeroize();
}

impl fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(suite: Suite) -> FrameKey {
        let keys = DirectionKeys { key: Key::new([1; 32]), header: Key::new([2; 32]) };
        FrameKey::new(suite, &keys)
    }

    #[test]
    fn a_mask_is_its_own_inverse_for_any_sample() {
        for suite in Suite::ALL {
            for sample in [[0; 16], [255; 16]] {
                let masked = key(suite).mask(&sample, [7; NONCE_LEN]);
                assert_ne!(masked, [7; NONCE_LEN]);
                assert_eq!(key(suite).mask(&sample, masked), [7; NONCE_LEN]);
            }
        }
    }

    #[test]
    fn both_implementations_seal_alike() {
        use aes_gcm::aead::AeadInOut;
        let nonce = [3; NONCE_LEN];
        for len in [0, 1, 164, 32_676] {
            let mut ours = vec![5; len];
            let tag = key(Suite::HybridAes).seal(nonce, &mut ours);
            let mut other = vec![5; len];
            let oracle = aes_gcm::Aes256Gcm::new(&[1; 32].into());
            let expect =
                oracle.encrypt_inout_detached(&nonce.into(), &nonce, other.as_mut_slice().into());
            assert_eq!((&ours, tag.as_slice()), (&other, expect.expect("short").as_slice()));

            let mut ours = vec![5; len];
            let tag = key(Suite::HybridChaCha).seal(nonce, &mut ours);
            let mut other = vec![5; len];
            let oracle = chacha20poly1305::ChaCha20Poly1305::new(&[1; 32].into());
            let expect =
                oracle.encrypt_inout_detached(&nonce.into(), &nonce, other.as_mut_slice().into());
            assert_eq!((&ours, tag.as_slice()), (&other, expect.expect("short").as_slice()));
        }
    }
}
