//! The secure channel with one peer: sessions on demand, their renewal, and the handshakes that make them
//! (`PROTOCOL.md` §6, annexes A.3 and A.4). No message, no stream: bodies in, frames out.

mod handshaking;
mod incompatible;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use hushwire_wire::cell::Class;
use hushwire_wire::control::Undelivered;
use hushwire_wire::id::DeviceId;
use hushwire_wire::limits::LANES;

use super::limits::{HANDSHAKE_RESEND_MS, HANDSHAKE_TURN_MS, SESSION_LASTED_MS, STRANGER_MS};
use super::{Moment, PeerKeys};
use crate::identity::Identity;
use crate::link::Backoff;
use crate::suite::frames::{ConnectionSalt, FRAMES_OFFSET, FrameOpenError, Sender};
use crate::suite::handshake::{AwaitHs2, AwaitHs3, Established, Incompatible, Role};
use crate::suite::limits::{HANDSHAKE_CLASS, HANDSHAKE_MS_MAX};
use crate::suite::random::Random;
use crate::suite::receivers::{Receivers, SessionNumber};
use crate::suite::seal::OuterSeal;

const RESEND: Duration = Duration::from_millis(HANDSHAKE_RESEND_MS);
const GIVE_UP: Duration = Duration::from_millis(HANDSHAKE_MS_MAX);

/// How a handshake message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carriage {
    /// In a cell of its own, under the outer seal: a first or a fresh session.
    Outer,
    /// In a HANDSHAKE frame: the renewal of a session.
    Inner,
}

/// A handshake message that is to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) carriage: Carriage,
    pub(super) content: Vec<u8>,
}

/// What the channel wants known.
#[derive(Debug)]
pub(super) enum News {
    /// HS1 with this time is about to be sent: it must be on disk first.
    Hs1 { time_ns: u64 },
    /// An HS1 of the peer with this time was answered: it must be on disk before the answer goes.
    Answered { time_ns: u64 },
    /// The peer is of another version.
    Incompatible(Incompatible),
    /// A handshake has ended.
    Established(Box<Established>),
    /// A session that has nothing to do with an earlier one.
    Fresh(Role),
    /// A session that continues the one before.
    Renewed,
}

/// The sending half of a session.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) sender: Sender,
    /// The largest class the peer takes.
    pub(super) class_max: Class,
    number: SessionNumber,
    /// On the channel's own clock.
    renew_at_ns: u64,
}

#[derive(Debug)]
enum Pending {
    Nothing,
    Initiator {
        state: Box<AwaitHs2>,
        hs1: Vec<u8>,
        carriage: Carriage,
        /// When the peer, which had begun as well, was first sent this HS1 once more.
        insisted: Option<Instant>,
        resend_at: Instant,
        end_at: Instant,
    },
    Responder {
        state: Box<AwaitHs3>,
        hs1: Vec<u8>,
        hs2: Vec<u8>,
        carriage: Carriage,
        end_at: Instant,
    },
}

/// HS3, until the first frame shows that it has arrived.
#[derive(Debug)]
struct Confirming {
    number: SessionNumber,
    hs3: Vec<u8>,
    carriage: Carriage,
    resend_at: Instant,
    end_at: Instant,
}

/// What a body turned out to be.
#[derive(Debug)]
pub(super) enum Opened {
    /// Frames, which stand there in the body.
    Frames(Range<usize>),
    /// A handshake message, dealt with.
    Handshake,
    /// Nothing this device can read.
    Foreign,
}

#[derive(Debug)]
pub(super) struct Channel {
    ours: DeviceId,
    peer: DeviceId,
    keys: PeerKeys,
    salt: ConnectionSalt,
    receivers: Receivers,
    sending: Option<Sending>,
    /// Made by a renewal that we began; used as soon as the peer does.
    next: Option<Sending>,
    pending: Pending,
    confirming: Option<Confirming>,
    outgoing: VecDeque<Outgoing>,
    news: VecDeque<News>,
    backoff: Backoff,
    /// For sessions that were ended soon after they began.
    ends: Backoff,
    begin_at: Option<Instant>,
    stranger_at: Option<Instant>,
    /// When everything is answered that may be: the theoretical arrival time of a cell rate algorithm.
    answered_to: Option<Instant>,
    versions_at: Option<Instant>,
    incompatible_at: Option<Instant>,
    /// Where the channel's own clock begins. Ages are counted on it, not on the wall's, which may go back.
    began: Option<Instant>,
    /// The session that is up has nothing to do with one before this.
    fresh_at: Option<Instant>,
}

impl Channel {
    pub(super) fn new(
        ours: DeviceId,
        peer: DeviceId,
        keys: PeerKeys,
        salt: ConnectionSalt,
    ) -> Self {
        Self {
            ours,
            peer,
            keys,
            salt,
            receivers: Receivers::default(),
            sending: None,
            next: None,
            pending: Pending::Nothing,
            confirming: None,
            outgoing: VecDeque::new(),
            news: VecDeque::new(),
            backoff: Backoff::default(),
            ends: Backoff::default(),
            begin_at: None,
            stranger_at: None,
            answered_to: None,
            versions_at: None,
            incompatible_at: None,
            began: None,
            fresh_at: None,
        }
    }

