//! From a line in kerio's mail log until every node has committed and applied the ban: each node writes into its
//! log when a change of the cluster's list is enforced there, with microseconds, and all of them have one clock.
//!
//! Nobody is asked meanwhile: on two processors, questions to three nodes take more time than what they ask about.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use bannkreis_benches::sample::Sample;
use bannkreis_tests::failed::{Context, Failed, Result};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds;
use jiff::Timestamp;

use crate::Offenders;

const N_LINES: usize = 200;
/// Whoever has it not by then will not have it.
const COMMIT_MAX: Duration = Duration::from_secs(5);
/// Between two lines, so that each is a batch of its own on the disk.
pub(crate) const LINE_INTERVAL: Duration = Duration::from_millis(20);

/// What was measured.
pub(crate) struct Commits {
    /// From the line to the first node that had the ban on its list: the leader.
    pub(crate) first: Sample,
    /// From the line to the last node.
    pub(crate) all_three: Sample,
}

/// For each of many offenders: a line on kerio, and when all three had the ban.
pub(crate) fn until_on_every_list(lab: &Lab, offenders: &mut Offenders) -> Result<Commits> {
    let said_before: Vec<u64> = lab.hosts().iter().map(Host::n_words_bytes).collect();
    let mut written = Vec::new();
    for _ in 0..N_LINES {
        std::thread::sleep(LINE_INTERVAL);
        let offender = offenders.next();
        let line = seeds::kerio_harvest(offender);
        let began = lab.host("kerio").append_log(seeds::KERIO_LOG, &[line])?;
        written.push((offender, wall_clock(began)?));
    }
    let (mut first, mut all_three) = (Vec::new(), Vec::new());
    for (offender, written) in written {
        let mut took = Vec::new();
        for (host, from) in lab.hosts().iter().zip(&said_before) {
            let applied =
                wait_for(&format!("{offender} on the list of {}", host.name()), COMMIT_MAX, || {
                    applied_at(&host.words_since(*from)?, offender)
                })?;
            took.push(Duration::try_from(applied.duration_since(written)).unwrap_or_default());
        }
        first.extend(took.iter().min());
        all_three.extend(took.iter().max());
    }
    Ok(Commits { first: Sample::new(first), all_three: Sample::new(all_three) })
}

/// What the wall clock said at an instant that is just over.
fn wall_clock(instant: Instant) -> Result<Timestamp> {
    let wall = SystemTime::now() - instant.elapsed();
    Timestamp::try_from(wall).context(|| "the clock of this machine says no time".to_owned())
}

/// When a node enforced the cluster's ban, by its own log.
fn applied_at(words: &str, offender: IpAddr) -> Result<Timestamp> {
    let ban = format!(" Cluster ban {offender} ");
    let line = words.lines().find(|line| line.contains(&ban));
    let line = line.ok_or_else(|| Failed(format!("no line has{ban}")))?;
    let time = line.split_whitespace().next().unwrap_or_default();
    time.parse().context(|| format!("{line}: no time at the beginning"))
}
