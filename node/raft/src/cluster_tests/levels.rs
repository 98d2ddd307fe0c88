//! Releases that differ: what an older node does with what it can not read, and what the newer ones do for it.
//! The newer release of these tests is this one with a level more, and with one operation that this one does not
//! know. Not for when the level is raised in detail: `level.rs` has the table of cases.

use super::hosts::{Host, ban, is_banned, propose_ban, propose_ban_patiently, subnet, three, until};
use super::*;
use crate::level::Release;
use crate::types::Payload;
use bannkreis_core::command::{Command, LEVEL};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_proto::convert::{DecodeError, decode_command_up_to, encode_command};
use bytes::Bytes;

/// `Command.ops`, with an operation of a kind that nobody has numbered yet.
const UNKNOWN_OP: [u8; 5] = [0x1a, 0x03, 0xfa, 0x06, 0x00];

/// Whom the unknown operation bans, by the newer release.
const BY_UNKNOWN_OP: u32 = 777;

/// To the newer release the unknown operation is one more ban, like the one that stands before it.
fn decode_newer(bytes: &[u8], level_max: u32) -> Result<Command, DecodeError> {
    let Some(known) = bytes.strip_suffix(&UNKNOWN_OP) else { return decode_command_up_to(bytes, level_max) };
    let mut command = decode_command_up_to(known, level_max)?;
    let mut more = command.ops[0].clone();
    if let Op::OperatorBan { operator, target, .. } = &mut more {
        operator.command_id.0 += 1_000;
        *target = subnet(BY_UNKNOWN_OP);
    }
    command.ops.push(more);
    Ok(command)
}

fn newer() -> Release {
    Release { level_max: LEVEL + 1, decode: decode_newer }
}

/// Three nodes of which the last one is older.
async fn two_newer_and_one_older() -> (Vec<Host>, Vec<RaftNode>) {
    let (mut hosts, mut nodes) = three().await;
    for n in [1, 0] {
        hosts[n].release = newer();
        hosts[n].stop().await;
        nodes[n] = hosts[n].start().await;
        until(&nodes[n], "a leader", |node| node.leader().is_some()).await;
    }
    lead(&nodes, 0).await;
    (hosts, nodes)
}

