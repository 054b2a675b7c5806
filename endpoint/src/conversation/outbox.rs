//! Messages to one peer, kept until they have ended: numbered without gaps, in a log that the journal keeps.
//!
//! A message may be sent once it is stored ([`Outbox::on_stored`]); it has ended once the peer has taken or refused it
//! or its time is over. One that ended out of its turn leaves a *gap*, which the peer is told of until it has
//! passed it.

mod fragments;

use std::collections::VecDeque;

use hushwire_wire::control::Undelivered;

use super::limits::{MESSAGES_AHEAD_BYTES_MAX, MESSAGES_AHEAD_MAX};
use crate::journal::{EndedSend, MessageId, Outcome, OutgoingLog};
use crate::suite::frame_types::{Ack, AckRange, Frame, FrameWriter};

/// The first slot of a device's messages to its peer. Slot 0 is cover.
const SLOT: u16 = 1;
/// The conversation that every pair has.
pub(super) const CONVERSATION: [u8; 16] = [0; 16];

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is on its way, or will be.
    Held,
    /// The peer has it, though its application has not taken it yet.
    Received,
    /// It has ended, which is not on disk yet: nobody hears of it.
    Ending,
    /// It has ended, and the peer must be told not to wait for it.
    Gap {
        /// That is due now.
        due: bool,
    },
}

#[derive(Debug)]
struct Message {
    id: MessageId,
    bytes: Vec<u8>,
    queued_s: u64,
    expires_s: Option<u64>,
    first_sent_s: Option<u64>,
    /// Where the fragments begin that were cut so far, and, last, where the next one will.
    cuts: Vec<u32>,
    stage: Stage,
}

impl Message {
    fn new(id: MessageId, queued_s: u64, expires_s: Option<u64>, bytes: Vec<u8>) -> Self {
        let (first_sent_s, cuts, stage) = (None, vec![0], Stage::Held);
        Self { id, bytes, queued_s, expires_s, first_sent_s, cuts, stage }
    }

    const fn gap(id: MessageId) -> Self {
        Self {
            id,
            bytes: Vec::new(),
            queued_s: 0,
            expires_s: None,
            first_sent_s: None,
            cuts: Vec::new(),
            stage: Stage::Gap { due: true },
        }
    }

    fn total(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a message is shorter than 16 MiB")
    }

    const fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Held | Stage::Received)
    }

    /// What is remembered of it.
    fn ended(&self, number: u64, ended_s: u64, outcome: Outcome) -> EndedSend {
        EndedSend {
            number,
            id: self.id,
            length: self.bytes.len() as u64,
            queued_s: self.queued_s,
            first_sent_s: self.first_sent_s,
            ended_s,
            outcome,
        }
    }
}

/// How far a message that has not ended is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSend {
    /// Its name.
    pub id: MessageId,
    /// Its number among all that were given for this peer.
    pub number: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When it was given, unix seconds.
    pub queued_s: u64,
    /// When it expires, unix seconds.
    pub expires_s: Option<u64>,
    /// When a part of it was first sent by this process, if it was.
    pub first_sent_s: Option<u64>,
    /// It is on disk.
    pub is_stored: bool,
    /// The peer's library has all of it; its application has not taken it yet.
    pub is_received: bool,
}

/// What the journal knows of messages that wait until the peer has said where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Nothing.
    Unsaid,
    /// That there are some.
    Said,
    /// The same, though the peer has said it.
    Over,
    /// It was asked to forget it.
    Ending,
}

/// What the peer's word about the log means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These are taken.
    Known(Vec<EndedSend>),
    /// The peer has seen more than this log has: this device was set back. A new log begins with these names.
    SetBack { incarnation: u64, base: u64 },
    /// It is about another log.
    Foreign,
    /// No peer that keeps the rules can say so.
    Impossible,
}

