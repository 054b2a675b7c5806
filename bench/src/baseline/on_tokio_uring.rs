//! tokio-uring: tokio's tasks on a ring that tokio waits for with epoll.

use std::future::poll_fn;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use hushwire_relay::transport::limits::SCRATCH_BYTES;
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::TcpStream;

use super::completion::{self, Completion, Port};
use super::{Shared, announce, keep_flushing, share};
use crate::forwarder::connection::Place;
use crate::limits::BASELINE_RING_ENTRIES;

/// Forwards until the process is ended.
pub(super) fn serve(listener: TcpListener) -> Result<()> {
    let mut ring = completion::ring();
    // Not DEFER_TASKRUN: whoever waits with epoll does not let the kernel do what it has put off.
    ring.setup_coop_taskrun();
    let shared = share(Completion::default())?;
    let mut builder = tokio_uring::builder();
    builder.entries(BASELINE_RING_ENTRIES).uring_builder(&ring).start(async move {
        announce(&listener)?;
        let listener = tokio_uring::net::TcpListener::from_std(listener);
        tokio_uring::spawn(keep_flushing(Rc::clone(&shared)));
        loop {
            let (stream, _) = listener.accept().await.context("accepting failed")?;
            admit(&shared, stream);
        }
    })
}

fn admit(shared: &Shared<Completion>, stream: TcpStream) {
    let port = Port::new(stream.as_raw_fd());
    let Some(place) = shared.borrow_mut().admit(port) else { return };
    let stream = Rc::new(stream);
    tokio_uring::spawn(read(Rc::clone(shared), place, Rc::clone(&stream)));
    tokio_uring::spawn(write(Rc::clone(shared), place, stream));
}

async fn read(shared: Shared<Completion>, place: Place, stream: Rc<TcpStream>) {
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        let begun = shared.borrow_mut().begin(place, &mut scratch);
        let Some(mut cursor) = begun else { break };
        let at = cursor.end();
        let (received, slice) = stream.read(scratch.slice(at..)).await;
        scratch = slice.into_inner();
        let Ok(count @ 1..) = received else { break };
        let mut forwarder = shared.borrow_mut();
        if forwarder.received(place.index, &mut scratch, &mut cursor, count).is_err() {
            break;
        }
    }
    shared.borrow_mut().leave(place);
}

async fn write(shared: Shared<Completion>, place: Place, stream: Rc<TcpStream>) {
    let next = || poll_fn(|context| shared.borrow_mut().poll_output(place, context));
    while let Some(buffer) = next().await {
        let (sent, slice) = stream.write_all(buffer.bytes.slice(..buffer.used)).await;
        shared.borrow_mut().sent(place, slice.into_inner(), sent.is_ok());
    }
}
