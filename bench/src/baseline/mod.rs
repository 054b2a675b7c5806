//! The floor's forwarder on async runtimes: what the choice of the relay's own ring is tested against.
//!
//! Each is the best forwarder that one would write with what its runtime offers, on one thread with a task
//! for every connection. tokio tells when a socket is ready, so all connections share one hot buffer, as in
//! the floor; the two that stand on io_uring take a buffer with every operation and give it back with the
//! completion, so every connection needs its own.
//!
//! One more is for QUIC, and shares nothing with them: quinn on tokio, which the relay's own loop around quinn-proto is
//! tested against.

mod completion;
mod on_monoio;
mod on_quinn;
mod on_tokio;
mod on_tokio_uring;

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::str::FromStr;
use std::task::{Poll, Waker};

use anyhow::Result;
use clap::ValueEnum;
use hushwire_uring::sockets::{self, ListenOptions};

use crate::forwarder::{Driver, FlushPolicy, Forwarder};
use crate::limits::{CONNECTIONS_MAX, HELD_BYTES_MAX, HELD_RECIPIENTS_MAX};
use crate::report;

/// A runtime to forward on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// tokio, its current-thread runtime: epoll.
    Tokio,
    /// monoio on its io_uring driver.
    Monoio,
    /// tokio-uring: io_uring, waited for with epoll.
    TokioUring,
    /// quinn on tokio's current-thread runtime: QUIC in place of TLS.
    Quinn,
}

impl Runtime {
    /// Those of the floor's forwarder.
    pub(crate) const ALL: [Self; 3] = [Self::Tokio, Self::Monoio, Self::TokioUring];

    /// What it is called on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Monoio => "monoio",
            Self::TokioUring => "tokio-uring",
            Self::Quinn => "quinn",
        }
    }
}

/// Runtimes to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runtimes(pub(crate) Vec<Runtime>);

impl FromStr for Runtimes {
    type Err = String;

    /// `all`, or names with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Runtime::ALL.to_vec()));
        }
        let find = |name: &str| Runtime::ALL.into_iter().find(|runtime| runtime.name() == name);
        let named: Option<Vec<_>> = text.split(',').map(find).collect();
        let named = named.ok_or_else(|| {
            format!("choose all, or some of {}", Runtime::ALL.map(Runtime::name).join(","))
        })?;
        // Each once, whatever was written.
        Ok(Self(Runtime::ALL.into_iter().filter(|runtime| named.contains(runtime)).collect()))
    }
}

/// Listens on `address`, says where, and forwards until the process is ended.
pub(crate) fn serve(on: Runtime, address: SocketAddr) -> Result<()> {
    hushwire_uring::raise_nofile(CONNECTIONS_MAX as u64 - 1_000)?;
    // TCP_NODELAY is inherited from the listener.
    let listen = || sockets::listen(address, &ListenOptions::default());
    let listener = || Ok::<_, anyhow::Error>(TcpListener::from(listen()?.socket));
    match on {
        Runtime::Tokio => on_tokio::serve(listener()?),
        Runtime::Monoio => on_monoio::serve(listener()?),
        Runtime::TokioUring => on_tokio_uring::serve(listener()?),
        Runtime::Quinn => on_quinn::serve(address),
    }
}

/// Says where it listens, once the runtime stands.
fn announce(listener: &TcpListener) -> Result<()> {
    report::print_address(listener.local_addr()?);
    Ok(())
}

/// What all tasks of a baseline work on.
type Shared<D> = Rc<RefCell<Forwarder<D>>>;

/// A forwarder with the floor's flush policy.
fn share<D: Driver>(driver: D) -> Result<Shared<D>> {
    let policy =
        FlushPolicy { recipients_max: HELD_RECIPIENTS_MAX, held_bytes_max: HELD_BYTES_MAX };
    Ok(Rc::new(RefCell::new(Forwarder::new(driver, policy)?)))
}

/// A driver whose output a task of its own flushes.
trait Batching: Driver {
    /// Wakes that task, once it has run.
    fn flusher(&mut self) -> &mut Option<Waker>;
}

/// Flushes whenever [`Batching::flusher`] is woken. All three runtimes run tasks in the order in which they
/// were woken: woken by the first cell of a batch, this one stands behind every connection that became
/// ready in the same turn of the loop, and sends to each recipient once what all of them brought.
async fn keep_flushing<D: Batching>(shared: Shared<D>) {
    poll_fn(|context| {
        let mut forwarder = shared.borrow_mut();
        forwarder.driver.flusher().get_or_insert_with(|| context.waker().clone());
        forwarder.flush_all();
        Poll::Pending
    })
    .await
}
