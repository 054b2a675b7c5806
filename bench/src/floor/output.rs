//! What waits to be sent: sealed into pooled buffers, sent once a batch, finished by the ring.

use std::os::fd::BorrowedFd;

use hushwire_relay::transport::Fault;
use hushwire_uring::sockets;

use crate::limits::{BEHIND_BYTES_MAX, OUTPUT_BUFFER_BYTES, OUTPUT_BUFFERS_KEPT_MAX};

/// A buffer to seal into.
pub(super) struct OutputBuffer {
    bytes: Box<[u8]>,
    used: usize,
}

/// Buffers for the next recipients, the one used last on top: it is still in the cache.
#[derive(Default)]
pub(super) struct OutputPool {
    free: Vec<OutputBuffer>,
}

impl OutputPool {
    fn take(&mut self) -> OutputBuffer {
        self.free.pop().unwrap_or_else(|| OutputBuffer {
            bytes: vec![0; OUTPUT_BUFFER_BYTES].into_boxed_slice(),
            used: 0,
        })
    }

    fn put(&mut self, mut buffer: OutputBuffer) {
        if self.free.len() < OUTPUT_BUFFERS_KEPT_MAX {
            buffer.used = 0;
            self.free.push(buffer);
        }
    }
}

/// The output of one connection.
#[derive(Default)]
pub(super) struct Outbox {
    sealing: Option<OutputBuffer>,
    /// How many bytes the ring is finishing.
    in_flight: Option<usize>,
    /// What was sealed meanwhile.
    behind: Vec<u8>,
}

/// What came of sending.
pub(super) enum Flushed {
    /// Nothing is left, or the ring is at it.
    Done,
    /// The kernel is full: the ring has to finish this.
    Short(Vec<u8>),
    /// The connection is over.
    Broken,
}

impl Outbox {
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Offers at least `room` bytes to `seal`, and returns how many are sealed now.
    #[inline]
    pub(super) fn seal(
        &mut self,
        pool: &mut OutputPool,
        room: usize,
        seal: impl FnOnce(&mut [u8]) -> Result<usize, Fault>,
    ) -> Result<usize, Fault> {
        if self.sealing.as_ref().is_some_and(|buffer| buffer.bytes.len() - buffer.used < room) {
            self.put_behind(pool);
        }
        let buffer = self.sealing.get_or_insert_with(|| pool.take());
        buffer.used += seal(&mut buffer.bytes[buffer.used..])?;
        Ok(buffer.used)
    }

    /// Appends bytes of a handshake.
    pub(super) fn append(&mut self, pool: &mut OutputPool, bytes: &[u8]) {
        self.put_behind(pool);
        self.behind.extend_from_slice(bytes);
    }

    fn put_behind(&mut self, pool: &mut OutputPool) {
        if let Some(buffer) = self.sealing.take() {
            self.behind.extend_from_slice(&buffer.bytes[..buffer.used]);
            pool.put(buffer);
        }
    }

    /// Sends what the kernel takes at once.
    #[inline]
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>, pool: &mut OutputPool) -> Flushed {
        if self.in_flight.is_some() {
            self.put_behind(pool);
            return if self.behind.len() > BEHIND_BYTES_MAX {
                Flushed::Broken
            } else {
                Flushed::Done
            };
        }
        if !self.behind.is_empty() {
            self.put_behind(pool);
            let behind = std::mem::take(&mut self.behind);
            return self.send(socket, &behind);
        }
        let Some(buffer) = self.sealing.take() else { return Flushed::Done };
        let flushed = self.send(socket, &buffer.bytes[..buffer.used]);
        pool.put(buffer);
        flushed
    }

    fn send(&mut self, socket: BorrowedFd<'_>, bytes: &[u8]) -> Flushed {
        match sockets::send(socket, bytes) {
            Ok(sent) if sent == bytes.len() => Flushed::Done,
            Ok(sent) => {
                self.in_flight = Some(bytes.len() - sent);
                Flushed::Short(bytes[sent..].to_vec())
            }
            Err(_) => Flushed::Broken,
        }
    }

    /// The ring ended a send. Whether all of it was sent.
    pub(super) fn finished(&mut self, sent: std::io::Result<usize>) -> bool {
        let expected = self.in_flight.take();
        sent.ok() == expected
    }

    pub(super) fn release(&mut self, pool: &mut OutputPool) {
        if let Some(buffer) = self.sealing.take() {
            pool.put(buffer);
        }
        self.behind = Vec::new();
    }
}
