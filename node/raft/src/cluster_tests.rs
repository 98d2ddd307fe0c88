//! Whole nodes in one process, with real sockets, real sled and real files.

use super::*;
use crate::identity::Identity;
use crate::import::import_ops;
use crate::membership::join_info;
use crate::observer::{AppliedBatch, Observer};
use crate::options::Store;
use crate::peer::{Connect, ConnectError, Peer};
use crate::start::StartError;
use bannkreis_core::change::{BanKey, OpResult, Outcome};
use bannkreis_core::ids::{CommandId, Operator, Position};
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp, Until};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};

/// Everything here happens within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plain TCP.
struct Plain;

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
struct Watcher {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    last: Position,
    n_bans: usize,
    n_installed: usize,
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

fn boottime_ms() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    1_000 + START.get_or_init(std::time::Instant::now).elapsed().as_millis() as u64
}

fn wall() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64)
}

/// A host: a directory and an address that outlive the node on it.
struct Host {
    dir: TempDir,
    address: SocketAddr,
    watcher: Watcher,
    running: Option<(RaftNode, Runtime)>,
}

impl Host {
    async fn new() -> Host {
        // The port is free again at once and nobody else is given it: ports go round.
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        Host { dir, address, watcher: Watcher::default(), running: None }
    }

    fn options(&self) -> RaftOptions {
        RaftOptions {
            dir: self.dir.path().to_path_buf(),
            advertise: self.address.to_string(),
            name: format!("host-{}", self.address.port()),
            connect: Arc::new(Plain),
            clock: Arc::new(boottime_ms),
            wall: Arc::new(wall),
            readings: Arc::new(Vec::new),
            observer: Box::new(self.watcher.clone()),
            timing: Timing { heartbeat_ms: 50, election_min_ms: 300, election_max_ms: 600 },
            store: Store::Sled,
        }
    }

