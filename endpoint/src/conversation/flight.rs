//! Data cells on their way to one peer, and how many there may be.
//!
//! A data cell is one that carries DATA or STREAM, or nothing but padding. The receiver counts their sizes and
//! tells the sum in WINDOW 0; what the relay could not deliver it says itself, cell by cell, and is taken out of the
//! sum. So the number in flight is known without numbers of packets, and `busy` is a signal of congestion: the flight
//! is halved, once for all cells sent before, and grows by a cell for each one that went well (AIMD, Chiu and
//! Jain 1989).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hushwire_wire::cell::Class;

use super::limits::{
    BUSY_MS, FLIGHT_BYTES_MAX, FLIGHT_BYTES_MIN, FLIGHT_BYTES_START, MESSAGES_RESERVE_BYTES,
    SESSION_WINDOW_BYTES, STALL_MS,
};
use super::share::Share;
use crate::link::CellId;

/// A part of a message or stream that a cell carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A fragment of a message.
    Fragment { message: u64, offset: u32, length: u32 },
    /// A piece of a stream.
    Piece { stream: u32, offset: u64, length: u32, fin: bool },
}

#[derive(Debug)]
struct SentCell {
    id: CellId,
    /// The peer's count once this cell has arrived.
    end: u64,
    bytes: u64,
    at: Instant,
    items: Vec<Item>,
}

