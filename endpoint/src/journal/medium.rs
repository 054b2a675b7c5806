//! What the journal asks of the file system, so that tests can let each step of it fail.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::keystore::disk;

/// A file system.
pub(super) trait Medium: Send {
    /// Who must own the file.
    fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Opens what is there. A symbolic link is not followed, a fifo does not block.
    fn open(&self, path: &Path, writable: bool) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        OpenOptions::new().read(true).write(writable).custom_flags(flags.bits() as i32).open(path)
    }

    /// Makes a private file where there is none.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
    }

    /// Writes all of `bytes`.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// Forces what was written to the disk.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Cuts a file off.
    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Puts a file in the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Forces the names in a directory to the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        disk::sync_directory(path)
    }

    /// Removes a file, if there is one.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub(super) struct System;

impl Medium for System {}
