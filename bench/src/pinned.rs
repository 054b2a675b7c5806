//! Becoming another program in peace: a session, processors and a priority of one's own.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::SigSet;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Turns this process into `program`, on these processors alone, at the front of the scheduler's queue where
/// that is allowed, and bound to end when its parent does. The process ID stays.
pub(crate) fn become_program(
    cpus: &[usize],
    program: &OsString,
    arguments: &[OsString],
) -> Result<Infallible> {
    // A process group's leader has a session that will do.
    let _ = setsid();
    // Sessions share the processor by these weights; only root may raise one, and without it the
    // figures are merely noisier.
    let _ = fs::write("/proc/self/autogroup", "-20");
    let mut set = CpuSet::new();
    for &cpu in cpus {
        ensure!(
            cpu < CpuSet::MAX_CPU,
            "processor {cpu} is beyond the {} supported",
            CpuSet::MAX_CPU
        );
        set.set(cpu);
    }
    sched_setaffinity(None, &set).with_context(|| format!("processors {cpus:?} cannot be used"))?;
    SigSet::empty().thread_set_mask()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {} failed", program.display()))
}
