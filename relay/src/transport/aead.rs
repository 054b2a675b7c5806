//! The AEADs of records (RFC 8446 §5.2), from whichever of two libraries has the faster code for this processor.
//!
//! aws-lc has AES-GCM for 512-bit vectors and for 128-bit ones, and nothing between (aws/aws-lc#2283). Processors with vector AES of
//! 256 bits and no AVX-512, AMD's Zen 3 and Intel's clients among them, open and seal a long record in half of the time with
//! ring, which has BoringSSL's code for them. Everywhere else, and for ChaCha20-Poly1305, it is aws-lc.

use aws_lc_rs::aead as aws_lc;
use ring::aead as ring;

use super::limits::{RECORD_HEADER_BYTES, RECORD_TAG_BYTES};
use super::secrets::{IV_BYTES, Suite};

/// The number of a record, made one with the IV (RFC 8446 §5.3).
pub(super) type RecordNonce = [u8; IV_BYTES];
/// What is authenticated beside the content: the record's header.
pub(super) type RecordHeader = [u8; RECORD_HEADER_BYTES];

/// Bytes that are copied at a time. From 4 KiB on glibc copies by `rep movsb`, which takes Zen 3 twenty times as long where the
/// target is a few bytes ahead of the source within their pages: 5.4 µs for 16 KiB (glibc bug 30994).
const COPY_BYTES: usize = 2_048;

/// Why a record was not opened or sealed: its tag does not match, or lengths do not fit. No more is known.
#[derive(Debug)]
pub(super) struct Refused;

/// Whose code opens and seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    AwsLc,
    Ring,
}

impl Library {
    /// The faster one for `suite` on this processor.
    #[cfg(target_arch = "x86_64")]
    fn fastest(suite: Suite) -> Self {
        let gcm = matches!(suite, Suite::Aes128Gcm | Suite::Aes256Gcm);
        // What ring's code of 256 bits needs, and what aws-lc's of 512 bits needs besides.
        let has_256 = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("vaes")
            && std::is_x86_feature_detected!("vpclmulqdq");
        let has_512 = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl");
        if gcm && has_256 && !has_512 { Self::Ring } else { Self::AwsLc }
    }

    /// The faster one for `suite` on this processor.
    #[cfg(not(target_arch = "x86_64"))]
    fn fastest(_: Suite) -> Self {
        Self::AwsLc
    }
}

/// A key that is ready for use: round keys and the tables of its hash, some 600 bytes of heap.
pub(super) enum Context {
    /// aws-lc wipes its contexts itself.
    AwsLc(aws_lc::LessSafeKey),
    Ring(WipedKey),
}

impl Context {
    /// Expands `key`, which has the length that `suite` wants.
    pub(super) fn new(suite: Suite, key: &[u8]) -> Result<Self, Refused> {
        Self::of(Library::fastest(suite), suite, key)
    }

    fn of(library: Library, suite: Suite, key: &[u8]) -> Result<Self, Refused> {
        Ok(match library {
            Library::AwsLc => {
                let key = aws_lc::UnboundKey::new(suite.aead(), key).map_err(|_| Refused)?;
                Self::AwsLc(aws_lc::LessSafeKey::new(key))
            }
            Library::Ring => Self::Ring(WipedKey::new(suite, key)?),
        })
    }

    /// Opens `body`, ciphertext and tag, in place and returns the plaintext in front of it.
    #[inline]
    pub(super) fn open<'a>(
        &self,
        nonce: RecordNonce,
        header: RecordHeader,
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Refused> {
        match self {
            Self::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, aws_lc::Aad::from(header), body).map_err(|_| Refused)
            }
            Self::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                key.0.open_in_place(nonce, ring::Aad::from(header), body).map_err(|_| Refused)
            }
        }
    }

    /// Seals `plain` and `extra`, one after the other, into `out`, which has their length and a tag's.
    #[inline]
    pub(super) fn seal(
        &self,
        nonce: RecordNonce,
        header: RecordHeader,
        plain: &[u8],
        extra: &[u8],
        out: &mut [u8],
    ) -> Result<(), Refused> {
        let (body, rest) = out.split_at_mut_checked(plain.len()).ok_or(Refused)?;
        match self {
            Self::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                let header = aws_lc::Aad::from(header);
                key.seal_out_of_place_scatter(nonce, header, plain, body, extra, rest)
                    .map_err(|_| Refused)
            }
            // In place only: but the bytes were opened a moment ago, and come from the cache.
            Self::Ring(_) => {
                if rest.len() != extra.len() + RECORD_TAG_BYTES {
                    return Err(Refused);
                }
                for (to, from) in body.chunks_mut(COPY_BYTES).zip(plain.chunks(COPY_BYTES)) {
                    to.copy_from_slice(from);
                }
                rest[..extra.len()].copy_from_slice(extra);
                self.seal_in_place(nonce, header, out)
            }
        }
    }

    /// Seals what stands in `out` before its last [`RECORD_TAG_BYTES`], where the tag goes.
    #[inline]
    pub(super) fn seal_in_place(
        &self,
        nonce: RecordNonce,
        header: RecordHeader,
        out: &mut [u8],
    ) -> Result<(), Refused> {
        let (plain, tag_out) = out.split_last_chunk_mut::<RECORD_TAG_BYTES>().ok_or(Refused)?;
        match self {
            Self::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                let sealed =
                    key.seal_in_place_separate_tag(nonce, aws_lc::Aad::from(header), plain);
                tag_out.copy_from_slice(sealed.map_err(|_| Refused)?.as_ref());
            }
            Self::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                let sealed =
                    key.0.seal_in_place_separate_tag(nonce, ring::Aad::from(header), plain);
                tag_out.copy_from_slice(sealed.map_err(|_| Refused)?.as_ref());
            }
        }
        Ok(())
    }
}

