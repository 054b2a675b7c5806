//! The applications: what they keep in records of their own, how they take messages, and what they send.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hushwire::conversation::limits::MESSAGES_AHEAD_BYTES_MAX;
use hushwire::conversation::{Incoming, OutboxLimits};
use hushwire::journal::MessageId;

use super::Violation;
use super::ledger::{Purpose, Serial};
use super::plan::{Fault, Manner};
use super::transfer::{Receiving, Sending, Streaming};
use super::world::{World, violation};

/// The longest message of the simulation.
pub(crate) const LARGEST_BYTES: usize = 1_300_000;

/// What an application has decided about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Taken,
    Refused(u16),
}

/// An application's own records. They are as durable as it needs: one transaction takes a message and notes its name.
#[derive(Clone, Default)]
pub(crate) struct App {
    /// Messages that it has seen, by peer and log; and what it decided.
    seen: BTreeMap<(usize, u64), BTreeMap<u64, Option<Decision>>>,
    /// The log of each peer that it saw last.
    latest: BTreeMap<usize, u64>,
    pub(crate) receiving: BTreeMap<usize, Receiving>,
    pub(crate) sending: BTreeMap<usize, Sending>,
}

struct Held {
    peer: usize,
    serial: Serial,
    incoming: Incoming,
}

/// What is gone with the process.
#[derive(Default)]
pub(crate) struct Running {
    held: VecDeque<Held>,
    /// Taken, and not confirmed yet.
    unconfirmed: VecDeque<(usize, MessageId)>,
    /// Decided in an earlier run, though the library's disk need not know.
    forgiven: BTreeSet<(usize, MessageId)>,
    /// The last that was handed out.
    last: BTreeMap<usize, MessageId>,
    /// Given back: to come again.
    back: BTreeSet<(usize, MessageId)>,
    pub(crate) streaming: Streaming,
    pub(crate) disk_failed: bool,
}

impl Running {
    pub(crate) fn is_done(&self) -> bool {
        self.held.is_empty() && self.unconfirmed.is_empty()
    }
}

impl App {
    fn decision(&self, peer: usize, id: MessageId) -> Option<Decision> {
        self.seen.get(&(peer, id.incarnation))?.get(&id.sequence).copied().flatten()
    }

    fn note(&mut self, peer: usize, id: MessageId, decision: Option<Decision>) {
        self.latest.insert(peer, id.incarnation);
        let log = self.seen.entry((peer, id.incarnation)).or_default();
        let known = log.entry(id.sequence).or_default();
        *known = decision.or(*known);
    }

    /// The last message of a peer that was taken, as was everything before it.
    fn taken_up_to(&self, peer: usize) -> Option<MessageId> {
        let incarnation = *self.latest.get(&peer)?;
        let log = self.seen.get(&(peer, incarnation))?;
        let taken = log.iter().take_while(|(_, decision)| **decision == Some(Decision::Taken));
        taken.last().map(|(&sequence, _)| MessageId { incarnation, sequence })
    }
}

impl World {
    /// An application starts again: it tells the library what it has taken by its own records.
    pub(crate) fn app_started(&mut self, number: usize) {
        let ids: Vec<_> = self.devices.iter().map(|device| device.id).collect();
        let device = &mut self.devices[number];
        let Some(process) = &mut device.process else { return };
        for (&peer, conversation) in &mut process.conversations {
            let up_to = device.app.taken_up_to(peer);
            if let Some(id) = up_to {
                conversation.confirm_up_to(id);
            }
            let Some(&incarnation) = device.app.latest.get(&peer) else { continue };
            let logs = device.disk.logs.peer(&ids[peer]);
            let incoming = logs.and_then(|logs| logs.incoming.as_ref());
            let known = incoming.filter(|log| log.incarnation == incarnation);
            let Some(log) = device.app.seen.get(&(peer, incarnation)) else { continue };
            for (&sequence, decision) in log {
                let id = MessageId { incarnation, sequence };
                let is_stored = known
                    .is_some_and(|log| sequence < log.next || log.ahead.contains_key(&sequence));
                if decision.is_some() && !is_stored && up_to.is_none_or(|up_to| id > up_to) {
                    process.running.forgiven.insert((peer, id));
                }
            }
        }
        for receiving in device.app.receiving.values_mut() {
            receiving.started_again();
        }
        for sending in device.app.sending.values_mut() {
            sending.started_again();
        }
    }

