//! An identity on paper: its 32-byte secret key as 24 English words with a checksum of 8 bits (BIP-39).

use std::fmt;

use bip39::{Language, Mnemonic};
use zeroize::{Zeroize as _, Zeroizing};

use super::Identity;

/// How many words an identity has.
pub const WORDS: usize = 24;
/// The longest text that is taken for words: 24 of at most 8 letters, with room for spaces.
const TEXT_BYTES_MAX: usize = 4_096;
/// How many letters may be wrong for a word to be suggested: in one of up to 4 letters, and in a longer one.
const SUGGESTION_DISTANCE_MAX: (usize, usize) = (1, 2);

/// The words of one identity. Whoever has them *is* the device. Zeroised on drop, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(Mnemonic);

/// Why a text is not the words of an identity. `Display` may name a word of the list, `Debug` does not.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Not 24 of them.
    #[error("a backup has 24 words, these are {found}")]
    Count {
        /// How many there are; more are not counted beyond what fits 4 096 bytes.
        found: usize,
    },
    /// Not a word of the list.
    #[error("word {position} is not on the list{}", suggestion(*nearest))]
    Unknown {
        /// Which, from 1.
        position: usize,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// All are on the list, but they do not belong together.
    #[error(
        "the words do not fit together: one of them is wrong, or two stand in each other's place; compare each with the paper"
    )]
    Checksum,
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default()
}

impl fmt::Debug for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found } => write!(f, "Count({found})"),
            Self::Unknown { position, nearest: _ } => write!(f, "Unknown({position}, ..)"),
            Self::Checksum => f.write_str("Checksum"),
        }
    }
}

impl Words {
    /// Reads 24 words in any case, with any white space around them.
    ///
    /// # Errors
    /// [`WordsError`].
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        if text.len() > TEXT_BYTES_MAX {
            let found = text[..text.floor_char_boundary(TEXT_BYTES_MAX)].split_whitespace().count();
            return Err(WordsError::Count { found: found.max(WORDS + 1) });
        }
        let lower = Zeroizing::new(text.to_lowercase());
        let words = || lower.split_whitespace();
        let unknown = words().position(|word| Language::English.find_word(word).is_none());
        let found = words().count();
        if let Some(index) = unknown {
            let nearest = words().nth(index).and_then(nearest);
            return Err(WordsError::Unknown { position: index + 1, nearest });
        }
        if found != WORDS {
            return Err(WordsError::Count { found });
        }
        match Mnemonic::parse_in_normalized(Language::English, &lower) {
            Ok(mnemonic) => Ok(Self(mnemonic)),
            // Their number and each of them are right.
            Err(_) => Err(WordsError::Checksum),
        }
    }

    /// The words in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.words()
    }

    /// All in one line.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in self.iter() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    fn secret(&self) -> Zeroizing<[u8; 32]> {
        let (mut entropy, length) = self.0.to_entropy_array();
        assert_eq!(length, 32, "24 words are 256 bits");
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&entropy[..32]);
        entropy.zeroize();
        secret
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(..)")
    }
}

impl Identity {
    /// The identity that these words are.
    #[must_use]
    pub fn from_words(words: &Words) -> Self {
        Self::from_secret(&words.secret())
    }

    /// The words of this identity.
    #[must_use]
    pub fn words(&self) -> Words {
        let secret = self.secret();
        Words(Mnemonic::from_entropy(secret.as_slice()).expect("32 bytes are 24 words"))
    }
}

/// The word of the list that is the most like this one, if any is alike.
fn nearest(word: &str) -> Option<&'static str> {
    // A longer text is no slip of the finger, and would take long to compare.
    if word.len() > 16 {
        return None;
    }
    let list = Language::English.word_list();
    // The first four letters are enough to know a word of the list by.
    if let Some(start) = word.get(..4)
        && let Some(same) = list.iter().find(|known| known.starts_with(start))
    {
        return Some(same);
    }
    let near = list.iter().map(|known| (distance(word.as_bytes(), known.as_bytes()), *known));
    let (short, long) = SUGGESTION_DISTANCE_MAX;
    let most = if word.len() <= 4 { short } else { long };
    near.min().filter(|(distance, _)| *distance <= most).map(|(_, known)| known)
}

