//! The handshakes of a channel: who begins, who goes on where two crossed, and what a finished one changes.

use std::time::{Duration, Instant};

use hushwire_wire::cell::Class;

use super::{Carriage, Channel, Confirming, GIVE_UP, News, Outgoing, Pending, RESEND, Sending};
use crate::conversation::Moment;
use crate::conversation::limits::{HANDSHAKE_ANSWER_MS, HANDSHAKES_ANSWERED_BURST};
use crate::identity::Identity;
use crate::suite::frames::Session;
use crate::suite::handshake::{
    Established, HandshakeError, Initiator, Refused, Responder, Role, Setup, VERSIONS, ours_goes_on,
};
use crate::suite::keys::Psk;
use crate::suite::random::Random;
use crate::suite::receivers::SessionNumber;
use crate::suite::{Minimum, Suite};

impl Channel {
    fn setup(&self) -> Setup {
        Setup {
            peer: self.peer,
            psk: Psk::Session(self.keys.pair_key.clone()),
            minimum: self.keys.minimum,
            class_max: Class::C7,
        }
    }

    pub(super) fn begin(
        &mut self,
        carriage: Carriage,
        identity: &Identity,
        moment: Moment,
        random: &mut dyn Random,
    ) {
        let started = Initiator::start(
            self.setup(),
            Suite::HybridAes,
            identity,
            moment.unix_ns,
            self.keys.last_sent_ns,
            random,
        );
        let (state, hs1) = started.expect("a hybrid suite is never a downgrade");
        self.keys.last_sent_ns = state.time_ns();
        self.news.push_back(News::Hs1 { time_ns: state.time_ns() });
        self.send(carriage, hs1.clone());
        self.pending = Pending::Initiator {
            state: Box::new(state),
            hs1,
            carriage,
            insisted: None,
            resend_at: moment.now + RESEND,
            end_at: moment.now + GIVE_UP,
        };
    }

    /// At most one message of each number waits; an older one is of no use any more.
    pub(super) fn send(&mut self, carriage: Carriage, content: Vec<u8>) {
        self.outgoing.retain(|waiting| waiting.content.first() != content.first());
        self.outgoing.push_back(Outgoing { carriage, content });
    }

    /// A handshake message has come.
    pub(in crate::conversation) fn on_message(
        &mut self,
        carriage: Carriage,
        content: &[u8],
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        match content.first() {
            Some(1) if may_begin || self.is_shaking() => {
                self.on_hs1(carriage, content, identity, moment, random);
            }
            Some(2) => self.on_hs2(content, identity, moment, random),
            Some(3) => self.on_hs3(content, moment, random),
            Some(&VERSIONS) => self.on_versions(content, moment, random),
            // Sealed messages come with their own issue; anything else is of a later version.
            Some(_) | None => {}
        }
    }

    fn on_hs1(
        &mut self,
        carriage: Carriage,
        content: &[u8],
        identity: &Identity,
        moment: Moment,
        random: &mut dyn Random,
    ) {
        let may_work = self.may_answer(moment.now);
        match &mut self.pending {
            Pending::Responder { hs1, hs2, carriage, .. } if hs1 == content => {
                let (carriage, hs2) = (*carriage, hs2.clone());
                self.send(carriage, hs2);
                return;
            }
            Pending::Initiator { hs1, carriage: ours, insisted, end_at, .. }
                if ours_goes_on(&self.ours, &self.peer) =>
            {
                let (ours, end_at) = (*ours, *end_at);
                // One who answered ours and was then started anew takes it for a replay, for as long as we insist; and
                // one who begins outside of a session does not hear what we say inside.
                let unheard = insisted.is_some_and(|at| moment.now >= at + RESEND / 2);
                let outside = ours == Carriage::Inner && carriage == Carriage::Outer;
                if (unheard || outside) && may_work {
                    self.answered(moment.now);
                    self.begin(if outside { carriage } else { ours }, identity, moment, random);
                    self.end_by(end_at);
                } else {
                    insisted.get_or_insert(moment.now);
                    let hs1 = hs1.clone();
                    self.send(ours, hs1);
                }
                return;
            }
            Pending::Nothing | Pending::Initiator { .. } | Pending::Responder { .. } => {}
        }
        if !may_work {
            return;
        }
        let answered =
            Responder::on_hs1(&self.setup(), identity, content, self.keys.last_seen_ns, random);
        match answered {
            Ok((state, hs2)) => {
                self.answered(moment.now);
                self.keys.last_seen_ns = state.time_ns();
                self.news.push_back(News::Answered { time_ns: state.time_ns() });
                self.send(carriage, hs2.clone());
                self.pending = Pending::Responder {
                    state: Box::new(state),
                    hs1: content.to_vec(),
                    hs2,
                    carriage,
                    end_at: moment.now + GIVE_UP,
                };
            }
            Err(error) => {
                // It has cost as much as a good one.
                if error == HandshakeError::InvalidKey {
                    self.answered(moment.now);
                }
                self.on_refused_hs1(carriage, content, &error, moment);
            }
        }
    }

