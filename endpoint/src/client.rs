//! What applications use: a client that keeps a connection to the relay, sends and receives messages and streams, and
//! pairs with other devices. Everything else happens in one background task on tokio.

pub mod limits;

mod account;
mod clock;
mod event;
mod lock;
mod messages;
mod pairing;
mod requests;
mod state;
mod steward;
mod storing;
mod stream;
mod task;
mod trace;
mod transfers;
mod types;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hushwire_wire::code::Invite;
pub use hushwire_wire::control::{CoverMode, ErrorCode, Transport, Undelivered};
use hushwire_wire::id::DeviceId;
use tokio::io::AsyncRead;
use tokio::sync::Notify;
use tracing::Instrument as _;

pub use account::Rotated;
pub use event::{Event, Events};
pub use messages::IncomingMessage;
pub use pairing::{PairingOffer, PairingOptions, PendingPair, SpokenOffer};
pub use stream::{StreamReader, StreamWriter};
pub use transfers::{FileOptions, IncomingTransfer, Transfer};
pub use types::{
    Delivery, Message, Options, Outbox, PeerInfo, Receipt, RelayInfo, SendOptions, SendState, Sent,
    WhenFull,
};

pub use crate::conversation::OutboxLimits;
use crate::conversation::preamble::Label;
use crate::error::Error;
pub use crate::io::Transports;
use crate::io::{CellStream, Racer};
use crate::journal::Journal;
pub use crate::journal::{Durability, MessageId, Outcome};
use crate::keystore::{Keystore, Relay};
use crate::link::{Link, LinkError};
use clock::moment;
use limits::CLOSE_MS_MAX;
use lock::Lock;
use state::{Ending, State};
use task::Dialer;

/// A device's connection to its relay and its conversations with its peers.
///
/// Made with [`Client::enroll`] once and with [`Client::connect`] ever after, in a tokio runtime with I/O and time enabled; one
/// thread is enough. It is [`Send`] and [`Sync`], and cheap to clone.
///
/// Clones share everything. With the last clone the background task ends; readers and writers of streams then fail.
/// All futures may be dropped at any time: what was not handed out yet stays.
///
/// The connection is made again by itself, after 1 to 30 s with full jitter; what was not acknowledged is then sent
/// again. It is not made again once another connection of the same device has taken over
/// ([`Error::Superseded`]) or the relay has revoked the device.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    _last: Arc<Last>,
}

/// What handles and the background task share.
#[derive(Debug)]
struct Shared {
    state: Lock<State>,
    /// The task has something to do.
    work: Notify,
    /// The task is to end, though it waits to connect.
    closed: Notify,
    messages: Notify,
    incoming: Notify,
    room: Notify,
    /// There is something to be written to the journal.
    storage: Notify,
    outbox: Outbox,
    expires_in: Option<Duration>,
    transfers: transfers::Hub,
    /// The log of the account has changed, or a device may join one.
    account: Notify,
}

impl Shared {
    fn connected(&self, stream: &CellStream, link: Link) {
        let (replaced, resumed) = (link.welcome().replaced, stream.is_resumed());
        let mut state = self.state.lock();
        state.connected(link, moment());
        state.tell(Event::Connected { replaced, resumed, transport: stream.transport() });
    }

    /// Wakes those whom the last turn concerns, now that nobody holds the lock.
    fn wake(&self) {
        let (wakers, signals) = self.state.lock().take_wakers();
        wakers.into_iter().for_each(std::task::Waker::wake);
        if signals.storage {
            self.storage.notify_one();
        }
        for (changed, waiting) in [
            (signals.messages, &self.messages),
            (signals.incoming, &self.incoming),
            (signals.room, &self.room),
        ] {
            if changed {
                waiting.notify_waiters();
            }
        }
    }
}

/// Ends the task with the last handle.
#[derive(Debug)]
struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.ended.is_none() {
            state.end(Ending::Closed);
        }
        drop(state);
        self.0.wake();
        self.0.work.notify_one();
        self.0.closed.notify_one();
    }
}

impl Client {
    /// Connects to the relay that the keystore names. The first connection is awaited; later ones the client makes
    /// by itself.
    ///
    /// # Errors
    /// [`Error::NotEnrolled`] where the keystore names no relay; [`Error::Io`] and [`Error::Link`] where there is no
    /// connection; [`Error::NotAdmitted`] where the relay does not know this device.
    pub async fn connect(keystore: Keystore, options: Options) -> Result<Self, Error> {
        let relay = keystore.relay().cloned().ok_or(Error::NotEnrolled)?;
        Self::start(keystore, relay, options, None).await
    }

