//! A leader that has lost its majority, and a node that still hears it: both say so, and share what they block for as
//! long as nobody can agree on anything.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds;

use crate::inside::{in_lab, plan};

const SPAMMER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 61));
const SOON: Duration = Duration::from_secs(10);
/// Less than the minute that a notice blocks, and more than the time after which it is renewed.
const STEP_MS: u64 = 40_000;

#[test]
fn whoever_hears_a_leader_without_a_majority_says_so_and_goes_on_sharing() -> Result<()> {
    let hosts = |directory: &Path| {
        let clock = ("BANNKREIS_CLOCK_FILE".to_owned(), directory.join("clock").display().to_string());
        let mut hosts: Vec<_> =
            ["kopano", "kerio", "mx1", "mx2"].map(|name| plan(name, seeds::kerio())).into();
        for host in &mut hosts {
            host.environment.push(clock.clone());
        }
        hosts
    };
    in_lab("minority::whoever_hears_a_leader_without_a_majority_says_so_and_goes_on_sharing", hosts, |lab| {
        let clock = lab.hosts()[0].file("../clock");
        let set_clock = |ms: u64| {
            let new = clock.with_extension("new");
            let write = || fs::write(&new, ms.to_string()).and_then(|()| fs::rename(&new, &clock));
            write().context(|| "cannot set the clock".to_owned())
        };
        set_clock(0)?;
        lab.form_cluster()?;
        let leader = lab.leader()?;
        let nodes = lab.host(&leader).cluster_status()?.nodes;
        let learner = nodes.iter().find(|node| !node.is_voter).map(|node| node.name.clone());
        let learner = learner.ok_or_else(|| Failed("four nodes have no learner".to_owned()))?;
        for host in lab.hosts_mut() {
            if host.name() != leader && host.name() != learner {
                host.kill_9();
            }
        }
        for name in [&leader, &learner] {
            wait_for("the first line says it", SOON, || {
                let told = lab.host(name).cli(&["status"])?.expect_success()?.stdout;
                expect(told.starts_with("no quorum since "), || format!("{name} says: {told}"))
            })?;
        }
        let blocked = (SPAMMER, lab.host(&leader).port(25, SPAMMER));
        lab.host(&learner).append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(SPAMMER)])?;
        lab.attacker.wait_silent(&[blocked], SOON)?;
        let until = |host: &str| {
            let told = lab.host(host).cli(&["--output", "json", "bans"])?.expect_success()?;
            told.number_at("/bans/0/until_ms")
        };
        let mut ends_ms = until(&leader)?;
        for n in 1..=3 {
            set_clock(n * STEP_MS)?;
            wait_for("the learner has told the leader again", SOON, || {
                let now_ms = until(&leader)?;
                expect(now_ms > ends_ms, || format!("it ends at {now_ms} ms as before"))
            })?;
            ends_ms = until(&leader)?;
            lab.attacker.expect_silent(&[blocked])?;
        }
        Ok(())
    })
}
