//! The receive sessions of one peer: previous, current and next (annex A.4).
//!
//! Around a renewal, cells of two sessions are on their way at once. Whoever answered the renewal sends in the new
//! session as soon as HS3 has come, for the initiator knows the keys already. The initiator goes on in the old one
//! until a cell of the new one has opened ([`Opened::promoted`]): only then has HS3 certainly arrived.

use super::frames::{FrameOpenError, Receiver, RenewalDue};
use super::limits::PREVIOUS_SESSION_NS_MAX;
use super::padded;
use super::window::Place;

/// Names a session of one peer; counts up from 0 as they are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNumber(pub u64);

/// A cell that opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'body> {
    /// Its frames.
    pub frames: &'body [u8],
    /// The session it came in.
    pub session: SessionNumber,
    /// The first cell of the next session, which has become the current one.
    pub promoted: bool,
}

#[derive(Debug)]
struct Entry {
    number: SessionNumber,
    receiver: Receiver,
}

#[derive(Clone, Copy)]
enum Position {
    Current,
    Previous,
    Next,
}

/// At most three receive sessions.
#[derive(Debug, Default)]
pub struct Receivers {
    current: Option<Entry>,
    /// With the unix time in ns at which it ends.
    previous: Option<(Entry, u64)>,
    next: Option<Entry>,
    installed: u64,
}

impl Receivers {
    /// Adds the receiving half of a new session: as the current one if there is none, else as the next, replacing
    /// one that waits there.
    pub fn install(&mut self, receiver: Receiver) -> SessionNumber {
        let number = SessionNumber(self.installed);
        self.installed += 1;
        let place = if self.current.is_none() { &mut self.current } else { &mut self.next };
        *place = Some(Entry { number, receiver });
        number
    }

    /// Forgets all sessions: the one that is installed next has nothing to do with them.
    pub fn forget(&mut self) {
        *self = Self { installed: self.installed, ..Self::default() };
    }

    /// Opens a body in place with whichever session it belongs to.
    ///
    /// # Errors
    /// [`FrameOpenError::NoSession`]: the body is unchanged and may be under the outer seal of the pair. For the
    /// others see [`FrameOpenError`].
    pub fn open<'body>(
        &mut self,
        body: &'body mut [u8],
        now_ns: u64,
    ) -> Result<Opened<'body>, FrameOpenError> {
        if !padded::is_body_len(body.len()) {
            return Err(FrameOpenError::BodyLength(body.len()));
        }
        self.expire(now_ns);
        for position in [Position::Current, Position::Previous, Position::Next] {
            let Some(entry) = self.entry(position) else { continue };
            let (nonce, place) = entry.receiver.recognise(body);
            match place {
                Place::Outside => {}
                Place::Taken => return Err(FrameOpenError::Replayed),
                Place::Fresh => {
                    let session = entry.number;
                    let frames = entry.receiver.open_fresh(nonce, body)?;
                    let promoted = matches!(position, Position::Next);
                    if promoted {
                        self.promote(now_ns);
                    }
                    return Ok(Opened { frames, session, promoted });
                }
            }
        }
        Err(FrameOpenError::NoSession)
    }

    /// Forgets the previous session once its time is over.
    pub fn expire(&mut self, now_ns: u64) {
        if self.previous.as_ref().is_some_and(|(_, end_ns)| now_ns >= *end_ns) {
            self.previous = None;
        }
    }

    /// Whether the current session's receiving half asks for a renewal.
    #[must_use]
    pub fn renewal_due(&self) -> Option<RenewalDue> {
        self.current.as_ref().and_then(|entry| entry.receiver.renewal_due())
    }

    /// The session that receives at present.
    #[must_use]
    pub fn current(&self) -> Option<SessionNumber> {
        self.current.as_ref().map(|entry| entry.number)
    }

    /// How many sessions are kept.
    #[must_use]
    pub fn count(&self) -> usize {
        let entries = [self.current.is_some(), self.previous.is_some(), self.next.is_some()];
        entries.into_iter().filter(|kept| *kept).count()
    }

    fn entry(&mut self, position: Position) -> Option<&mut Entry> {
        match position {
            Position::Current => self.current.as_mut(),
            Position::Previous => self.previous.as_mut().map(|(entry, _)| entry),
            Position::Next => self.next.as_mut(),
        }
    }

    fn promote(&mut self, now_ns: u64) {
        let end_ns = now_ns.saturating_add(PREVIOUS_SESSION_NS_MAX);
        self.previous = self.current.take().map(|entry| (entry, end_ns));
        self.current = self.next.take();
    }
}
