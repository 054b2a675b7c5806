//! From nothing to an enabled ring.

use std::fmt;
use std::io;

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode};

use crate::probe::classify_setup_now;
use crate::{ProbeError, Ring, limits};

/// The operations a ring may do; the kernel refuses all others once it is enabled. io_uring goes
/// past a seccomp filter, which sees none of its operations, so the ring carries its own.
pub(crate) const OPERATIONS: [(u8, &str); 4] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Send::CODE, "SEND"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

/// The one thing that may be registered on an enabled ring (IORING_REGISTER_SYNC_CANCEL): how a
/// ring that is dropped gets its buffers back.
const REGISTER_SYNC_CANCEL: u8 = 24;

/// The sizes of a ring. Both are rounded up to powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingOptions {
    /// Operations that wait for one submission: [`limits::RING_ENTRIES`] by default, at most
    /// [`limits::RING_ENTRIES_MAX`].
    pub entries: u32,
    /// Completions that wait to be drained: [`limits::RING_COMPLETIONS`] by default, at least
    /// `entries` and at most [`limits::RING_COMPLETIONS_MAX`].
    pub completions: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self { entries: limits::RING_ENTRIES, completions: limits::RING_COMPLETIONS }
    }
}

/// Why a ring could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The sizes cannot be.
    #[error(
        "a ring of {entries} entries and {completions} completions cannot be: choose 1 to {max} \
         entries and at least as many completions, at most twice {max}",
        max = limits::RING_ENTRIES_MAX
    )]
    Sizes {
        /// As asked for.
        entries: u32,
        /// As asked for.
        completions: u32,
    },
    /// The kernel refused the ring.
    #[error(transparent)]
    Kernel(#[from] ProbeError),
    /// The kernel refused the restrictions or to enable the ring.
    #[error("{step} failed ({source}): run an unmodified kernel 6.1 or newer")]
    Enable {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A ring that does nothing yet and belongs to no thread: create it anywhere, send it to its
/// shard's thread, and enable it there.
pub struct DormantRing {
    inner: IoUring,
}

impl DormantRing {
    /// Asks the kernel for a ring: one issuer, completions made only when that thread asks for
    /// them (DEFER_TASKRUN), a bad submission does not stop the batch (SUBMIT_ALL), disabled
    /// (R_DISABLED).
    ///
    /// # Errors
    ///
    /// [`SetupError::Sizes`] or [`SetupError::Kernel`].
    pub fn new(options: RingOptions) -> Result<Self, SetupError> {
        let RingOptions { entries, completions } = options;
        let fits = (1..=limits::RING_ENTRIES_MAX).contains(&entries)
            && (entries..=limits::RING_COMPLETIONS_MAX).contains(&completions);
        if !fits {
            return Err(SetupError::Sizes { entries, completions });
        }
        let inner = build(options).map_err(|error| classify_setup_now(&error))?;
        Ok(Self { inner })
    }

    /// Restricts the ring to what a shard does and enables it for the calling thread, the only one
    /// that can use it from here on.
    ///
    /// # Errors
    ///
    /// [`SetupError::Enable`].
    pub fn enable(self) -> Result<Ring, SetupError> {
        let mut restrictions: Vec<Restriction> =
            OPERATIONS.iter().map(|(code, _)| Restriction::sqe_op(*code)).collect();
        restrictions.push(Restriction::sqe_flags_allowed(Flags::BUFFER_SELECT.bits()));
        restrictions.push(Restriction::register_op(REGISTER_SYNC_CANCEL));
        let submitter = self.inner.submitter();
        submitter
            .register_restrictions(&mut restrictions)
            .map_err(|source| SetupError::Enable { step: "restricting a ring", source })?;
        submitter
            .register_enable_rings()
            .map_err(|source| SetupError::Enable { step: "enabling a ring", source })?;
        Ok(Ring::enabled(self.inner))
    }
}

impl fmt::Debug for DormantRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DormantRing").finish_non_exhaustive()
    }
}

/// io_uring_setup(2) with the options of every ring of this crate.
pub(crate) fn build(options: RingOptions) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_r_disabled()
        .setup_cqsize(options.completions)
        .build(options.entries)
}
