//! Where logs go: the systemd journal with fields, or stderr as text or JSON.
//!
//! Call sites keep to this: nothing per cell, identifiers at `debug` and below only, content never,
//! and `warn` when somebody should look. [`LogLevel`] is one filter for all; there is no environment
//! variable that changes it.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt};

use crate::config::{Log, LogFormat, LogLevel};

/// Name of the program in the journal.
const SYSLOG_IDENTIFIER: &str = "hushwired";

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The journal was asked for by name and is not there.
    #[error("the journal cannot be reached ({0}): set [log] format to \"auto\" or \"stderr\"")]
    Journal(#[source] io::Error),
    /// It was called twice.
    #[error("logging is already set up")]
    Twice(#[from] TryInitError),
}

/// Where logs go in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The journal, with fields.
    Journal,
    /// Text on stderr.
    Stderr,
    /// JSON on stderr, one object a line.
    Json,
}

impl Destination {
    /// What a format means here. `journal_stream` is the variable `JOURNAL_STREAM`, by which systemd
    /// names the device and inode of the stream it connected (systemd.exec(5)).
    #[must_use]
    pub fn new(format: LogFormat, journal_stream: Option<&OsStr>, stderr: impl AsFd) -> Self {
        match format {
            LogFormat::Journald => Self::Journal,
            LogFormat::Stderr => Self::Stderr,
            LogFormat::Json => Self::Json,
            LogFormat::Auto if leads_to_journal(journal_stream, stderr) => Self::Journal,
            LogFormat::Auto => Self::Stderr,
        }
    }
}

/// Whether the stream is the one that systemd connected to the journal. A service may have been given
/// the variable and another stderr.
fn leads_to_journal(journal_stream: Option<&OsStr>, stream: impl AsFd) -> bool {
    let named = journal_stream.and_then(OsStr::to_str).and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let Some(named) = named else { return false };
    rustix::fs::fstat(stream).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == named)
}

/// Sets up logging for the whole process, once.
///
/// # Errors
/// [`LoggingError`] when the journal was asked for and is not there, or at a second call.
pub fn set_up(log: &Log, journal_stream: Option<&OsStr>) -> Result<Destination, LoggingError> {
    let destination = Destination::new(log.format, journal_stream, io::stderr());
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match destination {
        Destination::Journal => tracing_journald::layer()
            .map_err(LoggingError::Journal)?
            .with_syslog_identifier(SYSLOG_IDENTIFIER.into())
            .boxed(),
        Destination::Stderr => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        Destination::Json => fmt::layer().json().with_writer(io::stderr).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter(log.level))).try_init()?;
    Ok(destination)
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: &str = "HUSHWIRE_LOGGING_TEST";

    /// What a process writes to stderr that is set up in this way.
    fn stderr_of(format: &str) -> String {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "logging::tests::child", "--nocapture"])
            .env(CHILD, format)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    #[test]
    fn child() {
        let Some(format) = std::env::var_os(CHILD) else { return };
        let format = if format == "json" { LogFormat::Json } else { LogFormat::Auto };
        let log = Log { level: LogLevel::Info, format, qlog_dir: None };
        set_up(&log, None).unwrap();
        tracing::info!(shards = 2, "started");
        tracing::debug!("a device connected");
        assert!(matches!(set_up(&log, None), Err(LoggingError::Twice(_))));
    }

    #[test]
    fn lines_are_text_or_json_and_the_level_holds() {
        let text = stderr_of("text");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("started shards=2"), "no colours outside of a terminal: {text}");
        let json = stderr_of("json");
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["fields"], serde_json::json!({"message": "started", "shards": 2}));
    }

    #[test]
    fn the_journal_is_recognised_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let right = format!("{}:{}", stat.st_dev, stat.st_ino);
        let other = format!("{}:{}", stat.st_dev, stat.st_ino + 1);
        let check = |format, stream: Option<&str>, expect| {
            let found = Destination::new(format, stream.map(OsStr::new), &file);
            assert_eq!(found, expect, "{format:?} {stream:?}");
        };
        check(LogFormat::Auto, Some(&right), Destination::Journal);
        check(LogFormat::Auto, Some(&other), Destination::Stderr);
        check(LogFormat::Auto, Some("nonsense"), Destination::Stderr);
        check(LogFormat::Auto, None, Destination::Stderr);
        check(LogFormat::Stderr, Some(&right), Destination::Stderr);
        check(LogFormat::Json, Some(&right), Destination::Json);
        check(LogFormat::Journald, None, Destination::Journal);
    }
}
