//! Files of the keystore: private, checked, written atomically.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::PASSPHRASE;
use super::error::KeystoreError;
use super::sealing::{Opened, SEALED_BYTES_MAX, Seal, SealError};
use crate::exclusive::Exclusive;

/// The longest file that is read.
const FILE_BYTES_MAX: usize = 20 * 1024;
const _: () = assert!(SEALED_BYTES_MAX <= FILE_BYTES_MAX);
/// The most names a directory is listed for.
const NAMES_MAX: usize = 8 * 1024;
const TEMPORARY: &str = ".tmp";
pub(super) const LOCK: &str = "lock";

/// The directory, who may own it, how files are changed in it, and whether they are sealed. Owner and changes are
/// arguments for the tests.
pub(super) struct Disk {
    root: PathBuf,
    user: u32,
    changes: Box<dyn Changes>,
    seal: Seal,
    /// The lock was let go of: the files may be another process's by now.
    closed: bool,
}

/// The steps of changing a file, after each of which the process may end.
pub(super) trait Changes: Send + Sync {
    /// Makes a file that was not there.
    fn create(&self, path: &Path) -> io::Result<File>;

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl Changes for fn(&Path) -> io::Result<File> {
    fn create(&self, path: &Path) -> io::Result<File> {
        self(path)
    }
}

impl Disk {
    /// The real one.
    pub(super) fn system(root: &Path) -> Self {
        Self::new(root, rustix::process::geteuid().as_raw(), create_private)
    }

    pub(super) fn new(root: &Path, user: u32, create: fn(&Path) -> io::Result<File>) -> Self {
        Self::with(root, user, Box::new(create))
    }

    pub(super) fn with(root: &Path, user: u32, changes: Box<dyn Changes>) -> Self {
        Self { root: root.into(), user, changes, seal: Seal::PLAIN, closed: false }
    }

    /// How files are written and read from now on.
    pub(super) fn set_seal(&mut self, seal: Seal) {
        self.seal = seal;
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &Path) -> PathBuf {
        if name.as_os_str().is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    /// Makes a directory where it is missing, and checks it.
    pub(super) fn make_directory(&self, name: &Path) -> Result<(), KeystoreError> {
        let path = self.path(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .and_then(|()| sync_directory(&path))
            .and_then(|()| path.parent().map_or(Ok(()), sync_directory))
            .map_err(|error| classify(error, &path, true))?;
        self.check_directory(name)
    }

    pub(super) fn check_directory(&self, name: &Path) -> Result<(), KeystoreError> {
        let path = self.path(name);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeystoreError::Missing { path });
            }
            Err(error) => return Err(classify(error, &path, true)),
        };
        if metadata.is_dir() {
            self.check(&metadata, path)
        } else {
            Err(KeystoreError::Corrupt { path })
        }
    }

    fn check(&self, metadata: &fs::Metadata, path: PathBuf) -> Result<(), KeystoreError> {
        check(metadata, path, self.user)
    }

