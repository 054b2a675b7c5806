//! The sending end: a file or pipe, and one attempt to get it across a channel.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::limits::{BLOCK_BYTES, BLOCKS_MAX, FAREWELL_PATIENCE, REREAD_BYTES_MAX};
use super::message::{Broken, HEAD_BYTES, Messages, Offer, ToReceiver, ToSender, data_head};
use super::{Phase, Progress, TransferError, Transferred, Violation};

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The channel broke: another attempt goes on.
    Broken(io::Error),
    /// The receiver wants all of it anew.
    Again(String),
    Failed(TransferError),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Stream(error) => Self::Broken(error),
            Broken::Peer(violation) => Self::Failed(violation.into()),
        }
    }
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        Self::Failed(violation.into())
    }
}

/// What makes a file another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) modified_ns: i128,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified_ns =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(Self { size: metadata.len(), modified_ns })
    }
}

/// Opens a regular file; a fifo is not waited for.
pub(crate) fn open_file(path: &Path) -> Result<(File, Stamp), TransferError> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(TransferError::Source)?;
    if !file.metadata().map_err(TransferError::Source)?.is_file() {
        return Err(TransferError::NotAFile(path.into()));
    }
    let stamp = Stamp::of(&file).map_err(TransferError::Source)?;
    Ok((file, stamp))
}

/// Where the bytes come from.
pub(crate) enum Source {
    File { path: PathBuf, stamp: Stamp },
    Pipe(Box<Pipe>),
}

/// A pipe is read once; what the receiver does not have on disk yet is kept.
pub(crate) struct Pipe {
    input: Box<dyn AsyncRead + Send + Unpin>,
    /// From `start` on.
    kept: VecDeque<u8>,
    start: u64,
    /// Of everything before `start`, and of everything.
    start_hash: Sha256,
    hash: Sha256,
    at: u64,
    ended: bool,
}

impl Pipe {
    pub(crate) fn new(input: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self {
            input,
            kept: VecDeque::new(),
            start: 0,
            start_hash: Sha256::new(),
            hash: Sha256::new(),
            at: 0,
            ended: false,
        }
    }

    fn end(&self) -> u64 {
        self.start + self.kept.len() as u64
    }

    /// Forgets what is on disk there.
    fn forget(&mut self, durable: u64) {
        let count = durable.min(self.at).saturating_sub(self.start) as usize;
        // The front half of a ring buffer, then the other.
        let (front, back) = self.kept.as_slices();
        let cut = count.min(front.len());
        self.start_hash.update(&front[..cut]);
        self.start_hash.update(&back[..count - cut]);
        self.kept.drain(..count);
        self.start += count as u64;
    }

    /// Goes to where the receiver is, if that is still here.
    fn begin(&mut self, offset: u64, sha256: [u8; 32]) -> Result<u64, TransferError> {
        let mut hash = self.start_hash.clone();
        let known = (self.start..=self.end()).contains(&offset) && {
            let count = (offset - self.start) as usize;
            let (front, back) = self.kept.as_slices();
            let cut = count.min(front.len());
            hash.update(&front[..cut]);
            hash.update(&back[..count - cut]);
            <[u8; 32]>::from(hash.finalize()) == sha256
        };
        self.at = match (known, self.start) {
            (true, _) => offset,
            (false, 0) => 0,
            (false, _) => return Err(TransferError::NotResumable),
        };
        Ok(self.at)
    }

