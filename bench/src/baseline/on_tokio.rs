//! tokio: a task for every connection that reads when the socket is ready, into one scratch for all.

use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, Result};
use hushwire_relay::transport::limits::SCRATCH_BYTES;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use super::{Batching, Shared, announce, keep_flushing, share};
use crate::forwarder::connection::Place;
use crate::forwarder::output::{Flushed, Outbox, OutputPool};
use crate::forwarder::{Driver, Forwarder, Over};
use crate::limits::READS_PER_TURN;

struct Readiness {
    flusher: Option<Waker>,
    scratch: Box<[u8]>,
}

struct Port {
    writer: OwnedWriteHalf,
    /// What the kernel had no room for, from `sent` on.
    rest: Vec<u8>,
    sent: usize,
    /// The connection's task, once it has run.
    task: Option<Waker>,
    /// The task still runs.
    attended: bool,
}

impl Driver for Readiness {
    type Port = Port;

    fn output_waits(&mut self) {
        if let Some(flusher) = &self.flusher {
            flusher.wake_by_ref();
        }
    }

    fn flush(
        &mut self,
        _: Place,
        port: &mut Port,
        outbox: &mut Outbox,
        pool: &mut OutputPool,
    ) -> Result<(), Over> {
        let flushed = outbox.flush(pool, |bytes| send(&port.writer, bytes));
        port.keep_rest(flushed)
    }

    const SENDS_PAST: bool = true;

    fn send_past(
        &mut self,
        _: Place,
        port: &mut Port,
        outbox: &mut Outbox,
        sealed: &[u8],
    ) -> Result<(), Over> {
        let flushed = outbox.send_past(sealed, |bytes| send(&port.writer, bytes));
        port.keep_rest(flushed)
    }

    fn shut(&mut self, _: Place, port: &mut Port, _: &Outbox) {
        // A connection that is over cannot be shut down any further.
        let _ = shutdown(port.writer.as_ref(), Shutdown::Both);
        port.wake();
    }

    fn is_watched(port: &Port) -> bool {
        port.attended
    }
}

impl Batching for Readiness {
    fn flusher(&mut self) -> &mut Option<Waker> {
        &mut self.flusher
    }
}

impl Port {
    /// Leaves what the kernel had no room for to the connection's task.
    fn keep_rest(&mut self, flushed: Flushed) -> Result<(), Over> {
        match flushed {
            Flushed::Done => {}
            Flushed::Short(rest) => {
                (self.rest, self.sent) = (rest, 0);
                self.wake();
            }
            Flushed::Broken => return Err(Over),
        }
        Ok(())
    }

    fn wake(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// Sends what the kernel has room for.
fn send(writer: &OwnedWriteHalf, bytes: &[u8]) -> io::Result<usize> {
    match writer.try_write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}

/// Forwards until the process is ended.
pub(super) fn serve(listener: TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_io().build_local(LocalOptions::default())?;
    let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
    let shared = share(Readiness { flusher: None, scratch })?;
    runtime.block_on(async move {
        announce(&listener)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        spawn_local(keep_flushing(Rc::clone(&shared)));
        loop {
            let (stream, _) = listener.accept().await.context("accepting failed")?;
            spawn_local(attend(Rc::clone(&shared), stream));
        }
    })
}

/// One connection, from its beginning to its end.
async fn attend(shared: Shared<Readiness>, stream: TcpStream) {
    let (mut reader, writer) = stream.into_split();
    let port = Port { writer, rest: Vec::new(), sent: 0, task: None, attended: true };
    let Some(place) = shared.borrow_mut().admit(port) else { return };
    poll_fn(|context| turn(&mut shared.borrow_mut(), place, &mut reader, context)).await;
    let mut forwarder = shared.borrow_mut();
    if let Some(connection) = forwarder.connection(place) {
        connection.port.attended = false;
        // Nobody sends the rest any more.
        let _ = connection.outbox.finished(Ok(0));
        forwarder.close(place.index);
        forwarder.settle(place.index);
    }
}

/// What one wake of a connection's task is good for. It is ready when the connection is over.
fn turn(
    forwarder: &mut Forwarder<Readiness>,
    place: Place,
    reader: &mut OwnedReadHalf,
    context: &mut Context<'_>,
) -> Poll<()> {
    let mut scratch = std::mem::take(&mut forwarder.driver.scratch);
    let turn = finish(forwarder, place, context)
        .and_then(|()| read(forwarder, place, reader, &mut scratch, context));
    forwarder.driver.scratch = scratch;
    forwarder.flush_if_many();
    match turn {
        Ok(()) => Poll::Pending,
        Err(Over) => Poll::Ready(()),
    }
}

/// Goes on with a send that found no room.
fn finish(
    forwarder: &mut Forwarder<Readiness>,
    place: Place,
    context: &mut Context<'_>,
) -> Result<(), Over> {
    let connection = forwarder.connection(place).ok_or(Over)?;
    let port = &mut connection.port;
    port.task.get_or_insert_with(|| context.waker().clone());
    if port.rest.is_empty() {
        return Ok(());
    }
    while port.sent < port.rest.len() {
        match port.writer.as_ref().poll_write_ready(context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(ready) => ready.map_err(|_| Over)?,
        }
        port.sent += send(&port.writer, &port.rest[port.sent..]).map_err(|_| Over)?;
    }
    port.rest = Vec::new();
    let sent = std::mem::take(&mut port.sent);
    if !connection.outbox.finished(Ok(sent)) {
        return Err(Over);
    }
    forwarder.mark_dirty(place.index);
    Ok(())
}

/// Reads until the connection is dry or others have waited long enough.
fn read(
    forwarder: &mut Forwarder<Readiness>,
    place: Place,
    reader: &mut OwnedReadHalf,
    scratch: &mut [u8],
    context: &mut Context<'_>,
) -> Result<(), Over> {
    for _ in 0..READS_PER_TURN {
        match reader.as_ref().poll_read_ready(context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(ready) => ready.map_err(|_| Over)?,
        }
        let mut cursor = forwarder.begin(place, scratch).ok_or(Over)?;
        let at = cursor.end();
        let mut room = ReadBuf::new(&mut scratch[at..]);
        // After a short read, tokio knows that the socket is dry, and the next turn asks nobody.
        let dry = match Pin::new(&mut *reader).poll_read(context, &mut room) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) if !room.filled().is_empty() => false,
            Poll::Ready(Ok(()) | Err(_)) => return Err(Over),
        };
        let count = room.filled().len();
        forwarder.received(place.index, scratch, &mut cursor, count)?;
        if dry {
            return Ok(());
        }
    }
    context.waker().wake_by_ref();
    Ok(())
}
