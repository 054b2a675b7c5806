//! A server under measurement: a child process on a processor of its own.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::baseline::Runtime;
use crate::interrupt::Interrupt;
use crate::load::Transport;
use crate::procfs::{self, Resident};
use crate::relay_child::Home;

/// A child that ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// The relay's files, which outlive it.
    home: Option<Home>,
    /// A peer's files, which end with it.
    _files: Option<TempDir>,
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Server {
    /// Starts the floor on processor `cpu`.
    pub(crate) fn floor(transport: Transport, cpu: usize) -> Result<Self> {
        let transport = transport.to_string();
        Self::bare(cpu, &["floor", "--transport", &transport].map(OsString::from))
    }

    /// Starts a baseline on processor `cpu`.
    pub(crate) fn baseline(on: Runtime, cpu: usize) -> Result<Self> {
        Self::bare(cpu, &["baseline", "--on", on.name()].map(OsString::from))
    }

    /// Starts a server of handshakes alone on processor `cpu`, with this certificate and its key.
    pub(crate) fn greeter(cpu: usize, identity: &[PathBuf; 2]) -> Result<Self> {
        let mut arguments = ["greeter", "--certificate", "", "--key", ""].map(OsString::from);
        let [certificate, key] = identity;
        arguments[2] = certificate.into();
        arguments[4] = key.into();
        Self::bare(cpu, &arguments)
    }

    /// Starts one that says where it listens, and nothing else.
    fn bare(cpu: usize, command: &[OsString]) -> Result<Self> {
        let this = std::env::current_exe().context("this program cannot find itself")?;
        let arguments = [command, &["--listen", "127.0.0.1:0"].map(OsString::from)].concat();
        let pipes = Pipes { output: Stdio::piped(), ..Pipes::none() };
        let mut child = spawn(&[cpu], &this, &arguments, pipes, &[])?;
        let stdout = child.stdout.take().context("a child without output")?;
        let mut server = Self { child, address: NOWHERE, home: None, _files: None };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said: serde_json::Value = serde_json::from_str(&line)
            .with_context(|| format!("{} did not start", command[0].display()))?;
        server.address = said["listen"].as_str().context("no address")?.parse()?;
        Ok(server)
    }

    /// Starts a relay on processors `cpus` with the files of `home`: `binary`, or the one in this program.
    pub(crate) fn relay(
        cpus: &[usize],
        binary: Option<&Path>,
        home: Home,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let (program, mut arguments) = match binary {
            Some(binary) => (binary.to_owned(), Vec::new()),
            None => (std::env::current_exe()?, vec![OsString::from("relay")]),
        };
        arguments.extend([OsString::from("--config"), home.configuration().into()]);
        let notify = home.notify_socket();
        let environment = [("NOTIFY_SOCKET", notify.as_path())];
        let child = spawn(cpus, &program, &arguments, Pipes::none(), &environment)?;
        let mut server = Self { child, address: NOWHERE, home: None, _files: None };
        home.wait_until_ready(&mut server.child, interrupt)?;
        let status = Admin::open(&home.admin_socket())?.status()?;
        let listen = status["listen"][0].as_str().context("a relay that listens nowhere")?;
        server.address = listen.parse().context("an address that is none")?;
        server.home = Some(home);
        Ok(server)
    }

    /// A child that was started elsewhere, with its files.
    pub(crate) const fn peer(child: Child, address: SocketAddr, files: TempDir) -> Self {
        Self { child, address, home: None, _files: Some(files) }
    }

    /// Has the kernel's scheduler prefer all of its threads to whatever else wants the processor; root may.
    pub(crate) fn under_fifo(&self) -> Result<()> {
        let pid = self.pid().to_string();
        let done =
            Command::new("chrt").args(["--all-tasks", "--fifo", "--pid", "1", &pid]).status();
        let done = done.context("starting chrt failed: it belongs to util-linux")?;
        ensure!(done.success(), "SCHED_FIFO needs root");
        Ok(())
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Ends it, and leaves its files. The floor has none.
    pub(crate) fn end(mut self) -> Option<Home> {
        self.home.take()
    }

    /// Where a relay can be asked; the floor has nothing to say.
    pub(crate) fn admin_socket(&self) -> Option<PathBuf> {
        self.home.as_ref().map(Home::admin_socket)
    }

    /// The files that a relay's certificate and key are in.
    pub(crate) fn identity(&self) -> Option<[PathBuf; 2]> {
        self.home.as_ref().map(Home::identity)
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
    /// At once: what it was asked to keep is on disk, and nobody will miss its goodbyes.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child reads and writes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) input: Stdio,
    pub(crate) output: Stdio,
    pub(crate) errors: Stdio,
}

impl Pipes {
    /// It reads nothing, and only its complaints are seen.
    pub(crate) fn none() -> Self {
        Self { input: Stdio::null(), output: Stdio::null(), errors: Stdio::inherit() }
    }
}

/// Starts `program` on processors `cpus`, in a session of its own, under the same process ID as the
/// child that is returned.
pub(crate) fn spawn(
    cpus: &[usize],
    program: &Path,
    arguments: &[OsString],
    pipes: Pipes,
    environment: &[(&str, &Path)],
) -> Result<Child> {
    let this = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = Command::new(this);
    let cpus: Vec<_> = cpus.iter().map(usize::to_string).collect();
    command.arg("pinned").arg("--cpu").arg(cpus.join(",")).arg("--").arg(program);
    command.args(arguments).stdin(pipes.input).stdout(pipes.output).stderr(pipes.errors);
    for (name, value) in environment {
        command.env(name, value);
    }
    command.spawn().context("starting a child failed")
}
