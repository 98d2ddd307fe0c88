//! Nodes without room on their disk, and a snapshot that can not be written.
//!
//! Not for how little room is none: that is the daemon's.

use super::*;

/// What whoever looks after the disk would say.
const FULL: &str = "the disk of /var/lib/bannkreis is full";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_room_takes_nothing_in_and_does_not_lead() {
    let (mut hosts, nodes) = three().await;
    propose_ban(&nodes[0], 1).await;
    for node in &nodes {
        until(node, "the ban", |node| is_banned(node, 1)).await;
    }
    // The leader and one more: only the third can lead, and nothing is acknowledged without one of them.
    nodes[0].set_room(Some(FULL.to_owned()));
    nodes[1].set_room(Some(FULL.to_owned()));
    until(&nodes[2], "the lead", RaftNode::is_leader).await;
    assert_eq!(nodes[1].no_room().as_deref(), Some(FULL));
    let heard = |node: &RaftNode| node.leader().map(|(leader, _)| leader) == Some(nodes[2].node_id());
    until(&nodes[0], "its heartbeats", heard).await;
    let last = nodes[2].status().last_index;
    let proposing = tokio::spawn({
        let node = nodes[2].clone();
        async move { propose_ban_patiently(&node, 2).await }
    });
    until(&nodes[2], "the entry", |node| node.status().last_index > last).await;
    assert!(!is_banned(&nodes[2], 2));
    nodes[1].set_room(None);
    proposing.await.unwrap();
    until(&nodes[1], "what it had not taken in", |node| is_banned(node, 2)).await;
    assert!(!is_banned(&nodes[0], 2));
    nodes[0].set_room(None);
    until(&nodes[0], "what it had not taken in", |node| is_banned(node, 2)).await;
    for host in &mut hosts {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_without_room_says_why_nothing_is_proposed() {
    let mut host = Host::new().await;
    let node = host.start().await;
    node.set_room(Some(FULL.to_owned()));
    let error = node.propose(vec![ban(&node, 1)]).await.unwrap_err();
    assert!(matches!(&error, ProposeError::NoLeader { why } if why == FULL), "{error}");
    node.set_room(None);
    propose_ban(&node, 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_can_not_be_written_ends_nothing() {
    let mut host = Host::new().await;
    let node = host.start().await;
    propose_ban(&node, 1).await;
    // Something that is no directory is in its place.
    let place = node.inner.snapshots_dir.clone();
    let aside = place.with_extension("aside");
    std::fs::rename(&place, &aside).unwrap();
    std::fs::write(&place, "").unwrap();
    node.save_snapshot().await;
    propose_ban(&node, 2).await;
    assert_eq!((node.failure(), node.status().halted), (None, None));
    std::fs::remove_file(&place).unwrap();
    std::fs::rename(&aside, &place).unwrap();
    host.stop().await;
    let node = host.start().await;
    until(&node, "both", |node| is_banned(node, 1) && is_banned(node, 2)).await;
    host.stop().await;
}
