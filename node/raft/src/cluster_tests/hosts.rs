//! Hosts that outlive their nodes, and what is asked of them over and over: sockets, files and watchers of a
//! cluster in one process. Not for what is tested (`cluster_tests`).

use super::super::*;
use crate::identity::Identity;
use crate::import::import_ops;
use crate::membership::join_info;
use crate::observer::{AppliedBatch, Observer};
use crate::options::Store;
use crate::peer::{Connect, ConnectError, Peer};
use bannkreis_core::change::{BanKey, OpResult, Outcome};
use bannkreis_core::ids::{CommandId, Operator, Position};
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::SystemTime;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};

/// Everything here happens within this time, or the test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Plain TCP.
pub(super) struct Plain;

#[tonic::async_trait]
impl Connect for Plain {
    async fn connect(&self, address: &str, _expect: Option<NodeId>) -> Result<Channel, ConnectError> {
        let failed = |why: String| ConnectError { address: address.to_string(), why };
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).map_err(|error| failed(error.to_string()))?;
        endpoint.tcp_nodelay(true).connect().await.map_err(|error| failed(error.to_string()))
    }
}

/// Counts, and checks that what it is told is in order and visible.
#[derive(Clone, Default)]
pub(super) struct Watcher {
    pub(super) seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) last: Position,
    pub(super) n_bans: usize,
    pub(super) n_installed: usize,
}

impl Observer for Watcher {
    fn applied(&mut self, batch: AppliedBatch) {
        let mut seen = self.seen.lock().unwrap();
        for entry in &batch.entries {
            assert!(entry.position > seen.last, "{} after {}", entry.position, seen.last);
            seen.last = entry.position;
        }
        assert!(batch.view.position() >= seen.last);
        seen.n_bans = batch.view.n_bans();
    }

    fn installed(&mut self, view: BanView) {
        let mut seen = self.seen.lock().unwrap();
        seen.last = view.position();
        seen.n_bans = view.n_bans();
        seen.n_installed += 1;
    }
}

pub(super) fn boottime_ms() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    1_000 + START.get_or_init(std::time::Instant::now).elapsed().as_millis() as u64
}

pub(super) fn wall() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64)
}

/// A host: a directory and an address that outlive the node on it.
pub(super) struct Host {
    pub(super) dir: TempDir,
    pub(super) address: SocketAddr,
    pub(super) watcher: Watcher,
    pub(super) running: Option<(RaftNode, Runtime)>,
    pub(super) release: Release,
    pub(super) timing: Timing,
}

/// An address that nobody listens on. Not one of those that connections go out from, for those of a test beside this one
/// may be given it before the host listens there (Documentation/networking/ip-sysctl.rst, ip_local_port_range).
async fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (first.wrapping_mul(2) + n.wrapping_mul(37)) % 20_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener.local_addr().unwrap();
        }
    }
}

impl Host {
    pub(super) async fn new() -> Host {
        let address = free_address().await;
        let dir = tempfile::tempdir().unwrap();
        let timing =
            Timing { heartbeat_ms: 50, election_min_ms: 300, election_max_ms: 600, ..Timing::default() };
        Host { dir, address, watcher: Watcher::default(), running: None, release: Release::default(), timing }
    }

    pub(super) fn options(&self) -> RaftOptions {
        RaftOptions {
            dir: self.dir.path().to_path_buf(),
            advertise: self.address.to_string(),
            name: format!("host-{}", self.address.port()),
            connect: Arc::new(Plain),
            clock: Arc::new(boottime_ms),
            wall: Arc::new(wall),
            readings: Arc::new(Vec::new),
            observer: Box::new(self.watcher.clone()),
            timing: self.timing,
            store: Store::Sled,
            release: self.release,
        }
    }

    /// Starts node and server in a runtime of their own, so that they can die as a process does.
    pub(super) async fn start(&mut self) -> RaftNode {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (options, address) = (self.options(), self.address);
        let node = runtime.spawn(async move {
            let node = RaftNode::start(options, Settings::at_birth).await.unwrap();
            let service = InterceptedService::new(node.service(), |mut request: tonic::Request<()>| {
                if let Some(peer) = Peer::claimed(request.metadata()) {
                    request.extensions_mut().insert(peer);
                }
                Ok(request)
            });
            let listener = TcpListenerStream::new(TcpListener::bind(address).await.unwrap());
            tokio::spawn(
                Server::builder().tcp_nodelay(true).add_service(service).serve_with_incoming(listener),
            );
            node
        });
        let node = node.await.unwrap();
        self.running = Some((node.clone(), runtime));
        node
    }

    pub(super) async fn stop(&mut self) {
        let (node, runtime) = self.running.take().unwrap();
        node.shutdown().await;
        runtime.shutdown_background();
    }

