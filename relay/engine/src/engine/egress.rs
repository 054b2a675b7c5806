//! What leaves by a connection: the sealed and the queued stage, control messages, slots.

use alloc::boxed::Box;
use core::cmp::Reverse;

use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, Undelivered};

use super::{Engine, Slots};
use crate::command::{Command, Egress, Stored};
use crate::connection::{Outlet, Slotted, State};
use crate::control::class_of;
use crate::id::ConnId;
use crate::limits::{CONTROL_BACKLOG_MAX, CONTROL_BACKLOG_SHARD_MAX, SLOT_CLASS_MIN, sealed_len};
use crate::queue::Waiting;
use crate::time::Time;

impl Engine {
    /// The cell of the last verdict, with [`Stage::Queued`](crate::Stage::Queued) for `to`, now waits in
    /// a slot.
    ///
    /// # Panics
    /// If the last verdict was another.
    pub fn handle_queued(&mut self, to: ConnId, stored: Stored) {
        let queuing = self.queuing.take().filter(|queuing| queuing.to == to);
        let queuing = queuing.expect("a cell is queued where the last verdict said so");
        let connection = self.connections.get_mut(to);
        let outlet = &mut connection.expect("the verdict named a live connection").outlet;
        let waiting = Waiting { stored, class: queuing.class, origin: queuing.origin };
        self.pool.push(&mut outlet.queue, to.index, &queuing.sender, waiting);
        self.counters.cells_queued += 1;
    }

    /// The cell of the last verdict should have been queued, but there was no slot: its sender hears
    /// `busy`.
    ///
    /// # Panics
    /// If the last verdict was another.
    pub fn handle_unqueued(&mut self, to: ConnId, now: Time) {
        let queuing = self.queuing.take().filter(|queuing| queuing.to == to);
        let queuing = queuing.expect("a cell is given up where the last verdict said so");
        self.report(queuing.origin, Undelivered::Busy, now);
    }

