//! A relay for the duration of a measurement: its configuration, and the moment it is ready.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hushwire_relay::identity::{CERTIFICATE_FILE, KEY_FILE};
use hushwire_relay::transport::quic::limits::WINDOWS_BYTES;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::limits::{DEVICES_PER_ACCOUNT_MAX, START_MAX};

/// How often a start looks whether the child still lives.
const LOOK: Duration = Duration::from_millis(100);

/// Connections of a relay that is asked for fewer: above its default of handshakes in progress.
const CONNECTIONS_MIN: usize = 1_024;

/// The least that a relay takes for the windows of QUIC, bytes, also where there is none.
const WINDOW_POOL_MIN: usize = 1 << 20;

/// What a relay is to be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Connections of TLS at the same time, at least.
    pub(crate) connections: usize,
    /// Those of QUIC, which take no open files. With 0 there is no QUIC.
    pub(crate) quic_connections: usize,
    pub(crate) shards: usize,
    /// Bytes of cells that may wait between two shards, where that is not to be the relay's default.
    pub(crate) mesh_bytes: Option<usize>,
}

/// Connections of a relay for so many devices: those of the last round may still be closing while the next connects.
pub(crate) fn connections_of(devices: usize) -> usize {
    (2 * devices).min(16_384)
}

/// Files of a relay, which go with this value.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    ready: UnixDatagram,
    setup: Setup,
}

impl Home {
    /// Writes the configuration of a relay with one shard and no limits on rates, for `devices`.
    pub(crate) fn new(devices: usize) -> Result<Self> {
        let connections = connections_of(devices);
        Self::with(Setup {
            connections,
            quic_connections: connections.max(CONNECTIONS_MIN),
            shards: 1,
            mesh_bytes: None,
        })
    }

    /// Writes the configuration of a relay without limits on rates, and with room for all devices in one account.
    pub(crate) fn with(setup: Setup) -> Result<Self> {
        let directory = TempDir::with_prefix("hush-bench-")?;
        let ready = UnixDatagram::bind(directory.path().join("notify"))?;
        ready.set_read_timeout(Some(LOOK))?;
        let home = Self { directory, ready, setup };
        let data = home.data();
        fs::create_dir(&data)?;
        fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        fs::write(home.configuration(), home.text(&data)?)?;
        Ok(home)
    }

    /// The files of another relay that is as this one and knows the same devices. Neither may run.
    pub(crate) fn twin(&self) -> Result<Self> {
        let twin = Self::with(self.setup)?;
        copy(&self.data(), &twin.data()).context("copying the files of a relay failed")?;
        Ok(twin)
    }

    /// The certificate that the relay has made for itself, and its key.
    pub(crate) fn identity(&self) -> [PathBuf; 2] {
        [CERTIFICATE_FILE, KEY_FILE].map(|name| self.data().join(name))
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
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

    fn text(&self, data: &Path) -> Result<String> {
        let Setup { connections, quic_connections, shards, mesh_bytes } = self.setup;
        let connections = connections.max(CONNECTIONS_MIN);
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
        writeln!(text, "connections_max = {connections}")?;
        writeln!(text, "unauthenticated_connections_max = {}", connections.min(4_096))?;
        writeln!(text, "quic_connections_max = {quic_connections}")?;
        let pool = (quic_connections * WINDOWS_BYTES).max(WINDOW_POOL_MIN);
        writeln!(text, "quic_window_pool_bytes = {pool}")?;
        if let Some(bytes) = mesh_bytes {
            writeln!(text, "mesh_bytes_max = {bytes}")?;
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

/// Copies the files of a directory and of those in it into one that exists, with their permissions.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&target)?;
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
