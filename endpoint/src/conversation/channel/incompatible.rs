//! Peers of another version: what they are answered, and what is said about them here (annex A.3).

use std::time::Duration;

use super::{Carriage, Channel, News, Pending};
use crate::conversation::Moment;
use crate::conversation::limits::{INCOMPATIBLE_MS, VERSIONS_MS};
use crate::suite::handshake::{HandshakeError, Incompatible, versions_answer};
use crate::suite::random::Random;

impl Channel {
    /// An HS1 was refused. If for its version or suite, the peer is told what this device takes.
    pub(super) fn on_refused_hs1(
        &mut self,
        carriage: Carriage,
        hs1: &[u8],
        error: &HandshakeError,
        moment: Moment,
    ) {
        let Some(why) = Incompatible::of(error) else { return };
        if self.versions_at.is_none_or(|at| moment.now >= at) {
            self.versions_at = Some(moment.now + Duration::from_millis(VERSIONS_MS));
            self.send(carriage, versions_answer(hs1, self.keys.minimum));
        }
        // With a session up the peer speaks our version: this message was most likely recorded long ago.
        if !self.is_up() {
            self.incompatible(why, moment);
        }
    }

    /// The peer objects to our HS1. The handshake is over; it is tried again later, for the peer may be upgraded.
    pub(super) fn on_versions(&mut self, content: &[u8], moment: Moment, random: &mut dyn Random) {
        let Pending::Initiator { state, .. } = &self.pending else { return };
        let Some(why) = state.on_versions(content) else { return };
        self.pending = Pending::Nothing;
        self.begin_at = Some(moment.now + self.backoff.next(random));
        self.incompatible(why, moment);
    }

    /// The application is to hear of it, though not all the time.
    pub(in crate::conversation) fn incompatible(&mut self, why: Incompatible, moment: Moment) {
        if self.incompatible_at.is_none_or(|at| moment.now >= at) {
            self.incompatible_at = Some(moment.now + Duration::from_millis(INCOMPATIBLE_MS));
            self.news.push_back(News::Incompatible(why));
        }
    }
}
