//! The passphrase of a keystore, and what it costs to try one: Argon2id (RFC 9106).

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

use crate::suite::kdf::Key;

/// The longest passphrase.
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;
/// Random bytes beside a passphrase, so that equal ones give different keys.
pub(super) const SALT_LEN: usize = 16;

/// What a person knows and a thief of the disk does not. Zeroised on drop, never shown by `Debug`.
///
/// Its bytes count as they are: no spaces are cut off and no Unicode form is made of another.
#[derive(PartialEq, Eq)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why bytes are no passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// No bytes at all.
    #[error("a passphrase has at least one character")]
    Empty,
    /// More than [`PASSPHRASE_BYTES_MAX`] bytes.
    #[error("a passphrase has at most 1 024 bytes")]
    TooLong,
}

impl Passphrase {
    /// Takes 1 to [`PASSPHRASE_BYTES_MAX`] bytes, which are wiped with it, also where they are refused.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, PassphraseError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Err(PassphraseError::Empty)
        } else if bytes.len() > PASSPHRASE_BYTES_MAX {
            Err(PassphraseError::TooLong)
        } else {
            Ok(Self(bytes))
        }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// What one try of a passphrase costs. It is stored beside the keystore's key.
///
/// The default is RFC 9106's second recommendation: 64 MiB, three passes, four lanes. More memory hurts a thief with
/// many processors more than it hurts the owner; the bounds keep a file that somebody changed from eating a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// Least and most memory of one try, KiB.
    pub const MEMORY_KIB: (u32, u32) = (8 * 1_024, 256 * 1_024);
    /// Fewest and most passes over the memory.
    pub const PASSES: (u32, u32) = (1, 16);
    /// Fewest and most lanes.
    pub const LANES: (u32, u32) = (1, 16);

    /// A cost within the bounds; `None` outside.
    #[must_use]
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Option<Self> {
        let within = |value, (least, most): (u32, u32)| (least..=most).contains(&value);
        let fits = within(memory_kib, Self::MEMORY_KIB)
            && within(passes, Self::PASSES)
            && within(lanes, Self::LANES);
        fits.then_some(Self { memory_kib, passes, lanes })
    }

    /// Memory of one try, KiB.
    #[must_use]
    pub const fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes, computed one after the other here.
    #[must_use]
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 64 * 1_024, passes: 3, lanes: 4 }
    }
}

/// There is not as much memory as the cost says.
#[derive(Debug)]
pub(super) struct NoMemory;

/// The key under a passphrase. Takes the time and memory that `cost` says; the memory is wiped.
pub(super) fn stretch(
    passphrase: &Passphrase,
    salt: &[u8; SALT_LEN],
    cost: Cost,
) -> Result<Key, NoMemory> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .expect("a cost is within the bounds of Argon2");
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(params.block_count()).map_err(|_| NoMemory)?;
    memory.resize(params.block_count(), Block::new());
    let mut key = Key::default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(&passphrase.0, salt, key.as_mut(), memory.as_mut_slice())
        .expect("passphrase, salt, key and memory have lengths that Argon2 takes");
    memory.zeroize();
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(bytes: &[u8]) -> Result<Passphrase, PassphraseError> {
        Passphrase::new(bytes.to_vec())
    }

    #[test]
    fn a_passphrase_has_1_to_1024_bytes() {
        let refused = |bytes: &[u8]| passphrase(bytes).map(drop).expect_err("refused");
        assert_eq!(refused(b""), PassphraseError::Empty);
        assert_eq!(refused(&[b'x'; PASSPHRASE_BYTES_MAX + 1]), PassphraseError::TooLong);
        assert_eq!(refused(&vec![b'x'; 1 << 20]), PassphraseError::TooLong);
        for taken in [&b" "[..], b"\0", &[0xff; PASSPHRASE_BYTES_MAX]] {
            assert!(passphrase(taken).is_ok(), "{} bytes", taken.len());
        }
    }

    #[test]
    fn costs_out_of_bounds_are_none() {
        assert_eq!(Cost::new(65_536, 3, 4), Some(Cost::default()));
        assert!(Cost::new(8_192, 1, 1).is_some() && Cost::new(262_144, 16, 16).is_some());
        for (memory, passes, lanes) in [
            (u32::MAX, 3, 4),
            (262_145, 3, 4),
            (8_191, 3, 4),
            (0, 3, 4),
            (65_536, 0, 4),
            (65_536, 17, 4),
            (65_536, u32::MAX, 4),
            (65_536, 3, 0),
            (65_536, 3, 17),
            (65_536, 3, u32::MAX),
        ] {
            assert_eq!(Cost::new(memory, passes, lanes), None, "{memory} {passes} {lanes}");
        }
    }

    #[test]
    fn every_input_changes_the_key() {
        let cheap = Cost::new(8_192, 1, 1).expect("within the bounds");
        let key = |text: &[u8], salt, cost| {
            let passphrase = passphrase(text).expect("a passphrase");
            stretch(&passphrase, &[salt; SALT_LEN], cost).expect("8 MiB are there")
        };
        let first = key(b"open", 1, cheap);
        assert_eq!(first, key(b"open", 1, cheap));
        for (memory, passes, lanes) in [(8_193, 1, 1), (8_192, 2, 1), (8_192, 1, 2)] {
            let other = Cost::new(memory, passes, lanes).expect("within the bounds");
            assert_ne!(first, key(b"open", 1, other));
        }
        assert_ne!(first, key(b"opeN", 1, cheap));
        assert_ne!(first, key(b"open", 2, cheap));
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let shown = format!("{:?}", passphrase(b"swordfish").expect("a passphrase"));
        assert_eq!(shown, "Passphrase(..)");
    }
}
