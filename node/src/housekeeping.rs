//! What a running node does besides: tells the warden about leaders and about having caught up, keeps the
//! links to the members, announces itself, finishes a join, and gives memory back.

use crate::borders::Clock;
use crate::clock::SystemClock;
use crate::config::NodeConfig;
use crate::event_loop::LoopHandle;
use crate::host::HostFacts;
use crate::joining;
use crate::local_store::LocalStore;
use crate::memory;
use crate::retention;
use crate::running::Running;
use crate::security;
use crate::spectating;
use crate::wire::{HEARTBEAT_INTERVAL, Links, Member, PeerTable, Security};
use bannkreis_core::command::{LEVEL, Op};
use bannkreis_core::event::Event;
use bannkreis_core::node_record::{NODE_ADDRESSES_MAX, NodeRecord, NodeRole};
use bannkreis_core::subnet::Subnet;
use bannkreis_raft::RaftNode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the leader is looked at: a lost or new one decides whether proposals go out.
const LEADER_INTERVAL: Duration = Duration::from_millis(250);
/// How often the membership is looked at.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before something that the cluster did not take is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often this node checks whether it must announce itself anew.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);
/// What the cluster took, and this node applied, within this says what time it is.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);
/// A cluster that is slower than that each time is believed in the end.
const SETTLE_ATTEMPTS: usize = 10;

/// How often is looked whether something of the history is too old; looking costs nothing, forgetting reads all of it.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5);

/// What the heartbeats tell of this node's warden.
#[derive(Debug, Default)]
pub struct OwnCounts {
    n_waiting: AtomicU32,
    n_overrides: AtomicU32,
}

impl OwnCounts {
    /// Proposals without an answer.
    #[must_use]
    pub fn n_waiting(&self) -> u32 {
        self.n_waiting.load(Ordering::Relaxed)
    }

    /// Overrides of this host.
    #[must_use]
    pub fn n_overrides(&self) -> u32 {
        self.n_overrides.load(Ordering::Relaxed)
    }
}

/// Starts all of it.
pub async fn start(running: &Running, config: &NodeConfig, host: &HostFacts) -> Vec<JoinHandle<()>> {
    let record = record_of(running, config, host).await;
    let mut tasks = vec![
        tokio::spawn(follow_leader(
            running.raft.clone(),
            running.peers.clone(),
            running.clock.clone(),
            running.events.clone(),
        )),
        tokio::spawn(follow_members(running.raft.clone(), running.links().clone(), running.peers.clone())),
        tokio::spawn(announce(running.raft.clone(), record.clone(), running.security.clone())),
        tokio::spawn(count(running.events.clone(), running.counts.clone())),
        tokio::spawn(memory::keep_small()),
        tokio::spawn(forget_old(
            running.store.clone(),
            running.raft.clone(),
            running.clock.clone(),
            running.n_kept.clone(),
        )),
        tokio::spawn(catch_up(
            spectating::Asking::of(running, config),
            running.raft.clone(),
            running.events.clone(),
            running.clock.clone(),
            config.state_dir.clone(),
            record,
        )),
    ];
    if let Security::Tls(tls) = &running.security {
        tasks.push(tokio::spawn(security::keep_fresh(
            tls.clone(),
            running.raft.clone(),
            running.clock.clone(),
        )));
    }
    tasks
}

/// See [`Running::no_quorum_since_ms`].
pub fn no_quorum_since_ms(raft: &RaftNode, peers: &PeerTable, clock: &SystemClock) -> Option<u64> {
    raft.status()
        .no_quorum_since_ms
        .or_else(|| peers.no_quorum_since_ms(raft.leader()?.0, clock.boottime_ms()))
}

