//! The endpoint's secure channel: cells that one DATA frame fills, and the handshake that makes the keys.

use hushwire::identity::Identity;
use hushwire::suite::frame_types::{DATA_HEADER_LEN, Data, Frame, FrameWriter};
use hushwire::suite::frames::{ConnectionSalt, FRAMES_OFFSET, Receiver, Sender, Session};
use hushwire::suite::handshake::{
    AwaitHs2, AwaitHs3, Established, Initiator, Responder, SessionKeys, Setup,
};
use hushwire::suite::keys::{PairKey, Psk};
use hushwire::suite::random::Random;
use hushwire::suite::{Minimum, Suite};
use hushwire_wire::cell::Class;
use hushwire_wire::padding::FRAME_OVERHEAD;

/// Unix time of every handshake, nanoseconds.
const NOW_NS: u64 = 1_800_000_000_000_000_000;

/// SplitMix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014): the same bytes in every
/// run, and keys that everybody may know.
#[derive(Clone, Debug)]
pub struct Known(u64);

impl Random for Known {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let bytes = (word ^ (word >> 31)).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// Two paired devices that begin a session.
#[derive(Debug)]
pub struct Pair {
    suite: Suite,
    initiator: Identity,
    responder: Identity,
    random: Known,
}

impl Pair {
    /// Two devices that want this suite.
    #[must_use]
    pub fn new(suite: Suite) -> Self {
        let (initiator, responder) =
            (Identity::from_secret(&[1; 32]), Identity::from_secret(&[2; 32]));
        Self { suite, initiator, responder, random: Known(3) }
    }

    fn setup(peer: &Identity) -> Setup {
        let psk = Psk::Session(PairKey::new([4; 32]));
        Setup { peer: peer.device_id(), psk, minimum: Minimum::Any, class_max: Class::C7 }
    }

    /// HS1: the initiator begins.
    ///
    /// # Panics
    /// If it does not; this and the following.
    pub fn hs1(&mut self) -> (AwaitHs2, Vec<u8>) {
        let Self { suite, initiator, responder, random } = self;
        let setup = Self::setup(responder);
        Initiator::start(setup, *suite, initiator, NOW_NS, 0, random).expect("HS1")
    }

    /// HS2: the responder answers.
    ///
    /// # Panics
    /// See [`Pair::hs1`].
    pub fn hs2(&mut self, hs1: &[u8]) -> (AwaitHs3, Vec<u8>) {
        let Self { initiator, responder, random, .. } = self;
        let setup = Self::setup(initiator);
        Responder::on_hs1(&setup, responder, hs1, 0, random).expect("HS2")
    }

    /// HS3: the initiator is done.
    ///
    /// # Panics
    /// See [`Pair::hs1`].
    #[must_use]
    pub fn hs3(&self, state: AwaitHs2, hs2: &[u8]) -> (Established, Vec<u8>) {
        state.on_hs2(&self.initiator, hs2).expect("HS3")
    }

    /// The responder is done.
    ///
    /// # Panics
    /// See [`Pair::hs1`].
    #[must_use]
    pub fn end(state: AwaitHs3, hs3: &[u8]) -> Established {
        state.on_hs3(hs3).expect("the end")
    }

    /// A whole handshake: the keys of the initiator and of the responder.
    fn keys(&mut self) -> [SessionKeys; 2] {
        let (initiator, hs1) = self.hs1();
        let (responder, hs2) = self.hs2(&hs1);
        let (ours, hs3) = self.hs3(initiator, &hs2);
        [ours, Self::end(responder, &hs3)].map(|established| established.session_keys())
    }
}

/// A session from one device to the other, and cells of one size.
#[derive(Debug)]
pub struct Channel {
    keys: [SessionKeys; 2],
    sender: Sender,
    receiver: Receiver,
    message: Vec<u8>,
    body: Vec<u8>,
}

impl Channel {
    /// A session that has carried nothing yet.
    #[must_use]
    pub fn new(suite: Suite, class: Class) -> Self {
        let keys = Pair::new(suite).keys();
        let (sender, receiver) = (session(&keys[0]).sender, session(&keys[1]).receiver);
        let length = class.body_len() - FRAME_OVERHEAD - DATA_HEADER_LEN;
        let (message, body) = (vec![0x5a; length], vec![0; class.body_len()]);
        Self { keys, sender, receiver, message, body }
    }

    /// Writes one DATA frame into a body and seals it there; returns the body.
    ///
    /// # Panics
    /// If it is not sealed: the frame fits, and the session is renewed in time.
    #[inline]
    pub fn seal(&mut self) -> &[u8] {
        if self.sender.renewal_due().is_some() {
            self.sender = session(&self.keys[0]).sender;
        }
        let room = self.body.len() - FRAME_OVERHEAD;
        let mut writer = FrameWriter::new(&mut self.body[FRAMES_OFFSET..][..room]);
        let frame = Frame::Data(Data {
            slot: 1,
            sequence: self.sender.next_sequence(),
            offset: 0,
            total: self.message.len() as u32,
            expiry_s: None,
            bytes: &self.message,
        });
        writer.push(&frame).expect("the frame fits");
        let length = writer.len();
        self.sender.seal_in_place(length, &mut self.body).expect("a fresh session");
        &self.body
    }

    /// Opens a body that [`Channel::seal`] made, in place, and returns the length of its frames.
    ///
    /// # Panics
    /// If it does not open.
    #[inline]
    pub fn open(&mut self, body: &mut [u8]) -> usize {
        if let Ok(frames) = self.receiver.open(body) {
            return frames.len();
        }
        // The sender has begun a new session.
        self.receiver = session(&self.keys[1]).receiver;
        self.receiver.open(body).expect("the first cell of a session").len()
    }
}

fn session(keys: &SessionKeys) -> Session {
    let salt = ConnectionSalt::draw(&mut Known(5));
    Session::new(keys, salt, NOW_NS, &mut Known(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens() {
        for suite in Suite::ALL {
            for class in Class::ALL {
                let mut channel = Channel::new(suite, class);
                for _ in 0..3 {
                    let mut body = channel.seal().to_vec();
                    assert_eq!(channel.open(&mut body), class.body_len() - FRAME_OVERHEAD);
                }
            }
        }
    }
}
