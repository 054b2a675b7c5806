//! The outer seal: every class, every use, every byte.

use crate::support::{Replay, alice, bob, mallory};
use hushwire::suite::keys::{CodeKeys, PairKey, Psk};
use hushwire::suite::seal::{OpenError, OuterSeal, SealError};
use hushwire_wire::cell::Class;
use hushwire_wire::code::Secret;
use hushwire_wire::id::ChannelId;
use hushwire_wire::padding::SEAL_OVERHEAD;
use proptest::prelude::*;

fn seals() -> Vec<OuterSeal> {
    let (key, other) = (PairKey::new([1; 32]), PairKey::new([2; 32]));
    let (a, b, m) = (alice().device_id(), bob().device_id(), mallory().device_id());
    let channel = ChannelId::new([3; 16]);
    vec![
        OuterSeal::paired(&key, &a, &b),
        OuterSeal::paired(&key, &b, &a),
        OuterSeal::paired(&key, &a, &m),
        OuterSeal::paired(&other, &a, &b),
        OuterSeal::push(&key, &a, &b),
        OuterSeal::group(&[1; 32], &channel, &a),
        OuterSeal::group(&[1; 32], &channel, &b),
        OuterSeal::pairing(&CodeKeys::derive(&Secret::new([1; 16]))),
        OuterSeal::pairing(&CodeKeys::derive(&Secret::new([2; 16]))),
    ]
}

#[test]
fn a_seal_opens_for_its_own_use_and_direction_only() {
    for (sealed_with, seal) in seals().iter().enumerate() {
        let mut body = vec![0; Class::C0.body_len()];
        seal.seal(b"content", &mut body, &mut Replay::new("salt")).expect("fits");
        for (opened_with, other) in seals().iter().enumerate() {
            let mut copy = body.clone();
            let expect = if sealed_with == opened_with {
                Ok(&b"content"[..])
            } else {
                Err(OpenError::Unauthentic)
            };
            assert_eq!(other.open(&mut copy), expect, "{sealed_with} {opened_with}");
            if sealed_with != opened_with {
                assert_eq!(copy, body, "another key can be tried");
            }
        }
    }
}

#[test]
fn every_class_is_filled_exactly() {
    let seal = &seals()[0];
    for class in Class::ALL {
        let max = class.body_len() - SEAL_OVERHEAD;
        for length in [0, 1, max] {
            let content = vec![9; length];
            let mut body = vec![0xaa; class.body_len()];
            seal.seal(&content, &mut body, &mut Replay::new("salt")).expect("fits");
            assert_eq!(seal.open(&mut body), Ok(content.as_slice()));
        }
        let too_long = vec![9; max + 1];
        let mut body = vec![0xaa; class.body_len()];
        let refused = seal.seal(&too_long, &mut body, &mut Replay::new("salt"));
        assert_eq!(refused, Err(SealError::TooLong { length: max + 1, max }));
        assert!(body.iter().all(|&byte| byte == 0xaa));
    }
}

#[test]
fn wrong_lengths_and_changed_bytes_are_refused() {
    let seal = &seals()[0];
    let mut body = vec![0; Class::C0.body_len()];
    seal.seal(b"content", &mut body, &mut Replay::new("salt")).expect("fits");
    for at in 0..body.len() {
        for mask in [1, 0x80] {
            let mut changed = body.clone();
            changed[at] ^= mask;
            assert_eq!(seal.open(&mut changed), Err(OpenError::Unauthentic), "{at}");
        }
    }
    for length in [0, 48, 191, 193] {
        let mut wrong = vec![0; length];
        assert_eq!(seal.open(&mut wrong), Err(OpenError::BodyLength(length)));
        let refused = seal.seal(b"", &mut wrong, &mut Replay::new("salt"));
        assert_eq!(refused, Err(SealError::BodyLength(length)));
    }
}

/// The holder of the key can still lie about length and padding.
#[test]
fn authentic_contents_with_wrong_padding_are_refused() {
    use aes_gcm::aead::{AeadInOut, KeyInit};
    use hkdf::Hkdf;
    let (a, b) = (alice().device_id(), bob().device_id());
    let seal = OuterSeal::paired(&PairKey::new([1; 32]), &a, &b);
    let aad = [a.as_bytes().as_slice(), b.as_bytes()].concat();
    for (at, value) in [(143, 1), (0, 141), (3, 1)] {
        let mut body = vec![0; Class::C0.body_len()];
        let hkdf = Hkdf::<sha2::Sha256>::from_prk(&[1; 32]).expect("32 bytes");
        let mut key = [0; 32];
        hkdf.expand_multi_info(&[b"hw1 seal", &[0], &[0; 32]], &mut key).expect("short");
        let (plaintext, tag) = body[32..].split_at_mut(144);
        plaintext[at] = value;
        let cipher = aes_gcm::Aes256Gcm::new(&key.into());
        let sealed = cipher.encrypt_inout_detached(&Default::default(), &aad, plaintext.into());
        tag.copy_from_slice(&sealed.expect("short"));
        assert_eq!(seal.open(&mut body), Err(OpenError::Padding), "{at}");
    }
}

#[test]
fn a_handshake_chooses_its_seal_by_its_secret() {
    let (a, b) = (alice().device_id(), bob().device_id());
    let keys = CodeKeys::derive(&Secret::new([1; 16]));
    let mut body = vec![0; Class::C3.body_len()];
    let pairing = OuterSeal::handshake(&Psk::Pairing(keys.clone()), &a, &b);
    pairing.seal(b"x", &mut body, &mut Replay::new("salt")).expect("fits");
    assert_eq!(OuterSeal::pairing(&keys).open(&mut body), Ok(&b"x"[..]));
    let session = OuterSeal::handshake(&Psk::Session(PairKey::new([1; 32])), &a, &b);
    session.seal(b"y", &mut body, &mut Replay::new("salt")).expect("fits");
    assert_eq!(seals()[0].open(&mut body), Ok(&b"y"[..]));
}

proptest! {
    #[test]
    fn any_content_arrives_unchanged(
        class in 0u8..8,
        content in proptest::collection::vec(any::<u8>(), 0..=140),
    ) {
        let seal = &seals()[0];
        let mut body = vec![0; Class::from_wire(class).expect("eight classes").body_len()];
        seal.seal(&content, &mut body, &mut Replay::new("salt")).expect("fits");
        prop_assert_eq!(seal.open(&mut body), Ok(content.as_slice()));
    }

    #[test]
    fn any_body_is_refused_unchanged(mut body in proptest::collection::vec(any::<u8>(), 192)) {
        let before = body.clone();
        prop_assert_eq!(seals()[0].open(&mut body), Err(OpenError::Unauthentic));
        prop_assert_eq!(body, before);
    }
}
