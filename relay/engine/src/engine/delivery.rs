//! A cell at its recipient's home: permission, presence, room; and the report where one is missing.

use hushwire_wire::cell::Class;
use hushwire_wire::control::{Control, Undelivered};
use hushwire_wire::id::{AccountId, DeviceId};
use hushwire_wire::limits as wire;

use super::Engine;
use crate::absent::Known;
use crate::command::{Command, Stage, Verdict};
use crate::connection::{Connection, Member, Target};
use crate::id::{ConnId, Ticket};
use crate::limits::{REFUSAL_SETTLE_MS, REFUSALS_WAITING_MAX, sealed_len};
use crate::port::{Envelope, Origin, PortMessage};
use crate::store::{Reach, StoreAnswer, StoreQuestion};
use crate::time::Time;

const MINUTE_MS: u64 = 60_000;

/// A cell on its way into a slot.
pub(super) struct Queuing {
    pub(super) to: ConnId,
    pub(super) sender: DeviceId,
    pub(super) class: Class,
    pub(super) origin: Origin,
}

/// A refusal that waits for its tick.
pub(super) struct Refusal {
    due: Time,
    conn: ConnId,
    lane: u8,
    counter: u64,
}

impl Member {
    fn lets_in(&self, sender: &DeviceId, account: &AccountId) -> bool {
        self.account == *account || self.grants.binary_search(sender).is_ok()
    }
}

impl Engine {
    /// The verdict on a cell whose recipient lives here; and, where it holds for the next cell as well,
    /// the target to remember.
    pub(super) fn deliver(&mut self, envelope: &Envelope, now: Time) -> (Verdict, Option<Target>) {
        let Envelope { sender, sender_account, recipient, .. } = envelope;
        let Some(to) = self.devices.get(recipient) else {
            self.deliver_absent(envelope, now);
            return (Verdict::Drop, None);
        };
        let Some(member) = self.connections.get(to).and_then(Connection::member) else {
            unreachable!("the device table names members only")
        };
        if member.lets_in(sender, sender_account) {
            let target = Target::Local { to, epoch: member.epoch };
            return (self.offer(to, envelope, now), Some(target));
        }
        if self.use_permit(recipient, sender, now) {
            return (self.offer(to, envelope, now), None);
        }
        // On the way of an absent recipient: there `busy`, and the order in which refusals are counted and
        // run out, depend on the store. Answered from here, a burst would show who is connected.
        self.ask_reach(envelope, now);
        (Verdict::Drop, None)
    }

    /// Takes back what is known of cells that waited for the store.
    pub(super) fn reached(&mut self, ticket: Ticket, answer: &StoreAnswer, now: Time) {
        let reach = match answer {
            StoreAnswer::Reach(reach) => Some(*reach),
            StoreAnswer::Unavailable => None,
            StoreAnswer::Admitted(_)
            | StoreAnswer::Denied(_)
            | StoreAnswer::Done
            | StoreAnswer::Failed { .. } => {
                panic!("the store answered a reach question with {answer:?}")
            }
        };
        for origin in self.absent.answer(ticket, reach, now) {
            match reach {
                Some(reach) => self.report_reach(origin, reach, now),
                None => self.report(origin, Undelivered::Busy, now),
            }
        }
    }

    /// Tells a sender that its cell was not delivered, on whatever shard it lives.
    pub(super) fn report(&mut self, origin: Origin, reason: Undelivered, now: Time) {
        if origin.shard != self.config.shard {
            let message = PortMessage::Undeliverable { origin, reason };
            self.commands.push_back(Command::Post { to: origin.shard, message });
            return;
        }
        let Origin { conn, lane, counter, heard, .. } = origin;
        let Some(member) = self.connections.get_mut(conn).and_then(Connection::member_mut) else {
            self.counters.reports_lost += 1;
            return;
        };
        if reason != Undelivered::Refused {
            self.counters.undeliverable.count(reason);
            self.send(conn, Control::Undeliverable { lane, counter, reason });
            return;
        }
        let answered =
            member.memory.refusals.take(wire::REFUSALS_PER_MINUTE, MINUTE_MS, now).is_ok();
        if !answered || self.refusals.len() >= REFUSALS_WAITING_MAX {
            self.counters.refusals_silenced += 1;
            return;
        }
        let settled = heard.after_millis(REFUSAL_SETTLE_MS).max(now).as_millis();
        let due = Time::from_millis((settled / wire::REFUSAL_TICK_MS + 1) * wire::REFUSAL_TICK_MS);
        self.refusals_due = Some(self.refusals_due.map_or(due, |first| first.min(due)));
        self.refusals.push(Refusal { due, conn, lane, counter });
    }

