//! `7-crossover-clockwork`: a nameplate, which says where to meet, and two words, which are the secret.
//!
//! The words come from the English list of BIP-39: 2 048 common words, no two of which begin with the same four letters,
//! so that one is not heard for another easily. Two of them are 22 bits: a guess is right once in 4 194 304 times. Two
//! words of the PGP list would be 16 bits and three are more to say; six digits would be 20 bits, and are misheard.

use std::fmt;

use bip39::Language;
use hushwire_wire::text::plain;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::suite::kdf::sha256;
use crate::suite::keys::Tag;
use crate::suite::limits::{NAMEPLATE_MAX, SPOKEN_TEXT_BYTES_MAX, SPOKEN_WORDS};
use crate::suite::random::{Random, draw};

/// Words that are suggested for one that is unknown.
const NEAREST_MAX: usize = 3;

/// A spoken code. `Debug` shows its nameplate, which the relay knows anyway.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SpokenCode {
    #[zeroize(skip)]
    nameplate: u16,
    words: [u16; SPOKEN_WORDS],
}

/// What the keystore remembers of a code that was tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodeMark([u8; 32]);

/// Why a text is no spoken code; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpokenError {
    /// It does not begin with a number from 1 to 9 999.
    #[error(
        "a spoken code begins with a number from 1 to {NAMEPLATE_MAX}, as in 7-apple-river: ask for it again"
    )]
    Nameplate,
    /// Not two words behind the number.
    #[error(
        "a spoken code is a number and {SPOKEN_WORDS} words, this one has {0}: ask for it again"
    )]
    Words(usize),
    /// A word that is not in the list.
    #[error("{word:?} is not a word of spoken codes{}", did_you_mean(nearest))]
    Unknown {
        /// The word, made safe for a terminal.
        word: String,
        /// What it may have been, at most three.
        nearest: Vec<&'static str>,
    },
}

fn did_you_mean(nearest: &[&str]) -> String {
    if nearest.is_empty() {
        return ": ask for it again".to_owned();
    }
    let words: Vec<String> = nearest.iter().map(|word| format!("{word:?}")).collect();
    format!(": is it {}?", words.join(" or "))
}

fn words() -> &'static [&'static str; 2_048] {
    Language::English.word_list()
}

impl SpokenCode {
    pub(super) fn draw(conflicts: u32, random: &mut dyn Random) -> Self {
        let highest = match conflicts {
            0 | 1 => 99,
            2 | 3 => 999,
            _ => NAMEPLATE_MAX,
        };
        // The remainder favours small numbers by less than one in 400 000: no secret.
        let nameplate = u32::from_le_bytes(draw(random)) % u32::from(highest) + 1;
        let mut code = Self { nameplate: nameplate as u16, words: [0; SPOKEN_WORDS] };
        for word in &mut code.words {
            // 2 048 divides 65 536: all words are equally likely.
            *word = u16::from_le_bytes(draw(random)) % 2_048;
        }
        code
    }

    /// Reads what a person typed: case does not matter, and words are set apart by hyphens, spaces, commas or dots.
    ///
    /// # Errors
    /// See [`SpokenError`].
    pub fn from_text(text: &str) -> Result<Self, SpokenError> {
        if text.len() > SPOKEN_TEXT_BYTES_MAX {
            return Err(SpokenError::Words(text.split_whitespace().count()));
        }
        let text = Zeroizing::new(text.to_lowercase());
        let mut parts = text
            .split(|c: char| c.is_whitespace() || matches!(c, '-' | '_' | ',' | '.'))
            .filter(|part| !part.is_empty());
        let number = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let nameplate = number.and_then(|digits| digits.parse().ok());
        let nameplate = nameplate
            .filter(|nameplate| (1..=NAMEPLATE_MAX).contains(nameplate))
            .ok_or(SpokenError::Nameplate)?;
        let found = parts.clone().count();
        if found != SPOKEN_WORDS {
            return Err(SpokenError::Words(found));
        }
        let mut code = Self { nameplate, words: [0; SPOKEN_WORDS] };
        for (place, word) in code.words.iter_mut().zip(parts) {
            *place = Language::English.find_word(word).ok_or_else(|| SpokenError::Unknown {
                word: plain(word, SPOKEN_TEXT_BYTES_MAX),
                nearest: nearest(word),
            })?;
        }
        Ok(code)
    }

