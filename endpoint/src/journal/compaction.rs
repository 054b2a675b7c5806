//! Files that are written beside and renamed into their place, so that a crash leaves the old or the new one: the
//! first, which holds nothing, and later ones, which hold what lives of the one before.

use std::io;
use std::path::{Path, PathBuf};

use super::codec::{Encode, Stored};
use super::file::{Journal, directory_of};
use super::index::Index;
use super::limits::COMPACT_BATCH_BYTES;
use super::medium::Medium;
use super::reading::{End, Place, ReadError, replay};
use super::record::{FileKey, HEADER_LEN, new_header};
use crate::exclusive::Exclusive;
use crate::suite::keys::StorageKey;
use crate::suite::random::OsRandom;

/// Makes a journal that holds nothing.
pub(super) fn make(medium: &dyn Medium, path: &Path, key: &StorageKey) -> io::Result<Exclusive> {
    let temporary = temporary_of(path);
    let made = NewFile::create(medium, &temporary, key).and_then(|new| new.finish(path));
    made.map(|new| new.file).inspect_err(|_| {
        // What cannot be removed now is removed when the next one is made.
        let _ = medium.remove(&temporary);
    })
}

fn temporary_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    directory_of(path).join(format!(".{}.tmp", name.display()))
}

impl Journal {
    /// Writes the file anew where it is long and more than half of it is dead. What is in the journal is as safe
    /// before as after, so an error is none of the caller's: it is tried again later.
    pub(super) fn compact_if_dead(&mut self) {
        let length = self.end.position;
        if length < self.look_at {
            return;
        }
        let living = self.index.living_bytes();
        let least = self.sizes.compact_bytes_min;
        if living * 2 >= length {
            // It is not worth it before the file has doubled what lives now.
            self.look_at = (living * 2 + 1).max(least);
            return;
        }
        let temporary = temporary_of(&self.path);
        self.look_at = match self.compact(&temporary) {
            Ok(()) => (self.end.position * 2).max(least),
            Err(error) => {
                tracing::debug!(?error, "the journal is not compacted now");
                let _ = self.medium.remove(&temporary);
                length + least / 4
            }
        };
    }

    fn compact(&mut self, temporary: &Path) -> Result<(), ReadError> {
        let mut new = NewFile::create(self.medium.as_ref(), temporary, &self.storage_key)?;
        for stored in self.index.states() {
            new.push(stored)?;
        }
        replay(&*self.file, self.end.position, &self.key, |place, mut stored| {
            if let Some(peer) = self.index.held_for(&stored, place) {
                new.push(stored.into_held(peer))?;
            } else {
                stored.wipe();
            }
            Ok(())
        })?;
        let Written { file, key, end, index } = new.finish(&self.path)?;
        (self.file, self.key, self.end, self.index) = (file, key, end, index);
        // Nothing is written to the new file before its name is on the disk: a crash could bring back the old one.
        self.unnamed = true;
        Ok(())
    }
}

/// A file that has no name yet but a temporary one.
struct NewFile<'a> {
    medium: &'a dyn Medium,
    temporary: &'a Path,
    written: Written,
    batch: Batch,
}

/// What goes into the next record. Wiped on drop.
#[derive(Default)]
struct Batch {
    stored: Vec<Stored>,
    bytes: usize,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.stored.iter_mut().for_each(Stored::wipe);
    }
}

/// A file, and what is known of it.
struct Written {
    file: Exclusive,
    key: FileKey,
    end: End,
    index: Index,
}

impl<'a> NewFile<'a> {
    fn create(medium: &'a dyn Medium, temporary: &'a Path, key: &StorageKey) -> io::Result<Self> {
        medium.remove(temporary)?;
        // The lock comes with the name.
        let file = Exclusive::take(medium.create(temporary)?)?;
        let (header, key) = new_header(key, &mut OsRandom);
        medium.write(&file, &header, 0)?;
        let end = End { position: HEADER_LEN as u64, chain: key.first_chain() };
        let written = Written { file, key, end, index: Index::default() };
        Ok(Self { medium, temporary, written, batch: Batch::default() })
    }

    fn push(&mut self, stored: Stored) -> io::Result<()> {
        let bytes = stored.encoded_len();
        if self.batch.bytes + bytes > COMPACT_BATCH_BYTES {
            self.flush()?;
        }
        self.batch.bytes += bytes;
        self.batch.stored.push(stored);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.stored.is_empty() {
            return Ok(());
        }
        let Written { file, key, end, index } = &mut self.written;
        let (record, mut offset) = (end.position, 0);
        let sealed = key.seal(record, &end.chain, batch.bytes, &mut OsRandom, |out| {
            for stored in &batch.stored {
                stored.write(out);
            }
        });
        self.medium.write(file, &sealed.bytes, record)?;
        for stored in &batch.stored {
            index.add(stored, Place { record, offset });
            offset += u32::try_from(stored.encoded_len()).expect("batches have a limit");
        }
        *end = End { position: record + sealed.bytes.len() as u64, chain: sealed.chain };
        Ok(())
    }

    /// Forces it to the disk and gives it its name.
    fn finish(mut self, path: &Path) -> io::Result<Written> {
        self.flush()?;
        self.medium.sync(&self.written.file)?;
        self.medium.rename(self.temporary, path)?;
        Ok(self.written)
    }
}
