//! The way in: who gets a certificate for a token, and what a host without one can do.

use super::{Node, now, own_tls, until};
use crate::pki::keyring::{Signed, adopt};
use crate::pki::{Fingerprint, JoinToken, Who};
use crate::wire::{Applicant, Knock, NotLetIn, ask_to_be_let_in};
use bannkreis_core::command::Op;
use bannkreis_core::ids::{ClusterId, CommandId, NodeId, Operator};
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;
use bannkreis_proto::v1::peers_client::PeersClient;
use bannkreis_proto::v1::raft_client::RaftClient;
use bannkreis_raft::{Connect, join_info};
use std::net::TcpListener;
use tempfile::TempDir;
use tonic::Code;

const HOUR_MS: u64 = 3_600_000;

impl Node {
    fn authority(&self) -> Fingerprint {
        self.tls.keyring().sessions().unwrap().authorities[0].fingerprint
    }

    /// A token that the cluster knows, until `end`; zero takes it back.
    async fn know(&self, token: &JoinToken, end: Timestamp) {
        let mut id = [0; 16];
        id.copy_from_slice(&JoinToken::make(self.authority()).unwrap().hash()[..16]);
        let operator = Operator {
            command_id: CommandId(u128::from_be_bytes(id)),
            node: self.raft.node_id(),
            author: "root".to_owned(),
            reason: String::new(),
        };
        self.raft.propose(vec![Op::Token { operator, hash: token.hash(), expires: end }]).await.unwrap();
    }

    async fn token(&self) -> JoinToken {
        let token = JoinToken::make(self.authority()).unwrap();
        self.know(&token, now().plus_ms(HOUR_MS)).await;
        token
    }
}

/// A host that wants to come in.
struct Host {
    dir: TempDir,
    applicant: Applicant,
    _listener: TcpListener,
}

impl Host {
    fn new(node: u64) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let applicant = Applicant {
            secret: Vec::new(),
            node: NodeId(node),
            name: "mx1".to_owned(),
            request: own_tls(dir.path()).keyring().request().unwrap().unwrap(),
            from_cluster: ClusterId([9; 16]),
            address: listener.local_addr().unwrap().to_string(),
        };
        Host { dir, applicant, _listener: listener }
    }

    async fn knock(&self, address: &str, token: &JoinToken) -> Result<Signed, NotLetIn> {
        let applicant = Applicant { secret: token.secret().to_vec(), ..self.applicant.clone() };
        ask_to_be_let_in(&Knock { authority: token.authority }, address, &applicant).await
    }
}

