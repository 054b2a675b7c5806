//! Transfers from peers: offers, the application's word on them, and attempt after attempt until the file is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hushwire_wire::id::DeviceId;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::{Channel, Key, Shared, Slot, Way, ask_ledger};
use crate::client::stream::StreamReader;
use crate::error::Error;
use crate::transfer::limits::{
    FULL_RETRY, LOCKED_RETRY, LOCKED_TRIES_MAX, OFFER_PATIENCE, OFFERS_WAITING_MAX, SENDER_AWAY_MAX,
};
use crate::transfer::message::{Messages, ToReceiver, ToSender};
use crate::transfer::part::{self, Opened, Part, PartError, Saved, Target};
use crate::transfer::receiving::{self, Attempt};
use crate::transfer::{Offer, Phase, Progress, TransferError, TransferId, safe_name};

/// A file that a peer offers. Dropped without a word, it is offered again later; [`reject`](Self::reject) is for good.
#[derive(Debug)]
pub struct IncomingTransfer {
    shared: Arc<Shared>,
    peer: DeviceId,
    slot: Arc<Slot>,
    progress: watch::Sender<Progress>,
}

impl Drop for IncomingTransfer {
    fn drop(&mut self) {
        let mut desk = self.shared.transfers.desk.lock();
        let slot = desk.incoming.remove(&(self.peer, self.slot.offer.id));
        drop(desk);
        // The channel in it is closed with no lock held.
        drop(slot);
    }
}

impl IncomingTransfer {
    /// Who sends it.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// The sender's name for it, made safe: no folders, not hidden, nothing that steers a terminal.
    #[must_use]
    pub fn name(&self) -> String {
        safe_name(&self.slot.offer.name)
    }

