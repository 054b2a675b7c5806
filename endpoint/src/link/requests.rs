//! Requests that wait for their answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hushwire_wire::control::{ErrorCode, RequestId};
use hushwire_wire::id::DeviceId;

use super::limits::{REQUEST_MS_MAX, REQUESTS_MAX};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Carried out.
    Done,
    /// PAIR_JOIN: the device that waits there.
    Met {
        /// The other device.
        device: DeviceId,
    },
    /// PING: the relay's clock, milliseconds since 1970-01-01 UTC.
    Clock {
        /// The time.
        unix_ms: u64,
    },
    /// The relay said no.
    Refused {
        /// For a program.
        code: ErrorCode,
        /// For a person.
        sentence: String,
        /// When it may work.
        wait: Option<Duration>,
    },
    /// No answer came in 10 s, or the connection ended before. The request may have been carried out.
    None,
}

/// The open requests of a connection.
#[derive(Debug, Default)]
pub(super) struct Requests {
    last: u32,
    open: BTreeMap<RequestId, Instant>,
}

impl Requests {
    /// Registers a request. `None` where too many are open.
    pub(super) fn open(&mut self, now: Instant) -> Option<RequestId> {
        if self.open.len() >= REQUESTS_MAX {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        let id = RequestId(self.last);
        self.open.insert(id, now + Duration::from_millis(REQUEST_MS_MAX));
        Some(id)
    }

    /// Whether `id` was open; it no longer is.
    pub(super) fn close(&mut self, id: RequestId) -> bool {
        self.open.remove(&id).is_some()
    }

    /// A request whose time is over; it is closed.
    pub(super) fn expired(&mut self, now: Instant) -> Option<RequestId> {
        let id = *self.open.iter().find(|(_, deadline)| **deadline <= now)?.0;
        self.open.remove(&id);
        Some(id)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.open.values().min().copied()
    }
}
