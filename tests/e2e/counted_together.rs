//! Failures counted across hosts, in whole daemons: whoever tries less than maxretry on each of four hosts and reaches it
//! on all of them is dropped on all of them, a line that a central log has too counts once, and two hosts without a
//! quorum count together as well.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;

use crate::inside::{in_lab, plan};

const HOSTS: [&str; 4] = ["mx1", "mx2", "mx3", "log"];
const LOG: &str = "mail.log";
const SOON: Duration = Duration::from_secs(10);
/// Within this, whoever reached maxretry is dropped everywhere.
const EVERYWHERE: Duration = Duration::from_secs(1);
const PATIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 41));
const CENTRAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 42));
const MINORITY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 43));

#[test]
fn tries_on_four_hosts_add_up() -> Result<()> {
    let jail = "[door]\nenabled = true\nport = smtp\nmaxretry = 12\nfindtime = 10m\nbantime = 1h\n\
                logpath = /var/log/mail.log\nfilter =\nfailregex = ^ \\S+ mtad\\[\\d+\\]: refused <HOST>$\n";
    let tree = Tree::empty().with("jail.local", jail).with_log(LOG);
    in_lab(
        "counted_together::tries_on_four_hosts_add_up",
        |_| HOSTS.map(|name| plan(name, tree.clone())).into(),
        |lab| {
            lab.form_cluster()?;
            three_tries_on_each(lab)?;
            copies_in_a_central_log(lab)?;
            without_a_quorum(lab)
        },
    )
}

fn three_tries_on_each(lab: &Lab) -> Result<()> {
    for _ in 0..2 {
        HOSTS.iter().try_for_each(|name| refuse(lab, name, name, PATIENT))?;
    }
    let others = ["mx1", "mx2", "log"];
    others.iter().try_for_each(|name| refuse(lab, name, name, PATIENT))?;
    others.iter().try_for_each(|name| wait_counts(lab, name, PATIENT, (3, 8)))?;
    wait_counts(lab, "mx3", PATIENT, (2, 9))?;
    lab.attacker.expect_open(&mail(lab, &HOSTS, PATIENT))?;
    // The third on the fourth host decides.
    refuse(lab, "mx3", "mx3", PATIENT)?;
    lab.attacker.wait_silent(&mail(lab, &HOSTS, PATIENT), EVERYWHERE)?;
    wait_for("why names who contributed", SOON, || {
        let told = lab.host("mx3").cli(&["why", &PATIENT.to_string(), "--output", "json"])?.json()?;
        let evidence = told.pointer("/bans/0/evidence").cloned().unwrap_or_default();
        let contributors = evidence.get("contributors").and_then(|list| list.as_array()).map_or(0, Vec::len);
        let n_failures = evidence.get("n_failures").and_then(serde_json::Value::as_u64).unwrap_or(0);
        expect(contributors == 3 && n_failures == 12, || format!("{evidence}"))
    })
}

fn copies_in_a_central_log(lab: &Lab) -> Result<()> {
    for _ in 0..11 {
        refuse(lab, "mx1", "mx1", CENTRAL)?;
        refuse(lab, "log", "mx1", CENTRAL)?;
    }
    // Eleven each, of which none is one of the other's.
    wait_counts(lab, "log", CENTRAL, (11, 0))?;
    wait_counts(lab, "mx1", CENTRAL, (11, 0))?;
    wait_counts(lab, "mx2", CENTRAL, (0, 11))?;
    lab.attacker.expect_open(&mail(lab, &HOSTS, CENTRAL))?;
    refuse(lab, "mx2", "mx2", CENTRAL)?;
    lab.attacker.wait_silent(&mail(lab, &HOSTS, CENTRAL), EVERYWHERE)
}

fn without_a_quorum(lab: &mut Lab) -> Result<()> {
    let status = lab.host("mx1").cluster_status()?;
    let voters: Vec<String> =
        status.nodes.iter().filter(|node| node.is_voter).map(|node| node.name.clone()).collect();
    for name in voters.iter().skip(1) {
        lab.host_mut(name).kill_9();
    }
    let left: Vec<&str> =
        HOSTS.into_iter().filter(|name| !voters[1..].iter().any(|dead| dead == name)).collect();
    let &[one, other] = left.as_slice() else {
        return expect(false, || format!("two of {voters:?} are left: {left:?}"));
    };
    for name in [one, other] {
        wait_for("there is no quorum", SOON, || {
            let status = lab.host(name).cli(&["status"])?.stdout;
            expect(status.contains("no quorum"), || status.clone())
        })?;
    }
    for _ in 0..6 {
        refuse(lab, one, one, MINORITY)?;
        refuse(lab, other, other, MINORITY)?;
    }
    lab.attacker.wait_silent(&mail(lab, &[one, other], MINORITY), EVERYWHERE)
}

/// `host` reads in its log that `logged_by` has refused somebody.
fn refuse(lab: &Lab, host: &str, logged_by: &str, offender: IpAddr) -> Result<()> {
    let now = jiff::Timestamp::now().strftime("%b %e %H:%M:%S").to_string();
    let line = format!("{now} {logged_by} mtad[17]: refused {offender}");
    lab.host(host).append_log(LOG, &[line]).map(drop)
}

/// Waits until `name` counts so many of its own failures and so many of its peers'.
fn wait_counts(lab: &Lab, name: &str, offender: IpAddr, counts: (u64, u64)) -> Result<()> {
    wait_for(&format!("{name} counts {counts:?} of {offender}"), SOON, || {
        let told = lab.host(name).cli(&["why", &offender.to_string(), "--output", "json"])?.json()?;
        let number = |key: &str| {
            told.pointer(&format!("/failures/0/{key}")).and_then(serde_json::Value::as_u64).unwrap_or(0)
        };
        let found = (number("n_failures"), number("n_told"));
        expect(found == counts, || format!("{found:?}: {told}"))
    })
}

fn mail(lab: &Lab, hosts: &[&str], offender: IpAddr) -> Vec<(IpAddr, SocketAddr)> {
    hosts.iter().map(|name| (offender, lab.host(name).port(25, offender))).collect()
}
