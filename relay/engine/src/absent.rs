//! Devices that are not connected: what the store said about them lately, and what it is being asked.

use alloc::vec::Vec;

use hashbrown::HashMap;
use hushwire_wire::id::DeviceId;

use crate::hash::TableKey;
use crate::id::Ticket;
use crate::limits::{
    ABSENT_DEVICES_MAX, ABSENT_MS, ABSENT_SENDERS_MAX, REACH_CELLS_MAX, REACH_QUESTIONS_MAX,
    REACH_QUESTIONS_PER_SENDER_MAX,
};
use crate::port::Origin;
use crate::store::Reach;
use crate::time::Time;

pub(crate) struct Absent {
    answers: HashMap<DeviceId, Vec<Answer>, TableKey>,
    questions: HashMap<Ticket, Question, TableKey>,
    open: HashMap<(DeviceId, DeviceId), Ticket, TableKey>,
    /// Open questions by sender, so that one cannot use them all up.
    by_sender: HashMap<DeviceId, usize, TableKey>,
}

struct Answer {
    sender: DeviceId,
    reach: Reach,
    until: Time,
}

struct Question {
    sender: DeviceId,
    recipient: DeviceId,
    waiting: Vec<Origin>,
    /// Something changed since it was asked: the answer counts for those who wait, and is not kept.
    stale: bool,
}

/// What the answer for one sender takes.
pub(crate) const ANSWER_BYTES: usize = size_of::<Answer>();
/// What one open question takes in the three tables, without the cells that wait for it.
pub(crate) const QUESTION_BYTES: usize = 3
    + size_of::<(Ticket, Question)>()
    + size_of::<((DeviceId, DeviceId), Ticket)>()
    + size_of::<(DeviceId, usize)>();

/// What is known of an absent device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Answer(Reach),
    /// The cell waits for an answer that is on its way.
    Joined,
    /// The store must be asked; the cell waits.
    Ask,
    /// Too many questions are open.
    Full,
}

impl Absent {
    pub(crate) fn new(key: TableKey) -> Self {
        Self {
            answers: HashMap::with_hasher(key),
            questions: HashMap::with_hasher(key),
            open: HashMap::with_hasher(key),
            by_sender: HashMap::with_hasher(key),
        }
    }

    /// Looks for an answer; where there is none, the cell waits under `ticket`.
    pub(crate) fn look_up(
        &mut self,
        sender: &DeviceId,
        recipient: &DeviceId,
        cell: Origin,
        ticket: Ticket,
        now: Time,
    ) -> Known {
        let is_it = |answer: &&Answer| answer.sender == *sender && answer.until > now;
        if let Some(answer) = self.answers.get(recipient).and_then(|all| all.iter().find(is_it)) {
            return Known::Answer(answer.reach);
        }
        if let Some(ticket) = self.open.get(&(*recipient, *sender)) {
            let Some(question) = self.questions.get_mut(ticket) else { return Known::Full };
            if question.waiting.len() >= REACH_CELLS_MAX {
                return Known::Full;
            }
            question.waiting.push(cell);
            return Known::Joined;
        }
        if self.questions.len() >= REACH_QUESTIONS_MAX {
            return Known::Full;
        }
        let asked = self.by_sender.entry(*sender).or_insert(0);
        if *asked >= REACH_QUESTIONS_PER_SENDER_MAX {
            return Known::Full;
        }
        *asked += 1;
        let waiting = alloc::vec![cell];
        let question = Question { sender: *sender, recipient: *recipient, waiting, stale: false };
        self.questions.insert(ticket, question);
        self.open.insert((*recipient, *sender), ticket);
        Known::Ask
    }

    /// Takes the store's answer, keeps it for a while where `keep`, and returns the cells that waited.
    pub(crate) fn answer(
        &mut self,
        ticket: Ticket,
        reach: Option<Reach>,
        now: Time,
    ) -> Vec<Origin> {
        let Some(question) = self.questions.remove(&ticket) else { return Vec::new() };
        self.open.remove(&(question.recipient, question.sender));
        if let Some(asked) = self.by_sender.get_mut(&question.sender) {
            *asked -= 1;
            if *asked == 0 {
                self.by_sender.remove(&question.sender);
            }
        }
        if let Some(reach) = reach.filter(|_| !question.stale) {
            let until = now.after_millis(ABSENT_MS);
            self.keep(question.recipient, Answer { sender: question.sender, reach, until }, now);
        }
        question.waiting
    }

    /// The device connected, or who may send to it changed: what was known does not hold any more.
    pub(crate) fn clear(&mut self, recipient: &DeviceId) {
        self.answers.remove(recipient);
        for question in self.questions.values_mut() {
            question.stale |= question.recipient == *recipient;
        }
    }

