//! A log that is missing or garbage: the node protects, and is taken in again under a new id.

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use super::{LATER, ban, blocks, flood, join, lists, lose_log, nothing_came_through, offender, own_id, says};
use crate::inside::{in_lab, plan, three_quiet_hosts};

#[test]
fn a_node_that_lost_its_log_protects_and_becomes_a_member_again_under_a_new_id() -> Result<()> {
    let name =
        "recovery::lost_log::a_node_that_lost_its_log_protects_and_becomes_a_member_again_under_a_new_id";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        for n in 1..=3 {
            ban(lab.host("kopano"), n)?;
        }
        for (name, garbage) in [("mx1", false), ("kerio", true)] {
            let host = lab.host(name);
            blocks(lab, host, &[1, 2, 3])?;
            let flooding = flood(lab, host, 1)?;
            let former = own_id(host)?;
            lab.host_mut(name).stop()?;
            lose_log(lab.host(name), garbage)?;
            lab.host_mut(name).start()?;
            let host = lab.host(name);
            wait_for("it is a member again", LATER, || {
                let told = host.cli(&["status"])?;
                expect(!told.stdout.starts_with("spectator"), || told.stdout.clone())
            })?;
            expect(own_id(host)? != former, || {
                "it goes on under the id whose votes it has forgotten".to_owned()
            })?;
            wait_for("three voters, and the old id is gone", LATER, || {
                let nodes = lab.host("kopano").cluster_status()?.nodes;
                let n_voters = nodes.iter().filter(|node| node.is_voter && node.is_reachable).count();
                expect(nodes.len() == 3 && n_voters == 3, || format!("{nodes:?}"))
            })?;
            ban(host, if garbage { 5 } else { 4 })?;
            wait_for("it has every ban", LATER, || lists(lab.host(name), &[1, 2, 3, 4], &[]))?;
            nothing_came_through(host, &flooding)?;
            let words = host.words_since(0)?;
            expect(words.contains("as a spectator"), || words.clone())?;
        }
        lab.wait_whole()
    })
}

#[test]
fn a_node_alone_whose_log_is_garbage_protects_as_a_spectator_until_it_is_recovered() -> Result<()> {
    let name =
        "recovery::lost_log::a_node_alone_whose_log_is_garbage_protects_as_a_spectator_until_it_is_recovered";
    in_lab(
        name,
        |_| vec![plan("kopano", Tree::empty())],
        |lab| {
            lab.host_mut("kopano").start()?;
            for n in 1..=3 {
                ban(lab.host("kopano"), n)?;
            }
            blocks(lab, lab.host("kopano"), &[1, 2, 3])?;
            let flooding = flood(lab, lab.host("kopano"), 1)?;
            lab.host_mut("kopano").stop()?;
            lose_log(lab.host("kopano"), true)?;
            lab.host_mut("kopano").start()?;
            let kopano = lab.host("kopano");
            for question in [&["status"][..], &["bans"], &["cluster", "status"]] {
                let told = kopano.cli(question)?;
                expect(told.stdout.starts_with("spectator: "), || told.stdout.clone())?;
                says(&told, "bannkreis cluster recover")?;
            }
            lists(kopano, &[1, 2, 3], &[])?;
            blocks(lab, kopano, &[1, 2, 3])?;
            kopano.cli(&["cluster", "recover", "--yes"])?.expect_success()?;
            lists(kopano, &[1, 2, 3], &[])?;
            ban(kopano, 4)?;
            blocks(lab, kopano, &[1, 2, 3, 4])?;
            nothing_came_through(kopano, &flooding)?;
            let told = kopano.cli(&["status"])?;
            expect(!told.stdout.contains("spectator"), || told.stdout.clone())
        },
    )
}

