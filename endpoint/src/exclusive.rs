//! Files that one holder has at a time.

use std::fs::File;
use std::ops::{Deref, DerefMut};

use rustix::fs::{FlockOperation, flock};

/// An open file with its lock (flock(2)). The lock is let go of expressly: closing the file is not enough while a process
/// that is just being started has inherited it and not yet begun.
#[derive(Debug)]
pub(crate) struct Exclusive(File);

impl Exclusive {
    /// Takes the lock of `file`.
    ///
    /// # Errors
    /// [`Errno::WOULDBLOCK`](rustix::io::Errno::WOULDBLOCK) where somebody has it.
    pub(crate) fn take(file: File) -> rustix::io::Result<Self> {
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(file))
    }
}

impl Deref for Exclusive {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // It goes with the file, if not now.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_process_that_is_being_started_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().expect("a place");
        let path = directory.path().join("file");
        let open = || File::options().create(true).append(true).open(&path).expect("opened");
        let first = Exclusive::take(open()).expect("nobody has it");
        assert_eq!(Exclusive::take(open()).unwrap_err(), Errno::WOULDBLOCK);
        // What a child has between fork and exec: the same open file.
        let _inherited = first.try_clone().expect("cloned");
        drop(first);
        Exclusive::take(open()).expect("nobody has it any more");
    }
}