    /// Enrols this device at the invite's relay and connects. The relay is remembered in the keystore once it has
    /// admitted the device; an invite works once. A device that this relay knows already, as one that was restored from
    /// its words, is admitted with any invite of that relay, which is not used up.
    ///
    /// # Errors
    /// [`Error::InviteRefused`] where the invite was used, has expired or never was one; otherwise as for
    /// [`Client::connect`].
    pub async fn enroll(
        keystore: Keystore,
        invite: &Invite,
        options: Options,
    ) -> Result<Self, Error> {
        let relay = Relay::new(&invite.relay, options.name.as_deref().unwrap_or_default());
        let token = invite.secret.as_bytes().to_vec();
        Self::start(keystore, relay, options, Some(token)).await
    }

    async fn start(
        keystore: Keystore,
        relay: Relay,
        options: Options,
        token: Option<Vec<u8>>,
    ) -> Result<Self, Error> {
        let racer = Racer::new(&relay.trust, options.transports).map_err(|_| Error::NotEnrolled)?;
        let (path, key) = (keystore.journal_path(), keystore.storage_key());
        let (journal, logs) = Journal::open(&path, key, options.durability)?;
        let transfers = transfers::Hub::new(keystore.path());
        let shared = Arc::new(Shared {
            state: Lock::new(State::new(keystore, &logs)),
            work: Notify::new(),
            closed: Notify::new(),
            messages: Notify::new(),
            incoming: Notify::new(),
            room: Notify::new(),
            storage: Notify::new(),
            outbox: options.outbox,
            expires_in: options.expires_in,
            transfers,
            account: Notify::new(),
        });
        drop(logs);
        let mut dialer = Dialer { racer, relay, options };
        let enrolling = token.is_some();
        let dialled = dialer.dial(&shared, token).await;
        let mut dialled = dialled.map_err(|error| admission(error, enrolling));
        if let Err(Error::InviteRefused(_)) = &dialled {
            // The relay may know this device already: one that was restored from its words.
            dialled = dialer.dial(&shared, None).await.or(dialled);
        }
        let (stream, link) = dialled?;
        if enrolling {
            shared.state.lock().keystore.set_relay(dialer.relay.clone())?;
        }
        shared.connected(&stream, link);
        let span = tracing::debug_span!("endpoint", device = ?shared.state.lock().ours);
        tokio::spawn(storing::run(shared.clone(), journal).instrument(span.clone()));
        tokio::spawn(task::run(shared.clone(), dialer, stream).instrument(span.clone()));
        tokio::spawn(transfers::serve(shared.clone()).instrument(span.clone()));
        tokio::spawn(steward::run(shared.clone()).instrument(span));
        Ok(Self { _last: Arc::new(Last(shared.clone())), shared })
    }

    /// Ends the client once its peers have been told of everything that was received here, within
    /// 2 seconds; then another process may open the keystore. Dropping it ends it at once: peers then send again what they
    /// were not told of.
    /// Other clones fail from then on.
    pub async fn close(self) {
        self.shared.state.lock().closing = true;
        self.shared.storage.notify_one();
        self.shared.work.notify_one();
        let ended = async {
            loop {
                let changed = self.shared.messages.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.shared.state.lock().released {
                    return;
                }
                changed.await;
            }
        };
        // What could not be told in time will be asked for again.
        let _late = tokio::time::timeout(Duration::from_millis(CLOSE_MS_MAX), ended).await;
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.shared.state.lock().ours
    }