    /// Answers the refusals whose tick has come.
    pub(super) fn answer_refusals(&mut self, now: Time) {
        if self.refusals_due.is_none_or(|due| due > now) {
            return;
        }
        let refusals = core::mem::take(&mut self.refusals);
        self.refusals_due = None;
        for refusal in refusals {
            if refusal.due > now {
                let due = refusal.due;
                self.refusals_due = Some(self.refusals_due.map_or(due, |first| first.min(due)));
                self.refusals.push(refusal);
                continue;
            }
            let Refusal { conn, lane, counter, .. } = refusal;
            if self.connections.get(conn).and_then(Connection::member).is_none() {
                self.counters.reports_lost += 1;
                continue;
            }
            let reason = Undelivered::Refused;
            self.counters.undeliverable.count(reason);
            self.send(conn, Control::Undeliverable { lane, counter, reason });
        }
    }

    /// A cell for a member that lets its sender in.
    fn offer(&mut self, to: ConnId, envelope: &Envelope, now: Time) -> Verdict {
        let Envelope { sender, class, origin, .. } = envelope;
        let Some(connection) = self.connections.get_mut(to) else { return Verdict::Drop };
        let outlet = &mut connection.outlet;
        if outlet.is_stuck(origin.lane) {
            self.report(*origin, Undelivered::Busy, now);
            return Verdict::Drop;
        }
        let len = sealed_len(*class);
        if outlet.is_direct()
            && outlet.sealed + len <= self.sealed_cells_max
            && self.pool.may_seal(outlet.sealed, len)
        {
            outlet.sealed += len;
            self.pool.charge_sealed(len);
            self.counters.cells_out += 1;
            return Verdict::Forward { to, stage: Stage::Sealed };
        }
        if outlet.is_direct() && outlet.sealed == 0 {
            // The shard has no room, and no drain of this connection would fetch the cell from a queue.
            self.report(*origin, Undelivered::Busy, now);
            return Verdict::Drop;
        }
        if outlet.slots.as_ref().is_some_and(|slots| *class > slots.class) {
            self.report(*origin, Undelivered::TooLarge, now);
            return Verdict::Drop;
        }
        if !self.pool.admits(&outlet.queue, outlet.sealed, to.index, sender, *class) {
            self.report(*origin, Undelivered::Busy, now);
            return Verdict::Drop;
        }
        self.queuing = Some(Queuing { to, sender: *sender, class: *class, origin: *origin });
        Verdict::Forward { to, stage: Stage::Queued }
    }

    fn deliver_absent(&mut self, envelope: &Envelope, now: Time) {
        let Envelope { sender, recipient, origin, .. } = envelope;
        if self.permits.get_mut(&(*recipient, *sender), now).is_some() {
            self.report(*origin, Undelivered::Offline, now);
            return;
        }
        self.ask_reach(envelope, now);
    }

    /// Has the store say what the sender hears.
    fn ask_reach(&mut self, envelope: &Envelope, now: Time) {
        let Envelope { sender, sender_account, recipient, origin, .. } = envelope;
        let ticket = Ticket(self.tickets + 1);
        match self.absent.look_up(sender, recipient, *origin, ticket, now) {
            Known::Answer(reach) => {
                self.counters.absent_cached += 1;
                self.report_reach(*origin, reach, now);
            }
            Known::Joined => {}
            Known::Full => self.report(*origin, Undelivered::Busy, now),
            Known::Ask => {
                self.tickets = ticket.0;
                self.counters.store_questions += 1;
                let question = StoreQuestion::Reach {
                    sender: *sender,
                    sender_account: *sender_account,
                    recipient: *recipient,
                };
                self.commands.push_back(Command::AskStore { ticket, question });
            }
        }
    }

    fn report_reach(&mut self, origin: Origin, reach: Reach, now: Time) {
        match reach {
            Reach::Refused => self.report(origin, Undelivered::Refused, now),
            Reach::Offline { hidden: true, .. } => self.counters.hidden_silenced += 1,
            Reach::Offline { hidden: false, .. } => {
                self.report(origin, Undelivered::Offline, now);
            }
        }
    }
}
