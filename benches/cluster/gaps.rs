//! The longest time in which nothing was committed while the leader handed over, or was killed: bans are asked for
//! through a node that does not lead, each until it is committed.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bannkreis_tests::failed::{Failed, Result};
use bannkreis_tests::lab::Lab;
use jiff::Timestamp;

use crate::{ELECTION_MAX, HAND_OVER_MAX, judge, with_lab};

/// How often the leader hands over, and how often it is killed.
const N_HAND_OVERS: usize = 9;
const N_KILLS: usize = 5;
/// So many ask at once.
const N_WORKERS: usize = 4;
/// So long before the event, and after it: longer than any election.
const CALM: Duration = Duration::from_millis(400);
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Measures and says it.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    with_lab(directory, "gaps", &["kopano", "kerio", "mx1"], "", |lab| {
        lab.form_cluster()?;
        let mut calm = Vec::new();
        let mut gaps = Vec::new();
        for _ in 0..N_HAND_OVERS {
            let leader = lab.leader()?;
            let asking = other_than(lab, &leader)?;
            calm.push(longest_gap(lab, &asking, |_| Ok(()))?);
            gaps.push(longest_gap(lab, &asking, |lab| {
                lab.host(&leader).cli(&["cluster", "transfer-leader"])?.expect_success().map(drop)
            })?);
        }
        let mut kills = Vec::new();
        for _ in 0..N_KILLS {
            let leader = lab.leader()?;
            let asking = other_than(lab, &leader)?;
            let pid = lab.host(&leader).pid().ok_or_else(|| Failed(format!("{leader} does not run")))?;
            kills.push(longest_gap(lab, &asking, |_| kill(pid))?);
            lab.host_mut(&leader).kill_9();
            lab.host_mut(&leader).start()?;
            lab.wait_whole()?;
        }
        judge("longest time between two commits, nothing happens, p50", median(&mut calm), HAND_OVER_MAX);
        judge("the same, the leader hands over, p50", median(&mut gaps), HAND_OVER_MAX);
        judge("the same, the longest of them", gaps.last().copied().unwrap_or_default(), HAND_OVER_MAX);
        judge("the same, the leader is killed, p50", median(&mut kills), ELECTION_MAX);
        judge("the same, the longest of them", kills.last().copied().unwrap_or_default(), ELECTION_MAX);
        Ok(())
    })
}

fn other_than(lab: &Lab, leader: &str) -> Result<String> {
    let other = lab.running().find(|host| host.name() != leader);
    other.map(|host| host.name().to_owned()).ok_or_else(|| Failed("nobody else runs".to_owned()))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).map_err(|error| Failed(error.to_string()))?;
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| Failed("no process".to_owned()))?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)
        .map_err(|error| Failed(format!("cannot kill the leader: {error}")))
}

/// Several ask for bans through `asking`, one after the other, and `event` happens meanwhile. Gives the longest time
/// between two that were committed, by what that node writes into its log about each: the answers come later, when all
/// others have enforced them.
fn longest_gap(lab: &Lab, asking: &str, event: impl FnOnce(&Lab) -> Result<()>) -> Result<Duration> {
    let is_over = AtomicBool::new(false);
    let n_bans = AtomicU32::new(0);
    let host = lab.host(asking);
    let from = host.n_words_bytes();
    let ban = || -> Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            let n = n_bans.fetch_add(1, Ordering::Relaxed);
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n);
            // Whatever comes of it: some of them meet a cluster without a leader.
            host.cli(&["ban", &address.to_string(), "--for", "5s", "--wait", "10s"])?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..N_WORKERS).map(|_| scope.spawn(ban)).collect();
        std::thread::sleep(CALM);
        let happened = event(lab);
        std::thread::sleep(AFTERWARDS);
        is_over.store(true, Ordering::Relaxed);
        let panicked = |_| Err(Failed("a thread has panicked".to_owned()));
        let banned: Result<Vec<()>> =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect();
        happened.and(banned)
    })?;
    let words = host.words_since(from)?;
    let committed: Vec<Timestamp> = words
        .lines()
        .filter(|line| line.contains(" Cluster ban "))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    let gaps = committed.windows(2).map(|pair| Duration::try_from(pair[1].duration_since(pair[0])));
    let longest = gaps.map(std::result::Result::unwrap_or_default).max();
    longest.ok_or_else(|| Failed(format!("{asking} has committed next to nothing: {words}")))
}
