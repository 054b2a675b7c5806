//! The counts that were found good, and how far one may be from them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path as FilePath;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::path::Path;

const HEAD: &str = "\
# Instructions that one cell costs on each hot path, in the release profile under valgrind.
# Counted and written by `cargo run --release --locked --bin hush-instructions -- --update`;
# bench/README.md says when.

";

/// What stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    tolerance_percent: f64,
    instructions: BTreeMap<String, u64>,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It costs about what it cost.
    Within,
    /// It costs more.
    Grown,
    /// It costs less.
    Shrunk,
    /// Nobody has found its cost good yet.
    New,
}

impl Baseline {
    pub(crate) fn read(file: &FilePath) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let read: Self = toml::from_str(&text)
            .with_context(|| format!("{} is no list of counts", file.display()))?;
        let percent = read.tolerance_percent;
        ensure!((0.0..100.0).contains(&percent), "a tolerance lies between 0 and 100 %");
        Ok(read)
    }

    pub(crate) fn tolerance_percent(&self) -> f64 {
        self.tolerance_percent
    }

    /// The count of a path.
    pub(crate) fn of(&self, path: Path) -> Option<u64> {
        self.instructions.get(&path.name()).copied()
    }

    pub(crate) fn judge(&self, path: Path, count: u64) -> Change {
        let Some(before) = self.of(path) else { return Change::New };
        let allowed = before as f64 * self.tolerance_percent / 100.0;
        let grown = count as f64 - before as f64;
        if grown > allowed {
            Change::Grown
        } else if -grown > allowed {
            Change::Shrunk
        } else {
            Change::Within
        }
    }

    /// Writes new counts with the old tolerance.
    pub(crate) fn write(&self, file: &FilePath, counted: &[(Path, u64)]) -> Result<()> {
        let mut text = format!("{HEAD}tolerance_percent = {:?}\n\n", self.tolerance_percent);
        text.push_str("[instructions]\n");
        for (path, count) in counted {
            // Writing to a string does not fail.
            let _ = writeln!(text, "\"{}\" = {count}", path.name());
        }
        fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use hushwire_wire::cell::Class;

    use super::*;

    const PATH: Path = Path::RecordSeal(Class::C0);

    fn baseline(count: u64) -> Baseline {
        let instructions = BTreeMap::from([(PATH.name(), count)]);
        Baseline { tolerance_percent: 3.0, instructions }
    }

    #[test]
    fn a_count_may_be_a_tolerance_off() {
        let check = |count, expect| {
            assert_eq!(baseline(1_000).judge(PATH, count), expect, "{count}");
        };
        check(1_000, Change::Within);
        check(1_030, Change::Within);
        check(1_031, Change::Grown);
        check(970, Change::Within);
        check(969, Change::Shrunk);
        assert_eq!(baseline(1_000).judge(Path::RecordOpen(Class::C0), 1), Change::New);
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("instructions.toml");
        baseline(1).write(&file, &[(PATH, 1_234)]).expect("written");
        let read = Baseline::read(&file).expect("read");
        assert_eq!((read.of(PATH), read.tolerance_percent), (Some(1_234), 3.0));
    }

    #[test]
    fn the_committed_baselines_are_those_of_the_paths() {
        let read = Baseline::read(FilePath::new(crate::BASELINE)).expect("the committed file");
        let names: Vec<String> = Path::ALL.map(Path::name).into();
        let mut known: Vec<String> = read.instructions.keys().cloned().collect();
        let mut sorted = names;
        sorted.sort();
        known.sort();
        assert_eq!(known, sorted);
    }
}