    /// Whether there is a connection at present.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.state.lock().link.is_some()
    }

    /// What the relay said of itself when it welcomed this device; `None` while there is no connection.
    #[must_use]
    pub fn relay_info(&self) -> Option<RelayInfo> {
        self.shared.state.lock().link.as_ref().map(RelayInfo::from)
    }

    /// Listens to what happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: self.shared.state.lock().events.subscribe() }
    }

    /// Opens a stream of bytes to a peer, waiting for a session if there is none and while 64 are open.
    /// Cancellation-safe.
    ///
    /// # Errors
    /// [`Error::NotPaired`], or why the client ended.
    pub async fn open_stream(&self, peer: DeviceId) -> Result<StreamWriter, Error> {
        stream::open_stream(&self.shared, peer, Label::default()).await
    }

    /// As [`Client::open_stream`], and the peer reads `label`, at most 64 bytes of plain text, as
    /// [`StreamReader::label`].
    ///
    /// # Errors
    /// [`Error::Label`]; as for [`Client::open_stream`].
    pub async fn open_stream_named(
        &self,
        peer: DeviceId,
        label: &str,
    ) -> Result<StreamWriter, Error> {
        stream::open_stream(&self.shared, peer, Label::of_application(label)?).await
    }

    /// Opens a stream that the peer's application answers with another ([`StreamReader::reply`]), which the reader
    /// awaits when it is first read. Where the peer answers nothing, the reader reads an end. Cancellation-safe.
    ///
    /// # Errors
    /// [`Error::Label`]; as for [`Client::open_stream`].
    pub async fn open_channel(
        &self,
        peer: DeviceId,
        label: &str,
    ) -> Result<(StreamWriter, StreamReader), Error> {
        stream::open_channel(&self.shared, peer, Label::of_application(label)?).await
    }

    /// The next stream that a peer has opened. Cancellation-safe.
    ///
    /// # Errors
    /// Why the client ended.
    pub async fn accept_stream(&self) -> Result<StreamReader, Error> {
        loop {
            let changed = self.shared.incoming.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.shared.state.lock();
                if let Some(incoming) = state.accept_stream() {
                    state.streams.entry((incoming.peer, incoming.id)).or_default();
                    return Ok(StreamReader::accepted(self.shared.clone(), incoming));
                }
                if let Some(ending) = &state.ended {
                    return Err(ending.error());
                }
            }
            changed.await;
        }
    }

    /// Sends a file, which arrives whole or not at all, and goes on after a break on either side: also in another
    /// process, where the same file is sent to the same peer within seven days. Four transfers to a peer run at once,
    /// others wait in line.
    ///
    /// # Errors
    /// [`Error::Transfer`] where the file cannot be read; [`Error::NotPaired`], or why the client ended.
    pub async fn send_file(
        &self,
        peer: DeviceId,
        path: impl AsRef<Path>,
        options: FileOptions,
    ) -> Result<Transfer, Error> {
        transfers::send_file(&self.shared, peer, path.as_ref(), options).await
    }

    /// Sends everything that can be read from `reader`, as a file of this name. It goes on after a break of the
    /// connection, and after a restart of the receiver, because up to 32 MiB are kept until they are on its disk; but not after a restart here.
    ///
    /// # Errors
    /// [`Error::NotPaired`], or why the client ended.
    pub fn send_reader(
        &self,
        peer: DeviceId,
        reader: impl AsyncRead + Send + Unpin + 'static,
        name: &str,
    ) -> Result<Transfer, Error> {
        transfers::send_reader(&self.shared, peer, Box::new(reader), name)
    }

    /// The next file that a peer offers. At most 16 of one peer wait for this call. Cancellation-safe.
    ///
    /// # Errors
    /// Why the client ended.
    pub async fn accept_transfer(&self) -> Result<IncomingTransfer, Error> {
        transfers::accept(&self.shared).await
    }

    /// The peer that was given this name when it was paired; `None` where nobody was.
    #[must_use]
    pub fn peer_named(&self, name: &str) -> Option<PeerInfo> {
        self.peers().into_iter().find(|peer| peer.name == name)
    }

    /// All peers, by device ID.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        let mut state = self.shared.state.lock();
        let mut peers: Vec<PeerInfo> = state.keystore.peers().map(PeerInfo::from).collect();
        for peer in &mut peers {
            peer.is_up =
                state.conversation(peer.device).is_ok_and(|conversation| conversation.is_up());
        }
        peers
    }
}

/// What a refusal of HELLO means.
fn admission(error: Error, enrolling: bool) -> Error {
    let Error::Link(LinkError::Refused { code, sentence, wait }) = error else { return error };
    match code {
        ErrorCode::Unauthenticated | ErrorCode::Expired | ErrorCode::Conflict if enrolling => {
            Error::InviteRefused(sentence)
        }
        ErrorCode::Unauthenticated | ErrorCode::Forbidden => Error::NotAdmitted(sentence),
        ErrorCode::Malformed
        | ErrorCode::UnknownDevice
        | ErrorCode::Busy
        | ErrorCode::RateLimited
        | ErrorCode::TooLarge
        | ErrorCode::Expired
        | ErrorCode::Conflict
        | ErrorCode::Unsupported
        | ErrorCode::Draining => Error::Link(LinkError::Refused { code, sentence, wait }),
    }
}
