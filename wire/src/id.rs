//! Identifiers. Each is a newtype, and `Debug` shows four characters: enough to follow a test, too
//! little to identify anybody in a log.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::base32;

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// The text does not have the one length this identifier has.
    Length {
        /// Characters expected.
        expected: usize,
        /// Characters found.
        found: usize,
    },
    /// A character is not lower-case base32, or a bit that must be zero is set.
    Alphabet,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, found } => {
                write!(f, "an ID has {expected} characters, this text has {found}")
            }
            Self::Alphabet => f.write_str("an ID is made of the characters a-z and 2-7 only"),
        }
    }
}

impl core::error::Error for IdError {}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $len:literal, $text:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;
            /// Length of the text form in characters.
            pub const TEXT_LEN: usize = $text;
            /// The all-zero value: on the wire, "none".
            pub const ZERO: Self = Self([0; $len]);

            /// Wraps raw bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Takes the value from a slice of exactly [`Self::LEN`] bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Whether every byte is zero.
            #[must_use]
            pub fn is_zero(&self) -> bool {
                *self == Self::ZERO
            }

            /// The text form: lower-case base32 without padding.
            #[must_use]
            pub fn to_text(&self) -> String {
                base32::encode(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_text())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.to_text()[..4])
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if !text.is_ascii() {
                    return Err(IdError::Alphabet);
                }
                if text.len() != $text {
                    let found = text.len();
                    return Err(IdError::Length { expected: $text, found });
                }
                let bytes = base32::decode(text).ok_or(IdError::Alphabet)?;
                Self::from_slice(&bytes).ok_or(IdError::Alphabet)
            }
        }
    };
}

identifier!(
    /// A device: its Ed25519 public key (RFC 8032), under strict verification.
    DeviceId, 32, 52
);
identifier!(
    /// An account, the owner of devices: random.
    AccountId, 16, 26
);
identifier!(
    /// A channel: random but for the top bit of the last byte, which says whether it is encrypted.
    ChannelId, 16, 26
);
identifier!(
    /// A relay installation: random, made once, carried in invites.
    RelayId, 32, 52
);

impl ChannelId {
    /// Whether the channel is an encrypted one. The mode is part of the ID, so nobody can lie about it.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.0[15] & 0x80 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn text_form_round_trips_and_has_one_spelling() {
        let id = DeviceId::new(core::array::from_fn(|i| i as u8 * 7));
        let text = id.to_string();
        assert_eq!(text.len(), DeviceId::TEXT_LEN);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse::<DeviceId>(), Err(IdError::Alphabet));
        assert_eq!("é".repeat(26).parse::<DeviceId>(), Err(IdError::Alphabet));
        assert_eq!(text[1..].parse::<DeviceId>(), Err(IdError::Length { expected: 52, found: 51 }));
    }

    #[test]
    fn debug_shows_four_characters() {
        assert_eq!(format!("{:?}", AccountId::new([0xff; 16])), "AccountId(7777)");
    }

    #[test]
    fn the_channel_carries_its_mode() {
        let mut bytes = [0; 16];
        assert!(!ChannelId::new(bytes).is_encrypted());
        bytes[15] = 0x80;
        assert!(ChannelId::new(bytes).is_encrypted());
    }
}
