//! The keys of one direction and their generations (RFC 8446 §5.3, §7.2, §7.3).

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::fault::Fault;
use super::limits::{RECORD_HEADER_BYTES, RECORD_TAG_BYTES};
use super::secrets::{IV_BYTES, Secret, Suite};

const KEY_BYTES_MAX: usize = 32;

/// What one direction of a connection is protected with. The AEAD context lives on the heap, outside
/// this struct, and only while the direction is busy.
pub(super) struct TrafficKeys {
    /// The number of the next record.
    pub(super) sequence: u64,
    context: Option<LessSafeKey>,
    secret: Secret,
    key: [u8; KEY_BYTES_MAX],
    iv: [u8; IV_BYTES],
    suite: Suite,
}

impl TrafficKeys {
    /// The keys of `secret`, of which rustls has used the numbers below `sequence`.
    pub(super) fn new(suite: Suite, secret: Secret, sequence: u64) -> Result<Self, Fault> {
        let (key, iv) = ([0; KEY_BYTES_MAX], [0; IV_BYTES]);
        let mut keys = Self { sequence, context: None, secret, key, iv, suite };
        keys.derive()?;
        Ok(keys)
    }

    /// Steps to the next generation, as a KeyUpdate demands.
    pub(super) fn update(&mut self) -> Result<(), Fault> {
        self.secret = self.secret.next(self.suite)?;
        self.sequence = 0;
        self.context = None;
        self.derive()
    }

    fn derive(&mut self) -> Result<(), Fault> {
        let key_len = self.suite.aead().key_len();
        self.secret.expand(self.suite, b"key", &[], &mut self.key[..key_len])?;
        self.secret.expand(self.suite, b"iv", &[], &mut self.iv)
    }

    /// Whether these are the key and IV of this generation.
    pub(super) fn matches(&self, key: &[u8], iv: &[u8]) -> bool {
        &self.key[..self.suite.aead().key_len()] == key && self.iv == iv
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// Forgets the AEAD context; the next record rebuilds it.
    pub(super) fn compact(&mut self) {
        self.context = None;
    }

    pub(super) fn is_compact(&self) -> bool {
        self.context.is_none()
    }

    /// Opens `body`, the ciphertext and tag behind `header`, in place and returns its plaintext: content,
    /// type and padding.
    #[inline]
    pub(super) fn open<'a>(
        &mut self,
        header: [u8; RECORD_HEADER_BYTES],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Fault> {
        let nonce = self.nonce();
        let plain = self
            .context()?
            .open_in_place(nonce, Aad::from(header), body)
            .map_err(|_| Fault::BadRecord)?;
        self.sequence += 1;
        Ok(plain)
    }

    /// Seals `plain` and `extra`, one after the other, into `out`, which has their length and a tag's.
    #[inline]
    pub(super) fn seal(
        &mut self,
        header: [u8; RECORD_HEADER_BYTES],
        plain: &[u8],
        extra: &[u8],
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let fault = || Fault::Internal("the AEAD refused to seal a record");
        let nonce = self.nonce();
        let (body, extra_out) = out.split_at_mut_checked(plain.len()).ok_or_else(fault)?;
        self.context()?
            .seal_out_of_place_scatter(nonce, Aad::from(header), plain, body, extra, extra_out)
            .map_err(|_| fault())?;
        self.sequence += 1;
        Ok(())
    }

    /// Seals what stands in `out` before its last [`RECORD_TAG_BYTES`], where the tag goes.
    pub(super) fn seal_in_place(
        &mut self,
        header: [u8; RECORD_HEADER_BYTES],
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let fault = || Fault::Internal("the AEAD refused to seal a control record");
        let nonce = self.nonce();
        let (plain, tag_out) = out.split_last_chunk_mut::<RECORD_TAG_BYTES>().ok_or_else(fault)?;
        let tag = self
            .context()?
            .seal_in_place_separate_tag(nonce, Aad::from(header), plain)
            .map_err(|_| fault())?;
        tag_out.copy_from_slice(tag.as_ref());
        self.sequence += 1;
        Ok(())
    }

    #[inline]
    fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.sequence.to_be_bytes());
        for (byte, mask) in nonce.iter_mut().zip(self.iv) {
            *byte ^= mask;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    #[inline]
    fn context(&mut self) -> Result<&LessSafeKey, Fault> {
        if self.context.is_none() {
            let algorithm = self.suite.aead();
            let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()])
                .map_err(|_| Fault::Internal("no AEAD context for a key of the right length"))?;
            self.context = Some(LessSafeKey::new(key));
        }
        self.context.as_ref().ok_or_else(|| Fault::Internal("no AEAD context"))
    }
}

impl Drop for TrafficKeys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}