fn refusal(answer: Result<Signed, NotLetIn>) -> String {
    match answer {
        Err(NotLetIn::Refused(why)) => why,
        Err(NotLetIn::NotNow(why)) => panic!("it is not refused for good: {why}"),
        Ok(_) => panic!("it is let in"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_lets_one_host_in_and_the_same_host_again() {
    let founder = Node::found().await;
    let token = founder.token().await;
    let host = Host::new(77);
    let signed = host.knock(&founder.address, &token).await.unwrap();
    // Its answer was lost: asked again, it is let in again.
    host.knock(&founder.address, &token).await.unwrap();
    let second = Host::new(78).knock(&founder.address, &token).await;
    assert!(refusal(second).contains("used already"));
    // Nor is another key let in under its name.
    let thief = Host::new(77).knock(&founder.address, &token).await;
    assert!(refusal(thief).contains("used already"));
    assert!(founder.raft.view().tokens().is_empty());

    // And the certificate is good for the ordinary join.
    let cluster = founder.raft.cluster_id();
    adopt(host.dir.path(), cluster, &signed).unwrap();
    let tls = own_tls(host.dir.path());
    tls.keyring()
        .open(Who { cluster, node: NodeId(77), name: "mx1".to_owned(), is_alone: false }, now())
        .unwrap();
    assert_eq!(join_info(&tls, &founder.address).await.unwrap().cluster, cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hosts_with_one_token_at_the_same_moment_one_is_let_in() {
    let founder = Node::found().await;
    let token = founder.token().await;
    let hosts: Vec<Host> = (70..78).map(Host::new).collect();
    let answers =
        futures::future::join_all(hosts.iter().map(|host| host.knock(&founder.address, &token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_takes_a_token() {
    let founder = Node::found().await;
    let follower = founder.join().await;
    let token = founder.token().await;
    Host::new(77).knock(&follower.address, &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_good_token_is_refused_and_written_nowhere() {
    let founder = Node::found().await;
    let made_up = JoinToken::make(founder.authority()).unwrap();
    let ended = JoinToken::make(founder.authority()).unwrap();
    founder.know(&ended, Timestamp(1)).await;
    let taken_back = founder.token().await;
    founder.know(&taken_back, Timestamp::ZERO).await;
    let before = founder.raft.view().position();
    for token in [&made_up, &ended, &taken_back] {
        let refused = Host::new(77).knock(&founder.address, token).await;
        assert!(refusal(refused).contains("token create"));
    }
    let host = Host::new(77);
    let by = Knock { authority: founder.authority() };
    let without = ask_to_be_let_in(&by, &founder.address, &host.applicant).await;
    assert!(refusal(without).contains("a token is needed"));
    for bad in [
        Applicant { node: NodeId(0), ..host.applicant.clone() },
        Applicant { name: "x".repeat(300), ..host.applicant.clone() },
    ] {
        refusal(ask_to_be_let_in(&by, &founder.address, &bad).await);
    }
    // Nobody's own cluster.
    let mut client = PeersClient::new(by.connect(&founder.address, None).await.unwrap());
    let request = v1::AdmitRequest { node: 77, ..v1::AdmitRequest::default() };
    let answer = client.admit(request).await.unwrap().into_inner().outcome;
    assert!(matches!(answer, Some(v1::admit_response::Outcome::Refused(_))), "{answer:?}");
    assert_eq!(founder.raft.view().position(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_can_not_be_signed_says_so() {
    let founder = Node::found().await;
    let token = founder.token().await;
    let mut host = Host::new(77);
    let good = std::mem::replace(&mut host.applicant.request, b"no certificate request".to_vec());
    assert!(refusal(host.knock(&founder.address, &token).await).contains("certificate request"));
    // The token is as good as before.
    host.applicant.request = good;
    host.knock(&founder.address, &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_where_it_says_keeps_its_token() {
    let founder = Node::found().await;
    let token = founder.token().await;
    let mut host = Host::new(77);
    let right = std::mem::replace(&mut host.applicant.address, "127.0.0.1:1".to_owned());
    let refused = refusal(host.knock(&founder.address, &token).await);
    assert!(refused.contains("127.0.0.1:1") && refused.contains("`advertise`"), "{refused}");
    host.applicant.address = right;
    host.knock(&founder.address, &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_shown_to_its_own_cluster_only() {
    let founder = Node::found().await;
    let other = Node::found().await;
    let token = founder.token().await;
    let refused = join_info(&Knock { authority: token.authority }, &other.address).await.unwrap_err();
    assert!(refused.to_string().contains("no member of the cluster that the token is for"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_nothing_else_is_answered() {
    let founder = Node::found().await;
    let by = Knock { authority: founder.authority() };
    let channel = by.connect(&founder.address, None).await.unwrap();
    let request = || founder.signed(v1::RaftMessage::default(), founder.raft.node_id());
    let refused = RaftClient::new(channel.clone()).vote(request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("no certificate was shown"), "{refused:?}");
    let join = founder.signed(v1::RaftJoinRequest { node: 5, ..v1::RaftJoinRequest::default() }, NodeId(5));
    let refused = RaftClient::new(channel.clone()).join(join).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // Nor does anybody forward for others.
    let forwarded = v1::AdmitRequest { node: 77, forwarded: true, ..v1::AdmitRequest::default() };
    let refused = PeersClient::new(channel.clone()).admit(forwarded).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = PeersClient::new(channel).authority(v1::AuthorityRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_without_a_certificate_take_no_members_place() {
    let founder = Node::found().await;
    let by = Knock { authority: founder.authority() };
    let mut open = Vec::new();
    let refused = loop {
        // Each answers once, so that it surely is listed.
        let answered = match by.connect(&founder.address, None).await {
            Ok(channel) => {
                open.push(channel.clone());
                RaftClient::new(channel).join_info(v1::RaftJoinInfoRequest {}).await.is_ok()
            }
            Err(_) => false,
        };
        if !answered {
            break open.len();
        }
        assert!(open.len() < 100, "there is no end to them");
    };
    assert!(refused >= 16, "{refused}");
    let member = founder.join().await;
    until("the member", || founder.raft.view().node(member.raft.node_id()).is_some()).await;
}
