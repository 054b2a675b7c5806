//! Whether this kernel can run a relay, and if not, what to do about it.

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe};
use rustix::process::{Resource, getrlimit};

use crate::setup::{self, OPERATIONS};
use crate::{DormantRing, Kind, RingOptions, SetupError, Token, Wake};

/// A kernel's version: what `uname -r` begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.1.
    pub major: u32,
    /// 1 of 6.1.
    pub minor: u32,
}

impl KernelVersion {
    /// The oldest kernel that has everything a ring uses: DEFER_TASKRUN came with 6.1.
    pub const FLOOR: KernelVersion = KernelVersion { major: 6, minor: 1 };

    /// Reads a release such as `6.1.0-13-amd64`.
    fn parse(release: &str) -> Option<Self> {
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The kernel's version.
    pub kernel: KernelVersion,
    /// The kernel's release as it calls itself.
    pub release: String,
    /// Open descriptors allowed now; `u64::MAX` without a limit.
    pub nofile_soft: u64,
    /// Open descriptors that [`raise_nofile`](crate::raise_nofile) can allow.
    pub nofile_hard: u64,
}

/// Why this machine cannot run a ring. Each says cause and remedy in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Older than [`KernelVersion::FLOOR`].
    #[error("Linux {release} is too old: install kernel {floor} or newer", floor = KernelVersion::FLOOR)]
    KernelTooOld {
        /// What the kernel calls itself.
        release: String,
    },
    /// No version in the release.
    #[error(
        "the kernel's release {release:?} does not begin with a version: run Linux {floor} or newer",
        floor = KernelVersion::FLOOR
    )]
    KernelUnknown {
        /// What the kernel calls itself.
        release: String,
    },
    /// ENOSYS.
    #[error(
        "this kernel has no io_uring, or a seccomp filter hides it: run a kernel with \
         CONFIG_IO_URING=y, or allow io_uring_setup, io_uring_enter and io_uring_register in the \
         container's seccomp profile"
    )]
    NotSupported,
    /// EPERM with `kernel.io_uring_disabled` at 2.
    #[error(
        "io_uring is switched off on this machine (kernel.io_uring_disabled = 2): set \
         `sysctl kernel.io_uring_disabled=0`, and the same in /etc/sysctl.d"
    )]
    DisabledForAll,
    /// EPERM with `kernel.io_uring_disabled` at 1.
    #[error(
        "io_uring is reserved for privileged processes (kernel.io_uring_disabled = 1): set \
         `sysctl kernel.io_uring_group` to the ID of the service's group, or \
         `kernel.io_uring_disabled=0`"
    )]
    DisabledForUnprivileged,
    /// EPERM or EACCES, and the sysctl is not the reason.
    #[error(
        "a security policy forbids io_uring: allow io_uring_setup, io_uring_enter and \
         io_uring_register in the container's seccomp profile, or `io_uring` in the SELinux policy"
    )]
    Forbidden,
    /// EINVAL.
    #[error(
        "the kernel refuses the options of the ring although its version has them: run an \
         unmodified kernel {floor} or newer",
        floor = KernelVersion::FLOOR
    )]
    OptionsRefused,
    /// ENOMEM.
    #[error(
        "there is no memory for the ring: raise LimitMEMLOCK= (RLIMIT_MEMLOCK) and MemoryMax= in \
         the systemd unit, or the memory of the container"
    )]
    OutOfMemory,
    /// EMFILE.
    #[error(
        "this process has no descriptor left for the ring: raise LimitNOFILE= (RLIMIT_NOFILE) in \
         the systemd unit"
    )]
    OutOfDescriptors,
    /// ENFILE.
    #[error("this machine has no descriptor left for the ring: raise `sysctl fs.file-max`")]
    OutOfFiles,
    /// The kernel does not have an operation.
    #[error(
        "this kernel has no io_uring operation {operation}: run an unmodified kernel {floor} or \
         newer",
        floor = KernelVersion::FLOOR
    )]
    OperationMissing {
        /// Its name.
        operation: &'static str,
    },
    /// The kernel does not have a feature.
    #[error(
        "this kernel's io_uring has no {feature}: run an unmodified kernel {floor} or newer",
        floor = KernelVersion::FLOOR
    )]
    FeatureMissing {
        /// Its name.
        feature: &'static str,
    },
    /// A step failed in a way that no kernel is known to fail in.
    #[error(
        "{step} failed ({cause}): check the system log for a denial, and run an unmodified kernel \
         {floor} or newer",
        floor = KernelVersion::FLOOR
    )]
    Unexpected {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        cause: String,
    },
}

