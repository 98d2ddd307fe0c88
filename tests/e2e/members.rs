//! Who is in the cluster, who votes and who leads, by an operator's word: nobody who leaves or is thrown out loses
//! a ban or lets a packet through, and the cluster goes on agreeing.

use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::flood::Flood;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::listeners::COUNTING_PORT;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan, three_quiet_hosts};

/// For what takes milliseconds, and for what takes an election or two.
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);

/// Banned before anything else happens.
const OLD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
/// Banned afterwards.
const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2));

fn ban(host: &Host, address: IpAddr) -> Result<()> {
    host.cli(&["ban", &address.to_string(), "--for", "1h"])?.expect_success().map(drop)
}

fn order(host: &Host, arguments: &[&str]) -> Result<()> {
    host.cli(&[&["cluster"], arguments].concat())?.expect_success().map(drop)
}

fn wait_blocked(lab: &Lab, host: &Host, address: IpAddr) -> Result<()> {
    lab.attacker.wait_silent(&[(address, host.port(25, address))], SOON)
}

fn wait_nodes(host: &Host, n_nodes: usize, n_voters: usize) -> Result<()> {
    wait_for("the membership is as ordered", LATER, || {
        let nodes = host.cluster_status()?.nodes;
        let n_found = nodes.iter().filter(|node| node.is_voter).count();
        expect((nodes.len(), n_found) == (n_nodes, n_voters), || format!("{} sees {nodes:?}", host.name()))
    })
}

#[test]
fn a_node_that_leaves_keeps_every_ban_and_lets_nothing_through_and_may_come_back() -> Result<()> {
    let name = "members::a_node_that_leaves_keeps_every_ban_and_lets_nothing_through_and_may_come_back";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), OLD)?;
        // The one that leads: it has to hand over first.
        let leader = lab.leader()?;
        let leaving = lab.host(&leader);
        wait_blocked(lab, leaving, OLD)?;
        let flood = Flood::start(lab.attacker.netns(), &[OLD], &[leaving.port(COUNTING_PORT, OLD)])?;
        order(leaving, &["leave"])?;
        wait_nodes(leaving, 1, 1)?;
        let listed = committed(&leaving.bans()?);
        expect(listed.contains(&OLD.to_string()), || format!("{leader} lists {listed:?}"))?;
        let refused = leaving.cli(&["cluster", "leave"])?.stderr;
        expect(refused.contains("alone already"), || refused)?;

        // Both sides go on by themselves.
        let others: Vec<&Host> = lab.hosts().iter().filter(|host| host.name() != leader).collect();
        ban(others[0], NEW)?;
        wait_blocked(lab, others[1], NEW)?;
        wait_nodes(others[0], 2, 2)?;
        ban(leaving, "203.0.113.3".parse().unwrap_or(NEW))?;

        leaving.join(others[1])?;
        lab.wait_whole()?;
        for host in lab.hosts() {
            wait_for("the union of all bans", SOON, || {
                let listed = committed(&host.bans()?);
                expect(listed.len() == 3, || format!("{} lists {listed:?}", host.name()))
            })?;
        }
        wait_for("a flood worth the name", SOON, || {
            expect(flood.n_sent() > 1_000, || format!("only {} packets were sent", flood.n_sent()))
        })?;
        let counted = leaving.listeners().counted();
        expect(counted.is_empty(), || format!("packets got through: {counted:?}"))
    })
}

#[test]
fn a_node_that_leaves_goes_on_closing_its_own_ports_to_whom_others_have_banned() -> Result<()> {
    let name = "members::a_node_that_leaves_goes_on_closing_its_own_ports_to_whom_others_have_banned";
    let hosts = |_: &std::path::Path| {
        [("kopano", seeds::kopano()), ("kerio", seeds::kerio()), ("mx1", Tree::empty())]
            .map(|(name, tree)| plan(name, tree))
            .into()
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        for _ in 0..10 {
            kopano.append_log(seeds::APACHE_ERROR_LOG, &[seeds::kopano_failure(OLD, "nobody")])?;
        }
        let closed = [25, 443, 465, 587].map(|port| (OLD, kerio.port(port, OLD)));
        lab.attacker.wait_silent(&closed, SOON)?;
        order(kerio, &["leave"])?;
        wait_nodes(kerio, 1, 1)?;
        lab.attacker.expect_silent(&closed)
    })
}