    /// Takes the lock, which ends with what is returned.
    pub(super) fn lock(&self) -> Result<Exclusive, KeystoreError> {
        let path = self.path(Path::new(LOCK));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
            .map_err(|error| classify(error, &path, false))?;
        let metadata = file.metadata().map_err(|error| classify(error, &path, false))?;
        self.check(&metadata, path.clone())?;
        Exclusive::take(file).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => KeystoreError::Locked { path: self.root.clone() },
            error => classify(error.into(), &path, false),
        })
    }

    /// A file's contents, opened where they are sealed; `None` where there is none.
    pub(super) fn read(&self, name: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        Ok(self.read_sealed(name)?.map(Opened::bytes))
    }

    /// The same, with whether it is as it would be written now.
    pub(super) fn read_sealed(&self, name: &Path) -> Result<Option<Opened>, KeystoreError> {
        let Some(bytes) = self.read_raw(name)? else { return Ok(None) };
        let path = self.path(name);
        match self.seal.open(name, bytes) {
            Ok(opened) => Ok(Some(opened)),
            Err(SealError::Record(error)) => Err(error.at(&path)),
            Err(SealError::Orphan) => {
                Err(KeystoreError::Corrupt { path: self.path(Path::new(PASSPHRASE)) })
            }
        }
    }

    /// A file's bytes; `None` where there is none. The checks look at the open file, so nobody can exchange it in
    /// between; a fifo or device is never read.
    pub(super) fn read_raw(
        &self,
        name: &Path,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        self.read_raw_up_to(name, FILE_BYTES_MAX)
    }

    /// The same, for a file of at most `bytes_max` bytes.
    pub(super) fn read_raw_up_to(
        &self,
        name: &Path,
        bytes_max: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        let path = self.path(name);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(classify(error, &path, false)),
        };
        let metadata = file.metadata().map_err(|error| classify(error, &path, false))?;
        if !metadata.is_file() {
            return Err(KeystoreError::Corrupt { path });
        }
        self.check(&metadata, path.clone())?;
        // Allocated once: growing would leave copies behind that nobody wipes.
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(bytes_max);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.max(FILE_BYTES_MAX) + 1));
        file.take(bytes_max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| classify(error, &path, false))?;
        if bytes.len() > bytes_max {
            return Err(KeystoreError::Corrupt { path });
        }
        Ok(Some(bytes))
    }

    /// Whether there is anything under this name.
    pub(super) fn exists(&self, name: &Path) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Writes a file, sealed where there is a passphrase, beside and renames it over the old one; both are on disk when
    /// this returns.
    pub(super) fn write(&self, name: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
        self.write_raw(name, &self.seal.seal(name, bytes))
    }

    /// From now on nothing is changed any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    fn check_open(&self) -> Result<(), KeystoreError> {
        if self.closed { Err(KeystoreError::Locked { path: self.root.clone() }) } else { Ok(()) }
    }

    /// Writes a file as it is, in the same way.
    pub(super) fn write_raw(&self, name: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
        self.check_open()?;
        let path = self.path(name);
        let (Some(directory), Some(file_name)) = (path.parent(), path.file_name()) else {
            unreachable!("every file of a keystore has a name and a directory");
        };
        let temporary = directory.join(format!(".{}{TEMPORARY}", file_name.display()));
        let written = self.replace(&temporary, bytes, &path);
        written.and_then(|()| sync_directory(directory)).map_err(|error| {
            // What cannot be removed now is removed when the keystore is next opened.
            let _ = self.changes.remove(&temporary);
            classify(error, &path, false)
        })
    }

    fn replace(&self, temporary: &Path, bytes: &[u8], path: &Path) -> io::Result<()> {
        match self.changes.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = self.changes.create(temporary)?;
        self.changes.write(&mut file, bytes)?;
        self.changes.sync(&file)?;
        self.changes.rename(temporary, path)
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &Path) -> Result<(), KeystoreError> {
        self.check_open()?;
        let path = self.path(name);
        let removed = self.changes.remove(&path);
        removed
            .and_then(|()| path.parent().map_or(Ok(()), sync_directory))
            .map_err(|error| classify(error, &path, false))
    }

    /// Removes what a crash left half written.
    pub(super) fn remove_temporaries(&self, name: &Path) -> Result<(), KeystoreError> {
        for file in self.names(name)? {
            if file.starts_with('.') && file.ends_with(TEMPORARY) {
                self.remove(&name.join(file))?;
            }
        }
        Ok(())
    }

    /// The names in a directory that are UTF-8, as all of ours are.
    pub(super) fn names(&self, name: &Path) -> Result<Vec<String>, KeystoreError> {
        let path = self.path(name);
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&path)?.take(NAMES_MAX) {
                names.extend(entry?.file_name().into_string().ok());
            }
            Ok(names)
        };
        list().map_err(|error| classify(error, &path, true))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({})", self.root.display())
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

/// The rules for owner and mode, which hold for root too.
pub(crate) fn check(
    metadata: &fs::Metadata,
    path: PathBuf,
    user: u32,
) -> Result<(), KeystoreError> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
    let directory = metadata.is_dir();
    let needed = if directory { 0o700 } else { 0o600 };
    if owner != user {
        Err(KeystoreError::ForeignOwner { path, owner, user })
    } else if mode & 0o077 != 0 {
        Err(KeystoreError::Exposed { path, mode, directory })
    } else if mode & needed != needed {
        Err(KeystoreError::Denied { path, directory })
    } else {
        Ok(())
    }
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

/// What an error of the system means for who uses the keystore.
pub(crate) fn classify(source: io::Error, path: &Path, directory: bool) -> KeystoreError {
    let path = path.to_path_buf();
    let kind = source.kind();
    if kind == io::ErrorKind::PermissionDenied {
        KeystoreError::Denied { path, directory }
    } else if kind == io::ErrorKind::ReadOnlyFilesystem {
        KeystoreError::ReadOnly { path }
    } else if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded {
        KeystoreError::Full { path }
    } else if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        // A symbolic link where a file should be: somebody put it there.
        KeystoreError::Corrupt { path }
    } else {
        KeystoreError::Io { path, source }
    }
}
