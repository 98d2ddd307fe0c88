//! What a running node does besides: tells the warden about leaders and about having caught up, keeps the
//! links to the members, announces itself, and finishes a join.

use crate::borders::Clock;
use crate::config::NodeConfig;
use crate::host::HostFacts;
use crate::joining;
use crate::running::Running;
use crate::wire::{HEARTBEAT_INTERVAL, Member};
use bannkreis_core::command::{LEVEL, Op};
use bannkreis_core::event::Event;
use bannkreis_core::node_record::{NodeRecord, NodeRole};
use bannkreis_raft::RaftNode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the leader is looked at: a lost or new one decides whether proposals go out.
const LEADER_INTERVAL: Duration = Duration::from_millis(100);
/// How often the membership is looked at.
const MEMBERS_INTERVAL: Duration = Duration::from_millis(500);
/// Pause before something that the cluster did not take is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often this node checks whether it must announce itself anew.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);

/// Starts all of it.
pub fn start(
    running: &Running,
    config: &NodeConfig,
    host: &HostFacts,
    n_waiting: Arc<AtomicU32>,
) -> Vec<JoinHandle<()>> {
    let record = record_of(running, config, host);
    vec![
        tokio::spawn(follow_leader(running.raft.clone(), running.events.clone())),
        tokio::spawn(follow_members(running.raft.clone(), running.links().clone())),
        tokio::spawn(announce(running.raft.clone(), record)),
        tokio::spawn(count_waiting(running.events.clone(), n_waiting)),
        tokio::spawn(catch_up(
            running.raft.clone(),
            running.events.clone(),
            running.clock.clone(),
            config.state_dir.clone(),
        )),
    ]
}

/// Tells the warden whenever a leader appears or is lost.
async fn follow_leader(raft: RaftNode, events: crate::event_loop::LoopHandle) {
    let mut known = false;
    let mut look = tokio::time::interval(LEADER_INTERVAL);
    loop {
        look.tick().await;
        let is_known = raft.leader().is_some();
        if is_known != known {
            known = is_known;
            send(&events, Event::Leader { known }).await;
        }
    }
}

/// Keeps a link to each member.
async fn follow_members(raft: RaftNode, links: Arc<crate::wire::Links>) {
    let mut look = tokio::time::interval(MEMBERS_INTERVAL);
    let mut known: Vec<Member> = Vec::new();
    loop {
        look.tick().await;
        let status = raft.status();
        let members: Vec<Member> = status
            .voters
            .iter()
            .chain(&status.learners)
            .map(|member| Member { node: member.node, address: member.address.clone() })
            .collect();
        if members != known {
            links.set_members(&members);
            known = members;
        }
    }
}

/// Writes this node's record into the replicated log, and again when it is not what it should be.
async fn announce(raft: RaftNode, record: NodeRecord) {
    loop {
        let is_known = raft.view().node(record.node).is_some_and(|known| {
            let mut announced = known.record.clone();
            announced.own.extend(&known.pending);
            announced.own.sort_unstable();
            let mut wanted = record.clone();
            wanted.own.sort_unstable();
            announced == wanted
        });
        let pause = if is_known {
            ANNOUNCE_INTERVAL
        } else if raft.propose(vec![Op::NodeSeen(record.clone())]).await.is_ok() {
            continue;
        } else {
            RETRY_PAUSE
        };
        tokio::time::sleep(pause).await;
    }
}

/// Keeps count of the proposals without an answer, for the heartbeats.
async fn count_waiting(events: crate::event_loop::LoopHandle, n_waiting: Arc<AtomicU32>) {
    let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL * 4);
    loop {
        beat.tick().await;
        let events = events.clone();
        let asked = tokio::task::spawn_blocking(move || {
            events.ask(|warden, _| warden.outbox().filter(|entry| entry.local.is_none()).count())
        });
        match asked.await {
            Ok(Some(n)) => n_waiting.store(u32::try_from(n).unwrap_or(u32::MAX), Ordering::Relaxed),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Waits until everything that was committed when this process started has been applied, finishes a join
/// if one is open, and only then lets the firewall forget what the ban list does not hold.
async fn catch_up(
    raft: RaftNode,
    events: crate::event_loop::LoopHandle,
    clock: Arc<crate::clock::SystemClock>,
    state_dir: std::path::PathBuf,
) {
    if let Err(error) = joining::ask(&raft, &state_dir).await {
        tracing::error!("{error}");
        return;
    }
    let mut progress = raft.progress();
    if progress.wait_for(|progress| progress.is_caught_up).await.is_err() {
        return;
    }
    clock.settle();
    if let Err(error) = joining::finish(&raft, &state_dir, clock.wall()).await {
        tracing::error!("{error}");
        return;
    }
    send(&events, Event::CaughtUp).await;
}

/// Hands an event over without holding up the runtime.
async fn send(events: &crate::event_loop::LoopHandle, event: Event) {
    let events = events.clone();
    let _ = tokio::task::spawn_blocking(move || events.send(event)).await;
}

fn record_of(running: &Running, config: &NodeConfig, host: &HostFacts) -> NodeRecord {
    let jails = running.events.ask(|warden, _| {
        warden.jails().map(|(jail, _)| (jail.name.clone(), jail.ports.clone())).collect::<Vec<_>>()
    });
    NodeRecord {
        node: running.raft.node_id(),
        name: config.name.clone(),
        address: config.advertised(),
        key_fingerprint: Vec::new(),
        own: host.own.clone(),
        gateways: host.gateways.clone(),
        resolvers: host.resolvers.clone(),
        jails: jails.unwrap_or_default(),
        level_max: LEVEL,
        role: NodeRole::Full,
    }
}
