//! What waits to be sent: sealed into pooled buffers, sent once a batch, finished by the driver.

use std::io;

use hushwire_relay::transport::Fault;

use crate::limits::{BEHIND_BYTES_MAX, OUTPUT_BUFFER_BYTES, OUTPUT_BUFFERS_KEPT_MAX};

/// A buffer to seal into. A vector, all of it initialised, since some runtimes take nothing else.
pub(crate) struct OutputBuffer {
    pub(crate) bytes: Vec<u8>,
    /// So many bytes at the front are to be sent.
    pub(crate) used: usize,
}

/// Buffers for the next recipients, the one used last on top: it is still in the cache.
#[derive(Default)]
pub(crate) struct OutputPool {
    free: Vec<OutputBuffer>,
}

impl OutputPool {
    fn take(&mut self) -> OutputBuffer {
        self.free
            .pop()
            .unwrap_or_else(|| OutputBuffer { bytes: vec![0; OUTPUT_BUFFER_BYTES], used: 0 })
    }

    fn put(&mut self, mut buffer: OutputBuffer) {
        // What waited behind a send was of another size.
        if self.free.len() < OUTPUT_BUFFERS_KEPT_MAX && buffer.bytes.len() == OUTPUT_BUFFER_BYTES {
            buffer.used = 0;
            self.free.push(buffer);
        }
    }
}

/// The output of one connection.
#[derive(Default)]
pub(crate) struct Outbox {
    sealing: Option<OutputBuffer>,
    /// How many bytes the driver is finishing.
    in_flight: Option<usize>,
    /// What was sealed meanwhile.
    behind: Vec<u8>,
}

/// What came of sending.
pub(crate) enum Flushed {
    /// Nothing is left, or the driver is at it.
    Done,
    /// The kernel is full: the driver has to finish this.
    Short(Vec<u8>),
    /// The connection is over.
    Broken,
}

impl Outbox {
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Offers at least `room` bytes to `seal`, and returns how many are sealed now.
    #[inline]
    pub(crate) fn seal(
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

    /// Whether everything has been given to the kernel.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.behind.is_empty() && self.sealing.is_none()
    }

    /// Appends bytes of a handshake.
    pub(crate) fn append(&mut self, pool: &mut OutputPool, bytes: &[u8]) {
        self.put_behind(pool);
        self.behind.extend_from_slice(bytes);
    }

    fn put_behind(&mut self, pool: &mut OutputPool) {
        if let Some(buffer) = self.sealing.take() {
            self.behind.extend_from_slice(&buffer.bytes[..buffer.used]);
            pool.put(buffer);
        }
    }

    /// Sends what the kernel takes at once, with one call of `send`, which returns how many bytes that was.
    #[inline]
    pub(crate) fn flush(
        &mut self,
        pool: &mut OutputPool,
        send: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> Flushed {
        if self.in_flight.is_some() {
            self.put_behind(pool);
            return if self.is_overfull() { Flushed::Broken } else { Flushed::Done };
        }
        if !self.behind.is_empty() {
            self.put_behind(pool);
            let behind = std::mem::take(&mut self.behind);
            return self.send(&behind, send);
        }
        let Some(buffer) = self.sealing.take() else { return Flushed::Done };
        let flushed = self.send(&buffer.bytes[..buffer.used], send);
        pool.put(buffer);
        flushed
    }

    /// Sends bytes that are sealed elsewhere, while nothing waits in here, like [`flush`](Self::flush).
    pub(crate) fn send_past(
        &mut self,
        sealed: &[u8],
        send: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> Flushed {
        assert!(self.is_empty(), "nothing overtakes what waits");
        self.send(sealed, send)
    }

    fn send(&mut self, bytes: &[u8], send: impl FnOnce(&[u8]) -> io::Result<usize>) -> Flushed {
        match send(bytes) {
            Ok(sent) if sent == bytes.len() => Flushed::Done,
            Ok(sent) => {
                self.in_flight = Some(bytes.len() - sent);
                Flushed::Short(bytes[sent..].to_vec())
            }
            Err(_) => Flushed::Broken,
        }
    }

    /// The driver ended a send. Whether all of it was sent.
    pub(crate) fn finished(&mut self, sent: io::Result<usize>) -> bool {
        let expected = self.in_flight.take();
        sent.ok() == expected
    }

    /// Whether more waits behind what is being sent than a peer that reads would let come together.
    pub(crate) fn is_overfull(&self) -> bool {
        self.behind.len() > BEHIND_BYTES_MAX
    }

    /// Hands everything over for a send that owns its buffer, to be ended with [`sent`](Self::sent); `None` if
    /// there is nothing, or one is at work.
    pub(crate) fn take(&mut self, pool: &mut OutputPool) -> Option<OutputBuffer> {
        if self.in_flight.is_some() {
            return None;
        }
        let buffer = if self.behind.is_empty() {
            self.sealing.take()?
        } else {
            self.put_behind(pool);
            let bytes = std::mem::take(&mut self.behind);
            OutputBuffer { used: bytes.len(), bytes }
        };
        self.in_flight = Some(buffer.used);
        Some(buffer)
    }

    /// A send that owned its buffer has ended.
    pub(crate) fn sent(&mut self, pool: &mut OutputPool, bytes: Vec<u8>) {
        self.in_flight = None;
        pool.put(OutputBuffer { bytes, used: 0 });
    }

    pub(crate) fn release(&mut self, pool: &mut OutputPool) {
        if let Some(buffer) = self.sealing.take() {
            pool.put(buffer);
        }
        self.behind = Vec::new();
    }
}
