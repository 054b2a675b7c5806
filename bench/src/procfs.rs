//! What the kernel says about a server: processor time and resident memory.

use std::fs;

use anyhow::{Context as _, Result};

/// Processor time of all threads of a process that are alive, nanoseconds.
///
/// schedstat counts to the nanosecond where `stat` counts ticks of 10 ms. It contains the work that
/// the kernel does on the process's behalf, system calls and the network stack below them included.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    let directory = format!("/proc/{pid}/task");
    let mut total = 0;
    for task in fs::read_dir(&directory).with_context(|| format!("reading {directory} failed"))? {
        // A thread that ends between listing and reading is none of those that work.
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            total += first_number(&text).context("schedstat has no number")?;
        }
    }
    Ok(total)
}

/// Resident memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resident {
    /// All of it, bytes: also pages of files such as the program's own.
    pub(crate) all_bytes: u64,
    /// Memory of its own: heap and stacks, bytes.
    pub(crate) anonymous_bytes: u64,
}

/// Resident memory of a process.
pub(crate) fn resident(pid: u32) -> Result<Resident> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path} failed"))?;
    parse_resident(&text).with_context(|| format!("{path} has no Rss or Anonymous"))
}

fn parse_resident(text: &str) -> Option<Resident> {
    let bytes = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(first_number(rest)? * 1024)
    };
    Some(Resident { all_bytes: bytes("Rss:")?, anonymous_bytes: bytes("Anonymous:")? })
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read_by_its_names() {
        #[track_caller]
        fn check(text: &str, expect: Option<(u64, u64)>) {
            let found = parse_resident(text).map(|it| (it.all_bytes, it.anonymous_bytes));
            assert_eq!(found, expect);
        }
        check("x [rollup]\nRss:  12 kB\nPss: 7 kB\nAnonymous:  4 kB\n", Some((12_288, 4_096)));
        check("Rss: 12 kB\n", None);
        check("Rss: many kB\nAnonymous: 4 kB\n", None);
        check("", None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).unwrap() > 0);
        let resident = resident(pid).unwrap();
        assert!(resident.anonymous_bytes > 0 && resident.anonymous_bytes <= resident.all_bytes);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(cpu_ns(u32::MAX).is_err());
        assert!(resident(u32::MAX).is_err());
    }
}
