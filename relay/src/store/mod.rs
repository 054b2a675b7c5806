//! What the relay keeps on disk: accounts, devices, grants, invites and its own keys. Nothing about
//! messages, sessions or content, ever.
//!
//! LMDB is touched by this module's threads only, because a page fault must not stall a shard: one
//! writer with group commit, and two readers, so that no read waits for an fsync. Shards
//! [`submit`](Client::submit) a [`Query`] with a ticket and are handed the [`Answer`]; nothing here
//! blocks them. A change that was answered with anything but [`Answer::Failed`] survives `kill -9`.
//!
//! When the disk or the map is full, the file system read-only or a value damaged, the query that
//! met it is answered with a [`StoreError`] whose sentence says what to do, and reads go on.
//!
//! | file | what |
//! |---|---|
//! | `query`, `error`, `name` | what can be asked and answered |
//! | `inbox` | how it gets to the threads and back |
//! | `writer`, `change` | group commit, growth; what each change does |
//! | `reader`, `lookup` | what each read does |
//! | `tables`, `codec` | LMDB, typed; the layouts of records |
//! | `directory`, `verify` | owner, mode and lock of the directory; the check of the file at start |

mod change;
mod codec;
mod counters;
mod directory;
mod error;
mod inbox;
mod lookup;
mod name;
mod query;
mod reader;
mod tables;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use hushwire_wire::id::RelayId;
use hushwire_wire::limits;

use crate::config::Config;

use self::counters::Counters;
use self::directory::Directory;
use self::error::Fault;
use self::inbox::Inboxes;
use self::tables::Tables;

pub use self::change::{INVITES_MAX, REVOKED_PER_ACCOUNT_MAX, SEEN_BATCH_MAX};
pub use self::codec::Table;
pub use self::counters::StoreCounters;
pub use self::error::StoreError;
pub use self::inbox::{Answers, CHANGES_MAX, Client, READERS, READS_MAX, StoreBusy};
pub use self::lookup::DEVICES_PAGE_MAX;
pub use self::name::{Name, NameError};
pub use self::query::{Answer, Day, DeviceEntry, Query, Refusal, Row, Stats, Status};
pub use self::writer::BATCH_CHANGES_MAX;

/// The smallest map, in bytes.
pub const MAP_BYTES_MIN: usize = 1024 * 1024;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Size of the map at first, in bytes; rounded up to pages. Default 16 MiB.
    pub map_bytes_start: usize,
    /// Size it may grow to, in bytes; rounded up to pages. Default 4 GiB: address space, not memory.
    pub map_bytes_max: usize,
    /// Active devices of one account. Default 64.
    pub devices_per_account: usize,
    /// Grants given by all devices of one account together. Default 1 024.
    pub grants_per_account: usize,
    /// Called by the writer before each commit: tests hold it there.
    #[cfg(test)]
    pub(crate) before_commit: BeforeCommit,
}

#[cfg(test)]
#[derive(Clone)]
pub(crate) struct BeforeCommit(pub(crate) Arc<dyn Fn() + Send + Sync>);

#[cfg(test)]
impl Default for BeforeCommit {
    fn default() -> Self {
        Self(Arc::new(|| {}))
    }
}

#[cfg(test)]
impl std::fmt::Debug for BeforeCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeCommit")
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            map_bytes_start: 16 * 1024 * 1024,
            map_bytes_max: 4 * 1024 * 1024 * 1024,
            devices_per_account: limits::DEVICES_PER_ACCOUNT,
            grants_per_account: limits::GRANTS_PER_ACCOUNT,
            #[cfg(test)]
            before_commit: BeforeCommit::default(),
        }
    }
}

impl From<&Config> for StoreOptions {
    fn from(config: &Config) -> Self {
        Self {
            map_bytes_start: config.store.map_bytes_start,
            map_bytes_max: config.store.map_bytes_max,
            devices_per_account: config.limits.devices_per_account,
            grants_per_account: config.limits.grants_per_account,
            #[cfg(test)]
            before_commit: BeforeCommit::default(),
        }
    }
}

/// The options, checked.
struct Limits {
    map_bytes_start: usize,
    map_bytes_max: usize,
    devices_per_account: usize,
    grants_per_account: usize,
}

impl Limits {
    fn new(options: &StoreOptions) -> Result<Self, StoreError> {
        let page = rustix::param::page_size();
        let (start, max) = (options.map_bytes_start, options.map_bytes_max);
        let pages = |bytes: usize| {
            bytes.checked_next_multiple_of(page).ok_or(StoreError::Options("too large"))
        };
        if start < MAP_BYTES_MIN {
            return Err(StoreError::Options("the start is at least 1 MiB"));
        }
        if start > max {
            return Err(StoreError::Options("the start is larger than the maximum"));
        }
        let counts = [options.devices_per_account, options.grants_per_account];
        if counts.iter().any(|&count| count == 0 || count > usize::from(u16::MAX)) {
            return Err(StoreError::Options("limits of accounts lie between 1 and 65 535"));
        }
        Ok(Self {
            map_bytes_start: pages(start)?,
            map_bytes_max: pages(max)?,
            devices_per_account: options.devices_per_account,
            grants_per_account: options.grants_per_account,
        })
    }

