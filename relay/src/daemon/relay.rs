//! A running relay.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hushwire_wire::id::RelayId;

use super::{RelayError, StartError, start};
use crate::config::Config;
use crate::control::operator::{Operator, OperatorError};
use crate::control::phase::{Phase, PhaseCell};
use crate::control::supervision::message;

/// A running relay: its shards, its store and its control thread.
///
/// It has no state outside of itself, so several can run in one process. Dropping it stops it at once and
/// waits for its threads.
///
/// ```no_run
/// use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = r#"
///     [listen]
///     address = "127.0.0.1:0"
///     [relay]
///     data_dir = "/tmp/example/data"
///     shards = 1
///     [control]
///     listen = "127.0.0.1:0"
///     admin_socket = "/tmp/example/admin.sock"
/// "#;
/// let config = hushwire_relay::config::check(text, "example.toml".as_ref()).expect("no typo");
/// let relay = hushwire_relay::daemon::Relay::start(config)?;
/// let invite = relay.invite(Duration::from_secs(600))?;
/// println!("a device may enrol at {} with {invite}", relay.address());
/// relay.drain();
/// relay.wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Relay {
    pub(super) operator: Arc<Operator>,
    pub(super) admin_socket: PathBuf,
    /// `None` once joined.
    pub(super) control: Option<JoinHandle<Result<(), RelayError>>>,
}

impl Relay {
    /// Starts a relay and returns when it serves.
    ///
    /// It raises the process's limit of open files if it has to. It reads no environment, installs no
    /// signal handler and sets up no logging: that is the program's business.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        start::start(&config)
    }

    /// Where devices connect. The port is the actual one also where 0 was configured.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.operator.about.listen
    }

    /// Where `/livez`, `/readyz` and `/metrics` are, by HTTP.
    #[must_use]
    pub fn control_address(&self) -> SocketAddr {
        self.operator.about.control
    }

    /// SHA-256 of the SubjectPublicKeyInfo of its certificate.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        self.operator.about.pin
    }

    /// The ID of the installation.
    #[must_use]
    pub fn relay_id(&self) -> RelayId {
        self.operator.about.relay
    }

    /// Where `hushctl` connects.
    #[must_use]
    pub fn admin_socket(&self) -> &Path {
        &self.admin_socket
    }

    /// Makes an invite for the first device of a new account: a secret that works once, for `ttl`. Waits for
    /// the store.
    ///
    /// # Errors
    /// A life out of bounds, no public address, or the store's.
    pub fn invite(&self, ttl: Duration) -> Result<String, OperatorError> {
        self.operator.invite(None, ttl).map(|invited| invited.text)
    }

    /// What it has counted, over all shards, by the names of [`crate::metrics::catalogue`]. A shard at work
    /// shows its numbers when it next rests.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, u64> {
        self.operator.scrape().totals()
    }

    /// Tells every device to come back later, then stops. Returns at once; [`Relay::wait`] waits for it.
    pub fn drain(&self) {
        self.operator.phase.raise(Phase::Draining);
    }

    /// Stops without waiting for devices. Returns at once; [`Relay::wait`] waits for it.
    pub fn stop(&self) {
        self.operator.phase.raise(Phase::Stopping);
    }

    /// Waits until the relay has ended, by an order or a fault, and its store is closed.
    ///
    /// # Errors
    /// The fault.
    pub fn wait(mut self) -> Result<(), RelayError> {
        self.join()
    }

    pub(super) fn phase(&self) -> &PhaseCell {
        &self.operator.phase
    }

    fn join(&mut self) -> Result<(), RelayError> {
        let Some(control) = self.control.take() else { return Ok(()) };
        control.join().unwrap_or_else(|panic| {
            let thread = "the control thread".to_owned();
            Err(RelayError::Panic { thread, message: message(panic.as_ref()) })
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
        if let Err(error) = self.join() {
            tracing::error!(%error, "a relay ended by a fault");
        }
    }
}