/// Has this node lead.
async fn lead(nodes: &[RaftNode], n: usize) {
    let deadline = Instant::now() + hosts::PATIENCE;
    while !nodes[n].is_leader() {
        assert!(Instant::now() < deadline, "it does not come to lead");
        for node in nodes {
            let _ = crate::voters::transfer(&node.inner, Some(nodes[n].node_id())).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The record of a node that says it can read so much.
fn says(node: &RaftNode, level_max: u32) -> Op {
    let name = node.inner.member.name.clone();
    Op::NodeSeen(NodeRecord { node: node.node_id(), name, level_max, ..NodeRecord::default() })
}

async fn say(nodes: &[RaftNode], levels: [u32; 3]) {
    for (node, level_max) in nodes.iter().zip(levels) {
        node.propose(vec![says(node, level_max)]).await.unwrap();
    }
}

/// Writes what no older release can make, as a newer leader does.
async fn write_unknown(leader: &RaftNode, n: u32) {
    let command = Command {
        at: leader.inner.time.now(),
        level: LEVEL,
        ops: vec![ban(leader, n)],
        ..Command::default()
    };
    let bytes = [&encode_command(&command)[..], &UNKNOWN_OP].concat();
    leader.inner.raft.client_write(Payload(Bytes::from(bytes))).await.unwrap();
}

fn halted(node: &RaftNode) -> String {
    node.status().halted.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_operation_halts_an_older_node_which_goes_on_storing_and_voting() {
    let (mut hosts, mut nodes) = two_newer_and_one_older().await;
    propose_ban(&nodes[0], 1).await;
    until(&nodes[2], "the ban", |node| is_banned(node, 1)).await;
    write_unknown(&nodes[0], 2).await;
    until(&nodes[2], "the halt", |node| node.status().halted.is_some()).await;
    assert!(halted(&nodes[2]).contains("of a kind that this release does not know"), "{}", halted(&nodes[2]));
    let (stopped_at, term) = (nodes[2].view().position(), nodes[0].status().term);

    // Its vote and its disk go on counting: with it alone the leader has a majority.
    hosts[1].stop().await;
    propose_ban_patiently(&nodes[0], 3).await;
    assert!(is_banned(&nodes[0], 2) && is_banned(&nodes[0], 3));
    assert!(is_banned(&nodes[2], 1) && !is_banned(&nodes[2], 2) && !is_banned(&nodes[2], 3));
    assert_eq!((nodes[2].view().position(), nodes[2].status().applied), (stopped_at, Some(stopped_at.index)));
    // Asked to lead, it hands back.
    let asked = crate::voters::transfer(&nodes[0].inner, Some(nodes[2].node_id())).await;
    until(&nodes[0], "the leader again", |node| node.is_leader() && node.status().term > term).await;
    propose_ban_patiently(&nodes[0], 6).await;
    assert!(asked.is_ok(), "{asked:?}");

    // Restarted as it is, it stands where it stood, and makes no snapshot that would let go of the rest.
    hosts[2].stop().await;
    nodes[2] = hosts[2].start().await;
    until(&nodes[2], "the halt", |node| node.status().halted.is_some()).await;
    until(&nodes[2], "a leader", |node| node.leader().is_some()).await;
    nodes[2].save_snapshot().await;
    propose_ban_patiently(&nodes[0], 4).await;
    assert_eq!(nodes[2].view().position(), stopped_at);
    assert!(is_banned(&nodes[2], 1) && !nodes[2].progress().borrow().is_caught_up);
    assert!(nodes[2].status().snapshot <= Some(stopped_at.index));

    hosts[2].stop().await;
    hosts[2].release = newer();
    nodes[2] = hosts[2].start().await;
    // What passed through it untouched is there, the unknown operation included.
    until(&nodes[2], "everything", |node| [1, 2, 3, 4, BY_UNKNOWN_OP].iter().all(|n| is_banned(node, *n)))
        .await;
    assert!(is_banned(&nodes[0], BY_UNKNOWN_OP));
    until(&nodes[2], "caught up", |node| node.progress().borrow().is_caught_up).await;
    assert_eq!(nodes[2].status().halted, None);
    propose_ban_patiently(&nodes[2], 5).await;
    hosts[0].stop().await;
    hosts[2].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_raises_the_level_with_the_last_record_and_an_older_node_waits_for_its_release() {
    let (mut hosts, mut nodes) = two_newer_and_one_older().await;
    say(&nodes, [LEVEL + 1, LEVEL + 1, LEVEL]).await;
    // One round after the next it stays.
    let waits = |node: &RaftNode| {
        node.status()
            .decisions
            .iter()
            .any(|decision| decision.why.contains(&format!("reads up to level {LEVEL}")))
    };
    until(&nodes[0], "why the level stays", waits).await;
    propose_ban_patiently(&nodes[2], 1).await;
    until(&nodes[2], "the ban", |node| is_banned(node, 1)).await;
    assert_eq!((nodes[0].view().level(), nodes[2].view().level()), (LEVEL, LEVEL));

    // It claims what it can not do: a downgrade right after its last word.
    nodes[2].propose(vec![says(&nodes[2], LEVEL + 1)]).await.unwrap();
    until(&nodes[0], "the level", |node| node.view().level() == LEVEL + 1).await;
    until(&nodes[2], "the halt", |node| node.status().halted.is_some()).await;
    assert!(
        halted(&nodes[2]).contains(&format!("level {}", LEVEL + 1))
            && halted(&nodes[2]).contains("restart bannkreisd")
    );
    assert_eq!(nodes[2].view().level(), LEVEL);
    propose_ban_patiently(&nodes[1], 2).await;
    assert!(is_banned(&nodes[2], 1) && !is_banned(&nodes[2], 2));

    // Nor does a new node of the older release come in any more; both sides say why.
    let mut late = Host::new().await;
    let stranger = late.start().await;
    let info = join_info(&Plain, &hosts[0].address.to_string()).await.unwrap();
    let why = stranger.may_join(&info).unwrap_err().to_string();
    assert!(
        why.contains(&format!("the cluster is at level {}", LEVEL + 1))
            && why.contains("install a newer one first"),
        "{why}"
    );

    hosts[2].stop().await;
    hosts[2].release = newer();
    nodes[2] = hosts[2].start().await;
    until(&nodes[2], "everything", |node| is_banned(node, 2) && node.view().level() == LEVEL + 1).await;
    propose_ban_patiently(&nodes[2], 3).await;
    for host in hosts.iter_mut().chain([&mut late]) {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_higher_level_is_left_alone_until_it_can_be_read() {
    let (mut hosts, mut nodes) = two_newer_and_one_older().await;
    propose_ban(&nodes[0], 1).await;
    until(&nodes[2], "the ban", |node| is_banned(node, 1)).await;
    say(&nodes, [LEVEL + 1; 3]).await;
    until(&nodes[2], "the halt", |node| node.status().halted.is_some()).await;
    hosts[2].stop().await;
    propose_ban_patiently(&nodes[0], 2).await;
    // The leader has only a snapshot for who comes back now.
    nodes[0].save_snapshot().await;
    until(&nodes[0], "the snapshot", |node| node.status().snapshot.is_some()).await;
    let upto = nodes[0].status().snapshot.unwrap();
    nodes[0].inner.raft.trigger().purge_log(upto).await.unwrap();
    until(&nodes[0], "the purge", |node| {
        node.inner.metrics().purged.is_some_and(|purged| purged.index == upto)
    })
    .await;

    // An older host that knows nothing of the level: what it had is kept, what it is sent is refused politely.
    let state = hosts[2].dir.path().join("snapshots");
    nodes[2] = hosts[2].start().await;
    until(&nodes[2], "the halt", |node| node.status().halted.is_some()).await;
    assert!(is_banned(&nodes[2], 1) && !is_banned(&nodes[2], 2));
    hosts[2].stop().await;

    // With the newer release it takes the snapshot in; back at the older one it says so and changes nothing.
    hosts[2].release = newer();
    nodes[2] = hosts[2].start().await;
    until(&nodes[2], "everything", |node| is_banned(node, 2) && node.status().halted.is_none()).await;
    let applied = nodes[2].status().applied;
    nodes[2].save_snapshot().await;
    until(&nodes[2], "its own snapshot", |node| node.status().snapshot >= applied).await;
    hosts[2].stop().await;
    // What a node was writing when it was stopped is no snapshot, and goes at the next start.
    let files = || {
        let names = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| !name.to_string_lossy().ends_with(".tmp")).collect::<Vec<_>>()
    };
    let before = files();
    hosts[2].release = Release::default();
    let error = RaftNode::start(hosts[2].options(), Settings::at_birth).await.err().unwrap();
    assert!(matches!(error, StartError::Level { found, .. } if found == LEVEL + 1), "{error}");
    assert!(error.to_string().contains("install the newer release again"), "{error}");
    assert_eq!(files(), before);
    hosts[2].release = newer();
    nodes[2] = hosts[2].start().await;
    until(&nodes[2], "everything, again", |node| is_banned(node, 1) && is_banned(node, 2)).await;
    for host in &mut hosts {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_node_that_is_sent_a_snapshot_it_can_not_read_says_so() {
    let mut first = Host::new().await;
    first.release = newer();
    let one = first.start().await;
    let mut second = Host::new().await;
    second.start().await;
    let two = second.join(&first).await;
    propose_ban(&one, 1).await;
    until(&two, "the ban", |node| is_banned(node, 1)).await;
    second.stop().await;
    one.propose(vec![says(&one, LEVEL + 1), says(&two, LEVEL + 1)]).await.unwrap();
    until(&one, "the level", |node| node.view().level() == LEVEL + 1).await;
    propose_ban(&one, 2).await;
    // An older one was written when the other node joined, or is being written.
    let applied = one.status().applied;
    one.save_snapshot().await;
    until(&one, "the snapshot", |node| node.status().snapshot >= applied).await;
    let upto = one.status().snapshot.unwrap();
    one.inner.raft.trigger().purge_log(upto).await.unwrap();
    until(&one, "the purge", |node| node.inner.metrics().purged.is_some_and(|purged| purged.index == upto))
        .await;

    let two = second.start().await;
    until(&two, "the halt", |node| node.status().halted.is_some()).await;
    assert!(halted(&two).contains("the leader's snapshot"), "{}", halted(&two));
    assert!(is_banned(&two, 1) && !is_banned(&two, 2));
    second.stop().await;
    second.release = newer();
    let two = second.start().await;
    until(&two, "everything", |node| is_banned(node, 1) && is_banned(node, 2)).await;
    assert_eq!(two.status().halted, None);
    first.stop().await;
    second.stop().await;
}
