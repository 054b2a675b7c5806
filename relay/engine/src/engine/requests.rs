//! What a device asks. Its home hands the request to the home of its account, where the account's
//! operations are counted whatever shards its devices live on; that shard asks the store, or the home of
//! a rendezvous, and the answer comes back to the device's home.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use hushwire_wire::control::{Control, ControlError, ErrorCode, GoawayReason, Request, RequestId};
use hushwire_wire::id::DeviceId;

use super::Engine;
use crate::command::{Command, Why};
use crate::connection::{Connection, State};
use crate::hash::shard_for;
use crate::id::{ConnId, Ticket};
use crate::limits::OPERATIONS_PENDING_MAX;
use crate::port::{Asker, Effect, PortMessage};
use crate::rate::Window;
use crate::store::{StoreAnswer, StoreQuestion};
use crate::time::Time;

const MINUTE_MS: u64 = 60_000;

/// What an account did lately.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    operations: Window,
    joins: Window,
}

/// What an answer of the store is for. Questions about absent devices are kept elsewhere.
pub(super) enum Pending {
    Admission {
        conn: ConnId,
        /// The device's row changed since the question: ask once more.
        again: bool,
    },
    Operation {
        asker: Asker,
        effect: Option<Effect>,
        revoked: Option<DeviceId>,
    },
}

impl Engine {
    /// The body of a control cell ([`Verdict::ReadControl`](crate::Verdict::ReadControl)) that is not a
    /// HELLO whose proof holds.
    pub fn handle_control(&mut self, conn: ConnId, control: Control, now: Time) {
        let Some(connection) = self.connections.get(conn) else { return };
        let member = match &connection.state {
            State::Member(member) => member,
            State::Fresh(_) | State::Asking(_) => {
                self.malformed(conn, "the first cell is not an introduction", now);
                return;
            }
            State::Closing(_) => return,
        };
        let Control::Request { id, request } = control else {
            let sentence = format!("a device may not say '{}'", control.operation());
            self.malformed(conn, &sentence, now);
            return;
        };
        let (device, account) = (member.device, member.account);
        if request == Request::Ping {
            let unix_ms = self.config.unix_ms_at_zero.saturating_add(now.as_millis());
            self.send(conn, Control::Pong { id, unix_ms });
            return;
        }
        let asker = Asker { shard: self.config.shard, conn, device, account, id };
        let to = shard_for(&self.config.home_key, self.config.shards, account.as_bytes());
        self.post(to, PortMessage::Request { asker, request }, now);
    }

    /// The body of a control cell was not understood: answered where the operation is only unknown,
    /// else the end of the connection.
    pub fn handle_malformed_control(&mut self, conn: ConnId, error: ControlError, now: Time) {
        let sentence = format!("{error}");
        let Some(connection) = self.connections.get(conn) else { return };
        if let (ControlError::Unsupported { id, .. }, State::Member(_)) =
            (&error, &connection.state)
        {
            let (id, code) = (*id, ErrorCode::Unsupported);
            self.send(conn, Control::Error { id, code, sentence, wait_ms: None });
        } else {
            self.malformed(conn, &sentence, now);
        }
    }

    /// The store has answered. A ticket whose connection is gone is ignored.
    ///
    /// # Panics
    /// If the answer is of another kind than its question.
    pub fn handle_store(&mut self, ticket: Ticket, answer: StoreAnswer, now: Time) {
        match self.pending.remove(&ticket) {
            Some(Pending::Admission { conn, again }) => self.admission(conn, again, answer, now),
            Some(Pending::Operation { asker, effect, revoked }) => {
                self.operations_pending -= 1;
                self.operated(asker, effect, revoked, answer, now);
            }
            None => self.reached(ticket, &answer, now),
        }
    }

    /// A device was revoked, by its account or by the operator: its connection ends.
    pub fn revoke(&mut self, device: &DeviceId, now: Time) {
        let to = self.home_of(device);
        if to != self.config.shard {
            let message = PortMessage::Revoked { device: *device };
            self.commands.push_back(Command::Post { to, message });
            return;
        }
        self.absent.clear(device);
        self.ask_again(device);
        if let Some(conn) = self.devices.get(device) {
            let reason = GoawayReason::Revoked;
            self.send(conn, Control::Goaway { reason, reconnect_after_ms: 0 });
            self.close(conn, Why::Revoked, now);
        }
    }

    /// At the home of the asker's account.
    pub(super) fn begin(&mut self, asker: Asker, request: Request, now: Time) {
        if let Err(refusal) = self.count_operation(&asker, &request, now) {
            self.answer(asker, *refusal, None, now);
            return;
        }
        let Asker { account, device: me, .. } = asker;
        let (mut effect, mut revoked) = (None, None);
        let question = match request {
            Request::PairOpen { tag, ttl_s } => {
                return self.send_to_meet(asker, tag, Some(ttl_s), now);
            }
            Request::PairJoin { tag } => return self.send_to_meet(asker, tag, None, now),
            Request::Register { device, name, proof } => {
                let proof = Box::new(proof);
                StoreQuestion::Register { account, device, name, asker: me, proof }
            }
            Request::Rename { device, name } => StoreQuestion::Rename { account, device, name },
            Request::Revoke { device } => {
                revoked = Some(device);
                StoreQuestion::Revoke { account, device }
            }
            Request::Grant { device } => {
                effect = Some(Effect::Granted(device));
                StoreQuestion::Grant { account, recipient: me, sender: device }
            }
            Request::Ungrant { device } => {
                effect = Some(Effect::Ungranted(device));
                StoreQuestion::Ungrant { account, recipient: me, sender: device }
            }
            Request::Presence { hidden } => {
                effect = Some(Effect::Hidden(hidden));
                StoreQuestion::Presence { account, device: me, hidden }
            }
            Request::Ping => unreachable!("a ping is answered at once"),
        };
        if self.operations_pending >= OPERATIONS_PENDING_MAX {
            let busy = error(asker.id, ErrorCode::Busy, "the relay's store is busy", Some(1_000));
            self.answer(asker, busy, None, now);
            return;
        }
        self.operations_pending += 1;
        self.ask(Pending::Operation { asker, effect, revoked }, question);
    }