#[derive(Debug)]
pub(super) struct Outbox {
    /// A log that begins anew has another, so that what is acknowledged late is not taken for its own.
    slot: u16,
    incarnation: u64,
    /// The journal knows the incarnation.
    is_known: bool,
    /// The journal was asked to remember the incarnation.
    is_begun: bool,
    /// Number of the message that has sequence 0 in this incarnation.
    base: u64,
    /// Number of the first message kept.
    first: u64,
    messages: VecDeque<Message>,
    held_bytes: usize,
    /// Those among them that have ended.
    gaps: usize,
    /// Messages below are on disk.
    stored: u64,
    /// Number of the next message of which something was not sent in this session.
    fresh: u64,
    fresh_bytes: usize,
    /// Messages below may be known to the peer: they were sent whole or given up, by this process or an earlier one.
    reach: u64,
    /// For a log from the journal, until the peer has said where it is: messages from here on wait. Sent before, they
    /// would hide that this device was set back, and the peer would take them for what it has seen under their
    /// numbers.
    unproven: Option<u64>,
    /// Whether the journal was asked to remember that messages wait so.
    waiting: Waiting,
    /// Fragments to be sent again.
    again: VecDeque<(u64, u32, u32)>,
    /// The peer has answered OPEN on this session.
    opened: bool,
    /// A new log was begun in this session, because the peer knew more than this device.
    was_set_back: bool,
    /// The peer is to say where it is, by an OPEN that it answers.
    asks: bool,
}

impl Outbox {
    /// The log as the journal has it, or a new one whose name will be `incarnation`.
    pub(super) fn new(log: Option<OutgoingLog>, incarnation: u64) -> Self {
        let mut outbox = Self {
            slot: SLOT,
            incarnation,
            is_known: false,
            is_begun: false,
            base: 0,
            first: 0,
            messages: VecDeque::new(),
            held_bytes: 0,
            gaps: 0,
            stored: 0,
            fresh: 0,
            fresh_bytes: 0,
            reach: 0,
            unproven: None,
            waiting: Waiting::Unsaid,
            again: VecDeque::new(),
            opened: false,
            was_set_back: false,
            asks: false,
        };
        let Some(log) = log else { return outbox };
        (outbox.incarnation, outbox.base) = (log.incarnation, log.base);
        (outbox.is_known, outbox.is_begun) = (true, true);
        outbox.first = log.held.keys().next().copied().unwrap_or(log.next_number);
        for (number, held) in log.held {
            outbox.fill_to(number);
            outbox.held_bytes += held.bytes.len();
            let message = Message::new(held.id, held.queued_s, held.expires_s, held.bytes);
            outbox.messages.push_back(message);
        }
        outbox.fill_to(log.next_number);
        (outbox.stored, outbox.reach) = (log.next_number, log.unsent.unwrap_or(log.next_number));
        outbox.unproven = Some(outbox.reach);
        outbox.waiting = if log.unsent.is_some() { Waiting::Said } else { Waiting::Unsaid };
        outbox.fresh = outbox.first;
        outbox.skip();
        outbox
    }

    /// What is missing below this number has ended.
    fn fill_to(&mut self, number: u64) {
        while self.end() < number {
            let id = self.name_of(self.end());
            self.messages.push_back(Message::gap(id));
            self.gaps += 1;
        }
    }

    fn name_of(&self, number: u64) -> MessageId {
        let sequence = number.saturating_sub(self.base);
        MessageId { incarnation: self.incarnation, sequence }
    }

