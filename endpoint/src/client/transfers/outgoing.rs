//! Transfers to peers: attempt after attempt, until one comes to its end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use hushwire_wire::id::DeviceId;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::{Shared, Way, ask_ledger};
use crate::client::stream;
use crate::conversation::StreamError;
use crate::conversation::preamble::Label;
use crate::error::Error;
use crate::link::Backoff;
use crate::suite::random::{OsRandom, draw};
use crate::transfer::ledger::{Ledger, SourceFile};
use crate::transfer::limits::{DAMAGED_MAX, FAREWELL_PATIENCE, NAME_BYTES_MAX, RETRY_FIRST};
use crate::transfer::message::{LABEL, Messages};
use crate::transfer::sending::{self, Ended, Pipe, Source};
use crate::transfer::{Offer, Phase, Progress, TransferError, TransferId, Transferred};

/// How a file is sent.
#[derive(Clone, Debug, Default)]
pub struct FileOptions {
    /// What the receiver is told it is called; at most 255 bytes. Default: the file's own name.
    pub name: Option<String>,
}

/// A file on its way to a peer. Dropped before its end the transfer stops; sent again, the same file goes on where it
/// was.
///
/// The transfer is remembered until its outcome was taken and this is dropped: an application that writes the outcome
/// down in between, and sends the unchanged file again where a crash came first, hears the same outcome, and the
/// receiver has one copy.
#[derive(Debug)]
pub struct Transfer {
    claim: Arc<Claim>,
    /// The outcome was taken, and trying again would not change it.
    is_over: bool,
    progress: watch::Receiver<Progress>,
    /// Until its outcome was taken.
    task: Option<JoinHandle<Result<Transferred, Error>>>,
}

impl Transfer {
    /// Names the transfer, at both ends.
    #[must_use]
    pub fn id(&self) -> TransferId {
        self.claim.id
    }

    /// How far it is, now and whenever that changes.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until the receiver has everything, verified and under its name. There is no time limit: a peer may be
    /// away for days. Cancellation-safe.
    ///
    /// # Errors
    /// [`Error::Transfer`], [`Error::NotPaired`], or why the client ended; [`TransferError::Stopped`] where the outcome
    /// was taken before.
    pub async fn finished(&mut self) -> Result<Transferred, Error> {
        let Some(task) = &mut self.task else { return Err(TransferError::Stopped.into()) };
        let ended = task.await.unwrap_or(Err(TransferError::Stopped.into()));
        self.task = None;
        self.is_over = match &ended {
            Ok(_) => true,
            Err(Error::Transfer(error)) => !error.is_retryable(),
            Err(_) => false,
        };
        ended
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if self.is_over {
            self.claim.let_go();
        }
    }
}

/// No two tasks send under one ID, and nobody does whose outcome belongs to another.
#[derive(Debug)]
struct Claim {
    /// A handle that an application keeps does not keep the keystore open.
    shared: Weak<Shared>,
    ledger_path: PathBuf,
    id: TransferId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.transfers.desk.lock().outgoing.remove(&self.id);
        }
    }
}

impl Claim {
    fn new(shared: &Arc<Shared>, id: TransferId) -> Self {
        shared.transfers.desk.lock().outgoing.insert(id);
        let ledger_path = shared.transfers.ledger_path.clone();
        Self { shared: Arc::downgrade(shared), ledger_path, id }
    }

    /// The transfer is over, and the application knows. Its note goes at once: the process may end.
    fn let_go(&self) {
        Ledger::forget_begun(&self.ledger_path, self.id);
        if let Some(shared) = self.shared.upgrade() {
            shared.transfers.desk.lock().over.push(self.id);
        }
    }
}

fn cut(name: &str) -> String {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name[..end.unwrap_or(0)].to_owned()
}

pub(in crate::client) async fn send_file(
    shared: &Arc<Shared>,
    peer: DeviceId,
    path: &Path,
    options: FileOptions,
) -> Result<Transfer, Error> {
    shared.state.lock().conversation(peer)?;
    let own_name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = options.name.as_deref().unwrap_or(&own_name);
    let name = cut(name);
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let (_, stamp) = sending::open_file(&path)?;
        let path = path.canonicalize().map_err(TransferError::Source)?;
        Ok::<_, TransferError>((path, stamp))
    });
    let (path, stamp) = opened.await.map_err(|_| Error::Closed)??;
    let file =
        SourceFile { peer, path: path.clone(), size: stamp.size, modified_ns: stamp.modified_ns };
    let of_ledger = shared.clone();
    let claim = ask_ledger(shared, move |ledger, now_s| {
        // Nobody else can claim it meanwhile: the ledger is locked.
        let taken = |id| of_ledger.transfers.desk.lock().outgoing.contains(&id);
        let id = ledger.begin(&file, taken, now_s, &mut OsRandom)?;
        Ok(Claim::new(&of_ledger, id))
    })
    .await?;
    let offer = Offer { id: claim.id, size: Some(stamp.size), name };
    Ok(start(shared, claim, peer, Source::File { path, stamp }, offer))
}

