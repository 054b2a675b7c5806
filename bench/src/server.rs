//! A server under measurement: a child process on a processor of its own.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::procfs::{self, Resident};

/// A child that ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the floor on processor `cpu`.
    pub(crate) fn floor(cpu: usize) -> Result<Self> {
        let this = std::env::current_exe().context("this program cannot find itself")?;
        let arguments = [OsString::from("floor"), "--listen".into(), "127.0.0.1:0".into()];
        let mut child = spawn(cpu, &this, &arguments, Stdio::piped(), &[])?;
        let stdout = child.stdout.take().context("a child without output")?;
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said: serde_json::Value =
            serde_json::from_str(&line).context("the floor did not start")?;
        server.address = said["listen"].as_str().context("no address")?.parse()?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory.
    pub(crate) fn resident(&self) -> Result<Resident> {
        procfs::resident(self.pid())
    }
}

impl Drop for Server {
    /// At once: what it has written goes with its directory.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `program` on processor `cpu`, in a session of its own, under the same process ID as the
/// child that is returned.
fn spawn(
    cpu: usize,
    program: &Path,
    arguments: &[OsString],
    output: Stdio,
    environment: &[(&str, &Path)],
) -> Result<Child> {
    let this = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = Command::new(this);
    command.arg("pinned").arg("--cpu").arg(cpu.to_string()).arg("--").arg(program);
    command.args(arguments).stdin(Stdio::null()).stdout(output);
    for (name, value) in environment {
        command.env(name, value);
    }
    command.spawn().context("starting a child failed")
}
