//! The receiving end: one attempt to take a transfer off a channel.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::limits::{BLOCK_BYTES, BLOCKS_MAX, DATA_BYTES_MAX, FAREWELL_PATIENCE};
use super::message::{Broken, Messages, ToReceiver, ToSender};
use super::part::{Part, PartError, Saved};
use super::writing::{Desk, News, Outcome, Work};
use super::{Phase, Progress, TransferError, Transferred, Violation};

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    Saved(Saved),
    /// The channel broke. What has come is there for the next one.
    Broken(Option<Box<Part>>),
    Failed(TransferError),
}

/// Why no more is read.
enum Stop {
    Broken,
    Peer(Violation),
    Aborted(String),
    /// The disk's thread has ended, and says why itself.
    Disk,
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Stream(_) => Self::Broken,
            Broken::Peer(violation) => Self::Peer(violation),
        }
    }
}

/// Hands blocks to the disk's thread; there are never more than a few.
struct Blocks {
    work: std::sync::mpsc::Sender<Work>,
    free: mpsc::UnboundedReceiver<Vec<u8>>,
    made: usize,
}

impl Blocks {
    async fn empty(&mut self) -> Result<Vec<u8>, Stop> {
        if let Ok(block) = self.free.try_recv() {
            return Ok(block);
        }
        if self.made < BLOCKS_MAX {
            self.made += 1;
            return Ok(vec![0; BLOCK_BYTES]);
        }
        self.free.recv().await.ok_or(Stop::Disk)
    }

    fn push(&self, work: Work) -> Result<(), Stop> {
        self.work.send(work).map_err(|_| Stop::Disk)
    }
}

/// Accepts the transfer where `part` ends, takes what comes, and gives it its name.
pub(crate) async fn attempt<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    messages: &mut Messages<R>,
    writer: &mut W,
    part: Part,
    size: Option<u64>,
    progress: &watch::Sender<Progress>,
) -> Attempt {
    let offset = part.length();
    let accept = ToSender::Accept { offset, sha256: part.sha256() }.encode();
    if writer.write_all(&accept).await.is_err() {
        return Attempt::Broken(Some(Box::new(part)));
    }
    progress.send_modify(|progress| {
        (progress.phase, progress.bytes, progress.durable) = (Phase::Running, offset, offset);
    });
    let (work, todo) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel();
    let (give_back, free) = mpsc::unbounded_channel();
    let (news_in, mut news) = watch::channel(News { durable: offset, paused: None });
    let desk = Desk { work: todo, free: give_back, news: Arc::new(news_in), stop: stopped };
    let mut disk = tokio::task::spawn_blocking(move || desk.run(part));
    let mut blocks = Blocks { work, free, made: 0 };
    let mut ended = {
        let taking = take(messages, &mut blocks, offset, size, progress);
        let telling = tell(&mut news, writer, progress, offset);
        tokio::pin!(taking, telling);
        let mut all_there = false;
        loop {
            tokio::select! {
                taken = &mut taking, if !all_there => match taken {
                    Ok(()) => all_there = true,
                    Err(stop) => break Err(stop),
                },
                () = &mut telling => break Err(Stop::Broken),
                outcome = &mut disk => break Ok(outcome),
            }
        }
    };
    if let Err(Stop::Peer(_) | Stop::Aborted(_)) = &ended {
        // It may have ended for its own reasons just now.
        let _gone = blocks.push(Work::Discard);
    }
    let disk_says = match &mut ended {
        Ok(_) => None,
        Err(_) => {
            drop((blocks, stop));
            Some(disk.await)
        }
    };
    settle(ended, disk_says, writer).await
}

type Ran = Result<Outcome, tokio::task::JoinError>;

/// What the end of reading and the end of writing amount to.
async fn settle<W: AsyncWrite + Unpin>(
    ended: Result<Ran, Stop>,
    disk_says: Option<Ran>,
    writer: &mut W,
) -> Attempt {
    match (ended, disk_says) {
        (Err(Stop::Peer(violation)), _) => {
            refuse(writer, false, &violation.to_string()).await;
            Attempt::Failed(violation.into())
        }
        (Err(Stop::Aborted(why)), _) => Attempt::Failed(TransferError::Aborted(why)),
        (Err(Stop::Broken | Stop::Disk), Some(outcome)) | (Ok(outcome), _) => {
            let Ok(outcome) = outcome else { return Attempt::Failed(TransferError::Stopped) };
            match outcome {
                Outcome::Saved(saved) => Attempt::Saved(saved),
                Outcome::Stopped(part) => Attempt::Broken(Some(part)),
                Outcome::Discarded => Attempt::Broken(None),
                Outcome::Failed(error) => {
                    // What was damaged is sent anew; what cannot be written would fail again.
                    let again = matches!(error, PartError::Damaged);
                    refuse(writer, again, &told(&error)).await;
                    if again { Attempt::Broken(None) } else { Attempt::Failed(failure(error)) }
                }
            }
        }
        (Err(Stop::Broken | Stop::Disk), None) => {
            unreachable!("the disk's thread is waited for")
        }
    }
}

/// What the peer learns: nothing about the directories here.
fn told(error: &PartError) -> String {
    match error {
        PartError::Io { source, .. } => format!("it cannot be written there: {source}"),
        PartError::Exists(_) => "a file of this name is there already".into(),
        PartError::Locked | PartError::Damaged => error.to_string(),
    }
}

