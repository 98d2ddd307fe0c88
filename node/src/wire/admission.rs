//! How a host gets into a cluster: it shows a join token and gets a certificate, before it gives up its own
//! cluster of one.
//!
//! ```text
//! host ── Admit {secret, node id, certificate request} ──▶ any member ──▶ leader
//!                             the token is used up in the replicated log, in the name of that node id
//! host ◀── certificate, authority ──
//! ```
//!
//! A host that has lost its log shows no token: its key is the one that is bound to its former id.
//!
//! A token lets one node id with one key in. Asked again for the same, the answer is the same, so that a host whose
//! join was interrupted goes on with the token it has; whoever finds the token later can do nothing with it. Not for
//! becoming a member: that is openraft's.

use super::connect::{endpoint, root_cause};
use super::listen::PeersService;
use crate::pki::authority::requested_key;
use crate::pki::join_token::hash_of;
use crate::pki::keyring::Signed;
use crate::pki::{Fingerprint, PkiError, Subject, knocking};
use bannkreis_core::change::{OpResult, Outcome};
use bannkreis_core::command::Op;
use bannkreis_core::ids::{ClusterId, CommandId, NodeId, Operator};
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;
use bannkreis_proto::v1::admit_response::Outcome as Answer;
use bannkreis_proto::v1::peers_client::PeersClient;
use bannkreis_raft::membership::MEMBERS_MAX;
use bannkreis_raft::{Connect, ConnectError, ProposeError, RaftNode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Uri};

/// A cluster that does not answer within this time is asked again later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A host that wants to come in is tried to be reached for so long.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);
/// Names and addresses longer than this are refused, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Connects to members of the cluster with this authority, from a host that has no certificate there.
#[derive(Clone, Copy, Debug)]
pub struct Knock {
    /// As the join token says.
    pub authority: Fingerprint,
}

#[tonic::async_trait]
impl Connect for Knock {
    async fn connect(&self, address: &str, _expect: Option<NodeId>) -> Result<Channel, ConnectError> {
        let failed = |why: String| ConnectError { address: address.to_owned(), why };
        let config = knocking::client_config(self.authority).map_err(|error| failed(error.to_string()))?;
        let (connector, target) = (TlsConnector::from(Arc::new(config)), address.to_owned());
        let connect = tower::service_fn(move |_: Uri| {
            let (connector, target) = (connector.clone(), target.clone());
            async move {
                // The name is not asked for: the authority in the token says which one counts.
                let name = ServerName::try_from("bannkreis").map_err(io::Error::other)?;
                let tcp = TcpStream::connect(target).await?;
                connector.connect(name, tcp).await.map(TokioIo::new)
            }
        });
        let channel = endpoint(address)?.connect_with_connector(connect).await;
        channel.map_err(|error| {
            let cause = root_cause(&error);
            failed(if cause.contains("UnknownIssuer") {
                "what answers there is no member of the cluster that the token is for: check the address and the \
                 token"
                    .to_owned()
            } else {
                cause
            })
        })
    }
}

/// Why a host was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLetIn {
    /// Asking again does not help.
    Refused(String),
    /// Asking again may help.
    NotNow(String),
}

/// A host that wants to be let in.
#[derive(Clone)]
pub struct Applicant {
    /// What its join token has for the cluster; empty without a token.
    pub secret: Vec<u8>,
    /// Who it will be. The same for every attempt with one token.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// A certificate request in DER; empty where the cluster signs nothing for it.
    pub request: Vec<u8>,
    /// The cluster of one that it would give up.
    pub from_cluster: ClusterId,
    /// `host:port` at which it will be reached.
    pub address: String,
    /// Its id until its log was lost: then its key is as good as a token.
    pub former: Option<NodeId>,
}

/// Asks the member at `address` to let a host in. What comes back is empty where there was nothing to sign.
///
/// # Errors
/// The cluster's answer, or that there was none.
pub async fn ask_to_be_let_in(
    by: &dyn Connect,
    address: &str,
    applicant: &Applicant,
) -> Result<Signed, NotLetIn> {
    let request = v1::AdmitRequest {
        secret: applicant.secret.clone().into(),
        node: applicant.node.0,
        name: applicant.name.clone(),
        request: applicant.request.clone().into(),
        from_cluster: applicant.from_cluster.0.to_vec().into(),
        address: applicant.address.clone(),
        forwarded: false,
        former: applicant.former.map_or(0, |former| former.0),
        shown_key: Vec::new().into(),
    };
    let channel = by.connect(address, None).await.map_err(|error| NotLetIn::NotNow(error.to_string()))?;
    let admitted = read(address, PeersClient::new(channel).admit(request)).await?;
    Ok(Signed { certificate: admitted.certificate_pem, authority: admitted.authority_pem })
}

