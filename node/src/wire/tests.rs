//! Real sockets, real TLS, real Raft nodes in one process: who is let in, and who is not.

mod admission;

use super::signing::{ask_for_authority, ask_to_sign, is_voter};
use super::{Listener, PeerTable, PeersService, Security, Tls, serve};
use crate::borders::Clock;
use crate::clock::SystemClock;
use crate::pki::keyring::{Origin, adopt};
use crate::pki::sessions::{Material, Naming};
use crate::pki::{Authority, Keyring, Sessions, Subject, Who};
use bannkreis_core::command::Op;
use bannkreis_core::ids::{ClusterId, CommandId, NodeId, Operator};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::settings::Settings;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;
use bannkreis_proto::v1::peers_client::PeersClient;
use bannkreis_proto::v1::raft_client::RaftClient;
use bannkreis_raft::{
    Connect, Identity, NoObserver, RaftNode, RaftOptions, Release, Role, Store, Timing, join_info,
};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Routes;
use tonic::{Code, Request, Status};

/// What is waited for takes milliseconds; this is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
const DAY_MS: u64 = 86_400_000;

fn now() -> Timestamp {
    SystemClock::new().wall()
}

struct Node {
    dir: TempDir,
    address: String,
    raft: RaftNode,
    tls: Tls,
    _stop: watch::Sender<bool>,
}

impl Node {
    /// The node that lives in `dir`, on a free port, with certificates of its cluster's own authority.
    async fn start(dir: TempDir) -> Node {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.address().to_string();
        let tls = own_tls(dir.path());
        let clock = Arc::new(SystemClock::new());
        let (boottime, wall) = (clock.clone(), clock.clone());
        let options = RaftOptions {
            dir: dir.path().to_owned(),
            advertise: address.clone(),
            name: "kopano".to_owned(),
            connect: Arc::new(tls.clone()),
            clock: Arc::new(move || boottime.boottime_ms()),
            wall: Arc::new(move || wall.wall()),
            readings: Arc::new(Vec::new),
            observer: Box::new(NoObserver),
            timing: Timing {
                heartbeat_ms: 50,
                election_min_ms: 300,
                election_max_ms: 600,
                ..Timing::default()
            },
            store: Store::Memory,
            release: Release::default(),
        };
        let raft = RaftNode::start(options, Settings::at_birth).await.unwrap();
        let is_alone = raft.is_alone();
        let who = Who {
            cluster: raft.cluster_id(),
            generation: 1,
            former: None,
            node: raft.node_id(),
            name: "kopano".to_owned(),
            is_alone,
        };
        tls.keyring().open(who, now()).unwrap();
        tls.follow(&raft);
        let (stop, stopped) = watch::channel(false);
        let peers = PeersService {
            raft: raft.clone(),
            table: Arc::new(PeerTable::default()),
            on_notice: Arc::new(|_| {}),
            on_reports: Arc::new(|_| {}),
            clock,
            security: Security::Tls(tls.clone()),
            connect: Arc::new(tls.clone()),
            admissions: Arc::default(),
        };
        let served = raft.clone();
        tokio::spawn(async move { serve(listener, &served, peers, Routes::default(), stopped).await });
        Node { dir, address, raft, tls, _stop: stop }
    }

    /// A new cluster, whose founder has said which key is its own.
    async fn found() -> Node {
        let node = Node::start(tempfile::tempdir().unwrap()).await;
        let key_fingerprint = node.tls.keyring().fingerprint().unwrap().0.to_vec();
        let record = NodeRecord { node: node.raft.node_id(), key_fingerprint, ..NodeRecord::default() };
        node.raft.propose(vec![Op::NodeSeen(record)]).await.unwrap();
        node
    }

