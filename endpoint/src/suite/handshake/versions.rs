//! VERSIONS, the answer to an HS1 of another version or suite, and what people are told of it (annex A.3).

use hushwire_wire::limits::VERSION;

use super::error::HandshakeError;
use super::schedule::h1;
use crate::suite::{Minimum, Suite};

/// Type byte of VERSIONS.
pub(crate) const VERSIONS: u8 = 4;

/// Type, lowest, highest, zero, suites, h1. What a later version puts behind is not read.
const LEN: usize = 40;

/// Why this device and a peer do not understand each other, as a sentence that says who must upgrade.
///
/// It comes from the peer, or was recorded from it: nobody else gets through the outer seal or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// The peer speaks later versions only.
    #[error("the peer uses protocol version {0}, this device knows {VERSION}: upgrade this device")]
    PeerNewer(u8),
    /// The peer speaks earlier versions only.
    #[error("the peer uses protocol version {0}, this device needs {VERSION}: upgrade the peer")]
    PeerOlder(u8),
    /// The peer asks for a suite that has no such number here.
    #[error(
        "the peer asks for cipher suite {0}, which this device does not know: upgrade this device"
    )]
    UnknownSuite(u16),
    /// The peer asks for a suite that is weaker than what the pair has used before.
    #[error("the peer asks for cipher suite '{0}', which this pair is past: upgrade the peer")]
    WeakSuite(Suite),
    /// The peer does not take the suite that this device asks for.
    #[error(
        "the peer does not take cipher suite '{0}', the one this device uses: upgrade the peer"
    )]
    SuiteRefused(Suite),
    /// The peer sent a frame of a type that this device does not know, and the session was closed.
    #[error("the peer sent a frame of type {0:#04x}, unknown to this device: upgrade this device")]
    UnknownFrame(u8),
    /// The peer closed the session because of a frame that it does not know.
    #[error("the peer does not know a frame that this device sent: upgrade the peer")]
    FrameRefused,
}

impl Incompatible {
    /// What a refused HS1 says about versions, if anything.
    pub(crate) const fn of(error: &HandshakeError) -> Option<Self> {
        match *error {
            HandshakeError::PeerNewer(version) => Some(Self::PeerNewer(version)),
            HandshakeError::PeerOlder(version) => Some(Self::PeerOlder(version)),
            HandshakeError::UnknownSuite(number) => Some(Self::UnknownSuite(number)),
            HandshakeError::Downgrade { suite, .. } => Some(Self::WeakSuite(suite)),
            HandshakeError::Malformed
            | HandshakeError::Unexpected { .. }
            | HandshakeError::SuiteChanged { .. }
            | HandshakeError::WrongPeer { .. }
            | HandshakeError::NotForUs { .. }
            | HandshakeError::Mode
            | HandshakeError::Replayed { .. }
            | HandshakeError::Stale
            | HandshakeError::InvalidKey
            | HandshakeError::Unauthentic
            | HandshakeError::ForeignSignature { .. }
            | HandshakeError::Finished
            | HandshakeError::Commitment => None,
        }
    }
}

/// Says which versions and suites this device takes, in answer to `hs1`.
pub(crate) fn answer(hs1: &[u8], minimum: Minimum) -> Vec<u8> {
    let mut suites = 0_u32;
    for suite in Suite::ALL.into_iter().filter(|suite| minimum.admits(*suite)) {
        suites |= 1 << suite as u16;
    }
    let mut content = Vec::with_capacity(LEN);
    content.extend_from_slice(&[VERSIONS, VERSION, VERSION, 0]);
    content.extend_from_slice(&suites.to_le_bytes());
    content.extend_from_slice(&h1(hs1));
    content
}

/// What a VERSIONS says of the HS1 that has this hash and suite. `None` where it answers another one, says nothing
/// against it, or is malformed.
pub(super) fn objection(content: &[u8], hash: &[u8; 32], suite: Suite) -> Option<Incompatible> {
    let (head, _later) = content.split_first_chunk::<LEN>()?;
    let [VERSIONS, lowest, highest, _, rest @ ..] = head else { return None };
    let (suites, answered) = rest.split_first_chunk::<4>()?;
    if answered != hash || lowest > highest {
        return None;
    }
    if *lowest > VERSION {
        Some(Incompatible::PeerNewer(*lowest))
    } else if *highest < VERSION {
        Some(Incompatible::PeerOlder(*highest))
    } else if u32::from_le_bytes(*suites) & (1 << suite as u16) == 0 {
        Some(Incompatible::SuiteRefused(suite))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_objection_to_this_very_message_counts() {
        let (hs1, suite) = (&b"our message"[..], Suite::HybridAes);
        let check = |change: &dyn Fn(&mut Vec<u8>), expect: Option<Incompatible>| {
            let mut content = answer(hs1, Minimum::Hybrid);
            assert_eq!(content.len(), LEN);
            change(&mut content);
            assert_eq!(objection(&content, &h1(hs1), suite), expect, "{content:02x?}");
        };
        check(&|_| {}, None);
        check(&|content| content[1..3].fill(2), Some(Incompatible::PeerNewer(2)));
        check(&|content| content[2] = 9, None);
        check(&|content| content[1..3].fill(0), Some(Incompatible::PeerOlder(0)));
        check(&|content| content[1] = 2, None);
        check(&|content| content[4] = 0b1010, Some(Incompatible::SuiteRefused(suite)));
        check(&|content| content[39] ^= 1, None);
        check(&|content| content[0] = 5, None);
        check(&|content| content.truncate(39), None);
        check(&Vec::clear, None);
        check(
            &|content| {
                content[1..3].fill(3);
                content.extend_from_slice(b"of a later version");
            },
            Some(Incompatible::PeerNewer(3)),
        );
    }

    #[test]
    fn the_suites_told_are_those_the_pair_still_takes() {
        assert_eq!(answer(b"", Minimum::Any)[4..8], [0b1110, 0, 0, 0]);
        assert_eq!(answer(b"", Minimum::Hybrid)[4..8], [0b0110, 0, 0, 0]);
    }
}
