//! What a process costs that has nothing to do.

use std::time::{Duration, Instant};

use bannkreis_benches::process;
use bannkreis_tests::failed::{Context, Failed, Result};
use bannkreis_tests::lab::Lab;

/// Long enough for every timer of a node to have come around.
const IDLE: Duration = Duration::from_secs(10);

/// What one process costs.
pub(crate) struct Cost {
    /// The host's name, or the program's.
    pub(crate) name: String,
    /// Memory that is really there: VmRSS, proc_pid_status(5).
    pub(crate) rss_bytes: u64,
    /// Of one processor.
    pub(crate) cpu_share: f64,
}

/// Leaves the nodes alone for a while.
pub(crate) fn costs_of_nodes(lab: &Lab) -> Result<Vec<Cost>> {
    let pids = lab.running().map(|host| Ok((host.name().to_owned(), host.pid().ok_or_else(dead)?)));
    costs(pids.collect::<Result<Vec<(String, u32)>>>()?)
}

/// Leaves processes alone for a while, each with its name.
pub(crate) fn costs(pids: Vec<(String, u32)>) -> Result<Vec<Cost>> {
    let before = pids.iter().map(|(_, pid)| cpu(*pid)).collect::<Result<Vec<Duration>>>()?;
    let began = Instant::now();
    std::thread::sleep(IDLE);
    let costs = pids.into_iter().zip(before).map(|((name, pid), before)| {
        let used = cpu(pid)?.saturating_sub(before);
        let cpu_share = used.as_secs_f64() / began.elapsed().as_secs_f64();
        Ok(Cost { name, rss_bytes: process::rss_bytes(pid).context(gone)?, cpu_share })
    });
    costs.collect()
}

fn cpu(pid: u32) -> Result<Duration> {
    process::cpu(pid).context(gone)
}

fn gone() -> String {
    "a process can not be looked at".to_owned()
}

fn dead() -> Failed {
    Failed("a node is dead".to_owned())
}
