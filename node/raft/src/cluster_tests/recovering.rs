//! A lost log makes a spectator and never a member; a new generation keeps everything and believes nobody of the
//! old one.

use super::hosts::*;
use super::*;
use crate::apart::Apart;
use crate::membership::join_info;
use crate::recovery::{begin_generation, identity_for};
use bannkreis_core::generation::NewGeneration;
use bannkreis_core::ids::Position;

/// What the daemon does when an operator says `cluster recover`.
async fn recover(host: &mut Host) -> RaftNode {
    let (node, _) = host.running.as_ref().unwrap();
    let (cluster, generation) = (node.cluster_id(), node.generation() + 1);
    let identity = identity_for(cluster, generation).unwrap();
    let formerly = node.spectator().map(|lost| lost.former).into_iter().chain([node.node_id()]).collect();
    let new = NewGeneration { generation, node: identity.node, formerly, now: None };
    let view = node.view();
    host.stop().await;
    let list = crate::with_log_tail(host.dir.path(), view).unwrap().in_generation(&new);
    begin_generation(host.dir.path(), &identity, &list, &host.address.to_string(), "host").unwrap();
    host.watcher = Watcher::default();
    host.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_damaged_log_makes_a_spectator_that_knows_its_last_snapshot_and_never_leads() {
    let mut host = Host::new().await;
    let node = host.start().await;
    propose_ban(&node, 1).await;
    node.save_snapshot().await;
    let born = node.node_id();
    host.stop().await;
    let raft = host.dir.path().join("raft");
    let mut other = Host::new().await;
    other.start().await;
    other.stop().await;
    let mut former = born;
    for (n, says) in ["is missing", "is empty", "belongs to another node"].into_iter().enumerate() {
        std::fs::rename(&raft, host.dir.path().join(format!("aside-{n}"))).unwrap();
        match n {
            0 => {}
            1 => drop(crate::sled_disk::SledDisk::open(&raft).unwrap()),
            _ => copy_dir(&other.dir.path().join("raft"), &raft),
        }
        let node = host.start().await;
        let lost = node.spectator().unwrap();
        assert!(lost.why.contains(says), "{}", lost.why);
        assert_eq!(lost.former, former);
        assert_ne!(node.node_id(), former);
        former = node.node_id();
        assert!(is_banned(&node, 1));
        assert!(!node.status().is_member && node.leader().is_none());
        // As long as nobody takes it in, it is one after a restart too.
        host.stop().await;
        let node = host.start().await;
        assert_eq!(node.node_id(), former);
        assert!(node.spectator().unwrap().why.contains(says));
        host.stop().await;
    }
    host.start().await;
    let node = recover(&mut host).await;
    assert_eq!(node.generation(), 2);
    assert!(node.is_leader() && node.spectator().is_none() && is_banned(&node, 1));
    propose_ban(&node, 3).await;
    // What it has written since survives a restart.
    host.stop().await;
    let node = host.start().await;
    until(&node, "both bans", |node| is_banned(node, 1) && is_banned(node, 3)).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_that_lost_its_log_is_taken_in_under_a_new_id_and_the_old_one_goes() {
    let (mut hosts, nodes) = three().await;
    propose_ban(&nodes[0], 7).await;
    let former = nodes[2].node_id();
    hosts[2].stop().await;
    std::fs::remove_dir_all(hosts[2].dir.path().join("raft")).unwrap();
    let back = hosts[2].start().await;
    assert_eq!(back.spectator().unwrap().former, former);
    back.request_join(&hosts[0].address.to_string()).await.unwrap();
    back.is_taken_in().unwrap();
    assert!(back.spectator().is_none());
    propose_ban(&back, 8).await;
    until(&nodes[0], "three voters without the old one", |node| {
        let status = node.status();
        let knows = |wanted: NodeId| status.voters.iter().any(|voter| voter.node == wanted);
        let is_gone = status.learners.iter().all(|learner| learner.node != former);
        status.voters.len() == 3 && knows(back.node_id()) && !knows(former) && is_gone
    })
    .await;
    until(&back, "every ban", |node| is_banned(node, 7) && is_banned(node, 8)).await;
    for host in &mut hosts {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_forgot_its_votes_is_not_taken_in_when_it_is_needed_for_the_majority() {
    let (mut hosts, nodes) = three().await;
    let leader = nodes.iter().position(RaftNode::is_leader).unwrap();
    let (lost, down) = ((leader + 1) % 3, (leader + 2) % 3);
    hosts[lost].stop().await;
    std::fs::remove_dir_all(hosts[lost].dir.path().join("raft")).unwrap();
    hosts[down].stop().await;
    until(&nodes[leader], "that nobody else answers", |node| {
        let silent = |voter: &MemberStatus| {
            voter.node != node.node_id() && voter.heard_ms_ago.is_some_and(|ago| ago > 700)
        };
        node.status().voters.iter().filter(|voter| silent(voter)).count() == 2
    })
    .await;
    let back = hosts[lost].start().await;
    let leader_address = hosts[leader].address.to_string();
    let asked = back.request_join(&leader_address);
    // It would wait for half a minute; the answer is the same from the first one on.
    let answer = tokio::time::timeout(Duration::from_secs(3), asked).await;
    assert!(answer.is_err() || answer.unwrap().is_err());
    assert!(!back.status().is_member && back.spectator().is_some());
    hosts[down].start().await;
    back.request_join(&leader_address).await.unwrap();
    for host in &mut hosts {
        host.stop().await;
    }
}

/// The leader had it on a majority and told the operator so, and died before it told the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_survivor_has_in_its_log_and_was_never_told_to_apply_is_recovered() {
    let (mut hosts, mut nodes) = three().await;
    let leader = nodes.iter().position(RaftNode::is_leader).unwrap();
    let node = nodes.swap_remove(leader);
    drop(nodes);
    // Else what was proposed before would stay in the way of the ban.
    until(&node, "that nothing is on its way", |node| {
        let status = node.status();
        status.last_index == status.applied
    })
    .await;
    for (n, host) in hosts.iter_mut().enumerate() {
        if n != leader {
            host.kill().await;
        }
    }
    let (proposer, before) = (node.clone(), node.status().last_index);
    let asking = tokio::spawn(async move { proposer.propose(vec![ban(&proposer, 7)]).await });
    until(&node, "the entry", |node| node.status().last_index > before).await;
    assert!(!is_banned(&node, 7));
    asking.abort();
    drop(node);
    let survivor = recover(&mut hosts[leader]).await;
    assert!(is_banned(&survivor, 7));
    propose_ban(&survivor, 8).await;
    hosts[leader].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_recovers_and_a_late_node_of_the_old_generation_disturbs_nobody_and_joins() {
    let (mut hosts, nodes) = three().await;
    propose_ban(&nodes[0], 7).await;
    until(&nodes[1], "the ban", |node| is_banned(node, 7)).await;
    let old: Vec<NodeId> = nodes.iter().map(RaftNode::node_id).collect();
    drop(nodes);
    hosts[0].kill().await;
    hosts[2].kill().await;
    let survivor = recover(&mut hosts[1]).await;
    assert_eq!((survivor.generation(), survivor.status().voters.len()), (2, 1));
    assert!(is_banned(&survivor, 7));
    assert!(survivor.view().position() > Position { generation: 1, index: u64::MAX });
    for node in &old {
        assert!(survivor.view().node(*node).is_none_or(|entry| entry.revoked));
    }
    propose_ban(&survivor, 8).await;
    let term = survivor.status().term;

    // Both of the others come back late: they are a majority of the old generation, and go on in it.
    let late = hosts[0].start().await;
    until(&late, "that the cluster goes on without it", |node| {
        matches!(node.apart(), Some(Apart::Superseded { generation: 2, .. }))
    })
    .await;
    let info = join_info(&Plain, &hosts[1].address.to_string()).await.unwrap();
    assert_eq!((info.cluster, info.generation), (late.cluster_id(), 2));
    late.may_join(&info).unwrap();
    let back = join_info(&Plain, &hosts[0].address.to_string()).await.unwrap();
    let why = survivor.may_join(&back).unwrap_err().to_string();
    assert!(why.contains("that node joins this one"), "{why}");
    assert_eq!((survivor.status().term, survivor.is_leader()), (term, true));

    hosts[0].stop().await;
    hosts[0].start().await;
    let (first, rest) = hosts.split_at_mut(1);
    let joined = first[0].join(&rest[0]).await;
    until(&joined, "every ban", |node| is_banned(node, 7) && is_banned(node, 8)).await;
    assert_eq!(survivor.status().learners.len(), 1);
    first[0].stop().await;
    rest[0].stop().await;
}
