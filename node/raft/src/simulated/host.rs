//! A host: a disk, a directory, an address and clocks that outlive the nodes on it. Its node is the real one; it dies
//! as a process or a machine does.
//!
//! A node that has died can not be stopped dead: it goes on as a ghost until it notices, but its disk, its network and
//! its directory are another's by then, and nobody listens to it.

use super::disk::SimulatedDisk;
use super::network::{Network, Plug, address};
use super::oracle::{GOES_ON, Oracle};
use super::random::Random;
use crate::handle::RaftNode;
use crate::identity::{Identity, Stage};
use crate::level::Release;
use crate::observer::{AppliedBatch, Observer};
use crate::options::{RaftOptions, Store, Timing};
use crate::peer::Peer;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::ids::{ClusterId, NodeId};
use bannkreis_core::settings::Settings;
use bannkreis_core::time::Timestamp;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

/// What all hosts of a world share.
pub(super) struct Ground {
    pub(super) network: Arc<Network>,
    pub(super) oracle: Arc<Oracle>,
    pub(super) timing: Timing,
    pub(super) random: Mutex<Random>,
    /// Where the hosts have their directories.
    pub(super) dir: PathBuf,
    /// Every wall clock is asked by the leaders, as the daemon's heartbeats do: (host, node, its clock).
    pub(super) clocks: Mutex<Vec<(usize, NodeId, Arc<Wall>)>>,
    pub(super) began: Instant,
}

impl Ground {
    pub(super) fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clocks(&self) -> MutexGuard<'_, Vec<(usize, NodeId, Arc<Wall>)>> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A wall clock that is wrong, and more so every second.
pub(super) struct Wall {
    began: Instant,
    skew_ms: AtomicI64,
    drift_ppm: i64,
}

/// A member that is asked to take a host in gets so long.
const JOIN_PATIENCE: Duration = Duration::from_secs(5);
/// Then the next one is asked after this long.
const JOIN_PAUSE: Duration = Duration::from_millis(200);

/// 2026-11-01.
const WORLD_BEGINS_MS: i64 = 1_793_491_200_000;

impl Wall {
    fn now(&self) -> Timestamp {
        let elapsed_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let drift_ms = elapsed_ms / 1_000 * self.drift_ppm / 1_000;
        let now_ms = WORLD_BEGINS_MS + elapsed_ms + drift_ms + self.skew_ms.load(Ordering::Relaxed);
        Timestamp(now_ms.unsigned_abs())
    }

