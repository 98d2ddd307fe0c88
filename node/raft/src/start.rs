//! How a node comes to life: which of the cases it is, then the parts in order.
//!
//! ```text
//! identity  raft/         stage             then
//! –         –             –                 a new cluster of one
//! –         there         –                 error: whose log is this?
//! there     –, damaged    member            a spectator under a new id
//! there     –, there      founding/joining  goes on where it was interrupted
//! there     –, there      recovering        a cluster of one that begins with the snapshot
//! there     there         member            goes on
//! ```
//!
//! A log that is empty beside a snapshot is given the vote of the snapshot's last entry: it must never go back
//! behind that.

use crate::cluster_time::ClusterTime;
use crate::disk::MemoryDisk;
use crate::handle::{Inner, Life, RaftNode};
use crate::housekeeping;
use crate::identity::{Identity, IdentityError, Stage};
use crate::level::Halted;
use crate::log_store::LogStore;
use crate::log_writer::WriterState;
use crate::network::{Network, Peers};
use crate::observer::{AppliedBatch, Keeping, Observer};
use crate::options::{RaftOptions, SNAPSHOTS_DIR, Store, Timing};
use crate::outgoing::Outgoing;
use crate::peer::Sender;
use crate::progress::{self, Progress};
use crate::proposer::{LocalError, Proposer, REQUESTS_WAITING_MAX, Readings, submit};
use crate::random::random_bytes;
use crate::recovery::{self, RecoveryError};
use crate::room::Room;
use crate::sled_disk::SledDisk;
use crate::snapshot::TooHigh;
use crate::spectator::{self, Spectator};
use crate::state_machine::StateMachine;
use crate::status::Liveness;
use crate::types::{LogId, Member, Raft, Vote};
use bannkreis_core::ban_list::BanView;
use bannkreis_core::command::Op;
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::settings::Settings;
use bannkreis_proto::convert::EncodedOp;
use openraft::storage::RaftLogStorage;
use openraft::{Config, ServerState, SnapshotPolicy};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

/// The log's place in the state directory.
pub(crate) const RAFT_DIR: &str = "raft";
/// A new snapshot is written after so many entries.
const SNAPSHOT_ENTRIES: u64 = 20_000;
/// So many entries that are in a snapshot are kept, for peers that were away for a moment.
const KEPT_ENTRIES: u64 = 5_000;
/// A peer further behind than this gets a snapshot. More than what lies between two snapshots.
const LAG_ENTRIES_MAX: u64 = 30_000;
/// Old entries are removed so many at a time.
const PURGE_ENTRIES: u64 = 256;
/// Entries in one message; its bytes are bounded by the log store.
const MESSAGE_ENTRIES_MAX: u64 = 300;
/// A snapshot of two million bans is read and synced in some seconds; this is for slow disks.
const SNAPSHOT_TIMEOUT_MS: u64 = 60_000;
/// A node that is alone leads after this long, or something is broken.
const SOLO_TIMEOUT: Duration = Duration::from_secs(20);
const SOLO_RETRY_DELAY: Duration = Duration::from_millis(2);
/// A log that turned out to be of no use is let go of within this time.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file `identity` can not be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log of this identity is lost or damaged. The node must not take part under this id any more:
    /// it may have forgotten what it has voted for. What is said here is said of the log that was made in its
    /// place: then the disk is broken.
    #[error(
        "the Raft log of node {} is lost: {why}. The one that was made in its place can not be used either: is \
         the disk broken? What the kernel blocks stays blocked meanwhile",
        .identity.node
    )]
    Lost {
        /// Who this node was.
        identity: Identity,
        /// What is wrong with the log, as a sentence.
        why: String,
    },
    /// A new generation was begun, and can not be gone on with.
    #[error("{0}: the new generation of the cluster can not begin; remove the cause and start again")]
    Recovery(#[from] RecoveryError),
    /// There is a log and nothing that says whose it is.
    #[error(
        "{path} holds a Raft log, but the file `identity` beside it is missing: restore it, or move {path} away to start a new cluster"
    )]
    Orphan {
        /// The log's directory.
        path: PathBuf,
    },
    /// The store can not be opened for a reason that has nothing to do with its content.
    #[error("{path}: {error}; is another bannkreisd running on it?")]
    Storage {
        /// The directory.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// What this node has stored was written by a newer release. Nothing is wrong with it, and nothing was changed.
    #[error(
        "{path}: the newest snapshot is of level {found}, and this release reads up to level {readable}: install \
         the newer release again; what the kernel blocks stays blocked meanwhile"
    )]
    Level {
        /// Where the snapshots are.
        path: PathBuf,
        /// The snapshot's level.
        found: u32,
        /// What this release reads.
        readable: u32,
    },
    /// The timing makes no sense.
    #[error("raft timing: {why}")]
    Timing {
        /// What is wrong, as a sentence.
        why: String,
    },
    /// A node that is alone does not come to lead.
    #[error("the new cluster does not come to life: {why}")]
    Birth {
        /// The cause, as a sentence.
        why: String,
    },
}

