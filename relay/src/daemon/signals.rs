//! The relay as a process: logs, signals, and what systemd is told.

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Relay, StartError};
use crate::config::Config;
use crate::control::phase::Phase;
use crate::logging;

/// Runs a relay until it ends or is told to.
pub(super) fn run(config: Config) -> Result<(), Failure> {
    let journal_stream = std::env::var_os("JOURNAL_STREAM");
    logging::set_up(&config.log, journal_stream.as_deref()).map_err(Failure::Logging)?;
    let resource = |source| StartError::Resource { what: "listening to signals", source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(resource)?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new().map_err(resource)?
    };
    let relay = Relay::start(config)?;
    notify(NotifyState::Ready);
    runtime.block_on(attend(&relay, &mut signals));
    Ok(relay.wait()?)
}

/// Carries out signals until the relay is over.
async fn attend(relay: &Relay, signals: &mut Signals) {
    let phase = relay.phase();
    let mut stopping = false;
    loop {
        let told = tokio::select! {
            _ = phase.reached(Phase::Ended) => return,
            _ = phase.reached(Phase::Draining), if !stopping => {
                stopping = true;
                notify(NotifyState::Stopping);
                continue;
            }
            told = signals.next() => told,
        };
        match told {
            Told::Stop if phase.now() < Phase::Draining => {
                tracing::info!("told to stop: draining; a second signal stops at once");
                relay.drain();
            }
            Told::Stop => {
                tracing::info!("told to stop again: stopping at once");
                relay.stop();
            }
            Told::Reload => {
                tracing::warn!(
                    "SIGHUP does nothing yet: restart the relay for a new configuration"
                );
            }
        }
    }
}

enum Told {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
        }
    }
}

/// Tells systemd, where it listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
