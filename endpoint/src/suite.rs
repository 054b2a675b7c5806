//! The bytes two devices exchange end to end (`PROTOCOL.md` §6 and annex A), without I/O: randomness and
//! time are arguments.
//!
//! | module | what |
//! |---|---|
//! | [`seal`] | A.1: the outer seal that makes a body look random |
//! | [`keys`] | A.2: pair keys and what a code's secret derives |
//! | [`handshake`] | A.3: three messages, one struct a state |
//! | [`frames`] | A.4: sessions, masked nonces, anti-replay windows |
//! | [`receivers`] | A.4: the at most three receive sessions of a peer |
//! | [`frame_types`] | A.5: what stands inside a frame cell |
//! | [`random`] | where randomness comes from |
//! | [`limits`] | every number, unit last |

pub mod frame_types;
pub mod frames;
pub mod handshake;
pub mod keys;
pub mod limits;
pub mod random;
pub mod receivers;
pub mod seal;

mod aead;
pub(crate) mod kdf;
mod padded;
mod window;

use std::fmt;

/// The algorithms of a handshake and the session it makes. The numbers are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Suite {
    /// X25519 with ML-KEM-768 (FIPS 203), ChaCha20-Poly1305.
    HybridChaCha = 1,
    /// X25519 with ML-KEM-768 (FIPS 203), AES-256-GCM.
    HybridAes = 2,
    /// X25519 alone, AES-256-GCM: for constrained peers.
    ClassicalAes = 3,
}

impl Suite {
    /// All suites, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::HybridChaCha, Self::HybridAes, Self::ClassicalAes];

    /// The suite with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::HybridChaCha),
            2 => Some(Self::HybridAes),
            3 => Some(Self::ClassicalAes),
            _ => None,
        }
    }

    /// Whether the key exchange holds against a quantum computer as long as ML-KEM does.
    #[must_use]
    pub const fn is_hybrid(self) -> bool {
        matches!(self, Self::HybridChaCha | Self::HybridAes)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HybridChaCha => "X25519 + ML-KEM-768, ChaCha20-Poly1305",
            Self::HybridAes => "X25519 + ML-KEM-768, AES-256-GCM",
            Self::ClassicalAes => "X25519, AES-256-GCM",
        })
    }
}

/// The weakest suite that is accepted. A pair that has completed a hybrid handshake stays at
/// [`Minimum::Hybrid`]: otherwise whoever breaks X25519 could ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minimum {
    /// Any suite.
    Any,
    /// Suites 1 and 2 only.
    Hybrid,
}

impl Minimum {
    /// Whether `suite` is good enough.
    #[must_use]
    pub const fn admits(self, suite: Suite) -> bool {
        match self {
            Self::Any => true,
            Self::Hybrid => suite.is_hybrid(),
        }
    }
}
