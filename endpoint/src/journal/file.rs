//! The file that keeps entries: opened, added to, looked at.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::codec::{Encode, Stored};
use super::compaction;
use super::entry::Entry;
use super::error::{JournalError, NewerPart};
use super::index::Index;
use super::limits::{
    BATCH_BYTES_MAX, COMPACT_BYTES_MIN, JOURNAL_BYTES_MAX, QUICK_BYTES_MAX, VIEWS_MAX,
};
use super::logs::Logs;
use super::medium::{Medium, System};
use super::reading::{End, Place, ReadError, open_header, replay};
use super::record::{FileKey, HeaderError, sealed_len};
use crate::exclusive::Exclusive;
use crate::keystore::{KeystoreError, disk};
use crate::suite::keys::StorageKey;
use crate::suite::random::OsRandom;

/// What an entry survives once [`Journal::append`] has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, not of the machine: it is with the operating system.
    Process,
    /// The end of the machine too: it is on the disk (fdatasync).
    #[default]
    Disk,
}

/// Sizes, as arguments for the tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) compact_bytes_min: u64,
    pub(super) journal_bytes_max: u64,
    pub(super) batch_bytes_max: usize,
}

impl Sizes {
    const SYSTEM: Self = Self {
        compact_bytes_min: COMPACT_BYTES_MIN,
        journal_bytes_max: JOURNAL_BYTES_MAX,
        batch_bytes_max: BATCH_BYTES_MAX,
    };
}

/// The open file of a device's journal. One process may have it open at a time; the lock of the keystore sees to that.
/// Every call blocks on the disk. In memory are the numbers and lengths of what lives, and no content.
pub struct Journal {
    pub(super) medium: Box<dyn Medium>,
    pub(super) sizes: Sizes,
    pub(super) path: PathBuf,
    pub(super) storage_key: StorageKey,
    pub(super) durability: Durability,
    pub(super) file: Exclusive,
    pub(super) key: FileKey,
    pub(super) end: End,
    pub(super) index: Index,
    /// Length at which it is worth looking how much of the file lives.
    pub(super) look_at: u64,
    /// Something may stand behind `end` that was not written.
    uncut: bool,
    /// The file has its name, but perhaps not on the disk.
    pub(super) unnamed: bool,
}

impl Journal {
    /// Opens the journal at `path`, or makes one, and returns what it holds. What a crash left half written is cut off.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where it cannot be read for another reason than a crash, in which case it is left
    /// untouched; see [`JournalError`].
    pub fn open(
        path: &Path,
        key: &StorageKey,
        durability: Durability,
    ) -> Result<(Self, Logs), JournalError> {
        Self::open_on(Box::new(System), Sizes::SYSTEM, path, key, durability)
    }