/// Letters to add, drop, change or exchange with their neighbour to make one word of the other (Damerau; optimal
/// string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![0; (a.len() + 1) * width];
    for (j, cell) in rows.iter_mut().enumerate().take(width) {
        *cell = j;
    }
    for i in 1..=a.len() {
        rows[i * width] = i;
        for j in 1..width {
            let above = (i - 1) * width + j;
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut least =
                (rows[above] + 1).min(rows[i * width + j - 1] + 1).min(rows[above - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[(i - 2) * width + j - 2] + 1);
            }
            rows[i * width + j] = least;
        }
    }
    rows[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIP-39's own test vectors for 256 bits (trezor/python-mnemonic, vectors.json).
    #[test]
    fn the_words_are_those_of_bip_39() {
        let zero = format!("{}art", "abandon ".repeat(23));
        let seven_f = "legal winner thank year wave sausage worth useful legal winner thank year \
             wave sausage worth useful legal winner thank year wave sausage worth title";
        let ones = format!("{}vote", "zoo ".repeat(23));
        let mixed = "void come effort suffer camp survey warrior heavy shoot primary clutch crush \
             open amazing screen patrol group space point ten exist slush involve unfold";
        let mixed_secret = [
            0xf5, 0x85, 0xc1, 0x1a, 0xec, 0x52, 0x0d, 0xb5, 0x7d, 0xd3, 0x53, 0xc6, 0x95, 0x54,
            0xb2, 0x1a, 0x89, 0xb2, 0x0f, 0xb0, 0x65, 0x09, 0x66, 0xfa, 0x0a, 0x9d, 0x6f, 0x74,
            0xfd, 0x98, 0x9d, 0x8f,
        ];
        for (text, secret) in [
            (zero.as_str(), [0; 32]),
            (seven_f, [0x7f; 32]),
            (ones.as_str(), [0xff; 32]),
            (mixed, mixed_secret),
        ] {
            let identity = Identity::from_secret(&secret);
            assert_eq!(identity.words().to_text().as_str(), text);
            let words = Words::parse(text).expect("a vector");
            assert_eq!(Identity::from_words(&words).device_id(), identity.device_id());
            assert_eq!(*words.secret(), secret);
        }
    }

    fn check(text: &str, expect: Result<(), WordsError>) {
        assert!(Words::parse(text).map(drop) == expect, "{text:?}");
    }

    #[test]
    fn case_and_space_do_not_matter() {
        let text = Identity::from_secret(&[7; 32]).words().to_text();
        check(&text.to_uppercase(), Ok(()));
        check(&format!("\n\t {} \r\n", text.replace(' ', " \n  ")), Ok(()));
    }

    #[test]
    fn slips_are_named() {
        let words: Vec<&str> = Identity::from_secret(&[7; 32]).words().iter().collect();
        let changed = |index: usize, word: &str| {
            let mut words = words.clone();
            words[index] = word;
            words.join(" ")
        };
        check(&words[..23].join(" "), Err(WordsError::Count { found: 23 }));
        check(&format!("{} zoo", words.join(" ")), Err(WordsError::Count { found: 25 }));
        check("", Err(WordsError::Count { found: 0 }));
        check("zoo zoo", Err(WordsError::Count { found: 2 }));
        let mut exchanged = words.clone();
        let other = (1..24).find(|&at| words[at] != words[0]).expect("another word");
        exchanged.swap(0, other);
        // One in 256 exchanges would pass; this one does not.
        check(&exchanged.join(" "), Err(WordsError::Checksum));
        let unknown = |position, nearest| Err(WordsError::Unknown { position, nearest });
        check(&changed(6, "abondon"), unknown(7, Some("abandon")));
        check(&changed(0, "zooo"), unknown(1, Some("zoo")));
        check(&changed(23, "aer"), unknown(24, Some("air")));
        check(&changed(23, "wrold"), unknown(24, Some("world")));
        check(&changed(1, "accomodate"), unknown(2, Some("account")));
        check(&changed(1, "qqqqqq"), unknown(2, None));
        check(&changed(1, "élève"), unknown(2, None));
        check(&changed(1, &"x".repeat(3_000)), unknown(2, None));
    }

    #[test]
    fn endless_input_is_refused() {
        check(&"a".repeat(1 << 20), Err(WordsError::Count { found: 25 }));
        check(&"zoo ".repeat(1 << 18), Err(WordsError::Count { found: 1_024 }));
        check(&"é".repeat(4_000), Err(WordsError::Count { found: 25 }));
    }

    #[test]
    fn errors_are_sentences_and_debug_is_silent() {
        let error = WordsError::Unknown { position: 7, nearest: Some("abandon") };
        assert_eq!(error.to_string(), "word 7 is not on the list; did you mean \"abandon\"?");
        assert_eq!(format!("{error:?}"), "Unknown(7, ..)");
        assert_eq!(format!("{:?}", Identity::from_secret(&[7; 32]).words()), "Words(..)");
        let count = WordsError::Count { found: 23 };
        assert_eq!(count.to_string(), "a backup has 24 words, these are 23");
    }
}
