//! Problems of a configuration: where, and in a sentence what to do.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One problem. Displayed as `path:line:column: sentence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, sentence } = self;
        write!(f, "{}:{line}:{column}: {sentence}", path.display())
    }
}

/// Line and column of a byte offset, both from 1.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// A place in the text.
pub(super) type Span = Range<usize>;

/// `found` is none of `known`: names the nearest, or all when there are few.
pub(super) fn not_one_of(found: &str, known: &[&str]) -> String {
    match nearest(found, known) {
        Some(near) => format!("{found:?} is not known here: did you mean {near:?}?"),
        None => format!("{found:?} is not known here: one of {}", known.join(", ")),
    }
}

/// The word that is the fewest edits away, if that is two, or a third of its length, or less.
pub(super) fn nearest<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer words than any of ours need no comparing.
    const WORD_BYTES_MAX: usize = 64;
    if found.len() > WORD_BYTES_MAX {
        return None;
    }
    known
        .iter()
        .map(|word| (distance(found, word), *word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(2) && *distance < word.len())
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *cell;
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            *cell = left;
            diagonal = above;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let check = |a, b, expect| assert_eq!(distance(a, b), expect, "{a} {b}");
        check("", "", 0);
        check("abc", "", 3);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("idle_ms", "idle_m", 1);
        check("flaw", "lawn", 2);
    }

    #[test]
    fn the_nearest_word() {
        let known = ["address", "listen", "level"];
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("quantum", &known), None);
        assert_eq!(nearest(&"x".repeat(10_000), &known), None);
    }

    #[test]
    fn positions() {
        let check = |at, expect| assert_eq!(position("aß\n\nxy", at), expect, "{at}");
        check(0, (1, 1));
        check(3, (1, 3));
        check(4, (2, 1));
        check(5, (3, 1));
        check(6, (3, 2));
        check(99, (3, 3));
    }
}