/// Tries everything that a shard's ring needs, once, before any shard starts: the version, a ring
/// with the shard's options, its operations, and a wake that goes through it.
///
/// # Errors
///
/// [`ProbeError`], for an operator to act on.
pub fn probe() -> Result<Capabilities, ProbeError> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let kernel = classify_release(&release)?;

    let options = RingOptions { entries: 8, completions: 16 };
    let ring = setup::build(options).map_err(|error| classify_setup_now(&error))?;
    let mut table = Probe::new();
    ring.submitter()
        .register_probe(&mut table)
        .map_err(|error| unexpected("listing the operations of io_uring", &error))?;
    classify_operations(|code| table.is_supported(code))?;
    classify_features(&ring)?;
    drop(ring);
    wake_once(options)?;

    let limit = getrlimit(Resource::Nofile);
    Ok(Capabilities {
        kernel,
        release,
        nofile_soft: limit.current.unwrap_or(u64::MAX),
        nofile_hard: limit.maximum.unwrap_or(u64::MAX),
    })
}

/// Enables a ring, restrictions included, and lets one event through.
fn wake_once(options: RingOptions) -> Result<(), ProbeError> {
    const STEP: &str = "waking a ring";
    let mut ring =
        DormantRing::new(options).and_then(DormantRing::enable).map_err(|error| match error {
            SetupError::Kernel(cause) => cause,
            other @ (SetupError::Sizes { .. } | SetupError::Enable { .. }) => {
                ProbeError::Unexpected { step: "enabling a ring", cause: other.to_string() }
            }
        })?;
    let wake = Wake::new().map_err(|error| unexpected("creating an eventfd", &error))?;
    wake.notify();
    ring.watch(&wake, Token::new(Kind::wake(0), 0, 0))
        .and_then(|()| ring.wait(Some(std::time::Duration::from_secs(1))))
        .map_err(|error| unexpected(STEP, &error))?
        .then_some(())
        .ok_or_else(|| ProbeError::Unexpected { step: STEP, cause: "nothing arrived".into() })
}

/// What a failed io_uring_setup(2) means on this machine.
pub(crate) fn classify_setup_now(error: &io::Error) -> ProbeError {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    classify_setup(error, sysctl.as_deref())
}

fn unexpected(step: &'static str, error: &io::Error) -> ProbeError {
    ProbeError::Unexpected { step, cause: error.to_string() }
}

fn classify_release(release: &str) -> Result<KernelVersion, ProbeError> {
    let Some(version) = KernelVersion::parse(release) else {
        return Err(ProbeError::KernelUnknown { release: release.into() });
    };
    if version < KernelVersion::FLOOR {
        return Err(ProbeError::KernelTooOld { release: release.into() });
    }
    Ok(version)
}

/// `sysctl` is the text of `kernel.io_uring_disabled`, which kernels before 6.6 do not have.
fn classify_setup(error: &io::Error, sysctl: Option<&str>) -> ProbeError {
    match (error.raw_os_error(), sysctl.map(str::trim)) {
        (Some(libc::ENOSYS), _) => ProbeError::NotSupported,
        (Some(libc::EPERM), Some("2")) => ProbeError::DisabledForAll,
        (Some(libc::EPERM), Some("1")) => ProbeError::DisabledForUnprivileged,
        (Some(libc::EPERM | libc::EACCES), _) => ProbeError::Forbidden,
        (Some(libc::EINVAL), _) => ProbeError::OptionsRefused,
        (Some(libc::ENOMEM), _) => ProbeError::OutOfMemory,
        (Some(libc::EMFILE), _) => ProbeError::OutOfDescriptors,
        (Some(libc::ENFILE), _) => ProbeError::OutOfFiles,
        _ => unexpected("io_uring_setup", error),
    }
}

fn classify_operations(is_supported: impl Fn(u8) -> bool) -> Result<(), ProbeError> {
    match OPERATIONS.iter().find(|(code, _)| !is_supported(*code)) {
        Some((_, operation)) => Err(ProbeError::OperationMissing { operation }),
        None => Ok(()),
    }
}