    pub(super) const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// The lane of everything that is sent to this peer, so that no cell overtakes the handshake that it needs. Lane 0
    /// is left to control cells. The relay, which sees both devices, learns nothing from it.
    pub(super) fn lane(&self) -> u32 {
        let number = |device: &DeviceId| {
            device
                .as_bytes()
                .iter()
                .fold(0, |sum, byte| (sum * 256 + u32::from(*byte)) % (LANES - 1))
        };
        1 + (number(&self.ours) + number(&self.peer)) % (LANES - 1)
    }

    /// Nanoseconds on the channel's own clock.
    fn age_ns(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        u64::try_from(now.saturating_duration_since(began).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn sending(&mut self) -> Option<&mut Sending> {
        self.sending.as_mut()
    }

    pub(super) const fn is_up(&self) -> bool {
        self.sending.is_some()
    }

    pub(super) const fn is_shaking(&self) -> bool {
        !matches!(self.pending, Pending::Nothing)
    }

    pub(super) fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// The next handshake message to be sent in this way.
    pub(super) fn poll_outgoing(&mut self, carriage: Carriage) -> Option<Outgoing> {
        let at = self.outgoing.iter().position(|message| message.carriage == carriage)?;
        self.outgoing.remove(at)
    }

    /// Seals a handshake message as the body of a cell of its own.
    pub(super) fn seal(&self, content: &[u8], body: &mut [u8], random: &mut dyn Random) {
        OuterSeal::paired(&self.keys.pair_key, &self.ours, &self.peer)
            .seal(content, body, random)
            .expect("every handshake message fits class 3");
    }

    /// A new connection to the relay.
    pub(super) fn set_salt(&mut self, salt: ConnectionSalt) {
        self.salt = salt;
        for sending in self.sending.iter_mut().chain(self.next.iter_mut()) {
            sending.sender.set_salt(salt);
        }
        self.backoff.reset();
        self.begin_at = None;
    }

    /// Begins a session where there is none and none is on its way; later, where it may not begin now.
    pub(super) fn demand(
        &mut self,
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        let waits = self.begin_at.is_some_and(|at| moment.now < at);
        if self.is_up() || self.is_shaking() || waits {
            return;
        }
        if may_begin {
            self.begin(Carriage::Outer, identity, moment, random);
        } else {
            self.begin_at = Some(moment.now + Duration::from_millis(HANDSHAKE_TURN_MS));
        }
    }

    /// The peer was paired anew.
    pub(super) fn set_keys(&mut self, keys: PeerKeys) {
        self.keys = keys;
        self.backoff.reset();
        self.begin_at = None;
    }

    /// The peer is known by another ID.
    pub(super) const fn set_peer(&mut self, peer: DeviceId) {
        self.peer = peer;
    }

    /// When [`Channel::demand`] would do something that it does not do now.
    pub(super) fn demand_at(&self) -> Option<Instant> {
        if self.is_up() || self.is_shaking() { None } else { self.begin_at }
    }

    /// Opens a body in place: frames of a session first, then the outer seal.
    ///
    /// # Errors
    /// Those of the sessions, all of which mean that the cell is to be ignored.
    pub(super) fn open(
        &mut self,
        body: &mut [u8],
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) -> Result<Opened, FrameOpenError> {
        let age_ns = self.age_ns(moment.now);
        match self.receivers.open(body, age_ns) {
            Ok(opened) => {
                let frames = FRAMES_OFFSET..FRAMES_OFFSET + opened.frames.len();
                let (session, promoted) = (opened.session, opened.promoted);
                self.on_frames(session, promoted);
                return Ok(Opened::Frames(frames));
            }
            Err(FrameOpenError::NoSession) => {}
            Err(error) => return Err(error),
        }
        // Whatever travels outside a session has one size: garbage of another is not worth a key.
        let may_be_sealed = body.len() == HANDSHAKE_CLASS.body_len();
        let seal = OuterSeal::paired(&self.keys.pair_key, &self.peer, &self.ours);
        match may_be_sealed.then(|| seal.open(body)) {
            Some(Ok(content)) => {
                self.on_message(Carriage::Outer, content, identity, moment, may_begin, random);
                Ok(Opened::Handshake)
            }
            Some(Err(_)) | None => {
                self.on_foreign(identity, moment, may_begin, random);
                Ok(Opened::Foreign)
            }
        }
    }

    /// Frames came in this session: the peer has its keys.
    fn on_frames(&mut self, session: SessionNumber, promoted: bool) {
        if self.confirming.as_ref().is_some_and(|waiting| waiting.number <= session) {
            self.confirming = None;
        }
        if promoted && self.next.as_ref().is_some_and(|next| next.number == session) {
            self.sending = self.next.take();
            self.news.push_back(News::Renewed);
        }
    }

    /// Something of the peer that cannot be read, and there is no session: most likely this device was started anew
    /// and the peer does not know yet.
    fn on_foreign(
        &mut self,
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        if self.receivers.count() == 0 && self.stranger_at.is_none_or(|at| moment.now >= at) {
            self.stranger_at = Some(moment.now + Duration::from_millis(STRANGER_MS));
            self.demand(identity, moment, may_begin, random);
        }
    }

    /// Ends the session; the next demand makes another, and so does whatever the peer still sends in this one. Where
    /// one session after the other ends soon, the next waits longer.
    pub(super) fn drop_session(&mut self, moment: Moment, random: &mut dyn Random) {
        self.receivers = Receivers::default();
        self.sending = None;
        self.next = None;
        self.confirming = None;
        self.pending = Pending::Nothing;
        self.outgoing.clear();
        let lasted = self.fresh_at.take().map(|at| moment.now.saturating_duration_since(at));
        if lasted.is_some_and(|lasted| lasted >= Duration::from_millis(SESSION_LASTED_MS)) {
            self.ends.reset();
        }
        self.begin_at = Some(moment.now + self.ends.next(random));
    }

    /// The peer seems to have forgotten the session: a new one is made beside it.
    pub(super) fn doubt(&mut self, identity: &Identity, moment: Moment, random: &mut dyn Random) {
        if !self.is_shaking() {
            self.begin(Carriage::Outer, identity, moment, random);
        }
    }

    /// A cell with a handshake message was not delivered.
    pub(super) fn on_undeliverable(
        &mut self,
        reason: Undelivered,
        moment: Moment,
        random: &mut dyn Random,
    ) {
        match (reason, &mut self.pending) {
            (Undelivered::Busy, Pending::Initiator { resend_at, .. }) => {
                *resend_at = moment.now + RESEND / 8;
            }
            // A peer that never got the answer asks again, or begins anew; the relay may also be lying.
            (_, Pending::Responder { .. }) | (Undelivered::Busy, Pending::Nothing) => {}
            (
                Undelivered::Offline | Undelivered::Refused | Undelivered::TooLarge,
                Pending::Nothing | Pending::Initiator { .. },
            ) => {
                self.pending = Pending::Nothing;
                self.begin_at = Some(moment.now + self.backoff.next(random));
            }
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        let age_ns = self.age_ns(moment.now);
        self.receivers.expire(age_ns);
        let mut again = None;
        let mut over = false;
        match &mut self.pending {
            Pending::Initiator { end_at, .. } | Pending::Responder { end_at, .. }
                if moment.now >= *end_at =>
            {
                over = true;
            }
            Pending::Initiator { hs1, carriage, resend_at, .. } if moment.now >= *resend_at => {
                *resend_at = moment.now + RESEND;
                again = Some((*carriage, hs1.clone()));
            }
            Pending::Nothing | Pending::Initiator { .. } | Pending::Responder { .. } => {}
        }
        if over {
            self.pending = Pending::Nothing;
            self.begin_at = Some(moment.now + self.backoff.next(random));
        }
        if let Some(confirming) = &mut self.confirming
            && moment.now >= confirming.resend_at
        {
            confirming.resend_at = moment.now + RESEND;
            again = Some((confirming.carriage, confirming.hs3.clone()));
            if moment.now >= confirming.end_at {
                self.confirming = None;
                again = None;
                // Whether HS3 has arrived will never be known: a renewal is made again.
                self.begin_at = Some(moment.now + self.backoff.next(random));
            }
        }
        if let Some((carriage, content)) = again {
            self.send(carriage, content);
        }
        if self.may_renew() && self.renewal_due(moment, age_ns) && may_begin {
            self.begin(Carriage::Inner, identity, moment, random);
        }
    }

    /// Whether no renewal is under way. One whose HS3 nobody has confirmed in its time no longer is, though the peer
    /// may yet turn up in the session it made.
    const fn may_renew(&self) -> bool {
        !self.is_shaking() && (self.next.is_none() || self.confirming.is_none())
    }

    fn renewal_due(&self, moment: Moment, age_ns: u64) -> bool {
        self.sending.as_ref().is_some_and(|sending| {
            let waits = self.begin_at.is_some_and(|at| moment.now < at);
            let due = sending.sender.renewal_due().is_some()
                || self.receivers.renewal_due().is_some()
                || age_ns >= sending.renew_at_ns;
            due && !waits
        })
    }

    pub(super) fn next_timeout(&self, moment: Moment) -> Option<Instant> {
        let pending = match &self.pending {
            Pending::Nothing => None,
            Pending::Initiator { resend_at, end_at, .. } => Some(*resend_at.min(end_at)),
            Pending::Responder { end_at, .. } => Some(*end_at),
        };
        let confirming = self.confirming.as_ref().map(|confirming| confirming.resend_at);
        let renewal = self.sending.as_ref().filter(|_| self.may_renew()).zip(self.began);
        let renewal = renewal.map(|(sending, began)| {
            let due = began + Duration::from_nanos(sending.renew_at_ns);
            self.begin_at.map_or(due, |at| at.max(due)).max(moment.now)
        });
        [pending, confirming, renewal].into_iter().flatten().min()
    }
}