    /// A handshake that was begun in place of another has no more time than that one had.
    const fn end_by(&mut self, latest: Instant) {
        if let Pending::Initiator { end_at, .. } = &mut self.pending {
            *end_at = latest;
        }
    }

    /// Whether the peer has not had all its answers of late. What is refused at a glance, as a replay is, costs none.
    fn may_answer(&self, now: Instant) -> bool {
        let burst = Duration::from_millis(HANDSHAKE_ANSWER_MS) * (HANDSHAKES_ANSWERED_BURST - 1);
        self.answered_to.is_none_or(|to| to <= now + burst)
    }

    fn answered(&mut self, now: Instant) {
        let to = self.answered_to.map_or(now, |to| to.max(now));
        self.answered_to = Some(to + Duration::from_millis(HANDSHAKE_ANSWER_MS));
    }

    fn on_hs2(
        &mut self,
        content: &[u8],
        identity: &Identity,
        moment: Moment,
        random: &mut dyn Random,
    ) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Initiator { state, hs1, carriage, insisted, resend_at, end_at } => match state
                .on_hs2(identity, content)
            {
                Ok((established, hs3)) => {
                    self.send(carriage, hs3.clone());
                    let number = self.establish(carriage, established, moment, random);
                    self.confirming = Some(Confirming {
                        number,
                        hs3,
                        carriage,
                        resend_at: moment.now + RESEND,
                        end_at: moment.now + GIVE_UP,
                    });
                }
                Err(Refused { state, .. }) => {
                    self.pending =
                        Pending::Initiator { state, hs1, carriage, insisted, resend_at, end_at };
                }
            },
            other @ (Pending::Nothing | Pending::Responder { .. }) => self.pending = other,
        }
    }

    fn on_hs3(&mut self, content: &[u8], moment: Moment, random: &mut dyn Random) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Responder { state, hs1, hs2, carriage, end_at } => {
                match state.on_hs3(content) {
                    Ok(established) => {
                        self.establish(carriage, established, moment, random);
                    }
                    Err(Refused { state, .. }) => {
                        self.pending = Pending::Responder { state, hs1, hs2, carriage, end_at };
                    }
                }
            }
            other @ (Pending::Nothing | Pending::Initiator { .. }) => self.pending = other,
        }
    }

    /// The responder sends in the new session at once, for the initiator knows the keys. The initiator of a renewal
    /// goes on in the old one until the peer has used the new one.
    fn establish(
        &mut self,
        carriage: Carriage,
        established: Established,
        moment: Moment,
        random: &mut dyn Random,
    ) -> SessionNumber {
        let keys = established.session_keys();
        let session = Session::new(&keys, self.salt, self.age_ns(moment.now), random);
        let renew_at_ns = session.renew_at_ns();
        if carriage == Carriage::Outer {
            // Both ends begin anew. What still comes in an older session, late or held back by the relay, would be taken
            // for what the peer says now; and a peer that goes on there has not made this one.
            self.receivers.forget();
        }
        let number = self.receivers.install(session.receiver);
        let sending = Sending {
            sender: session.sender,
            class_max: established.peer_class_max(),
            number,
            renew_at_ns,
        };
        let role = established.role();
        if established.suite().is_hybrid() {
            self.keys.minimum = Minimum::Hybrid;
        }
        self.backoff.reset();
        self.begin_at = None;
        self.news.push_back(News::Established(Box::new(established)));
        if carriage == Carriage::Inner && role == Role::Initiator && self.sending.is_some() {
            self.next = Some(sending);
            return number;
        }
        self.sending = Some(sending);
        self.next = None;
        self.confirming = None;
        if carriage == Carriage::Outer {
            self.fresh_at = Some(moment.now);
        }
        self.news.push_back(match carriage {
            Carriage::Outer => News::Fresh(role),
            Carriage::Inner => News::Renewed,
        });
        number
    }
}