    /// The I/O layer has sealed bytes of its own for this connection (CHALLENGE, tickets, alerts,
    /// KeyUpdate): they count in its sealed stage.
    pub fn handle_sealed(&mut self, conn: ConnId, bytes: u32) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.outlet.sealed += bytes;
            self.pool.charge_sealed(bytes);
        }
    }

    /// The device of this connection gives no credit for a lane although it does for others, or gives it again. Without it
    /// cells for the lane are answered `busy`, those that wait included.
    pub fn handle_lane(&mut self, conn: ConnId, lane: u8, has_credit: bool, now: Time) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let outlet = &mut connection.outlet;
        let bit = 1 << (lane & 7);
        if has_credit {
            outlet.stuck &= !bit;
            return;
        }
        outlet.stuck |= bit;
        for waiting in self.pool.take_lane(&mut outlet.queue, conn.index, lane) {
            self.commands.push_back(Command::Release(waiting.stored.slot));
            self.report(waiting.origin, Undelivered::Busy, now);
        }
    }

    /// So many sealed bytes have left. True if [`Engine::poll_egress`] has something to seal.
    ///
    /// # Panics
    /// If more left than was sealed.
    pub fn handle_drained(&mut self, conn: ConnId, bytes: u32) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        let outlet = &mut connection.outlet;
        assert!(bytes <= outlet.sealed, "no more drains than was sealed");
        outlet.sealed -= bytes;
        self.pool.discharge_sealed(bytes);
        !outlet.is_empty() && outlet.slots.is_none()
    }

    /// What to seal next for this connection; call until [`Egress::Nothing`]. Control first, then cells
    /// in order; cover only inside a slot.
    pub fn poll_egress(&mut self, conn: ConnId) -> Egress {
        let Some(connection) = self.connections.get_mut(conn) else { return Egress::Nothing };
        let Outlet { sealed, queue, slots, .. } = &connection.outlet;
        let (for_control, for_cells, is_slot) = match slots {
            Some(slots) => (slots.left, slots.left, true),
            None => {
                let control = self.config.limits.sealed_bytes_max.saturating_sub(*sealed);
                let cells = self.sealed_cells_max.saturating_sub(*sealed);
                (control as usize, cells as usize, false)
            }
        };
        let len = |class: Class| match is_slot {
            true => class.cell_len(),
            false => sealed_len(class) as usize,
        };
        let control = connection.outlet.backlog.front();
        // A connection with nothing under way has to get something, or it is never asked about again.
        let has_room = is_slot || *sealed == 0;
        let control = control.map(class_of).filter(|&class| {
            len(class) <= for_control && (has_room || self.pool.may_seal(0, sealed_len(class)))
        });
        let cell = self.pool.front(queue).filter(|&class| len(class) <= for_cells);
        let outlet = &mut connection.outlet;
        if let Some(class) = control
            && let Some(control) = outlet.pop_backlog()
        {
            self.backlogged -= 1;
            self.counters.controls_out += 1;
            self.charge(conn, class);
            return Egress::Control(control);
        }
        if let Some(class) = cell
            && let Some(waiting) = self.pool.pop(&mut outlet.queue)
        {
            self.counters.cells_out += 1;
            self.charge(conn, class);
            return Egress::Real(waiting.stored);
        }
        let fits = |class: &Class| class.cell_len() <= for_cells;
        match Class::ALL.into_iter().rev().find(fits).filter(|_| is_slot) {
            Some(class) => {
                self.counters.covers_out += 1;
                self.charge(conn, class);
                Egress::Cover(class)
            }
            None => Egress::Nothing,
        }
    }

    /// Serves this connection by slots from now on, the first one an interval from now, or no longer.
    /// When slots end, [`Engine::poll_egress`] may have something to seal.
    ///
    /// # Panics
    /// If the class is below [`crate::limits::SLOT_CLASS_MIN`] or the interval is zero.
    pub fn set_slots(&mut self, conn: ConnId, slots: Option<Slots>, now: Time) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let had = connection.outlet.slots.is_some();
        self.slotted = self.slotted + usize::from(slots.is_some()) - usize::from(had);
        connection.outlet.slots = slots.map(|Slots { class, interval_nanos }| {
            assert!(class >= SLOT_CLASS_MIN, "a slot holds any control message");
            assert!(interval_nanos > 0, "slots are apart");
            let due = now.after_nanos(interval_nanos);
            self.slots.push(Reverse((due, conn)));
            Box::new(Slotted { class, interval_nanos, due, left: 0 })
        });
        if self.slots.len() > 2 * self.slotted + 64 {
            let connections = &self.connections;
            self.slots.retain(|Reverse((due, conn))| {
                let slots = connections.get(*conn).and_then(|c| c.outlet.slots.as_ref());
                slots.is_some_and(|slots| slots.due == *due)
            });
        }
    }

    /// A connection whose slot is due: call [`Engine::poll_egress`] until [`Egress::Nothing`], seal all of
    /// it as one unit, and come back until `None`. The unit is exactly as large as the slot's class and is
    /// charged as one cell of it. A slot that falls due while the sealed stage is full is missed.
    ///
    /// # Panics
    /// If the connection's last slot was not filled.
    pub fn poll_slots(&mut self, now: Time) -> Option<ConnId> {
        while let Some(&Reverse((due, conn))) = self.slots.peek() {
            if due > now {
                return None;
            }
            self.slots.pop();
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            let outlet = &mut connection.outlet;
            let Some(slots) = outlet.slots.as_deref_mut().filter(|slots| slots.due == due) else {
                continue;
            };
            let steps = now.since(due).as_nanos() as u64 / slots.interval_nanos + 1;
            slots.due = due.after_nanos(steps * slots.interval_nanos);
            self.slots.push(Reverse((slots.due, conn)));
            assert!(slots.left == 0, "a slot is filled before the next one");
            let len = sealed_len(slots.class);
            if outlet.sealed + len > self.config.limits.sealed_bytes_max {
                self.counters.slots_missed += 1;
                continue;
            }
            // Never held up by what others wait for: an observer could see it.
            outlet.sealed += len;
            self.pool.charge_sealed(len);
            slots.left = slots.class.cell_len();
            return Some(conn);
        }
        None
    }

    /// Says something to a connection, now or when there is room. One that has no room for it in its
    /// backlog either is going to be closed.
    pub(super) fn send(&mut self, conn: ConnId, control: Control) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let outlet = &mut connection.outlet;
        let is_over = match &connection.state {
            State::Closing(closing) => closing.announced || outlet.overflowed,
            State::Fresh(_) | State::Asking(_) | State::Member(_) => outlet.overflowed,
        };
        if is_over {
            return;
        }
        if outlet.backlog.is_empty() && outlet.slots.is_none() {
            let len = sealed_len(class_of(&control));
            let has_room = outlet.sealed == 0 || self.pool.may_seal(0, len);
            if has_room && outlet.sealed + len <= self.config.limits.sealed_bytes_max {
                outlet.sealed += len;
                self.pool.charge_sealed(len);
                self.counters.controls_out += 1;
                self.commands.push_back(Command::Send { conn, control });
                return;
            }
        }
        if outlet.backlog.len() >= CONTROL_BACKLOG_MAX
            || self.backlogged >= CONTROL_BACKLOG_SHARD_MAX
        {
            outlet.overflowed = true;
            self.overflowed.push_back(conn);
            return;
        }
        outlet.backlog.push_back(control);
        self.backlogged += 1;
    }

    /// Charges what [`Engine::poll_egress`] hands out, and lets a connection end whose last words these
    /// were.
    fn charge(&mut self, conn: ConnId, class: Class) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let outlet = &mut connection.outlet;
        match &mut outlet.slots {
            Some(slots) => slots.left -= class.cell_len(),
            None => {
                outlet.sealed += sealed_len(class);
                self.pool.charge_sealed(sealed_len(class));
            }
        }
        self.announce(conn);
    }
}
