//! How much memory the process holds, as the kernel counts it.

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resident {
    /// Now (VmRSS).
    pub(crate) now: u64,
    /// The most so far (VmHWM).
    pub(crate) max: u64,
}

/// Of this process. Zero where `/proc` is hidden.
pub(crate) fn resident() -> Resident {
    std::fs::read_to_string("/proc/self/status").map(|text| parse(&text)).unwrap_or_default()
}

/// Reads proc_pid_status(5).
fn parse(status: &str) -> Resident {
    let bytes = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = value.and_then(|it| it.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map_or(0, |kib| kib.saturating_mul(1024))
    };
    Resident { now: bytes("VmRSS"), max: bytes("VmHWM") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let check = |status, now, max| assert_eq!(parse(status), Resident { now, max }, "{status}");
        check("Name:\tx\nVmHWM:\t    3000 kB\nVmRSS:\t    2048 kB\n", 2_097_152, 3_072_000);
        check("VmRSS: 1 kB", 1_024, 0);
        check("VmRSSx: 1 kB\nVmRSS: one kB\nVmHWM 5", 0, 0);
        check("VmRSS: 18446744073709551615 kB", u64::MAX, 0);
        check("", 0, 0);
    }

    #[test]
    fn this_process_has_memory() {
        let Resident { now, max } = resident();
        assert!(now > 100_000 && max >= now, "{now} {max}");
    }
}
