//! Sessions: frame cells sealed and opened in place (annex A.4).
//!
//! `masked nonce(12) ‖ AEAD(key, nonce, AAD = nonce, length(4) ‖ frames ‖ zeros) ‖ tag(16)`, nonce = salt(4) ‖
//! sequence(8). The two halves of a session have nothing in common but where they came from, so they may live in
//! different tasks. Nothing here allocates for a cell, and nothing is ever written to disk.

use std::fmt;

use hushwire_wire::padding::{FRAME_OVERHEAD, LENGTH_LEN};

use super::aead::{FrameKey, TAG_LEN};
use super::handshake::{Role, SessionKeys};
use super::limits::{
    FAILED_OPENS_MAX, FAILED_OPENS_RENEW, FRAMES_MAX, FRAMES_RENEW, RENEWAL_AGE_NS,
};
use super::padded;
use super::random::{Random, draw};
use super::window::{Place, Window};

const NONCE_LEN: usize = 12;

/// Where the frames of a cell begin in its body: a caller of [`Sender::seal_in_place`] writes them there.
pub const FRAMES_OFFSET: usize = NONCE_LEN + LENGTH_LEN;

/// Four bytes of every nonce that are drawn at each hop connection, so that two clones of one machine do not
/// seal different cells under one nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSalt([u8; 4]);

impl ConnectionSalt {
    /// Draws a salt for a new connection.
    #[must_use]
    pub fn draw(random: &mut dyn Random) -> Self {
        Self(draw(random))
    }
}

/// Why frames were not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameSealError {
    /// The buffer is not the body of any class: the caller's fault.
    #[error("{0} bytes are the body of no class")]
    BodyLength(usize),
    /// The frames do not fit this class: the caller's fault.
    #[error("frames of {length} bytes do not fit a cell that holds {max}")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// The key has sealed all it may; the session was not renewed in time.
    #[error("the session has sealed its last frame and must be renewed")]
    Exhausted,
}

/// Why a body was not opened as frames. The body is unchanged unless the variant says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameOpenError {
    /// The buffer is not the body of any class: the caller's fault.
    #[error("{0} bytes are the body of no class")]
    BodyLength(usize),
    /// Not of this session, as far as its sequence number tells. Try the outer seal next.
    #[error("the cell belongs to no session")]
    NoSession,
    /// The sequence number was taken before: the relay, or somebody before it, repeats a cell.
    #[error("the cell has been received before")]
    Replayed,
    /// Changed on the way. The body is overwritten.
    #[error("the cell was changed on the way")]
    Unauthentic,
    /// The peer broke the layout. The body is overwritten.
    #[error("the peer sealed a cell whose length or padding is wrong")]
    Padding,
    /// Too many failed opens: somebody is trying keys. The session opens nothing more.
    #[error("the session has refused too many changed cells and must be renewed")]
    Exhausted,
}

/// Why a session should be renewed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalDue {
    /// Its time has come.
    Age,
    /// It has sealed enough frames.
    Frames,
    /// It has refused enough changed cells.
    FailedOpens,
}

/// A live session: both directions.
#[derive(Debug)]
pub struct Session {
    /// What seals.
    pub sender: Sender,
    /// What opens.
    pub receiver: Receiver,
    renew_at_ns: u64,
}

impl Session {
    /// Makes a session from the keys of a handshake. It asks for renewal at a random age of 45 to 60 minutes.
    #[must_use]
    pub fn new(
        keys: &SessionKeys,
        salt: ConnectionSalt,
        now_ns: u64,
        random: &mut dyn Random,
    ) -> Self {
        let (out, back) = match keys.role {
            Role::Initiator => (&keys.initiator, &keys.responder),
            Role::Responder => (&keys.responder, &keys.initiator),
        };
        let (earliest, latest) = RENEWAL_AGE_NS;
        let age = earliest + u64::from_le_bytes(draw(random)) % (latest - earliest);
        Self {
            sender: Sender { key: FrameKey::new(keys.suite, out), salt: salt.0, next: 0 },
            receiver: Receiver {
                key: FrameKey::new(keys.suite, back),
                window: Window::default(),
                failed_opens: 0,
            },
            renew_at_ns: now_ns.saturating_add(age),
        }
    }

    /// When the session asks for renewal by age, unix nanoseconds.
    #[must_use]
    pub const fn renew_at_ns(&self) -> u64 {
        self.renew_at_ns
    }

