//! monoio on its io_uring driver.

use std::future::poll_fn;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use hushwire_relay::transport::limits::SCRATCH_BYTES;
use monoio::buf::{IoBuf as _, IoBufMut as _};
use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt as _, Splitable as _};
use monoio::net::TcpStream;
use monoio::net::tcp::{TcpOwnedReadHalf, TcpOwnedWriteHalf};
use monoio::{IoUringDriver, RuntimeBuilder};

use super::completion::{self, Completion, Port};
use super::{Shared, announce, keep_flushing, share};
use crate::forwarder::connection::Place;
use crate::limits::BASELINE_RING_ENTRIES;

/// Forwards until the process is ended.
pub(super) fn serve(listener: TcpListener) -> Result<()> {
    let mut ring = completion::ring();
    ring.setup_defer_taskrun();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(ring)
        .with_entries(BASELINE_RING_ENTRIES)
        .build()?;
    let shared = share(Completion::default())?;
    runtime.block_on(async move {
        announce(&listener)?;
        let listener = monoio::net::TcpListener::from_std(listener)?;
        monoio::spawn(keep_flushing(Rc::clone(&shared)));
        loop {
            let (stream, _) = listener.accept().await.context("accepting failed")?;
            admit(&shared, stream);
        }
    })
}

fn admit(shared: &Shared<Completion>, stream: TcpStream) {
    let port = Port::new(stream.as_raw_fd());
    let Some(place) = shared.borrow_mut().admit(port) else { return };
    let (reader, writer) = stream.into_split();
    monoio::spawn(read(Rc::clone(shared), place, reader));
    monoio::spawn(write(Rc::clone(shared), place, writer));
}

async fn read(shared: Shared<Completion>, place: Place, mut reader: TcpOwnedReadHalf) {
    let mut scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
    loop {
        let begun = shared.borrow_mut().begin(place, &mut scratch);
        let Some(mut cursor) = begun else { break };
        let at = cursor.end();
        let (received, slice) = reader.read(scratch.slice_mut(at..)).await;
        scratch = slice.into_inner();
        let Ok(count @ 1..) = received else { break };
        let mut forwarder = shared.borrow_mut();
        if forwarder.received(place.index, &mut scratch, &mut cursor, count).is_err() {
            break;
        }
    }
    shared.borrow_mut().leave(place);
}

async fn write(shared: Shared<Completion>, place: Place, mut writer: TcpOwnedWriteHalf) {
    let next = || poll_fn(|context| shared.borrow_mut().poll_output(place, context));
    while let Some(buffer) = next().await {
        let (sent, slice) = writer.write_all(buffer.bytes.slice(..buffer.used)).await;
        shared.borrow_mut().sent(place, slice.into_inner(), sent.is_ok());
    }
}
