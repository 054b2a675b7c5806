//! How queries reach the threads of the store and answers come back, exactly one for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use super::StoreError;
use super::counters::Counters;
use super::query::{Answer, Query};

/// Reader threads.
pub const READERS: usize = 2;
/// Reads that may wait for one reader thread.
pub const READS_MAX: usize = 4_096;
/// Changes that may wait for the writer.
pub const CHANGES_MAX: usize = 4_096;

/// Who takes answers: a shard pushes them into its inbox and wakes itself.
pub trait Answers: Send + Sync {
    /// Takes the answer to the query that was submitted with `ticket`. Called once for each
    /// accepted query, on a thread of the store: it must not block.
    fn deliver(&self, ticket: u64, answer: Answer);
}

/// The inbox is full, or the store is closed: answer `busy` and let the peer come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is busy")]
pub struct StoreBusy;

/// A query on its way. If it is dropped without an answer, it answers that the store is closed.
pub(super) struct Job {
    ticket: u64,
    pub(super) query: Query,
    answers: Option<Arc<dyn Answers>>,
}

impl Job {
    pub(super) fn answer(mut self, answer: Answer) {
        if let Some(answers) = self.answers.take() {
            answers.deliver(self.ticket, answer);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(answers) = self.answers.take() {
            answers.deliver(self.ticket, Answer::Failed(StoreError::Closed));
        }
    }
}

/// What a thread of the store finds in its inbox.
pub(super) enum Message {
    Work(Job),
    /// Finish what came before, then end.
    Stop,
}

/// The sending ends of all inboxes.
#[derive(Clone)]
pub(super) struct Inboxes {
    writer: SyncSender<Message>,
    readers: [SyncSender<Message>; READERS],
    next_reader: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

impl Inboxes {
    pub(super) fn new(
        writer: SyncSender<Message>,
        readers: [SyncSender<Message>; READERS],
        counters: Arc<Counters>,
    ) -> Self {
        Self { writer, readers, next_reader: Arc::default(), counters }
    }

    /// Readers take turns, but lists and counts, which take longer, all go to the last one.
    fn inbox(&self, query: &Query) -> &SyncSender<Message> {
        let [first, last] = &self.readers;
        if query.is_change() {
            return &self.writer;
        }
        let slow = matches!(query, Query::Devices { .. } | Query::Stats);
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed);
        if slow || turn.is_multiple_of(READERS) { last } else { first }
    }

    fn try_send(&self, job: Job) -> Result<(), StoreBusy> {
        let inbox = self.inbox(&job.query);
        inbox.try_send(Message::Work(job)).map_err(|error| {
            self.counters.turned_away();
            let (TrySendError::Full(message) | TrySendError::Disconnected(message)) = error;
            // It was not accepted, so it is not answered either.
            if let Message::Work(mut job) = message {
                job.answers = None;
            }
            StoreBusy
        })
    }

    /// Waits for room in the inbox and for the answer.
    pub(super) fn call(&self, query: Query) -> Answer {
        let (sender, receiver) = sync_channel(1);
        let job = Job { ticket: 0, query, answers: Some(Arc::new(Caller(sender))) };
        // A job that cannot be sent is dropped, and so answered.
        drop(self.inbox(&job.query).send(Message::Work(job)));
        receiver.recv().unwrap_or(Answer::Failed(StoreError::Closed))
    }

    pub(super) fn stop(&self) {
        for inbox in self.readers.iter().chain([&self.writer]) {
            // It fails when the thread is gone already.
            drop(inbox.send(Message::Stop));
        }
    }
}

struct Caller(SyncSender<Answer>);

impl Answers for Caller {
    fn deliver(&self, _ticket: u64, answer: Answer) {
        // It fails when the caller has gone.
        drop(self.0.try_send(answer));
    }
}

/// A shard's end of the store. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inboxes: Inboxes,
    answers: Arc<dyn Answers>,
}

impl Client {
    pub(super) fn new(inboxes: Inboxes, answers: Arc<dyn Answers>) -> Self {
        Self { inboxes, answers }
    }

    /// Hands over a query; the answer comes with `ticket` to this client's [`Answers`]. Never blocks.
    ///
    /// Queries of one client to the writer are done in order. A read may overtake a change that is
    /// not answered yet, and reads may overtake each other.
    ///
    /// # Errors
    /// [`StoreBusy`] when the inbox is full or the store is closed; then no answer will come.
    pub fn submit(&self, ticket: u64, query: Query) -> Result<(), StoreBusy> {
        self.inboxes.try_send(Job { ticket, query, answers: Some(Arc::clone(&self.answers)) })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
