//! Whatever happens between the hosts and to their daemons while operators ban and banned addresses flood: what was
//! acknowledged is on every host in the end, and nobody who is banned gets in meanwhile.
//!
//! Not for kill -9 (`random_kills.rs`) and power cuts (`power_cut.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::flood::Flood;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::listeners::COUNTING_PORT;
use rustix::process::{Pid, Signal, kill_process};

use crate::chance::{Chance, number};
use crate::inside::{in_lab, skip, three_quiet_hosts};
use crate::operators_load::{Load, has_every};

/// How many faults, when the environment does not say.
const N_FAULTS: u64 = 12;
const N_FAULTS_VARIABLE: &str = "BANNKREIS_CHAOS_FAULTS";
/// Longer than any election of these hosts (`QUICK_RAFT`): a fault that ends earlier is none.
const FAULT_MIN: Duration = Duration::from_millis(700);
const FAULT_MAX: Duration = Duration::from_millis(2_500);
/// Bans that must come about between two faults.
const ACKNOWLEDGED_BETWEEN_FAULTS: usize = 5;
const AFTER_FAULT: Duration = Duration::from_secs(60);
/// Addresses that were banned on every host before anything happened, and flood all the time.
const N_FLOODING: u8 = 50;
/// What is lifted in the end.
const N_LIFTED: usize = 20;
/// A host's wire with a hundred milliseconds of queue: what is sent is late, and lost when there is too much of it.
const NARROW: &str = "add dev eth0 root tbf rate 400kbit burst 4kb latency 100ms";

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGSTOP: the process hears and says nothing, and knows nothing of it afterwards.
    Stopped,
    /// Nothing goes from or to its peers.
    CutOff,
    /// Nothing goes to its peers; what they send arrives.
    Mute,
    /// Its packets are late, and some are lost.
    Narrow,
    /// Every host is stopped in order and started again, one after the other.
    RollingRestart,
}

const FAULTS: [Fault; 5] = [Fault::Stopped, Fault::CutOff, Fault::Mute, Fault::Narrow, Fault::RollingRestart];

#[test]
fn nothing_acknowledged_is_lost_and_nobody_banned_gets_in() -> Result<()> {
    let name = "chaos::nothing_acknowledged_is_lost_and_nobody_banned_gets_in";
    in_lab(name, three_quiet_hosts, |lab| {
        let mut chance = Chance::new()?;
        let n_faults = number(N_FAULTS_VARIABLE)?.unwrap_or(N_FAULTS);
        lab.form_cluster()?;
        let flooding = ban_flooding(lab)?;
        let counting: Vec<SocketAddr> =
            lab.hosts().iter().map(|host| host.port(COUNTING_PORT, flooding[0])).collect();
        let flood = Flood::start(lab.attacker.netns(), &flooding, &counting)?;
        let acknowledged = Load::during(lab, |lab, load| {
            for n in 0..n_faults {
                // Each kind comes about, and then what chance says.
                let kind = if n < FAULTS.len() as u64 { n } else { chance.of(0..=FAULTS.len() as u64 - 1) };
                let fault = FAULTS[usize::try_from(kind).unwrap_or(0)];
                let whom = usize::try_from(chance.of(0..=lab.hosts().len() as u64 - 1)).unwrap_or(0);
                let said =
                    |failed: Failed| failed.while_doing(&format!("fault {n}, {fault:?} of host {whom}"));
                happen(lab, fault, whom, &mut chance).map_err(said)?;
                load.wait_acknowledged(load.n_acknowledged() + ACKNOWLEDGED_BETWEEN_FAULTS, AFTER_FAULT)
                    .map_err(said)?;
            }
            Ok(())
        })?;
        lab.wait_whole()?;
        println!(
            "{n_faults} faults, {} bans acknowledged, {} packets of banned",
            acknowledged.len(),
            flood.n_sent()
        );
        lab.hosts().iter().try_for_each(|host| has_every(host, &acknowledged, AFTER_FAULT))?;
        expect_firewalls(lab, &acknowledged)?;
        for host in lab.hosts() {
            let counted = host.listeners().counted();
            expect(counted.is_empty(), || format!("packets got through on {}: {counted:?}", host.name()))?;
        }
        Ok(())
    })
}

