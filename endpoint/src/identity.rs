//! Who a device is: one Ed25519 key (RFC 8032), whose public half is the device ID.

mod words;

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hushwire_wire::control::{Transport, proof_message, register_message};
use hushwire_wire::id::{DeviceId, RelayId};
use zeroize::Zeroizing;

pub use words::{WORDS, Words, WordsError};

use crate::suite::kdf::sha256;
use crate::suite::random::{Random, draw};

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// What every signed message begins with, so that no signature of ours can be taken for one of TLS 1.3
/// with another context string (RFC 8446 §4.4.3 uses the same prefix for the same reason).
const PAD: [u8; 64] = [0x20; 64];

/// A device's secret key. Zeroised on drop; `Debug` shows four characters of the public ID.
pub struct Identity {
    key: SigningKey,
}

/// A signature does not belong to the device it claims, or the device's ID is a weak key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature was not made by the device it names")]
pub struct ForeignSignature;

impl Identity {
    /// Makes a new identity.
    #[must_use]
    pub fn generate(random: &mut dyn Random) -> Self {
        Self::from_secret(&Zeroizing::new(draw(random)))
    }

    /// The identity with this secret key (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(secret) }
    }

    /// The public half.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        DeviceId::new(self.key.verifying_key().to_bytes())
    }

    /// Signs `pad64 ‖ context ‖ 0 ‖ parts`, pad64 being 64 bytes 0x20.
    #[must_use]
    pub fn sign(&self, context: &str, parts: &[&[u8]]) -> [u8; SIGNATURE_LEN] {
        self.key.sign(&signed_message(context, parts)).to_bytes()
    }

    /// The secret key, for the keystore.
    pub(crate) fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.device_id())
    }
}

/// Checks what [`Identity::sign`] made, strictly: no weak keys, no second encoding of a signature.
///
/// # Errors
/// [`ForeignSignature`], the fault of whoever sent it.
pub fn verify(
    device: &DeviceId,
    context: &str,
    parts: &[&[u8]],
    signature: &[u8; SIGNATURE_LEN],
) -> Result<(), ForeignSignature> {
    let key = VerifyingKey::from_bytes(device.as_bytes()).map_err(|_| ForeignSignature)?;
    key.verify_strict(&signed_message(context, parts), &Signature::from_bytes(signature))
        .map_err(|_| ForeignSignature)
}

/// The proof in a HELLO: that this device opened this connection to this relay.
///
/// `challenge` and `hello` are the contents of both control cells, the HELLO's with its proof zeroed.
/// `binding` is the TLS exporter of the connection ([`Transport::Tls`], [`Transport::Quic`]) or the SHA-256 of
/// the lower-case `host:port` that was dialled ([`Transport::WebSocket`]).
#[must_use]
pub fn hello_proof(
    identity: &Identity,
    challenge: &[u8],
    hello: &[u8],
    transport: Transport,
    binding: &[u8; 32],
) -> [u8; SIGNATURE_LEN] {
    let transcript = sha256(&[challenge, hello]);
    identity.key.sign(&proof_message(&transcript, transport, binding)).to_bytes()
}

/// What the holder of `new` signs so that `asker`, a device enrolled at `relay`, can register it there.
#[must_use]
pub fn register_proof(new: &Identity, relay: &RelayId, asker: &DeviceId) -> [u8; SIGNATURE_LEN] {
    new.key.sign(&register_message(relay, asker, &new.device_id())).to_bytes()
}

fn signed_message(context: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::with_capacity(PAD.len() + context.len() + 1 + 64);
    message.extend_from_slice(&PAD);
    message.extend_from_slice(context.as_bytes());
    message.push(0);
    for part in parts {
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_id_is_the_rfc_8032_public_key() {
        // RFC 8032 §7.1, test 1.
        let secret = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let identity = Identity::from_secret(&secret);
        assert_eq!(identity.device_id().as_bytes()[..4], [0xd7, 0x5a, 0x98, 0x01]);
    }

    #[test]
    fn a_signature_holds_for_one_key_context_and_message() {
        let (ours, other) = (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
        let signature = ours.sign("hushwire/1 test", &[b"ab", b"c"]);
        let check = |device: &DeviceId, context, message: &[u8], expect| {
            assert_eq!(verify(device, context, &[message], &signature), expect);
        };
        check(&ours.device_id(), "hushwire/1 test", b"abc", Ok(()));
        check(&other.device_id(), "hushwire/1 test", b"abc", Err(ForeignSignature));
        check(&ours.device_id(), "hushwire/1 tesa", b"abc", Err(ForeignSignature));
        check(&ours.device_id(), "hushwire/1 test", b"abd", Err(ForeignSignature));
        // The identity point is a key for which careless verification accepts anything.
        let mut weak = [0; 32];
        weak[0] = 1;
        check(&DeviceId::new(weak), "hushwire/1 test", b"abc", Err(ForeignSignature));
    }

    #[test]
    fn a_hello_proof_is_bound_to_every_input() {
        let identity = Identity::from_secret(&[1; 32]);
        let proof = hello_proof(&identity, b"challenge", b"hello", Transport::Tls, &[3; 32]);
        let transcript = sha256(&[b"challenge", b"hello"]);
        let message = proof_message(&transcript, Transport::Tls, &[3; 32]);
        let key = identity.key.verifying_key();
        assert!(key.verify_strict(&message, &Signature::from_bytes(&proof)).is_ok());
        for other in [
            hello_proof(&identity, b"challengf", b"hello", Transport::Tls, &[3; 32]),
            hello_proof(&identity, b"challenge", b"hellp", Transport::Tls, &[3; 32]),
            hello_proof(&identity, b"challenge", b"hello", Transport::Quic, &[3; 32]),
            hello_proof(&identity, b"challenge", b"hello", Transport::Tls, &[4; 32]),
        ] {
            assert_ne!(other, proof);
        }
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let identity = Identity::from_secret(&[0xab; 32]);
        let text = format!("{identity:?}");
        assert_eq!(text.len(), "Identity(DeviceId(abcd))".len(), "{text}");
    }
}