pub(crate) async fn start(
    mut options: RaftOptions,
    birth: impl FnOnce([u8; 16]) -> Settings,
) -> Result<RaftNode, StartError> {
    let config = config(&options.timing)?;
    recovery::finish_generation(&options.dir)?;
    let mut identity = read_or_make_identity(&options)?;
    let time = Arc::new(ClusterTime::new(options.clock.clone()));
    let observer = std::mem::replace(&mut options.observer, Box::new(crate::observer::NoObserver));
    let observer = Shared(Arc::new(Mutex::new(observer)));
    let release = options.release;
    let mut opened = open(&options, &identity, config.clone(), observer.clone(), &time).await;
    if let Err(StartError::Lost { identity: lost, why }) = opened {
        identity = spectator::retire(&options.dir, &lost, why)?;
        opened = open(&options, &identity, config, observer, &time).await;
    }
    let Opened { raft, views, halted, room, peers, writer, log_end, is_pristine } = opened?;
    let member = Member { address: options.advertise.clone(), name: options.name.clone(), is_demoted: false };
    let is_newborn = identity.stage == Stage::Founding && is_pristine;
    if is_newborn {
        raft.initialize(BTreeMap::from([(identity.node.0, member.clone())]))
            .await
            .map_err(|error| StartError::Birth { why: error.to_string() })?;
    }
    if identity.stage != Stage::Member {
        identity.stage = Stage::Member;
        identity.write(&options.dir)?;
    }

    let (queue, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (progress, progress_seen) = watch::channel(Progress::default());
    let proposer = Proposer {
        raft: raft.clone(),
        generation: identity.generation,
        views: views.clone(),
        time: time.clone(),
        readings: own_clock_at_least(&options, &identity),
        ticked_term: None,
    };
    let inner = Arc::new(Inner {
        identity,
        member,
        raft: raft.clone(),
        outgoing: Outgoing::new(peers.clone()),
        peers,
        views,
        liveness: Arc::new(Liveness::new(time.clone())),
        started_ms: time.boottime_ms(),
        time,
        timing: options.timing,
        queue,
        changes: tokio::sync::Mutex::default(),
        receiving: Semaphore::new(1),
        snapshots_dir: options.dir.join(SNAPSHOTS_DIR),
        spectator: Mutex::new(Spectator::read(&options.dir, identity.node)),
        apart: Mutex::default(),
        dir: options.dir,
        release,
        writer: writer.clone(),
        halted: halted.clone(),
        room,
        joining: tokio::sync::RwLock::default(),
        decisions: Mutex::default(),
    });
    let tasks = vec![
        tokio::spawn(proposer.run(requests)),
        tokio::spawn(progress::follow(raft, log_end, halted, progress)),
        tokio::spawn(housekeeping::run(inner.clone())),
    ];
    let life = Life { tasks: Mutex::new(tasks), writer, progress: progress_seen };
    let node = RaftNode { inner, life: Arc::new(life) };
    lead_alone(&node, is_newborn, birth).await?;
    Ok(node)
}

/// openraft at work on this node's log and snapshots.
struct Opened {
    raft: Raft,
    views: watch::Receiver<BanView>,
    halted: Arc<Halted>,
    room: Room,
    peers: Arc<Peers>,
    writer: watch::Receiver<WriterState>,
    /// The last index that was in the log.
    log_end: Option<u64>,
    is_pristine: bool,
}

async fn open(
    options: &RaftOptions,
    identity: &Identity,
    config: Arc<Config>,
    observer: Shared,
    time: &Arc<ClusterTime>,
) -> Result<Opened, StartError> {
    let (mut log, writer, log_end) = open_log(options, identity).await?;
    let is_pristine = log.is_pristine();
    let snapshots_dir = options.dir.join(SNAPSHOTS_DIR);
    let failed = |error| StartError::Storage { path: snapshots_dir.clone(), error };
    let (generation, release) = (identity.generation, options.release);
    let machine =
        StateMachine::open(snapshots_dir.clone(), generation, Box::new(observer), time.clone(), release)
            .map_err(|error| unreadable(&snapshots_dir, error))?;
    let (halted, room) = (machine.halted(), machine.room());
    let views = machine.views().subscribe();
    if is_pristine && let Some(last) = machine.applied() {
        log.save_vote(&vote_after(&last, identity.node)).await.map_err(failed)?;
    }
    let stall_max = Duration::from_millis(options.timing.election_min_ms);
    let peers = Peers::new(options.connect.clone(), Sender::new(identity), stall_max);
    let network = Network { peers: peers.clone() };
    match Raft::new(identity.node.0, config, network, log, machine).await {
        Ok(raft) => Ok(Opened { raft, views, halted, room, peers, writer, log_end, is_pristine }),
        Err(fatal) => {
            wait_let_go(writer).await;
            Err(StartError::Lost { identity: *identity, why: fatal.to_string() })
        }
    }
}

/// What a node must have voted that has everything up to `last`.
fn vote_after(last: &LogId, own: NodeId) -> Vote {
    let leader = &last.leader_id;
    let mut vote = Vote::new(leader.term, leader.node_id);
    // Somebody else has led; this node itself has to be elected.
    vote.committed = leader.node_id != own.0;
    vote
}

/// The observer, for a second try.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Observer>>>);

impl Observer for Shared {
    fn applied(&mut self, batch: AppliedBatch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).applied(batch);
    }

    fn installed(&mut self, view: BanView) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).installed(view);
    }

    fn keeping(&mut self) -> Keeping {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keeping()
    }
}

