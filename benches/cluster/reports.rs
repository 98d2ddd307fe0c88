//! What it costs that hosts tell each other of failures: one host logs ten thousand a second, of offenders who stay below
//! maxretry, once in a jail that counts with its peers and once in one that counts alone.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use bannkreis_benches::process;
use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::{Host, HostPlan};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};
use serde_json::Value;

use crate::say;

const PER_SECOND: u32 = 10_000;
const SECONDS: u32 = 10;
/// A write for each of so many parts of a second.
const WRITES_PER_SECOND: u32 = 20;
/// Each offender fails so often in a row, and stays below maxretry.
const TRIES: u32 = 2;
/// What it may cost of a processor.
const SHARE_MAX: f64 = 0.05;
const SOON: Duration = Duration::from_secs(60);

/// What the attack has cost on the host that logs it, and on each peer.
struct Cost {
    here: Duration,
    peer: Duration,
    /// Entries of the Raft log meanwhile.
    n_entries: u64,
}

/// Measures and says it.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    let alone = of_an_attack(directory, "local")?;
    let told = of_an_attack(directory, "cluster")?;
    let seconds = f64::from(SECONDS);
    let more = |told: Duration, alone: Duration| (told.as_secs_f64() - alone.as_secs_f64()) / seconds;
    say(&format!(
        "{PER_SECOND} failures a second at one host for {SECONDS} s, nobody over maxretry; of a processor:"
    ));
    for (name, told, alone) in [("at that host", told.here, alone.here), ("at a peer", told.peer, alone.peer)]
    {
        let (share, more) = (told.as_secs_f64() / seconds * 100.0, more(told, alone));
        let verdict = if more <= SHARE_MAX { "met" } else { "MISSED" };
        say(&format!(
            "{name}: {share:.1} %, of which telling each other {:.1} (aim {:.0}: {verdict})",
            more * 100.0,
            SHARE_MAX * 100.0
        ));
    }
    say(&format!(
        "entries of the Raft log meanwhile: {} ({} without reports)",
        told.n_entries, alone.n_entries
    ));
    say("");
    Ok(())
}

fn of_an_attack(directory: &Path, scope: &str) -> Result<Cost> {
    let directory = directory.join(format!("reports-{scope}"));
    std::fs::create_dir_all(&directory).context(|| format!("cannot make {}", directory.display()))?;
    let jail = format!("[postfix-sasl]\nenabled = true\nmaxretry = 5\nfindtime = 1h\nscope = {scope}\n");
    let plan = |name| HostPlan {
        name,
        tree: Tree::empty().with("jail.local", &jail).with_log(seeds::MAIL_LOG),
        settings: String::new(),
        environment: Vec::new(),
    };
    let mut lab = Lab::build(&directory, ["kopano", "kerio", "mx1"].map(plan).into())?;
    let cost = attack(&mut lab);
    if cost.is_err() {
        say(&lab.last_words());
    }
    cost
}

fn attack(lab: &mut Lab) -> Result<Cost> {
    lab.form_cluster()?;
    let (attacked, peer) = (lab.host("mx1"), lab.host("kerio"));
    let (before, before_peer) = (cpu(attacked)?, cpu(peer)?);
    let applied = applied(attacked)?;
    let began = Instant::now();
    let per_write = PER_SECOND / WRITES_PER_SECOND;
    for write in 0..SECONDS * WRITES_PER_SECOND {
        let lines: Vec<String> = (0..per_write)
            .map(|n| seeds::postfix_failure(offender((write * per_write + n) / TRIES)))
            .collect();
        attacked.append_log(seeds::MAIL_LOG, &lines)?;
        let due = Duration::from_secs(1) * (write + 1) / WRITES_PER_SECOND;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let n_failures = u64::from(PER_SECOND * SECONDS);
    wait_for("all are counted", SOON, || {
        let status = attacked.cli(&["status", "--output", "json"])?.json()?;
        let counted = status.pointer("/jails/0/n_failures").and_then(Value::as_u64);
        expect(counted == Some(n_failures), || format!("{counted:?} of {n_failures}"))
    })?;
    Ok(Cost {
        here: cpu(attacked)?.saturating_sub(before),
        peer: cpu(peer)?.saturating_sub(before_peer),
        n_entries: self::applied(attacked)?.saturating_sub(applied),
    })
}

fn cpu(host: &Host) -> Result<Duration> {
    let pid = host.pid().ok_or_else(|| Failed(format!("{} is dead", host.name())))?;
    process::cpu(pid).context(|| format!("{} can not be looked at", host.name()))
}

fn offender(n: u32) -> IpAddr {
    IpAddr::from(Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n))
}

/// How far the host has applied the Raft log.
fn applied(host: &Host) -> Result<u64> {
    let status = host.cli(&["status", "--output", "json"])?.json()?;
    let applied = status.pointer("/state/applied").and_then(Value::as_str);
    let index = applied.and_then(|applied| applied.split('.').nth(1)?.parse().ok());
    index.ok_or_else(|| Failed(format!("{} says nothing of the log: {status}", host.name())))
}
