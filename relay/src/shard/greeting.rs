//! CHALLENGE and HELLO: the device proves its key before anything is looked up.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use hushwire_engine::Introduction;
use hushwire_wire::control::{
    Control, ErrorCode, Hello, Transport, proof_message, register_message, replace_proof,
};
use hushwire_wire::id::{DeviceId, RelayId};
use hushwire_wire::limits::VERSION;

pub(crate) use super::connection::Challenged;

/// Why a device is not let in, in the words it will read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) sentence: &'static str,
}

const WRONG_PROOF: Refusal = Refusal {
    code: ErrorCode::Unauthenticated,
    sentence: "the proof does not fit this connection and device ID: connect anew and sign the \
               relay's last CHALLENGE with the device's own key",
};
const UNPROVED: Refusal = Refusal {
    code: ErrorCode::Unauthenticated,
    sentence: "the new device has not signed that this device registers it at this relay: sign with the \
               new device's own key",
};
const WRONG_VERSION: Refusal = Refusal {
    code: ErrorCode::Unsupported,
    sentence: "the relay speaks version 1 of the protocol: upgrade whichever side is older",
};

/// A fresh challenge for a connection with this TLS exporter.
pub(crate) fn challenge(
    relay: RelayId,
    transport: Transport,
    binding: [u8; 32],
) -> Option<Challenged> {
    let mut nonce = [0; 32];
    rand::fill(&mut nonce).ok()?;
    let challenge = Control::Challenge { nonce, relay, versions: vec![VERSION] }.encode();
    Some(Challenged { challenge, binding, transport })
}

/// Checks a HELLO against the challenge of its connection. `content` is the control cell's content that
/// `hello` was read from.
pub(crate) fn verify(
    challenged: &Challenged,
    content: &[u8],
    hello: Hello,
) -> Result<Introduction, Refusal> {
    if hello.version != VERSION {
        return Err(WRONG_VERSION);
    }
    let mut transcript = challenged.challenge.clone();
    let at = transcript.len();
    transcript.extend_from_slice(content);
    replace_proof(&mut transcript[at..], &[0; 64]).ok_or(WRONG_PROOF)?;
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &transcript).as_ref());
    let message = proof_message(&hash, challenged.transport, &challenged.binding);
    if !is_signed(&hello.device, &message, &hello.proof) {
        return Err(WRONG_PROOF);
    }
    Ok(Introduction {
        device: hello.device,
        transport: challenged.transport,
        cover: hello.cover,
        token: hello.token,
        name: hello.name,
        software: hello.software,
    })
}

/// Checks that a device which is to be registered holds its key and goes to the account of `asker`.
pub(super) fn verify_new(
    relay: &RelayId,
    asker: &DeviceId,
    device: &DeviceId,
    proof: &[u8; 64],
) -> Result<(), Refusal> {
    let message = register_message(relay, asker, device);
    if is_signed(device, &message, proof) { Ok(()) } else { Err(UNPROVED) }
}

fn is_signed(device: &DeviceId, message: &[u8], proof: &[u8; 64]) -> bool {
    let key = UnparsedPublicKey::new(&ED25519, device.as_bytes());
    let is_strict = is_strict_key(device) && !has_small_order_r(proof);
    is_strict && key.verify(message, proof).is_ok()
}

/// The points of order 1, 2, 4 and 8 without their sign bit. A signature under such a key says nothing
/// about who made it (Chalkias, Garillot, Nikolaenko: *Taming the many EdDSAs*, 2020, §3).
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
];

/// Strict verification as RFC 8032 §5.1.3 and `verify_strict` of the endpoints have it: the key's
/// encoding is the one canonical one and its point is not of small order.
fn is_strict_key(device: &DeviceId) -> bool {
    let mut y = *device.as_bytes();
    y[31] &= 0x7f;
    let canonical = y[0] < 0xed || y[31] != 0x7f || y[1..31].iter().any(|&byte| byte != 0xff);
    canonical && !SMALL_ORDER.contains(&y)
}

