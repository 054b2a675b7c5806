//! SHA-256, HMAC (RFC 2104) and HKDF (RFC 5869) as annex A writes them.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A derived secret of 32 bytes.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// H over the concatenation of `parts`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Extract(salt, concatenation of `ikm`).
pub(crate) fn extract(salt: &[u8], ikm: &[&[u8]]) -> Key {
    hmac(salt, ikm)
}

/// Expand(key, label, context, length of `out`), info = label ‖ 0x00 ‖ context.
pub(crate) fn expand_into(key: &[u8; 32], label: &str, context: &[u8], out: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("32 bytes are a pseudorandom key");
    hkdf.expand_multi_info(&[label.as_bytes(), &[0], context], out)
        .expect("at most 32 bytes are asked for");
}

/// Expand(key, label, context, 32).
pub(crate) fn expand(key: &[u8; 32], label: &str, context: &[u8]) -> Key {
    let mut out = Key::default();
    expand_into(key, label, context, out.as_mut());
    out
}

/// HMAC-SHA256 over the concatenation of `parts`.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes any key");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extract_matches_rfc_5869_test_case_1() {
        let salt: Vec<u8> = (0..13).collect();
        let key = extract(&salt, &[&[0x0b; 11], &[0x0b; 11]]);
        assert_eq!(key[..4], [0x07, 0x77, 0x09, 0x36]);
    }

    #[test]
    fn label_and_context_are_kept_apart() {
        let key = [1; 32];
        assert_ne!(expand(&key, "a", b"b"), expand(&key, "ab", b""));
    }
}
