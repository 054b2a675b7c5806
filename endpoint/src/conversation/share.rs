//! What streams leave to messages.
//!
//! Whatever is on its way to the relay or in its queue stands before the next message. Without messages streams fill
//! the whole flight. While small messages come or go they keep to a share of it that follows the delay, as in LEDBAT
//! (RFC 6817): it is small at first, grows by a cell for each round trip that took about as long as the shortest one
//! known, and shrinks by a quarter for each that took longer, for then something stands in a queue. So a long fast way
//! is filled as before, and a short or slow one keeps its queues short.

use std::time::{Duration, Instant};

use hushwire_wire::cell::Class;

use super::limits::{
    FLIGHT_BYTES_MAX, MESSAGES_ABOUT_MS, SHARE_BYTES_MIN, SHARE_CLASS, SHARE_OF_OTHERS_BYTES_MIN,
    SHORTEST_AGE_MS,
};

#[derive(Debug, Default)]
pub(super) struct Share {
    /// Bytes that streams may have in flight while messages are about.
    bytes: usize,
    /// Messages are about until then: to or from this peer, and to or from any.
    ours_until: Option<Instant>,
    any_until: Option<Instant>,
    /// The shortest round trips of this interval and of the one before: routes change.
    shortest: [Option<Duration>; 2],
    interval_ends: Option<Instant>,
    /// The shortest since the share was last looked at, and the peer's count with which it is looked at again.
    recent: Option<Duration>,
    due: u64,
}

fn is_before(now: Instant, until: Option<Instant>) -> bool {
    until.is_some_and(|until| now < until)
}

impl Share {
    /// A small message comes from the peer or goes to it.
    pub(super) fn on_message(&mut self, now: Instant) {
        self.begin(now);
        self.ours_until = Some(now + Duration::from_millis(MESSAGES_ABOUT_MS));
        self.any_until = self.any_until.max(self.ours_until);
    }

    /// Small messages are exchanged until then, if only with other peers, over the same connection.
    pub(super) fn yield_until(&mut self, until: Option<Instant>, now: Instant) {
        if until > self.any_until {
            self.begin(now);
            self.any_until = until;
        }
    }

    /// Until when small messages are about, as far as this conversation knows by itself.
    pub(super) const fn messages_until(&self) -> Option<Instant> {
        self.ours_until
    }

    fn begin(&mut self, now: Instant) {
        if !is_before(now, self.any_until) {
            self.bytes = SHARE_BYTES_MIN;
        }
    }

    /// Whether small messages come from this peer or go to it.
    pub(super) fn is_ours(&self, now: Instant) -> bool {
        is_before(now, self.ours_until)
    }

    /// Bytes that streams may have in flight.
    pub(super) fn bytes(&self, now: Instant) -> usize {
        if self.is_ours(now) {
            self.bytes
        } else if is_before(now, self.any_until) {
            // This peer does not know of those messages and so tells less often what has arrived.
            self.bytes.max(SHARE_OF_OTHERS_BYTES_MIN)
        } else {
            FLIGHT_BYTES_MAX
        }
    }

    /// The largest class of a cell with a stream in it: while messages are about, two fit into the smallest share, so
    /// that one is on its way while the other is told of.
    pub(super) fn class_max(&self, now: Instant) -> Class {
        if is_before(now, self.any_until) { SHARE_CLASS } else { Class::C7 }
    }