async fn read(
    address: &str,
    answer: impl Future<Output = Result<tonic::Response<v1::AdmitResponse>, tonic::Status>>,
) -> Result<v1::Admitted, NotLetIn> {
    let not_now = |why: &str| Err(NotLetIn::NotNow(format!("{address} answers: {why}")));
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Err(_) => not_now("nothing, for too long"),
        Ok(Err(status)) => not_now(status.message()),
        Ok(Ok(answer)) => match answer.into_inner().outcome {
            Some(Answer::Admitted(admitted)) => Ok(admitted),
            Some(Answer::Refused(why)) => Err(NotLetIn::Refused(why)),
            Some(Answer::NotNow(why)) => Err(NotLetIn::NotNow(why)),
            None => not_now("something of a newer release: install that on this host, too"),
        },
    }
}

/// Answers a host that asks to be let in. `now`: cluster time.
pub(super) async fn admit(
    service: &PeersService,
    request: v1::AdmitRequest,
    now: Timestamp,
) -> v1::AdmitResponse {
    let outcome = match decide(service, request, now).await {
        Ok(admitted) => Answer::Admitted(admitted),
        Err(NotLetIn::Refused(why)) => Answer::Refused(why),
        Err(NotLetIn::NotNow(why)) => Answer::NotNow(why),
    };
    v1::AdmitResponse { outcome: Some(outcome) }
}

async fn decide(
    service: &PeersService,
    mut request: v1::AdmitRequest,
    now: Timestamp,
) -> Result<v1::Admitted, NotLetIn> {
    let raft = &service.raft;
    let not_now = |why: String| NotLetIn::NotNow(why);
    let from = check(&request)?;
    let (leader, address) =
        raft.leader().ok_or_else(|| not_now("the cluster has no leader now".to_owned()))?;
    if leader != raft.node_id() {
        if request.forwarded {
            return Err(not_now("the leader has just changed".to_owned()));
        }
        request.forwarded = true;
        let channel = service.connect.connect(&address, Some(leader)).await;
        let channel = channel.map_err(|error| not_now(format!("the leader is not reached: {error}")))?;
        let request = raft.sign(request, Some(leader));
        return read(&address, PeersClient::new(channel).admit(request)).await;
    }
    check_room(raft)?;
    let needs_token = service.tls().is_some_and(|tls| tls.keyring().is_own());
    let key = match needs_token {
        true => requested_key(&request.request).map_err(|PkiError(why)| NotLetIn::Refused(why))?,
        false => Fingerprint([0; 32]),
    };
    let token = match needs_token || !request.secret.is_empty() {
        _ if request.former != 0 => {
            check_former(raft, &request, key)?;
            None
        }
        true => Some(known_token(raft, &request, key, now)?),
        false => None,
    };
    // Before anything is given up, here or there: nobody could reach it as a member.
    check_reach(&request.address).await?;
    if let Some(token) = token {
        use_token(raft, &request, token).await?;
    }
    service.admissions.let_in(raft.cluster_id(), from).map_err(not_now)?;
    if !needs_token {
        return Ok(v1::Admitted::default());
    }
    let subject = Subject::Node { node: NodeId(request.node), name: request.name };
    let tls = service.tls().ok_or_else(|| not_now("this node has no key of the cluster's authority: ask a voter, which `bannkreis cluster status` there names".to_owned()))?;
    let signed = tls.keyring().sign(&request.request, &subject, service.clock.wall());
    let signed = signed.map_err(|PkiError(why)| not_now(why))?;
    tracing::info!("{subject:?} is let in");
    Ok(v1::Admitted { certificate_pem: signed.certificate, authority_pem: signed.authority })
}

fn check(request: &v1::AdmitRequest) -> Result<ClusterId, NotLetIn> {
    let refused = |why: &str| Err(NotLetIn::Refused(why.to_owned()));
    if request.node == 0 {
        return refused("a node id is never 0");
    }
    if request.name.len() > TEXT_BYTES_MAX || request.address.len() > TEXT_BYTES_MAX {
        return Err(NotLetIn::Refused(format!(
            "its name or its address is longer than {TEXT_BYTES_MAX} bytes"
        )));
    }
    match <[u8; 16]>::try_from(&request.from_cluster[..]) {
        Ok(from) => Ok(ClusterId(from)),
        Err(_) => refused("it does not say which cluster it comes from"),
    }
}