    /// An application does something. `false` where it dies of it.
    pub(crate) fn act(&mut self, number: usize) -> Result<bool, Violation> {
        let manner = self.plan.manners[number];
        let is_acting = self.is_acting();
        let manner = Manner {
            decides: if is_acting { manner.decides } else { 100 },
            gives_back: if is_acting { manner.gives_back } else { 0 },
            dies: if is_acting { manner.dies } else { 0 },
            ..manner
        };
        self.take_messages(number)?;
        if !self.decide(number, manner)? {
            return Ok(false);
        }
        self.confirm_late(number, manner);
        if is_acting {
            self.send_messages(number, manner);
        }
        self.transfer(number)?;
        self.check_bounds_of(number)?;
        Ok(true)
    }

    fn take_messages(&mut self, number: usize) -> Result<(), Violation> {
        let Self { devices, ledger, plan, .. } = self;
        let device = &mut devices[number];
        let Some(process) = &mut device.process else { return Ok(()) };
        let running = &mut process.running;
        for (&peer, conversation) in &mut process.conversations {
            while let Some(mut incoming) = conversation.hand_out() {
                let id = incoming.id;
                if plan.fault == Fault::ChangedMessage && device.dice.chance(10) {
                    incoming.bytes.push(0);
                }
                let serial = ledger.handed(peer, number, &incoming)?;
                let is_back = running.back.remove(&(peer, id));
                let last = running.last.get(&peer).copied();
                let is_behind =
                    last.is_some_and(|last| last.incarnation == id.incarnation && id <= last);
                if is_behind && !is_back {
                    let what = format!("{peer}->{number}: {id} comes after {last:?}");
                    return violation("exactly once", what);
                }
                if !is_back {
                    running.last.insert(peer, id);
                }
                match device.app.decision(peer, id) {
                    Some(_) if !running.forgiven.remove(&(peer, id)) => {
                        let what = format!("{peer}->{number}: {id} comes again after its decision");
                        return violation("exactly once", what);
                    }
                    Some(Decision::Taken) => conversation.confirm(id),
                    Some(Decision::Refused(reason)) => conversation.refuse(id, reason),
                    None => {
                        device.app.note(peer, id, None);
                        if plan.fault == Fault::HandedTwice && device.dice.chance(10) {
                            ledger.handed(peer, number, &incoming)?;
                            ledger.took(serial)?;
                        }
                        let is_later = |held: &Held| held.peer == peer && held.incoming.id > id;
                        let at = running.held.iter().position(is_later).filter(|_| is_back);
                        let at = at.unwrap_or(running.held.len());
                        running.held.insert(at, Held { peer, serial, incoming });
                    }
                }
            }
        }
        let held: usize = running.held.iter().map(|held| held.incoming.bytes.len()).sum();
        let most = process.conversations.len() * (MESSAGES_AHEAD_BYTES_MAX + LARGEST_BYTES);
        if held > most {
            return violation("bounded", format!("{held} bytes were handed to {number}"));
        }
        Ok(())
    }

    /// Decides about what is held. `false` where the application dies behind a transaction.
    fn decide(&mut self, number: usize, manner: Manner) -> Result<bool, Violation> {
        loop {
            let Self { devices, ledger, plan, .. } = self;
            let device = &mut devices[number];
            let (dice, app) = (&mut device.dice, &mut device.app);
            let Some(process) = &mut device.process else { return Ok(true) };
            let running = &mut process.running;
            if running.held.is_empty() || !dice.chance(manner.decides) {
                return Ok(true);
            }
            let any = dice.below(running.held.len() as u64) as usize;
            let at = if manner.ordered { 0 } else { any };
            let Held { peer, serial, incoming } = running.held.remove(at).expect("it is held");
            let (id, purpose) = (incoming.id, ledger.sent[serial as usize].purpose);
            let conversation = process.conversations.get_mut(&peer).expect("a peer");
            if dice.chance(manner.gives_back) {
                running.back.insert((peer, id));
                conversation.give_back(incoming);
                self.take_messages(number)?;
                return Ok(true);
            }
            if purpose == Purpose::Chat && dice.chance(manner.refuses) {
                let reason = dice.below(1 << 16) as u16;
                app.note(peer, id, Some(Decision::Refused(reason)));
                ledger.refused(serial, reason);
                conversation.refuse(id, reason);
                continue;
            }
            if plan.fault == Fault::ConfirmedUntaken && dice.chance(10) {
                conversation.confirm(id);
                continue;
            }
            // One transaction: the message, its name, and what follows from it.
            app.note(peer, id, Some(Decision::Taken));
            ledger.took(serial)?;
            let trace = self.now ^ (serial << 20);
            self.trace(trace);
            self.follow_purpose(number, peer, purpose);
            let device = &mut self.devices[number];
            let process = device.process.as_mut().expect("it runs");
            if device.dice.chance(manner.dies) {
                return Ok(false);
            }
            if device.dice.chance(manner.confirms_at_once) {
                process.conversations.get_mut(&peer).expect("a peer").confirm(id);
            } else {
                process.running.unconfirmed.push_back((peer, id));
            }
        }
    }