    /// The peer's count has reached `arrived`; the last cell in it took `took` there and back. `sent` is the count
    /// when all cells in flight will have arrived.
    pub(super) fn on_credit(&mut self, took: Duration, arrived: u64, sent: u64, now: Instant) {
        if !is_before(now, self.interval_ends) {
            self.shortest = [None, self.shortest[0]];
            self.interval_ends = Some(now + Duration::from_millis(SHORTEST_AGE_MS));
        }
        let least = |known: Option<Duration>| Some(known.map_or(took, |known| known.min(took)));
        self.shortest[0] = least(self.shortest[0]);
        self.recent = least(self.recent);
        if arrived < self.due {
            return;
        }
        self.due = sent;
        let recent = self.recent.take().unwrap_or(took);
        let shortest = self.shortest.into_iter().flatten().min().unwrap_or(took);
        self.bytes = if recent <= shortest + shortest / 4 {
            (self.bytes + SHARE_CLASS.cell_len()).min(FLIGHT_BYTES_MAX)
        } else {
            (self.bytes - self.bytes / 4).max(SHARE_BYTES_MIN)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const ABOUT: Duration = Duration::from_millis(MESSAGES_ABOUT_MS);

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    /// One look at the share for each of these round trips.
    fn after(share: &mut Share, took: &[Duration], now: Instant) -> usize {
        for &took in took {
            let due = share.due;
            share.on_credit(took, due, due + 1, now);
        }
        share.bytes(now)
    }

    #[test]
    fn without_messages_streams_have_the_whole_flight() {
        let (mut share, now) = (Share::default(), start());
        assert_eq!((share.bytes(now), share.class_max(now)), (FLIGHT_BYTES_MAX, Class::C7));
        share.on_message(now);
        assert_eq!((share.bytes(now), share.class_max(now)), (SHARE_BYTES_MIN, SHARE_CLASS));
        let later = now + ABOUT;
        assert_eq!((share.bytes(later), share.class_max(later)), (FLIGHT_BYTES_MAX, Class::C7));
    }

    #[test]
    fn it_grows_while_nothing_stands_in_a_queue_and_shrinks_when_something_does() {
        let (mut share, now) = (Share::default(), start());
        share.on_message(now);
        let one = SHARE_CLASS.cell_len();
        assert_eq!(after(&mut share, &[SHORT; 3], now), SHARE_BYTES_MIN + 3 * one);
        assert_eq!(after(&mut share, &[SHORT; 100], now), FLIGHT_BYTES_MAX);
        share.on_message(now);
        assert_eq!(share.bytes(now), FLIGHT_BYTES_MAX, "another message changes nothing");
        assert_eq!(after(&mut share, &[2 * SHORT], now), FLIGHT_BYTES_MAX / 4 * 3);
        assert_eq!(after(&mut share, &[2 * SHORT; 100], now), SHARE_BYTES_MIN);
    }

    #[test]
    fn only_the_shortest_of_a_round_counts() {
        // An acknowledgement that waited for company says nothing about queues.
        let (mut share, now) = (Share::default(), start());
        share.on_message(now);
        after(&mut share, &[SHORT], now);
        let before = share.bytes(now);
        let due = share.due;
        share.on_credit(SHORT, due - 1, due + 9, now);
        assert_eq!(share.bytes(now), before, "not yet");
        share.on_credit(60 * SHORT, due, due + 9, now);
        assert_eq!(share.bytes(now), before + SHARE_CLASS.cell_len());
    }

    #[test]
    fn a_way_that_has_become_longer_is_learnt() {
        let (mut share, now) = (Share::default(), start());
        share.on_message(now);
        after(&mut share, &[SHORT], now);
        let age = Duration::from_millis(SHORTEST_AGE_MS);
        for (later, expect) in [(age, false), (2 * age, true)] {
            let now = now + later;
            share.on_message(now);
            let bytes = after(&mut share, &[3 * SHORT; 3], now);
            assert_eq!(bytes > SHARE_BYTES_MIN, expect, "{later:?}");
        }
    }

    #[test]
    fn messages_of_others_leave_enough_for_a_peer_that_does_not_know_of_them() {
        let (mut share, now) = (Share::default(), start());
        share.yield_until(None, now);
        assert_eq!(share.bytes(now), FLIGHT_BYTES_MAX);
        share.yield_until(Some(now + ABOUT), now);
        assert_eq!(share.bytes(now), SHARE_OF_OTHERS_BYTES_MIN);
        assert!(!share.is_ours(now) && share.messages_until().is_none());
        after(&mut share, &[SHORT; 3], now);
        let grown = share.bytes(now);
        assert!(grown > SHARE_OF_OTHERS_BYTES_MIN);
        share.yield_until(Some(now + ABOUT), now);
        share.yield_until(Some(now + 2 * ABOUT), now + ABOUT / 2);
        assert_eq!(share.bytes(now + ABOUT), grown, "it goes on");
        assert_eq!(share.bytes(now + 2 * ABOUT), FLIGHT_BYTES_MAX);
    }
}