    /// Whether the session should be renewed, and why.
    #[must_use]
    pub fn renewal_due(&self, now_ns: u64) -> Option<RenewalDue> {
        let by_age = (now_ns >= self.renew_at_ns).then_some(RenewalDue::Age);
        self.sender.renewal_due().or(self.receiver.renewal_due()).or(by_age)
    }
}

/// The sending half of a session.
pub struct Sender {
    key: FrameKey,
    salt: [u8; 4],
    next: u64,
}

impl Sender {
    /// Sets the salt of a new hop connection.
    pub fn set_salt(&mut self, salt: ConnectionSalt) {
        self.salt = salt.0;
    }

    /// Sequence number of the next cell, which is how many have been sealed.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Whether this half asks for a renewal.
    #[must_use]
    pub fn renewal_due(&self) -> Option<RenewalDue> {
        (self.next >= FRAMES_RENEW).then_some(RenewalDue::Frames)
    }

    /// Seals `frames` into `body`, whose length chooses the class.
    ///
    /// # Errors
    /// See [`FrameSealError`]; `body` is then unchanged and no sequence number used.
    pub fn seal(&mut self, frames: &[u8], body: &mut [u8]) -> Result<u64, FrameSealError> {
        self.check(frames.len(), body.len())?;
        body[FRAMES_OFFSET..][..frames.len()].copy_from_slice(frames);
        self.seal_in_place(frames.len(), body)
    }

    /// Seals the `length` bytes of frames that stand at [`FRAMES_OFFSET`] in `body`. Whatever is behind them is
    /// overwritten. Returns the sequence number used.
    ///
    /// # Errors
    /// See [`FrameSealError`]; `body` is then unchanged and no sequence number used.
    pub fn seal_in_place(&mut self, length: usize, body: &mut [u8]) -> Result<u64, FrameSealError> {
        self.check(length, body.len())?;
        let sequence = self.next;
        self.next += 1;
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&sequence.to_le_bytes());
        let (plaintext, tag) =
            body[NONCE_LEN..].split_last_chunk_mut::<TAG_LEN>().expect("a body holds a tag");
        padded::close(plaintext, length);
        *tag = self.key.seal(nonce, plaintext);
        let masked = self.key.mask(sample(body), nonce);
        body[..NONCE_LEN].copy_from_slice(&masked);
        Ok(sequence)
    }

    fn check(&self, length: usize, body: usize) -> Result<(), FrameSealError> {
        if !padded::is_body_len(body) {
            return Err(FrameSealError::BodyLength(body));
        }
        let max = body - FRAME_OVERHEAD;
        if length > max {
            return Err(FrameSealError::TooLong { length, max });
        }
        if self.next >= FRAMES_MAX { Err(FrameSealError::Exhausted) } else { Ok(()) }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender(next {}, ..)", self.next)
    }
}

/// The receiving half of a session.
pub struct Receiver {
    key: FrameKey,
    window: Window,
    failed_opens: u64,
}

impl Receiver {
    /// Whether this half asks for a renewal.
    #[must_use]
    pub fn renewal_due(&self) -> Option<RenewalDue> {
        (self.failed_opens >= FAILED_OPENS_RENEW).then_some(RenewalDue::FailedOpens)
    }

    /// Opens `body` in place and returns its frames; each cell once, in any order within 1 024.
    ///
    /// # Errors
    /// See [`FrameOpenError`].
    pub fn open<'body>(&mut self, body: &'body mut [u8]) -> Result<&'body [u8], FrameOpenError> {
        if !padded::is_body_len(body.len()) {
            return Err(FrameOpenError::BodyLength(body.len()));
        }
        let (nonce, place) = self.recognise(body);
        match place {
            Place::Outside => Err(FrameOpenError::NoSession),
            Place::Taken => Err(FrameOpenError::Replayed),
            Place::Fresh => self.open_fresh(nonce, body),
        }
    }

    /// Unmasks the nonce of a body and says where its sequence number lies. A body of another session lies outside
    /// but for one in 2^43, and is then merely lost.
    pub(super) fn recognise(&self, body: &[u8]) -> ([u8; NONCE_LEN], Place) {
        let masked = body[..NONCE_LEN].try_into().expect("a body holds a nonce");
        let nonce = self.key.mask(sample(body), masked);
        (nonce, self.window.place(sequence(&nonce)))
    }

    /// Opens a body whose nonce [`Receiver::recognise`] found fresh.
    pub(super) fn open_fresh<'body>(
        &mut self,
        nonce: [u8; NONCE_LEN],
        body: &'body mut [u8],
    ) -> Result<&'body [u8], FrameOpenError> {
        if self.failed_opens >= FAILED_OPENS_MAX {
            return Err(FrameOpenError::Exhausted);
        }
        let Ok(plaintext) = self.key.open(nonce, &mut body[NONCE_LEN..]) else {
            self.failed_opens += 1;
            return Err(FrameOpenError::Unauthentic);
        };
        self.window.take(sequence(&nonce));
        padded::content(plaintext).map_err(|_| FrameOpenError::Padding)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver(failed {}, ..)", self.failed_opens)
    }
}