    /// Bytes, where the sender knows it. Nothing was allocated for it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.slot.offer.size
    }

    /// Names the transfer, at both ends.
    #[must_use]
    pub fn id(&self) -> TransferId {
        self.slot.offer.id
    }

    /// How far it is, now and whenever that changes.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Receives it into `directory`, under its name or the next free one like it; what an earlier attempt has left
    /// there is gone on with. Returns when the file is whole, verified, on disk and under its name.
    ///
    /// Dropped before its end, what has come stays in a hidden file, and the sender offers the transfer again.
    ///
    /// # Errors
    /// [`Error::Transfer`], or why the client ended.
    pub async fn save_in(self, directory: impl AsRef<Path>) -> Result<Saved, Error> {
        self.save(Target::In(directory.as_ref().into())).await
    }

    /// As [`save_in`](Self::save_in), under exactly this path. Nothing is overwritten.
    ///
    /// # Errors
    /// [`TransferError::Exists`]; as for [`save_in`](Self::save_in).
    pub async fn save_as(self, path: impl Into<PathBuf>) -> Result<Saved, Error> {
        self.save(Target::As(path.into())).await
    }

    /// Refuses it, with a sentence of at most 256 bytes for the sender.
    ///
    /// # Errors
    /// Why the client ended.
    pub async fn reject(self, reason: &str) -> Result<(), Error> {
        let mut channel = self.channel().await?;
        receiving::refuse(&mut channel.writer, false, reason).await;
        Ok(())
    }

    /// The newest channel to the sender, when there is one.
    async fn channel(&self) -> Result<Channel, Error> {
        let waiting = async {
            loop {
                let changed = self.slot.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(channel) = self.slot.channel.lock().take() {
                    return Ok(channel);
                }
                self.shared.state.lock().conversation(self.peer)?;
                changed.await;
            }
        };
        let late = |_| Err(TransferError::SenderAway.into());
        tokio::time::timeout(SENDER_AWAY_MAX, waiting).await.unwrap_or_else(late)
    }

    async fn save(self, target: Target) -> Result<Saved, Error> {
        let span = tracing::debug_span!("transfer", from = ?self.peer, id = ?self.slot.offer.id);
        let saving = async {
            tracing::debug!(size = ?self.slot.offer.size, "a transfer is accepted");
            let saved = self.receive(target).await;
            match &saved {
                Ok(saved) => tracing::debug!(bytes = saved.content.bytes, "a transfer is done"),
                Err(error) => {
                    tracing::debug!(retryable = error.is_retryable(), "a transfer has failed");
                }
            }
            saved
        };
        saving.instrument(span).await
    }

    async fn receive(&self, target: Target) -> Result<Saved, Error> {
        let line = self.shared.transfers.line(self.peer, Way::In);
        let mut part = None;
        loop {
            let mut channel = self.channel().await?;
            // Who waits for a sender that has gone holds up nobody.
            let place = line.acquire().await.map_err(|_| Error::Closed)?;
            if let Some(newer) = self.slot.channel.lock().take() {
                channel = newer;
            }
            let opened = match part.take() {
                Some(part) => Opened::Part(part),
                None => self.open(&target, &mut channel).await?,
            };
            let opened = match opened {
                Opened::Part(part) => part,
                Opened::Saved(saved) => return self.settle(&target, saved, channel).await,
            };
            let Channel { messages, writer } = &mut channel;
            let size = self.slot.offer.size;
            match receiving::attempt(messages, writer, *opened, size, &self.progress).await {
                Attempt::Saved(saved) => return self.settle(&target, saved, channel).await,
                Attempt::Failed(error) => return Err(error.into()),
                Attempt::Broken(kept) => part = kept,
            }
            self.progress.send_modify(|progress| progress.phase = Phase::Waiting);
            tracing::debug!("a transfer is interrupted");
            drop((place, channel));
        }
    }

    /// Opens the part, however long the disk is full or somebody is about to let go of it.
    async fn open(&self, target: &Target, channel: &mut Channel) -> Result<Opened, Error> {
        let mut tries = 0;
        let mut paused = false;
        loop {
            let (target, peer, offer) = (target.clone(), self.peer, self.slot.offer.clone());
            let opening = tokio::task::spawn_blocking(move || Part::open(&target, peer, &offer));
            let error = match opening.await.map_err(|_| Error::Closed)? {
                Ok(opened) => {
                    if paused {
                        self.say(channel, &ToSender::Resumed).await;
                    }
                    return Ok(opened);
                }
                Err(error) => error,
            };
            if matches!(error, PartError::Locked) && tries < LOCKED_TRIES_MAX {
                tries += 1;
                tokio::time::sleep(LOCKED_RETRY).await;
            } else if error.is_full() {
                self.shared.state.lock().conversation(self.peer)?;
                if !paused {
                    paused = true;
                    tracing::warn!("the disk is full: a transfer is paused");
                    let phase = Phase::Paused(error.to_string());
                    self.progress.send_modify(|progress| progress.phase = phase);
                    self.say(channel, &ToSender::Paused { why: "its disk is full".into() }).await;
                }
                tokio::time::sleep(FULL_RETRY).await;
            } else {
                receiving::refuse_for(&mut channel.writer, &error).await;
                return Err(receiving::failure(error).into());
            }
        }
    }

    async fn say(&self, channel: &mut Channel, message: &ToSender) {
        let bytes = message.encode();
        // A broken channel is found out when the transfer begins.
        let _said = tokio::io::AsyncWriteExt::write_all(&mut channel.writer, &bytes).await;
    }

    /// The file is there: remembers it, and tells the sender.
    async fn settle(
        &self,
        target: &Target,
        saved: Saved,
        mut channel: Channel,
    ) -> Result<Saved, Error> {
        let (peer, id, content) = (self.peer, self.slot.offer.id, saved.content.clone());
        let sidecar = part::sidecar_path(target, peer, &self.slot.offer);
        let remembered = ask_ledger(&self.shared, {
            let sidecar = sidecar.clone();
            move |ledger, now_s| ledger.finish(peer, id, &content, &sidecar, now_s)
        });
        // Where it cannot be remembered the sidecar stays and does.
        if remembered.await.is_ok() {
            let forgetting = tokio::task::spawn_blocking(move || part::forget(&sidecar));
            forgetting.await.map_err(|_| Error::Closed)?;
        }
        let content = &saved.content;
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Done;
            (progress.bytes, progress.durable) = (content.bytes, content.bytes);
        });
        let done = ToSender::Done { size: content.bytes, sha256: content.sha256 };
        receiving::say_last(&mut channel.writer, &done).await;
        Ok(saved)
    }
}

/// The next offer for the application.
pub(in crate::client) async fn accept(shared: &Arc<Shared>) -> Result<IncomingTransfer, Error> {
    loop {
        let offered = shared.transfers.offered.notified();
        tokio::pin!(offered);
        offered.as_mut().enable();
        let next = shared.transfers.desk.lock().waiting.pop_front();
        if let Some(next) = next {
            // One whose sender has gone comes back with its sender.
            if !next.is_dead() {
                return Ok(next);
            }
            continue;
        }
        if let Some(ending) = &shared.state.lock().ended {
            return Err(ending.error());
        }
        offered.await;
    }
}

