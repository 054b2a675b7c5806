//! A relay for the duration of a measurement: its configuration, and the moment it is ready.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{DEVICES_PER_ACCOUNT_MAX, START_MAX};

/// How often a start looks whether the child still lives.
const LOOK: Duration = Duration::from_millis(100);

/// What a relay is to be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Devices that connect at the same time.
    pub(crate) devices: usize,
    pub(crate) shards: usize,
    /// Cells that may wait between two shards, where that is not to be the relay's default.
    pub(crate) mesh_cells: Option<usize>,
}

/// Files of a relay, which go with this value.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    ready: UnixDatagram,
}

impl Home {
    /// Writes the configuration of a relay with one shard and no limits on rates, for `devices`.
    pub(crate) fn new(devices: usize) -> Result<Self> {
        Self::with(Setup { devices, shards: 1, mesh_cells: None })
    }

    /// Writes the configuration of a relay without limits on rates, and with room for all devices in one account.
    pub(crate) fn with(setup: Setup) -> Result<Self> {
        let directory = TempDir::with_prefix("hush-bench-")?;
        let ready = UnixDatagram::bind(directory.path().join("notify"))?;
        ready.set_read_timeout(Some(LOOK))?;
        let home = Self { directory, ready };
        let data = home.directory.path().join("data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        fs::write(home.configuration(), home.text(&data, setup)?)?;
        Ok(home)
    }

    /// The configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.path().join("hushwired.toml")
    }

    /// The admin socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// Where the relay says that it is ready (`NOTIFY_SOCKET` of sd_notify(3)).
    pub(crate) fn notify_socket(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    fn text(&self, data: &Path, setup: Setup) -> Result<String> {
        let Setup { devices, shards, mesh_cells } = setup;
        let mut text = String::new();
        writeln!(text, "[listen]\naddress = \"127.0.0.1:0\"")?;
        writeln!(text, "[relay]")?;
        writeln!(text, "data_dir = {:?}\nshards = {shards}", data.display().to_string())?;
        writeln!(text, "[control]\nlisten = \"127.0.0.1:0\"")?;
        writeln!(text, "admin_socket = {:?}", self.admin_socket().display().to_string())?;
        writeln!(text, "[limits]\nhandshakes_per_s = 100000")?;
        writeln!(text, "cells_per_s = 10000000\nbytes_per_s = 1000000000000")?;
        writeln!(text, "operations_per_minute = 100000")?;
        writeln!(text, "devices_per_account = {DEVICES_PER_ACCOUNT_MAX}")?;
        // Those of the last round may still be closing while the next connects.
        let connections = (2 * devices).clamp(1_024, 16_384);
        writeln!(text, "connections_max = {connections}")?;
        writeln!(text, "unauthenticated_connections_max = {}", connections.min(4_096))?;
        if let Some(cells) = mesh_cells {
            writeln!(text, "mesh_cells_max = {cells}")?;
        }
        writeln!(text, "[log]\nlevel = \"warn\"\nformat = \"stderr\"")?;
        Ok(text)
    }

    /// Waits until the relay says that it is ready.
    pub(crate) fn wait_until_ready(&self, child: &mut Child, interrupt: &Interrupt) -> Result<()> {
        let clock = Clock::start();
        let mut message = [0; 4_096];
        while clock.now_ns() < START_MAX.as_nanos() as u64 {
            interrupt.check()?;
            match self.ready.recv(&mut message) {
                Ok(count) => {
                    let said = String::from_utf8_lossy(&message[..count]);
                    if said.lines().any(|line| line == "READY=1") {
                        return Ok(());
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = child.try_wait().context("the relay cannot be waited for")? {
                bail!("the relay ended before it was ready ({status})");
            }
        }
        bail!("the relay was not ready after {START_MAX:?}")
    }
}