    /// A host that this cluster has given a certificate for the id `node`, and that has not joined.
    fn certify(&self, node: NodeId) -> Caller {
        let dir = tempfile::tempdir().unwrap();
        let tls = own_tls(dir.path());
        let request = tls.keyring().request().unwrap().unwrap();
        let subject = Subject::Node { node, name: "mx1".to_owned() };
        let signed = self.tls.keyring().sign(&request, &subject, now()).unwrap();
        adopt(dir.path(), self.raft.cluster_id(), 1, &signed).unwrap();
        let who = Who {
            cluster: self.raft.cluster_id(),
            generation: 1,
            former: None,
            node,
            name: "mx1".to_owned(),
            is_alone: false,
        };
        tls.keyring().open(who, now()).unwrap();
        Caller { dir, tls }
    }

    /// A second node: certificate first, then the identity, then the ordinary join.
    async fn join(&self) -> Node {
        let identity = Identity::for_joining(self.raft.cluster_id(), self.raft.generation()).unwrap();
        let Caller { dir, .. } = self.certify(identity.node);
        identity.write(dir.path()).unwrap();
        let node = Node::start(dir).await;
        node.raft.request_join(&self.address).await.unwrap();
        node
    }

    async fn revoke(&self, node: NodeId) {
        let operator = Operator {
            command_id: CommandId(u128::from(node.0)),
            node: self.raft.node_id(),
            author: "root".to_owned(),
            reason: "stolen".to_owned(),
        };
        self.raft.propose(vec![Op::Revoke { operator, node, keeps_key: false }]).await.unwrap();
    }

    /// What this node answers to a vote that comes over `tls` in the name of `claimed`.
    async fn ask(&self, tls: &Tls, claimed: NodeId) -> Status {
        let channel = tls.connect(&self.address, Some(self.raft.node_id())).await.unwrap();
        let request = self.signed(v1::RaftMessage::default(), claimed);
        RaftClient::new(channel).vote(request).await.unwrap_err()
    }

    fn signed<T>(&self, message: T, claimed: NodeId) -> Request<T> {
        let mut request = Request::new(message);
        let text = |text: String| AsciiMetadataValue::try_from(text).unwrap();
        let metadata = request.metadata_mut();
        metadata.insert("bannkreis-cluster", text(self.raft.cluster_id().to_string()));
        metadata.insert("bannkreis-generation", text(self.raft.generation().to_string()));
        metadata.insert("bannkreis-node", text(claimed.to_string()));
        request
    }
}

/// Somebody with a key and a certificate, and no node behind it.
struct Caller {
    dir: TempDir,
    tls: Tls,
}

