//! How far a measurement has come, for somebody who waits for it.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

/// Lines on stderr: on a terminal each takes the place of the one before.
#[derive(Debug)]
pub(crate) struct Progress {
    on_terminal: bool,
    /// Whether a line stands there.
    written: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { on_terminal: stderr().is_terminal(), written: false }
    }

    /// What has been reached. Nobody hears a measurement fail for a word it could not say.
    pub(crate) fn tell(&mut self, text: &str) {
        let mut out = stderr().lock();
        let _ = if self.on_terminal {
            write!(out, "\r\x1b[K{text}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        };
        self.written = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written && self.on_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// The seconds of one run, where stderr is a terminal: whoever waits sees that it goes on.
#[derive(Debug)]
pub(crate) struct Countdown {
    progress: Progress,
    all: Duration,
    /// Seconds that were told.
    told: u64,
}

impl Countdown {
    pub(crate) fn new(all: Duration) -> Self {
        Self { progress: Progress::new(), all, told: 0 }
    }

    /// So long after the start.
    #[inline]
    pub(crate) fn tick(&mut self, now_ns: u64) {
        let seconds = now_ns / 1_000_000_000;
        if seconds > self.told && self.progress.on_terminal {
            self.told = seconds;
            self.progress.tell(&format!("{seconds} s of {:.0}", self.all.as_secs_f64().ceil()));
        }
    }
}
