//! A device's name for people.

use std::fmt;

use hushwire_wire::limits::NAME_BYTES_MAX;

/// A device's name for people: at most 64 bytes of UTF-8 without control characters, possibly empty.
///
/// Control characters are refused because `hushctl` prints names on a terminal.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Name(Box<str>);

/// Why a text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a name has at most {NAME_BYTES_MAX} bytes, this one has {0}")]
    Long(usize),
    /// A control character: terminals obey them.
    #[error("a name has no control characters")]
    Control,
}

impl Name {
    /// Checks and takes a text.
    ///
    /// # Errors
    /// [`NameError`] when it is too long or has control characters: the fault of whoever sent it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::Long(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name identifies: only its length is shown.
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, expect: Result<(), NameError>| {
            assert_eq!(Name::new(text).map(|_| ()), expect, "{text:?}");
        };
        check("", Ok(()));
        check("laptop of Žofie", Ok(()));
        check(&"x".repeat(64), Ok(()));
        check(&"x".repeat(65), Err(NameError::Long(65)));
        check("a\u{1b}[2J", Err(NameError::Control));
        check("two\nlines", Err(NameError::Control));
    }
}
