//! Waking a shard from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// An eventfd that wakes the thread whose ring watches it ([`Ring::watch`](crate::Ring::watch)).
///
/// Share it with `Arc`; [`Wake::notify`] is one system call, so call it only when the other thread
/// may be asleep. Notifications are merged: after one
/// [`Completion::Woken`](crate::Completion::Woken) look at everything that could have been posted.
///
/// The ring's poll sees each write, so nobody has to read the counter back to zero; one that was
/// notified while nobody watched reports at once when it is watched again. No notification is lost.
#[derive(Debug)]
pub struct Wake {
    counter: OwnedFd,
}

impl Wake {
    /// A wake that nobody watches yet.
    ///
    /// # Errors
    ///
    /// The error of eventfd(2): descriptors or memory ran out.
    pub fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { counter })
    }

    /// Wakes the watching thread, or makes its next wait return at once.
    ///
    /// # Panics
    ///
    /// If a sandbox forbids to write to an open eventfd; nothing else can fail.
    pub fn notify(&self) {
        loop {
            match rustix::io::write(&self.counter, &1_u64.to_ne_bytes()) {
                // A full counter is as good as a written one.
                Ok(_) | Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(other) => panic!("an open eventfd cannot be written: {other}"),
            }
        }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }
}