    async fn next(&mut self, durable: &mut watch::Receiver<Progress>) -> Result<Block, Ended> {
        loop {
            let on_disk = durable.borrow_and_update().durable;
            self.forget(on_disk);
            let ready = (self.end() - self.at) as usize;
            if ready > 0 {
                let (from, count) = ((self.at - self.start) as usize, ready.min(BLOCK_BYTES));
                let mut bytes = data_head(count).to_vec();
                bytes.extend(self.kept.range(from..from + count));
                self.at += count as u64;
                return Ok(Block::Data(bytes));
            }
            if self.ended {
                let sha256 = self.hash.clone().finalize().into();
                return Ok(Block::End(Transferred { bytes: self.end(), sha256 }));
            }
            let room = REREAD_BYTES_MAX - self.kept.len();
            if room == 0 {
                // The sender of the progress outlives the attempt.
                let _changed = durable.changed().await;
                continue;
            }
            let mut part = vec![0; room.min(BLOCK_BYTES)];
            let read = self.input.read(&mut part).await;
            let count = read.map_err(|error| Ended::Failed(TransferError::Source(error)))?;
            self.hash.update(&part[..count]);
            self.kept.extend(&part[..count]);
            self.ended = count == 0;
        }
    }
}

/// What comes out of a source.
#[derive(Debug)]
enum Block {
    /// Where it begins; once, before all others.
    Begin(u64),
    /// A DATA message, head and bytes.
    Data(Vec<u8>),
    End(Transferred),
}

/// A file that is read and hashed on a thread of its own, ahead of the network.
struct Blocks {
    ready: mpsc::Receiver<Result<Block, TransferError>>,
    free: std::sync::mpsc::Sender<Vec<u8>>,
}

enum Feed<'a> {
    File(Blocks),
    Pipe(&'a mut Pipe, watch::Receiver<Progress>),
}

impl Feed<'_> {
    async fn next(&mut self) -> Result<Block, Ended> {
        match self {
            Self::Pipe(pipe, durable) => pipe.next(durable).await,
            Self::File(blocks) => match blocks.ready.recv().await {
                Some(block) => block.map_err(Ended::Failed),
                None => Err(Ended::Failed(TransferError::Stopped)),
            },
        }
    }

    fn give_back(&self, block: Vec<u8>) {
        match self {
            // The thread may have come to its end.
            Self::File(blocks) => drop(blocks.free.send(block)),
            Self::Pipe(..) => {}
        }
    }
}

impl Blocks {
    /// Begins to read a file behind `offset` if what is before it has this hash, and otherwise at its beginning.
    fn read(path: PathBuf, stamp: Stamp, offset: u64, sha256: [u8; 32]) -> Self {
        let (ready_in, ready) = mpsc::channel(BLOCKS_MAX);
        let (free, free_out) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || {
            let out = |block| ready_in.blocking_send(Ok(block)).map_err(|_| TransferError::Stopped);
            let next = || free_out.try_recv().unwrap_or_default();
            if let Err(error) = read_blocks(&path, stamp, (offset, sha256), out, next) {
                // Where the attempt has ended nobody wants to know.
                let _gone = ready_in.blocking_send(Err(error));
            }
        });
        Self { ready, free }
    }
}

fn read_blocks(
    path: &Path,
    stamp: Stamp,
    (offset, sha256): (u64, [u8; 32]),
    out: impl Fn(Block) -> Result<(), TransferError>,
    next: impl Fn() -> Vec<u8>,
) -> Result<(), TransferError> {
    let (mut file, found) = open_file(path)?;
    if found != stamp {
        return Err(TransferError::Changed);
    }
    let mut hash = hash_prefix(&mut file, offset).map_err(TransferError::Source)?;
    let mut at = offset;
    if <[u8; 32]>::from(hash.clone().finalize()) != sha256 {
        file.seek(SeekFrom::Start(0)).map_err(TransferError::Source)?;
        (hash, at) = (Sha256::new(), 0);
    }
    out(Block::Begin(at))?;
    loop {
        let mut block = next();
        block.resize(HEAD_BYTES + BLOCK_BYTES, 0);
        let count = fill(&mut file, &mut block[HEAD_BYTES..]).map_err(TransferError::Source)?;
        at += count as u64;
        if at > stamp.size || (count == 0 && at != stamp.size) {
            return Err(TransferError::Changed);
        }
        if count == 0 {
            if Stamp::of(&file).map_err(TransferError::Source)? != stamp {
                return Err(TransferError::Changed);
            }
            let sha256 = hash.finalize().into();
            return out(Block::End(Transferred { bytes: at, sha256 }));
        }
        block.truncate(HEAD_BYTES + count);
        block[..HEAD_BYTES].copy_from_slice(&data_head(count));
        hash.update(&block[HEAD_BYTES..]);
        out(Block::Data(block))?;
    }
}

