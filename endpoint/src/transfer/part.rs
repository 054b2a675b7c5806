//! The receiving file: hidden beside its place until it is whole, then renamed and never over another.
//!
//! Beside the part lies a sidecar that says whose it is. Before the part gets its name, the sidecar says which, so that
//! after a crash a part that is gone is known to have become that file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hushwire_wire::id::DeviceId;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::limits::{BLOCK_BYTES, COPIES_MAX};
use super::name::{numbered, safe_name};
use super::{Offer, Transferred, hex, sha256, state_file, unhex};
use crate::exclusive::Exclusive;

/// Where a received file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into this directory, under the sender's name for it or the next free one like it.
    In(PathBuf),
    /// Exactly here.
    As(PathBuf),
}

impl Target {
    fn directory(&self) -> &Path {
        match self {
            Self::In(directory) => directory,
            Self::As(path) => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                Some(_) | None => Path::new("."),
            },
        }
    }

    fn path(&self, name: &str, copy: u32) -> Option<PathBuf> {
        match self {
            Self::In(directory) if copy < COPIES_MAX => {
                Some(directory.join(numbered(&safe_name(name), copy)))
            }
            Self::As(path) if copy == 0 => Some(path.clone()),
            Self::In(_) | Self::As(_) => None,
        }
    }
}

/// A file that has been received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub content: Transferred,
}

/// Why a part could not be opened or become a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is there already and is not overwritten: choose another name")]
    Exists(PathBuf),
    #[error("another process is receiving this file into the same directory")]
    Locked,
    /// What has arrived is not what was sent.
    #[error("the file was damaged on its way: its hash is wrong")]
    Damaged,
}

