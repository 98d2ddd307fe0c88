//! Who belongs to the cluster: joining, changed addresses, one change at a time.
//!
//! ```text
//! stranger ── JoinInfo ──▶ any member            (is this cluster one I can join?)
//! stranger ── Join ──▶ any member ──▶ leader     (learner at once)
//! ```
//!
//! Not for who votes and who leads (`voters.rs`), nor for what an operator orders (`orders.rs`).

use crate::autopilot::Seen;
pub use crate::autopilot::VOTERS_MAX;
use crate::handle::Inner;
use crate::network::{client, connect};
use crate::peer::{Connect, ConnectError};
use crate::proposer::LocalError;
use crate::types::{Member, Metrics, TypeConfig};
use crate::voters;
use bannkreis_core::command::Op;
use bannkreis_core::ids::{ClusterId, NodeId};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_proto::convert::EncodedOp;
use bannkreis_proto::v1;
use bytes::Bytes;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, ServerState};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// Voters and learners together; more are refused.
pub const MEMBERS_MAX: usize = 25;
/// A change of the membership is tried for this long.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is refused for a moment only (another change, a fresh leader) is tried again after this long.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// Names and addresses longer than this are refused, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// What a node must know about a cluster before it asks to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinInfo {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its generation.
    pub generation: u32,
    /// The replicated level that counts there.
    pub level: u32,
    /// Voters and learners.
    pub n_members: u32,
}

/// Joining did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Nobody answers there.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// Not now; try again.
    #[error(
        "the cluster can not take in a node now: {why}; the same `bannkreis cluster join` can be given again"
    )]
    NotNow {
        /// The cause, as a sentence.
        why: String,
    },
    /// Not this node, or not this cluster.
    #[error("refused: {why}")]
    Refused {
        /// The cause, as a sentence.
        why: String,
    },
}

fn not_now(why: impl Into<String>) -> JoinError {
    JoinError::NotNow { why: why.into() }
}

fn refused(why: impl Into<String>) -> JoinError {
    JoinError::Refused { why: why.into() }
}

/// Asks the cluster at `host_port` what it is.
///
/// # Errors
/// When nobody answers there, or what answers is no bannkreis node.
pub async fn join_info(by: &dyn Connect, host_port: &str) -> Result<JoinInfo, JoinError> {
    let mut client = client(connect(by, host_port, None).await?);
    let info = client
        .join_info(v1::RaftJoinInfoRequest {})
        .await
        .map_err(|status| not_now(format!("{host_port} answers: {}", status.message())))?
        .into_inner();
    let cluster = <[u8; 16]>::try_from(&info.cluster[..])
        .map_err(|_| refused(format!("{host_port} does not say which cluster it belongs to")))?;
    Ok(JoinInfo {
        cluster: ClusterId(cluster),
        generation: info.generation,
        level: info.level,
        n_members: info.n_members,
    })
}

/// What this node answers to [`join_info`].
pub(crate) fn info(inner: &Inner) -> v1::RaftJoinInfoResponse {
    v1::RaftJoinInfoResponse {
        cluster: Bytes::copy_from_slice(&inner.identity.cluster.0),
        generation: inner.identity.generation,
        level: inner.views.borrow().level(),
        n_members: u32::try_from(members(&inner.metrics()).len()).unwrap_or(u32::MAX),
        leader: heard_leader(inner).map_or(0, |leader| leader.0),
    }
}

/// Whom this node hears leading. A leader that has lost its majority goes on calling itself so, but not here.
pub(crate) fn heard_leader(inner: &Inner) -> Option<NodeId> {
    let (leader, _) = inner.leader()?;
    (leader != inner.identity.node || inner.no_quorum_since_ms().is_none()).then_some(leader)
}

/// Whether this node may leave its own cluster for that one. Only a node that is alone may: two
/// clusters of several never mix. The one exception is its own cluster, when that goes on without it: in a newer
/// generation, or because it was taken out.
pub(crate) fn may_join(inner: &Inner, info: &JoinInfo) -> Result<(), JoinError> {
    let own = JoinInfo {
        cluster: inner.identity.cluster,
        generation: inner.identity.generation,
        level: inner.release.level_max,
        n_members: u32::try_from(members(&inner.metrics()).len()).unwrap_or(u32::MAX),
    };
    check_join(&own, is_apart(inner), info)
}

