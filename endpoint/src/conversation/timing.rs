//! What is due when.

use std::time::{Duration, Instant};

use super::limits::{ASK_MS, ASKS_UNHEARD_MAX, STALLS_MAX};
use super::{Conversation, Moment};
use crate::identity::Identity;
use crate::suite::random::Random;

impl Conversation {
    /// Does what is due. `may_begin` says whether fewer than 64 handshakes are pending on this device.
    pub fn handle_timeout(
        &mut self,
        identity: &Identity,
        moment: Moment,
        may_begin: bool,
        random: &mut dyn Random,
    ) {
        if !self.connected {
            return;
        }
        self.channel.handle_timeout(identity, moment, may_begin, random);
        if self.wants_session() {
            self.channel.demand(identity, moment, may_begin, random);
        }
        if self.channel.is_up() && self.flight.is_stalled(moment.now) {
            let stalls = self.flight.give_up();
            self.outbox.resend_all();
            self.streams.resend_all();
            if stalls >= STALLS_MAX && may_begin {
                self.channel.doubt(identity, moment, random);
            }
        }
        self.ask(moment);
        if self.unheard >= ASKS_UNHEARD_MAX && may_begin && self.channel.is_up() {
            self.unheard = 0;
            self.channel.doubt(identity, moment, random);
        }
        self.news();
    }

    fn wants_session(&self) -> bool {
        self.wanted || !self.outbox.is_empty() || !self.streams.is_empty()
    }

    /// Everything has arrived by the count, and yet something is not acknowledged: most likely the application
    /// over there takes its time, but the count may have been wrong.
    fn ask(&mut self, moment: Moment) {
        let waits = self.channel.is_up()
            && self.flight.is_empty()
            && (self.outbox.waits() || self.streams.waits());
        if !waits {
            self.ask_at = None;
            return;
        }
        let (first, last) = ASK_MS;
        let patience = Duration::from_millis(first.saturating_mul(1 << self.asks.min(8)).min(last));
        match self.ask_at {
            None => self.ask_at = Some(moment.now + patience),
            Some(at) if moment.now >= at => {
                self.outbox.ask();
                self.streams.ask(moment.now);
                self.asks = self.asks.saturating_add(1);
                self.unheard = self.unheard.saturating_add(1);
                self.ask_at = None;
            }
            Some(_) => {}
        }
    }

    /// When [`Conversation::handle_timeout`] or [`Conversation::poll_cell`] next has something to do by itself.
    #[must_use]
    pub fn next_timeout(&self, moment: Moment) -> Option<Instant> {
        if !self.connected {
            return None;
        }
        let tell = if self.channel.is_up() { self.tell_at(moment.now) } else { None };
        let demand = if self.wants_session() { self.channel.demand_at() } else { None };
        let paused = self.flight.held_until().filter(|at| *at > moment.now && self.wants_data());
        let away = self.away_until.filter(|at| *at > moment.now);
        let soonest = [
            self.channel.next_timeout(moment),
            demand,
            // While the peer is away nothing is told either.
            tell.map(|at| away.map_or(at, |away| away.max(at))),
            paused,
            away.filter(|_| self.wants_data()),
            self.flight.stall_at(),
            self.ask_at,
        ];
        soonest.into_iter().flatten().min()
    }

    /// Whether the peer has still to be told of something that was taken here.
    #[must_use]
    pub fn owes(&self, now: Instant) -> bool {
        !self.storing.is_empty()
            || (self.connected && self.channel.is_up() && self.tell_at(now).is_some())
    }

    pub(super) fn tell_at(&self, now: Instant) -> Option<Instant> {
        let immediate = self.greeting || self.closing.is_some() || self.outbox.has_word();
        let soonest = [
            immediate.then_some(now),
            self.credit_at,
            self.inbox.tell_at(now),
            self.streams.tell_at(),
        ];
        soonest.into_iter().flatten().min()
    }
}