fn sample(body: &[u8]) -> &[u8; 16] {
    body[NONCE_LEN..].first_chunk().expect("a body holds a sample")
}

fn sequence(nonce: &[u8; NONCE_LEN]) -> u64 {
    u64::from_le_bytes(*nonce.last_chunk().expect("a nonce ends in its sequence number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Suite;
    use crate::suite::handshake::DirectionKeys;
    use crate::suite::kdf::Key;

    fn session() -> (Session, Session) {
        let keys = |role| SessionKeys {
            role,
            suite: Suite::HybridAes,
            initiator: DirectionKeys { key: Key::new([1; 32]), header: Key::new([2; 32]) },
            responder: DirectionKeys { key: Key::new([3; 32]), header: Key::new([4; 32]) },
            exporter: Key::new([5; 32]),
        };
        struct Zeros;
        impl Random for Zeros {
            fn fill(&mut self, bytes: &mut [u8]) {
                bytes.fill(0);
            }
        }
        let make = |role| Session::new(&keys(role), ConnectionSalt([0; 4]), 1_000, &mut Zeros);
        (make(Role::Initiator), make(Role::Responder))
    }

    #[test]
    fn limits_ask_for_renewal_first_and_stop_later() {
        let (mut ours, mut peers) = session();
        let mut body = [0; 192];
        assert_eq!(ours.renewal_due(1_000), None);
        assert_eq!(ours.renewal_due(ours.renew_at_ns()), Some(RenewalDue::Age));
        ours.sender.next = FRAMES_RENEW;
        assert_eq!(ours.renewal_due(1_000), Some(RenewalDue::Frames));
        ours.sender.next = FRAMES_MAX - 1;
        assert_eq!(ours.sender.seal(b"last", &mut body), Ok(FRAMES_MAX - 1));
        assert_eq!(ours.sender.seal(b"more", &mut body), Err(FrameSealError::Exhausted));

        let (mut ours, _) = session();
        peers.receiver.failed_opens = FAILED_OPENS_RENEW - 1;
        assert_eq!(peers.renewal_due(1_000), None);
        ours.sender.seal(b"x", &mut body).expect("fits");
        body[191] ^= 1;
        assert_eq!(peers.receiver.open(&mut body), Err(FrameOpenError::Unauthentic));
        assert_eq!(peers.renewal_due(1_000), Some(RenewalDue::FailedOpens));
        peers.receiver.failed_opens = FAILED_OPENS_MAX;
        ours.sender.seal(b"x", &mut body).expect("fits");
        assert_eq!(peers.receiver.open(&mut body), Err(FrameOpenError::Exhausted));
    }

    #[test]
    fn an_authentic_cell_with_broken_padding_is_refused() {
        let (mut ours, mut peers) = session();
        let mut body = [0; 192];
        let nonce = [0; NONCE_LEN];
        let (plaintext, tag) = body[NONCE_LEN..].split_last_chunk_mut::<TAG_LEN>().expect("long");
        plaintext[LENGTH_LEN + 9] = 1;
        *tag = ours.sender.key.seal(nonce, plaintext);
        let masked = ours.sender.key.mask(sample(&body), nonce);
        body[..NONCE_LEN].copy_from_slice(&masked);
        assert_eq!(peers.receiver.open(&mut body), Err(FrameOpenError::Padding));
        ours.sender.next = 1;
        ours.sender.seal(b"next", &mut body).expect("fits");
        assert_eq!(peers.receiver.open(&mut body), Ok(&b"next"[..]));
    }
}