    /// At the asker's home: what changed, and the answer.
    pub(super) fn finish(
        &mut self,
        asker: Asker,
        control: Control,
        effect: Option<Effect>,
        now: Time,
    ) {
        if let Some(effect) = effect {
            self.apply(&asker.device, effect, now);
        }
        if self.connections.get(asker.conn).and_then(Connection::member).is_some() {
            self.send(asker.conn, control);
        }
    }

    /// Answers a request from wherever it was decided.
    pub(super) fn answer(
        &mut self,
        asker: Asker,
        control: Control,
        effect: Option<Effect>,
        now: Time,
    ) {
        self.post(asker.shard, PortMessage::Answer { asker, control, effect }, now);
    }

    pub(super) fn ask(&mut self, pending: Pending, question: StoreQuestion) {
        let ticket = self.next_ticket();
        self.pending.insert(ticket, pending);
        self.counters.store_questions += 1;
        self.commands.push_back(Command::AskStore { ticket, question });
    }

    fn operated(
        &mut self,
        asker: Asker,
        effect: Option<Effect>,
        revoked: Option<DeviceId>,
        answer: StoreAnswer,
        now: Time,
    ) {
        let id = asker.id;
        match answer {
            StoreAnswer::Done => {
                if let Some(device) = revoked {
                    self.revoke(&device, now);
                }
                self.answer(asker, Control::Done { id }, effect, now);
            }
            StoreAnswer::Failed { code, sentence } => {
                let failed = Control::Error { id: Some(id), code, sentence, wait_ms: None };
                self.answer(asker, failed, None, now);
            }
            StoreAnswer::Unavailable => {
                let sentence = "the relay's store cannot answer now";
                self.answer(asker, error(id, ErrorCode::Busy, sentence, Some(1_000)), None, now);
            }
            StoreAnswer::Admitted(_) | StoreAnswer::Denied(_) | StoreAnswer::Reach(_) => {
                panic!("the store answered an operation with {answer:?}")
            }
        }
    }

    /// Changes the row of a device that lives here, whichever connection it has now.
    fn apply(&mut self, device: &DeviceId, effect: Effect, now: Time) {
        self.absent.clear(device);
        self.ask_again(device);
        let Some(conn) = self.devices.get(device) else { return };
        let Some(member) = self.connections.get_mut(conn).and_then(Connection::member_mut) else {
            return;
        };
        match effect {
            Effect::Granted(sender) => {
                if let Err(at) = member.grants.binary_search(&sender) {
                    if self.grants_held >= self.config.limits.grants_max {
                        // Its row is not held whole any more. It comes back when there is room.
                        let sentence = "the relay holds as many grants as it can";
                        self.fail(conn, ErrorCode::Busy, sentence, Why::Busy, now);
                        return;
                    }
                    member.grants.reserve_exact(1);
                    member.grants.insert(at, sender);
                    self.grants_held += 1;
                }
            }
            Effect::Ungranted(sender) => {
                if let Ok(at) = member.grants.binary_search(&sender) {
                    member.grants.remove(at);
                    member.grants.shrink_to_fit();
                    self.grants_held -= 1;
                }
            }
            Effect::Hidden(hidden) => member.hidden = hidden,
        }
        member.epoch = member.epoch.wrapping_add(1);
    }

    /// A row that was read before this moment may be out of date.
    fn ask_again(&mut self, device: &DeviceId) {
        for pending in self.pending.values_mut() {
            if let Pending::Admission { conn, again } = pending
                && let Some(connection) = self.connections.get(*conn)
                && let State::Asking(asking) = &connection.state
            {
                *again |= asking.device == *device;
            }
        }
    }

    fn count_operation(
        &mut self,
        asker: &Asker,
        request: &Request,
        now: Time,
    ) -> Result<(), Box<Control>> {
        let (operations, joins) =
            (self.config.limits.operations_per_minute, self.config.limits.pair_joins_per_minute);
        let until = now.after_millis(MINUTE_MS);
        let Some(usage) = self.accounts.entry(asker.account, Usage::default(), until, now) else {
            let sentence = "the relay serves too many accounts at once";
            return Err(Box::new(error(asker.id, ErrorCode::Busy, sentence, Some(1_000))));
        };
        let limited = |max: u32, what: &str| {
            let sentence = format!("more than {max} {what} a minute");
            move |wait_ms| {
                Box::new(Control::Error {
                    id: Some(asker.id),
                    code: ErrorCode::RateLimited,
                    sentence,
                    wait_ms: Some(wait_ms),
                })
            }
        };
        if let Request::PairJoin { .. } = request {
            usage.joins.take(joins, MINUTE_MS, now).map_err(limited(joins, "joins"))?;
        }
        usage.operations.take(operations, MINUTE_MS, now).map_err(limited(operations, "operations"))
    }
}

/// An error that answers a request.
pub(super) fn error(
    id: RequestId,
    code: ErrorCode,
    sentence: &str,
    wait_ms: Option<u32>,
) -> Control {
    Control::Error { id: Some(id), code, sentence: String::from(sentence), wait_ms }
}
