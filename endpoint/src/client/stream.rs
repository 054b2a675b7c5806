//! The two ends of a stream, as tokio reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hushwire_wire::id::DeviceId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::clock::moment;
use crate::conversation::{StreamError, StreamId, StreamRead};
use crate::error::Error;

/// Writes a stream to a peer.
///
/// `flush` returns at once: what is written is on its way. `shutdown` writes the end and waits until the peer's
/// application has read all of it; after that nothing can be lost. Dropped before `shutdown` was begun, the stream is
/// abandoned, and its reader gets an error instead of an end.
#[derive(Debug)]
pub struct StreamWriter {
    shared: Arc<Shared>,
    peer: DeviceId,
    id: StreamId,
}

/// Reads a stream from a peer. The end of file is the writer's own, authenticated end; a stream cut short is an
/// error ([`io::ErrorKind::UnexpectedEof`]). Dropped before its end, the writer gets an error.
#[derive(Debug)]
pub struct StreamReader {
    shared: Arc<Shared>,
    peer: DeviceId,
    id: StreamId,
}

impl StreamWriter {
    pub(super) const fn new(shared: Arc<Shared>, peer: DeviceId, id: StreamId) -> Self {
        Self { shared, peer, id }
    }

    /// Who reads it.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }
}

impl StreamReader {
    pub(super) const fn new(shared: Arc<Shared>, peer: DeviceId, id: StreamId) -> Self {
        Self { shared, peer, id }
    }

    /// Who writes it.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }
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

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.shared.state.lock();
        let mut random = state.random;
        let read = state.conversation(self.peer).and_then(|conversation| {
            let unfilled = buffer.initialize_unfilled();
            Ok(conversation.read_stream(self.id, unfilled, moment(), &mut random)?)
        });
        match read {
            Err(error) => {
                let kind = match &error {
                    Error::Stream(StreamError::Closed) => io::ErrorKind::BrokenPipe,
                    _ => io::ErrorKind::UnexpectedEof,
                };
                Poll::Ready(Err(failed(kind, error)))
            }
            Ok(StreamRead::Nothing) => {
                let wakers = state.streams.entry((self.peer, self.id)).or_default();
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
        let mut state = self.shared.state.lock();
        state.streams.remove(&(self.peer, self.id));
        let id = self.id;
        state.with(self.peer, |conversation, _| conversation.release_writing(id, moment()));
        drop(state);
        self.shared.work.notify_one();
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.streams.remove(&(self.peer, self.id));
        let id = self.id;
        state.with(self.peer, |conversation, _| conversation.release_reading(id, moment()));
        drop(state);
        self.shared.work.notify_one();
    }
}
