//! `hushwired`, the relay as a program, and [`Relay`], the relay inside another program.
//!
//! [`main`] is the whole program behind a function, because `hush` re-executes itself as the daemon.
//! Everything that belongs to a process and not to a relay (arguments, logs, signals, systemd) happens
//! there; [`Relay::start`] touches none of it, so that several relays can live in one process.
//!
//! | file | what |
//! |---|---|
//! | `arguments` | the command line |
//! | `signals` | SIGTERM, SIGINT, SIGHUP and what systemd is told |
//! | `start` | from a configuration to running threads, in order |
//! | `listening` | the sockets of devices and of the operator |
//! | `shards` | the threads of the shards |
//! | `relay` | a running relay |
//! | `failure` | why it does not start, and exit codes |

mod arguments;
mod failure;
mod listening;
mod relay;
mod shards;
mod signals;
mod start;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::{self, Config};
use arguments::{Action, Arguments};

pub use crate::control::operator::OperatorError;
pub use crate::control::supervision::RelayError;
pub use failure::{Failure, StartError};
pub use relay::Relay;

/// Version of the software.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Read where no other path is given; it need not exist.
pub const CONFIG_PATH: &str = "/etc/hushwire/hushwired.toml";

/// `hushwired`, with its arguments (the first is the name of the program). Prints one sentence to stderr
/// where it fails; exit codes are those of sysexits.h.
#[must_use]
pub fn main<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Help goes to stdout and is no failure; where it cannot be printed nothing can be said.
            drop(usage.print());
            return if usage.use_stderr() { Failure::Usage.exit_code() } else { ExitCode::SUCCESS };
        }
    };
    match act(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}

fn act(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.action {
        None | Some(Action::Run) => {
            let config = read(arguments.config.as_deref())?;
            signals::run(config)
        }
        Some(Action::Check { file }) => {
            let config = read(file.as_deref().or(arguments.config.as_deref()))?;
            let shards = start::shards(&config)?;
            let bill = start::limits_of(&config, shards).memory_bill(shards);
            say(&format!("configuration ok\n{bill}"))
        }
        Some(Action::DefaultConfig) => say(&config::default_file()),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()) {
        // `hushwired default-config | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::Output),
    }
}

/// The configuration at `path`, or at [`CONFIG_PATH`] if there is one, or the defaults.
fn read(path: Option<&Path>) -> Result<Config, Failure> {
    let (path, optional) = path.map_or((Path::new(CONFIG_PATH), true), |path| (path, false));
    let unreadable = |source| Failure::Unreadable { path: path.to_owned(), source };
    let text = match bounded_text(path) {
        Err(error) if optional && error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(unreadable)?,
    };
    config::check(&text, path).map_err(Failure::Config)
}

/// A little more than is accepted, so that a longer file is a problem of the configuration.
fn bounded_text(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let limit = config::FILE_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}
