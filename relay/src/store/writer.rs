//! The writer thread: takes what waits in its inbox as one batch, does it in one transaction, waits
//! for the disk once, then answers all.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::change::Changes;
use super::error::{Fault, is_map_full, is_structural};
use super::inbox::{Job, Message};
use super::query::{Answer, Query};
use super::tables::{Tables, blame};
use super::{Shared, StoreError};

/// Changes in one transaction.
pub const BATCH_CHANGES_MAX: usize = 256;
/// Of the configured maximum, in percent: above the first it warns, below the second it is quiet again.
const WARN_PERCENT: (u64, u64) = (80, 75);

pub(super) fn run(shared: &Arc<Shared>, inbox: &Receiver<Message>) {
    let mut writer = Writer { shared, warned: false, last_failure: None };
    let mut stopping = false;
    while !stopping {
        let Ok(first) = inbox.recv() else { return };
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Work(job) => batch.push(job),
                Message::Stop => stopping = true,
            }
            let more = !stopping && batch.len() < BATCH_CHANGES_MAX;
            next = if more { inbox.try_recv().ok() } else { None };
        }
        writer.work(batch);
    }
}

struct Writer<'a> {
    shared: &'a Arc<Shared>,
    warned: bool,
    /// What was logged last, so that a full disk makes one line and not thousands.
    last_failure: Option<StoreError>,
}

/// How a batch ended.
enum Outcome {
    Committed {
        answers: Vec<Answer>,
        used_bytes: u64,
    },
    /// Nothing was written.
    Aborted(heed::Error),
}

impl Writer<'_> {
    fn work(&mut self, batch: Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        let queries: Vec<&Query> = batch.iter().map(|job| &job.query).collect();
        let answers = self.answers(&queries);
        assert_eq!(answers.len(), batch.len(), "each change has one answer");
        for (job, answer) in batch.into_iter().zip(answers) {
            self.shared.counters.change();
            job.answer(answer);
        }
    }

    fn answers(&mut self, queries: &[&Query]) -> Vec<Answer> {
        loop {
            let tables = self.shared.tables();
            let Some(open) = tables.as_ref() else {
                let error = StoreError::Fatal { path: self.shared.directory.data() };
                return vec![Answer::Failed(error); queries.len()];
            };
            let error = match self.transact(open, queries) {
                Ok(Outcome::Committed { answers, used_bytes }) => {
                    self.recovered();
                    self.watch(used_bytes);
                    return answers;
                }
                Ok(Outcome::Aborted(error)) | Err(error) => error,
            };
            let map_bytes = open.map_bytes();
            drop(tables);
            if is_map_full(&error) && self.grow(map_bytes) {
                continue;
            }
            // One change may be what the store trips over; the others should not suffer from it.
            if queries.len() > 1 && (is_map_full(&error) || is_structural(&error)) {
                return queries.iter().flat_map(|query| self.answers(&[query])).collect();
            }
            let error = if is_map_full(&error) {
                StoreError::MapFull { bytes_max: self.shared.limits.map_bytes_max }
            } else {
                blame(&self.shared.directory, error)
            };
            self.report(&error);
            return queries.iter().map(|_| self.shared.failed(error.clone().into())).collect();
        }
    }

    /// Does all changes in one transaction and waits for the disk.
    fn transact(&mut self, tables: &Tables, queries: &[&Query]) -> Result<Outcome, heed::Error> {
        let (limits, counters) = (&self.shared.limits, &*self.shared.counters);
        let mut changes = Changes { tables, txn: tables.write()?, limits, counters };
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(match changes.apply(query) {
                Ok(answer) => answer,
                Err(Fault::Lmdb(error)) => {
                    changes.txn.abort();
                    return Ok(Outcome::Aborted(error));
                }
                Err(fault) => self.shared.failed(fault),
            });
        }
        let used_bytes = tables.used_bytes(&changes.txn)?;
        #[cfg(test)]
        (self.shared.before_commit)();
        changes.txn.commit()?;
        counters.commit();
        Ok(Outcome::Committed { answers, used_bytes })
    }

    /// Makes the map larger, once every reader has finished its transaction. The file is closed and
    /// opened again: LMDB's own way of resizing leaves no map at all when it fails.
    fn grow(&mut self, from: usize) -> bool {
        let to = from.saturating_mul(2).min(self.shared.limits.map_bytes_max);
        if to <= from {
            return false;
        }
        let mut tables = self.shared.tables_alone();
        *tables = None;
        // The file has its keys, so nothing is drawn.
        let mut none = |_: &mut [u8]| {};
        let mut grown = true;
        let opened = Tables::open(&self.shared.directory, to, &mut none).or_else(|error| {
            grown = false;
            tracing::error!(%error, "the store could not be made larger");
            Tables::open(&self.shared.directory, from, &mut none)
        });
        match opened {
            Ok(opened) => *tables = Some(opened),
            Err(error) => {
                tracing::error!(%error, "the store could not be opened again: restart the relay")
            }
        }
        drop(tables);
        if grown {
            self.shared.counters.growth();
            tracing::info!(from, to, "the store's map has grown");
        }
        grown
    }

    fn watch(&mut self, used_bytes: u64) {
        let max = self.shared.limits.map_bytes_max as u64;
        let percent = used_bytes.saturating_mul(100) / max;
        if percent >= WARN_PERCENT.0 && !self.warned {
            self.warned = true;
            tracing::warn!(
                used_bytes,
                bytes_max = max,
                "the store is {percent} % full: raise [store] map_bytes_max and restart, or revoke devices"
            );
        }
        self.warned &= percent >= WARN_PERCENT.1;
    }

    fn report(&mut self, error: &StoreError) {
        if self.last_failure.as_ref() != Some(error) {
            tracing::error!(%error, "the store cannot write; reads go on");
            self.last_failure = Some(error.clone());
        }
    }

    fn recovered(&mut self) {
        if self.last_failure.take().is_some() {
            tracing::info!("the store can write again");
        }
    }
}