    /// Nothing is added above this: the rest is kept for revocations and for the copies that LMDB
    /// makes of changed pages.
    const fn add_bytes_max(&self) -> usize {
        let reserve = self.map_bytes_max / 4;
        self.map_bytes_max - if reserve < RESERVE_BYTES_MAX { reserve } else { RESERVE_BYTES_MAX }
    }
}

/// The most that is kept for revocations, in bytes.
const RESERVE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What was drawn when the store was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// The schema of the tables.
    pub schema: u32,
    /// The relay ID, carried in invites.
    pub relay_id: RelayId,
    /// SipHash key that gives each device its home shard. A secret: IDs could be ground against it.
    pub home_key: [u8; 16],
    /// The odd constant that steers QUIC connection IDs. A secret.
    pub steering: u32,
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// What the threads of a store share.
struct Shared {
    directory: Directory,
    limits: Limits,
    counters: Arc<Counters>,
    /// Readers hold it for one transaction, the writer for one batch; the writer takes it alone to
    /// replace the map. `None` after that failed, and at the end.
    tables: RwLock<Option<Tables>>,
    #[cfg(test)]
    before_commit: Arc<dyn Fn() + Send + Sync>,
}

impl Shared {
    fn tables(&self) -> RwLockReadGuard<'_, Option<Tables>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_alone(&self) -> RwLockWriteGuard<'_, Option<Tables>> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a fault and turns it into an answer.
    fn failed(&self, fault: Fault) -> Answer {
        self.counters.failure();
        Answer::Failed(match fault {
            Fault::Lmdb(error) => tables::blame(&self.directory, error),
            Fault::Value(table) => {
                self.counters.corrupt_value();
                tracing::error!(table = table.name(), "a record is damaged");
                StoreError::CorruptValue { table }
            }
            Fault::Store(error) => error,
        })
    }
}

/// An open store. Dropping it does what [`close`](Self::close) does.
pub struct Store {
    shared: Arc<Shared>,
    inboxes: Inboxes,
    threads: Vec<JoinHandle<()>>,
    meta: Meta,
}

impl Store {
    /// Opens the store in the directory `path`, making both if there is none.
    ///
    /// `random` fills a slice with random bytes; it is called only for a new store. Reads the whole
    /// file once to check it (about 1 s a GB).
    ///
    /// # Errors
    /// A [`StoreError`] for the operator: in use, foreign owner or open mode, not a store, damaged,
    /// written by a newer version, disk full or read-only.
    pub fn open(
        path: impl AsRef<Path>,
        options: StoreOptions,
        mut random: impl FnMut(&mut [u8]),
    ) -> Result<Self, StoreError> {
        let limits = Limits::new(&options)?;
        let directory = Directory::claim(path.as_ref())?;
        let (tables, meta) = Tables::open_checked(&directory, limits.map_bytes_start, &mut random)?;
        let counters = Arc::<Counters>::default();
        let shared = Arc::new(Shared {
            directory,
            limits,
            counters: Arc::clone(&counters),
            tables: RwLock::new(Some(tables)),
            #[cfg(test)]
            before_commit: options.before_commit.0,
        });
        let (writer, writer_inbox) = sync_channel(CHANGES_MAX);
        let (first, first_inbox) = sync_channel(READS_MAX);
        let (last, last_inbox) = sync_channel(READS_MAX);
        let mut store = Self {
            inboxes: Inboxes::new(writer, [first, last], counters),
            threads: Vec::with_capacity(1 + READERS),
            shared,
            meta,
        };
        store.spawn("store-writer", move |shared| writer::run(&shared, &writer_inbox))?;
        store.spawn("store-reader-0", move |shared| reader::run(&shared, &first_inbox))?;
        store.spawn("store-reader-1", move |shared| reader::run(&shared, &last_inbox))?;
        Ok(store)
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce(Arc<Shared>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(shared));
        self.threads
            .push(thread.map_err(|error| directory::system(self.shared.directory.path(), &error))?);
        Ok(())
    }

    /// What was drawn when the store was made.
    #[must_use]
    pub fn meta(&self) -> Meta {
        self.meta.clone()
    }

    /// An end for one shard; its answers go to `answers`.
    #[must_use]
    pub fn client(&self, answers: Arc<dyn Answers>) -> Client {
        Client::new(self.inboxes.clone(), answers)
    }

    /// Asks and waits. For the control thread and tests; a shard must not.
    #[must_use]
    pub fn call(&self, query: Query) -> Answer {
        self.inboxes.call(query)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> StoreCounters {
        self.shared.counters.snapshot()
    }

    /// Does and answers what was accepted so far, ends the threads and closes the file. Later
    /// queries are [`StoreBusy`].
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.inboxes.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
        *self.shared.tables_alone() = None;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("meta", &self.meta).finish_non_exhaustive()
    }
}