#[test]
fn a_spectator_that_nobody_can_take_in_reads_its_logs_and_hears_its_peers() -> Result<()> {
    let name = "recovery::lost_log::a_spectator_that_nobody_can_take_in_reads_its_logs_and_hears_its_peers";
    let hosts = |_: &_| {
        vec![plan("kopano", seeds::kerio()), plan("kerio", Tree::empty()), plan("mx1", seeds::kerio())]
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), 1)?;
        blocks(lab, lab.host("mx1"), &[1])?;
        let former = own_id(lab.host("mx1"))?;
        lab.host_mut("mx1").stop()?;
        lose_log(lab.host("mx1"), false)?;
        lab.host_mut("kerio").kill_9();
        lab.host_mut("mx1").start()?;
        let (kopano, mx1) = (lab.host("kopano"), lab.host("mx1"));
        wait_for("it says who does not take it in and why", LATER, || {
            let told = mx1.cli(&["status"])?;
            expect(told.stdout.starts_with("spectator: "), || told.stdout.clone())?;
            says(&told, "the last answer: ")
        })?;
        blocks(lab, mx1, &[1])?;
        // What its own log convicts, and what a peer tells it.
        mx1.append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(offender(2))])?;
        blocks(lab, mx1, &[1, 2])?;
        kopano.append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(offender(3))])?;
        blocks(lab, mx1, &[1, 2, 3])?;

        lab.host_mut("kerio").start()?;
        for host in lab.hosts() {
            wait_for("the cluster has every ban", LATER, || lists(host, &[1, 2, 3], &[]))?;
        }
        wait_for("it is a member again", LATER, || {
            let told = lab.host("mx1").cli(&["status"])?;
            expect(!told.stdout.starts_with("spectator"), || told.stdout.clone())?;
            let nodes = lab.host("kopano").cluster_status()?.nodes;
            let n_voters = nodes.iter().filter(|node| node.is_voter && node.is_reachable).count();
            expect(nodes.len() == 3 && n_voters == 3, || format!("{nodes:?}"))
        })?;
        expect(own_id(lab.host("mx1"))? != former, || "it goes on under its former id".to_owned())
    })
}

#[test]
fn a_learner_that_lost_its_log_keeps_its_key_and_one_that_recovers_makes_an_authority() -> Result<()> {
    let name = "recovery::lost_log::a_learner_that_lost_its_log_keeps_its_key_and_one_that_recovers_makes_an_authority";
    let hosts = |_: &_| ["kopano", "kerio"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), 1)?;
        // Twice: the second time its first id is one that the cluster has forgotten.
        for n in 2..=3 {
            let former = own_id(lab.host("kerio"))?;
            lab.host_mut("kerio").stop()?;
            lose_log(lab.host("kerio"), false)?;
            lab.host_mut("kerio").start()?;
            let kerio = lab.host("kerio");
            wait_for("it is a member again, and the only other one", LATER, || {
                let nodes = lab.host("kopano").cluster_status()?.nodes;
                let n_reached = nodes.iter().filter(|node| node.is_reachable).count();
                expect(nodes.len() == 2 && n_reached == 2, || format!("{nodes:?}"))
            })?;
            expect(own_id(kerio)? != former, || "it goes on under its former id".to_owned())?;
            ban(kerio, n)?;
        }
        lists(lab.host("kerio"), &[1, 2, 3], &[])?;

        // Its voter is lost: it has no key of the authority and makes another one, in which the late voter can only
        // be let in by a token.
        lab.host_mut("kopano").kill_9();
        let kerio = lab.host("kerio");
        wait_for("nobody hears a leader", LATER, || {
            says(&kerio.cli(&["cluster", "recover"])?, "it makes a new one")
        })?;
        kerio.cli(&["cluster", "recover", "--yes"])?.expect_success()?;
        ban(kerio, 4)?;
        lab.host_mut("kopano").start()?;
        join(lab.host("kopano"), lab.host("kerio"), 2)?;
        wait_for("both have every ban", LATER, || lists(lab.host("kopano"), &[1, 2, 3, 4], &[]))
    })
}

#[test]
fn a_host_that_lost_its_log_and_was_taken_out_meanwhile_gets_back_by_what_it_is_told() -> Result<()> {
    let name = "recovery::lost_log::a_host_that_lost_its_log_and_was_taken_out_meanwhile_gets_back_by_what_it_is_told";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), 1)?;
        blocks(lab, lab.host("mx1"), &[1])?;
        lab.host_mut("mx1").stop()?;
        lose_log(lab.host("mx1"), false)?;
        lab.host("kopano").cli(&["cluster", "remove", "mx1"])?.expect_success()?;
        lab.host_mut("mx1").start()?;
        let mx1 = lab.host("mx1");
        wait_for("it says why it is not taken in, and what to type", LATER, || {
            let told = mx1.cli(&["status"])?;
            says(&told, "spectator: ")?;
            says(&told, "was revoked")?;
            says(&told, "bannkreis cluster leave --force")
        })?;
        blocks(lab, mx1, &[1])?;
        // It would be a second cluster, beside the one that goes on.
        says(&mx1.cli(&["cluster", "recover", "--yes"])?, "recovering here would split the cluster in two")?;
        mx1.cli(&["cluster", "leave", "--force"])?.expect_success()?;
        lists(mx1, &[1], &[])?;
        blocks(lab, mx1, &[1])?;
        join(mx1, lab.host("kopano"), 3)?;
        lists(mx1, &[1], &[])
    })
}
