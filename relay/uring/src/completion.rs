//! What comes out of a ring.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use crate::Token;

/// What a poll waits for. The end of the peer's stream, a hang-up and an error are reported
/// whatever was asked: a one-shot poll for `Write` on a connection whose peer has finished sending
/// completes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something can be received, or a connection accepted.
    Read,
    /// There is room to send.
    Write,
    /// Either.
    ReadWrite,
}

impl Interest {
    pub(crate) const fn events(self) -> u32 {
        let asked = match self {
            Self::Read => libc::POLLIN,
            Self::Write => libc::POLLOUT,
            Self::ReadWrite => libc::POLLIN | libc::POLLOUT,
        };
        (asked | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32
    }
}

/// What a poll found: the events of poll(2) at the moment of the report.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness(u32);

impl Readiness {
    pub(crate) const fn from_events(events: u32) -> Self {
        Self(events)
    }

    const fn any(self, events: i16) -> bool {
        self.0 & events as u32 != 0
    }

    /// Something can be received: bytes, or the end of the stream (POLLIN).
    pub const fn readable(self) -> bool {
        self.any(libc::POLLIN)
    }

    /// There is room to send (POLLOUT).
    pub const fn writable(self) -> bool {
        self.any(libc::POLLOUT)
    }

    /// The peer will send nothing more, though bytes may still wait to be read (POLLRDHUP).
    /// Announced once: whoever sees it and stops reading early must remember it.
    pub const fn peer_closed(self) -> bool {
        self.any(libc::POLLRDHUP)
    }

    /// Both directions are closed (POLLHUP).
    pub const fn hung_up(self) -> bool {
        self.any(libc::POLLHUP)
    }

    /// The socket has an error, which the next receive or send tells (POLLERR).
    pub const fn error(self) -> bool {
        self.any(libc::POLLERR)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (self.readable(), "readable"),
            (self.writable(), "writable"),
            (self.peer_closed(), "peer_closed"),
            (self.hung_up(), "hung_up"),
            (self.error(), "error"),
        ];
        f.debug_set().entries(named.iter().filter(|(set, _)| *set).map(|(_, name)| name)).finish()
    }
}

/// One completion. Where there is a `more`, `false` marks the final completion of its operation;
/// the variants without one are always final. Every armed operation has exactly one.
#[derive(Debug)]
pub enum Completion {
    /// A connection was accepted. It is in blocking mode and close-on-exec; options set on the
    /// listener are inherited. After [`Ring::cancel`](crate::Ring::cancel) those that were already
    /// accepted still arrive.
    Accepted {
        /// The listener's token.
        token: Token,
        /// The connection; dropping it closes it.
        socket: OwnedFd,
        /// Whether the listener is still armed.
        more: bool,
    },
    /// Accepting failed: `EMFILE` and `ENFILE` mean that descriptors ran out, `ECANCELED` that it
    /// was cancelled.
    AcceptFailed {
        /// The listener's token.
        token: Token,
        /// Why.
        error: io::Error,
        /// Whether the listener is still armed.
        more: bool,
    },
    /// A descriptor is ready. The final one of a multishot poll may be of this variant.
    Polled {
        /// The poll's token.
        token: Token,
        /// What the descriptor is ready for.
        ready: Readiness,
        /// Whether the poll is still armed; never for a one-shot poll.
        more: bool,
    },
    /// A poll ended without finding anything: `ECANCELED` if it was cancelled.
    PollEnded {
        /// The poll's token.
        token: Token,
        /// Why.
        error: io::Error,
    },
    /// A send ended, and here is its buffer.
    Sent {
        /// The send's token.
        token: Token,
        /// The buffer, unchanged.
        buffer: Vec<u8>,
        /// How many bytes from the offset on were sent. Fewer than were asked for means that it
        /// was cancelled or that the connection failed after them.
        result: io::Result<usize>,
    },
    /// A cancellation is done. The target's own final completion comes as well, before or after.
    Cancelled {
        /// The cancellation's token (not the target's).
        token: Token,
        /// Whether the target was armed. If not, its final completion has been posted already.
        found: bool,
    },
    /// A [`Wake`](crate::Wake) was notified, once or many times.
    Woken {
        /// The watch's token.
        token: Token,
        /// Whether the wake is still watched.
        more: bool,
    },
    /// The watch of a [`Wake`](crate::Wake) ended: `ECANCELED` if it was cancelled.
    WatchEnded {
        /// The watch's token.
        token: Token,
        /// Why.
        error: io::Error,
    },
}

impl Completion {
    /// The token of the operation that this completion is of.
    pub const fn token(&self) -> Token {
        match self {
            Self::Accepted { token, .. }
            | Self::AcceptFailed { token, .. }
            | Self::Polled { token, .. }
            | Self::PollEnded { token, .. }
            | Self::Sent { token, .. }
            | Self::Cancelled { token, .. }
            | Self::Woken { token, .. }
            | Self::WatchEnded { token, .. } => *token,
        }
    }

    /// Whether the operation is still armed after this completion.
    pub const fn more(&self) -> bool {
        match self {
            Self::Accepted { more, .. }
            | Self::AcceptFailed { more, .. }
            | Self::Polled { more, .. }
            | Self::Woken { more, .. } => *more,
            Self::PollEnded { .. }
            | Self::Sent { .. }
            | Self::Cancelled { .. }
            | Self::WatchEnded { .. } => false,
        }
    }
}
