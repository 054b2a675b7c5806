//! The outer seal (annex A.1): `salt(32) ‖ AES-256-GCM(length(4) ‖ content ‖ zeros) ‖ tag(16)`, filling a body
//! exactly. To everyone without the key the whole body is random bytes.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hushwire_wire::id::{ChannelId, DeviceId};
use hushwire_wire::padding::{LENGTH_LEN, SEAL_OVERHEAD};

use super::kdf::{Key, expand};
use super::keys::{CodeKeys, PairKey, Psk};
use super::padded;
use super::random::Random;

const SALT_LEN: usize = 32;
const TAG_LEN: usize = 16;
const AAD_LEN_MAX: usize = 64;

/// Key and associated data of one use in one direction, in the pairs that annex A.1 fixes.
/// Zeroised on drop, never shown by `Debug`.
#[derive(Clone)]
pub struct OuterSeal {
    key: Key,
    aad: [u8; AAD_LEN_MAX],
    aad_len: usize,
}

/// Why a content was not sealed: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The buffer is not the body of any class.
    #[error("{0} bytes are the body of no class")]
    BodyLength(usize),
    /// The content does not fit this class.
    #[error("a content of {length} bytes does not fit a cell that holds {max}")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes that fit.
        max: usize,
    },
}

/// Why a body was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The buffer is not the body of any class: the caller's fault.
    #[error("{0} bytes are the body of no class")]
    BodyLength(usize),
    /// Another key, another sender or recipient, or changed on the way. The body is as it was.
    #[error("the cell was not sealed under this key, or was changed on the way")]
    Unauthentic,
    /// The holder of the key broke the layout.
    #[error("the peer sealed a cell whose length or padding is wrong")]
    Padding,
}

impl OuterSeal {
    fn new(key: &[u8; 32], parts: [&[u8]; 2]) -> Self {
        let mut aad = [0; AAD_LEN_MAX];
        let aad_len = parts[0].len() + parts[1].len();
        aad[..parts[0].len()].copy_from_slice(parts[0]);
        aad[parts[0].len()..aad_len].copy_from_slice(parts[1]);
        Self { key: Key::new(*key), aad, aad_len }
    }

    /// Handshakes and sealed messages between paired devices.
    #[must_use]
    pub fn paired(key: &PairKey, sender: &DeviceId, recipient: &DeviceId) -> Self {
        Self::new(key.as_bytes(), [sender.as_bytes(), recipient.as_bytes()])
    }

    /// Handshake messages of a pairing, in both directions.
    #[must_use]
    pub fn pairing(keys: &CodeKeys) -> Self {
        Self::new(keys.psk(), [b"pair", keys.tag().as_bytes()])
    }

    /// Whichever of the two a handshake with this PSK uses.
    #[must_use]
    pub fn handshake(psk: &Psk, sender: &DeviceId, recipient: &DeviceId) -> Self {
        match psk {
            Psk::Pairing(keys) => Self::pairing(keys),
            Psk::Session(key) => Self::paired(key, sender, recipient),
        }
    }

    /// Previews inside push notifications.
    #[must_use]
    pub fn push(key: &PairKey, sender: &DeviceId, recipient: &DeviceId) -> Self {
        let key = expand(key.as_bytes(), "hw1 push", b"");
        Self::new(&key, [sender.as_bytes(), recipient.as_bytes()])
    }

    /// Messages of a channel, under the key its epoch exports.
    #[must_use]
    pub fn group(exported: &[u8; 32], channel: &ChannelId, sender: &DeviceId) -> Self {
        Self::new(exported, [channel.as_bytes(), sender.as_bytes()])
    }

    fn cipher(&self, salt: &[u8; SALT_LEN]) -> Aes256Gcm {
        Aes256Gcm::new(&(*expand(&self.key, "hw1 seal", salt)).into())
    }

    /// Seals `content` into `body`, whose length chooses the class.
    ///
    /// # Errors
    /// See [`SealError`]; `body` is then unchanged.
    pub fn seal(
        &self,
        content: &[u8],
        body: &mut [u8],
        random: &mut dyn Random,
    ) -> Result<(), SealError> {
        if !padded::is_body_len(body.len()) {
            return Err(SealError::BodyLength(body.len()));
        }
        let max = body.len() - SEAL_OVERHEAD;
        if content.len() > max {
            return Err(SealError::TooLong { length: content.len(), max });
        }
        let (salt, plaintext, tag) = split(body);
        random.fill(salt);
        plaintext[LENGTH_LEN..][..content.len()].copy_from_slice(content);
        padded::close(plaintext, content.len());
        let sealed = self
            .cipher(salt)
            .encrypt_inout_detached(&Nonce::default(), self.aad(), plaintext.into())
            .expect("a cell is shorter than what AES-GCM takes");
        tag.copy_from_slice(&sealed);
        Ok(())
    }

    /// Opens `body` in place and returns its content.
    ///
    /// # Errors
    /// See [`OpenError`]. After [`OpenError::Unauthentic`] another key can be tried on the same bytes.
    pub fn open<'body>(&self, body: &'body mut [u8]) -> Result<&'body [u8], OpenError> {
        if !padded::is_body_len(body.len()) {
            return Err(OpenError::BodyLength(body.len()));
        }
        let (salt, plaintext, tag) = split(body);
        let tag = Tag::from(*tag);
        self.cipher(salt)
            .decrypt_inout_detached(&Nonce::default(), self.aad(), (&mut *plaintext).into(), &tag)
            .map_err(|_| OpenError::Unauthentic)?;
        padded::content(plaintext).map_err(|_| OpenError::Padding)
    }

    fn aad(&self) -> &[u8] {
        &self.aad[..self.aad_len]
    }
}

impl fmt::Debug for OuterSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OuterSeal(..)")
    }
}

fn split(body: &mut [u8]) -> (&mut [u8; SALT_LEN], &mut [u8], &mut [u8; TAG_LEN]) {
    let (salt, rest) = body.split_first_chunk_mut().expect("a body holds a salt");
    let (plaintext, tag) = rest.split_last_chunk_mut().expect("a body holds a tag");
    (salt, plaintext, tag)
}
