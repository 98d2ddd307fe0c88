//! What a running node does besides: tells the warden about leaders and about having caught up, keeps the
//! links to the members, announces itself, finishes a join, and gives memory back.

use crate::borders::Clock;
use crate::clock::SystemClock;
use crate::config::NodeConfig;
use crate::configuring::Configuring;
use crate::disk_room;
use crate::event_loop::LoopHandle;
use crate::host::HostFacts;
use crate::joining;
use crate::local_store::{LocalStore, LocalStoreError};
use crate::memory;
use crate::recidive;
use crate::retention::{self, Forgotten, NewlyKept};
use crate::running::Running;
use crate::security;
use crate::spectating;
use crate::wire::{HEARTBEAT_INTERVAL, PeerTable, Security, follow_members};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{LEVEL, LEVEL_REACHES, Op};
use bannkreis_core::event::Event;
use bannkreis_core::jail::JailName;
use bannkreis_core::node_record::{NODE_ADDRESSES_MAX, NodeRecord, NodeRole};
use bannkreis_core::reach::Reach;
use bannkreis_core::subnet::Subnet;
use bannkreis_raft::{RaftNode, rhythm};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the leader is looked at: a lost or new one decides whether proposals go out.
const LEADER_INTERVAL: Duration = Duration::from_millis(500);
/// Pause before something that the cluster did not take is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often this node looks at its own addresses, and whether it must announce itself anew.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);
/// The same while an address waits for an operator: they look whether it has worked.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);
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
pub async fn start(
    running: &Running,
    config: &NodeConfig,
    host: &HostFacts,
    configuring: Arc<Configuring>,
) -> Vec<JoinHandle<()>> {
    let record = record_of(running, config, host).await;
    let mut tasks = vec![
        tokio::spawn(follow_leader(
            running.raft.clone(),
            running.peers.clone(),
            running.clock.clone(),
            running.events.clone(),
        )),
        tokio::spawn(follow_members(running.raft.clone(), running.links().clone(), running.peers.clone())),
        tokio::spawn(announce(
            running.raft.clone(),
            record.clone(),
            running.security.clone(),
            host.clone(),
            configuring,
        )),
        tokio::spawn(count(running.events.clone(), running.counts.clone())),
        tokio::spawn(memory::keep_small()),
        tokio::spawn(disk_room::keep(config.state_dir.clone(), running.raft.clone())),
        tokio::spawn(forget_old(
            running.store.clone(),
            running.raft.clone(),
            running.clock.clone(),
            running.newly_kept.clone(),
        )),
        tokio::spawn(catch_up(
            spectating::Asking::of(running, config),
            running.raft.clone(),
            running.events.clone(),
            running.clock.clone(),
            (running.store.clone(), config.state_dir.clone()),
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
    let mut look = rhythm::every(LEADER_INTERVAL);
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

/// Writes this node's record into the replicated log, and again when it is not what it should be: this host's addresses,
/// routers and name servers are looked at each time, and the warden is told of them as well.
///
/// Certificates that somebody else has renewed are taken into use here: with a new key only when the cluster
/// knows that it is this node's, because until then nobody would believe it.
async fn announce(
    raft: RaftNode,
    mut record: NodeRecord,
    security: Security,
    mut host: HostFacts,
    configuring: Arc<Configuring>,
) {
    let reaches = std::mem::take(&mut record.reaches);
    loop {
        set_reaches(&mut record, &reaches, raft.view().level());
        if let Some(changed) = look_again(&host, &configuring).await {
            host = changed;
            set_addresses(&mut record, &host);
        }
        let changed = security::changed_files(&security).await;
        record.key_fingerprint = match &changed {
            Some(changed) => changed.fingerprint().0.to_vec(),
            None => security::fingerprint(&security),
        };
        let known = Announced::of(&raft.view(), &record);
        let is_known = known != Announced::Otherwise;
        if !is_known && let Err(error) = raft.propose(vec![Op::NodeSeen(record.clone())]).await {
            tracing::debug!("this node's record waits: {error}");
        }
        if let (true, Some(changed)) = (is_known, changed) {
            security::use_changed(&security, changed);
        }
        // A node that applies nothing will not see it come back.
        let is_enough = is_known || raft.status().halted.is_some();
        let pause = match known {
            Announced::Pending if is_enough => PENDING_INTERVAL,
            _ if record.reaches.len() < reaches.len() => RETRY_PAUSE,
            _ if is_enough => ANNOUNCE_INTERVAL,
            _ => RETRY_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

/// What the cluster knows of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    /// All that it says.
    Fully,
    /// All but addresses that wait for an operator.
    Pending,
    /// Something else.
    Otherwise,
}

impl Announced {
    fn of(view: &BanList, record: &NodeRecord) -> Announced {
        let Some(known) = view.node(record.node) else { return Announced::Otherwise };
        if known.revoked {
            return Announced::Fully;
        }
        let mut wanted = record.clone();
        for list in [&mut wanted.own, &mut wanted.gateways, &mut wanted.resolvers] {
            list.retain(|subnet| !known.pending.contains(subnet));
        }
        let is_waiting = |subnet: &Subnet| view.must_be_confirmed(*subnet);
        let announced: Vec<Subnet> = record.protected().collect();
        let is_said = known.record == wanted && known.pending.iter().all(|subnet| announced.contains(subnet));
        if is_said && known.pending.is_empty() {
            Announced::Fully
        } else if is_said && known.pending.iter().all(is_waiting) {
            Announced::Pending
        } else {
            // An operator may have confirmed some of them.
            Announced::Otherwise
        }
    }
}

/// Looks at this host, and tells the warden when it has other addresses, routers or name servers than it had.
async fn look_again(host: &HostFacts, configuring: &Arc<Configuring>) -> Option<HostFacts> {
    let (before, configuring) = (host.clone(), configuring.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let now = before.read_again();
        if now == before {
            return None;
        }
        tracing::info!(
            "this host's addresses, routers or name servers have changed: {}",
            listed(&now.protected())
        );
        configuring.tell_own(now.protected());
        Some(now)
    });
    looking.await.ok().flatten()
}

fn listed(subnets: &[Subnet]) -> String {
    subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// More than the cluster keeps would never be known as announced.
fn set_addresses(record: &mut NodeRecord, host: &HostFacts) {
    let bounded = |subnets: &[Subnet]| subnets.iter().copied().take(NODE_ADDRESSES_MAX).collect();
    record.own = bounded(&host.own);
    record.gateways = bounded(&host.gateways);
    record.resolvers = bounded(&host.resolvers);
}

/// Keeps count of what the heartbeats tell.
async fn count(events: LoopHandle, counts: Arc<OwnCounts>) {
    let mut beat = rhythm::every(HEARTBEAT_INTERVAL * 2);
    loop {
        beat.tick().await;
        let events = events.clone();
        let asked = tokio::task::spawn_blocking(move || {
            events.ask(|warden, now| (warden.n_waiting(now.cluster), warden.overrides().len()))
        });
        let Ok(Some((n_waiting, n_overrides))) = asked.await else { return };
        counts.n_waiting.store(u32::try_from(n_waiting).unwrap_or(u32::MAX), Ordering::Relaxed);
        counts.n_overrides.store(u32::try_from(n_overrides).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// Forgets of what people may ask about later what is too old or too much: now and again, when the setting for it
/// changes, and when much was added.
async fn forget_old(
    store: Arc<LocalStore>,
    raft: RaftNode,
    clock: Arc<SystemClock>,
    newly_kept: Arc<NewlyKept>,
) {
    let mut look = rhythm::every(RETENTION_INTERVAL);
    let (mut last, mut retention_ms) = (clock.known(), raft.view().settings().history_retention_ms);
    let mut found = Forgotten::default();
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
        if !is_time && !is_changed && !newly_kept.may_be_too_much(&found) {
            continue;
        }
        (last, retention_ms) = (now, view.settings().history_retention_ms);
        newly_kept.clear();
        let store = store.clone();
        let looking =
            tokio::task::spawn_blocking(move || retention::forget(&store, &view, now, &retention::BOUNDS));
        let looked = looking.await.unwrap_or_else(|error| Err(LocalStoreError::Read(error.to_string())));
        found = *looked.as_ref().unwrap_or(&Forgotten::default());
        match looked {
            Ok(forgotten) if forgotten.n_of_live_bans > 0 => tracing::warn!(
                "the evidence of {} live bans is gone, because there was no room for it; `why` does not show it any more",
                forgotten.n_of_live_bans
            ),
            Ok(forgotten) => tracing::debug!("of the history: {forgotten:?}"),
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
    (store, state_dir): (Arc<LocalStore>, std::path::PathBuf),
    mut record: NodeRecord,
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
    let (asked, asking_clock) = (events.clone(), clock.clone());
    let told = tokio::task::spawn_blocking(move || recidive::tell_ended(&store, &asked, asking_clock.now()));
    if let Ok(Err(error)) = told.await {
        tracing::error!("bans of before this start do not count for who comes back: {error}");
    }
    send(&events, Event::CaughtUp).await;
    let reaches = std::mem::take(&mut record.reaches);
    set_reaches(&mut record, &reaches, raft.view().level());
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

/// Says of the reach of its jails only what every member can read.
fn set_reaches(record: &mut NodeRecord, reaches: &[(JailName, Reach)], level: u32) {
    record.reaches = if level >= LEVEL_REACHES { reaches.to_vec() } else { Vec::new() };
}

async fn record_of(running: &Running, config: &NodeConfig, host: &HostFacts) -> NodeRecord {
    let events = running.events.clone();
    let asked = tokio::task::spawn_blocking(move || {
        events.ask(|warden, _| {
            warden
                .jails()
                .map(|(jail, _)| (jail.name.clone(), jail.ports.clone(), jail.reach))
                .collect::<Vec<_>>()
        })
    });
    let jails = asked.await.ok().flatten().unwrap_or_default();
    let mut record = NodeRecord {
        node: running.raft.node_id(),
        name: config.name.clone(),
        address: config.advertised(),
        key_fingerprint: security::fingerprint(&running.security),
        reaches: jails.iter().filter_map(|(name, _, reach)| Some((name.clone(), (*reach)?))).collect(),
        jails: jails.into_iter().map(|(name, ports, _)| (name, ports)).collect(),
        level_max: LEVEL,
        role: if running.is_witness { NodeRole::Witness } else { NodeRole::Full },
        ..NodeRecord::default()
    };
    set_addresses(&mut record, host);
    record
}

#[cfg(test)]
mod tests {
    use super::{Announced, BanList, NodeRecord, Op};
    use bannkreis_core::command::{Command, LEVEL_FIRST, UnbanSelection};
    use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
    use bannkreis_core::jail::{JailName, Ports};
    use bannkreis_core::settings::Settings;
    use bannkreis_core::time::{BanTime, Timestamp};

    const NODE: NodeId = NodeId(1);

    fn record(own: &[&str]) -> NodeRecord {
        let own = own.iter().map(|text| text.parse().unwrap()).collect();
        NodeRecord { node: NODE, own, ..NodeRecord::default() }
    }

    #[test]
    fn a_node_announces_itself_again_when_an_operator_has_confirmed_or_an_address_has_gone() {
        let mut list = BanList::new(Settings::at_birth([7; 16]));
        let mut index = 0;
        let mut apply = |list: &mut BanList, op| {
            index += 1;
            let (at, level) = (Timestamp(1_000_000), LEVEL_FIRST);
            let readings = vec![(NODE, at)];
            let ops = vec![Op::Tick { readings }, op];
            list.apply(Position { generation: 1, index }, &Command { at, level, ops, ..Command::default() });
        };
        let operator = |n| {
            let (author, reason) = (String::new(), String::new());
            Operator { command_id: CommandId(n), node: NODE, author, reason }
        };
        let target = "192.0.2.7".parse().unwrap();
        let (both, one) = (record(&["192.0.2.7", "192.0.2.8"]), record(&["192.0.2.8"]));
        assert_eq!(Announced::of(&list, &one), Announced::Otherwise);
        apply(&mut list, Op::NodeSeen(one.clone()));
        assert_eq!(Announced::of(&list, &one), Announced::Fully);
        assert_eq!(Announced::of(&list, &both), Announced::Otherwise);
        let (jail, ban_time, ports) = (JailName::operator(), BanTime::Forever, Ports::whole_host());
        let ban = Op::OperatorBan { operator: operator(1), target, jail, ban_time, ports, force: false };
        apply(&mut list, ban);
        apply(&mut list, Op::NodeSeen(both.clone()));
        assert_eq!(Announced::of(&list, &both), Announced::Pending);
        assert_eq!(Announced::of(&list, &one), Announced::Otherwise, "it waits for nothing any more");
        let selection = UnbanSelection::Target { target, jail: None };
        apply(&mut list, Op::Unban { operator: operator(2), selection });
        assert_eq!(Announced::of(&list, &both), Announced::Otherwise);
        apply(&mut list, Op::NodeSeen(both.clone()));
        assert_eq!(Announced::of(&list, &both), Announced::Fully);
    }
}
