//! Text that people will read: names, sentences, regions, software.
//!
//! It comes from strangers and ends on terminals and in logs, so it may not steer them: no control
//! characters (Unicode Cc), no line or paragraph separators, no marks that turn the direction of
//! reading, no byte order mark. A writer replaces them, a reader refuses them.

use alloc::string::String;

/// Whether `character` may stand in a text for people.
#[must_use]
pub fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// `text` with every character that is not plain replaced by U+FFFD, cut between two characters so
/// that at most `bytes_max` bytes of UTF-8 remain.
#[must_use]
pub fn plain(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let character = if is_plain(character) { character } else { char::REPLACEMENT_CHARACTER };
        if out.len() + character.len_utf8() > bytes_max {
            break;
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_replaced() {
        let check = |text: &str, expect: &str| assert_eq!(plain(text, 64), expect, "{text:?}");
        check("Zoë's phone 📱", "Zoë's phone 📱");
        check("a\x1b[2Jb", "a\u{fffd}[2Jb");
        check("a\r\nb\tc\x7f\0", "a\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}");
        check("\u{9b}31m", "\u{fffd}31m");
        check("abc\u{202e}txt.exe", "abc\u{fffd}txt.exe");
        check("\u{feff}a\u{2028}b\u{2069}", "\u{fffd}a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn cuts_fall_between_characters() {
        let check = |bytes_max, expect: &str| assert_eq!(plain("aéz", bytes_max), expect);
        check(0, "");
        check(1, "a");
        check(2, "a");
        check(3, "aé");
        check(4, "aéz");
        assert_eq!(plain("\n\n", 4), "\u{fffd}");
    }
}
