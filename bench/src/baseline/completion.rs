//! What monoio and tokio-uring have in common: an operation owns its buffer until it completes.
//!
//! A connection has a task that reads, into a buffer of its own, and one that writes: it takes everything
//! that was sealed for its connection, hands it to the kernel, and brings the buffer back.

use std::os::fd::RawFd;
use std::task::{Context, Poll, Waker};

use io_uring_06::{Builder, IoUring};
use nix::sys::socket::{Shutdown, shutdown};

use super::Batching;
use crate::forwarder::connection::{Connection, Place};
use crate::forwarder::output::{Outbox, OutputBuffer, OutputPool};
use crate::forwarder::{Driver, Forwarder, Over};

#[derive(Default)]
pub(super) struct Completion {
    flusher: Option<Waker>,
}

pub(super) struct Port {
    /// Open until the two tasks have ended.
    descriptor: RawFd,
    /// The task that writes, while it has nothing to do.
    writer: Option<Waker>,
    /// The task that reads still runs.
    attended: bool,
}

impl Port {
    pub(super) fn new(descriptor: RawFd) -> Self {
        Self { descriptor, writer: None, attended: true }
    }

    fn wake_writer(&self) {
        if let Some(writer) = &self.writer {
            writer.wake_by_ref();
        }
    }
}

impl Driver for Completion {
    type Port = Port;

    fn output_waits(&mut self) {
        if let Some(flusher) = &self.flusher {
            flusher.wake_by_ref();
        }
    }

    /// Only the task that writes can send; it goes on by itself if it is at it.
    fn flush(
        &mut self,
        _: Place,
        port: &mut Port,
        outbox: &mut Outbox,
        _: &mut OutputPool,
    ) -> Result<(), Over> {
        if outbox.is_overfull() {
            return Err(Over);
        }
        port.wake_writer();
        Ok(())
    }

    /// Every operation on the connection completes then, and the tasks see that it is over.
    fn shut(&mut self, _: Place, port: &mut Port, _: &Outbox) {
        // A connection that is over cannot be shut down any further.
        let _ = shutdown(port.descriptor, Shutdown::Both);
        port.wake_writer();
    }

    fn is_watched(port: &Port) -> bool {
        port.attended
    }
}

impl Batching for Completion {
    fn flusher(&mut self) -> &mut Option<Waker> {
        &mut self.flusher
    }
}

impl Forwarder<Completion> {
    /// What is to be sent next, as soon as the batch is processed; `None` if the connection is over.
    pub(super) fn poll_output(
        &mut self,
        place: Place,
        context: &mut Context<'_>,
    ) -> Poll<Option<OutputBuffer>> {
        let slot = &mut self.slots[place.index as usize];
        let connection = slot.connection.as_deref_mut();
        let current = connection.filter(|it| !it.is_closing());
        let Some(connection) = current.filter(|_| slot.generation == place.generation) else {
            return Poll::Ready(None);
        };
        let Connection { port, outbox, dirty, .. } = connection;
        // What is on the list of the batch still grows.
        if !*dirty && let Some(buffer) = outbox.take(&mut self.output) {
            return Poll::Ready(Some(buffer));
        }
        port.writer.get_or_insert_with(|| context.waker().clone());
        Poll::Pending
    }

    /// A buffer of [`poll_output`](Self::poll_output) came back; `whole` says whether all of it was sent.
    pub(super) fn sent(&mut self, place: Place, bytes: Vec<u8>, whole: bool) {
        let slot = &mut self.slots[place.index as usize];
        let Some(connection) = slot.connection.as_deref_mut() else { return };
        connection.outbox.sent(&mut self.output, bytes);
        if !whole {
            self.close(place.index);
        }
        self.settle(place.index);
    }

    /// The task that reads has ended.
    pub(super) fn leave(&mut self, place: Place) {
        if let Some(connection) = self.connection(place) {
            connection.port.attended = false;
            self.close(place.index);
            self.settle(place.index);
        }
    }
}

/// The rings of both are set up like the floor's, as far as either can live with it.
pub(super) fn ring() -> Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_submit_all();
    builder
}