    /// It jumps.
    pub(super) fn jump(&self, by_ms: i64) {
        self.skew_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Host {
    pub(super) number: usize,
    ground: Arc<Ground>,
    pub(super) wall: Arc<Wall>,
    /// How long its disk needs for a sync when it is well.
    sync_takes: Duration,
    state: Mutex<State>,
}

struct State {
    disk: SimulatedDisk,
    n_lives: u32,
    dir: PathBuf,
    running: Option<Running>,
}

/// A node that runs.
struct Running {
    node: RaftNode,
    is_alive: Arc<AtomicBool>,
    tasks: Vec<AbortHandle>,
}

/// Looks at what one life of a host applies.
struct Watcher {
    oracle: Arc<Oracle>,
    host: usize,
    is_alive: Arc<AtomicBool>,
    /// It has been told what the node starts from.
    has_begun: bool,
}

impl Observer for Watcher {
    fn applied(&mut self, batch: AppliedBatch) {
        if self.is_alive.load(Ordering::Relaxed) {
            self.oracle.note(format_args!("host {} applies up to {}", self.host, batch.view.position()));
            for entry in &batch.entries {
                self.oracle.executed(self.host, entry.position, &entry.command);
            }
            self.oracle.look(self.host, &batch.view);
        }
    }

    fn installed(&mut self, view: BanView) {
        if self.is_alive.load(Ordering::Relaxed) {
            self.oracle.note(format_args!("host {} has a snapshot up to {}", self.host, view.position()));
            match (self.has_begun, view.position().index) {
                (true, _) => self.oracle.happened("node: snapshot taken over"),
                (false, 1..) => self.oracle.happened("node: begins with a snapshot"),
                (false, 0) => {}
            }
            self.has_begun = true;
            self.oracle.look(self.host, &view);
        }
    }
}

/// The cluster's id.
const CLUSTER: ClusterId = ClusterId([7; 16]);

impl Host {
    pub(super) fn new(number: usize, ground: &Arc<Ground>, sync_takes: Duration, drift_ppm: i64) -> Host {
        let wall = Arc::new(Wall { began: ground.began, skew_ms: AtomicI64::new(0), drift_ppm });
        let disk = SimulatedDisk::new(sync_takes);
        let dir = ground.dir.join(format!("{number}-0"));
        let state = State { disk, n_lives: 0, dir, running: None };
        Host { number, ground: ground.clone(), wall, sync_takes, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node, if one runs.
    pub(super) fn node(&self) -> Option<RaftNode> {
        self.state().running.as_ref().map(|running| running.node.clone())
    }

    /// The disk of the life that runs now.
    pub(super) fn disk(&self) -> SimulatedDisk {
        self.state().disk.clone()
    }

    /// Its disk needs so long for a sync; `None`: as when it is well.
    pub(super) fn slow_down(&self, sync_takes: Option<Duration>) {
        self.disk().set_sync_takes(sync_takes.unwrap_or(self.sync_takes));
    }

    /// Asks the members at these addresses, one after the other, to take it in, until it is a member.
    pub(super) async fn join(&self, addresses: &[String], deadline: Instant) -> bool {
        for address in addresses.iter().cycle() {
            let is_member = self.node().is_some_and(|node| node.status().is_member);
            if is_member || Instant::now() >= deadline {
                return is_member;
            }
            let Some(node) = self.node() else {
                tokio::time::sleep(JOIN_PAUSE).await;
                continue;
            };
            let asked = node.request_join_then(address, JOIN_PATIENCE, || ());
            if let Ok(Err(error)) = tokio::time::timeout(JOIN_PATIENCE, asked).await {
                self.ground.oracle.note(format_args!("host {} does not join yet: {error}", self.number));
                tokio::time::sleep(JOIN_PAUSE).await;
            }
        }
        false
    }

    /// The host gets a new identity and an empty disk: it begins the cluster, or is to join it.
    pub(super) fn set_up(&self, stage: Stage) {
        let node = NodeId(self.ground.random().next() >> 1);
        let mut state = self.state();
        state.disk = SimulatedDisk::new(self.sync_takes);
        state.n_lives += 1;
        state.dir = self.ground.dir.join(format!("{}-{}", self.number, state.n_lives));
        let identity = Identity { cluster: CLUSTER, generation: 1, node, stage };
        identity.write(&state.dir).unwrap();
        let mut clocks = self.ground.clocks();
        clocks.retain(|(host, _, _)| *host != self.number);
        clocks.push((self.number, node, self.wall.clone()));
    }

    fn options(&self, is_alive: &Arc<AtomicBool>) -> RaftOptions {
        let (ground, wall, number) = (self.ground.clone(), self.wall.clone(), self.number);
        let readings = move || {
            let clocks = ground.clocks();
            let reached = clocks.iter().filter(|(host, _, _)| ground.network.joins(number, *host));
            reached.map(|(_, node, wall)| (*node, wall.now())).collect()
        };
        let (clock, state) = (self.ground.clone(), self.state());
        RaftOptions {
            dir: state.dir.clone(),
            advertise: address(number),
            name: format!("host-{number}"),
            connect: Arc::new(Plug {
                network: self.ground.network.clone(),
                host: number,
                is_alive: is_alive.clone(),
            }),
            clock: Arc::new(move || 1_000 + clock.elapsed_ms()),
            wall: Arc::new(move || wall.now()),
            readings: Arc::new(readings),
            observer: Box::new(Watcher {
                oracle: self.ground.oracle.clone(),
                host: number,
                is_alive: is_alive.clone(),
                has_begun: false,
            }),
            timing: self.ground.timing,
            store: Store::Simulated(state.disk.clone()),
            release: Release::default(),
        }
    }

    /// Starts the node and its server.
    pub(super) async fn start(&self) {
        let is_alive = Arc::new(AtomicBool::new(true));
        let options = self.options(&is_alive);
        let node = match RaftNode::start(options, |_| Settings::at_birth([7; 16])).await {
            Ok(node) => node,
            Err(error) => {
                return self.ground.oracle.broke(GOES_ON, format_args!("host {}: {error}", self.number));
            }
        };
        self.ground.oracle.note(format_args!("host {} runs as {}", self.number, node.node_id()));
        if let Some(lost) = node.spectator() {
            self.ground.oracle.broke(GOES_ON, format_args!("host {} looks on: {lost:?}", self.number));
        }
        let service = InterceptedService::new(node.service(), |mut request: tonic::Request<()>| {
            if let Some(peer) = Peer::claimed(request.metadata()) {
                request.extensions_mut().insert(peer);
            }
            Ok(request)
        });
        let door = UnboundedReceiverStream::new(self.ground.network.listen(self.number));
        let server = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(door));
        let life = self.state().n_lives;
        let watch = watch_leads(node.clone(), life, self.ground.oracle.clone(), is_alive.clone());
        let watch = tokio::spawn(watch);
        let tasks = vec![server.abort_handle(), watch.abort_handle()];
        self.state().running = Some(Running { node, is_alive, tasks });
    }

    /// The process is killed, or, with `power`, the machine stops. False when no node runs.
    pub(super) fn crash(&self, power: bool) -> bool {
        let Some(running) = self.state().running.take() else { return false };
        running.is_alive.store(false, Ordering::Relaxed);
        running.tasks.iter().for_each(AbortHandle::abort);
        self.ground.network.close(self.number, power);
        let (oracle, number) = (&self.ground.oracle, self.number);
        let n_lost = {
            let mut state = self.state();
            let (disk, n_lost) = state.disk.crash(power, &mut self.ground.random());
            state.disk = disk;
            state.n_lives += 1;
            let next = self.ground.dir.join(format!("{number}-{}", state.n_lives));
            copy_dir(&state.dir, &next);
            state.dir = next;
            n_lost
        };
        let how = if power { "is without power" } else { "is killed" };
        oracle.note(format_args!("host {number} {how}, {n_lost} writes are lost"));
        oracle.happened(if power { "node: power lost" } else { "node: killed" });
        if n_lost > 0 {
            oracle.happened("disk: unsynced writes lost");
        }
        tokio::spawn(async move {
            let raft = running.node.inner.raft.clone();
            // Its own tasks end with it.
            drop(running);
            let _ = raft.shutdown().await;
        });
        true
    }
}

/// Tells which terms a node leads.
async fn watch_leads(node: RaftNode, life: u32, oracle: Arc<Oracle>, is_alive: Arc<AtomicBool>) {
    let mut metrics = node.inner.raft.metrics();
    let id = node.node_id();
    drop(node);
    while is_alive.load(Ordering::Relaxed) {
        let lead = {
            let seen = metrics.borrow_watched();
            (seen.state == ServerState::Leader).then_some(seen.current_term)
        };
        if let Some(term) = lead {
            oracle.leads(term, id, life);
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
