//! What a process has cost so far, by proc(5).

use std::fs;
use std::io;
use std::time::Duration;

/// Time on a processor of all its threads: the first number of schedstat, in nanoseconds.
///
/// # Errors
/// When there is no such process.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Memory that is really there, in bytes: VmRSS, proc_pid_status(5).
///
/// # Errors
/// When there is no such process.
pub fn rss_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| io::Error::other("its status has no VmRSS"))
}
