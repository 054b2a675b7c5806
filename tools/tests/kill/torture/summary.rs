//! What a run has done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::strikes::Victim;

/// Everything that was counted in a run without a fault.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// Kills by victim.
    pub(crate) kills: BTreeMap<Victim, u64>,
    /// Kills that found their victim gone by itself at that moment.
    pub(crate) missed: u64,
    /// Lines that were sent, recorded once and in order, and have ended as delivered; their bytes.
    pub(crate) lines: u64,
    /// Bytes of lines.
    pub(crate) line_bytes: u64,
    /// Lines that were on disk when their process was killed, before it could say so.
    pub(crate) unheard: u64,
    /// Files that have arrived once, whole and under their names.
    pub(crate) files: u64,
    /// Bytes of files.
    pub(crate) file_bytes: u64,
    /// Starts of the sender that found a file begun.
    pub(crate) resumed: u64,
    /// Starts of all programs.
    pub(crate) starts: u64,
    /// Starts that ended because the relay was not there.
    pub(crate) turned_away: u64,
    /// Longest journal at a kill, in bytes.
    pub(crate) journal_bytes_max: u64,
    /// Longest time in which no line and no file was delivered.
    pub(crate) longest_pause: Duration,
    /// From the last kill until everything was delivered.
    pub(crate) drained: Duration,
    /// In all.
    pub(crate) elapsed: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let total: u64 = self.kills.values().sum();
        write!(f, "{total} kills:")?;
        for (victim, kills) in &self.kills {
            write!(f, " {victim:?} {kills}")?;
        }
        writeln!(f, " ({} came when it had just ended by itself)", self.missed)?;
        writeln!(
            f,
            "{} lines ({:.1} MiB), each recorded once, in order, with one end: delivered; {} were on disk and not said to be when their process was killed",
            self.lines,
            mib(self.line_bytes),
            self.unheard
        )?;
        writeln!(
            f,
            "{} files ({:.1} MiB), each there once and whole; {} times one was taken up again",
            self.files,
            mib(self.file_bytes),
            self.resumed
        )?;
        writeln!(
            f,
            "{} starts, {} of them turned away while the relay was gone; longest journal {:.1} MiB",
            self.starts,
            self.turned_away,
            mib(self.journal_bytes_max)
        )?;
        write!(
            f,
            "{:.0} s, longest time without a delivery {:.1} s, {:.1} s from the last kill until all was delivered",
            self.elapsed.as_secs_f64(),
            self.longest_pause.as_secs_f64(),
            self.drained.as_secs_f64()
        )
    }
}
