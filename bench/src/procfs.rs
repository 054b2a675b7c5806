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

/// The most memory of a process that was ever resident at once, bytes.
pub(crate) fn resident_peak_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path} failed"))?;
    parse_peak(&text).with_context(|| format!("{path} has no VmHWM"))
}

fn parse_peak(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(first_number(rest)? * 1024)
}

/// Descriptors that a process holds.
pub(crate) fn descriptors(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/fd");
    let all = fs::read_dir(&path).with_context(|| format!("reading {path} failed"))?;
    Ok(all.count() as u64)
}

/// How the kernel controls congestion of TCP where nobody chooses otherwise: `cubic`, if nobody has changed it.
pub(crate) fn congestion_control() -> Result<String> {
    let path = "/proc/sys/net/ipv4/tcp_congestion_control";
    let text = fs::read_to_string(path).with_context(|| format!("reading {path} failed"))?;
    Ok(text.trim().to_owned())
}

/// Whether somebody listens on this port of 127.0.0.1.
pub(crate) fn listens(port: u16) -> Result<bool> {
    let text = fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp failed")?;
    Ok(has_listener(&text, port))
}

fn has_listener(table: &str, port: u16) -> bool {
    // Local address in network order, printed as a number of this machine; state 0A is LISTEN.
    let address = format!("{:08X}:{port:04X}", u32::from_ne_bytes([127, 0, 0, 1]));
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(1) == Some(&address) && fields.nth(1) == Some("0A")
    })
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
    fn a_peak_is_read_by_its_name() {
        let check = |text: &str, expect| assert_eq!(parse_peak(text), expect, "{text:?}");
        check("Name:\tx\nVmHWM:\t    12 kB\nVmRSS:\t 7 kB\n", Some(12_288));
        check("VmRSS:\t 7 kB\n", None);
        check("VmHWM:\t\n", None);
        check("", None);
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(port).unwrap());
        let connection = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(!listens(connection.local_addr().unwrap().port()).unwrap());
        assert!(!has_listener("", port));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).unwrap() > 0);
        let resident = resident(pid).unwrap();
        assert!(resident.anonymous_bytes > 0 && resident.anonymous_bytes <= resident.all_bytes);
        assert!(resident_peak_bytes(pid).unwrap() >= resident.anonymous_bytes);
        assert!(descriptors(pid).unwrap() > 2);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(cpu_ns(u32::MAX).is_err());
        assert!(resident(u32::MAX).is_err());
        assert!(descriptors(u32::MAX).is_err());
    }
}
