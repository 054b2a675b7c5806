//! What time does: deadlines, idle connections, refusals, sweeps, and the end.

use hushwire_wire::control::{Control, ErrorCode, GoawayReason};

use core::cmp::Reverse;

use super::Engine;
use crate::command::Why;
use crate::connection::State;
use crate::id::ConnId;
use crate::limits::{COMMANDS_SOFT_MAX, SWEEP_MS};
use crate::time::Time;

impl Engine {
    /// When [`Engine::handle_timeout`] or [`Engine::poll_slots`] next has something to do. In the past
    /// where there is more to do at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if !self.overflowed.is_empty() || self.is_parting() {
            return Some(Time::ZERO);
        }
        let slots = self.slots.peek().map(|Reverse((due, _))| *due);
        let sweep = if self.has_nothing_to_sweep() { None } else { Some(self.sweep_at) };
        [self.wheel.next(), self.refusals_due, slots, sweep].into_iter().flatten().min()
    }

    /// Does what is due: deadlines, idle connections, refusals. Stops early when it has caused
    /// [`COMMANDS_SOFT_MAX`] commands; poll them and come back.
    pub fn handle_timeout(&mut self, now: Time) {
        while self.commands.len() < COMMANDS_SOFT_MAX {
            if let Some(conn) = self.overflowed.pop_front() {
                self.give_up(conn, now);
            } else if let Some(index) = self.draining.filter(|_| self.is_parting()) {
                self.draining = Some(index + 1);
                self.part(index, now);
            } else if let Some(index) = self.wheel.pop(now) {
                self.expire(index, now);
            } else {
                self.answer_refusals(now);
                break;
            }
        }
        if now >= self.sweep_at {
            self.sweep_at = now.after_millis(SWEEP_MS);
            self.absent.sweep(now);
            self.accounts.sweep(now);
            self.rendezvous.sweep(now);
            self.permits.sweep(now);
            self.remembered.sweep(now);
        }
    }

    /// Tells every device to go, with jittered delays, and takes no more connections. What waits for them
    /// is still sent. The telling is done by [`Engine::handle_timeout`], which is due at once.
    pub fn drain(&mut self, now: Time) {
        if self.draining.is_none() {
            self.draining = Some(0);
            self.handle_timeout(now);
        }
    }

    /// Whether a draining engine has connections left to tell.
    fn is_parting(&self) -> bool {
        self.draining.is_some_and(|index| index < self.connections.extent())
    }

    fn part(&mut self, index: u32, now: Time) {
        let Some(conn) = self.connections.id_at(index) else { return };
        let Some(connection) = self.connections.get(conn) else { return };
        match connection.state {
            State::Fresh(_) => self.cut(conn, Why::Draining, now),
            State::Asking(_) => {
                self.fail(conn, ErrorCode::Draining, "the relay is stopping", Why::Draining, now);
            }
            State::Member(_) => {
                let reconnect_after_ms = self.reconnect_after_ms();
                let reason = GoawayReason::Draining;
                self.send(conn, Control::Goaway { reason, reconnect_after_ms });
                self.close(conn, Why::Draining, now);
            }
            State::Closing(_) => {}
        }
    }

    fn give_up(&mut self, conn: ConnId, now: Time) {
        if self.connections.get(conn).is_some() {
            self.counters.closed_backlog += 1;
            self.cut(conn, Why::Backlog, now);
        }
    }

    fn expire(&mut self, index: u32, now: Time) {
        let Some(conn) = self.connections.id_at(index) else { return };
        let Some(connection) = self.connections.get(conn) else { return };
        let idle_until = connection.heard.after_millis(self.config.limits.idle_ms);
        match &connection.state {
            State::Fresh(fresh) if fresh.deadline > now => self.wheel.arm(index, fresh.deadline),
            State::Asking(asking) if asking.deadline > now => {
                self.wheel.arm(index, asking.deadline);
            }
            State::Member(_) if idle_until > now => self.wheel.arm(index, idle_until),
            State::Closing(closing) if closing.deadline > now => {
                self.wheel.arm(index, closing.deadline);
            }
            State::Fresh(_) => {
                self.counters.closed_deadline += 1;
                self.cut(conn, Why::Deadline, now);
            }
            State::Asking(_) => {
                self.counters.closed_deadline += 1;
                let sentence = "the relay's store did not answer in time";
                self.fail(conn, ErrorCode::Busy, sentence, Why::Deadline, now);
            }
            State::Member(_) => {
                self.counters.closed_idle += 1;
                let reason = GoawayReason::Idle;
                self.send(conn, Control::Goaway { reason, reconnect_after_ms: 0 });
                self.close(conn, Why::Idle, now);
            }
            State::Closing(closing) => {
                let why = closing.why;
                self.cut(conn, why, now);
            }
        }
    }

    fn has_nothing_to_sweep(&self) -> bool {
        self.absent.is_empty()
            && self.accounts.is_empty()
            && self.rendezvous.is_empty()
            && self.permits.is_empty()
            && self.remembered.is_empty()
    }
}