    /// Whether a message of this length finds room.
    pub(super) fn has_room(&self, length: usize, messages_max: usize, bytes_max: usize) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < messages_max
                && self.held_bytes.saturating_add(length) <= bytes_max)
    }

    /// The log's name and base, if the journal has not been asked to remember them yet.
    pub(super) fn begin(&mut self) -> Option<(u64, u64)> {
        let new = !std::mem::replace(&mut self.is_begun, true);
        new.then_some((self.incarnation, self.base))
    }

    /// From which number on messages wait for the peer's word, if the journal has not been asked to remember it: to be
    /// asked before a message is kept.
    pub(super) fn begin_waiting(&mut self) -> Option<u64> {
        let from = self.unproven.filter(|_| self.waiting == Waiting::Unsaid)?;
        self.waiting = Waiting::Said;
        Some(from)
    }

    /// The peer has said where it is, and the journal has to know first that messages do not wait any more.
    pub(super) fn end_waiting(&mut self) -> bool {
        let is_due = self.waiting == Waiting::Over;
        if is_due {
            self.waiting = Waiting::Ending;
        }
        is_due
    }

    /// The journal knows that messages do not wait any more.
    pub(super) fn on_waiting_ended(&mut self) {
        if self.waiting == Waiting::Ending {
            (self.waiting, self.unproven) = (Waiting::Unsaid, None);
            self.skip();
        }
    }

    /// Keeps a message; returns its number and name. It is sent once it is stored.
    pub(super) fn push(
        &mut self,
        bytes: Vec<u8>,
        queued_s: u64,
        expires_s: Option<u64>,
    ) -> (u64, MessageId) {
        let number = self.end();
        let id = self.name_of(number);
        self.held_bytes += bytes.len();
        self.messages.push_back(Message::new(id, queued_s, expires_s, bytes));
        (number, id)
    }

    /// The journal knows the log's name.
    pub(super) fn on_known(&mut self, incarnation: u64) {
        self.is_known |= incarnation == self.incarnation;
    }

    /// The journal has this message, and with it all before.
    pub(super) fn on_stored(&mut self, number: u64) {
        self.stored = self.stored.max(number + 1);
        self.prove();
    }

    /// Messages below may be sent.
    fn sendable(&self) -> u64 {
        self.unproven.map_or(self.stored, |from| from.min(self.stored))
    }

    /// Asks the peer where it is, if messages wait for that.
    fn prove(&mut self) {
        let is_told = self.waiting == Waiting::Ending && self.opened;
        self.asks |= !is_told && self.sendable() < self.stored;
    }

    /// Gives up what is not stored; the numbers of these messages.
    pub(super) fn withdraw(&mut self) -> std::ops::Range<u64> {
        let (from, to) = (self.stored.max(self.first), self.end());
        for message in self.messages.drain((from - self.first) as usize..) {
            self.held_bytes -= message.bytes.len();
        }
        from..to
    }

    /// Whether no message waits for its end.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    fn message(&mut self, number: u64) -> Option<&mut Message> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get_mut(at)
    }

    /// Whether the next message may be sent, given what is ahead of the peer's application.
    fn may_begin(&self) -> bool {
        let ahead = self.fresh - self.first;
        ahead == 0
            || (ahead < MESSAGES_AHEAD_MAX as u64 && self.fresh_bytes < MESSAGES_AHEAD_BYTES_MAX)
    }

    /// Those that have not ended, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = PendingSend> {
        let live = self.messages.iter().zip(self.first..).filter(|(message, _)| message.is_live());
        live.map(|(message, number)| PendingSend {
            id: message.id,
            number,
            length: message.bytes.len() as u64,
            queued_s: message.queued_s,
            expires_s: message.expires_s,
            first_sent_s: message.first_sent_s,
            is_stored: number < self.stored,
            is_received: message.stage == Stage::Received,
        })
    }

    /// Whether something that was sent has not ended.
    pub(super) fn waits(&self) -> bool {
        self.fresh > self.first || self.sendable() < self.stored
    }

    /// A new session: the log is opened again. `fresh` says that the peer may have lost what it held with the old one:
    /// everything is sent from its beginning.
    pub(super) fn on_session(&mut self, fresh: bool) {
        self.opened = false;
        self.prove();
        if !fresh {
            return;
        }
        self.was_set_back = false;
        self.again.clear();
        (self.fresh, self.fresh_bytes) = (self.first, 0);
        for message in &mut self.messages {
            message.stage = match message.stage {
                Stage::Held | Stage::Received => Stage::Held,
                Stage::Ending => Stage::Ending,
                Stage::Gap { .. } => Stage::Gap { due: true },
            };
            if message.is_live() {
                message.cuts = vec![0];
            }
        }
        self.skip();
    }

    /// The peer acknowledges. `renewed` names a new log, should one be needed.
    pub(super) fn on_ack(&mut self, ack: &Ack, renewed: u64, now_s: u64) -> Answer {
        if ack.slot != self.slot {
            return Answer::Foreign;
        }
        let ranges = ack.ranges.as_slice();
        let end_of = |range: &AckRange| {
            let from = ack.next.saturating_add(range.from_next.into());
            from.saturating_add(range.count.into())
        };
        let end = ranges.iter().map(end_of).max().unwrap_or(0).max(ack.next);
        if self.is_beyond(end) {
            return self.set_back(renewed);
        }
        let taken = self.take_below(ack.next, now_s);
        for range in ranges {
            let from = self.base.saturating_add(ack.next).saturating_add(range.from_next.into());
            let to = from.saturating_add(range.count.into());
            for number in from.max(self.first)..to {
                if let Some(message) = self.message(number)
                    && message.is_live()
                {
                    message.stage = Stage::Received;
                }
            }
        }
        Answer::Known(taken)
    }

    /// Whether the peer cannot know of everything below `next`, for this log was never there.
    const fn is_beyond(&self, next: u64) -> bool {
        next > self.reach - self.base
    }

    fn set_back(&mut self, renewed: u64) -> Answer {
        if self.was_set_back {
            // Nobody can know more than a log that has just begun.
            return Answer::Impossible;
        }
        (self.incarnation, self.base) = (renewed, self.first);
        (self.is_known, self.is_begun) = (false, true);
        (self.reach, self.unproven, self.waiting) = (self.first, None, Waiting::Unsaid);
        self.slot = if self.slot == u16::MAX { SLOT } else { self.slot + 1 };
        self.on_session(true);
        self.was_set_back = true;
        Answer::SetBack { incarnation: renewed, base: self.first }
    }

    /// The peer answers OPEN: it expects `next`. `renewed` names a new log, should one be needed.
    pub(super) fn on_state(
        &mut self,
        slot: u16,
        incarnation: u64,
        next: u64,
        renewed: u64,
        now_s: u64,
    ) -> Answer {
        if slot != self.slot || incarnation != self.incarnation {
            return Answer::Foreign;
        }
        if self.is_beyond(next) {
            return self.set_back(renewed);
        }
        self.opened = true;
        match self.waiting {
            Waiting::Unsaid => self.unproven = None,
            Waiting::Said => self.waiting = Waiting::Over,
            Waiting::Over | Waiting::Ending => {}
        }
        Answer::Known(self.take_below(next, now_s))
    }

    /// The peer refuses a message. Said again, it wants to know that it was heard.
    pub(super) fn on_reject(
        &mut self,
        slot: u16,
        sequence: u64,
        reason: u16,
        renewed: u64,
        now_s: u64,
    ) -> Answer {
        if slot != self.slot {
            return Answer::Foreign;
        }
        if self.is_beyond(sequence.saturating_add(1)) {
            return self.set_back(renewed);
        }
        let number = self.base + sequence;
        let stage = self.message(number).map(|message| message.stage);
        match stage {
            Some(Stage::Gap { .. }) => {
                self.gap_due(number);
                Answer::Known(Vec::new())
            }
            Some(Stage::Held | Stage::Received) => {
                Answer::Known(vec![self.end_at(number, now_s, Outcome::Rejected { reason })])
            }
            Some(Stage::Ending) | None => Answer::Known(Vec::new()),
        }
    }

    /// Ends what has expired.
    pub(super) fn expire(&mut self, now_s: u64, hint: Option<Undelivered>) -> Vec<EndedSend> {
        let over = |message: &Message| {
            message.is_live() && message.expires_s.is_some_and(|at| at <= now_s)
        };
        let stored = usize::try_from(self.stored.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let numbers: Vec<u64> = (self.first..)
            .zip(self.messages.iter().take(stored))
            .filter_map(|(number, message)| over(message).then_some(number))
            .collect();
        let outcome = Outcome::Expired { hint };
        numbers.into_iter().map(|number| self.end_at(number, now_s, outcome)).collect()
    }

    /// When the next message expires, unix seconds.
    pub(super) fn next_expiry_s(&self) -> Option<u64> {
        let live = self.messages.iter().filter(|message| message.is_live());
        live.filter_map(|message| message.expires_s).min()
    }

    /// Ends a message out of its turn: a gap stays until the peer has passed it. The gap is told of once the end is
    /// stored.
    fn end_at(&mut self, number: u64, now_s: u64, outcome: Outcome) -> EndedSend {
        let counted = number < self.fresh;
        let message = self.message(number).expect("a live message is kept");
        let ended = message.ended(number, now_s, outcome);
        let length = std::mem::take(&mut message.bytes).len();
        message.stage = Stage::Ending;
        message.cuts.clear();
        self.gaps += 1;
        self.held_bytes -= length;
        if counted {
            self.fresh_bytes -= length;
        }
        self.again.retain(|(other, ..)| *other != number);
        ended
    }

    /// The end of this message is on disk: the peer is to be told that it will not come.
    pub(super) fn gap_due(&mut self, number: u64) {
        if let Some(Message { stage: stage @ (Stage::Ending | Stage::Gap { .. }), .. }) =
            self.message(number)
        {
            *stage = Stage::Gap { due: true };
        }
        self.skip();
    }

    /// What the peer was told of gaps may have been lost.
    pub(super) fn tell_gaps_again(&mut self) {
        self.prove();
        if self.gaps == 0 {
            return;
        }
        for message in &mut self.messages {
            if let Stage::Gap { due } = &mut message.stage {
                *due = true;
            }
        }
    }

    /// Whether the peer is to be told of gaps among what it was sent, or asked where it is.
    pub(super) fn has_word(&self) -> bool {
        let due = |message: &Message| message.stage == Stage::Gap { due: true };
        let gaps = self.gaps > 0 && self.messages.iter().take(self.sent()).any(due);
        self.is_known && (self.asks || gaps)
    }

    /// How many of the kept messages need no first sending any more.
    fn sent(&self) -> usize {
        usize::try_from(self.fresh - self.first).unwrap_or(usize::MAX)
    }

    /// Tells of gaps and asks, as far as it fits.
    pub(super) fn tell(&mut self, writer: &mut FrameWriter<'_>) {
        if !self.has_word() || !self.open(writer) {
            return;
        }
        self.asks = false;
        let (mut at, end) = (0, self.sent());
        while at < end {
            let rest = self.messages.iter().take(end).skip(at);
            let is_gap = |message: &&Message| matches!(message.stage, Stage::Gap { .. });
            let run = rest.clone().take_while(is_gap).count();
            let is_due = |message: &Message| message.stage == Stage::Gap { due: true };
            if rest.take(run).any(is_due) {
                let from = self.first + at as u64 - self.base;
                let gap = Frame::Gap { slot: self.slot, from, to: from + run as u64 };
                if writer.push(&gap).is_err() {
                    return;
                }
                for message in self.messages.iter_mut().skip(at).take(run) {
                    message.stage = Stage::Gap { due: false };
                }
            }
            at += run + 1;
        }
    }

    /// Writes OPEN where the peer has not answered it yet or is to answer again; `false` where it does not fit.
    fn open(&self, writer: &mut FrameWriter<'_>) -> bool {
        let open = Frame::Open {
            slot: self.slot,
            conversation: CONVERSATION,
            incarnation: self.incarnation,
            first_held: self.first - self.base,
            next: self.stored.max(self.first) - self.base,
        };
        (self.opened && !self.asks) || writer.push(&open).is_ok()
    }

    fn take_below(&mut self, next: u64, now_s: u64) -> Vec<EndedSend> {
        // Nobody takes what was never sent whole, nor passes a gap that it was never told of.
        let to = self.base.saturating_add(next).min(self.reach);
        let mut taken = Vec::new();
        while self.first < to {
            let Some(message) = self.messages.pop_front() else { break };
            let (number, length) = (self.first, message.bytes.len());
            self.held_bytes -= length;
            if number < self.fresh {
                self.fresh_bytes -= length;
            }
            if message.is_live() {
                taken.push(message.ended(number, now_s, Outcome::Delivered));
            } else {
                self.gaps -= 1;
            }
            self.first += 1;
        }
        self.fresh = self.fresh.max(self.first);
        self.skip();
        if !self.again.is_empty() {
            let first = self.first;
            self.again.retain(|(number, ..)| *number >= first);
        }
        taken
    }
}
