//! Who votes and who leads, with whole nodes: a leader that stops hands over, and a host that was set up
//! anew takes over its own record. Not for what is decided: `autopilot.rs` has its table of cases.

use super::hosts::{Host, is_banned, propose_ban_patiently, three, three_of, until};
use crate::handle::RaftNode;
use crate::options::Timing;
use crate::voters;
use std::time::{Duration, Instant};

/// Longer than a test may take: whoever comes to lead has been asked to.
const NEVER: Timing =
    Timing { heartbeat_ms: 50, election_min_ms: 300_000, election_max_ms: 600_000, dead_after_ms: u64::MAX };
/// As elsewhere in these tests, but that the dead are dead soon.
const DEAD_SOON: Timing =
    Timing { heartbeat_ms: 50, election_min_ms: 300, election_max_ms: 600, dead_after_ms: 2_000 };
const N_CHANGES: u32 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_and_the_next_commit_waits_for_no_election() {
    let (mut hosts, nodes) = three().await;
    let term = nodes[0].status().term;
    propose_ban_patiently(&nodes[1], 1).await;
    let follower = nodes[1].clone();
    let commits = tokio::spawn(async move {
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        let mut n = 2;
        // Until a commit of a later leader is there.
        while follower.status().term == term {
            propose_ban_patiently(&follower, n).await;
            (longest, last, n) = (longest.max(last.elapsed()), Instant::now(), n + 1);
        }
        propose_ban_patiently(&follower, n).await;
        longest.max(last.elapsed())
    });
    hosts[0].stop().await;
    let longest = commits.await.unwrap();
    println!("planned leader change: {} ms between two commits at most", longest.as_millis());
    // It had heard of another leader before it stopped: nobody had to miss it first.
    assert_ne!(nodes[0].inner.metrics().current_leader, Some(nodes[0].node_id().0));
    assert!(nodes[1].is_leader() || nodes[2].is_leader());
    hosts[1].stop().await;
    hosts[2].stop().await;
}

/// Which of them leads.
fn leader_of(nodes: &[RaftNode]) -> Option<usize> {
    nodes.iter().position(RaftNode::is_leader)
}

/// Whether both others answer this leader, and have all that it has.
fn is_followed(leader: &RaftNode) -> bool {
    let seen = voters::seen(&leader.inner, &leader.inner.metrics(), tokio::time::Instant::now());
    seen.iter().filter(|member| member.is_voter && member.is_alive && member.is_caught_up).count() == 3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_planned_change_takes_one_election_and_waits_for_no_timeout() {
    let (mut hosts, mut nodes) = three_of(async || Host { timing: NEVER, ..Host::new().await }).await;
    for n in 1..=N_CHANGES {
        let leader = leader_of(&nodes).unwrap();
        until(&nodes[leader], "both others", is_followed).await;
        let term = nodes[leader].status().term;
        // While it goes, somebody writes through one of the others all the time.
        let other = nodes[(leader + 1) % 3].clone();
        let writing = tokio::spawn(async move {
            let mut written = 0;
            while other.status().term == term {
                propose_ban_patiently(&other, 1_000 * n + written).await;
                written += 1;
            }
        });
        // Some go on afterwards, some stop.
        let stops = n % 3 == 0;
        if stops {
            hosts[leader].stop().await;
        } else {
            let heir = voters::transfer(&nodes[leader].inner, None).await.unwrap();
            assert!(nodes.iter().any(|node| node.inner.member.name == heir));
        }
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        for other in others {
            until(&nodes[other], "another leader", |node| {
                node.leader().is_some_and(|(led, _)| led != nodes[leader].node_id())
            })
            .await;
        }
        writing.await.unwrap();
        propose_ban_patiently(&nodes[others[1]], n).await;
        let terms = others.map(|other| nodes[other].status().term);
        assert_eq!(terms, [term + 1; 2], "change {n}");
        if stops {
            nodes[leader] = hosts[leader].start().await;
        }
    }
    for host in &mut hosts {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_was_set_up_anew_votes_again_and_its_old_record_is_gone() {
    let (mut hosts, nodes) = three().await;
    let gone = nodes[2].node_id();
    let mut hosts_left = hosts.split_off(2);
    let old = hosts_left.first_mut().unwrap();
    old.stop().await;
    let mut anew = Host { address: old.address, ..Host::new().await };
    anew.start().await;
    let node = anew.join(&hosts[0]).await;
    assert_ne!(node.node_id(), gone);
    until(&nodes[0], "the new one in place of the old one", |leader| {
        let status = leader.status();
        status.voters.len() == 3
            && status.learners.is_empty()
            && status.voters.iter().any(|voter| voter.node == node.node_id())
            && status.voters.iter().all(|voter| voter.node != gone)
    })
    .await;
    // It really votes: with it, one of the others may go.
    hosts[1].stop().await;
    propose_ban_patiently(&node, 7).await;
    hosts[0].stop().await;
    anew.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_takes_the_place_of_a_voter_that_is_dead_and_that_one_comes_back_as_a_learner() {
    let (mut hosts, nodes) = three_of(async || Host { timing: DEAD_SOON, ..Host::new().await }).await;
    let mut fourth = Host { timing: DEAD_SOON, ..Host::new().await };
    fourth.start().await;
    let spare = fourth.join(&hosts[0]).await;
    let ids = |members: &[crate::status::MemberStatus]| {
        members.iter().map(|member| member.node).collect::<Vec<_>>()
    };
    until(&nodes[0], "a learner", |node| ids(&node.status().learners) == [spare.node_id()]).await;
    let dead = nodes[2].node_id();
    hosts[2].stop().await;
    let is_replaced = |node: &RaftNode| {
        let status = node.status();
        status.voters.len() == 3
            && ids(&status.voters).contains(&spare.node_id())
            && ids(&status.learners) == [dead]
    };
    until(&nodes[0], "the learner in the place of the dead voter", is_replaced).await;
    // It votes: with it, another one may go. The dead one comes back and votes no more.
    hosts[1].stop().await;
    propose_ban_patiently(&spare, 8).await;
    let back = hosts[2].start().await;
    until(&back, "the ban that it missed", |node| is_banned(node, 8)).await;
    assert!(is_replaced(&nodes[0]), "{:?}", nodes[0].status());
    for host in [&mut fourth].into_iter().chain(hosts.iter_mut().step_by(2)) {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_elsewhere_is_found_though_it_hears_of_no_leader() {
    let (mut hosts, nodes) = three().await;
    hosts[2].stop().await;
    let moved = Host::new().await.address;
    hosts[2].address = moved;
    let node = hosts[2].start().await;
    propose_ban_patiently(&nodes[0], 5).await;
    until(&node, "the ban, at the new address", |node| is_banned(node, 5)).await;
    until(&nodes[1], "the new address", |node| {
        node.status().voters.iter().any(|voter| voter.address == moved.to_string())
    })
    .await;
    for host in &mut hosts {
        host.stop().await;
    }
}