#[derive(Debug)]
pub(super) struct Flight {
    cells: VecDeque<SentCell>,
    /// The peer's count once all cells have arrived.
    sent: u64,
    /// Sizes of all cells ever sent: the peer's count is never higher.
    ever: u64,
    /// The peer's count, as far as it has told.
    arrived: u64,
    window: usize,
    /// What of it streams may fill.
    share: Share,
    /// Cells up to this one were sent before the window was last halved.
    halved_at: CellId,
    stall_at: Option<Instant>,
    stalls: u32,
    held_until: Option<Instant>,
    holds: u32,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            cells: VecDeque::new(),
            sent: 0,
            ever: 0,
            arrived: 0,
            window: FLIGHT_BYTES_START,
            share: Share::default(),
            halved_at: CellId(0),
            stall_at: None,
            stalls: 0,
            held_until: None,
            holds: 0,
        }
    }

    /// Bytes that may be sent now.
    pub(super) fn room(&self, now: Instant) -> usize {
        self.room_in(self.window, now)
    }

    /// Bytes that streams may send now.
    pub(super) fn room_for_streams(&self, now: Instant) -> usize {
        self.room_in(self.window.min(self.share.bytes(now)), now)
    }

    /// Bytes that small messages may send now.
    pub(super) fn room_for_messages(&self, now: Instant) -> usize {
        self.room_in(self.window + MESSAGES_RESERVE_BYTES, now)
    }

    /// The largest class of a cell with a stream in it.
    pub(super) fn class_max_of_streams(&self, now: Instant) -> Class {
        self.class_max().min(self.share.class_max(now))
    }

    /// A small message comes from the peer or goes to it.
    pub(super) fn on_message(&mut self, now: Instant) {
        self.share.on_message(now);
    }

    /// Whether small messages come from this peer or go to it.
    pub(super) fn messages_are_about(&self, now: Instant) -> bool {
        self.share.is_ours(now)
    }

    /// Until when they do.
    pub(super) const fn messages_until(&self) -> Option<Instant> {
        self.share.messages_until()
    }

    /// Small messages are exchanged until then, if only with other peers.
    pub(super) fn yield_until(&mut self, until: Option<Instant>, now: Instant) {
        self.share.yield_until(until, now);
    }

    fn room_in(&self, window: usize, now: Instant) -> usize {
        if self.held_until.is_some_and(|until| now < until) {
            return 0;
        }
        let in_flight =
            usize::try_from(self.sent.saturating_sub(self.arrived)).unwrap_or(usize::MAX);
        window.saturating_sub(in_flight)
    }

    /// The largest class that is ever worth waiting for.
    pub(super) fn class_max(&self) -> Class {
        Class::ALL
            .into_iter()
            .rev()
            .find(|class| class.cell_len() <= self.window)
            .unwrap_or(Class::C0)
    }

    pub(super) fn on_sent(&mut self, id: CellId, class: Class, items: Vec<Item>, now: Instant) {
        let bytes = class.cell_len() as u64;
        self.sent += bytes;
        self.ever += bytes;
        self.cells.push_back(SentCell { id, end: self.sent, bytes, at: now, items });
        if self.stall_at.is_none() {
            self.stall_at = Some(now + self.patience());
        }
    }

    fn patience(&self) -> Duration {
        let (first, last) = STALL_MS;
        Duration::from_millis(first.saturating_mul(1 << self.stalls.min(16)).min(last))
    }

    /// The peer's count has come, as the limit of WINDOW 0.
    pub(super) fn on_credit(&mut self, limit: u64, now: Instant) {
        let arrived = limit.saturating_sub(SESSION_WINDOW_BYTES).min(self.ever);
        if arrived <= self.arrived {
            return;
        }
        let fresh = usize::try_from(arrived - self.arrived).unwrap_or(usize::MAX);
        self.arrived = arrived;
        // More than was sent: cells arrived that were taken for lost.
        self.sent = self.sent.max(arrived);
        let mut last = None;
        while self.cells.front().is_some_and(|cell| cell.end <= arrived) {
            last = self.cells.pop_front();
        }
        if let Some(last) = last {
            self.share.on_credit(now.saturating_duration_since(last.at), arrived, self.sent, now);
        }
        let growth = fresh.saturating_mul(Class::C7.cell_len()) / self.window;
        self.window = self.window.saturating_add(growth).min(FLIGHT_BYTES_MAX);
        (self.stalls, self.holds, self.held_until) = (0, 0, None);
        self.stall_at = (!self.cells.is_empty()).then(|| now + self.patience());
    }

    /// A cell was not delivered: what it carried. `None` if it was no data cell, or had been counted already.
    pub(super) fn take_lost(&mut self, id: CellId) -> Option<Vec<Item>> {
        let at = self.cells.binary_search_by_key(&id, |cell| cell.id).ok()?;
        let lost = self.cells.remove(at)?;
        self.sent = self.sent.saturating_sub(lost.bytes);
        for later in self.cells.range_mut(at..) {
            later.end = later.end.saturating_sub(lost.bytes);
        }
        if self.cells.is_empty() {
            self.stall_at = None;
        }
        Some(lost.items)
    }

    /// The relay has no room for what this device sends to the peer. `next` is the next cell's number.
    pub(super) fn on_busy(&mut self, id: CellId, next: CellId, now: Instant) {
        if id >= self.halved_at {
            self.window = (self.window / 2).max(FLIGHT_BYTES_MIN);
            self.halved_at = next;
            let (first, last) = BUSY_MS;
            let pause = first.saturating_mul(1 << self.holds.min(16)).min(last);
            self.holds = self.holds.saturating_add(1);
            self.held_until = Some(now + Duration::from_millis(pause));
        }
    }

    /// Something came from the peer.
    pub(super) fn release(&mut self) {
        self.stalls = 0;
        if self.holds == 0 {
            self.held_until = None;
        }
    }

    /// Whether nothing was heard of the cells in flight for too long.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.stall_at.is_some_and(|at| now >= at)
    }

    /// Takes all cells in flight for lost; how often that has happened in a row.
    pub(super) fn give_up(&mut self) -> u32 {
        self.forget();
        self.stalls = self.stalls.saturating_add(1);
        self.stalls
    }

    /// Takes all cells in flight for lost, which is nobody's fault: the connection ended.
    pub(super) fn forget(&mut self) {
        self.cells.clear();
        self.sent = self.arrived;
        self.stall_at = None;
        self.held_until = None;
        self.holds = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Whether sending waits for a time rather than for the peer.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    pub(super) fn stall_at(&self) -> Option<Instant> {
        self.stall_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn item(message: u64) -> Vec<Item> {
        vec![Item::Fragment { message, offset: 0, length: 1 }]
    }

    #[test]
    fn busy_halves_the_flight_once_and_success_widens_it() {
        let (mut flight, now) = (Flight::new(), start());
        assert_eq!(flight.room(now), FLIGHT_BYTES_START);
        for id in 0..4 {
            flight.on_sent(CellId(id), Class::C7, item(id), now);
        }
        assert_eq!(flight.room(now), 0);
        for id in 1..3 {
            assert_eq!(flight.take_lost(CellId(id)), Some(item(id)));
            flight.on_busy(CellId(id), CellId(4), now);
        }
        assert_eq!(flight.take_lost(CellId(1)), None);
        assert_eq!(flight.window, FLIGHT_BYTES_START / 2);
        assert_eq!(flight.room(now), 0, "a pause first");
        let later = now + Duration::from_millis(BUSY_MS.0);
        assert_eq!(flight.room(later), 0, "two are still in flight");
        flight.on_credit(SESSION_WINDOW_BYTES + 2 * 32_768, later);
        assert!(flight.is_empty());
        assert_eq!(flight.room(later), FLIGHT_BYTES_START / 2 + 32_768);
        for round in 1..20 {
            for cell in 0..2 {
                flight.on_sent(CellId(2 + 2 * round + cell), Class::C7, item(0), later);
            }
            flight.on_credit(SESSION_WINDOW_BYTES + (2 + 2 * round) * 32_768, later);
        }
        assert_eq!(flight.room(later), FLIGHT_BYTES_MAX);
        flight.on_credit(u64::MAX, later);
        assert_eq!(flight.room(later), FLIGHT_BYTES_MAX, "no more arrives than was sent");
    }

    #[test]
    fn streams_leave_room_for_messages_and_yield_to_them() {
        let (mut flight, now) = (Flight::new(), start());
        for id in 0..4 {
            flight.on_sent(CellId(id), Class::C7, item(id), now);
        }
        assert_eq!((flight.room(now), flight.room_for_streams(now)), (0, 0));
        assert_eq!(flight.room_for_messages(now), MESSAGES_RESERVE_BYTES);
        assert_eq!(flight.class_max_of_streams(now), Class::C7);
        flight.on_message(now);
        assert!(flight.messages_are_about(now) && flight.messages_until() > Some(now));
        assert_eq!(flight.class_max_of_streams(now), Class::C6);
        // All but one cell have arrived: that one is the whole share.
        flight.on_credit(SESSION_WINDOW_BYTES + 3 * 32_768, now);
        assert!(flight.room(now) > 0);
        assert!(flight.room_for_streams(now) < 32_768);
        let later = flight.messages_until().expect("seen one");
        assert_eq!(flight.room_for_streams(later), flight.room(later));
    }

    #[test]
    fn silence_is_noticed_and_late_arrivals_do_no_harm() {
        let (mut flight, now) = (Flight::new(), start());
        flight.on_sent(CellId(0), Class::C0, item(0), now);
        assert!(!flight.is_stalled(now + Duration::from_millis(STALL_MS.0 - 1)));
        assert!(flight.is_stalled(now + Duration::from_millis(STALL_MS.0)));
        assert_eq!(flight.give_up(), 1);
        assert_eq!(flight.room(now), FLIGHT_BYTES_START);
        flight.on_sent(CellId(1), Class::C0, item(0), now);
        assert!(
            !flight.is_stalled(now + Duration::from_millis(2 * STALL_MS.0 - 1)),
            "more patience"
        );
        flight.on_credit(SESSION_WINDOW_BYTES + 512, now);
        assert!(flight.is_empty());
        flight.on_sent(CellId(2), Class::C0, item(1), now);
        assert_eq!(flight.room(now), flight.window - 256);
        flight.on_credit(SESSION_WINDOW_BYTES + 300, now);
        assert!(!flight.is_empty(), "an older count means nothing");
    }

    #[test]
    fn an_impossible_count_does_no_harm() {
        let (mut flight, now) = (Flight::new(), start());
        flight.on_credit(u64::MAX, now);
        for id in 0..64 {
            flight.on_sent(CellId(id), Class::C7, item(id), now);
        }
        assert_eq!(flight.room(now), 0);
        flight.give_up();
        assert!(flight.room(now) > 0);
    }

    #[test]
    fn a_flight_never_falls_below_its_least_size() {
        let (mut flight, now) = (Flight::new(), start());
        for id in 0..100 {
            flight.on_sent(CellId(id), Class::C0, item(id), now);
            flight.take_lost(CellId(id));
            flight.on_busy(CellId(id), CellId(id + 1), now);
        }
        assert_eq!(flight.window, FLIGHT_BYTES_MIN);
        assert_eq!(flight.class_max(), Class::C6);
    }
}