fn own_tls(dir: &Path) -> Tls {
    Tls::new(Arc::new(Keyring::new(Origin::Own { state_dir: dir.to_owned(), days: 90 })))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_a_ban_list_and_each_key_is_bound() {
    let founder = Node::found().await;
    let joined = founder.join().await;
    let key = joined.tls.keyring().fingerprint().unwrap();
    until("the record", || {
        let bound = |node: &Node| {
            node.raft.view().node(joined.raft.node_id()).map(|entry| entry.record.key_fingerprint.clone())
        };
        [bound(&founder), bound(&joined)].iter().all(|bound| bound.as_deref() == Some(&key.0[..]))
    })
    .await;
    // And in the other direction: through the follower to the leader.
    let record = NodeRecord {
        node: joined.raft.node_id(),
        key_fingerprint: key.0.to_vec(),
        name: "mx1".to_owned(),
        ..NodeRecord::default()
    };
    joined.raft.propose(vec![Op::NodeSeen(record)]).await.unwrap();
    until("the new name", || {
        joined.raft.view().node(joined.raft.node_id()).is_some_and(|entry| entry.record.name == "mx1")
    })
    .await;

    // A learner may have its certificate renewed, but not the authority's key.
    let before = joined.tls.keyring().sessions().unwrap().own.serial.clone();
    let request = joined.tls.keyring().request().unwrap().unwrap();
    let signed = ask_to_sign(&joined.tls, &joined.raft, request).await.unwrap();
    joined.tls.keyring().install(&signed, now()).unwrap();
    assert_ne!(joined.tls.keyring().sessions().unwrap().own.serial, before);
    let refused = ask_for_authority(&joined.tls, &joined.raft).await.unwrap_err();
    assert!(refused.contains("does not vote"), "{refused}");

    // With a third node, all three vote, and any of them can sign.
    let third = founder.join().await;
    for node in [&joined, &third] {
        until("the vote", || is_voter(&node.raft, node.raft.node_id())).await;
        let deadline = Instant::now() + PATIENCE;
        let key = loop {
            match ask_for_authority(&node.tls, &node.raft).await {
                Ok(key) => break key,
                // The leader may be about to learn it.
                Err(why) => assert!(Instant::now() < deadline, "{why}"),
            }
        };
        node.tls.keyring().adopt_authority(key, now()).unwrap();
        node.tls.keyring().renew(now()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_authority_is_not_enough() {
    let founder = Node::found().await;
    let stranger = founder.certify(NodeId(77));
    let unknown = founder.ask(&stranger.tls, NodeId(77)).await;
    assert_eq!(unknown.code(), Code::PermissionDenied);
    assert!(unknown.message().contains("it has to join first"), "{unknown:?}");

    let in_anothers_name = founder.ask(&stranger.tls, founder.raft.node_id()).await;
    assert_eq!(in_anothers_name.code(), Code::PermissionDenied);
    assert!(in_anothers_name.message().contains("in the name of"), "{in_anothers_name:?}");

    // A certificate that names the founder, with another key.
    let pretender = founder.certify(founder.raft.node_id());
    let reached = pretender.tls.connect(&founder.address, None).await.unwrap();
    let request = founder.signed(v1::RaftMessage::default(), founder.raft.node_id());
    let refused = RaftClient::new(reached).vote(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("key of this connection is not the node"), "{refused:?}");
    drop(pretender.dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_certificate_is_no_nodes() {
    let founder = Node::found().await;
    let dir = tempfile::tempdir().unwrap();
    let tls = own_tls(dir.path());
    let request = tls.keyring().request().unwrap().unwrap();
    let subject = Subject::Client { role: Role::Viewer, name: "helpdesk".to_owned() };
    let signed = founder.tls.keyring().sign(&request, &subject, now()).unwrap();
    let key = crate::pki::HostKey::open(&dir.path().join("pki")).unwrap();
    let material = Material { authorities: signed.authority, chain: signed.certificate, key: key.pem() };
    let cluster = founder.raft.cluster_id().to_string();
    let sessions = Sessions::make(&material, Naming::Cluster(cluster)).unwrap();
    let (address, name) = (founder.address.clone(), sessions.server_name("anything").unwrap());
    let connector = TlsConnector::from(sessions.client);
    let connect = tower::service_fn(move |_: tonic::transport::Uri| {
        let (address, name, connector) = (address.clone(), name.clone(), connector.clone());
        async move { connector.connect(name, TcpStream::connect(address).await?).await.map(TokioIo::new) }
    });
    let channel = super::connect::endpoint(&founder.address).unwrap().connect_with_connector(connect).await;
    let request = founder.signed(v1::RaftMessage::default(), founder.raft.node_id());
    let refused = RaftClient::new(channel.unwrap()).vote(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("only nodes"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_and_an_ended_certificate_are_refused() {
    let founder = Node::found().await;
    let other = Node::found().await;
    let refused = join_info(&other.tls, &founder.address).await;
    assert!(refused.is_err(), "another cluster's: {refused:?}");

    // The same cluster's name, by somebody who has made an authority of that name.
    let cluster = founder.raft.cluster_id();
    let forged = Authority::make(cluster, now()).unwrap();
    let caller = certified_by(&forged, cluster, founder.raft.node_id(), now());
    assert!(join_info(&caller.tls, &founder.address).await.is_err(), "a forged authority");

    // Made a hundred days ago for ninety: the keyring would make it anew, so it is taken when it was good.
    let then = Timestamp(now().0 - 100 * DAY_MS);
    let authority = founder.tls.keyring().authority().unwrap();
    let ended = certified_by(&authority, cluster, NodeId(5), then);
    assert!(join_info(&ended.tls, &founder.address).await.is_err(), "an ended certificate");
    // And the ordinary way still works.
    let good = founder.certify(NodeId(5));
    assert_eq!(join_info(&good.tls, &founder.address).await.unwrap().cluster, cluster);
}

fn certified_by(authority: &Authority, cluster: ClusterId, node: NodeId, at: Timestamp) -> Caller {
    let dir = tempfile::tempdir().unwrap();
    let tls = own_tls(dir.path());
    let request = tls.keyring().request().unwrap().unwrap();
    let subject = Subject::Node { node, name: "mx1".to_owned() };
    let certificate = authority.sign(&request, &subject, at, 90).unwrap();
    let signed =
        crate::pki::keyring::Signed { certificate, authority: authority.certificate_pem().to_owned() };
    adopt(dir.path(), cluster, 1, &signed).unwrap();
    tls.keyring()
        .open(Who { cluster, generation: 1, former: None, node, name: "mx1".to_owned(), is_alone: false }, at)
        .unwrap();
    Caller { dir, tls }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_plain_tcp_nor_tls_1_2_gets_an_answer() {
    let founder = Node::found().await;
    let mut plain = TcpStream::connect(&founder.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert and the end, or the end at once.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer[0] == 21, "an alert at most: {answer:?}");

    let mut old = TcpStream::connect(&founder.address).await.unwrap();
    old.write_all(&client_hello_of_tls_1_2()).await.unwrap();
    let mut answer = Vec::new();
    let _ = old.read_to_end(&mut answer).await;
    // RFC 8446, 6: alert (21), fatal (2), protocol_version (70).
    assert_eq!((answer.first(), &answer[5..7]), (Some(&21), &[2, 70][..]), "{answer:?}");
}

/// RFC 5246, 7.4.1.2: TLS 1.2 and one of its cipher suites, with a group and a signature that TLS 1.3 knows
/// too, so that nothing but the version is amiss.
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let mut extensions = Vec::new();
    // supported_groups: secp256r1; signature_algorithms: ecdsa_secp256r1_sha256
    extensions.extend([0, 10, 0, 4, 0, 2, 0, 23]);
    extensions.extend([0, 13, 0, 4, 0, 2, 4, 3]);
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    // No session; TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; no compression.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let founder = Node::found().await;
    let caller = founder.certify(NodeId(77));
    let seen = |tls: Tls, address: String| async move {
        let secured = tls.reach(&address, None).await.unwrap();
        match &secured.shown {
            super::secured::Shown::Certificate(shown) => shown.serial.clone(),
            super::secured::Shown::Nothing => unreachable!("a server shows its certificate"),
        }
    };
    let before = seen(caller.tls.clone(), founder.address.clone()).await;
    let open = caller.tls.connect(&founder.address, None).await.unwrap();
    founder.tls.keyring().renew(now()).unwrap();
    let after = seen(caller.tls.clone(), founder.address.clone()).await;
    assert_ne!(before, after);
    // What was open stays open.
    RaftClient::new(open).join_info(v1::RaftJoinInfoRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_is_out_at_once_on_open_connections_too() {
    let founder = Node::found().await;
    let joined = founder.join().await;
    let node = joined.raft.node_id();
    let channel = joined.tls.connect(&founder.address, Some(founder.raft.node_id())).await.unwrap();
    // A stream without an end, as wardens have it.
    let (messages, stream) = mpsc::channel(1);
    messages.send(v1::PeerMessage { message: None }).await.unwrap();
    let request = joined.raft.sign(ReceiverStream::new(stream), Some(founder.raft.node_id()));
    let mut client = PeersClient::new(channel);
    let told = tokio::spawn(async move { client.tell(request).await });

    founder.revoke(node).await;
    let ended = tokio::time::timeout(PATIENCE, told).await.expect("the stream ends").unwrap();
    assert!(ended.is_err());
    let refused = founder.ask(&founder_sees(&joined), node).await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("was revoked"), "{refused:?}");
    // Nor does this node connect to it any more.
    let not_reached = founder.tls.connect(&joined.address, Some(node)).await.unwrap_err();
    assert!(not_reached.why.contains("was revoked"), "{not_reached}");
    drop(joined.dir);
}

/// The joined node's keys on a side that has not heard of the revocation.
fn founder_sees(joined: &Node) -> Tls {
    Tls::new(joined.tls.keyring().clone())
}
