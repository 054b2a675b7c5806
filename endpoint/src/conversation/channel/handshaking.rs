//! The handshakes of a channel: who begins, who goes on where two crossed, and what a finished one changes.

use hushwire_wire::cell::Class;
use hushwire_wire::limits::LANES;

use super::{Carriage, Channel, Confirming, GIVE_UP, News, Outgoing, Pending, RESEND, Sending};
use crate::conversation::Moment;
use crate::identity::Identity;
use crate::suite::frames::Session;
use crate::suite::handshake::{
    Established, Initiator, Refused, Responder, Role, Setup, ours_goes_on,
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
        match &self.pending {
            Pending::Responder { hs1, hs2, carriage, .. } if hs1 == content => {
                let (carriage, hs2) = (*carriage, hs2.clone());
                self.send(carriage, hs2);
                return;
            }
            Pending::Initiator { hs1, carriage, .. } if ours_goes_on(&self.ours, &self.peer) => {
                let (carriage, hs1) = (*carriage, hs1.clone());
                self.send(carriage, hs1);
                return;
            }
            Pending::Nothing | Pending::Initiator { .. } | Pending::Responder { .. } => {}
        }
        let answered =
            Responder::on_hs1(&self.setup(), identity, content, self.keys.last_seen_ns, random);
        if let Ok((state, hs2)) = answered {
            self.keys.last_seen_ns = state.time_ns();
            self.send(carriage, hs2.clone());
            self.pending = Pending::Responder {
                state: Box::new(state),
                hs1: content.to_vec(),
                hs2,
                carriage,
                end_at: moment.now + GIVE_UP,
            };
        }
    }

    fn on_hs2(
        &mut self,
        content: &[u8],
        identity: &Identity,
        moment: Moment,
        random: &mut dyn Random,
    ) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Initiator { state, hs1, carriage, resend_at, end_at } => {
                match state.on_hs2(identity, content) {
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
                            Pending::Initiator { state, hs1, carriage, resend_at, end_at };
                    }
                }
            }
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
        let session = Session::new(&keys, self.salt, moment.unix_ns, random);
        let renew_at_ns = session.renew_at_ns();
        let number = self.receivers.install(session.receiver);
        let sending = Sending {
            sender: session.sender,
            class_max: established.peer_class_max(),
            lane: u32::from(keys.exporter()[0]) % LANES,
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
        self.news.push_back(match carriage {
            Carriage::Outer => News::Fresh(role),
            Carriage::Inner => News::Renewed,
        });
        number
    }
}
