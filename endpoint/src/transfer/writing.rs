//! The disk's side of a receiving transfer, on a thread of its own: hashes, writes, makes durable, waits for room.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::Transferred;
use super::limits::{DURABLE_STEP, DURABLE_STEP_BYTES, FULL_RETRY};
use super::part::{Part, PartError, Saved, is_full};

/// What is to be done with a part, in this order.
#[derive(Debug)]
pub(super) enum Work {
    /// Forget what is there.
    Restart,
    /// Append the first so many bytes; the block is given back.
    Append(Vec<u8>, usize),
    /// Everything is there: give it its name.
    Finish(Transferred),
    /// It is wanted no more.
    Discard,
}

/// What the disk has to say.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    pub(super) durable: u64,
    pub(super) paused: Option<String>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Saved(Saved),
    /// Nothing more came; the part is for the next attempt.
    Stopped(Box<Part>),
    Discarded,
    Failed(PartError),
}

/// Makes what was written durable beside the writing.
struct Syncer {
    requests: SyncSender<u64>,
    busy: Arc<AtomicBool>,
    failed: Arc<OnceLock<io::Error>>,
    asked: u64,
    asked_at: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the disk's thread decides when a second has passed")]
fn now() -> Instant {
    Instant::now()
}

impl Syncer {
    fn start(file: File, durable: u64, news: Arc<watch::Sender<News>>) -> io::Result<Self> {
        let (requests, asked) = sync_channel::<u64>(1);
        let (busy, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
        let (is_busy, has_failed) = (busy.clone(), failed.clone());
        std::thread::Builder::new().name("hushwire-sync".into()).spawn(move || {
            for offset in asked {
                match file.sync_data() {
                    Ok(()) => news.send_modify(|news| news.durable = news.durable.max(offset)),
                    // Only the first is looked at.
                    Err(error) => drop(has_failed.set(error)),
                }
                is_busy.store(false, Ordering::Release);
            }
        })?;
        Ok(Self { requests, busy, failed, asked: durable, asked_at: now() })
    }

    fn poll(&mut self, length: u64) -> io::Result<()> {
        if let Some(error) = self.failed.get() {
            return Err(error.kind().into());
        }
        let due = length >= self.asked + DURABLE_STEP_BYTES
            || (length > self.asked && self.asked_at.elapsed() >= DURABLE_STEP);
        if due && !self.busy.swap(true, Ordering::Acquire) {
            // There is room: it was not busy.
            let _sent = self.requests.try_send(length);
            (self.asked, self.asked_at) = (length, now());
        }
        Ok(())
    }

    /// Nothing is being made durable yet: a restart comes first of all.
    fn restarted(&mut self) {
        self.asked = 0;
    }
}

/// The other end has gone.
struct Gone;

/// The ends of the channels that the thread holds.
pub(super) struct Desk {
    pub(super) work: Receiver<Work>,
    pub(super) free: mpsc::UnboundedSender<Vec<u8>>,
    pub(super) news: Arc<watch::Sender<News>>,
    /// Closed when nobody waits for the outcome any more.
    pub(super) stop: Receiver<()>,
}

impl Desk {
    /// Waits until a full disk is tried again.
    fn pause(&self, path: &std::path::Path) -> Result<(), Gone> {
        let directory = path.parent().unwrap_or(path).display();
        let why = format!("the disk of {directory} is full: make room, and it goes on by itself");
        self.news.send_modify(|news| news.paused = Some(why));
        match self.stop.recv_timeout(FULL_RETRY) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    fn goes_on(&self) {
        self.news.send_if_modified(|news| news.paused.take().is_some());
    }

    /// Appends all of it, however long that takes.
    fn append(&self, part: &mut Part, mut bytes: &[u8]) -> Result<Result<(), Gone>, PartError> {
        while !bytes.is_empty() {
            match part.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.goes_on();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => {
                    if self.pause(part.path()).is_err() {
                        return Ok(Err(Gone));
                    }
                }
                Err(source) => return Err(PartError::Io { path: part.path().into(), source }),
            }
        }
        Ok(Ok(()))
    }

    fn finish(&self, part: &mut Part, whole: &Transferred) -> Result<Option<Saved>, PartError> {
        loop {
            match part.finish(whole) {
                Err(error) if error.is_full() => {
                    if self.pause(part.path()).is_err() {
                        return Ok(None);
                    }
                }
                finished => return finished.map(Some),
            }
        }
    }

    /// Works until there is nothing more.
    pub(super) fn run(self, mut part: Part) -> Outcome {
        match self.work(&mut part) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Outcome::Stopped(Box::new(part)),
            Err(error) => Outcome::Failed(error),
        }
    }

    fn work(&self, part: &mut Part) -> Result<Option<Outcome>, PartError> {
        let path = part.path().to_owned();
        let failed = |source| PartError::Io { path: path.clone(), source };
        let file = part.handle().map_err(failed)?;
        let mut syncer = Syncer::start(file, part.length(), self.news.clone()).map_err(failed)?;
        loop {
            match self.work.recv_timeout(DURABLE_STEP) {
                Ok(Work::Restart) => {
                    part.restart().map_err(failed)?;
                    syncer.restarted();
                    self.news.send_modify(|news| news.durable = 0);
                }
                Ok(Work::Append(block, count)) => {
                    if self.append(part, &block[..count])?.is_err() {
                        return Ok(None);
                    }
                    // The other end may have gone; the next turn finds out.
                    let _gone = self.free.send(block);
                }
                Ok(Work::Finish(whole)) => {
                    return self.finish(part, &whole).map(|saved| saved.map(Outcome::Saved));
                }
                Ok(Work::Discard) => {
                    part.discard();
                    return Ok(Some(Outcome::Discarded));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
            syncer.poll(part.length()).map_err(failed)?;
        }
    }
}