impl IncomingTransfer {
    fn is_dead(&self) -> bool {
        let channel = self.slot.channel.lock();
        channel.as_ref().is_none_or(|channel| channel.messages.stream().is_dead())
    }
}

/// Takes the channels that peers open for transfers, until the client ends.
pub(in crate::client) async fn serve(shared: Arc<Shared>) {
    loop {
        let incoming = shared.incoming.notified();
        tokio::pin!(incoming);
        incoming.as_mut().enable();
        let (next, ended) = {
            let mut state = shared.state.lock();
            (state.accept_transfer(), state.ended.is_some())
        };
        if ended {
            // They hold what holds them.
            let waiting = std::mem::take(&mut shared.transfers.desk.lock().waiting);
            let slots: Vec<_> = shared.transfers.desk.lock().incoming.values().cloned().collect();
            slots.iter().for_each(|slot| slot.changed.notify_waiters());
            shared.transfers.offered.notify_waiters();
            drop((waiting, slots));
            return;
        }
        let Some(next) = next else {
            incoming.await;
            continue;
        };
        let of_task = shared.clone();
        // As many at once as a peer may have streams open.
        tokio::spawn(async move {
            let reader = StreamReader::accepted(of_task.clone(), next);
            // A peer that says nothing, or nonsense, loses its channel.
            let _silent = tokio::time::timeout(OFFER_PATIENCE, offered(&of_task, reader)).await;
        });
    }
}

/// Hears the offer of a new channel and brings it to who waits for it.
async fn offered(shared: &Arc<Shared>, mut reader: StreamReader) -> Option<()> {
    let peer = reader.peer();
    let writer = reader.reply().await.ok()?;
    let mut channel = Channel { messages: Messages::new(reader), writer };
    let ToReceiver::Offer(offer) = channel.messages.next().await.ok()? else { return None };
    tracing::debug!(?peer, id = ?offer.id, size = ?offer.size, "a transfer is offered");
    let id = offer.id;
    let finished = ask_ledger(shared, move |ledger, _| Ok(ledger.finished(peer, id)));
    if let Some(done) = finished.await.ok()? {
        let (size, sha256) = (done.bytes, done.sha256);
        receiving::say_last(&mut channel.writer, &ToSender::Done { size, sha256 }).await;
        return None;
    }
    let refused = arrange(shared, (peer, id), offer, channel);
    if let Some(mut channel) = refused {
        let why = "another transfer has this ID";
        receiving::refuse(&mut channel.writer, false, why).await;
    }
    shared.transfers.offered.notify_waiters();
    None
}

/// Puts a channel where its transfer is, or waits with it for the application. Returns one that contradicts the
/// transfer it names.
fn arrange(shared: &Arc<Shared>, key: Key, offer: Offer, channel: Channel) -> Option<Channel> {
    let hub = &shared.transfers;
    let mut desk = hub.desk.lock();
    let (mut before, mut dead) = (None, Vec::new());
    if let Some(slot) = desk.incoming.get(&key).cloned() {
        if slot.offer != offer {
            return Some(channel);
        }
        before = slot.channel.lock().replace(channel);
        slot.changed.notify_waiters();
    } else {
        let of_peer = desk.waiting.iter().filter(|waiting| waiting.peer == key.0).count();
        if of_peer >= OFFERS_WAITING_MAX {
            let waiting = std::mem::take(&mut desk.waiting);
            let gone = |waiting: &IncomingTransfer| waiting.peer == key.0 && waiting.is_dead();
            let (gone, alive): (Vec<_>, Vec<_>) = waiting.into_iter().partition(gone);
            (dead, desk.waiting) = (gone, alive.into());
        }
        if of_peer - dead.len() < OFFERS_WAITING_MAX {
            let (progress, _) = watch::channel(Progress::new(offer.size));
            let slot = Arc::new(Slot::new(offer, channel));
            desk.incoming.insert(key, slot.clone());
            let shared = shared.clone();
            desk.waiting.push_back(IncomingTransfer { shared, peer: key.0, slot, progress });
        } else {
            // It comes back by itself.
            before = Some(channel);
        }
    }
    drop(desk);
    // What is dropped here takes locks of its own.
    drop((before, dead));
    None
}
