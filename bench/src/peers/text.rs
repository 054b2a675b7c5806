//! Lines and decimal numbers, which two of the protocols are made of.

use anyhow::{Context as _, Result, ensure};

/// The line at the front of `bytes` without its end, and the length of both, if all of it is there.
pub(super) fn line(bytes: &[u8], length_max: usize) -> Result<Option<(usize, &[u8])>> {
    let looked_at = &bytes[..bytes.len().min(length_max)];
    let Some(end) = looked_at.windows(2).position(|two| two == b"\r\n") else {
        ensure!(bytes.len() <= length_max, "the server sent a line without an end");
        return Ok(None);
    };
    Ok(Some((end + 2, &bytes[..end])))
}

/// A number of decimal digits and nothing else.
pub(super) fn number(digits: &[u8]) -> Result<usize> {
    ensure!(digits.iter().all(u8::is_ascii_digit), "the server sent a number that is none");
    let text = std::str::from_utf8(digits)?;
    text.parse().context("the server sent a number that is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        #[track_caller]
        fn check(bytes: &[u8], expect: Option<(usize, &[u8])>) {
            assert_eq!(line(bytes, 8).unwrap(), expect);
        }
        check(b"", None);
        check(b"abc", None);
        check(b"abc\r", None);
        check(b"abc\r\nd", Some((5, b"abc")));
        check(b"\r\n", Some((2, b"")));
        check(b"abcdef\r\nghi", Some((8, b"abcdef")));
        assert!(line(b"abcdefg\r\n", 8).is_err());
        assert!(line(b"abcdefghi", 8).is_err());
    }

    #[test]
    fn numbers() {
        let check = |digits: &[u8], expect| assert_eq!(number(digits).ok(), expect, "{digits:?}");
        check(b"0", Some(0));
        check(b"32768", Some(32_768));
        check(b"", None);
        check(b"-1", None);
        check(b"+1", None);
        check(b"1 ", None);
        check(b"99999999999999999999", None);
    }
}
