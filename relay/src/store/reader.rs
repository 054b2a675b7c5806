//! A reader thread: answers reads from the last committed state and never waits for an fsync.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::inbox::Message;
use super::lookup::look_up;
use super::query::Answer;
use super::{Shared, StoreError};

pub(super) fn run(shared: &Arc<Shared>, inbox: &Receiver<Message>) {
    while let Ok(Message::Work(job)) = inbox.recv() {
        let answer = {
            // Held for this one transaction: the writer may replace the map between any two.
            let tables = shared.tables();
            match tables.as_ref() {
                Some(tables) => look_up(tables, &shared.limits, &shared.counters, &job.query)
                    .unwrap_or_else(|fault| shared.failed(fault)),
                None => Answer::Failed(StoreError::Fatal { path: shared.directory.data() }),
            }
        };
        shared.counters.read();
        job.answer(answer);
    }
}