/// `own`: of this node's cluster, with the level that this release reads.
fn check_join(own: &JoinInfo, is_apart: bool, info: &JoinInfo) -> Result<(), JoinError> {
    let is_own = info.cluster == own.cluster;
    if is_own && info.generation < own.generation {
        return Err(refused(format!(
            "that node is of generation {}, this one of {}: the cluster was recovered here, and that node joins this \
             one: run `bannkreis token create` here and the command that it prints there",
            info.generation, own.generation
        )));
    }
    if is_own && info.generation == own.generation && !is_apart {
        return Err(refused(format!(
            "this node belongs to the cluster {} already: `bannkreis cluster status` shows its members",
            own.cluster
        )));
    }
    if own.n_members > 1 && !is_own {
        return Err(refused(format!(
            "this node's own cluster {} has {} members; two clusters never mix. `bannkreis cluster leave` takes this \
             node out of its cluster first",
            own.cluster, own.n_members
        )));
    }
    if info.level > own.level {
        return Err(refused(format!(
            "the cluster is at level {}, this release reads up to {}: install a newer one first, then give the same \
             `bannkreis cluster join` again",
            info.level, own.level
        )));
    }
    if info.n_members as usize >= MEMBERS_MAX {
        return Err(refused(format!(
            "the cluster has {} members, the most there can be: `bannkreis cluster remove NODE` there makes room",
            info.n_members
        )));
    }
    Ok(())
}

/// Whether a member of this node's own generation has refused it, or it looks on.
fn is_apart(inner: &Inner) -> bool {
    let is_refused = inner.apart.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    is_refused || inner.spectator.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// The request with which this node asks to be taken in, or tells a changed address.
pub(crate) fn request(inner: &Inner) -> v1::RaftJoinRequest {
    v1::RaftJoinRequest {
        node: inner.identity.node.0,
        address: inner.member.address.clone(),
        name: inner.member.name.clone(),
        level_max: inner.release.level_max,
        token: Bytes::new(),
        forwarded: false,
        // What the receiver sees on the connection counts.
        key_fingerprint: Bytes::new(),
        former: former(inner).map_or(0, |former| former.0),
    }
}

/// Under which id this host was a member, while it looks on.
fn former(inner: &Inner) -> Option<NodeId> {
    inner.spectator.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|lost| lost.former)
}

/// Reads the answer to a [`request`].
pub(crate) fn read_response(response: v1::RaftJoinResponse) -> Result<(), JoinError> {
    match response.outcome {
        Some(v1::raft_join_response::Outcome::Joined(_)) => Ok(()),
        Some(v1::raft_join_response::Outcome::NoLeader(why)) => Err(not_now(why)),
        Some(v1::raft_join_response::Outcome::Refused(why)) => Err(refused(why)),
        None => Err(not_now("the answer is of a newer release")),
    }
}

/// A node asks to be taken in: the leader does it, others ask the leader, once.
pub(crate) async fn take_in_or_forward(
    inner: &Inner,
    mut request: v1::RaftJoinRequest,
) -> Result<v1::RaftJoined, JoinError> {
    if inner.metrics().state == ServerState::Leader {
        return take_in(inner, &request).await;
    }
    let (leader, address) = inner.leader().ok_or_else(|| not_now("there is no leader"))?;
    if request.forwarded || leader == inner.identity.node {
        return Err(not_now("the leader has just changed"));
    }
    request.forwarded = true;
    let mut client = inner.peers.client(leader, &address).await?;
    let answer = client.join(inner.peers.sender().sign(request, Some(leader))).await;
    let answer = answer.map_err(|status| not_now(format!("the leader answers: {}", status.message())))?;
    match answer.into_inner().outcome {
        Some(v1::raft_join_response::Outcome::Joined(joined)) => Ok(joined),
        Some(v1::raft_join_response::Outcome::Refused(why)) => Err(refused(why)),
        Some(v1::raft_join_response::Outcome::NoLeader(why)) => Err(not_now(why)),
        None => Err(not_now("the leader's answer is of a newer release")),
    }
}