    /// Starts node and server in a runtime of their own, so that they can die as a process does.
    async fn start(&mut self) -> RaftNode {
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

    async fn stop(&mut self) {
        let (node, runtime) = self.running.take().unwrap();
        node.shutdown().await;
        runtime.shutdown_background();
    }

    /// Dies without a word: no call of `shutdown`, no answers, no closed stores.
    async fn kill(&mut self) {
        let (node, runtime) = self.running.take().unwrap();
        let mut ended = node.life.writer_ended.clone();
        drop(node);
        runtime.shutdown_background();
        // The kernel would free the database's lock at once; here its owner must be gone.
        tokio::time::timeout(PATIENCE, ended.wait_for(|ended| *ended)).await.unwrap().unwrap();
    }

    /// Leaves its own cluster and joins that of `other`, as the daemon does it.
    async fn join(&mut self, other: &Host) -> RaftNode {
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

fn with_node(op: Op, node: NodeId) -> Op {
    match op {
        Op::Import { mut operator, bans, allow, history } => {
            operator.node = node;
            Op::Import { operator, bans, allow, history }
        }
        other => other,
    }
}

fn operator(node: NodeId, command_id: u128) -> Operator {
    Operator { command_id: CommandId(command_id), node, author: "test".to_string(), reason: String::new() }
}

fn subnet(n: u32) -> Subnet {
    Subnet::host(Ipv4Addr::from(0x0909_0000 + n).into())
}

fn ban(node: &RaftNode, n: u32) -> Op {
    Op::OperatorBan {
        operator: operator(node.node_id(), u128::from(n) + 1),
        target: subnet(n),
        jail: JailName::new("sshd").unwrap(),
        ban_time: BanTime::Ms(3_600_000),
        ports: Ports::whole_host(),
        force: false,
    }
}

fn is_banned(node: &RaftNode, n: u32) -> bool {
    node.view().ban(&BanKey { subnet: subnet(n), jail: JailName::new("sshd").unwrap() }).is_some()
}

/// Waits for something that shows in a view or in openraft's metrics.
async fn until(node: &RaftNode, what: &str, mut holds: impl FnMut(&RaftNode) -> bool) {
    let mut views = node.views();
    let deadline = Instant::now() + PATIENCE;
    while !holds(node) {
        assert!(Instant::now() < deadline, "{what}: {:?}", node.status());
        // What does not show in a view (who leads, who is a voter) is looked at again soon.
        let _ = tokio::time::timeout(Duration::from_millis(10), views.changed()).await;
    }
}

async fn propose_ban(node: &RaftNode, n: u32) -> Proposed {
    let proposed = node.propose(vec![ban(node, n)]).await.unwrap();
    assert!(
        matches!(proposed.results[..], [OpResult::Operator { outcome: Outcome::Done { n_affected: 1 }, .. }]),
        "{proposed:?}"
    );
    proposed
}

/// Bans again whatever may have been lost with an answer, as the daemon's callers do.
async fn propose_ban_patiently(node: &RaftNode, n: u32) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = node.propose(vec![ban(node, n)]).await {
        assert!(!matches!(error, ProposeError::Refused { .. }), "{error}");
        assert!(Instant::now() < deadline, "{error}");
    }
}

async fn three() -> (Vec<Host>, Vec<RaftNode>) {
    let mut hosts = Vec::new();
    let mut nodes = Vec::new();
    for n in 0..3 {
        let mut host = Host::new().await;
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
    let at = Until::At(node.view().now().plus_ms(3_600_000));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_it_says_so_and_nothing_is_written() {
    let (mut hosts, nodes) = three().await;
    propose_ban(&nodes[0], 1).await;
    until(&nodes[2], "the ban", |node| is_banned(node, 1)).await;
    assert_eq!(nodes[2].status().no_quorum_since_ms, None);
    hosts[0].stop().await;
    hosts[1].stop().await;
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
    one.inner.raft.trigger().snapshot().await.unwrap();
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
    let spectator = crate::snapshot::newest_snapshot(second.dir.path()).unwrap();
    assert_eq!(spectator.n_bans(), 700);

    second.stop().await;
    let two = second.start().await;
    until(&two, "everything, after a restart", |node| node.view().n_bans() == 701).await;
    second.stop().await;
    first.stop().await;
    let one = first.start().await;
    until(&one, "everything, from snapshot and log", |node| node.view().n_bans() == 701).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_damaged_log_makes_a_spectator_and_never_a_member() {
    let mut host = Host::new().await;
    let node = host.start().await;
    propose_ban(&node, 1).await;
    drop(node);
    host.kill().await;
    let refused = |options: RaftOptions| async {
        match RaftNode::start(options, Settings::at_birth).await {
            Ok(_) => panic!("started"),
            Err(error) => error,
        }
    };
    let raft = host.dir.path().join("raft");
    let aside = host.dir.path().join("aside");
    std::fs::rename(&raft, &aside).unwrap();
    let error = refused(host.options()).await;
    assert!(
        matches!(error, StartError::Spectator { .. }) && error.to_string().contains("is missing"),
        "{error}"
    );
    // An empty database in its place is no better.
    drop(crate::sled_disk::SledDisk::open(&raft).unwrap());
    let error = refused(host.options()).await;
    assert!(
        matches!(error, StartError::Spectator { .. }) && error.to_string().contains("is empty"),
        "{error}"
    );
    std::fs::remove_dir_all(&raft).unwrap();
    // Another node's neither.
    let mut other = Host::new().await;
    other.start().await;
    other.stop().await;
    copy_dir(&other.dir.path().join("raft"), &raft);
    let error = refused(host.options()).await;
    assert!(
        matches!(error, StartError::Spectator { .. }) && error.to_string().contains("another"),
        "{error}"
    );
    std::fs::remove_dir_all(&raft).unwrap();
    // A log without an identity is nobody's.
    std::fs::rename(&aside, &raft).unwrap();
    std::fs::remove_file(host.dir.path().join("identity")).unwrap();
    let error = refused(host.options()).await;
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
