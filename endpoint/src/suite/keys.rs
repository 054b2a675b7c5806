//! The secrets that live longer than a session, and what a pairing code's secret derives (annex A.2).

use std::fmt;

use hushwire_wire::code::Secret;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::kdf::{expand, expand_into, extract};

/// The key two paired devices share. Salt of every handshake of theirs and key of their outer seal.
/// Zeroised on drop, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PairKey([u8; 32]);

impl PairKey {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a key derivation or the keystore.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKey(..)")
    }
}

/// The key under which a device keeps messages on its own disk. It never leaves the keystore. Zeroised on drop, never
/// shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a key derivation or the keystore.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey(..)")
    }
}

/// Where two devices with the same code meet at the relay. Not secret from the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; 16]);

impl Tag {
    /// Wraps raw bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:02x}{:02x})", self.0[0], self.0[1])
    }
}

/// What both ends derive from a pairing code: `PRK = Extract("hushwire/1 code", secret)`, from it the PSK of
/// the handshake and the tag of the rendezvous. Zeroised on drop, never shown by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CodeKeys {
    psk: [u8; 32],
    #[zeroize(skip)]
    tag: Tag,
}

impl CodeKeys {
    /// Derives both from the 128-bit secret of a link or QR code.
    #[must_use]
    pub fn derive(secret: &Secret) -> Self {
        let prk = extract(b"hushwire/1 code", &[secret.as_bytes()]);
        let mut tag = [0; 16];
        expand_into(&prk, "hw1 rendezvous", b"", &mut tag);
        Self { psk: *expand(&prk, "hw1 code psk", b""), tag: Tag(tag) }
    }

    /// What two devices agreed on with a spoken code.
    pub(crate) fn agreed(psk: &[u8; 32], tag: Tag) -> Self {
        Self { psk: *psk, tag }
    }

    /// The tag for PAIR_OPEN and PAIR_JOIN.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        self.tag
    }

    /// The code PSK.
    #[must_use]
    pub const fn psk(&self) -> &[u8; 32] {
        &self.psk
    }
}

impl fmt::Debug for CodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeKeys({:?}, ..)", self.tag)
    }
}

/// What a handshake starts from, which is also what it is for.
#[derive(Clone, Debug)]
pub enum Psk {
    /// A first meeting: ends in a pair key and a SAS.
    Pairing(CodeKeys),
    /// A live session of two paired devices.
    Session(PairKey),
}

impl Psk {
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        match self {
            Self::Pairing(keys) => keys.psk(),
            Self::Session(key) => key.as_bytes(),
        }
    }

    pub(crate) const fn is_pairing(&self) -> bool {
        matches!(self, Self::Pairing(_))
    }
}
