//! Names of received files.

use hushwire_wire::text;

use super::limits::FILE_NAME_BYTES_MAX;

/// A peer's file name as this side uses it: no folders, nothing hidden, nothing a terminal obeys.
#[must_use]
pub fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = text::plain(last, FILE_NAME_BYTES_MAX);
    let name = plain.trim().trim_start_matches('.');
    if name.is_empty() { "received".to_owned() } else { name.to_owned() }
}

/// The name of the n-th further file of a name.
pub(super) fn numbered(name: &str, copy: u32) -> String {
    match (copy, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (_, Some((stem, ending))) if !stem.is_empty() => format!("{stem} ({copy}).{ending}"),
        _ => format!("{name} ({copy})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_peers_stay_where_they_belong() {
        let table = [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\windows\\system.ini", "system.ini"),
            (".bashrc", "bashrc"),
            ("..", "received"),
            ("", "received"),
            ("a/", "received"),
        ];
        for (name, expect) in table {
            assert_eq!(safe_name(name), expect, "{name:?}");
        }
        assert!(!safe_name("evil\u{1b}[2Jname").contains('\u{1b}'));
        assert!(!safe_name("a\0b").contains('\0'));
        assert!(safe_name(&"x".repeat(1_000)).len() <= FILE_NAME_BYTES_MAX);
    }

    #[test]
    fn a_second_file_of_a_name_gets_a_number() {
        for (name, copy, expect) in [
            ("a.txt", 0, "a.txt"),
            ("a.txt", 2, "a (2).txt"),
            ("a", 1, "a (1)"),
            (".a", 1, ".a (1)"),
        ] {
            assert_eq!(numbered(name, copy), expect);
        }
    }
}