fn classify_features(ring: &IoUring) -> Result<(), ProbeError> {
    let parameters = ring.params();
    for (present, feature) in [
        (parameters.is_feature_nodrop(), "lossless completion queue (NODROP)"),
        (parameters.is_feature_ext_arg(), "timeout for waiting (EXT_ARG)"),
        (parameters.is_feature_submit_stable(), "stable submission (SUBMIT_STABLE)"),
        (parameters.is_feature_fast_poll(), "poll of its own (FAST_POLL)"),
    ] {
        if !present {
            return Err(ProbeError::FeatureMissing { feature });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        #[track_caller]
        fn check(release: &str, expect: Result<(u32, u32), ProbeError>) {
            let found = classify_release(release).map(|version| (version.major, version.minor));
            assert_eq!(found, expect, "{release}");
        }
        let old = |release: &str| Err(ProbeError::KernelTooOld { release: release.into() });
        let unknown = |release: &str| Err(ProbeError::KernelUnknown { release: release.into() });
        check("6.1.0", Ok((6, 1)));
        check("6.1.0-13-amd64", Ok((6, 1)));
        check("6.1-rc3", Ok((6, 1)));
        check("6.18.44-cloud", Ok((6, 18)));
        check("7.0.0", Ok((7, 0)));
        check("6.1", Ok((6, 1)));
        check("6.0.19", old("6.0.19"));
        check("5.15.167.4-microsoft-standard-WSL2", old("5.15.167.4-microsoft-standard-WSL2"));
        check("4.19.0", old("4.19.0"));
        check("", unknown(""));
        check("6", unknown("6"));
        check("linux-6.1", unknown("linux-6.1"));
        check("99999999999.1", unknown("99999999999.1"));
    }

    #[test]
    fn failures_of_setup() {
        #[track_caller]
        fn check(errno: i32, sysctl: Option<&str>, expect: ProbeError) {
            assert_eq!(classify_setup(&io::Error::from_raw_os_error(errno), sysctl), expect);
        }
        check(libc::ENOSYS, None, ProbeError::NotSupported);
        check(libc::ENOSYS, Some("0\n"), ProbeError::NotSupported);
        check(libc::EPERM, Some("2\n"), ProbeError::DisabledForAll);
        check(libc::EPERM, Some("1\n"), ProbeError::DisabledForUnprivileged);
        check(libc::EPERM, Some("0\n"), ProbeError::Forbidden);
        check(libc::EPERM, Some("nonsense"), ProbeError::Forbidden);
        check(libc::EPERM, None, ProbeError::Forbidden);
        check(libc::EACCES, Some("2\n"), ProbeError::Forbidden);
        check(libc::EINVAL, Some("0\n"), ProbeError::OptionsRefused);
        check(libc::ENOMEM, Some("0\n"), ProbeError::OutOfMemory);
        check(libc::EMFILE, None, ProbeError::OutOfDescriptors);
        check(libc::ENFILE, None, ProbeError::OutOfFiles);
        let fault = io::Error::from_raw_os_error(libc::EFAULT).to_string();
        check(libc::EFAULT, None, ProbeError::Unexpected { step: "io_uring_setup", cause: fault });
    }

    #[test]
    fn the_first_missing_operation_is_named() {
        for (missing, name) in OPERATIONS {
            assert_eq!(
                classify_operations(|code| code != missing),
                Err(ProbeError::OperationMissing { operation: name })
            );
        }
        assert_eq!(classify_operations(|_| true), Ok(()));
    }

    #[test]
    fn errors_name_cause_and_remedy() {
        #[track_caller]
        fn check(error: &ProbeError, cause: &str, remedy: &str) {
            let text = error.to_string();
            assert!(text.contains(cause), "{cause:?} is not in {text:?}");
            let (_, after) = text.split_once(": ").expect("cause: remedy");
            assert!(after.contains(remedy), "{remedy:?} is not in {after:?}");
            assert!(!text.contains('\n') && !text.ends_with('.'), "{text:?}");
        }
        let release = || "5.15.0".to_owned();
        check(&ProbeError::KernelTooOld { release: release() }, "5.15.0", "6.1 or newer");
        check(&ProbeError::KernelUnknown { release: "x".into() }, "\"x\"", "6.1 or newer");
        check(&ProbeError::NotSupported, "no io_uring", "CONFIG_IO_URING");
        check(&ProbeError::DisabledForAll, "disabled = 2", "kernel.io_uring_disabled=0");
        check(&ProbeError::DisabledForUnprivileged, "disabled = 1", "kernel.io_uring_group");
        check(&ProbeError::Forbidden, "policy forbids", "seccomp");
        check(&ProbeError::OptionsRefused, "refuses the options", "unmodified kernel");
        check(&ProbeError::OutOfMemory, "no memory", "LimitMEMLOCK=");
        check(&ProbeError::OutOfDescriptors, "no descriptor", "LimitNOFILE=");
        check(&ProbeError::OutOfFiles, "machine has no descriptor", "fs.file-max");
        check(&ProbeError::OperationMissing { operation: "SEND" }, "SEND", "6.1 or newer");
        check(&ProbeError::FeatureMissing { feature: "NODROP" }, "NODROP", "6.1 or newer");
        let cause = "EFAULT".to_owned();
        check(&ProbeError::Unexpected { step: "s", cause }, "s failed (EFAULT)", "system log");
    }
}
