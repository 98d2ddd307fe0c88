//! A million bans: how long a snapshot of them takes and what it does to a commit beside it, and how long a host that starts
//! anew with an empty kernel, while the others go on, takes until it enforces them.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bannkreis_core::ruleset::Ruleset;
use bannkreis_core::time::Timestamp;
use bannkreis_firewall::BackendChoice;
use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::lab::whole_program::say;

use crate::{GROUP, N_PROPOSERS, Node, Outcome, RUN_SECONDS, judge, run_on};

const N_BANS: u64 = 1_000_000;
/// What is aimed at.
const SNAPSHOT_MAX: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_millis(400);
const RESTART_MAX: Duration = Duration::from_secs(5);
/// Whoever does not enforce them by then will not.
const ENFORCED_MAX: Duration = Duration::from_secs(120);

/// Goes on with these nodes, which have `n_bans`, until there are a million, measures, and says it.
pub(crate) fn measure(lab: &mut Lab, mut nodes: Vec<Node>, mut n_bans: u64, first: &mut u32) -> Result<()> {
    let held = |lab: &Lab| lab.hosts()[0].cli(&["--output", "json", "status"])?.number_at("/n_blocked");
    while n_bans < N_BANS {
        n_bans += run_on(&mut nodes, N_PROPOSERS, GROUP, first)?.n_bans;
    }
    let alone = run_on(&mut nodes[..1], 1, 1, first)?;
    let (mut took, mut waited) = (Vec::new(), Vec::new());
    for n in 0..nodes.len() {
        let (snapshot, beside) = snapshot_of(&mut nodes, n, first)?;
        took.push(snapshot);
        waited.push(beside.longest);
    }
    let others = nodes.split_off(1);
    nodes.into_iter().try_for_each(Node::end)?;
    lab.hosts()[0].netns().run(|| {
        let refused = || "cannot empty the kernel's table".to_owned();
        let mut kernel = bannkreis_firewall::open(BackendChoice::Nftables).context(refused)?;
        kernel.replace(Timestamp::ZERO, &Ruleset::default()).context(refused)
    })?;
    let began = Instant::now();
    lab.hosts_mut()[0].launch()?;
    lab.hosts_mut()[0].wait_ready()?;
    wait_for("the host enforces everything", ENFORCED_MAX, || {
        let n_blocked = held(lab)?;
        expect(n_blocked >= N_BANS, || format!("{n_blocked} are blocked"))
    })?;
    let restarted = began.elapsed();
    others.into_iter().try_for_each(Node::end)?;

    say(&format!("\na million bans ({n_bans} were committed)"));
    let took = took.into_iter().max().unwrap_or_default();
    judge("a snapshot of them, the longest of three nodes", took, SNAPSHOT_MAX);
    let waited = waited.into_iter().max().unwrap_or_default();
    judge("the longest commit beside it", waited.saturating_sub(alone.longest), HEARTBEAT);
    judge("from the start until an empty kernel has them", restarted, RESTART_MAX);
    Ok(())
}

/// Has a node write a snapshot while another one goes on proposing: how long that took, and what came of the other.
fn snapshot_of(nodes: &mut [Node], which: usize, first: &mut u32) -> Result<(Duration, Outcome)> {
    let other = (which + 1) % nodes.len();
    nodes[other].tell(&format!("1 1 {RUN_SECONDS} {}", Ipv4Addr::from(*first)))?;
    *first += 1 << 22;
    nodes[which].tell("snapshot")?;
    let line = nodes[which].hear()?;
    let took = line.parse().map(Duration::from_micros);
    let took = took.map_err(|_| Failed(format!("a snapshot took {line}")))?;
    Ok((took, nodes[other].outcome()?))
}
