//! The relay, which comes back on its port and its directory.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use hushwire_tools::relay_process::{Options, RelayProcess};

use super::people;

/// Shards: cells between the devices cross from one to the other.
const SHARDS: usize = 2;

#[derive(Debug)]
pub(crate) struct Relay {
    options: Options,
    running: Option<RelayProcess>,
    pub(crate) start_at: Option<Instant>,
    pub(crate) lives: u64,
}

impl Relay {
    /// Starts it for the first time.
    pub(crate) fn start_first(hush: &Path, data_dir: PathBuf) -> Result<Self> {
        let address = format!("\"127.0.0.1:{}\"", free_port()?);
        let mut options = Options::new(hush).shards(SHARDS).set("listen", "address", address);
        options.prefix = vec!["daemon".to_owned()];
        options.data_dir = Some(data_dir);
        let running = Some(RelayProcess::start(&options)?);
        Ok(Self { options, running, start_at: None, lives: 1 })
    }

    pub(crate) fn process(&self) -> Option<&RelayProcess> {
        self.running.as_ref()
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.running.is_none() && self.start_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        self.start_at = None;
        self.running = Some(RelayProcess::start(&self.options)?);
        self.lives += 1;
        Ok(())
    }

    /// No bug was counted up to now.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let bugs = running.status()?.totals.get("bugs").copied();
        ensure!(bugs == Some(0), "the relay counts {bugs:?} bugs: {}", running.log()?);
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.check()?;
        if let Some(running) = self.running.take() {
            drop(running.kill()?);
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        self.check()?;
        let status = self.running.take().context("the relay does not run")?.stop()?;
        ensure!(status.success(), "the relay ended with {status}");
        Ok(())
    }
}

/// A port to come back on: below those that the system gives to connections.
fn free_port() -> Result<u16> {
    for _ in 0..1_000 {
        let random = people::random(2);
        let port = 10_000 + u16::from_le_bytes([random[0], random[1]]) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}