    pub(super) fn open_on(
        medium: Box<dyn Medium>,
        sizes: Sizes,
        path: &Path,
        storage_key: &StorageKey,
        durability: Durability,
    ) -> Result<(Self, Logs), JournalError> {
        let file = match medium.open(path, true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = compaction::make(medium.as_ref(), path, storage_key);
                made.map_err(|error| classify(error, path))?
            }
            opened => {
                let file = opened.map_err(|error| classify(error, path))?;
                checked_length(medium.as_ref(), &file, path)?;
                lock(file, path)?
            }
        };
        let length = checked_length(medium.as_ref(), &file, path)?;
        if length > sizes.journal_bytes_max {
            let at = sizes.journal_bytes_max;
            return Err(JournalError::Damaged { path: path.into(), at });
        }
        let (mut logs, mut index) = (Logs::default(), Index::default());
        let read = open_header(&*file, length, storage_key).and_then(|key| {
            let end = replay(&*file, length, &key, |place, stored| {
                index.add(&stored, place);
                apply(&mut logs, stored);
                Ok(())
            })?;
            Ok((key, end))
        });
        let (key, end) = read.map_err(|error| explain(error, path))?;
        let (path, storage_key) = (path.to_path_buf(), storage_key.clone());
        let uncut = end.position < length;
        let look_at = sizes.compact_bytes_min;
        let mut journal = Self {
            medium,
            sizes,
            path,
            storage_key,
            durability,
            file,
            key,
            end,
            index,
            look_at,
            uncut,
            // A crash may have come between the name and the disk.
            unnamed: true,
        };
        journal.settle()?;
        // A process that was killed may have written what it did not get to force, and the caller acts on it now.
        journal.force().map_err(|error| classify(error, &journal.path))?;
        Ok((journal, logs))
    }

    /// Writes all of `entries`, in one write and, for [`Durability::Disk`], one fdatasync, or none of them: after an
    /// error the journal is as before, and the call can be repeated. Where a power failure comes upon an error, a
    /// batch that was refused may be found written nevertheless.
    ///
    /// From time to time what lives is written anew beside, which takes as long as reading and writing all of it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        if entries.is_empty() {
            return Ok(());
        }
        let bytes: usize = entries.iter().map(Entry::stored_bytes).sum();
        let bytes_max = self.sizes.batch_bytes_max;
        if bytes > bytes_max {
            return Err(JournalError::BatchTooLong { bytes, bytes_max });
        }
        self.settle()?;
        self.make_room(sealed_len(bytes))?;
        let record = self.end.position;
        let mut places = Vec::with_capacity(entries.len());
        let sealed = self.key.seal(record, &self.end.chain, bytes, &mut OsRandom, |out| {
            let begin = out.len();
            for entry in entries {
                let offset = u32::try_from(out.len() - begin).expect("batches have a limit");
                places.push(Place { record, offset });
                entry.write(out);
            }
        });
        let position = record + sealed.bytes.len() as u64;
        let written = self.medium.write(&self.file, &sealed.bytes, record);
        if let Err(error) = written.and_then(|()| self.force()) {
            self.uncut = true;
            // Where it does not work now, it is done before anything else is written.
            let _ = self.settle();
            return Err(classify(error, &self.path));
        }
        self.end = End { position, chain: sealed.chain };
        for (entry, place) in entries.iter().zip(places) {
            self.index.add_fact(entry, place);
        }
        self.compact_if_dead();
        Ok(())
    }

    /// Whether appending these entries is a matter of microseconds: nothing is forced to the disk, and the file is far from
    /// being compacted.
    #[must_use]
    pub fn is_quick(&self, entries: &[Entry]) -> bool {
        let bytes: usize = entries.iter().map(Entry::stored_bytes).sum();
        self.durability == Durability::Process
            && bytes <= QUICK_BYTES_MAX
            && self.end.position + (bytes as u64) * 2 < self.look_at
    }

    /// What a journal holds, without a lock, a change or a repair: for a process that looks while another one writes.
    /// A batch that is being written is not in it. Where there is no file, it holds nothing.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn view(path: &Path, key: &StorageKey) -> Result<Logs, JournalError> {
        let mut views = 1;
        loop {
            match view_once(&System, path, key) {
                // The writer takes a batch back, and puts another in its place, where its disk was full.
                Err(ViewError::Read(ReadError::Damaged(_) | ReadError::Io(_)))
                    if views < VIEWS_MAX =>
                {
                    views += 1;
                }
                Err(ViewError::Read(error)) => return Err(explain(error, path)),
                Err(ViewError::File(error)) => return Err(error),
                Ok(logs) => return Ok(logs),
            }
        }
    }

    /// Sees to it that a record of `bytes` is not too much for the file.
    fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        let bytes_max = self.sizes.journal_bytes_max;
        if self.end.position + bytes > bytes_max {
            self.look_at = 0;
            self.compact_if_dead();
            self.settle()?;
        }
        if self.end.position + bytes > bytes_max {
            return Err(JournalError::JournalFull { path: self.path.clone(), bytes_max });
        }
        Ok(())
    }

    /// Ends what an error interrupted.
    fn settle(&mut self) -> Result<(), JournalError> {
        if self.uncut {
            let cut = self.medium.cut(&self.file, self.end.position);
            let cut = cut.and_then(|()| self.force());
            cut.map_err(|error| classify(error, &self.path))?;
            self.uncut = false;
        }
        if self.unnamed {
            if self.durability == Durability::Disk {
                let directory = directory_of(&self.path);
                let named = self.medium.sync_directory(directory);
                named.map_err(|error| classify(error, &self.path))?;
            }
            self.unnamed = false;
        }
        Ok(())
    }

    fn force(&self) -> io::Result<()> {
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Disk => self.medium.sync(&self.file),
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Journal({}, {} bytes)", self.path.display(), self.end.position)
    }
}