    /// Dies without a word: no call of `shutdown`, no answers, no closed stores.
    pub(super) async fn kill(&mut self) {
        let (node, runtime) = self.running.take().unwrap();
        let mut ended = node.life.writer.clone();
        drop(node);
        runtime.shutdown_background();
        // The kernel would free the database's lock at once; here its owner must be gone.
        tokio::time::timeout(PATIENCE, ended.wait_for(|writer| writer.has_ended)).await.unwrap().unwrap();
    }

    /// Leaves its own cluster and joins that of `other`, as the daemon does it.
    pub(super) async fn join(&mut self, other: &Host) -> RaftNode {
        let info = join_info(&Plain, &other.address.to_string()).await.unwrap();
        let (node, _) = self.running.as_ref().unwrap();
        node.may_join(&info).unwrap();
        let ops = import_ops(&node.view(), &operator(node.node_id(), u128::from(node.node_id().0) << 8));
        self.stop().await;
        std::fs::rename(self.dir.path().join("raft"), self.dir.path().join("solo")).unwrap();
        std::fs::remove_dir_all(self.dir.path().join("snapshots")).unwrap();
        Identity::for_joining(info.cluster, info.generation).unwrap().write(self.dir.path()).unwrap();
        self.watcher = Watcher::default();
        let node = self.start().await;
        assert_eq!(node.cluster_id(), info.cluster);
        assert!(!node.status().is_member);
        node.request_join(&other.address.to_string()).await.unwrap();
        let ops: Vec<Op> = ops.into_iter().map(|op| with_node(op, node.node_id())).collect();
        node.propose(ops).await.unwrap();
        node
    }
}

pub(super) fn with_node(op: Op, node: NodeId) -> Op {
    match op {
        Op::Import { mut operator, bans, allow, history } => {
            operator.node = node;
            Op::Import { operator, bans, allow, history }
        }
        other => other,
    }
}

pub(super) fn operator(node: NodeId, command_id: u128) -> Operator {
    Operator { command_id: CommandId(command_id), node, author: "test".to_string(), reason: String::new() }
}

pub(super) fn subnet(n: u32) -> Subnet {
    Subnet::host(Ipv4Addr::from(0x0909_0000 + n).into())
}

pub(super) fn ban(node: &RaftNode, n: u32) -> Op {
    Op::OperatorBan {
        operator: operator(node.node_id(), u128::from(n) + 1),
        target: subnet(n),
        jail: JailName::new("sshd").unwrap(),
        ban_time: BanTime::Ms(3_600_000),
        ports: Ports::whole_host(),
        force: false,
    }
}

pub(super) fn is_banned(node: &RaftNode, n: u32) -> bool {
    node.view().ban(&BanKey { subnet: subnet(n), jail: JailName::new("sshd").unwrap() }).is_some()
}

/// Waits for something that shows in a view or in openraft's metrics.
pub(super) async fn until(node: &RaftNode, what: &str, mut holds: impl FnMut(&RaftNode) -> bool) {
    let mut views = node.views();
    let deadline = Instant::now() + PATIENCE;
    while !holds(node) {
        assert!(Instant::now() < deadline, "{what}: {:?}", node.status());
        // What does not show in a view (who leads, who is a voter) is looked at again soon.
        let _ = tokio::time::timeout(Duration::from_millis(10), views.changed()).await;
    }
}

pub(super) async fn propose_ban(node: &RaftNode, n: u32) -> Proposed {
    let proposed = node.propose(vec![ban(node, n)]).await.unwrap();
    assert!(
        matches!(proposed.results[..], [OpResult::Operator { outcome: Outcome::Done { n_affected: 1 }, .. }]),
        "{proposed:?}"
    );
    proposed
}

/// Bans again whatever may have been lost with an answer, as the daemon's callers do.
pub(super) async fn propose_ban_patiently(node: &RaftNode, n: u32) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = node.propose(vec![ban(node, n)]).await {
        assert!(!matches!(error, ProposeError::Refused { .. }), "{error}");
        assert!(Instant::now() < deadline, "{error}");
    }
}

pub(super) async fn three() -> (Vec<Host>, Vec<RaftNode>) {
    three_of(Host::new).await
}

/// Three voters on hosts like these.
pub(super) async fn three_of(new: impl AsyncFn() -> Host) -> (Vec<Host>, Vec<RaftNode>) {
    let mut hosts = Vec::new();
    let mut nodes = Vec::new();
    for n in 0..3 {
        let mut host = new().await;
        let node = host.start().await;
        if n > 0 {
            propose_ban(&node, 1_000 + n).await;
            nodes.push(host.join(&hosts[0]).await);
        } else {
            nodes.push(node);
        }
        hosts.push(host);
    }
    until(&nodes[0], "three voters", |node| node.status().voters.len() == 3).await;
    (hosts, nodes)
}