#[test]
fn a_node_that_is_thrown_out_is_nobody_and_becomes_a_node_of_its_own() -> Result<()> {
    let name = "members::a_node_that_is_thrown_out_is_nobody_and_becomes_a_node_of_its_own";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), OLD)?;
        let [kopano, kerio, mx1] = ["kopano", "kerio", "mx1"].map(|name| lab.host(name));
        wait_blocked(lab, mx1, OLD)?;
        let refused = mx1.cli(&["cluster", "remove", "mx1"])?.stderr;
        expect(refused.contains("cluster leave"), || refused)?;
        let refused = kopano.cli(&["cluster", "remove", "mx9"])?.stderr;
        expect(refused.contains("there are: "), || refused)?;

        order(kopano, &["remove", "mx1"])?;
        wait_nodes(kerio, 2, 2)?;
        ban(kopano, NEW)?;
        wait_blocked(lab, kerio, NEW)?;
        // It goes on blocking whom it knows, and nothing new reaches it.
        wait_blocked(lab, mx1, OLD)?;
        wait_for("the first line says that it is out, and what to type", LATER, || {
            let told = mx1.cli(&["status"])?.stdout;
            let is_said =
                told.starts_with("the cluster goes on without this node") && told.contains("leave --force");
            expect(is_said, || told)
        })?;
        let refused = mx1.cli(&["cluster", "recover", "--yes"])?.stderr;
        expect(refused.contains("would split the cluster in two"), || refused)?;
        let refused = mx1.cli(&["cluster", "leave"])?.stderr;
        expect(refused.contains("leave --force"), || refused)?;
        order(mx1, &["leave", "--force"])?;
        wait_nodes(mx1, 1, 1)?;
        let listed = committed(&mx1.bans()?);
        expect(listed.contains(&OLD.to_string()), || format!("mx1 lists {listed:?}"))?;
        // With a new key it may come back.
        mx1.join(kerio)?;
        lab.wait_whole()?;
        wait_blocked(lab, mx1, NEW)
    })
}

#[test]
fn votes_are_given_and_taken_and_a_leader_hands_over() -> Result<()> {
    let name = "members::votes_are_given_and_taken_and_a_leader_hands_over";
    let hosts = |_: &_| ["kopano", "kerio", "mx1", "mx2"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let kopano = lab.host("kopano");
        wait_nodes(kopano, 4, 3)?;
        for host in lab.hosts() {
            let nodes = host.cluster_status()?.nodes;
            let is_voter = nodes.iter().any(|node| node.name == host.name() && node.is_voter);
            if is_voter {
                order(kopano, &["transfer-leader", host.name()])?;
                let leader = lab.leader()?;
                expect(leader == host.name(), || format!("{leader} leads instead of {}", host.name()))?;
            }
        }
        let leader = lab.leader()?;
        order(lab.host("mx2"), &["transfer-leader"])?;
        let next = lab.leader()?;
        expect(next != leader, || format!("{next} leads still"))?;

        // The leader's own vote: it hands over first. Nobody gets that vote back without a word.
        order(kopano, &["demote", &next])?;
        let voters = |host: &Host| -> Result<Vec<String>> {
            let nodes = host.cluster_status()?.nodes.into_iter();
            Ok(nodes.filter(|node| node.is_voter).map(|node| node.name).collect())
        };
        wait_for("another one has the vote", LATER, || {
            let voters = voters(kopano)?;
            expect(voters.len() == 3 && !voters.contains(&next), || format!("{voters:?} vote"))
        })?;
        // A vote too many is an operator's to give: it is not taken back.
        order(kopano, &["promote", &next])?;
        wait_nodes(kopano, 4, 4)?;
        let some = voters(kopano)?.into_iter().find(|name| *name != next).unwrap_or_default();
        order(kopano, &["demote", &some])?;
        wait_nodes(kopano, 4, 3)?;
        ban(kopano, NEW)?;
        for host in lab.hosts() {
            wait_blocked(lab, host, NEW)?;
        }
        Ok(())
    })
}