/// Hashes the first bytes; where there are fewer, all.
fn hash_prefix(file: &mut File, length: u64) -> io::Result<Sha256> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut rest = length;
    while rest > 0 {
        let wanted = rest.min(BLOCK_BYTES as u64) as usize;
        let count = file.read(&mut block[..wanted])?;
        if count == 0 {
            break;
        }
        hash.update(&block[..count]);
        rest -= count as u64;
    }
    Ok(hash)
}

fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Source {
    async fn begin<'a>(
        &'a mut self,
        offset: u64,
        sha256: [u8; 32],
        progress: &watch::Sender<Progress>,
    ) -> Result<(Feed<'a>, u64), Ended> {
        match self {
            Self::Pipe(pipe) => {
                let at = pipe.begin(offset, sha256).map_err(Ended::Failed)?;
                Ok((Feed::Pipe(pipe, progress.subscribe()), at))
            }
            Self::File { path, stamp } => {
                let mut feed = Feed::File(Blocks::read(path.clone(), *stamp, offset, sha256));
                match feed.next().await? {
                    Block::Begin(at) => Ok((feed, at)),
                    Block::Data(_) | Block::End(_) => {
                        unreachable!("every source says where it begins")
                    }
                }
            }
        }
    }

    /// What the receiver says it has already, if it can be true.
    async fn confirm(&mut self, claimed: Transferred) -> Result<Transferred, Ended> {
        let lie = Violation("it says that it has a file that it was never sent");
        let ours: [u8; 32] = match self {
            Self::Pipe(pipe) if pipe.ended => pipe.hash.clone().finalize().into(),
            Self::Pipe(_) => return Err(lie.into()),
            Self::File { path, stamp } if claimed.bytes == stamp.size => {
                let (path, size) = (path.clone(), stamp.size);
                let hashed = tokio::task::spawn_blocking(move || {
                    let (mut file, _) = open_file(&path)?;
                    hash_prefix(&mut file, size).map_err(TransferError::Source)
                });
                let hash = hashed.await.map_err(|_| Ended::Failed(TransferError::Stopped))?;
                hash.map_err(Ended::Failed)?.finalize().into()
            }
            Self::File { .. } => return Err(lie.into()),
        };
        if claimed.sha256 == ours { Ok(claimed) } else { Err(lie.into()) }
    }
}

/// Offers a source on a new channel and sends what the receiver does not have.
pub(crate) async fn attempt<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    source: &mut Source,
    offer: &Offer,
    messages: &mut Messages<R>,
    writer: &mut W,
    progress: &watch::Sender<Progress>,
) -> Result<Transferred, Ended> {
    let broken = Ended::Broken;
    writer.write_all(&ToReceiver::Offer(offer.clone()).encode()).await.map_err(broken)?;
    let (offset, sha256) = loop {
        match messages.next::<ToSender>().await? {
            ToSender::Accept { offset, sha256 } => break (offset, sha256),
            ToSender::Done { size, sha256 } => {
                return source.confirm(Transferred { bytes: size, sha256 }).await;
            }
            message @ (ToSender::Paused { .. } | ToSender::Resumed | ToSender::Reject { .. }) => {
                on_state(message, progress, Phase::Waiting)?;
            }
            ToSender::Progress { .. } => return Err(Violation("progress before it began").into()),
        }
    };
    if offer.size.is_some_and(|size| offset > size) {
        return Err(Violation("it has more than there is").into());
    }
    let begun = source.begin(offset, sha256, progress).await;
    let (mut feed, at) = match begun {
        Ok(begun) => begun,
        Err(ended) => return abort(writer, ended).await,
    };
    writer.write_all(&ToReceiver::Begin { offset: at }.encode()).await.map_err(broken)?;
    progress.send_modify(|progress| {
        (progress.phase, progress.bytes, progress.durable) = (Phase::Running, at, at);
    });
    let sent = AtomicU64::new(at);
    let mut whole = None;
    let listened = {
        let sending = send_all(&mut feed, writer, &sent, progress);
        tokio::pin!(sending);
        loop {
            tokio::select! {
                end = &mut sending, if whole.is_none() => match end {
                    Ok(end) => whole = Some(end),
                    Err(ended) => break Err(ended),
                },
                heard = messages.next::<ToSender>() => {
                    if let Some(done) = on_message(heard?, &sent, whole.as_ref(), progress)? {
                        break Ok(done);
                    }
                }
            }
        }
    };
    match listened {
        Ok(done) => Ok(done),
        Err(ended) => abort(writer, ended).await,
    }
}

