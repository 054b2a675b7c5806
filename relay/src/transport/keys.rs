//! The keys of one direction and their generations (RFC 8446 §5.3, §7.2, §7.3).

use zeroize::Zeroize;

use super::aead::{Context, RecordHeader, RecordNonce};
use super::fault::Fault;
use super::secrets::{IV_BYTES, Secret, Suite};

const KEY_BYTES_MAX: usize = 32;

/// What one direction of a connection is protected with. The AEAD context lives on the heap, outside
/// this struct, and only while the direction is busy.
pub(super) struct TrafficKeys {
    /// The number of the next record.
    pub(super) sequence: u64,
    context: Option<Context>,
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
        header: RecordHeader,
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Fault> {
        let nonce = self.nonce();
        let plain = self.context()?.open(nonce, header, body).map_err(|_| Fault::BadRecord)?;
        self.sequence += 1;
        Ok(plain)
    }

    /// Seals `plain` and `extra`, one after the other, into `out`, which has their length and a tag's.
    #[inline]
    pub(super) fn seal(
        &mut self,
        header: RecordHeader,
        plain: &[u8],
        extra: &[u8],
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let nonce = self.nonce();
        self.context()?
            .seal(nonce, header, plain, extra, out)
            .map_err(|_| Fault::Internal("the AEAD refused to seal a record"))?;
        self.sequence += 1;
        Ok(())
    }

    /// Seals what stands in `out` before the length of a tag, where the tag goes.
    pub(super) fn seal_in_place(
        &mut self,
        header: RecordHeader,
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let nonce = self.nonce();
        self.context()?
            .seal_in_place(nonce, header, out)
            .map_err(|_| Fault::Internal("the AEAD refused to seal a record in place"))?;
        self.sequence += 1;
        Ok(())
    }

    #[inline]
    fn nonce(&self) -> RecordNonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[IV_BYTES - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    #[inline]
    fn context(&mut self) -> Result<&Context, Fault> {
        if self.context.is_none() {
            let key = &self.key[..self.suite.aead().key_len()];
            self.context =
                Some(Context::new(self.suite, key).map_err(|_| {
                    Fault::Internal("no AEAD context for a key of the right length")
                })?);
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