/// What is in the environment of a daemon whose wall clock alone jumps.
fn jumping(library: &str, file: &std::path::Path) -> Vec<(String, String)> {
    [
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// libfaketime, where it is installed.
fn libfaketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.flatten();
    places.map(|place| place.path().join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

#[test]
fn wall_clocks_that_jump_change_nothing_for_anybody() -> Result<()> {
    let name = "chaos::wall_clocks_that_jump_change_nothing_for_anybody";
    let Some(library) = libfaketime() else {
        return skip(name, "libfaketime is missing: apt-get install faketime");
    };
    let library = library.display().to_string();
    let hosts = |directory: &std::path::Path| {
        let mut hosts = three_quiet_hosts(directory);
        for host in &mut hosts {
            host.environment = jumping(&library, &directory.join(format!("clock of {}", host.name)));
        }
        hosts
    };
    in_lab(name, hosts, |lab| {
        let mut chance = Chance::new()?;
        let set = |lab: &Lab, whom: usize, to: &str| {
            let host = &lab.hosts()[whom];
            let file = host.file(&format!("../clock of {}", host.name()));
            let new = file.with_extension("new");
            let write = || fs::write(&new, to).and_then(|()| fs::rename(&new, &file));
            write().context(|| format!("cannot set the clock of {}", host.name()))
        };
        (0..lab.hosts().len()).try_for_each(|whom| set(lab, whom, "+0"))?;
        lab.form_cluster()?;
        let flooding = ban_flooding(lab)?;
        let acknowledged = Load::during(lab, |lab, load| {
            for jump in ["+3600", "-3600", "+31536000", "-86400", "+86400"] {
                let whom = usize::try_from(chance.of(0..=lab.hosts().len() as u64 - 1)).unwrap_or(0);
                set(lab, whom, jump)?;
                load.wait_acknowledged(load.n_acknowledged() + ACKNOWLEDGED_BETWEEN_FAULTS, AFTER_FAULT)
                    .map_err(|failed| failed.while_doing(&format!("a jump of {jump} s at host {whom}")))?;
                chance.let_pass(FAULT_MAX);
                set(lab, whom, "+0")?;
            }
            Ok(())
        })?;
        lab.wait_whole()?;
        lab.hosts().iter().try_for_each(|host| has_every(host, &acknowledged, AFTER_FAULT))?;
        let all: BTreeSet<String> =
            acknowledged.iter().cloned().chain(flooding.iter().map(ToString::to_string)).collect();
        expect_firewalls(lab, &all)
    })
}

/// Bans them on every host, and sees that they are out.
fn ban_flooding(lab: &Lab) -> Result<Vec<IpAddr>> {
    let flooding: Vec<IpAddr> = (1..=N_FLOODING).map(|last| IpAddr::from([203, 0, 113, last])).collect();
    let targets: Vec<String> = flooding.iter().map(ToString::to_string).collect();
    let command: Vec<&str> =
        ["ban", "--for", "1d"].into_iter().chain(targets.iter().map(String::as_str)).collect();
    lab.hosts()[0].cli(&command)?.expect_success()?;
    for host in lab.hosts() {
        lab.attacker.wait_silent(&mails(host, &flooding), AFTER_FAULT)?;
    }
    Ok(flooding)
}

fn mails(host: &Host, from: &[IpAddr]) -> Vec<(IpAddr, SocketAddr)> {
    from.iter().map(|from| (*from, host.port(25, *from))).collect()
}

/// Whoever is banned is out on every host, and whoever is let in again is in.
fn expect_firewalls(lab: &Lab, banned: &BTreeSet<String>) -> Result<()> {
    let banned: Vec<IpAddr> = banned.iter().filter_map(|address| address.parse().ok()).collect();
    for host in lab.hosts() {
        for some in banned.chunks(100) {
            lab.attacker.wait_silent(&mails(host, some), AFTER_FAULT)?;
        }
    }
    let lifted = &banned[..N_LIFTED.min(banned.len())];
    let targets: Vec<String> = lifted.iter().map(ToString::to_string).collect();
    let command: Vec<&str> = ["unban"].into_iter().chain(targets.iter().map(String::as_str)).collect();
    lab.hosts()[0].cli(&command)?.expect_success()?;
    for host in lab.hosts() {
        lab.attacker.wait_open(&mails(host, lifted), AFTER_FAULT)?;
    }
    Ok(())
}

/// Lets it happen to one host, for a random time, and mends it.
fn happen(lab: &mut Lab, fault: Fault, whom: usize, chance: &mut Chance) -> Result<()> {
    let last = |chance: &mut Chance| {
        std::thread::sleep(FAULT_MIN);
        chance.let_pass(FAULT_MAX - FAULT_MIN);
    };
    match fault {
        Fault::Stopped => {
            signal(&lab.hosts()[whom], Signal::STOP)?;
            last(chance);
            signal(&lab.hosts()[whom], Signal::CONT)
        }
        Fault::CutOff | Fault::Mute => {
            let others = (0..lab.hosts().len()).filter(|other| *other != whom);
            let mut cuts: Vec<(usize, usize)> = others.map(|other| (whom, other)).collect();
            if matches!(fault, Fault::CutOff) {
                cuts.extend(cuts.clone().into_iter().map(|(from, to)| (to, from)));
            }
            cuts.iter().try_for_each(|cut| route(lab, "add", *cut))?;
            last(chance);
            cuts.iter().try_for_each(|cut| route(lab, "del", *cut))
        }
        Fault::Narrow => {
            queue(&lab.hosts()[whom], NARROW)?;
            last(chance);
            queue(&lab.hosts()[whom], "del dev eth0 root")
        }
        Fault::RollingRestart => {
            for n in 0..lab.hosts().len() {
                lab.hosts_mut()[n].stop()?;
                lab.hosts_mut()[n].start()?;
                lab.wait_whole()?;
            }
            Ok(())
        }
    }
}

fn signal(host: &Host, signal: Signal) -> Result<()> {
    let pid = host.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let pid = pid.ok_or_else(|| Failed(format!("{} is dead", host.name())))?;
    kill_process(pid, signal).context(|| format!("cannot signal {}", host.name()))
}

/// `add` makes that nothing goes from the one host to the other, `del` that it goes again.
fn route(lab: &Lab, verb: &str, (from, to): (usize, usize)) -> Result<()> {
    let lines = lab.hosts()[to].addresses().map(|address| format!("route {verb} blackhole {address}\n"));
    lab.hosts()[from].netns().ip(&lines.concat())
}

/// tc(8), for the packets that a host sends.
fn queue(host: &Host, what: &str) -> Result<()> {
    let arguments = format!("qdisc {what}");
    let told = host.netns().command("tc").args(arguments.split(' ')).output();
    let told = told.context(|| "cannot run tc".to_owned())?;
    expect(told.status.success(), || format!("tc {arguments}: {}", String::from_utf8_lossy(&told.stderr)))
}