pub(in crate::client) fn send_reader(
    shared: &Arc<Shared>,
    peer: DeviceId,
    reader: Box<dyn AsyncRead + Send + Unpin>,
    name: &str,
) -> Result<Transfer, Error> {
    shared.state.lock().conversation(peer)?;
    let claim = Claim::new(shared, TransferId(draw(&mut OsRandom)));
    let offer = Offer { id: claim.id, size: None, name: cut(name) };
    Ok(start(shared, claim, peer, Source::Pipe(Box::new(Pipe::new(reader))), offer))
}

fn start(
    shared: &Arc<Shared>,
    claim: Claim,
    peer: DeviceId,
    source: Source,
    offer: Offer,
) -> Transfer {
    let (progress_in, progress) = watch::channel(Progress::new(offer.size));
    let claim = Arc::new(claim);
    let (shared, of_task) = (shared.clone(), claim.clone());
    let span = tracing::debug_span!("transfer", to = ?peer, id = ?offer.id);
    let sending = async move {
        tracing::debug!(size = ?offer.size, "a transfer begins");
        let sent = run(&shared, peer, source, &offer, &progress_in).await;
        match &sent {
            Ok(sent) => tracing::debug!(bytes = sent.bytes, "a transfer is done"),
            Err(error) => {
                tracing::debug!(retryable = error.is_retryable(), "a transfer has failed")
            }
        }
        drop(of_task);
        sent
    };
    let task = tokio::spawn(sending.instrument(span));
    Transfer { claim, is_over: false, progress, task: Some(task) }
}

async fn run(
    shared: &Arc<Shared>,
    peer: DeviceId,
    mut source: Source,
    offer: &Offer,
    progress: &watch::Sender<Progress>,
) -> Result<Transferred, Error> {
    let line = shared.transfers.line(peer, Way::Out);
    let _place = line.acquire().await.map_err(|_| Error::Closed)?;
    let (mut backoff, mut tries, mut damaged) = (Backoff::default(), 0_u32, 0);
    loop {
        let before = progress.borrow().durable;
        let label = Label::new(LABEL).expect("it is short and plain");
        let (mut writer, reader) = stream::open_channel(shared, peer, label).await?;
        let mut messages = Messages::new(reader);
        match sending::attempt(&mut source, offer, &mut messages, &mut writer, progress).await {
            Ok(sent) => {
                progress.send_modify(|progress| {
                    progress.phase = Phase::Done;
                    (progress.bytes, progress.durable) = (sent.bytes, sent.bytes);
                });
                // The receiver is told that its last word was heard.
                let mut rest = [0; 1];
                let end = tokio::io::AsyncReadExt::read(messages.stream_mut(), &mut rest);
                let _end = tokio::time::timeout(FAREWELL_PATIENCE, end).await;
                return Ok(sent);
            }
            Err(Ended::Failed(error)) => return Err(error.into()),
            Err(Ended::Again(why)) => {
                damaged += 1;
                if damaged >= DAMAGED_MAX {
                    return Err(TransferError::Rejected(why).into());
                }
            }
            Err(Ended::Broken(error)) if is_unsupported(&error) => {
                return Err(TransferError::Unsupported.into());
            }
            Err(Ended::Broken(_)) => {}
        }
        drop((messages, writer));
        shared.state.lock().conversation(peer)?;
        if progress.borrow().durable > before {
            tries = 0;
            backoff.reset();
        }
        progress.send_modify(|progress| progress.phase = Phase::Waiting);
        tracing::debug!(durable = progress.borrow().durable, tries, "a transfer is interrupted");
        let wait = if tries == 0 { RETRY_FIRST } else { backoff.next(&mut OsRandom) };
        tries += 1;
        tokio::time::sleep(wait).await;
    }
}

/// Whether the peer has reset the channel because it does not know the label.
fn is_unsupported(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::Stream(StreamError::Abandoned(2))))
}