/// The log's files may be moved only when its writer has ended.
async fn wait_let_go(mut ended: watch::Receiver<WriterState>) {
    if tokio::time::timeout(LET_GO_TIMEOUT, ended.wait_for(|writer| writer.has_ended)).await.is_err() {
        tracing::warn!("the Raft log is still in use");
    }
}

fn config(timing: &Timing) -> Result<Arc<Config>, StartError> {
    let config = Config {
        cluster_name: "bannkreis".to_string(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        enable_pre_vote: Some(true),
        // What a leader had sent and not yet synced is lost when it dies: leading on in the same term, it would fill the
        // same places of the log anew.
        enable_leader_restore: Some(false),
        max_payload_entries: MESSAGE_ENTRIES_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        replication_lag_threshold: LAG_ENTRIES_MAX,
        purge_batch_size: PURGE_ENTRIES,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        ..Config::default()
    };
    if timing.election_min_ms <= 2 * timing.heartbeat_ms {
        let (election, heartbeat) = (timing.election_min_ms, timing.heartbeat_ms);
        let why = format!("election_min_ms = {election} must be more than twice heartbeat_ms = {heartbeat}");
        return Err(StartError::Timing { why });
    }
    let config = config.validate().map_err(|error| StartError::Timing { why: error.to_string() })?;
    Ok(Arc::new(config))
}

fn read_or_make_identity(options: &RaftOptions) -> Result<Identity, StartError> {
    if let Some(identity) = Identity::read(&options.dir)? {
        return Ok(identity);
    }
    let path = options.dir.join(RAFT_DIR);
    if path.exists() {
        return Err(StartError::Orphan { path });
    }
    let identity = Identity::founding()
        .map_err(|error| StartError::Storage { path: PathBuf::from("/dev/urandom"), error })?;
    identity.write(&options.dir)?;
    Ok(identity)
}

/// The log, a signal for the end of its writer, and the last index in it.
type OpenLog = (LogStore, watch::Receiver<WriterState>, Option<u64>);

async fn open_log(options: &RaftOptions, identity: &Identity) -> Result<OpenLog, StartError> {
    let path = options.dir.join(RAFT_DIR);
    let lost = |why: String| StartError::Lost { identity: *identity, why };
    let is_member = identity.stage == Stage::Member;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof if is_member => {
            lost(format!("{}: {error}", path.display()))
        }
        _ => StartError::Storage { path: path.clone(), error },
    };
    let opened = match &options.store {
        Store::Memory => LogStore::open(Box::new(MemoryDisk::default())),
        Store::Sled if is_member && !path.join("db").exists() => {
            return Err(lost(format!("{} is missing", path.display())));
        }
        Store::Sled => open_sled(&path).and_then(|disk| LogStore::open(Box::new(disk))),
        #[cfg(test)]
        Store::Simulated(disk) => disk.open_log(),
    };
    let (log, ended) = opened.map_err(failed)?;
    let of_no_use = match log.owner() {
        Some(owner) if owner == owner_of(identity) => None,
        Some(_) => Some(format!("{} belongs to another node", path.display())),
        None if is_member => Some(format!("{} is empty", path.display())),
        None => None,
    };
    if let Some(why) = of_no_use {
        drop(log);
        wait_let_go(ended).await;
        return Err(lost(why));
    }
    match log.owner() {
        Some(_) => {}
        None => log.put_owner(&owner_of(identity)).await.map_err(failed)?,
    }
    let log_end = log.last_index();
    Ok((log, ended, log_end))
}

