//! Layout of the three messages: bytes to fields and back, nothing secret, nothing decided.

use hushwire_wire::cell::Class;
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::VERSION;

use super::error::HandshakeError;
use crate::suite::Suite;

pub(super) const KEM_KEY_LEN: usize = 1_184;
pub(super) const KEM_CIPHERTEXT_LEN: usize = 1_088;
/// `reveal(32) ‖ signature(64) ‖ fin(32)` and a tag.
pub(super) const BOX_LEN: usize = 144;

const HS1: u8 = 1;
const HS2: u8 = 2;
const HS3: u8 = 3;

/// HS1, from the initiator.
#[derive(Debug)]
pub(super) struct Hs1<'a> {
    pub(super) suite: Suite,
    pub(super) class_max: Class,
    pub(super) time_ns: u64,
    pub(super) initiator: DeviceId,
    pub(super) responder: DeviceId,
    /// Zero outside pairing.
    pub(super) commitment: [u8; 32],
    pub(super) x25519: [u8; 32],
    /// In hybrid suites.
    pub(super) kem_key: Option<&'a [u8; KEM_KEY_LEN]>,
}

/// HS2, from the responder.
#[derive(Debug)]
pub(super) struct Hs2<'a> {
    pub(super) suite: Suite,
    pub(super) class_max: Class,
    pub(super) h1: [u8; 32],
    pub(super) x25519: [u8; 32],
    /// In hybrid suites.
    pub(super) kem_ciphertext: Option<&'a [u8; KEM_CIPHERTEXT_LEN]>,
    /// Everything up to the box, which h2 covers.
    pub(super) head: &'a [u8],
    pub(super) sealed: [u8; BOX_LEN],
}

/// HS3, from the initiator.
#[derive(Debug)]
pub(super) struct Hs3 {
    pub(super) suite: Suite,
    pub(super) h1: [u8; 32],
    pub(super) sealed: [u8; BOX_LEN],
}

/// Reads fields off the front.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], HandshakeError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(HandshakeError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HandshakeError> {
        self.chunk().copied()
    }

    fn class_max(&mut self) -> Result<Class, HandshakeError> {
        let [class, 0, 0, 0] = self.array()? else { return Err(HandshakeError::Malformed) };
        Class::from_wire(class).ok_or(HandshakeError::Malformed)
    }

    fn optional<const N: usize>(
        &mut self,
        present: bool,
    ) -> Result<Option<&'a [u8; N]>, HandshakeError> {
        if present { self.chunk().map(Some) } else { Ok(None) }
    }

    fn end(self) -> Result<(), HandshakeError> {
        if self.0.is_empty() { Ok(()) } else { Err(HandshakeError::Malformed) }
    }
}

/// Type, version and suite stand at the same place in every message; the version is checked first, because a
/// later one may lay out everything else differently.
fn begin(content: &[u8], expected: u8) -> Result<(Suite, Cut<'_>), HandshakeError> {
    let mut cut = Cut(content);
    let [found, version] = cut.array()?;
    if !(HS1..=HS3).contains(&found) {
        return Err(HandshakeError::Malformed);
    }
    if version > VERSION {
        return Err(HandshakeError::PeerNewer(version));
    }
    if version < VERSION {
        return Err(HandshakeError::PeerOlder(version));
    }
    if found != expected {
        return Err(HandshakeError::Unexpected { expected, found });
    }
    let number = u16::from_le_bytes(cut.array()?);
    Ok((Suite::from_wire(number).ok_or(HandshakeError::UnknownSuite(number))?, cut))
}

fn head(message: u8, suite: Suite, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity);
    bytes.extend_from_slice(&[message, VERSION]);
    bytes.extend_from_slice(&(suite as u16).to_le_bytes());
    bytes
}

impl<'a> Hs1<'a> {
    pub(super) fn decode(content: &'a [u8]) -> Result<Self, HandshakeError> {
        let (suite, mut cut) = begin(content, HS1)?;
        let message = Self {
            suite,
            class_max: cut.class_max()?,
            time_ns: u64::from_le_bytes(cut.array()?),
            initiator: DeviceId::new(cut.array()?),
            responder: DeviceId::new(cut.array()?),
            commitment: cut.array()?,
            x25519: cut.array()?,
            kem_key: cut.optional(suite.is_hybrid())?,
        };
        cut.end().map(|()| message)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = head(HS1, self.suite, 1_328);
        bytes.extend_from_slice(&[self.class_max as u8, 0, 0, 0]);
        bytes.extend_from_slice(&self.time_ns.to_le_bytes());
        bytes.extend_from_slice(self.initiator.as_bytes());
        bytes.extend_from_slice(self.responder.as_bytes());
        bytes.extend_from_slice(&self.commitment);
        bytes.extend_from_slice(&self.x25519);
        if let Some(key) = self.kem_key {
            bytes.extend_from_slice(key);
        }
        bytes
    }
}

impl<'a> Hs2<'a> {
    pub(super) fn decode(content: &'a [u8]) -> Result<Self, HandshakeError> {
        let (suite, mut cut) = begin(content, HS2)?;
        let class_max = cut.class_max()?;
        let h1 = cut.array()?;
        let x25519 = cut.array()?;
        let kem_ciphertext = cut.optional(suite.is_hybrid())?;
        let head = &content[..content.len() - cut.0.len()];
        let sealed = cut.array()?;
        cut.end()?;
        Ok(Self { suite, class_max, h1, x25519, kem_ciphertext, head, sealed })
    }

    /// Everything up to the box.
    pub(super) fn encode_head(
        suite: Suite,
        class_max: Class,
        h1: &[u8; 32],
        x25519: &[u8; 32],
        kem_ciphertext: &[u8],
    ) -> Vec<u8> {
        let mut bytes = head(HS2, suite, 1_304);
        bytes.extend_from_slice(&[class_max as u8, 0, 0, 0]);
        bytes.extend_from_slice(h1);
        bytes.extend_from_slice(x25519);
        bytes.extend_from_slice(kem_ciphertext);
        bytes
    }
}

impl Hs3 {
    pub(super) fn decode(content: &[u8]) -> Result<Self, HandshakeError> {
        let (suite, mut cut) = begin(content, HS3)?;
        let [0, 0, 0, 0] = cut.array()? else { return Err(HandshakeError::Malformed) };
        let message = Self { suite, h1: cut.array()?, sealed: cut.array()? };
        cut.end().map(|()| message)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = head(HS3, self.suite, 184);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.h1);
        bytes.extend_from_slice(&self.sealed);
        bytes
    }
}

/// Decodes any message and checks that it is written the same way again; for fuzzing.
pub(crate) fn inspect(content: &[u8]) {
    let _no_panic = super::versions::objection(content, &[0; 32], Suite::HybridAes);
    if let Ok(message) = Hs1::decode(content) {
        assert_eq!(message.encode(), content, "HS1 has one encoding");
    }
    if let Ok(message) = Hs2::decode(content) {
        let kem = message.kem_ciphertext.map_or(&[][..], |ciphertext| ciphertext);
        let mut again =
            Hs2::encode_head(message.suite, message.class_max, &message.h1, &message.x25519, kem);
        assert_eq!(again, message.head, "HS2 has one encoding");
        again.extend_from_slice(&message.sealed);
        assert_eq!(again, content, "HS2 has one encoding");
    }
    if let Ok(message) = Hs3::decode(content) {
        assert_eq!(message.encode(), content, "HS3 has one encoding");
    }
}