fn check_room(raft: &RaftNode) -> Result<(), NotLetIn> {
    let status = raft.status();
    if status.voters.len() + status.learners.len() >= MEMBERS_MAX {
        return Err(NotLetIn::Refused(format!(
            "the cluster has {MEMBERS_MAX} members, the most there can be: `bannkreis cluster remove NODE` makes room"
        )));
    }
    Ok(())
}

/// A host that has lost its log is known by its key: the one that is bound to its former id, shown on the
/// connection, and to be certified for the new id. Whether it is taken in is decided when it joins.
fn check_former(raft: &RaftNode, request: &v1::AdmitRequest, key: Fingerprint) -> Result<(), NotLetIn> {
    let former = NodeId(request.former);
    let view = raft.view();
    let Some(entry) = view.node(former).filter(|entry| !entry.revoked) else {
        return Err(NotLetIn::Refused(format!(
            "the node {former} is no member any more: `bannkreis cluster leave --force` on its host makes it a cluster of \
             one that can join by a token"
        )));
    };
    let bound = &entry.record.key_fingerprint[..];
    if bound != key.0 || bound != &request.shown_key[..] {
        return Err(NotLetIn::Refused(format!(
            "its key is not the one that the node {former} had: `bannkreis cluster leave --force` on it makes it a cluster \
             of one that can join by a token"
        )));
    }
    Ok(())
}

/// Whether the host really is where it says. Only asked for whoever shows a good token, where tokens count.
async fn check_reach(address: &str) -> Result<(), NotLetIn> {
    let connected = tokio::time::timeout(REACH_TIMEOUT, TcpStream::connect(address)).await;
    let why = match connected {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", REACH_TIMEOUT.as_secs()),
    };
    Err(NotLetIn::Refused(format!(
        "the cluster does not reach this host at {}: {why}. Set `advertise` (and `listen`) to an address that the other \
         nodes reach, start bannkreisd again, and join with the same token",
        address.escape_debug()
    )))
}

/// A token that the cluster knows, and the command that uses it up.
struct KnownToken {
    hash: Vec<u8>,
    command_id: CommandId,
}

fn unknown_token() -> NotLetIn {
    NotLetIn::Refused(
        "the token is not good: it was used already, has ended or was taken back; `bannkreis token create` on a \
         member makes another"
            .to_owned(),
    )
}

/// Looks the token up: a guess costs no entry in the log.
fn known_token(
    raft: &RaftNode,
    request: &v1::AdmitRequest,
    key: Fingerprint,
    now: Timestamp,
) -> Result<KnownToken, NotLetIn> {
    if request.secret.is_empty() {
        return Err(NotLetIn::Refused(
            "a token is needed: `bannkreis token create` on a member makes one, and `bannkreis cluster join \
             HOST:PORT --token TOKEN` uses it"
                .to_owned(),
        ));
    }
    let hash = hash_of(&request.secret);
    let command_id = command_id(&hash, request.node, key);
    let view = raft.view();
    let is_repeated = view.outcome(command_id).is_some();
    if !is_repeated && view.tokens().get(&hash).is_none_or(|end| *end <= now) {
        return Err(unknown_token());
    }
    Ok(KnownToken { hash, command_id })
}

/// Uses the token up for this node id with this key: the replicated log decides who was first.
async fn use_token(
    raft: &RaftNode,
    request: &v1::AdmitRequest,
    KnownToken { hash, command_id }: KnownToken,
) -> Result<(), NotLetIn> {
    let operator = Operator {
        command_id,
        node: raft.node_id(),
        author: "join".to_owned(),
        reason: format!("used by {} ({})", request.name, NodeId(request.node)),
    };
    let op = Op::Token { operator, hash, expires: Timestamp::ZERO };
    let proposed = raft.propose(vec![op]).await.map_err(|error| match error {
        ProposeError::Refused { why } => NotLetIn::Refused(why),
        error => NotLetIn::NotNow(error.to_string()),
    })?;
    match proposed.results.first() {
        Some(OpResult::Operator { outcome: Outcome::Done { n_affected: 1.. }, .. }) => Ok(()),
        _ => Err(unknown_token()),
    }
}

/// The same for every attempt of one host with one token, and another for every other.
fn command_id(hash: &[u8], node: u64, key: Fingerprint) -> CommandId {
    let digest = hash_of(&[hash, &node.to_be_bytes(), &key.0].concat());
    CommandId(digest.iter().take(16).fold(0, |id, byte| id << 8 | u128::from(*byte)))
}
