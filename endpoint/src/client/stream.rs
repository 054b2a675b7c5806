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
/// ```
/// # use std::time::Duration;
/// # use hushwire::client::{Options, PairingOptions};
/// # use hushwire::identity::Identity;
/// # use hushwire::keystore::Keystore;
/// # use hushwire::pairing::Link;
/// # use hushwire::suite::random::OsRandom;
/// # use hushwire::Client;
/// # use hushwire_wire::code::Invite;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # async fn enroll(path: &std::path::Path, invite: &str) -> Result<Client, Box<dyn std::error::Error>> {
/// #     let keystore = Keystore::create(path, Identity::generate(&mut OsRandom))?;
/// #     Ok(Client::enroll(keystore, &Invite::from_text(invite)?, Options::default()).await?)
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path();
/// # let text = format!(
/// #     "[listen]\naddress = \"127.0.0.1:0\"\n[relay]\ndata_dir = \"{0}/relay\"\nshards = 1\n\
/// #      [limits]\nconnections_max = 64\nunauthenticated_connections_max = 32\nhandshakes_in_progress_max = 16\n\
/// #      [control]\nlisten = \"127.0.0.1:0\"\nadmin_socket = \"{0}/admin.sock\"",
/// #     path.display()
/// # );
/// # let config = hushwire_relay::config::check(&text, "example.toml".as_ref()).expect("no typo");
/// # let relay = hushwire_relay::daemon::Relay::start(config)?;
/// # let invites = [relay.invite(Duration::from_secs(60))?, relay.invite(Duration::from_secs(60))?];
/// # let [alice_invite, bob_invite] = invites;
/// # let alice = enroll(&path.join("alice"), &alice_invite).await?;
/// # let bob = enroll(&path.join("bob"), &bob_invite).await?;
/// # let offer = alice.offer_pairing::<Link>(PairingOptions::default()).await?;
/// # let link = offer.link();
/// # let (at_alice, at_bob) = tokio::join!(offer.wait(), bob.join_pairing::<Link>(&link));
/// # let (confirmed, also) = tokio::join!(at_alice?.confirm("bob"), at_bob?.confirm("alice"));
/// # (confirmed?, also?);
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
                let closed = matches!(error, Error::Stream(StreamError::Closed));
                let kind =
                    if closed { io::ErrorKind::BrokenPipe } else { io::ErrorKind::UnexpectedEof };
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
