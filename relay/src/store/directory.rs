//! The directory of the store: made private, checked, and locked so that one relay uses it at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;

/// LMDB's data file.
pub(super) const DATA_FILE: &str = "data.mdb";
/// Held exclusively as long as the store is open.
const LOCK_FILE: &str = "hushwired.lock";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A directory that is ours alone until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Drop for Directory {
    /// A process that was forked but has not yet called exec shares the lock: closing is not enough.
    /// When this process is killed, the system releases it.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the store's lock could not be released");
        }
    }
}

impl Directory {
    /// Makes the directory if there is none, checks owner and modes, and locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
            .map_err(|error| system(path, &error))?;
        check(path, DIRECTORY_MODE)?;
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&lock_path)
            .map_err(|error| system(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(system(path, &error)),
        }
        let directory = Self { path: path.to_owned(), lock };
        if directory.has_data()? {
            check(&directory.data(), FILE_MODE)?;
        }
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join(DATA_FILE)
    }

    /// Whether there is a data file with something in it.
    pub(super) fn has_data(&self) -> Result<bool, StoreError> {
        match fs::symlink_metadata(self.data()) {
            Ok(metadata) => Ok(!metadata.is_file() || metadata.len() > 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(system(&self.data(), &error)),
        }
    }
}

/// A directory (mode 700) or regular file (mode 600), owned by this user and closed to all others.
fn check(path: &Path, remedy: u32) -> Result<(), StoreError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| system(path, &error))?;
    let (right, expected) = if remedy == DIRECTORY_MODE {
        (fs::metadata(path).is_ok_and(|target| target.is_dir()), "directory")
    } else {
        (metadata.is_file(), "regular file")
    };
    if !right {
        return Err(StoreError::Kind { path: path.to_owned(), expected });
    }
    // A symbolic link to the directory is fine; what counts is where it leads.
    let metadata = fs::metadata(path).map_err(|error| system(path, &error))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(StoreError::Owner { path: path.to_owned(), owner: metadata.uid(), user });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Mode { path: path.to_owned(), mode, remedy });
    }
    Ok(())
}

/// A fault of the system as a sentence with a remedy.
pub(super) fn system(path: &Path, error: &io::Error) -> StoreError {
    use io::ErrorKind as Kind;
    let (path, kind) = (path.to_owned(), error.kind());
    // LMDB reports a write that was cut short by a full disk as EIO.
    let cut_short = error.raw_os_error() == Some(EIO) && disk_is_full(&path);
    if cut_short || matches!(kind, Kind::StorageFull | Kind::QuotaExceeded) {
        StoreError::DiskFull { path }
    } else if kind == Kind::ReadOnlyFilesystem {
        StoreError::ReadOnly { path }
    } else if kind == Kind::PermissionDenied {
        StoreError::Denied { path }
    } else if matches!(kind, Kind::NotADirectory | Kind::AlreadyExists) {
        StoreError::Kind { path, expected: "directory" }
    } else {
        StoreError::System { path, what: error.to_string() }
    }
}

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
/// With less than this left, a short write is taken for a full disk.
const DISK_FULL_BYTES: u64 = 1024 * 1024;

fn disk_is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < DISK_FULL_BYTES)
}
