//! The control thread: health and metrics for machines, the admin socket for people, and the supervision
//! of the shards. It has the only async runtime of the relay, and never touches a cell.
//!
//! Nobody who reaches it can make it grow or wait without bound ([`limits`]); what they send wrong is
//! answered with a sentence.
//!
//! | file | what |
//! |---|---|
//! | `admin` | what `hushctl` and the relay say to each other |
//! | `socket` | the admin socket: its file, and who may speak |
//! | `conversation` | one client of the admin socket |
//! | `operator` | what an operator can ask for, carried out |
//! | `http` | `/livez`, `/readyz`, `/metrics` |
//! | `phase` | where the relay is between its start and its end |
//! | `supervision` | shards that end, and what follows |
//! | `memory`, `housekeeping` | how much the process holds, and giving back what it does not need |

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod admin;
mod conversation;
mod housekeeping;
pub(crate) mod http;
pub mod limits;
mod memory;
pub(crate) mod operator;
pub(crate) mod phase;
pub(crate) mod socket;
pub(crate) mod supervision;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use operator::Operator;
use phase::Phase;
use socket::AdminSocket;
use supervision::{Ended, RelayError, ShardThreads};

/// What the control thread is built from.
#[derive(Debug)]
pub(crate) struct ControlParts {
    pub(crate) operator: Arc<Operator>,
    pub(crate) http: std::net::TcpListener,
    pub(crate) admin: AdminSocket,
    pub(crate) shards: ShardThreads,
}

/// Starts the control thread. It ends when all shards have ended, and says why they did.
///
/// # Errors
/// The system's, when it has no thread or descriptor left. The shards have been told to stop then.
pub(crate) fn spawn(parts: ControlParts) -> io::Result<JoinHandle<Result<(), RelayError>>> {
    let ControlParts { operator, http, admin, shards } = parts;
    let ended = Ended::new(Arc::clone(&operator));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .thread_name("control-helper")
        .build()?;
    let (http, clients) = {
        let _entered = runtime.enter();
        (TcpListener::from_std(http)?, UnixListener::from_std(admin.listener()?)?)
    };
    std::thread::Builder::new().name("control".into()).spawn(move || {
        let outcome = runtime.block_on(run(Arc::clone(&operator), http, clients, shards));
        drop(runtime);
        drop(admin);
        drop(operator);
        drop(ended);
        outcome
    })
}

async fn run(
    operator: Arc<Operator>,
    http: TcpListener,
    clients: UnixListener,
    shards: ShardThreads,
) -> Result<(), RelayError> {
    let mut servers = JoinSet::new();
    servers.spawn(http::serve(http, Arc::clone(&operator)));
    servers.spawn(conversation::serve(clients, Arc::clone(&operator)));
    let housekeeping = tokio::spawn(housekeeping::keep(Arc::clone(&operator)));
    let outcome =
        supervision::supervise(shards, &operator.phase, |order| operator.order(order)).await;
    housekeeping.abort();
    operator.phase.raise(Phase::Leaving);
    // Whoever asked for the end still hears that it came.
    let goodbye = Duration::from_millis(limits::GOODBYE_MS);
    if tokio::time::timeout(goodbye, servers.join_all()).await.is_err() {
        tracing::debug!("a client of the control thread was cut off");
    }
    outcome
}