/// Tells the warden whenever a leader appears or is lost. One without a majority is none: what it is sent has no
/// answer, and peers must hear of a block again and again, as without any.
async fn follow_leader(raft: RaftNode, peers: Arc<PeerTable>, clock: Arc<SystemClock>, events: LoopHandle) {
    let mut known = false;
    let mut look = tokio::time::interval(LEADER_INTERVAL);
    loop {
        look.tick().await;
        // After a failed write openraft still names the leader that it had.
        let has_quorum = no_quorum_since_ms(&raft, &peers, &clock).is_none();
        let is_known = has_quorum && raft.leader().is_some() && raft.status().halted.is_none();
        if is_known != known {
            known = is_known;
            send(&events, Event::Leader { known }).await;
        }
    }
}

/// Keeps a link to each member.
async fn follow_members(raft: RaftNode, links: Arc<Links>, peers: Arc<PeerTable>) {
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
            let all = members.iter().map(|member| member.node).collect();
            peers.set_members(&all, status.voters.iter().map(|voter| voter.node).collect());
            known = members;
        }
    }
}

/// Writes this node's record into the replicated log, and again when it is not what it should be.
///
/// Certificates that somebody else has renewed are taken into use here: with a new key only when the cluster
/// knows that it is this node's, because until then nobody would believe it.
async fn announce(raft: RaftNode, mut record: NodeRecord, security: Security) {
    loop {
        let changed = security::changed_files(&security).await;
        record.key_fingerprint = match &changed {
            Some(changed) => changed.fingerprint().0.to_vec(),
            None => security::fingerprint(&security),
        };
        let is_known = raft.view().node(record.node).is_some_and(|known| {
            // What waits for an operator is known too.
            let mut wanted = record.clone();
            for list in [&mut wanted.own, &mut wanted.gateways, &mut wanted.resolvers] {
                list.retain(|subnet| !known.pending.contains(subnet));
            }
            known.revoked || known.record == wanted
        });
        if !is_known && let Err(error) = raft.propose(vec![Op::NodeSeen(record.clone())]).await {
            tracing::debug!("this node's record waits: {error}");
        }
        if let (true, Some(changed)) = (is_known, changed) {
            security::use_changed(&security, changed);
        }
        // A node that applies nothing will not see it come back.
        let is_enough = is_known || raft.status().halted.is_some();
        tokio::time::sleep(if is_enough { ANNOUNCE_INTERVAL } else { RETRY_PAUSE }).await;
    }
}

