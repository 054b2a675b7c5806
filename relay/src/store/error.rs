//! What can go wrong with the store. Every sentence says what to do.

use std::path::PathBuf;

use super::codec::Table;

/// A fault of the store or of what it stands on. None is the fault of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the lock file.
    #[error(
        "{} is in use by another relay: stop that one, or give this one its own [relay] data_dir",
        .path.display()
    )]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// Not ours.
    #[error(
        "{} belongs to user {owner}, the relay runs as user {user}: run it as user {owner}, or `chown -R {user} {}`",
        .path.display(), .path.display()
    )]
    Owner {
        /// The directory or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Others can reach it.
    #[error(
        "{} can be opened by other users (mode {mode:03o}): `chmod {remedy:03o} {}`",
        .path.display(), .path.display()
    )]
    Mode {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits it should have.
        remedy: u32,
    },
    /// A directory where a file should be, or the reverse, or a link.
    #[error("{} is not a {expected}: move it away, or choose another [relay] data_dir", .path.display())]
    Kind {
        /// What was found.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// The file is not an LMDB file, or is one of another program.
    #[error(
        "{} is not a store of Hushwire ({what}): move it away, or choose another [relay] data_dir",
        .path.display()
    )]
    Foreign {
        /// The data file.
        path: PathBuf,
        /// What gave it away.
        what: &'static str,
    },
    /// The structure of the file is damaged.
    #[error(
        "{} is damaged ({what}): stop the relay, keep a copy of the file and restore the latest backup",
        .path.display()
    )]
    Corrupt {
        /// The data file.
        path: PathBuf,
        /// The first damage that was found.
        what: String,
    },
    /// One value is damaged; the others are not concerned.
    #[error(
        "a record in the table `{}` is damaged: restore the latest backup, or revoke and enrol the device again",
        .table.name()
    )]
    CorruptValue {
        /// The table of the damaged value.
        table: Table,
    },
    /// Written by a later version.
    #[error(
        "{} was written by a newer hushwired (schema {found}, this one knows {known}): install that version again",
        .path.display()
    )]
    Newer {
        /// The data file.
        path: PathBuf,
        /// The schema in the file.
        found: u32,
        /// The latest schema this program knows.
        known: u32,
    },
    /// The map has reached its configured size.
    #[error(
        "the store has reached its limit of {bytes_max} bytes: raise [store] map_bytes_max and restart, or revoke devices; connections go on"
    )]
    MapFull {
        /// The configured maximum, in bytes.
        bytes_max: usize,
    },
    /// The file system has no room left.
    #[error("the disk below {} is full: free some space; nothing needs a restart", .path.display())]
    DiskFull {
        /// The store's directory.
        path: PathBuf,
    },
    /// The file system does not take writes.
    #[error(
        "{} is on a read-only file system: remount it writable, then restart the relay",
        .path.display()
    )]
    ReadOnly {
        /// The store's directory.
        path: PathBuf,
    },
    /// Permission was refused by the system.
    #[error(
        "the system does not let this user open {}: check its owner, mode and the sandbox of the service",
        .path.display()
    )]
    Denied {
        /// The file or directory.
        path: PathBuf,
    },
    /// LMDB gave up after a failed write of its root.
    #[error(
        "a write to {} failed half way: check the disk (`dmesg`), then restart the relay; answered writes are safe",
        .path.display()
    )]
    Fatal {
        /// The data file.
        path: PathBuf,
    },
    /// Another fault of the system.
    #[error("{}: {what}: check the disk and the system log", .path.display())]
    System {
        /// The store's directory.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
    /// A bad pair of sizes in the options.
    #[error("[store] map_bytes_start and map_bytes_max: {0}")]
    Options(&'static str),
    /// The store is closing, or its thread is gone.
    #[error("the store is closed: the relay is stopping")]
    Closed,
}

/// Where a failed operation ended inside a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    /// LMDB or the system: the transaction is over.
    Lmdb(heed::Error),
    /// A value does not decode; nothing was written for this query.
    Value(Table),
    /// Found while opening.
    Store(StoreError),
}

impl From<heed::Error> for Fault {
    fn from(error: heed::Error) -> Self {
        Self::Lmdb(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whether LMDB found its own structure damaged.
pub(super) fn is_structural(error: &heed::Error) -> bool {
    use heed::MdbError as E;
    matches!(error, heed::Error::Mdb(E::Corrupted | E::PageNotFound | E::CursorFull | E::BadTxn))
}

/// Whether the map has to grow.
pub(super) fn is_map_full(error: &heed::Error) -> bool {
    matches!(error, heed::Error::Mdb(heed::MdbError::MapFull))
}
