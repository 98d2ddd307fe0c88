//! When more is gone than a cluster can lose: backup and restore, a majority that does not come back, a log that is
//! missing or garbage, a daemon that is killed in the middle. One of two states, never a lost ban, never a packet
//! through.
//!
//! Here is what the tests have in common; they stand by what has happened.

mod backups;
mod lost_log;
mod lost_majority;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::flood::Flood;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::listeners::COUNTING_PORT;
use bannkreis_tests::lab::wait::wait_for;

/// For what takes milliseconds, and for what takes an election or two.
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);

fn offender(n: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, n])
}

fn ban(host: &Host, n: u8) -> Result<()> {
    committed_by(host, &["ban", &offender(n).to_string(), "--for", "1h"])
}

/// Whether everybody enforces it already is not asked: somebody may just be starting.
fn committed_by(host: &Host, command: &[&str]) -> Result<()> {
    let told = host.cli(&[&["--output", "json"], command].concat())?;
    expect(told.is_done(), || format!("{command:?}: {} {}", told.stdout, told.stderr))
}

fn unban(host: &Host, n: u8) -> Result<()> {
    committed_by(host, &["unban", &offender(n).to_string()])
}

/// The host lists all of `wanted`, and of `unwanted` none.
fn lists(host: &Host, wanted: &[u8], unwanted: &[u8]) -> Result<()> {
    let listed: BTreeSet<String> = committed(&host.bans()?);
    let has = |n: &u8| listed.contains(&offender(*n).to_string());
    expect(wanted.iter().all(has) && !unwanted.iter().any(has), || {
        format!("{} lists {listed:?}, wanted {wanted:?} and not {unwanted:?}", host.name())
    })
}

fn blocks(lab: &Lab, host: &Host, wanted: &[u8]) -> Result<()> {
    let pairs: Vec<_> = wanted.iter().map(|n| (offender(*n), host.port(25, offender(*n)))).collect();
    lab.attacker.wait_silent(&pairs, SOON)
}

/// One that goes on until it is dropped; nothing of it may arrive.
fn flood(lab: &Lab, host: &Host, n: u8) -> Result<Flood> {
    Flood::start(lab.attacker.netns(), &[offender(n)], &[host.port(COUNTING_PORT, offender(n))])
}

fn nothing_came_through(host: &Host, flood: &Flood) -> Result<()> {
    wait_for("a flood worth the name", SOON, || {
        expect(flood.n_sent() > 1_000, || format!("only {} packets were sent", flood.n_sent()))
    })?;
    let counted = host.listeners().counted();
    expect(counted.is_empty(), || format!("packets got through on {}: {counted:?}", host.name()))
}

fn says(told: &Told, what: &str) -> Result<()> {
    let all = format!("{}{}", told.stdout, told.stderr);
    // Lines are wrapped for people.
    let one_line = all.split_whitespace().collect::<Vec<_>>().join(" ");
    expect(one_line.contains(what), || format!("instead of {what:?} it said: {all}"))
}

fn generation(host: &Host) -> Result<u64> {
    host.cli(&["--output", "json", "cluster", "status"])?.number_at("/generation")
}

/// Joins and waits until both are one cluster.
fn join(host: &Host, to: &Host, n_members: usize) -> Result<()> {
    host.join(to)?;
    wait_for("the host is a member", LATER, || {
        let seen = host.cluster_status()?.nodes.iter().filter(|node| node.is_reachable).count();
        expect(seen == n_members, || format!("{} sees {seen} of {n_members} nodes", host.name()))
    })
}

/// What `raft/` is like at the next start.
fn lose_log(host: &Host, garbage: bool) -> Result<()> {
    let log = host.file("state/raft");
    if !garbage {
        return fs::remove_dir_all(&log).context(|| format!("cannot remove {}", log.display()));
    }
    let database = log.join("db");
    fs::write(&database, vec![0xa5; 64 * 1_024]).context(|| format!("cannot damage {}", database.display()))
}

fn own_id(host: &Host) -> Result<String> {
    host.cli(&["--output", "json", "status"])?.text_at("/state/node_id")
}