pub(crate) fn failure(error: PartError) -> TransferError {
    match error {
        PartError::Exists(path) => TransferError::Exists(path),
        PartError::Io { .. } | PartError::Locked | PartError::Damaged => {
            TransferError::Write(error.to_string())
        }
    }
}

/// The last word on a channel.
pub(crate) async fn say_last<W: AsyncWrite + Unpin>(writer: &mut W, message: &ToSender) {
    let bytes = message.encode();
    let told = async {
        writer.write_all(&bytes).await?;
        writer.shutdown().await
    };
    // A sender that does not hear it asks again.
    let _told = tokio::time::timeout(FAREWELL_PATIENCE, told).await;
}

pub(crate) async fn refuse<W: AsyncWrite + Unpin>(writer: &mut W, again: bool, why: &str) {
    say_last(writer, &ToSender::Reject { again, why: why.to_owned() }).await;
}

/// Says that a part could not be opened.
pub(crate) async fn refuse_for<W: AsyncWrite + Unpin>(writer: &mut W, error: &PartError) {
    refuse(writer, false, &told(error)).await;
}

/// Takes the bytes and hands them to the disk.
async fn take<R: AsyncRead + Unpin>(
    messages: &mut Messages<R>,
    blocks: &mut Blocks,
    offset: u64,
    size: Option<u64>,
    progress: &watch::Sender<Progress>,
) -> Result<(), Stop> {
    let mut at = match messages.next::<ToReceiver>().await? {
        ToReceiver::Begin { offset: begun } if begun == offset => offset,
        ToReceiver::Begin { offset: 0 } => {
            blocks.push(Work::Restart)?;
            0
        }
        ToReceiver::Begin { .. } => {
            return Err(Stop::Peer(Violation("it begins where nobody is")));
        }
        ToReceiver::Abort { why } => return Err(Stop::Aborted(why)),
        ToReceiver::Offer(_) | ToReceiver::Data { .. } | ToReceiver::End { .. } => {
            return Err(Stop::Peer(Violation("it does not say where it begins")));
        }
    };
    let (mut block, mut filled) = (blocks.empty().await?, 0);
    loop {
        match messages.next::<ToReceiver>().await? {
            ToReceiver::Data { length } => {
                assert!(length <= DATA_BYTES_MAX, "the decoder has looked");
                let end = at.checked_add(length as u64).filter(|end| *end <= size.unwrap_or(*end));
                let end = end.ok_or(Stop::Peer(Violation("it sends more than it announced")))?;
                while at < end {
                    let room = (BLOCK_BYTES - filled).min((end - at) as usize);
                    let target = &mut block[filled..filled + room];
                    let count =
                        messages.stream_mut().read(target).await.map_err(|_| Stop::Broken)?;
                    if count == 0 {
                        return Err(Stop::Broken);
                    }
                    (filled, at) = (filled + count, at + count as u64);
                    if filled == BLOCK_BYTES {
                        blocks.push(Work::Append(block, filled))?;
                        progress.send_modify(|progress| progress.bytes = at);
                        (block, filled) = (blocks.empty().await?, 0);
                    }
                }
                // What is small, and what is last, is not kept waiting.
                if filled > 0 {
                    blocks.push(Work::Append(block, filled))?;
                    progress.send_modify(|progress| progress.bytes = at);
                    (block, filled) = (blocks.empty().await?, 0);
                }
            }
            ToReceiver::End { size: bytes, sha256 } => {
                if bytes != at || size.is_some_and(|size| size != bytes) {
                    return Err(Stop::Peer(Violation("it announced another size than it sent")));
                }
                return blocks.push(Work::Finish(Transferred { bytes, sha256 }));
            }
            ToReceiver::Abort { why } => return Err(Stop::Aborted(why)),
            ToReceiver::Offer(_) | ToReceiver::Begin { .. } => {
                return Err(Stop::Peer(Violation("it begins twice")));
            }
        }
    }
}

/// Tells the sender what the disk says; ends only with the channel.
async fn tell<W: AsyncWrite + Unpin>(
    news: &mut watch::Receiver<News>,
    writer: &mut W,
    progress: &watch::Sender<Progress>,
    offset: u64,
) {
    let (mut durable, mut paused) = (offset, false);
    loop {
        if news.changed().await.is_err() {
            // The disk's thread has ended; that is for others to find out.
            return std::future::pending().await;
        }
        let found = news.borrow_and_update().clone();
        let mut bytes = Vec::new();
        // A sender that has begun anew waits for its own bytes, not for those that were forgotten.
        durable = durable.min(found.durable);
        if found.durable > durable {
            durable = found.durable;
            bytes.extend(ToSender::Progress { offset: durable }.encode());
            progress.send_modify(|progress| progress.durable = durable);
        }
        match found.paused {
            Some(why) if !paused => {
                paused = true;
                bytes.extend(ToSender::Paused { why: "its disk is full".into() }.encode());
                progress.send_modify(|progress| progress.phase = Phase::Paused(why));
            }
            None if paused => {
                paused = false;
                bytes.extend(ToSender::Resumed.encode());
                progress.send_modify(|progress| progress.phase = Phase::Running);
            }
            Some(_) | None => {}
        }
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
