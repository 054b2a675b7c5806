//! Transfers as applications use them: sent from here, accepted here.

mod incoming;
mod outgoing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use hushwire_wire::id::DeviceId;
use tokio::sync::{Notify, Semaphore};

pub use incoming::IncomingTransfer;
pub use outgoing::{FileOptions, Transfer};

use super::Shared;
use super::clock::moment;
use super::lock::Lock;
use super::stream::{StreamReader, StreamWriter};
use crate::error::Error;
use crate::transfer::ledger::Ledger;
use crate::transfer::limits::TRANSFERS_ACTIVE_MAX;
use crate::transfer::message::Messages;
use crate::transfer::{Offer, TransferError, TransferId};

/// One way to the other end, as long as it holds.
#[derive(Debug)]
struct Channel {
    messages: Messages<StreamReader>,
    writer: StreamWriter,
}

/// Where the newest channel of an incoming transfer is put.
#[derive(Debug)]
struct Slot {
    offer: Offer,
    channel: Lock<Option<Channel>>,
    changed: Notify,
}

impl Slot {
    fn new(offer: Offer, channel: Channel) -> Self {
        Self { offer, channel: Lock::new(Some(channel)), changed: Notify::new() }
    }
}

type Key = (DeviceId, TransferId);

/// What all transfers of a client share.
#[derive(Debug)]
pub(super) struct Hub {
    ledger_path: PathBuf,
    /// Opened with the first transfer.
    ledger: tokio::sync::Mutex<Option<Ledger>>,
    desk: Lock<Desk>,
    offered: Notify,
}

#[derive(Debug, Default)]
struct Desk {
    /// Offers that the application has not accepted yet.
    waiting: VecDeque<IncomingTransfer>,
    /// Transfers that are waiting or being received.
    incoming: BTreeMap<Key, Arc<Slot>>,
    /// IDs that are being sent at present.
    outgoing: BTreeSet<TransferId>,
    /// IDs whose outcome the application has taken; the ledger, once it is asked again, forgets them too.
    over: Vec<TransferId>,
    /// Lines of those to and from each peer.
    lines: BTreeMap<(DeviceId, Way), Arc<Semaphore>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    In,
    Out,
}

impl Hub {
    pub(super) fn new(keystore: &std::path::Path) -> Self {
        Self {
            ledger_path: keystore.join("transfers"),
            ledger: tokio::sync::Mutex::new(None),
            desk: Lock::new(Desk::default()),
            offered: Notify::new(),
        }
    }

    fn line(&self, peer: DeviceId, way: Way) -> Arc<Semaphore> {
        let mut desk = self.desk.lock();
        let line = desk.lines.entry((peer, way));
        line.or_insert_with(|| Arc::new(Semaphore::new(TRANSFERS_ACTIVE_MAX))).clone()
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> Error + use<> {
        let path = self.ledger_path.clone();
        move |source| TransferError::State { path: path.clone(), source }.into()
    }
}

/// Asks the ledger something, on a thread that may wait for the disk.
async fn ask_ledger<T: Send + 'static>(
    shared: &Arc<Shared>,
    ask: impl FnOnce(&mut Ledger, u64) -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let (of_task, failed) = (shared.clone(), shared.transfers.failed());
    let asked = tokio::task::spawn_blocking(move || {
        let hub = &of_task.transfers;
        let now_s = moment().unix_ns / 1_000_000_000;
        let mut ledger = hub.ledger.blocking_lock();
        if ledger.is_none() {
            *ledger = Some(Ledger::open(&hub.ledger_path, now_s)?);
        }
        let ledger = ledger.as_mut().expect("opened just now");
        for id in std::mem::take(&mut hub.desk.lock().over) {
            ledger.end(id)?;
        }
        ask(ledger, now_s)
    });
    asked.await.map_err(|_| Error::Closed)?.map_err(failed)
}

pub(super) use incoming::{accept, serve};
pub(super) use outgoing::{send_file, send_reader};