/// A context of ring, which does not wipe any: on the heap, so that there is one place of it, and overwritten when dropped.
pub(super) struct WipedKey(Box<ring::LessSafeKey>);

impl WipedKey {
    fn new(suite: Suite, key: &[u8]) -> Result<Self, Refused> {
        let algorithm = match suite {
            Suite::Aes128Gcm => &ring::AES_128_GCM,
            Suite::Aes256Gcm => &ring::AES_256_GCM,
            Suite::ChaCha20Poly1305 => &ring::CHACHA20_POLY1305,
        };
        let key = ring::UnboundKey::new(algorithm, key).map_err(|_| Refused)?;
        Ok(Self(Box::new(ring::LessSafeKey::new(key))))
    }
}

impl Drop for WipedKey {
    fn drop(&mut self) {
        let zeros = [0; 32];
        let algorithm = self.0.algorithm();
        if let Ok(nobodys) = ring::UnboundKey::new(algorithm, &zeros[..algorithm.key_len()]) {
            *self.0 = ring::LessSafeKey::new(nobodys);
            // The compiler may not leave out what somebody might still read.
            std::hint::black_box(&mut *self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::limits::RECORD_PLAIN_BYTES_MAX;

    const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
    const BOTH: [Library; 2] = [Library::AwsLc, Library::Ring];

    fn context(library: Library, suite: Suite) -> Context {
        let key: Vec<u8> = (0..suite.aead().key_len()).map(|byte| byte as u8).collect();
        Context::of(library, suite, &key).expect("a key of the right length")
    }

    fn sealed(context: &Context, number: u8, plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; plain.len() + 1 + RECORD_TAG_BYTES];
        context.seal([number; IV_BYTES], [23, 3, 3, 0, number], plain, &[23], &mut out).unwrap();
        out
    }

    /// Around the ends of blocks, of what is worked on at once, and of a record.
    fn lengths() -> impl Iterator<Item = usize> {
        let around = |middle: usize| middle.saturating_sub(2)..=middle + 1;
        (0..300)
            .chain(around(512))
            .chain(around(4_096))
            .chain(RECORD_PLAIN_BYTES_MAX - 1..=RECORD_PLAIN_BYTES_MAX)
    }

    #[test]
    fn both_libraries_make_the_same_records() {
        let bytes: Vec<u8> = (0..RECORD_PLAIN_BYTES_MAX).map(|byte| (byte * 7) as u8).collect();
        for suite in SUITES {
            let [aws_lc, ring] = BOTH.map(|library| context(library, suite));
            for length in lengths() {
                let plain = &bytes[..length];
                let number = length as u8;
                let record = sealed(&aws_lc, number, plain);
                assert_eq!(record, sealed(&ring, number, plain), "{suite:?}, {length} bytes");
                // Sealed where it stands, it is the same again.
                let mut in_place = [plain, &[23], &[0; RECORD_TAG_BYTES]].concat();
                let (nonce, header) = ([number; IV_BYTES], [23, 3, 3, 0, number]);
                ring.seal_in_place(nonce, header, &mut in_place).unwrap();
                assert_eq!(record, in_place, "{suite:?}, {length} bytes");
                for context in [&aws_lc, &ring] {
                    let mut body = record.clone();
                    let opened = context.open(nonce, header, &mut body).unwrap();
                    assert_eq!(opened, [plain, &[23]].concat());
                }
            }
        }
    }

    #[test]
    fn whatever_is_changed_is_refused_by_both() {
        for (suite, library) in SUITES.into_iter().flat_map(|s| BOTH.map(|l| (s, l))) {
            let context = context(library, suite);
            let record = sealed(&context, 1, b"forty bytes of content, give or take one.");
            let (nonce, header) = ([1; IV_BYTES], [23, 3, 3, 0, 1]);
            for at in 0..record.len() {
                let mut body = record.clone();
                body[at] ^= 1;
                assert!(context.open(nonce, header, &mut body).is_err(), "{library:?}, {at}");
            }
            assert!(context.open([2; IV_BYTES], header, &mut record.clone()).is_err());
            assert!(context.open(nonce, [23, 3, 3, 0, 2], &mut record.clone()).is_err());
            for length in 0..record.len() {
                assert!(context.open(nonce, header, &mut record[..length].to_vec()).is_err());
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused_by_both() {
        for (suite, library) in SUITES.into_iter().flat_map(|s| BOTH.map(|l| (s, l))) {
            let context = context(library, suite);
            for length in (0..60).filter(|length| *length != 10 + 1 + RECORD_TAG_BYTES) {
                let mut out = vec![0; length];
                let refused = context.seal([0; IV_BYTES], [0; 5], &[1; 10], &[23], &mut out);
                assert!(refused.is_err(), "{library:?}, {length}");
            }
            let mut no_tag = [0; RECORD_TAG_BYTES - 1];
            assert!(context.seal_in_place([0; IV_BYTES], [0; 5], &mut no_tag).is_err());
            let short = vec![0; suite.aead().key_len() - 1];
            assert!(Context::of(library, suite, &short).is_err(), "{library:?}");
        }
    }

    #[test]
    fn an_idle_context_is_a_pointer_and_a_little() {
        // Of the connection it is two; the bill counts the heap behind them.
        assert!(size_of::<Option<Context>>() <= 24, "{}", size_of::<Option<Context>>());
    }
}