    /// `7-crossover-clockwork`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.nameplate.to_string();
        for &word in &self.words {
            text.push('-');
            text.push_str(words()[usize::from(word)]);
        }
        text
    }

    /// Where the two devices meet: the nameplate's digits, then zeros.
    #[must_use]
    pub fn tag(&self) -> Tag {
        let mut tag = [0; 16];
        let digits = self.nameplate.to_string();
        tag[..digits.len()].copy_from_slice(digits.as_bytes());
        Tag::new(tag)
    }

    /// What the keystore remembers.
    #[must_use]
    pub fn mark(&self) -> CodeMark {
        CodeMark(sha256(&[b"hw1 spoken code", &*self.password()]))
    }

    /// What SPAKE2 takes: the text.
    pub(super) fn password(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.to_text().into_bytes())
    }
}

impl CodeMark {
    /// Wraps what was stored.
    pub(crate) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The words with the fewest letters that differ, at most two.
fn nearest(word: &str) -> Vec<&'static str> {
    // A longer text is not one of these words with a slip.
    if word.len() > 12 {
        return Vec::new();
    }
    let of = |known: &str| distance(word, known);
    let least = words().iter().map(|known| of(known)).min().filter(|least| *least <= 2);
    words().iter().filter(|known| Some(of(known)) == least).take(NEAREST_MAX).copied().collect()
}

/// Letters to insert, remove or exchange (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.chars().enumerate() {
            let exchanged = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

impl fmt::Debug for SpokenCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpokenCode({}-..)", self.nameplate)
    }
}

impl fmt::Debug for CodeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeMark(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::random::OsRandom;

    #[test]
    fn what_people_type_is_read() {
        let code = SpokenCode::from_text("7-apple-river").expect("a code");
        assert_eq!(code.to_text(), "7-apple-river");
        assert_eq!(&code.tag().as_bytes()[..3], b"7\0\0");
        for same in ["7 apple river", " 7-Apple  RIVER\n", "07_apple, river.", "7\u{a0}apple-river"]
        {
            assert_eq!(SpokenCode::from_text(same).as_ref(), Ok(&code), "{same:?}");
        }
        assert_eq!(format!("{code:?}"), "SpokenCode(7-..)");
    }

    #[test]
    fn what_is_no_code_says_why() {
        let check = |text: &str, expect: SpokenError| {
            assert_eq!(SpokenCode::from_text(text), Err(expect), "{text:?}");
        };
        let unknown = |word: &str, nearest: &[&'static str]| SpokenError::Unknown {
            word: word.into(),
            nearest: nearest.into(),
        };
        for text in ["", "-", "apple-river", "0-apple-river", "10000-apple-river", "+7-apple-river"]
        {
            check(text, SpokenError::Nameplate);
        }
        check("99999999999999999999-apple-river", SpokenError::Nameplate);
        check("7", SpokenError::Words(0));
        check("7-apple", SpokenError::Words(1));
        check("7-apple-river-river", SpokenError::Words(3));
        check("7-aple-river", unknown("aple", &["able", "apple", "maple"]));
        check("7-apple-xxxxxxxx", unknown("xxxxxxxx", &[]));
        check("7-\u{1b}[2j-river", unknown("\u{fffd}[2j", &[]));
        check(&format!("7-apple-{}", "r".repeat(1 << 16)), SpokenError::Words(1));
        let sentence = SpokenCode::from_text("7-aple-river").expect_err("unknown").to_string();
        assert!(sentence.ends_with("is it \"able\" or \"apple\" or \"maple\"?"), "{sentence}");
    }

    #[test]
    fn codes_that_are_drawn_are_read_back() {
        for conflicts in 0..6 {
            let code = SpokenCode::draw(conflicts, &mut OsRandom);
            assert_eq!(SpokenCode::from_text(&code.to_text()), Ok(code));
        }
    }

    /// No two begin with the same four letters, and all are safe to type and print.
    #[test]
    fn the_words_are_told_apart() {
        let mut heads: Vec<_> = words().iter().map(|word| &word[..word.len().min(4)]).collect();
        heads.sort_unstable();
        heads.dedup();
        assert_eq!(heads.len(), 1 << 11);
        assert!(words().iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
    }

    #[test]
    fn distances() {
        let check = |one, other, expect| assert_eq!(distance(one, other), expect, "{one} {other}");
        check("", "", 0);
        check("abc", "abc", 0);
        check("abc", "", 3);
        check("kitten", "sitting", 3);
    }
}