#[test]
fn a_sixth_vote_is_refused_with_the_remedy_and_a_silent_voter_is_replaced() -> Result<()> {
    let name = "members::a_sixth_vote_is_refused_with_the_remedy_and_a_silent_voter_is_replaced";
    let hosts =
        |_: &_| ["kopano", "kerio", "mx1", "mx2", "mx3", "mx4"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        wait_nodes(lab.host("kopano"), 6, 5)?;
        let nodes = lab.host("kopano").cluster_status()?.nodes;
        let sixth =
            nodes.iter().find(|node| !node.is_voter).map(|node| node.name.clone()).unwrap_or_default();
        let leader = lab.leader()?;
        let refusal = |lab: &Lab| -> Result<String> {
            let told = lab.host(&leader).cli(&["cluster", "promote", &sixth])?;
            expect(!told.status.success(), || told.stdout.clone())?;
            Ok(told.stderr.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let said = refusal(lab)?;
        expect(said.contains("5 nodes vote already") && said.contains("cluster demote NODE"), || {
            said.clone()
        })?;

        let mut voters = nodes.iter().filter(|node| node.is_voter && node.name != leader);
        let silent = voters.next().map(|node| node.name.clone()).unwrap_or_default();
        lab.host_mut(&silent).kill_9();
        let remedy = format!("`bannkreis cluster demote {silent}` takes its vote first");
        wait_for("the silent one is named", LATER, || {
            let said = refusal(lab)?;
            expect(said.contains(&remedy), || said.clone())
        })?;
        wait_for("the leader says what it waits for", LATER, || {
            let told = lab.host(&leader).cli(&["cluster", "status"])?.expect_success()?.stdout;
            let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
            expect(told.contains(&format!("voter {silent} has been silent for")), || told.clone())
        })?;
        order(lab.host(&leader), &["demote", &silent])?;
        order(lab.host(&leader), &["promote", &sixth])?;
        let is_replaced = |host: &Host| -> Result<()> {
            let nodes = host.cluster_status()?.nodes;
            let votes = |name: &str| nodes.iter().any(|node| node.is_voter && node.name == name);
            let n_voters = nodes.iter().filter(|node| node.is_voter).count();
            expect(n_voters == 5 && votes(&sixth) && !votes(&silent), || format!("{nodes:?}"))
        };
        wait_for("the sixth votes in its place", LATER, || is_replaced(lab.host(&leader)))?;

        // Its vote counts: without it, three of five could not be had.
        for name in voters.take(2).map(|node| node.name.clone()).collect::<Vec<_>>() {
            lab.host_mut(&name).kill_9();
        }
        let told = lab.host(&leader).cli(&["ban", &NEW.to_string(), "--for", "1h"])?;
        expect(told.stdout.contains("203.0.113.2: banned"), || told.stdout.clone() + &told.stderr)?;
        wait_blocked(lab, lab.host(&sixth), NEW)?;
        // Who comes back looks on, and has every ban.
        lab.host_mut(&silent).start()?;
        wait_blocked(lab, lab.host(&silent), NEW)?;
        is_replaced(lab.host(&leader))
    })
}

/// The id under which `host` is a member.
fn node_id(host: &Host) -> Result<String> {
    host.cli(&["--output", "json", "status"])?.text_at("/state/node_id")
}

#[test]
fn a_host_that_was_wiped_takes_its_old_place_and_one_that_moves_is_found() -> Result<()> {
    let name = "members::a_host_that_was_wiped_takes_its_old_place_and_one_that_moves_is_found";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), OLD)?;
        let before = node_id(lab.host("mx1"))?;
        lab.host_mut("mx1").kill_9();
        let state = lab.host("mx1").file("state");
        std::fs::remove_dir_all(&state).context(|| format!("cannot remove {}", state.display()))?;
        lab.host_mut("mx1").start()?;
        lab.host("mx1").join(lab.host("kopano"))?;
        expect(node_id(lab.host("mx1"))? != before, || format!("it is {before} again"))?;
        for host in ["kopano", "kerio", "mx1"] {
            wait_nodes(lab.host(host), 3, 3)?;
        }
        wait_blocked(lab, lab.host("mx1"), OLD)?;

        // Another port is as good as another address: nobody reaches it where it was.
        let address = lab.host("mx1").cluster_address().replace(":7420", ":7421");
        let moved = [("BANNKREIS_LISTEN", address.clone()), ("BANNKREIS_ADVERTISE", address.clone())];
        lab.host_mut("mx1").stop()?;
        lab.host_mut("mx1").change_environment(&moved);
        lab.host_mut("mx1").start()?;
        for host in ["kopano", "kerio"] {
            wait_for("the new address is known", LATER, || {
                let told = lab.host(host).cli(&["--output", "json", "cluster", "status"])?;
                expect(told.stdout.contains(&address), || told.stdout.clone())
            })?;
        }
        lab.wait_whole()?;
        ban(lab.host("kerio"), NEW)?;
        wait_blocked(lab, lab.host("mx1"), NEW)
    })
}