fn unreadable(dir: &Path, error: io::Error) -> StartError {
    match TooHigh::of(&error) {
        Some(TooHigh { found, readable }) => StartError::Level { path: dir.to_owned(), found, readable },
        None => StartError::Storage { path: dir.to_owned(), error },
    }
}

/// sled panics on some kinds of damage instead of saying so.
fn open_sled(path: &Path) -> io::Result<SledDisk> {
    catch_unwind(AssertUnwindSafe(|| SledDisk::open(path)))
        .unwrap_or_else(|_| Err(crate::types::invalid("sled can not read the database")))
}

/// What the log says about its owner.
fn owner_of(identity: &Identity) -> Vec<u8> {
    format!("{} {} {}", identity.cluster, identity.generation, identity.node).into_bytes()
}

/// The daemon's readings, or at least this node's own clock.
fn own_clock_at_least(options: &RaftOptions, identity: &Identity) -> Readings {
    let (readings, wall, node) = (options.readings.clone(), options.wall.clone(), identity.node);
    Arc::new(move || {
        let readings = readings();
        if readings.is_empty() { vec![(node, wall())] } else { readings }
    })
}

/// A node that is the only voter leads at once, without waiting for anybody's silence. A cluster that has
/// no settings yet gets them as its first command.
async fn lead_alone(
    node: &RaftNode,
    is_newborn: bool,
    birth: impl FnOnce([u8; 16]) -> Settings,
) -> Result<(), StartError> {
    let stopped = |error: &dyn std::fmt::Display| StartError::Birth { why: error.to_string() };
    let raft = &node.inner.raft;
    // From openraft's own state: its metrics are not there yet.
    let voters =
        raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect::<Vec<_>>());
    let voters = voters.await.map_err(|fatal| stopped(&fatal))?;
    if voters != [node.inner.identity.node.0] {
        return Ok(());
    }
    let deadline = Instant::now() + SOLO_TIMEOUT;
    let too_late = |what: &str| {
        let why = format!("{what} within {} s: is the disk very slow?", SOLO_TIMEOUT.as_secs());
        StartError::Birth { why }
    };
    if !is_newborn {
        raft.trigger().elect(false).await.map_err(|fatal| stopped(&fatal))?;
    }
    let leads = raft.wait(Some(SOLO_TIMEOUT)).state(ServerState::Leader, "alone").await;
    leads.map_err(|_| too_late("it does not lead"))?;
    if node.view().settings().event_key != [0; 16] || node.inner.halted.is_set() {
        return Ok(());
    }
    let random = |error| StartError::Storage { path: PathBuf::from("/dev/urandom"), error };
    let command_id = CommandId(u128::from_be_bytes(random_bytes().map_err(random)?));
    let fields = birth(random_bytes().map_err(random)?).fields();
    let operator = Operator {
        command_id,
        node: node.inner.identity.node,
        author: "bannkreisd".to_string(),
        reason: "birth of the cluster".to_string(),
    };
    let settings = vec![EncodedOp::new(Op::Settings { operator, fields })];
    loop {
        match submit(&node.inner.queue, settings.clone()).await {
            Ok(_) => return Ok(()),
            // A fresh leader may refuse its first write.
            Err(LocalError::NotLeader) if Instant::now() < deadline => {
                tokio::time::sleep(SOLO_RETRY_DELAY).await;
            }
            Err(LocalError::NotLeader) => return Err(too_late("its first command is not written")),
            Err(LocalError::Failed(error)) => return Err(stopped(&error)),
        }
    }
}
