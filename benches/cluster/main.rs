//! What being a cluster costs: committed bans per second with TLS and without, how long a host with many bans takes
//! to join, how long fifty thousand offenders at once take, what it costs to tell each other of failures, and how long
//! nothing can be committed when the leader changes or dies.
//!
//! Whole daemons in the lab of the end-to-end tests, with the default times for elections. Not for single bans: that is
//! `latency`.

mod burst;
mod gaps;
mod join;
mod reports;
mod throughput;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bannkreis_benches::sample::beside_aim;
use bannkreis_tests::failed::{Context, Result};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::{Host, HostPlan};
use bannkreis_tests::lab::whole_program::{self, say};
use bannkreis_tests::seeds::Tree;

/// TLS may cost so much of the bans per second.
const TLS_COST_MAX: f64 = 0.2;
/// The time in which a host joins a cluster of 100,000 bans and enforces all of them.
const JOIN_MAX: Duration = Duration::from_secs(5);
/// The time without a commit when the leader hands over, and when it is killed.
const HAND_OVER_MAX: Duration = Duration::from_millis(100);
const ELECTION_MAX: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    // The lab lies where cargo builds, on a disk: the system's directory for temporary files may be memory.
    whole_program::run("cluster", Path::new(env!("CARGO_TARGET_TMPDIR")), run)
}

fn run(directory: &Path) -> Result<()> {
    throughput::measure(directory)?;
    burst::measure(directory)?;
    reports::measure(directory)?;
    join::measure(directory)?;
    gaps::measure(directory)
}

/// Runs `body` with a lab of these quiet hosts, and says their last words when it fails.
fn with_lab<T>(
    directory: &Path,
    name: &str,
    hosts: &[&'static str],
    settings: &str,
    body: impl FnOnce(&mut Lab) -> Result<T>,
) -> Result<T> {
    let directory = directory.join(name);
    std::fs::create_dir_all(&directory).context(|| format!("cannot make {}", directory.display()))?;
    let plan = |name: &&'static str| HostPlan {
        name,
        tree: Tree::empty(),
        settings: settings.to_owned(),
        environment: Vec::new(),
    };
    let mut lab = Lab::build(&directory, hosts.iter().map(plan).collect())?;
    let result = body(&mut lab);
    if result.is_err() {
        say(&lab.last_words());
    }
    result
}

/// Bans a thousand addresses in one command, the `n`-th thousand.
fn ban_thousand(host: &Host, n: u32) -> Result<()> {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n * 1_000;
    let targets: Vec<String> = (first..first + 1_000).map(|bits| Ipv4Addr::from(bits).to_string()).collect();
    let targets = targets.iter().map(String::as_str);
    let command: Vec<&str> =
        ["ban"].into_iter().chain(targets).chain(["--for", "1d", "--wait", "60s"]).collect();
    host.cli(&command)?.expect_success().map(drop)
}

fn judge(what: &str, measured: Duration, aim: Duration) {
    say(&beside_aim(what, measured, aim));
}