/// Its first half is a point of small order. Other spellings of such a point do not verify: BoringSSL's
/// verification compares encodings.
fn has_small_order_r(proof: &[u8; 64]) -> bool {
    let Some(&(mut y)) = proof.first_chunk::<32>() else { return true };
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use hushwire_wire::control::CoverMode;

    fn signed(challenged: &Challenged, transport: Transport) -> (Vec<u8>, Hello) {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let device = DeviceId::from_slice(pair.public_key().as_ref()).expect("32 bytes");
        let hello = Hello {
            version: 1,
            device,
            proof: [0; 64],
            token: None,
            name: None,
            cover: CoverMode::Off,
            software: "test".into(),
        };
        let mut content = Control::Hello(hello.clone()).encode();
        let transcript = [challenged.challenge.as_slice(), &content].concat();
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &transcript).as_ref());
        let message = proof_message(&hash, transport, &challenged.binding);
        let proof: [u8; 64] = pair.sign(&message).as_ref().try_into().expect("64 bytes");
        replace_proof(&mut content, &proof);
        (content, Hello { proof, ..hello })
    }

    #[test]
    fn a_proof_fits_one_challenge_one_connection_and_one_transport() {
        let relay = RelayId::new([1; 32]);
        let here = challenge(relay, Transport::Tls, [2; 32]).expect("random bytes");
        let (content, hello) = signed(&here, Transport::Tls);
        assert!(verify(&here, &content, hello.clone()).is_ok());

        let again = challenge(relay, Transport::Tls, [2; 32]).expect("random bytes");
        assert_eq!(verify(&again, &content, hello.clone()).err(), Some(WRONG_PROOF), "replayed");
        let challenge = here.challenge.clone();
        let elsewhere = Challenged { challenge, binding: [3; 32], transport: Transport::Tls };
        assert_eq!(verify(&elsewhere, &content, hello.clone()).err(), Some(WRONG_PROOF), "foreign");
        let other = Hello { device: DeviceId::new([9; 32]), ..hello.clone() };
        assert_eq!(verify(&here, &content, other).err(), Some(WRONG_PROOF), "another device");
        let newer = Hello { version: 2, ..hello };
        assert_eq!(verify(&here, &content, newer).err(), Some(WRONG_VERSION));
        for other in [Transport::WebSocket, Transport::Quic] {
            let (content, hello) = signed(&here, other);
            assert_eq!(verify(&here, &content, hello).err(), Some(WRONG_PROOF), "{other:?}");
        }
    }

    #[test]
    fn keys_with_other_spellings_or_small_order_are_refused() {
        for key in SMALL_ORDER {
            let mut signed = key;
            signed[31] |= 0x80;
            assert!(!is_strict_key(&DeviceId::new(key)));
            assert!(!is_strict_key(&DeviceId::new(signed)));
        }
        let mut above_p = [0xff; 32];
        above_p[31] = 0x7f;
        for low in 0xed..=0xff {
            above_p[0] = low;
            assert!(!is_strict_key(&DeviceId::new(above_p)), "{low:x}");
        }
        assert!(is_strict_key(&DeviceId::new([9; 32])));
    }

    #[test]
    fn a_proof_whose_r_has_small_order_is_refused() {
        // Made with R = the neutral point: S is the hash times the secret scalar, and it verifies.
        let device = DeviceId::new([
            0xf1, 0x9a, 0xbc, 0xa4, 0x6d, 0x6c, 0x02, 0xec, 0xe0, 0x43, 0x87, 0x35, 0xee, 0xf3,
            0x90, 0xd6, 0xa4, 0xc6, 0x79, 0x28, 0x4e, 0xdb, 0x0a, 0xc2, 0x03, 0x12, 0x89, 0x00,
            0x43, 0x17, 0xd3, 0xfb,
        ]);
        let s: [u8; 32] = [
            0x4d, 0x20, 0x67, 0x43, 0xb5, 0x2c, 0x66, 0xa7, 0x29, 0xd4, 0xd8, 0xc0, 0x5c, 0x5b,
            0x9f, 0x38, 0x39, 0x50, 0x4c, 0x31, 0x34, 0x78, 0xc7, 0x88, 0x09, 0xf6, 0x52, 0x30,
            0xb0, 0xc5, 0x4d, 0x0c,
        ];
        let mut proof = [0; 64];
        proof[0] = 1;
        proof[32..].copy_from_slice(&s);
        let hello = Hello {
            version: 1,
            device,
            proof,
            token: None,
            name: None,
            cover: CoverMode::Off,
            software: "test".into(),
        };
        let content = Control::Hello(hello.clone()).encode();
        let here = Challenged {
            challenge: b"challenge".to_vec(),
            binding: [7; 32],
            transport: Transport::Tls,
        };
        assert_eq!(verify(&here, &content, hello).err(), Some(WRONG_PROOF));
    }
}
