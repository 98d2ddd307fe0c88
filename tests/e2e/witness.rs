//! A pair and its witness: what a pair is told, and what the third vote is good for.

use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};
use rustix::thread::CapabilitySet;

use crate::inside::{QUICK_RAFT, in_lab, plan};

const SOON: Duration = Duration::from_secs(10);
const AFTER_ELECTION: Duration = Duration::from_secs(60);
const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 41));
const SECOND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 42));
const THIRD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 43));

#[test]
fn a_pair_is_told_about_the_witness_that_then_saves_it() -> Result<()> {
    let hosts = |_: &std::path::Path| {
        // The witness finds a jail and its log, and reads neither.
        let mut hosts =
            vec![plan("kopano", Tree::empty()), plan("kerio", Tree::empty()), plan("third", seeds::kerio())];
        hosts[2].settings = format!("role = \"witness\"\n{QUICK_RAFT}");
        hosts
    };
    in_lab("witness::a_pair_is_told_about_the_witness_that_then_saves_it", hosts, |lab| {
        for name in ["kopano", "kerio"] {
            lab.host_mut(name).start()?;
        }
        let [kopano, kerio, third] = ["kopano", "kerio", "third"].map(|name| lab.host(name));
        kerio.join(kopano)?;
        wait_for("the pair is told", SOON, || {
            let told = kerio.cli(&["cluster", "status"])?.expect_success()?.stdout;
            // Wrapped for people.
            let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
            let remedy = format!("`bannkreis cluster join {} --token TOKEN`", kerio.cluster_address());
            for part in ["This is a pair", "role = \"witness\"", "`bannkreis token create`", &remedy] {
                expect(told.contains(part), || format!("no {part:?} in: {told}"))?;
            }
            // What the leader waits for is known on the other node as well.
            let why = "two voters would be weaker than one";
            expect(told.contains("voters: wait:") && told.contains(why), || told.clone())
        })?;
        let warned = kopano.cli(&["status"])?.stdout;
        expect(warned.contains("This is a pair"), || warned.clone())?;

        // No capability to speak of, and no firewall to open.
        let without = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
        let _witness = third.spawn_without(without)?;
        wait_for("the witness answers", SOON, || third.cli(&["status"])?.expect_success().map(drop))?;
        third.join(kopano)?;
        lab.wait_whole()?;
        is_quiet_witness(third)?;
        let advice = kopano.cli(&["--output", "json", "cluster", "status"])?;
        expect(advice.text_at("/advice/0").is_err(), || advice.stdout.clone())?;

        // Both full nodes enforce, the witness only stores; its logs say nothing to it.
        third.append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(SECOND)])?;
        kopano.cli(&["ban", &FIRST.to_string(), "--for", "1h"])?.expect_success()?;
        for host in [kopano, kerio, third] {
            wait_for("the ban is known", SOON, || lists(host, FIRST))?;
        }
        for host in [kopano, kerio] {
            lab.attacker.wait_silent(&[(FIRST, host.port(25, FIRST))], SOON)?;
        }
        lab.attacker.expect_open(&[(FIRST, third.port(25, FIRST))])?;
        expect(lists(third, SECOND).is_err(), || "the witness has read a log".to_owned())?;

        // Either of the two may go now, and the one that is left leads.
        for (lost, left, offender) in [("kopano", "kerio", SECOND), ("kerio", "kopano", THIRD)] {
            lab.host_mut(lost).kill_9();
            wait_for("the full node that is left leads", AFTER_ELECTION, || leads(lab, left))?;
            // Done, and not everywhere, which is not success.
            lab.host(left).cli(&["ban", &offender.to_string(), "--for", "1h"])?;
            lists(lab.host(left), offender)?;
            lab.host_mut(lost).start()?;
            wait_for("the one that was lost has caught up", AFTER_ELECTION, || {
                lists(lab.host(lost), offender)
            })?;
            lab.wait_whole()?;
        }
        // Alone with its votes, it leads for lack of others, and hands over to the first that comes back.
        wait_for("the witness does not lead", AFTER_ELECTION, || {
            leads(lab, "kopano").or_else(|_| leads(lab, "kerio"))
        })?;
        is_quiet_witness(lab.host("third"))
    })
}

/// It says what it is, and that nothing is amiss.
fn is_quiet_witness(host: &Host) -> Result<()> {
    let told = host.cli(&["--output", "json", "status"])?;
    let mode = told.text_at("/state/mode")?;
    expect(mode == "witness", || format!("its mode is {mode}"))?;
    expect(told.text_at("/state/warnings/0").is_err(), || told.stdout.clone())?;
    let people = host.cli(&["status"])?.expect_success()?.stdout;
    expect(people.starts_with(&format!("{}: a witness, one of 3 nodes", host.name())), || people.clone())?;
    let cluster = host.cli(&["cluster", "status"])?.expect_success()?.stdout;
    expect(cluster.contains("witness: votes only"), || cluster.clone())
}

fn lists(host: &Host, offender: IpAddr) -> Result<()> {
    let listed = committed(&host.bans()?);
    expect(listed.contains(&offender.to_string()), || format!("{} lists {listed:?}", host.name()))
}

fn leads(lab: &Lab, name: &str) -> Result<()> {
    let leader = lab.host(name).cluster_status()?.leader;
    let leader = leader.ok_or_else(|| Failed(format!("{name} knows no leader")))?;
    expect(leader == name, || format!("{leader} leads"))
}
