//! Which bucket holds how much, and Padmé (Nikitin et al., *Reducing Metadata Leakage from Encrypted
//! Files and Communication with PURBs*, PoPETs 2019, §4) for what is larger than the largest.

use crate::cell::Class;

/// `length(u32)` in front of every padded content.
pub const LENGTH_LEN: usize = 4;
/// What an outer seal costs: salt, length and tag (`PROTOCOL.md` annex A.1).
pub const SEAL_OVERHEAD: usize = 32 + LENGTH_LEN + 16;
/// What a frame cell costs: masked nonce, length and tag (`PROTOCOL.md` annex A.4).
pub const FRAME_OVERHEAD: usize = 12 + LENGTH_LEN + 16;

/// The Padmé length of `length`: never smaller, at most 12 % larger, and one of few.
///
/// Lengths up to 2 are their own. What would round up beyond 64 bits becomes [`u64::MAX`].
#[must_use]
pub const fn padme(length: u64) -> u64 {
    if length <= 2 {
        return length;
    }
    let exponent = 63 - length.leading_zeros();
    let bits = 32 - exponent.leading_zeros();
    let mask = (1u64 << exponent.saturating_sub(bits)) - 1;
    match length.checked_add(mask) {
        Some(rounded) => rounded & !mask,
        None => u64::MAX,
    }
}

/// The smallest class whose body holds `content` bytes and `overhead`.
#[must_use]
pub fn class_for(content: usize, overhead: usize) -> Option<Class> {
    Class::for_body(content.checked_add(overhead)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padme_matches_the_check_values() {
        let table = [
            (0, 0),
            (2, 2),
            (9, 10),
            (15, 16),
            (100, 104),
            (1_000, 1_024),
            (1_025, 1_088),
            (32_770, 34_816),
            (50_009, 51_200),
            (100_009, 100_352),
            (262_153, 270_336),
            (u64::MAX - 1, u64::MAX),
            (u64::MAX, u64::MAX),
        ];
        for (length, padded) in table {
            assert_eq!(padme(length), padded, "{length}");
        }
    }

    #[test]
    fn buckets_hold_what_the_annex_says() {
        let seal = Class::ALL.map(|class| class.body_len() - SEAL_OVERHEAD);
        assert_eq!(seal, [140, 396, 908, 1_932, 3_980, 8_076, 16_268, 32_652]);
        let frames = Class::ALL.map(|class| class.body_len() - FRAME_OVERHEAD);
        assert_eq!(frames, [160, 416, 928, 1_952, 4_000, 8_096, 16_288, 32_672]);
        assert_eq!(class_for(160, FRAME_OVERHEAD), Some(Class::C0));
        assert_eq!(class_for(161, FRAME_OVERHEAD), Some(Class::C1));
        assert_eq!(class_for(usize::MAX, 4), None);
    }
}
