//! What a node costs that has nothing to do.

use std::fs;
use std::time::{Duration, Instant};

use bannkreis_tests::failed::{Context, Failed, Result};
use bannkreis_tests::lab::Lab;

/// Long enough for every timer of a node to have come around.
const IDLE: Duration = Duration::from_secs(10);

/// What one node costs.
pub(crate) struct Cost {
    /// The host's name.
    pub(crate) name: &'static str,
    /// Memory that is really there: VmRSS, proc_pid_status(5).
    pub(crate) rss_bytes: u64,
    /// Of one processor.
    pub(crate) cpu_share: f64,
}

/// Leaves the nodes alone for a while.
pub(crate) fn costs(lab: &Lab) -> Result<Vec<Cost>> {
    let pids = lab.running().map(|host| Ok((host.name(), host.pid().ok_or_else(dead)?)));
    let pids = pids.collect::<Result<Vec<(&'static str, u32)>>>()?;
    let before = pids.iter().map(|(_, pid)| cpu(*pid)).collect::<Result<Vec<Duration>>>()?;
    let began = Instant::now();
    std::thread::sleep(IDLE);
    let costs = pids.iter().zip(before).map(|((name, pid), before)| {
        let used = cpu(*pid)?.saturating_sub(before);
        let cpu_share = used.as_secs_f64() / began.elapsed().as_secs_f64();
        Ok(Cost { name, rss_bytes: rss_bytes(*pid)?, cpu_share })
    });
    costs.collect()
}

/// Time on a processor of all threads: the first number of schedstat, in nanoseconds.
fn cpu(pid: u32) -> Result<Duration> {
    let read = || {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok::<Duration, std::io::Error>(Duration::from_nanos(nanoseconds))
    };
    read().context(|| format!("cannot read the times of process {pid}"))
}

fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| Failed(format!("{path} has no VmRSS")))
}

fn dead() -> Failed {
    Failed("a node is dead".to_owned())
}