    pub(crate) fn sweep(&mut self, now: Time) {
        self.answers.retain(|_, answers| {
            answers.retain(|answer| answer.until > now);
            !answers.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Devices, the most senders of one, questions, the most cells of one.
    pub(crate) fn audit(&self) -> (usize, usize, usize, usize) {
        assert_eq!(self.questions.len(), self.open.len(), "each question is open once");
        assert_eq!(self.questions.len(), self.by_sender.values().sum::<usize>());
        (
            self.answers.len(),
            self.answers.values().map(Vec::len).max().unwrap_or(0),
            self.questions.len(),
            self.questions.values().map(|question| question.waiting.len()).max().unwrap_or(0),
        )
    }

    /// An answer that finds no room is not kept; the store will be asked again.
    fn keep(&mut self, recipient: DeviceId, answer: Answer, now: Time) {
        if self.answers.len() >= ABSENT_DEVICES_MAX && !self.answers.contains_key(&recipient) {
            return;
        }
        let answers = self.answers.entry(recipient).or_default();
        answers.retain(|other| other.until > now && other.sender != answer.sender);
        if answers.len() < ABSENT_SENDERS_MAX {
            answers.push(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnId, ShardId};

    const OFFLINE: Reach = Reach::Offline { push: false, hidden: false };

    struct Table {
        absent: Absent,
        tickets: u64,
    }

    impl Table {
        fn new() -> Self {
            Self { absent: Absent::new(TableKey::new(&[1; 16])), tickets: 0 }
        }

        fn look_up(&mut self, sender: u8, recipient: u16, now: u64) -> Known {
            self.tickets += 1;
            let conn = ConnId { index: 0, generation: 0 };
            let cell = Origin { shard: ShardId(0), conn, lane: 0, counter: 0, heard: Time::ZERO };
            let ticket = Ticket(self.tickets);
            let now = Time::from_millis(now);
            self.absent.look_up(&DeviceId::new([sender; 32]), &device(recipient), cell, ticket, now)
        }

        fn answer(&mut self, ticket: u64, reach: Option<Reach>, now: u64) -> usize {
            self.absent.answer(Ticket(ticket), reach, Time::from_millis(now)).len()
        }
    }

    fn device(number: u16) -> DeviceId {
        let mut bytes = [0xee; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        DeviceId::new(bytes)
    }

    #[test]
    fn one_question_answers_all_that_joined_and_is_kept_for_five_seconds() {
        let mut table = Table::new();
        assert_eq!(table.look_up(1, 7, 0), Known::Ask);
        assert_eq!(table.look_up(1, 7, 1), Known::Joined);
        assert_eq!(table.look_up(2, 7, 1), Known::Ask, "another sender, another answer");
        assert_eq!(table.answer(1, Some(OFFLINE), 10), 2);
        assert_eq!(table.look_up(1, 7, 5_009), Known::Answer(OFFLINE));
        assert_eq!(table.look_up(1, 7, 5_010), Known::Ask);
        assert_eq!(table.answer(99, Some(OFFLINE), 10), 0);
    }

    #[test]
    fn connect_or_grant_clears_answers_also_those_on_their_way() {
        let mut table = Table::new();
        table.look_up(1, 7, 0);
        assert_eq!(table.answer(1, Some(Reach::Refused), 1), 1);
        assert_eq!(table.look_up(2, 7, 2), Known::Ask);
        table.absent.clear(&device(7));
        assert_eq!(table.look_up(1, 7, 3), Known::Ask);
        assert_eq!(table.answer(2, Some(Reach::Refused), 4), 1);
        assert_eq!(table.look_up(2, 7, 5), Known::Ask, "the answer came too late to be kept");
    }

    #[test]
    fn no_answer_is_not_kept() {
        let mut table = Table::new();
        table.look_up(1, 7, 0);
        assert_eq!(table.answer(1, None, 1), 1);
        assert_eq!(table.look_up(1, 7, 2), Known::Ask);
    }

    #[test]
    fn questions_cells_and_answers_have_their_numbers() {
        let mut table = Table::new();
        for recipient in 0..REACH_QUESTIONS_PER_SENDER_MAX as u16 {
            assert_eq!(table.look_up(1, recipient, 0), Known::Ask);
        }
        assert_eq!(table.look_up(1, 999, 0), Known::Full, "one sender's questions");
        for _ in 1..REACH_CELLS_MAX {
            assert_eq!(table.look_up(1, 0, 0), Known::Joined);
        }
        assert_eq!(table.look_up(1, 0, 0), Known::Full, "cells of one question");
        assert_eq!(table.look_up(2, 0, 0), Known::Ask);
        for sender in 3..=100 {
            table.look_up(sender, u16::from(sender), 0);
        }
        let mut table = Table::new();
        for sender in 0..(REACH_QUESTIONS_MAX / REACH_QUESTIONS_PER_SENDER_MAX) as u8 {
            for recipient in 0..REACH_QUESTIONS_PER_SENDER_MAX as u16 {
                assert_eq!(table.look_up(sender, recipient, 0), Known::Ask);
            }
        }
        assert_eq!(table.look_up(200, 0, 0), Known::Full, "questions of one shard");
        for ticket in 1..=table.tickets {
            table.answer(ticket, Some(OFFLINE), 1);
        }
        assert_eq!(table.absent.audit(), (16, ABSENT_SENDERS_MAX, 0, 0));
        table.absent.sweep(Time::from_millis(6_000));
        assert!(table.absent.is_empty() && table.absent.by_sender.is_empty());
    }
}
