//! S1 to S4: 35 bytes, the rest of a class-3 body is random (annex A.2). They are not sealed: there is no key yet.

use rand_core_06::{CryptoRng, RngCore};
use spake2::{Ed25519Group, Group};
use subtle::ConstantTimeEq;

use crate::pairing::PairError;
use crate::suite::limits::HANDSHAKE_CLASS;
use crate::suite::random::{Random, draw};

/// `type(1) ‖ version(1) ‖ 0 ‖ element or MAC(32)`.
pub(super) const HEAD_LEN: usize = 3 + 32;
pub(super) type Head = [u8; HEAD_LEN];

const VERSION: u8 = 1;

/// The four messages by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    S1 = 0x51,
    S2 = 0x52,
    S3 = 0x53,
    S4 = 0x54,
}

/// The joining device's element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S1(pub(super) Head);

/// The offering device's element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S2(pub(super) Head);

impl S1 {
    /// Reads a body.
    ///
    /// # Errors
    /// [`PairError::Class`]; [`PairError::Unexpected`] where it is no S1, or its element is not one of the prime-order
    /// group.
    pub fn parse(body: &[u8]) -> Result<Self, PairError> {
        element(body, Kind::S1).map(Self)
    }
}

impl S2 {
    /// Reads a body.
    ///
    /// # Errors
    /// As for [`S1::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, PairError> {
        element(body, Kind::S2).map(Self)
    }
}

/// The head of a body of this kind.
pub(super) fn head(body: &[u8], kind: Kind) -> Result<Head, PairError> {
    if body.len() != HANDSHAKE_CLASS.body_len() {
        return Err(PairError::Class(body.len()));
    }
    let head = *body.first_chunk::<HEAD_LEN>().expect("class 3 holds a head");
    if head[..3] == [kind as u8, VERSION, 0] { Ok(head) } else { Err(PairError::Unexpected) }
}

fn element(body: &[u8], kind: Kind) -> Result<Head, PairError> {
    let head = head(body, kind)?;
    // A point with a part of small order would tell its sender a few bits of our secret scalar.
    match Ed25519Group::bytes_to_element(&head[3..]) {
        Some(point) if point.is_torsion_free() && !point.is_small_order() => Ok(head),
        Some(_) | None => Err(PairError::Unexpected),
    }
}

/// Whether a body is this confirmation; an error where it is none at all.
pub(super) fn confirms(body: &[u8], kind: Kind, mac: &[u8; 32]) -> Result<bool, PairError> {
    Ok(head(body, kind)?[3..].ct_eq(mac).into())
}

pub(super) fn make(kind: Kind, content: &[u8; 32]) -> Head {
    let mut head = [0; HEAD_LEN];
    head[..3].copy_from_slice(&[kind as u8, VERSION, 0]);
    head[3..].copy_from_slice(content);
    head
}

/// A body that begins with `head`.
pub(super) fn body(head: &Head, random: &mut dyn Random) -> Vec<u8> {
    let mut body = vec![0; HANDSHAKE_CLASS.body_len()];
    random.fill(&mut body[HEAD_LEN..]);
    body[..HEAD_LEN].copy_from_slice(head);
    body
}

/// The element in what the crate calls a message: one byte for the side, then the element.
pub(super) fn element_of(message: &[u8]) -> [u8; 32] {
    message[1..].try_into().expect("an element has 32 bytes")
}

/// The crate's own form of the joiner's (`A`) or the offerer's (`B`) message.
pub(super) fn sided(side: u8, head: &Head) -> Vec<u8> {
    [&[side], &head[3..]].concat()
}

/// Our randomness for the crate.
pub(super) struct Source<'a>(pub(super) &'a mut dyn Random);

impl RngCore for Source<'_> {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(draw(self.0))
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(draw(self.0))
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Source<'_> {}