async fn take_in(inner: &Inner, request: &v1::RaftJoinRequest) -> Result<v1::RaftJoined, JoinError> {
    let _level_stays = inner.joining.read().await;
    check_request(request, inner.views.borrow().level())?;
    let metrics = inner.metrics();
    let known = members(&metrics);
    let member = Member {
        address: request.address.clone(),
        name: request.name.clone(),
        is_demoted: known.get(&request.node).is_some_and(|held| held.is_demoted),
    };
    let nodes = BTreeMap::from([(request.node, member.clone())]);
    if request.former != 0 && !known.contains_key(&request.node) {
        check_former(inner, request, &metrics)?;
    }
    if !known.contains_key(&request.node) {
        bind_key(inner, request).await?;
    }
    let index = match known.get(&request.node) {
        Some(held) if *held == member => metrics.membership_config.log_id().map_or(0, |log_id| log_id.index),
        // A node that says so itself has moved.
        Some(_) => change(inner, ChangeMembers::SetNodes(nodes)).await?,
        None if known.len() >= MEMBERS_MAX => {
            return Err(refused(format!(
                "the cluster has {MEMBERS_MAX} members, the most there can be: `bannkreis cluster remove NODE` makes room"
            )));
        }
        None => change(inner, ChangeMembers::AddNodes(nodes)).await?,
    };
    Ok(v1::RaftJoined { leader: inner.identity.node.0, index })
}

/// A host that has lost its log must be dispensable: had it helped to agree on something that the others do not
/// know, taking it in would make them forget that. And it must be the host that it says.
fn check_former(inner: &Inner, request: &v1::RaftJoinRequest, metrics: &Metrics) -> Result<(), JoinError> {
    let former = NodeId(request.former);
    let view = inner.views.borrow().clone();
    if let Some(entry) = view.node(former) {
        let bound = &entry.record.key_fingerprint;
        if entry.revoked {
            return Err(refused(format!(
                "the node {former} was revoked: `bannkreis cluster leave --force` on its host makes it a cluster of one \
                 that can join by a token"
            )));
        }
        if !bound.is_empty() && !request.key_fingerprint.is_empty() && *bound != request.key_fingerprint {
            return Err(refused(format!(
                "its key is not the one that the node {former} had: `bannkreis cluster leave --force` on it makes it a \
                 cluster of one that can join by a token"
            )));
        }
    }
    let seen = voters::seen(inner, metrics, Instant::now());
    let voters: Vec<&Seen> = seen.iter().filter(|member| member.is_voter).collect();
    let n_alive = voters.iter().filter(|voter| voter.is_alive && voter.node != former).count();
    if n_alive * 2 <= voters.len() {
        return Err(not_now(format!(
            "without the node {former}, which has lost its log, only {n_alive} of {} voters answer: bring another \
             one back first",
            voters.len()
        )));
    }
    Ok(())
}

/// Writes down which key is the new node's, before it is a member: whoever knows the membership and all
/// that precedes it knows the key.
async fn bind_key(inner: &Inner, request: &v1::RaftJoinRequest) -> Result<(), JoinError> {
    if request.key_fingerprint.is_empty() {
        return Ok(());
    }
    let record = NodeRecord {
        node: NodeId(request.node),
        name: request.name.clone(),
        address: request.address.clone(),
        key_fingerprint: request.key_fingerprint.to_vec(),
        level_max: request.level_max,
        ..NodeRecord::default()
    };
    let bound = inner.propose_here(vec![EncodedOp::new(Op::NodeSeen(record))]).await;
    bound.map(|_| ()).map_err(|error| match error {
        LocalError::NotLeader => not_now("the leader has just changed"),
        LocalError::Failed(error) => not_now(error.to_string()),
    })
}