/// Keeps count of what the heartbeats tell.
async fn count(events: LoopHandle, counts: Arc<OwnCounts>) {
    let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL * 4);
    loop {
        beat.tick().await;
        let events = events.clone();
        let asked = tokio::task::spawn_blocking(move || {
            events.ask(|warden, now| {
                let n_own = warden.outbox().filter(|entry| entry.local.is_none()).count();
                let n_waiting = n_own + warden.brought_along(now.cluster).count();
                (n_waiting, warden.overrides().len())
            })
        });
        let Ok(Some((n_waiting, n_overrides))) = asked.await else { return };
        counts.n_waiting.store(u32::try_from(n_waiting).unwrap_or(u32::MAX), Ordering::Relaxed);
        counts.n_overrides.store(u32::try_from(n_overrides).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// Forgets of what people may ask about later what is too old or too much: now and again, when the setting for it
/// changes, and when much was added.
async fn forget_old(store: Arc<LocalStore>, raft: RaftNode, clock: Arc<SystemClock>, n_kept: Arc<AtomicU64>) {
    let mut look = tokio::time::interval(RETENTION_INTERVAL);
    let (mut last, mut retention_ms) = (clock.known(), raft.view().settings().history_retention_ms);
    loop {
        look.tick().await;
        let asked = store.clone();
        match tokio::task::spawn_blocking(move || retention::forget_asked(&asked)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!("who is to be forgotten is not yet: {error}"),
            Err(error) => tracing::error!("who is to be forgotten is not yet: {error}"),
        }
        let (view, now) = (raft.view(), clock.known());
        let is_time = now.ms_since(last) >= retention::PASS_INTERVAL_MS;
        let is_changed = view.settings().history_retention_ms != retention_ms;
        if !is_time && !is_changed && n_kept.load(Ordering::Relaxed) < retention::PASS_RECORDS {
            continue;
        }
        (last, retention_ms) = (now, view.settings().history_retention_ms);
        n_kept.store(0, Ordering::Relaxed);
        let store = store.clone();
        let done =
            tokio::task::spawn_blocking(move || retention::forget(&store, &view, now, &retention::BOUNDS));
        match done.await {
            Ok(Ok(forgotten)) if forgotten.n_of_live_bans > 0 => tracing::warn!(
                "the evidence of {} live bans is gone, because there was no room for it; `why` does not show it any more",
                forgotten.n_of_live_bans
            ),
            Ok(Ok(forgotten)) => tracing::debug!("of the history: {forgotten:?}"),
            Ok(Err(error)) => tracing::error!("what is too old in the history stays: {error}"),
            Err(error) => tracing::error!("what is too old in the history stays: {error}"),
        }
    }
}

/// Waits until everything that was committed when this process started has been applied, finishes a join
/// if one is open, and only then lets the firewall forget what the ban list does not hold.
async fn catch_up(
    asking: spectating::Asking,
    raft: RaftNode,
    events: LoopHandle,
    clock: Arc<SystemClock>,
    state_dir: std::path::PathBuf,
    record: NodeRecord,
) {
    joining::ask(&raft, &state_dir, |why| asking.note(why)).await;
    asking.ask().await;
    let mut progress = raft.progress();
    if progress.wait_for(|progress| progress.is_caught_up).await.is_err() {
        return;
    }
    asking.taken_in();
    if let Err(error) = joining::finish(&raft, &state_dir).await {
        tracing::error!("{error}");
        return;
    }
    send(&events, Event::CaughtUp).await;
    match learn_time(&raft, record).await {
        Ok(()) => clock.settle(),
        Err(why) => {
            tracing::error!("this node's record is refused, so cluster time stays an estimate: {why}");
        }
    }
    // So that the warden acts on it now.
    send(&events, Event::Timer).await;
}

/// Says who this node is, until that has come back as an entry of the log soon enough to tell what time it is:
/// it was stamped in between. Any other entry may be as old as the cluster is quiet, or as this node is late.
async fn learn_time(raft: &RaftNode, record: NodeRecord) -> Result<(), String> {
    for _ in 0..SETTLE_ATTEMPTS {
        let asked = Instant::now();
        joining::propose_until_answered(raft, Op::NodeSeen(record.clone())).await?;
        if asked.elapsed() <= SETTLE_WITHIN {
            break;
        }
    }
    Ok(())
}

/// Hands an event over without holding up the runtime.
async fn send(events: &LoopHandle, event: Event) {
    let events = events.clone();
    let _ = tokio::task::spawn_blocking(move || events.send(event)).await;
}

async fn record_of(running: &Running, config: &NodeConfig, host: &HostFacts) -> NodeRecord {
    let events = running.events.clone();
    let asked = tokio::task::spawn_blocking(move || {
        events.ask(|warden, _| {
            warden.jails().map(|(jail, _)| (jail.name.clone(), jail.ports.clone())).collect::<Vec<_>>()
        })
    });
    // More than the cluster keeps would never be known as announced.
    let bounded = |subnets: &[Subnet]| subnets.iter().copied().take(NODE_ADDRESSES_MAX).collect();
    NodeRecord {
        node: running.raft.node_id(),
        name: config.name.clone(),
        address: config.advertised(),
        key_fingerprint: security::fingerprint(&running.security),
        own: bounded(&host.own),
        gateways: bounded(&host.gateways),
        resolvers: bounded(&host.resolvers),
        jails: asked.await.ok().flatten().unwrap_or_default(),
        level_max: LEVEL,
        role: if running.is_witness { NodeRole::Witness } else { NodeRole::Full },
    }
}