    /// Confirms what was taken before, in any order, one by one or all up to one.
    fn confirm_late(&mut self, number: usize, manner: Manner) {
        let is_acting = self.is_acting();
        let device = &mut self.devices[number];
        let Some(process) = &mut device.process else { return };
        let unconfirmed = &mut process.running.unconfirmed;
        while !unconfirmed.is_empty() && (!is_acting || device.dice.chance(30)) {
            let at = device.dice.below(unconfirmed.len() as u64) as usize;
            let Some((peer, id)) = unconfirmed.remove(at) else { return };
            let conversation = process.conversations.get_mut(&peer).expect("a peer");
            let up_to = device.app.taken_up_to(peer).filter(|up_to| *up_to >= id);
            match up_to.filter(|_| manner.ordered && device.dice.chance(30)) {
                Some(up_to) if up_to.incarnation == id.incarnation => {
                    conversation.confirm_up_to(up_to);
                    let is_over = |other: &(usize, MessageId)| {
                        let (of, other) = *other;
                        let same = other.incarnation == up_to.incarnation;
                        of == peer && same && other <= up_to
                    };
                    unconfirmed.retain(|other| !is_over(other));
                }
                Some(_) | None => conversation.confirm(id),
            }
        }
    }

    fn send_messages(&mut self, number: usize, manner: Manner) {
        while self.given[number] < manner.messages && self.devices[number].dice.chance(60) {
            let peers = self.devices.len() as u64;
            let dice = &mut self.devices[number].dice;
            let to = (number + 1 + dice.below(peers - 1) as usize) % peers as usize;
            let choice = dice.below(1_000);
            let length = if choice < self.plan.huge * 10 {
                dice.between(200_000, LARGEST_BYTES as u64 - 100)
            } else if choice < (self.plan.huge + self.plan.large) * 10 {
                dice.between(5_000, 200_000)
            } else if choice < 800 {
                dice.below(500)
            } else {
                dice.below(8_000)
            };
            let content = dice.bytes(length as usize);
            let lasts_s = dice.chance(manner.expires).then(|| dice.between(0, 30));
            if !self.push(number, to, Purpose::Chat, &content, lasts_s) {
                return;
            }
            self.given[number] += 1;
        }
    }

    /// Gives a message to be sent. `false` where there is no room, or nothing can be stored.
    pub(crate) fn push(
        &mut self,
        from: usize,
        to: usize,
        purpose: Purpose,
        content: &[u8],
        lasts_s: Option<u64>,
    ) -> bool {
        let unbounded = OutboxLimits { messages: usize::MAX, bytes: usize::MAX };
        let is_unbounded = self.plan.fault == Fault::UnboundedOutbox;
        let limits = if is_unbounded { unbounded } else { self.plan.outbox };
        let moment = self.devices[from].moment(self.start, self.now);
        let Some(process) = &mut self.devices[from].process else { return false };
        if process.running.disk_failed {
            return false;
        }
        let mut bytes = self.ledger.next_serial().to_le_bytes().to_vec();
        bytes.extend_from_slice(content);
        let conversation = process.conversations.get_mut(&to).expect("a peer");
        let expires_s = lasts_s.map(|seconds| moment.unix_s() + seconds);
        match conversation.push_message(bytes.clone(), expires_s, limits, moment) {
            Ok(named) => {
                self.ledger.given((from, to), purpose, bytes, expires_s.is_some(), named);
                true
            }
            Err(_) => false,
        }
    }

    /// *bounded*: what waits at a device is within its numbers.
    fn check_bounds_of(&self, number: usize) -> Result<(), Violation> {
        let Some(process) = &self.devices[number].process else { return Ok(()) };
        let OutboxLimits { messages, bytes } = self.plan.outbox;
        let mut most = 1_024;
        for (peer, conversation) in &process.conversations {
            let (mut count, mut sum) = (0, 0);
            for pending in conversation.pending() {
                count += 1;
                sum += pending.length as usize;
            }
            if count > messages || (sum > bytes && count > 1) {
                let what = format!("{count} messages of {sum} bytes wait {number}->{peer}");
                return violation("bounded", what);
            }
            most += messages + 1_024;
        }
        if process.waiting_entries() > most {
            let what = format!("{} entries wait at {number}", process.waiting_entries());
            return violation("bounded", what);
        }
        if process.idle_turns > 1_000 {
            return violation("live", format!("{number} turns and turns and does nothing"));
        }
        Ok(())
    }
}
