//! A relay in a process of its own, with its data in a temporary directory: for the demo, the tests and
//! the measurements. It is asked to stop, and killed only if it does not.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hushwire_relay::control::admin::Status;
use tempfile::TempDir;

use crate::admin;

/// How long a relay may take to start; making its first key takes most of it.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a relay may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How a relay is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its program.
    pub program: PathBuf,
    /// What stands before its own arguments, where the program is another one.
    pub prefix: Vec<String>,
    /// Shards.
    pub shards: usize,
    /// Further lines of its configuration, by section, such as `("limits", "cells_per_s = 5")`.
    pub settings: Vec<(&'static str, String)>,
    /// Its data directory; a temporary one where absent.
    pub data_dir: Option<PathBuf>,
}

impl Options {
    /// One shard, and limits that a single machine full of devices does not run into.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let limits = [
            "connections_max = 8192",
            "handshakes_per_s = 100000",
            "cells_per_s = 10000000",
            "bytes_per_s = 1099511627776",
            "operations_per_minute = 100000",
            "pair_joins_per_minute = 1000",
        ];
        Self {
            program: program.into(),
            prefix: Vec::new(),
            shards: 1,
            settings: limits.map(|line| ("limits", line.to_owned())).to_vec(),
            data_dir: None,
        }
    }

    /// Sets a key; a later call wins over an earlier one and over what [`Options::new`] set.
    #[must_use]
    pub fn set(mut self, section: &'static str, key: &str, value: impl std::fmt::Display) -> Self {
        let begins = format!("{key} =");
        self.settings.retain(|(other, line)| *other != section || !line.starts_with(&begins));
        self.settings.push((section, format!("{key} = {value}")));
        self
    }

    /// Sets the number of shards.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// The text of its configuration file.
    #[must_use]
    pub fn configuration(&self, data_dir: &Path, socket: &Path) -> String {
        let mut sections = vec![
            ("listen", "address = \"127.0.0.1:0\"".to_owned()),
            ("relay", format!("data_dir = {:?}", data_dir.display().to_string())),
            ("relay", format!("shards = {}", self.shards)),
            ("control", "listen = \"127.0.0.1:0\"".to_owned()),
            ("control", format!("admin_socket = {:?}", socket.display().to_string())),
        ];
        sections.retain(|(section, line)| {
            let key = line.split(" =").next().unwrap_or_default();
            !self.settings.iter().any(|(other, set)| {
                other == section && set.split(" =").next().unwrap_or_default() == key
            })
        });
        sections.extend(self.settings.iter().cloned());
        sections.sort_by_key(|(section, _)| *section);
        let mut text = String::new();
        let mut last = "";
        for (section, line) in &sections {
            if *section != last {
                text.push_str(&format!("[{section}]\n"));
                last = section;
            }
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// A running relay. Dropping it kills it.
#[derive(Debug)]
pub struct RelayProcess {
    child: Child,
    directory: TempDir,
    socket: PathBuf,
    status: Status,
}

impl RelayProcess {
    /// Starts a relay and waits until it says that it is ready.
    ///
    /// # Errors
    /// It did not start; what it printed is part of the error.
    pub fn start(options: &Options) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("hushwire-").tempdir()?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| directory.path().join("data"));
        let socket = directory.path().join("admin.sock");
        let config = directory.path().join("hushwired.toml");
        fs::write(&config, options.configuration(&data_dir, &socket))?;

        // What systemd does for a service of type "notify".
        let notify = directory.path().join("notify.sock");
        let ready = UnixDatagram::bind(&notify)?;
        ready.set_read_timeout(Some(Duration::from_millis(100)))?;
        let log = fs::File::create(directory.path().join("log"))?;
        let mut child = Command::new(&options.program)
            .args(&options.prefix)
            .arg("--config")
            .arg(&config)
            .arg("run")
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", options.program.display()))?;
        let started = await_ready(&ready, &mut child);
        let log = || fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        if let Err(error) = started {
            // It may be gone already.
            let _gone = child.kill();
            child.wait()?;
            bail!("the relay did not start: {error}\n{}", log());
        }
        let status = admin::status(&socket)?;
        Ok(Self { child, directory, socket, status })
    }

    /// Its process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where devices connect.
    #[must_use]
    pub fn address(&self) -> &str {
        self.status.listen.first().map_or("", String::as_str)
    }

    /// Where metrics are.
    #[must_use]
    pub fn control(&self) -> &str {
        &self.status.control
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The temporary directory: `data`, `log` and its configuration.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has printed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> io::Result<String> {
        let mut text = String::new();
        fs::File::open(self.directory.path().join("log"))?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// How it is now.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Status> {
        admin::status(&self.socket)
    }

    /// An invite into a new account.
    ///
    /// # Errors
    /// It does not answer.
    pub fn invite(&self) -> Result<String> {
        admin::invite(&self.socket, None)
    }

    /// Kills it without a word, as a power cut would.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(mut self) -> io::Result<TempDir> {
        self.child.kill()?;
        self.child.wait()?;
        // The directory outlives the process: its tables can be looked at.
        let placeholder = TempDir::new()?;
        Ok(std::mem::replace(&mut self.directory, placeholder))
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// It did not stop by itself and was killed.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = deadline(STOP_TIMEOUT);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if is_past(deadline) {
                bail!("the relay did not stop within {} seconds", STOP_TIMEOUT.as_secs());
            }
            pause();
        }
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn await_ready(ready: &UnixDatagram, child: &mut Child) -> Result<()> {
    let deadline = deadline(START_TIMEOUT);
    let mut message = [0; 512];
    loop {
        if let Ok(length) = ready.recv(&mut message)
            && message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
        {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("{status}");
        }
        if is_past(deadline) {
            bail!("it was not ready within {} seconds", START_TIMEOUT.as_secs());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a process is waited for by the clock")]
fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout
}

#[expect(clippy::disallowed_methods, reason = "a process is waited for by the clock")]
fn is_past(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

#[expect(clippy::disallowed_methods, reason = "the end of a child is polled for")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
