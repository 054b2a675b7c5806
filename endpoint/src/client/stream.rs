//! The two ends of a stream, as tokio reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hushwire_wire::id::DeviceId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::clock::moment;
use super::state::{Incoming, State};
use crate::conversation::preamble::{Label, Preamble};
use crate::conversation::{StreamError, StreamId, StreamRead};
use crate::error::Error;

/// Writes a stream to a peer.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/devices.rs"));
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> devices::Outcome {
/// # let place = devices::Place::new()?;
/// # let (alice, bob) = place.paired().await?;
/// let send = async {
///     let mut writer = alice.open_stream(bob.device()).await?;
///     writer.write_all(&[7; 100_000]).await?;
///     // The end, and the certainty that it was read.
///     writer.shutdown().await?;
///     Ok::<_, Box<dyn std::error::Error>>(())
/// };
/// let receive = async {
///     let mut bytes = Vec::new();
///     bob.accept_stream().await?.read_to_end(&mut bytes).await?;
///     Ok::<_, Box<dyn std::error::Error>>(bytes.len())
/// };
/// let (sent, received) = tokio::join!(send, receive);
/// sent?;
/// assert_eq!(received?, 100_000);
/// # Ok(())
/// # }
/// ```
///
/// `flush` returns at once: what is written is on its way. `shutdown` writes the end and waits until the peer's
/// application has read all of it; after that nothing can be lost. Dropped before `shutdown` was begun, the stream is
/// abandoned, and its reader gets an error instead of an end.
#[derive(Debug)]
pub struct StreamWriter {
    shared: Arc<Shared>,
    peer: DeviceId,
    id: StreamId,
    /// The end was written.
    finished: bool,
}

/// Reads a stream from a peer. The end of file is the writer's own, authenticated end; a stream cut short is an
/// error ([`io::ErrorKind::UnexpectedEof`]). Dropped before its end, the writer gets an error; dropped without
/// [`reply`](Self::reply) where an answer is awaited, the peer reads an empty one.
#[derive(Debug)]
pub struct StreamReader {
    shared: Arc<Shared>,
    peer: DeviceId,
    source: Source,
    label: Label,
    /// The peer awaits an answer and has none yet.
    owes: bool,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Stream(StreamId),
    /// The answer to this stream of ours, which need not have come yet.
    AnswerTo(StreamId),
}

impl StreamWriter {
    pub(super) const fn new(shared: Arc<Shared>, peer: DeviceId, id: StreamId) -> Self {
        Self { shared, peer, id, finished: false }
    }

    /// Who reads it.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }
}

impl StreamReader {
    pub(super) fn accepted(shared: Arc<Shared>, incoming: Incoming) -> Self {
        let Incoming { peer, id, label, awaits } = incoming;
        Self { shared, peer, source: Source::Stream(id), label, owes: awaits }
    }

    fn answer(shared: Arc<Shared>, peer: DeviceId, asked: StreamId, label: Label) -> Self {
        Self { shared, peer, source: Source::AnswerTo(asked), label, owes: false }
    }

    /// Who writes it.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// What its opener has called it; empty where it has no name. Of an answer, the label of what it answers.
    #[must_use]
    pub fn label(&self) -> &str {
        self.label.as_str()
    }

    /// Whether the peer awaits an answer that it does not have yet.
    #[must_use]
    pub const fn awaits_reply(&self) -> bool {
        self.owes
    }

    /// Whether there will be no more of it, for another reason than its end.
    pub(super) fn is_dead(&self) -> bool {
        let (Source::Stream(id) | Source::AnswerTo(id)) = self.source;
        let mut state = self.shared.state.lock();
        let conversation = state.conversation(self.peer);
        !conversation.is_ok_and(|conversation| conversation.check_stream(id).is_ok())
    }

    /// Opens the stream that answers this one, once; waits while 64 are open. Works before, while and after this
    /// one is read. Cancellation-safe.
    ///
    /// # Errors
    /// [`StreamError::NotAwaited`], [`StreamError::SessionLost`], or why the client ended.
    pub async fn reply(&mut self) -> Result<StreamWriter, Error> {
        let Source::Stream(id) = self.source else { return Err(StreamError::NotAwaited.into()) };
        if !self.owes {
            return Err(StreamError::NotAwaited.into());
        }
        let peer = self.peer;
        let writer = open(&self.shared, peer, |state| state.open_answer(peer, id)).await?;
        self.owes = false;
        Ok(writer)
    }
}

/// Opens a stream as soon as there is a session and room.
async fn open(
    shared: &Arc<Shared>,
    peer: DeviceId,
    mut attempt: impl FnMut(&mut State) -> Result<Option<StreamId>, Error>,
) -> Result<StreamWriter, Error> {
    loop {
        let room = shared.room.notified();
        tokio::pin!(room);
        room.as_mut().enable();
        let opened = attempt(&mut shared.state.lock())?;
        shared.work.notify_one();
        if let Some(id) = opened {
            return Ok(StreamWriter::new(shared.clone(), peer, id));
        }
        room.await;
    }
}

/// Opens a stream that says what it is for.
pub(super) async fn open_stream(
    shared: &Arc<Shared>,
    peer: DeviceId,
    label: Label,
) -> Result<StreamWriter, Error> {
    let preamble = Preamble { label, ..Preamble::default() };
    open(shared, peer, |state| state.open_stream(peer, &preamble)).await
}

/// Opens a stream and the reader of what the peer will answer.
pub(super) async fn open_channel(
    shared: &Arc<Shared>,
    peer: DeviceId,
    label: Label,
) -> Result<(StreamWriter, StreamReader), Error> {
    let preamble = Preamble { label, awaits: true, answers: None };
    let writer = open(shared, peer, |state| state.open_stream(peer, &preamble)).await?;
    let reader = StreamReader::answer(shared.clone(), peer, writer.id, preamble.label);
    Ok((writer, reader))
}

fn failed(kind: io::ErrorKind, error: Error) -> io::Error {
    io::Error::new(kind, error)
}

impl AsyncWrite for StreamWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.shared.state.lock();
        let written = state
            .conversation(self.peer)
            .and_then(|conversation| Ok(conversation.write_stream(self.id, bytes)?));
        match written {
            Err(error) => Poll::Ready(Err(failed(io::ErrorKind::BrokenPipe, error))),
            Ok(0) if !bytes.is_empty() => {
                let wakers = state.streams.entry((self.peer, self.id)).or_default();
                wakers.writer = Some(context.waker().clone());
                Poll::Pending
            }
            Ok(count) => {
                state.touch(self.peer);
                drop(state);
                self.shared.work.notify_one();
                Poll::Ready(Ok(count))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        let mut state = self.shared.state.lock();
        let done = state.conversation(self.peer).and_then(|conversation| {
            conversation.finish_stream(self.id)?;
            Ok(conversation.is_stream_done(self.id)?)
        });
        match done {
            Err(error) => Poll::Ready(Err(failed(io::ErrorKind::BrokenPipe, error))),
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                let wakers = state.streams.entry((self.peer, self.id)).or_default();
                wakers.writer = Some(context.waker().clone());
                state.touch(self.peer);
                drop(state);
                self.shared.work.notify_one();
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        let id = match self.source {
            Source::Stream(id) => id,
            Source::AnswerTo(asked) => match state.poll_answer(self.peer, asked, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(id)) => {
                    self.source = Source::Stream(id);
                    id
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(failed(io::ErrorKind::UnexpectedEof, error)));
                }
            },
        };
        let mut random = state.random;
        let read = state.conversation(self.peer).and_then(|conversation| {
            let unfilled = buffer.initialize_unfilled();
            Ok(conversation.read_stream(id, unfilled, moment(), &mut random)?)
        });
        match read {
            Err(error) => {
                let closed = matches!(error, Error::Stream(StreamError::Closed));
                let kind =
                    if closed { io::ErrorKind::BrokenPipe } else { io::ErrorKind::UnexpectedEof };
                Poll::Ready(Err(failed(kind, error)))
            }
            Ok(StreamRead::Nothing) => {
                let wakers = state.streams.entry((self.peer, id)).or_default();
                wakers.reader = Some(context.waker().clone());
                Poll::Pending
            }
            Ok(read) => {
                // How far it was read is told to the writer when the time has come.
                state.touch(self.peer);
                drop(state);
                self.shared.work.notify_one();
                if let StreamRead::Bytes(count) = read {
                    buffer.advance(count);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.shared.state.lock().drop_writer(self.peer, self.id, self.finished);
        self.shared.work.notify_one();
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        match self.source {
            Source::Stream(id) => state.drop_reader(self.peer, id, self.owes),
            Source::AnswerTo(asked) => state.drop_answer(self.peer, asked),
        }
        drop(state);
        self.shared.work.notify_one();
    }
}
