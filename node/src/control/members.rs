//! Orders about members: `cluster remove`, `promote`, `demote`, `transfer-leader`, `leave`, and `trust`.
//!
//! The leader decides whether one can be carried out; `trust` stands in the ban list and changes no membership. Not for
//! joining (`status`), nor for tokens.

use super::answers::Snapshot;
use super::commands::Given;
use super::{MemberFacts, MemberOrder, NodeApi, OrderFailure, Peer, commands, enforcement};
use bannkreis_core::command::Op;
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_proto::v1;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// How long is waited when nobody says, in ms: an election is within it.
const WAIT_DEFAULT_MS: u64 = 15_000;
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Executes `cluster remove|promote|demote|transfer-leader`.
pub(super) async fn order(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::OrderMemberRequest,
) -> Result<v1::OrderMemberResponse, Status> {
    let wait_ms = if request.wait_ms == 0 { WAIT_DEFAULT_MS } else { request.wait_ms };
    let deadline = commands::deadline(wait_ms)?;
    let before = Snapshot::take_counts(api).await?;
    let order = read(&before, &request)?;
    let by = operator(peer, &request.command_id)?;
    carry_out(api, order, &by, deadline).await?;
    let after = settled(api, order, deadline).await?;
    let about = order.node();
    let n_voters = after.cluster.members.iter().filter(|member| member.is_voter).count();
    Ok(v1::OrderMemberResponse {
        state: Some(after.state()),
        node_id: about.map(|node| node.to_string()).unwrap_or_default(),
        name: about.map(|node| before.names.name(node)).unwrap_or_default(),
        leader: after.cluster.leader.map(|leader| after.names.name(leader)).unwrap_or_default(),
        n_voters: u32::try_from(n_voters).unwrap_or(u32::MAX),
        n_members: u32::try_from(after.cluster.members.len()).unwrap_or(u32::MAX),
    })
}

/// Executes `cluster leave`.
pub(super) async fn leave(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::LeaveRequest,
) -> Result<v1::LeaveResponse, Status> {
    let left = api.cluster().cluster;
    let by = operator(peer, &request.command_id)?;
    api.leave(by, request.force).await.map_err(Status::failed_precondition)?;
    let after = Snapshot::take_counts(api).await?;
    let n_bans = after.view.bans().filter(|(_, ban)| !ban.until.is_over(after.now.cluster)).count();
    Ok(v1::LeaveResponse {
        state: Some(after.state()),
        left_cluster_id: left.to_string(),
        cluster_id: after.cluster.cluster.to_string(),
        n_bans: n_bans as u64,
    })
}

/// Executes `cluster trust`.
pub(super) async fn trust(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::TrustRequest,
) -> Result<v1::CommandResponse, Status> {
    let deadline = commands::deadline(request.wait_ms)?;
    let before = Snapshot::take_counts(api).await?;
    let node = resolve(&before, &request.node)?;
    let given = Given::by(peer, &request.command_id, &request.reason)?;
    let op = Op::Trust { operator: given.operator(0), node };
    let (settled, position) = commands::commit(api, std::slice::from_ref(&op), deadline).await;
    enforcement::wait(api, position, deadline).await;
    let after = Snapshot::take_counts(api).await?;
    let name = after.names.name(node);
    let results = settled.into_iter().map(|settled| commands::result(name.clone(), &op, settled));
    Ok(v1::CommandResponse {
        state: Some(after.state()),
        results: results.collect(),
        enforcement: enforcement::list(&after, position),
    })
}

fn operator(peer: &Peer, command_id: &str) -> Result<Operator, Status> {
    Ok(Operator {
        command_id: CommandId(commands::new_or_given_id(command_id)?),
        node: peer.node_id,
        author: peer.author.clone(),
        reason: String::new(),
    })
}

fn read(before: &Snapshot, request: &v1::OrderMemberRequest) -> Result<MemberOrder, Status> {
    let named = || resolve(before, &request.node);
    let own = before.node.node;
    match request.order() {
        v1::MemberOrder::Remove => match named()? {
            node if node == own => Err(Status::invalid_argument(format!(
                "{} is the node that you ask: `bannkreis cluster leave` takes it out, and it goes on alone with all \
                 bans",
                before.node.name
            ))),
            node => Ok(MemberOrder::Remove(node)),
        },
        v1::MemberOrder::Promote => Ok(MemberOrder::Promote(named()?)),
        v1::MemberOrder::Demote => Ok(MemberOrder::Demote(named()?)),
        v1::MemberOrder::TransferLeader if request.node.is_empty() => {
            // Said once: were it asked again, the next leader would hand over as well.
            Ok(MemberOrder::Lead { from: before.cluster.leader, to: None })
        }
        v1::MemberOrder::TransferLeader => {
            Ok(MemberOrder::Lead { from: before.cluster.leader, to: Some(named()?) })
        }
        v1::MemberOrder::Unspecified => {
            Err(Status::invalid_argument("the order is of a newer release: update this node first"))
        }
    }
}

/// The node that `text` names or numbers: members first, because a host that was replaced leaves its name behind.
fn resolve(before: &Snapshot, text: &str) -> Result<NodeId, Status> {
    let members = &before.cluster.members;
    let is_meant = |member: &&MemberFacts| before.names.name(member.node) == text;
    let mut meant = members.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(member), None) => Ok(member.node),
        _ => before.names.resolve(text),
    }
}

async fn carry_out(
    api: &dyn NodeApi,
    order: MemberOrder,
    by: &Operator,
    deadline: Instant,
) -> Result<(), Status> {
    loop {
        if is_done(api, order) {
            return Ok(());
        }
        match tokio::time::timeout_at(deadline, api.order(order, by)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(OrderFailure::Refused { why })) => return Err(Status::failed_precondition(why)),
            Ok(Err(OrderFailure::NotNow { why })) if Instant::now() + RETRY_PAUSE >= deadline => {
                return Err(Status::failed_precondition(format!(
                    "not done: {why}; `bannkreis cluster status` shows how the members are, and the command can be given \
                     again"
                )));
            }
            Ok(Err(OrderFailure::NotNow { .. })) => tokio::time::sleep(RETRY_PAUSE).await,
            Err(_) => {
                return Err(Status::failed_precondition(
                    "no answer in time; `bannkreis cluster status` shows what has become of it, and the command can \
                     be given again",
                ));
            }
        }
    }
}

/// Whether somebody else leads already: the word of the leader that handed over may be lost.
fn is_done(api: &dyn NodeApi, order: MemberOrder) -> bool {
    match (order, api.cluster().leader) {
        (MemberOrder::Lead { to: Some(to), .. }, Some(leader)) => leader == to,
        (MemberOrder::Lead { from: Some(from), to: None }, Some(leader)) => leader != from,
        _ => false,
    }
}

/// What this node sees when the order's effect has reached it, or when the time is over.
async fn settled(api: &dyn NodeApi, order: MemberOrder, deadline: Instant) -> Result<Snapshot, Status> {
    loop {
        let seen = api.cluster();
        let find = |node| seen.members.iter().find(|member| member.node == node);
        let is_seen = match order {
            MemberOrder::Remove(node) => find(node).is_none(),
            MemberOrder::Promote(node) => find(node).is_some_and(|member| member.is_voter),
            MemberOrder::Demote(node) => find(node).is_some_and(|member| !member.is_voter),
            MemberOrder::Lead { .. } => is_done(api, order),
        };
        if is_seen || Instant::now() + RETRY_PAUSE >= deadline {
            return Snapshot::take_counts(api).await;
        }
        tokio::time::sleep(RETRY_PAUSE / 10).await;
    }
}
