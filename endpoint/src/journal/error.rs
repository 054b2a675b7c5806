//! What can be wrong with a journal, each with what to do about it.

use std::path::PathBuf;

use crate::keystore::KeystoreError;

/// Why a journal was not opened, read or added to. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be used as files of a keystore are: permissions, owner, a full or read-only disk.
    #[error(transparent)]
    File(#[from] KeystoreError),
    /// Something else has its name: a directory, a symbolic link, another kind of file.
    #[error("{} is not a journal of messages; move it away, and a new one is made", path.display())]
    NotAJournal {
        /// What.
        path: PathBuf,
    },
    /// The contents are not what was written, and not merely its end is missing.
    #[error(
        "{} is damaged at byte {at} and was left untouched; restore it from a backup, or move it away to begin \
         without the messages in it", path.display()
    )]
    Damaged {
        /// What.
        path: PathBuf,
        /// Where, in bytes from its beginning.
        at: u64,
    },
    /// It was written with another storage key.
    #[error(
        "{} belongs to another keystore; put it back there, or move it away to begin without the messages in it",
        path.display()
    )]
    WrongKey {
        /// What.
        path: PathBuf,
    },
    /// A newer version of this software wrote it.
    #[error("{} was written by a newer version of this software ({what}); upgrade", path.display())]
    Newer {
        /// What.
        path: PathBuf,
        /// What is not known here.
        what: NewerPart,
    },
    /// More entries than are written at once.
    #[error(
        "{bytes} bytes are too many to be written at once, {bytes_max} are allowed; write them in parts"
    )]
    BatchTooLong {
        /// Of the entries, encoded.
        bytes: usize,
        /// The most.
        bytes_max: usize,
    },
    /// The file would become longer than it may.
    #[error("{} is full at {bytes_max} bytes; wait until messages in it have reached their end", path.display())]
    JournalFull {
        /// What.
        path: PathBuf,
        /// The most.
        bytes_max: u64,
    },
}

/// What a newer version wrote that this one does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewerPart {
    /// The format of the file.
    Format(u32),
    /// A kind of entry.
    Entry(u8),
}

impl std::fmt::Display for NewerPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Format(version) => write!(f, "format {version}, known is 1"),
            Self::Entry(tag) => write!(f, "entry of kind {tag}"),
        }
    }
}
