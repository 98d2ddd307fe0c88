//! Two nodes, of which one is dead for three days: the other keeps its ban alone for the whole time,
//! and the cluster has it as soon as there is one again.
//!
//! The days pass by a clock that the test sets; packets, kernels and disks are as ever.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::Ban;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds;

use crate::inside::{in_lab, plan};

const SPAMMER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 31));
const DAY_MS: u64 = 86_400_000;
/// The ban time of Kerio's jail spam-harvest: 604,800 s.
const BAN_MS: u64 = 7 * DAY_MS;
/// Whole seconds in syslog, and cluster time that is told in steps.
const SLACK_MS: u64 = 5_000;
const SOON: Duration = Duration::from_secs(10);
const AFTER_ELECTION: Duration = Duration::from_secs(60);

/// The names the daemon reads its shifted clock under.
const CLOCK_VARIABLE: &str = "BANNKREIS_CLOCK_FILE";

#[test]
fn a_pair_keeps_a_ban_while_one_is_dead_for_three_days() -> Result<()> {
    let hosts = |directory: &Path| {
        let clock = directory.join("clock");
        ["one", "two"]
            .map(|name| {
                let mut plan = plan(name, seeds::kerio());
                plan.environment.push((CLOCK_VARIABLE.to_owned(), clock.display().to_string()));
                plan
            })
            .into()
    };
    in_lab("pair::a_pair_keeps_a_ban_while_one_is_dead_for_three_days", hosts, |lab| {
        let clock = Clock(lab.hosts()[0].file("../clock"));
        clock.set(0)?;
        lab.form_cluster()?;
        let dead = lab.leader()?;
        let alone = if dead == "one" { "two" } else { "one" };
        lab.host_mut(&dead).kill_9();

        let began_ms = now_ms()?;
        lab.host(alone).append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(SPAMMER)])?;
        lab.attacker.wait_silent(&mail(lab, alone), SOON)?;
        let waiting = ban_on(lab, alone)?;
        expect(!waiting.is_committed, || format!("one of two is no majority: {waiting:?}"))?;
        expect_whole_week(&waiting, began_ms)?;

        clock.set(DAY_MS)?;
        lab.attacker.expect_silent(&mail(lab, alone))?;
        clock.set(2 * DAY_MS)?;
        lab.host_mut(alone).kill_9();
        lab.attacker.expect_silent(&mail(lab, alone))?;
        lab.host_mut(alone).start()?;
        lab.attacker.expect_silent(&mail(lab, alone))?;
        clock.set(3 * DAY_MS)?;
        expect_whole_week(&ban_on(lab, alone)?, began_ms)?;
        lab.attacker.expect_silent(&mail(lab, alone))?;

        lab.host_mut(&dead).start()?;
        for name in [alone, dead.as_str()] {
            wait_for(&format!("{name} has the ban on the list"), AFTER_ELECTION, || {
                let ban = ban_on(lab, name)?;
                expect(ban.is_committed, || format!("{ban:?}"))?;
                expect_whole_week(&ban, began_ms)
            })?;
            lab.attacker.wait_silent(&mail(lab, name), SOON)?;
        }

        // Nearly over is not over.
        clock.set(BAN_MS - 60_000)?;
        for name in [alone, dead.as_str()] {
            wait_for(&format!("{name} knows that days have passed"), AFTER_ELECTION, || {
                let ban = ban_on(lab, name)?;
                expect(ban.is_committed, || format!("{ban:?}"))
            })?;
            lab.attacker.expect_silent(&mail(lab, name))?;
        }
        clock.set(BAN_MS + SLACK_MS)?;
        for name in [alone, dead.as_str()] {
            lab.attacker.wait_open(&mail(lab, name), AFTER_ELECTION)?;
        }
        Ok(())
    })
}

/// The file that shifts the clocks of both nodes.
struct Clock(PathBuf);

impl Clock {
    fn set(&self, offset_ms: u64) -> Result<()> {
        // Renamed into place: a daemon that reads in between sees the old one or the new one.
        let new = self.0.with_extension("new");
        let write = || {
            fs::write(&new, offset_ms.to_string())?;
            fs::rename(&new, &self.0)
        };
        write().context(|| format!("cannot write {}", self.0.display()))
    }
}

fn ban_on(lab: &Lab, name: &str) -> Result<Ban> {
    let bans = lab.host(name).bans()?;
    let ban = bans.iter().find(|ban| ban.subnet == SPAMMER.to_string());
    ban.cloned().ok_or_else(|| Failed(format!("{name} knows of no ban: {bans:?}")))
}

/// It ends a week after the line, whatever happened in between.
fn expect_whole_week(ban: &Ban, began_ms: u64) -> Result<()> {
    let ends = ban.until_ms.ok_or_else(|| Failed(format!("it never ends: {ban:?}")))?;
    let off_ms = ends.abs_diff(began_ms + BAN_MS);
    expect(off_ms <= SLACK_MS, || format!("it ends {off_ms} ms off: {ban:?}"))
}

fn mail(lab: &Lab, name: &str) -> [(IpAddr, SocketAddr); 3] {
    [25, 465, 587].map(|port| (SPAMMER, lab.host(name).port(port, SPAMMER)))
}

fn now_ms() -> Result<u64> {
    let since_epoch =
        SystemTime::now().duration_since(UNIX_EPOCH).context(|| "a clock before 1970".to_owned())?;
    u64::try_from(since_epoch.as_millis()).context(|| "a clock beyond all bounds".to_owned())
}
