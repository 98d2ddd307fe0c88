//! Whole nodes in one process, with real sockets, real sled and real files.

#[path = "cluster_tests/hosts.rs"]
mod hosts;
#[path = "cluster_tests/levels.rs"]
mod levels;
#[path = "cluster_tests/recovering.rs"]
mod recovering;
#[path = "cluster_tests/room.rs"]
mod room;
#[path = "cluster_tests/voters.rs"]
mod voters;

use super::*;
use crate::membership::join_info;
use crate::start::StartError;
use crate::status::MemberStatus;
use bannkreis_core::change::BanKey;
use bannkreis_core::jail::JailName;
use bannkreis_core::time::Until;
use hosts::{
    Host, Plain, ban, is_banned, propose_ban, propose_ban_patiently, subnet, three, three_of, until, wall,
};
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_works_at_once_and_keeps_what_it_has_acknowledged() {
    let mut host = Host::new().await;
    let node = host.start().await;
    assert!(node.is_leader());
    assert_ne!(node.view().settings().event_key, [0; 16]);
    let (id, key) = (node.node_id(), node.view().settings().event_key);
    // Its clock is the wall clock's, not the beginning of time.
    assert!(wall().ms_since(node.view().now()) < 10_000);
    for n in 0..20 {
        let proposed = propose_ban(&node, n).await;
        assert!(is_banned(&node, n) && node.view().position() >= proposed.position);
    }
    until(&node, "caught up", |node| node.progress().borrow().is_caught_up).await;
    assert_eq!(node.status().no_quorum_since_ms, None);
    let at = Until::at(node.view().now().plus_ms(3_600_000));
    let key_of_7 = BanKey { subnet: subnet(7), jail: JailName::new("sshd").unwrap() };
    let ends = node.view().ban(&key_of_7).unwrap().until;
    assert!(ends <= at && ends.plus_ms(10_000) >= at);
    host.stop().await;

    let node = host.start().await;
    assert_eq!((node.node_id(), node.view().settings().event_key), (id, key));
    until(&node, "all bans", |node| node.view().n_bans() == 20).await;
    propose_ban(&node, 20).await;
    assert_eq!(node.view().n_bans(), 21);
    // The same command again gets the first answer and changes nothing.
    propose_ban(&node, 20).await;
    assert_eq!(host.watcher.seen.lock().unwrap().n_bans, 21);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_of_operations_goes_in_portions() {
    let mut host = Host::new().await;
    let node = host.start().await;
    let proposed = node.propose((0..1_300).map(|n| ban(&node, n)).collect()).await.unwrap();
    assert_eq!((proposed.results.len(), node.view().n_bans()), (1_300, 1_300));
    assert_eq!(node.propose(Vec::new()).await.unwrap().results, []);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_share_bans_survive_their_leader_and_take_it_back() {
    let (mut hosts, mut nodes) = three().await;
    // What they had before they joined came along.
    for node in &nodes {
        until(node, "imported bans", |node| is_banned(node, 1_001) && is_banned(node, 1_002)).await;
    }
    // Through a follower; the position is the leader's.
    let proposed = propose_ban(&nodes[1], 1).await;
    for node in &nodes {
        until(node, "the ban", |node| is_banned(node, 1)).await;
        until(node, "the position", |node| node.view().position() >= proposed.position).await;
        let leader = node.leader().unwrap();
        assert_eq!(leader, (nodes[0].node_id(), hosts[0].address.to_string()));
    }
    assert!(nodes[0].view() == nodes[1].view() || nodes[0].view().position() != nodes[1].view().position());

    hosts[0].stop().await;
    propose_ban_patiently(&nodes[1], 2).await;
    propose_ban_patiently(&nodes[2], 3).await;
    until(&nodes[2], "both bans", |node| is_banned(node, 2) && is_banned(node, 3)).await;
    assert!(nodes[1].is_leader() || nodes[2].is_leader());

    nodes[0] = hosts[0].start().await;
    until(&nodes[0], "what it has missed", |node| is_banned(node, 2) && is_banned(node, 3)).await;
    until(&nodes[0], "caught up", |node| node.progress().borrow().is_caught_up).await;
    propose_ban_patiently(&nodes[0], 4).await;
    until(&nodes[1], "a ban through the one that came back", |node| is_banned(node, 4)).await;
    for host in &mut hosts {
        host.stop().await;
    }
}

/// Its followers are a majority without it: what they have is acknowledged, whether or not its own disk has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_has_less_than_its_followers_does_not_lead_on() {
    let (mut hosts, mut nodes) = three_of(async || {
        let mut host = Host::new().await;
        // So long that it is back before anybody misses it.
        host.timing = Timing { election_min_ms: 2_000, election_max_ms: 3_000, ..host.timing };
        host
    })
    .await;
    propose_ban(&nodes[0], 1).await;
    for node in &nodes {
        until(node, "the first ban", |node| is_banned(node, 1)).await;
    }
    let term = nodes[0].status().term;
    let log = hosts[0].dir.path().join("raft");
    let synced = hosts[0].dir.path().join("synced-log");
    copy_dir(&log, &synced);
    propose_ban(&nodes[0], 2).await;
    for node in &nodes {
        until(node, "the second ban", |node| is_banned(node, 2)).await;
    }
    assert!(nodes[0].is_leader());
    hosts[0].kill().await;
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&synced, &log).unwrap();

    nodes[0] = hosts[0].start().await;
    propose_ban_patiently(&nodes[0], 3).await;
    for node in &nodes {
        until(node, "every ban", |node| (1..=3).all(|n| is_banned(node, n))).await;
        assert!(node.status().term > term);
    }
    for host in &mut hosts {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_it_says_so_and_nothing_is_written() {
    let (mut hosts, nodes) = three().await;
    propose_ban(&nodes[0], 1).await;
    until(&nodes[2], "the ban", |node| is_banned(node, 1)).await;
    assert_eq!(nodes[2].status().no_quorum_since_ms, None);
    hosts[1].stop().await;
    // The leader hands over while a majority would be left: it must know that there is none.
    let silent = |node: &MemberStatus| node.node == nodes[1].node_id() && node.heard_ms_ago > Some(600);
    until(&nodes[0], "silence", |node| node.status().voters.iter().any(silent)).await;
    hosts[0].stop().await;
    until(&nodes[2], "no quorum", |node| node.status().no_quorum_since_ms.is_some()).await;
    until(&nodes[2], "no leader", |node| node.leader().is_none()).await;
    let error = nodes[2].propose(vec![ban(&nodes[2], 9)]).await.unwrap_err();
    assert!(matches!(error, ProposeError::NoLeader { .. }), "{error}");
    assert!(is_banned(&nodes[2], 1));
    // One comes back: a majority again.
    hosts[1].start().await;
    until(&nodes[2], "a quorum", |node| node.status().no_quorum_since_ms.is_none()).await;
    propose_ban_patiently(&nodes[2], 9).await;
    hosts[1].stop().await;
    hosts[2].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_is_a_voter_and_a_learner_and_formed_clusters_do_not_mix() {
    let mut first = Host::new().await;
    let one = first.start().await;
    let mut second = Host::new().await;
    second.start().await;
    let two = second.join(&first).await;
    propose_ban(&two, 5).await;
    until(&one, "the ban", |node| is_banned(node, 5)).await;
    until(&two, "the ban", |node| is_banned(node, 5)).await;
    let status = one.status();
    assert_eq!((status.voters.len(), status.learners.len()), (1, 1));
    assert_eq!(status.learners[0].address, second.address.to_string());

    let mut other = Host::new().await;
    let stranger = other.start().await;
    let there = join_info(&Plain, &other.address.to_string()).await.unwrap();
    let why = two.may_join(&there).unwrap_err().to_string();
    assert!(why.contains("has 2 members"), "{why}");
    let own = join_info(&Plain, &first.address.to_string()).await.unwrap();
    assert_eq!(own.n_members, 2);
    assert!(one.may_join(&own).unwrap_err().to_string().contains("already"));
    // Asking all the same, with the wrong identity, is refused by the other side.
    let why = stranger.request_join(&first.address.to_string()).await.unwrap_err().to_string();
    assert!(why.contains("two clusters never mix"), "{why}");
    for host in [&mut first, &mut second, &mut other] {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_node_gets_a_snapshot_and_a_restart_begins_with_it() {
    let mut first = Host::new().await;
    let one = first.start().await;
    one.propose((0..700).map(|n| ban(&one, n)).collect()).await.unwrap();
    one.save_snapshot().await;
    until(&one, "the snapshot", |node| node.status().snapshot.is_some()).await;
    let upto = one.status().snapshot.unwrap();
    one.inner.raft.trigger().purge_log(upto).await.unwrap();
    until(&one, "the purge", |node| node.inner.metrics().purged.is_some_and(|purged| purged.index == upto))
        .await;

    let mut second = Host::new().await;
    second.start().await;
    let two = second.join(&first).await;
    until(&two, "everything", |node| node.view().n_bans() == 700).await;
    // Once at the start with nothing, once with the leader's.
    assert_eq!(second.watcher.seen.lock().unwrap().n_installed, 2);
    assert_eq!(two.view().settings().event_key, one.view().settings().event_key);
    propose_ban(&two, 900).await;
    until(&two, "a ban after the snapshot", |node| is_banned(node, 900)).await;

    second.stop().await;
    let two = second.start().await;
    until(&two, "everything, after a restart", |node| node.view().n_bans() == 701).await;
    second.stop().await;
    first.stop().await;
    let one = first.start().await;
    until(&one, "everything, from snapshot and log", |node| node.view().n_bans() == 701).await;
    first.stop().await;
}

/// Its log begins after what only the snapshots had: it must not go on as if that had never been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_beginning_is_in_no_snapshot_any_more_is_lost() {
    let mut host = Host::new().await;
    let node = host.start().await;
    node.propose((0..700).map(|n| ban(&node, n)).collect()).await.unwrap();
    node.save_snapshot().await;
    until(&node, "the snapshot", |node| node.status().snapshot.is_some()).await;
    let upto = node.status().snapshot.unwrap();
    node.inner.raft.trigger().purge_log(upto).await.unwrap();
    until(&node, "the purge", |node| node.inner.metrics().purged.is_some_and(|purged| purged.index == upto))
        .await;
    propose_ban(&node, 900).await;
    host.kill().await;
    for snapshot in std::fs::read_dir(host.dir.path().join("snapshots")).unwrap() {
        std::fs::write(snapshot.unwrap().path(), b"damaged").unwrap();
    }
    let node = host.start().await;
    let lost = node.spectator().expect("it looks on");
    assert!(lost.why.contains("purged up to"), "{}", lost.why);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nothing_says_whose_it_is_is_nobodys() {
    let mut host = Host::new().await;
    host.start().await;
    host.stop().await;
    std::fs::remove_file(host.dir.path().join("identity")).unwrap();
    let Err(error) = RaftNode::start(host.options(), Settings::at_birth).await else { panic!("started") };
    assert!(matches!(error, StartError::Orphan { .. }), "{error}");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_few_entries() {
    let mut host = Host::new().await;
    let node = host.start().await;
    let before = node.status().last_index.unwrap();
    let callers: Vec<_> = (0..400)
        .map(|n| {
            let node = node.clone();
            tokio::spawn(async move { propose_ban(&node, n).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let n_entries = node.status().last_index.unwrap() - before;
    assert_eq!(node.view().n_bans(), 400);
    assert!(n_entries < 200, "{n_entries} entries for 400 bans");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_while_it_is_asked_has_everything_it_acknowledged() {
    let mut host = Host::new().await;
    let mut acknowledged = Vec::new();
    for round in 0..5u32 {
        let node = host.start().await;
        for n in &acknowledged {
            until(&node, "what was acknowledged", |node| is_banned(node, *n)).await;
        }
        let (tell, mut told) = mpsc::unbounded_channel();
        for n in round * 1_000..round * 1_000 + 300 {
            let (node, tell) = (node.clone(), tell.clone());
            tokio::spawn(async move {
                if node.propose(vec![ban(&node, n)]).await.is_ok() {
                    let _ = tell.send(n);
                }
            });
        }
        drop((node, tell));
        while acknowledged.len() < (round as usize + 1) * 100 {
            acknowledged.push(told.recv().await.unwrap());
        }
        host.kill().await;
        while let Some(n) = told.recv().await {
            acknowledged.push(n);
        }
    }
    let node = host.start().await;
    for n in acknowledged {
        until(&node, "what was acknowledged", |node| is_banned(node, n)).await;
    }
    host.stop().await;
}