fn check_request(request: &v1::RaftJoinRequest, level: u32) -> Result<(), JoinError> {
    let address = &request.address;
    if request.node == 0 {
        return Err(refused("a node id is never 0"));
    }
    if !matches!(request.key_fingerprint.len(), 0 | 32) {
        let length = request.key_fingerprint.len();
        return Err(refused(format!("its key's fingerprint has {length} bytes, and a SHA-256 has 32")));
    }
    if address.len() > TEXT_BYTES_MAX || request.name.len() > TEXT_BYTES_MAX {
        return Err(refused(format!("its address or its name is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
        return Err(refused(format!("its address {address:?} is not `host:port`")));
    }
    if request.level_max < level {
        return Err(refused(format!(
            "the cluster is at level {level}, the node reads up to {}: install a newer release on it first",
            request.level_max
        )));
    }
    Ok(())
}

/// Sees to it that the membership says where this node is really reached.
pub(crate) async fn keep_address(inner: &Inner) {
    let own = inner.identity.node.0;
    if members(&inner.metrics()).get(&own).is_none_or(|held| held.is_at(&inner.member)) {
        return;
    }
    let mut told = take_in_or_forward(inner, request(inner)).await.map(drop);
    // Nobody reaches this node where it is now, so it hears of no leader; the others know one.
    for (node, member) in members(&inner.metrics()) {
        if told.is_ok() {
            return;
        }
        if node != own {
            told = ask_to_take_in(inner, NodeId(node), &member.address).await;
        }
    }
    if let Err(error) = told {
        tracing::debug!(%error, "the cluster does not know this node's new address yet");
    }
}

async fn ask_to_take_in(inner: &Inner, node: NodeId, address: &str) -> Result<(), JoinError> {
    let mut client = inner.peers.client(node, address).await?;
    let answer = client.join(inner.peers.sender().sign(request(inner), Some(node))).await;
    let answer = answer.map_err(|status| not_now(format!("{address} answers: {}", status.message())))?;
    read_response(answer.into_inner())
}

/// Voters and learners.
pub(crate) fn members(metrics: &Metrics) -> BTreeMap<u64, Member> {
    metrics.membership_config.nodes().map(|(node, member)| (*node, member.clone())).collect()
}

/// One change of the membership, when no other is under way. Gives the log index of the new one.
async fn change(inner: &Inner, changes: ChangeMembers<u64, Member>) -> Result<u64, JoinError> {
    change_keeping(inner, changes, true).await
}

/// The same; `retain`: voters that vote no more stay as learners.
pub(crate) async fn change_keeping(
    inner: &Inner,
    changes: ChangeMembers<u64, Member>,
    retain: bool,
) -> Result<u64, JoinError> {
    let _turn = inner.changes.lock().await;
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    loop {
        let changed = inner.raft.change_membership(changes.clone(), retain);
        let error = match tokio::time::timeout_at(deadline, changed).await {
            Err(_) => return Err(not_now("there is no quorum to write the new membership")),
            Ok(Ok(response)) => return Ok(response.log_id.index),
            Ok(Err(error)) => error,
        };
        let leads_no_more = match &error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => forward.leader_id.is_some(),
            RaftError::Fatal(_) => true,
            RaftError::APIError(_) => false,
        };
        if leads_no_more {
            return Err(not_now(error.to_string()));
        }
        if !is_momentary(&error) {
            return Err(refused(error.to_string()));
        }
        if Instant::now() + RETRY_DELAY >= deadline {
            return Err(not_now(error.to_string()));
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

type ChangeError = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

fn is_momentary(error: &ChangeError) -> bool {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        )) => true,
        // A fresh leader has no target to name; a former one names another.
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => forward.leader_id.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::command::LEVEL;

    #[test]
    fn every_refused_join_names_the_next_command() {
        let own = JoinInfo { cluster: ClusterId([1; 16]), generation: 2, level: 2, n_members: 1 };
        let theirs = JoinInfo { cluster: ClusterId([2; 16]), ..own };
        assert_eq!(check_join(&own, false, &theirs), Ok(()));
        assert_eq!(check_join(&own, true, &own), Ok(()), "its own cluster goes on without it");
        for (own, info, command) in [
            (own, JoinInfo { generation: 1, ..own }, "`bannkreis token create`"),
            (own, own, "`bannkreis cluster status`"),
            (JoinInfo { n_members: 2, ..own }, theirs, "`bannkreis cluster leave`"),
            (own, JoinInfo { level: 3, ..theirs }, "`bannkreis cluster join`"),
            (own, JoinInfo { n_members: 25, ..theirs }, "`bannkreis cluster remove NODE`"),
        ] {
            let refused = check_join(&own, false, &info);
            let Err(JoinError::Refused { why }) = refused else { panic!("{command}: {refused:?}") };
            assert!(why.contains(command), "{why}");
        }
        assert!(not_now("there is no leader").to_string().contains("`bannkreis cluster join`"));
    }

    #[test]
    fn requests_that_make_no_sense_are_refused_by_name() {
        let good = v1::RaftJoinRequest {
            node: 5,
            address: "mx1.example:7420".to_string(),
            name: "mx1".to_string(),
            level_max: LEVEL,
            ..v1::RaftJoinRequest::default()
        };
        assert_eq!(check_request(&good, LEVEL), Ok(()));
        let with_address =
            |address: &str| v1::RaftJoinRequest { address: address.to_string(), ..good.clone() };
        for bad in ["mx1", "mx1:", ":7420", "mx1:0", "mx1:70000", "mx1:port"] {
            let why = check_request(&with_address(bad), LEVEL).unwrap_err().to_string();
            assert!(why.contains(bad), "{why}");
        }
        assert!(check_request(&v1::RaftJoinRequest { node: 0, ..good.clone() }, LEVEL).is_err());
        assert!(check_request(&good, LEVEL + 1).is_err());
        assert!(check_request(&with_address(&"x".repeat(300)), LEVEL).is_err());
    }
}
