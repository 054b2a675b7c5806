//! `length(u32) ‖ content ‖ zeros`: the plaintext of every AEAD that fills a body.

use hushwire_wire::cell::Class;
use hushwire_wire::padding::LENGTH_LEN;

/// The plaintext does not follow the layout: its authenticated sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotPadded;

/// Whether `len` is the length of a body.
pub(super) fn is_body_len(len: usize) -> bool {
    Class::ALL.iter().any(|class| class.body_len() == len)
}

/// Writes length and zeros around the `length` bytes of content that stand in `plaintext` already.
pub(super) fn close(plaintext: &mut [u8], length: usize) {
    let number = u32::try_from(length).expect("a content is shorter than a cell");
    plaintext[..LENGTH_LEN].copy_from_slice(&number.to_le_bytes());
    plaintext[LENGTH_LEN + length..].fill(0);
}

/// The content, after checking that it lies inside and that everything behind it is zero.
pub(super) fn content(plaintext: &[u8]) -> Result<&[u8], NotPadded> {
    let (length, rest) = plaintext.split_first_chunk::<LENGTH_LEN>().ok_or(NotPadded)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| NotPadded)?;
    let (content, zeros) = rest.split_at_checked(length).ok_or(NotPadded)?;
    if zeros.iter().fold(0, |any, byte| any | byte) == 0 { Ok(content) } else { Err(NotPadded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_must_lie_inside_and_end_in_zeros() {
        let check = |plaintext: &[u8], expect: Result<&[u8], NotPadded>| {
            assert_eq!(content(plaintext), expect, "{plaintext:?}");
        };
        check(&[0, 0, 0, 0], Ok(&[]));
        check(&[2, 0, 0, 0, 7, 0, 0], Ok(&[7, 0]));
        check(&[1, 0, 0, 0, 7, 0, 1], Err(NotPadded));
        check(&[4, 0, 0, 0, 7, 0, 1], Err(NotPadded));
        check(&[255, 255, 255, 255, 7], Err(NotPadded));
        check(&[0, 0, 0], Err(NotPadded));
    }
}