enum ViewError {
    File(JournalError),
    Read(ReadError),
}

fn view_once(medium: &dyn Medium, path: &Path, key: &StorageKey) -> Result<Logs, ViewError> {
    let file = match medium.open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Logs::default()),
        Err(error) => return Err(ViewError::File(classify(error, path))),
    };
    let length = checked_length(medium, &file, path).map_err(ViewError::File)?;
    let key = open_header(&file, length, key).map_err(ViewError::Read)?;
    let mut logs = Logs::default();
    let read = replay(&file, length, &key, |_, stored| {
        apply(&mut logs, stored);
        Ok(())
    });
    read.map(|_| logs).map_err(ViewError::Read)
}

fn apply(logs: &mut Logs, stored: Stored) {
    match stored {
        Stored::Fact(entry) => logs.apply(entry),
        Stored::Kept(kept) => logs.restore(kept),
    }
}

/// What a file with these bytes holds, and how many of them are read.
pub(super) fn read_bytes(bytes: &[u8], key: &StorageKey) -> Result<(Logs, u64), ReadError> {
    let length = bytes.len() as u64;
    let key = open_header(&bytes, length, key)?;
    let mut logs = Logs::default();
    let end = replay(&bytes, length, &key, |_, stored| {
        apply(&mut logs, stored);
        Ok(())
    })?;
    Ok((logs, end.position))
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The checks look at the open file, so nobody can exchange it in between.
fn checked_length(medium: &dyn Medium, file: &File, path: &Path) -> Result<u64, JournalError> {
    let metadata = file.metadata().map_err(|error| classify(error, path))?;
    if !metadata.is_file() {
        return Err(JournalError::NotAJournal { path: path.into() });
    }
    disk::check(&metadata, path.into(), medium.user())?;
    Ok(metadata.len())
}

/// Two writers would make a damaged file of it. The keystore's lock keeps other processes out; this one also holds within
/// a process, and against a file that was moved to another keystore.
fn lock(file: File, path: &Path) -> Result<Exclusive, JournalError> {
    let locked = || KeystoreError::Locked { path: directory_of(path).into() };
    let file = Exclusive::take(file).map_err(|error| match error {
        Errno::WOULDBLOCK => locked().into(),
        error => classify(error.into(), path),
    })?;
    // Whoever held it until now has put another file in its place.
    let metadata = file.metadata().map_err(|error| classify(error, path))?;
    if metadata.nlink() == 0 { Err(locked().into()) } else { Ok(file) }
}

pub(super) fn classify(error: io::Error, path: &Path) -> JournalError {
    let number = error.raw_os_error();
    // A symbolic link, a directory, a socket.
    let others = [Errno::LOOP, Errno::ISDIR, Errno::NXIO];
    if others.iter().any(|other| number == Some(other.raw_os_error())) {
        return JournalError::NotAJournal { path: path.into() };
    }
    disk::classify(error, path, false).into()
}

fn explain(error: ReadError, path: &Path) -> JournalError {
    let newer = |what| JournalError::Newer { path: path.into(), what };
    match error {
        ReadError::Io(error) => classify(error, path),
        ReadError::Header(HeaderError::NotAJournal) => {
            JournalError::NotAJournal { path: path.into() }
        }
        ReadError::Header(HeaderError::Newer(version)) => newer(NewerPart::Format(version)),
        ReadError::Header(HeaderError::Damaged) => {
            JournalError::Damaged { path: path.into(), at: 0 }
        }
        ReadError::Header(HeaderError::WrongKey) => JournalError::WrongKey { path: path.into() },
        ReadError::Damaged(at) => JournalError::Damaged { path: path.into(), at },
        ReadError::Unknown(tag) => newer(NewerPart::Entry(tag)),
    }
}
