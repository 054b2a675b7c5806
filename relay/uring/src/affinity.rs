//! One thread, one processor.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors this thread may run on, ascending: what the administrator, the container or
/// `taskset` left of the machine. One shard for each is the default.
///
/// # Errors
///
/// The error of sched_getaffinity(2); `EINVAL` on a machine with more than 1024 processors.
pub fn available_cpus() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect())
}

/// Keeps the calling thread on one processor.
///
/// # Errors
///
/// `InvalidInput` if the processor does not exist or is not among [`available_cpus`].
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        let problem = format!("processor {cpu} is beyond the {} supported", CpuSet::MAX_CPU);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(sched_setaffinity(None, &only)?)
}