impl PartError {
    fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }

    /// Whether room on the disk would help.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::Exists(_) | Self::Locked | Self::Damaged => false,
        }
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[derive(Debug, Serialize, Deserialize)]
struct Sidecar {
    version: u8,
    peer: String,
    id: String,
    name: String,
    size: Option<u64>,
    /// The part is whole and is being given this name.
    becomes: Option<Becomes>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Becomes {
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

/// What was found when a part was opened.
#[derive(Debug)]
pub(crate) enum Opened {
    Part(Box<Part>),
    /// It had become a file before the crash.
    Saved(Saved),
}

/// An open part.
#[derive(Debug)]
pub(crate) struct Part {
    target: Target,
    name: String,
    path: PathBuf,
    sidecar_path: PathBuf,
    sidecar: Sidecar,
    file: Exclusive,
    length: u64,
    hash: Sha256,
}

impl Part {
    /// Opens what there is of a transfer, or begins. What was there is read and hashed.
    pub(crate) fn open(
        target: &Target,
        peer: DeviceId,
        offer: &Offer,
    ) -> Result<Opened, PartError> {
        let path = hidden_path(target, peer, offer, "part");
        let sidecar_path = sidecar_path(target, peer, offer);
        let before = state_file::read(&sidecar_path).map_err(PartError::at(&sidecar_path))?;
        let before = before.and_then(|bytes| serde_json::from_slice::<Sidecar>(&bytes).ok());
        if let Some(becomes) = before.and_then(|before| before.becomes)
            && let Some(sha256) = unhex(&becomes.sha256)
            && (!path.exists() || is_same(&path, &becomes.path))
        {
            let saved =
                Saved { path: becomes.path, content: Transferred { bytes: becomes.bytes, sha256 } };
            let removed =
                state_file::remove(&path).and_then(|()| state_file::sync_directory_of(&path));
            removed.map_err(PartError::at(&path))?;
            return Ok(Opened::Saved(saved));
        }
        if let Target::As(path) = target
            && fs::symlink_metadata(path).is_ok()
        {
            return Err(PartError::Exists(path.clone()));
        }
        let mut file = open_locked(&path)?;
        let sidecar = Sidecar {
            version: 1,
            peer: peer.to_text(),
            id: offer.id.to_text(),
            name: offer.name.clone(),
            size: offer.size,
            becomes: None,
        };
        let written = serde_json::to_vec(&sidecar).map_err(io::Error::other);
        written
            .and_then(|bytes| state_file::write(&sidecar_path, &bytes))
            .map_err(PartError::at(&sidecar_path))?;
        let (length, hash) = hash_all(&mut file).map_err(PartError::at(&path))?;
        let name = offer.name.clone();
        let target = target.clone();
        let mut part = Self { target, name, path, sidecar_path, sidecar, file, length, hash };
        if offer.size.is_some_and(|size| length > size) {
            part.restart().map_err(PartError::at(&part.path))?;
        }
        Ok(Opened::Part(Box::new(part)))
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of what is there.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// Another handle of the file, to make it durable while it is written.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Forgets what is there.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.length, self.hash) = (0, Sha256::new());
        Ok(())
    }

    /// Appends as much as the disk takes at once.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.hash.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    /// Gives the whole file its name. May be tried again where the disk was full.
    pub(crate) fn finish(&mut self, content: &Transferred) -> Result<Saved, PartError> {
        if content.bytes != self.length || content.sha256 != self.sha256() {
            self.discard();
            return Err(PartError::Damaged);
        }
        self.file.sync_all().map_err(PartError::at(&self.path))?;
        let mut copy = 0;
        loop {
            let Some(path) = self.target.path(&self.name, copy) else {
                let first = self.target.path(&self.name, 0);
                return Err(PartError::Exists(first.unwrap_or_default()));
            };
            copy += 1;
            if fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            let (bytes, sha256) = (content.bytes, hex(&content.sha256));
            self.sidecar.becomes = Some(Becomes { path: path.clone(), bytes, sha256 });
            serde_json::to_vec(&self.sidecar)
                .map_err(io::Error::other)
                .and_then(|bytes| state_file::write(&self.sidecar_path, &bytes))
                .map_err(PartError::at(&self.sidecar_path))?;
            match rename_without_overwriting(&self.path, &path) {
                Ok(()) => {
                    state_file::sync_directory_of(&path).map_err(PartError::at(&path))?;
                    return Ok(Saved { path, content: content.clone() });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(PartError::at(&path)(error)),
            }
        }
    }

    /// Removes everything: the sender wants it no more, or it is damaged.
    pub(crate) fn discard(&mut self) {
        // What stays is a hidden file that the next attempt finds too long, too short or wrong.
        let _part = fs::remove_file(&self.path);
        let _sidecar = fs::remove_file(&self.sidecar_path);
    }
}

/// The sidecar of a transfer into this target.
pub(crate) fn sidecar_path(target: &Target, peer: DeviceId, offer: &Offer) -> PathBuf {
    hidden_path(target, peer, offer, "json")
}

fn hidden_path(target: &Target, peer: DeviceId, offer: &Offer, kind: &str) -> PathBuf {
    // Two peers that use one ID do not meet.
    let key = hex(&sha256(&[&peer.as_bytes()[..], &offer.id.0].concat())[..16]);
    target.directory().join(format!(".hush-{key}.{kind}"))
}

/// The receiver remembers a saved file elsewhere now.
pub(crate) fn forget(sidecar_path: &Path) {
    // It would be found, and answered with the same file, if the sender asked again.
    let _stays = fs::remove_file(sidecar_path);
}

fn open_locked(path: &Path) -> Result<Exclusive, PartError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
        .map_err(PartError::at(path))?;
    let file = Exclusive::take(file).map_err(|error| match error {
        Errno::WOULDBLOCK => PartError::Locked,
        error => PartError::at(path)(error.into()),
    })?;
    let metadata = file.metadata().map_err(PartError::at(path))?;
    if metadata.is_file() {
        Ok(file)
    } else {
        let odd = io::Error::new(io::ErrorKind::InvalidInput, "it is no file");
        Err(PartError::at(path)(odd))
    }
}

fn hash_all(file: &mut File) -> io::Result<(u64, Sha256)> {
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            return Ok((length, hash));
        }
        hash.update(&block[..count]);
        length += count as u64;
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::symlink_metadata(one), fs::symlink_metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system has it; a second name, and then not the first, is the same but for a crash in between.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::TransferId;
    use super::*;

    fn offer(name: &str) -> Offer {
        Offer { id: TransferId([1; 16]), size: Some(5), name: name.into() }
    }

    fn open(target: &Target) -> Part {
        match Part::open(target, DeviceId::new([2; 32]), &offer("../a.txt")).expect("it opens") {
            Opened::Part(part) => *part,
            Opened::Saved(saved) => panic!("it is {saved:?}"),
        }
    }

    fn whole() -> Transferred {
        Transferred { bytes: 5, sha256: sha256(b"hello") }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("UTF-8")
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_part_goes_on_where_it_was_and_becomes_one_file() {
        let place = tempfile::tempdir().expect("a directory");
        let target = Target::In(place.path().into());
        fs::write(place.path().join("a.txt"), b"another").expect("written");
        let mut part = open(&target);
        assert_eq!(part.write(b"hel").expect("room"), 3);
        let other = Part::open(&target, DeviceId::new([2; 32]), &offer("a.txt"));
        assert!(matches!(other, Err(PartError::Locked)));
        drop(part);
        let mut part = open(&target);
        assert_eq!((part.length(), part.sha256()), (3, sha256(b"hel")));
        assert_eq!(part.write(b"lo").expect("room"), 2);
        let saved = part.finish(&whole()).expect("whole");
        assert_eq!(saved.path, place.path().join("a (1).txt"));
        assert_eq!(fs::read(place.path().join("a.txt")).expect("there"), b"another");
        drop(part);
        // As after a crash before anybody was told.
        match Part::open(&target, DeviceId::new([2; 32]), &offer("a.txt")).expect("it opens") {
            Opened::Saved(again) => assert_eq!(again, saved),
            Opened::Part(part) => panic!("it is {part:?}"),
        }
        forget(&sidecar_path(&target, DeviceId::new([2; 32]), &offer("a.txt")));
        assert_eq!(names(place.path()), ["a (1).txt", "a.txt"]);
    }

    #[test]
    fn a_second_name_that_a_crash_left_is_the_same_file() {
        let place = tempfile::tempdir().expect("a directory");
        let target = Target::In(place.path().into());
        let mut part = open(&target);
        part.write(b"hello").expect("room");
        let saved = part.finish(&whole()).expect("whole");
        fs::hard_link(&saved.path, &part.path).expect("linked");
        drop(part);
        let again = Part::open(&target, DeviceId::new([2; 32]), &offer("a.txt"));
        assert!(matches!(again.expect("it opens"), Opened::Saved(again) if again == saved));
        forget(&sidecar_path(&target, DeviceId::new([2; 32]), &offer("a.txt")));
        assert_eq!(names(place.path()), ["a.txt"]);
    }

    #[test]
    fn what_is_damaged_leaves_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        let mut part = open(&Target::In(place.path().into()));
        part.write(b"hellO").expect("room");
        assert!(matches!(part.finish(&whole()), Err(PartError::Damaged)));
        assert!(names(place.path()).is_empty());
    }

    #[test]
    fn nothing_is_overwritten() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("b");
        let target = Target::As(path.clone());
        let mut part = open(&target);
        part.write(b"hello").expect("room");
        fs::write(&path, b"mine").expect("written");
        assert!(matches!(part.finish(&whole()), Err(PartError::Exists(_))));
        drop(part);
        let again = Part::open(&target, DeviceId::new([2; 32]), &offer("a.txt"));
        assert!(matches!(again, Err(PartError::Exists(_))));
        fs::remove_file(&path).expect("removed");
        let mut part = open(&target);
        assert_eq!(part.finish(&whole()).expect("whole").path, path);
        assert_eq!(fs::read(&path).expect("there"), b"hello");
    }

    #[test]
    fn a_part_that_is_longer_than_the_file_begins_anew() {
        let place = tempfile::tempdir().expect("a directory");
        let target = Target::In(place.path().into());
        open(&target).write(b"hello, world").expect("room");
        assert_eq!(open(&target).length(), 0);
    }
}