async fn send_all<W: AsyncWrite + Unpin>(
    feed: &mut Feed<'_>,
    writer: &mut W,
    sent: &AtomicU64,
    progress: &watch::Sender<Progress>,
) -> Result<Transferred, Ended> {
    loop {
        match feed.next().await? {
            Block::Begin(_) => unreachable!("it has begun"),
            Block::Data(block) => {
                let count = (block.len() - HEAD_BYTES) as u64;
                let bytes = sent.fetch_add(count, Ordering::Relaxed) + count;
                writer.write_all(&block).await.map_err(Ended::Broken)?;
                progress.send_modify(|progress| progress.bytes = bytes);
                feed.give_back(block);
            }
            Block::End(whole) => {
                let Transferred { bytes: size, sha256 } = whole;
                let end = ToReceiver::End { size, sha256 }.encode();
                writer.write_all(&end).await.map_err(Ended::Broken)?;
                return Ok(whole);
            }
        }
    }
}

fn on_message(
    message: ToSender,
    sent: &AtomicU64,
    whole: Option<&Transferred>,
    progress: &watch::Sender<Progress>,
) -> Result<Option<Transferred>, Ended> {
    match message {
        ToSender::Accept { .. } => Err(Violation("it accepts twice").into()),
        ToSender::Progress { offset } => {
            let before = progress.borrow().durable;
            if offset < before || offset > sent.load(Ordering::Relaxed) {
                return Err(Violation("it has what was never sent, or less than before").into());
            }
            progress.send_modify(|progress| progress.durable = offset);
            Ok(None)
        }
        ToSender::Paused { .. } | ToSender::Resumed | ToSender::Reject { .. } => {
            on_state(message, progress, Phase::Running).map(|()| None)
        }
        ToSender::Done { size, sha256 } => {
            let done = Transferred { bytes: size, sha256 };
            if whole == Some(&done) {
                Ok(Some(done))
            } else {
                Err(Violation("it says that it has what was never sent").into())
            }
        }
    }
}

fn on_state(
    message: ToSender,
    progress: &watch::Sender<Progress>,
    otherwise: Phase,
) -> Result<(), Ended> {
    let phase = match message {
        ToSender::Paused { why } => Phase::Paused(why),
        ToSender::Reject { again: true, why } => {
            return Err(Ended::Again(why));
        }
        ToSender::Reject { again: false, why } => {
            return Err(Ended::Failed(TransferError::Rejected(why)));
        }
        ToSender::Resumed
        | ToSender::Accept { .. }
        | ToSender::Progress { .. }
        | ToSender::Done { .. } => otherwise,
    };
    progress.send_modify(|progress| progress.phase = phase);
    Ok(())
}

/// Tells the receiver why there will be no more.
async fn abort<W: AsyncWrite + Unpin>(writer: &mut W, ended: Ended) -> Result<Transferred, Ended> {
    if let Ended::Failed(error) = &ended {
        let abort = ToReceiver::Abort { why: error.for_the_peer() }.encode();
        let told = async {
            writer.write_all(&abort).await?;
            writer.shutdown().await
        };
        // A receiver that does not hear it waits for the sender, and gives up by itself.
        let _told = tokio::time::timeout(FAREWELL_PATIENCE, told).await;
    }
    Err(ended)
}
