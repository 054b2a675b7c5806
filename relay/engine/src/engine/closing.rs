//! How a connection ends. Closing is a state: the last words are sent first, and the connection is gone
//! only when the I/O layer says so.

use alloc::collections::VecDeque;

use hushwire_wire::control::Undelivered;

use super::Engine;
use crate::command::{Command, Why};
use crate::connection::{Closing, Connection, Member, State};
use crate::id::ConnId;
use crate::limits::{CLOSING_MS_MAX, DISPLACEMENT_WINDOW_MS};
use crate::queue::Queue;
use crate::time::Time;

const MINUTE_MS: u64 = 60_000;

impl Engine {
    /// The connection is gone: by its peer, by the network or by [`Command::Close`]. Its queued cells
    /// are reported to their senders and their slots released. A stale ID is ignored.
    pub fn handle_closed(&mut self, conn: ConnId, now: Time) {
        let Some(mut connection) = self.forget(conn) else { return };
        let hidden = match &connection.state {
            State::Member(member) => {
                self.leave(conn, member, now);
                member.hidden
            }
            State::Fresh(_) | State::Asking(_) | State::Closing(_) => false,
        };
        self.drop_queue(&mut connection.outlet.queue, hidden, now);
    }

    /// Takes a connection out of the tables that know it by its ID.
    pub(super) fn forget(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.connections.remove(conn)?;
        self.wheel.disarm(conn.index);
        self.pool.discharge_sealed(connection.outlet.sealed);
        self.backlogged -= connection.outlet.backlog.len();
        self.slotted -= usize::from(connection.outlet.slots.is_some());
        match connection.state {
            State::Fresh(_) | State::Asking(_) => self.unauthenticated -= 1,
            State::Member(_) | State::Closing(_) => {}
        }
        Some(connection)
    }

    /// Ends a connection once what waits for it in control has been sealed; when the relay stops, what
    /// waits in cells as well. Else its queued cells are reported now. Under constant cover only the last
    /// word is sent, so that its end takes one slot whatever waited.
    pub(super) fn close(&mut self, conn: ConnId, why: Why, now: Time) {
        if self.begin_closing(conn, why, now) {
            self.announce(conn);
        }
    }

    /// Ends a connection without another word, also one that is closing.
    pub(super) fn cut(&mut self, conn: ConnId, why: Why, now: Time) {
        self.begin_closing(conn, why, now);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let State::Closing(closing) = &mut connection.state else { return };
        closing.announced = true;
        let why = closing.why;
        let mut queue = core::mem::replace(&mut connection.outlet.queue, Queue::new());
        self.backlogged -= connection.outlet.backlog.len();
        connection.outlet.backlog = VecDeque::new();
        self.wheel.disarm(conn.index);
        self.drop_queue(&mut queue, false, now);
        self.commands.push_back(Command::Close { conn, after_flush: false, why });
    }

    /// False where it was closing already.
    fn begin_closing(&mut self, conn: ConnId, why: Why, now: Time) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        let deadline = now.after_millis(CLOSING_MS_MAX);
        let closing = State::Closing(Closing { why, deadline, announced: false });
        let mut queue = Queue::new();
        let hidden = match core::mem::replace(&mut connection.state, closing) {
            State::Closing(earlier) => {
                connection.state = State::Closing(earlier);
                return false;
            }
            State::Fresh(_) | State::Asking(_) => {
                self.unauthenticated -= 1;
                false
            }
            State::Member(member) => {
                let outlet = &mut connection.outlet;
                if why != Why::Draining || outlet.slots.is_some() {
                    core::mem::swap(&mut queue, &mut outlet.queue);
                }
                if outlet.slots.is_some() {
                    let last_word = outlet.backlog.pop_back();
                    self.backlogged -= outlet.backlog.len();
                    outlet.backlog = last_word.into_iter().collect();
                }
                self.leave(conn, &member, now);
                member.hidden
            }
        };
        self.drop_queue(&mut queue, hidden, now);
        self.wheel.arm(conn.index, deadline);
        true
    }

    /// Has a connection closed that is closing and has said everything.
    pub(super) fn announce(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let State::Closing(closing) = &mut connection.state else { return };
        if !closing.announced && connection.outlet.is_empty() {
            closing.announced = true;
            let why = closing.why;
            self.commands.push_back(Command::Close { conn, after_flush: true, why });
        }
    }

    /// A device is not connected any more.
    fn leave(&mut self, conn: ConnId, member: &Member, now: Time) {
        self.devices.remove(&member.device, conn);
        self.grants_held -= member.grants.len();
        let memory = member.memory;
        let refusals = memory.refusals.is_over(MINUTE_MS, now);
        let displacements = memory.displacements.is_over(DISPLACEMENT_WINDOW_MS, now);
        if refusals && displacements {
            return;
        }
        let until = memory.refusals.end(MINUTE_MS);
        let until = if displacements {
            until
        } else {
            until.max(memory.displacements.end(DISPLACEMENT_WINDOW_MS))
        };
        self.remembered.insert(member.device, memory, until, now);
    }

    fn drop_queue(&mut self, queue: &mut Queue, hidden: bool, now: Time) {
        while let Some(waiting) = self.pool.pop(queue) {
            self.commands.push_back(Command::Release(waiting.stored.slot));
            if hidden {
                self.counters.hidden_silenced += 1;
            } else {
                self.report(waiting.origin, Undelivered::Offline, now);
            }
        }
    }
}
