//! What an operator orders of the membership: a node out, a vote given or taken, another leader.
//!
//! ```text
//! operator ── Order ──▶ any member ──▶ leader: checks that a majority is left, makes one change
//! ```
//!
//! Not for what happens by itself (`voters.rs`), nor for joining (`membership.rs`).

use crate::autopilot::{Seen, VOTERS_MAX};
use crate::handle::Inner;
use crate::membership::{JoinError, change_keeping};
use crate::types::Member;
use crate::voters;
use bannkreis_core::command::Op;
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_proto::convert::EncodedOp;
use bannkreis_proto::v1;
use bannkreis_proto::v1::raft_order_response::Outcome;
use openraft::{ChangeMembers, ServerState};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// An order about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is no member any more, and its key is out.
    Remove(NodeId),
    /// It is no member any more, by its own wish.
    Leave(NodeId),
    /// It votes.
    Promote(NodeId),
    /// It votes no more, until it is promoted.
    Demote(NodeId),
    /// It leads; `None`: some other node does than the one that leads now.
    Lead(Option<NodeId>),
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Not now; given again, it may be.
    #[error("not now: {0}")]
    NotNow(String),
    /// It will not be.
    #[error("{0}")]
    Refused(String),
}

impl From<JoinError> for OrderError {
    fn from(error: JoinError) -> OrderError {
        match error {
            JoinError::Refused { why } => OrderError::Refused(why),
            JoinError::NotNow { why } => OrderError::NotNow(why),
            JoinError::Unreachable(error) => OrderError::NotNow(error.to_string()),
        }
    }
}

fn not_now<T>(why: impl Into<String>) -> Result<T, OrderError> {
    Err(OrderError::NotNow(why.into()))
}

fn refused<T>(why: impl Into<String>) -> Result<T, OrderError> {
    Err(OrderError::Refused(why.into()))
}

/// The leader carries an order out; others give it to the leader, once. `by`: whose word it is.
pub(crate) async fn carry_out_or_forward(
    inner: &Inner,
    order: &Order,
    by: &Operator,
    forwarded: bool,
) -> Result<(), OrderError> {
    if inner.metrics().state == ServerState::Leader {
        return carry_out(inner, order, by).await;
    }
    let Some((leader, address)) = inner.leader() else { return not_now("there is no leader") };
    if forwarded || leader == inner.identity.node {
        return not_now("the leader has just changed");
    }
    let client = inner.peers.client(leader, &address).await;
    let mut client = client.map_err(|error| OrderError::NotNow(error.to_string()))?;
    let answer = client.order(inner.peers.sender().sign(to_request(order, by), Some(leader))).await;
    match answer.map(|answer| answer.into_inner().outcome) {
        Ok(Some(Outcome::Done(_))) => Ok(()),
        Ok(Some(Outcome::NotNow(why))) => not_now(why),
        Ok(Some(Outcome::Refused(why))) => refused(why),
        Ok(None) => not_now("the leader's answer is of a newer release"),
        Err(status) => not_now(format!("the leader answers: {}", status.message())),
    }
}

async fn carry_out(inner: &Inner, order: &Order, by: &Operator) -> Result<(), OrderError> {
    let members = voters::seen(inner, &inner.metrics(), Instant::now());
    let find = |node| find(&members, node);
    match order {
        Order::Remove(node) => {
            match find(*node) {
                Ok(gone) => take_out(inner, &members, gone).await?,
                // It was taken out, and the answer was lost before its key was.
                Err(unknown) if !has_key(inner, *node) => return Err(unknown),
                Err(_) => {}
            }
            revoke(inner, *node, by, false).await
        }
        Order::Leave(node) => {
            if let Ok(gone) = find(*node) {
                take_out(inner, &members, gone).await?;
            }
            if has_key(inner, *node) { revoke(inner, *node, by, true).await } else { Ok(()) }
        }
        Order::Promote(node) => promote(inner, &members, find(*node)?).await,
        Order::Demote(node) => {
            let member = find(*node)?;
            if member.is_voter {
                check_majority_without(&members, member)?;
                hand_over_first(inner, member).await?;
            }
            mark(inner, member, true).await?;
            if member.is_voter {
                change_keeping(inner, ChangeMembers::RemoveVoters(BTreeSet::from([node.0])), true).await?;
            }
            Ok(())
        }
        Order::Lead(None) => voters::transfer(inner, None).await.map(drop).map_err(OrderError::Refused),
        Order::Lead(Some(node)) => {
            let member = find(*node)?;
            check_may_lead(member)?;
            if *node == inner.identity.node {
                return Ok(());
            }
            voters::transfer(inner, Some(*node)).await.map(drop).map_err(OrderError::NotNow)
        }
    }
}

fn find(members: &[Seen], node: NodeId) -> Result<&Seen, OrderError> {
    let found = members.iter().find(|member| member.node == node);
    found.ok_or_else(|| {
        OrderError::Refused(format!(
            "the node {node} is no member of the cluster: `bannkreis cluster status` shows who is"
        ))
    })
}

fn check_may_lead(member: &Seen) -> Result<(), OrderError> {
    if member.is_voter {
        return Ok(());
    }
    refused(format!("{} does not vote: `bannkreis cluster promote {}` first", member.name, member.name))
}

/// Nothing is believed of a node that is out, and its addresses are nobody's.
async fn revoke(inner: &Inner, node: NodeId, by: &Operator, keeps_key: bool) -> Result<(), OrderError> {
    let revoke = Op::Revoke { operator: by.clone(), node, keeps_key };
    match inner.propose_here(vec![EncodedOp::new(revoke)]).await {
        Ok(_) => Ok(()),
        Err(_) => not_now("it is out, but its key is not revoked yet"),
    }
}

/// Whether the cluster still believes this node's key.
fn has_key(inner: &Inner, node: NodeId) -> bool {
    inner.views.borrow().node(node).is_some_and(|entry| !entry.revoked)
}

async fn take_out(inner: &Inner, members: &[Seen], gone: &Seen) -> Result<(), OrderError> {
    check_majority_without(members, gone)?;
    hand_over_first(inner, gone).await?;
    let nodes = BTreeSet::from([gone.node.0]);
    let changes =
        if gone.is_voter { ChangeMembers::RemoveVoters(nodes) } else { ChangeMembers::RemoveNodes(nodes) };
    change_keeping(inner, changes, false).await?;
    tracing::info!("{} ({}) is no member any more", gone.name, gone.node);
    Ok(())
}

async fn promote(inner: &Inner, members: &[Seen], member: &Seen) -> Result<(), OrderError> {
    if member.is_voter {
        return Ok(());
    }
    check_room_for_a_vote(members)?;
    if !member.is_alive || !member.is_caught_up {
        return not_now(format!("{} does not answer, or has not caught up", member.name));
    }
    mark(inner, member, false).await?;
    change_keeping(inner, ChangeMembers::AddVoterIds(BTreeSet::from([member.node.0])), true).await?;
    Ok(())
}

/// With so many voters each commit waits for disks enough.
fn check_room_for_a_vote(members: &[Seen]) -> Result<(), OrderError> {
    let voters: Vec<&Seen> = members.iter().filter(|member| member.is_voter).collect();
    if voters.len() < VOTERS_MAX {
        return Ok(());
    }
    // A vote that nobody casts is the first to go.
    let remedy = match voters.iter().find(|voter| !voter.is_alive) {
        Some(silent) => {
            format!(
                "{} does not answer: `bannkreis cluster demote {}` takes its vote first",
                silent.name, silent.name
            )
        }
        None => {
            let names: Vec<&str> = voters.iter().map(|voter| &voter.name[..]).collect();
            format!("`bannkreis cluster demote NODE` takes the vote of one first; {} vote", names.join(", "))
        }
    };
    refused(format!("{VOTERS_MAX} nodes vote already, the most there can be: {remedy}"))
}

/// The cluster must still be able to agree afterwards.
fn check_majority_without(members: &[Seen], gone: &Seen) -> Result<(), OrderError> {
    if !gone.is_voter {
        return Ok(());
    }
    let left: Vec<&Seen> =
        members.iter().filter(|member| member.is_voter && member.node != gone.node).collect();
    if left.is_empty() {
        return refused(format!(
            "{} is the only voter: give another node a vote first, by `bannkreis cluster promote NODE`",
            gone.name
        ));
    }
    let dead: Vec<&str> =
        left.iter().filter(|member| !member.is_alive).map(|member| &member.name[..]).collect();
    let n_alive = left.len() - dead.len();
    if n_alive * 2 <= left.len() {
        return refused(format!(
            "without {} only {n_alive} of {} voters answer, and nothing could be agreed on any more: bring {} back, or, if \
             that host is gone for good, `bannkreis cluster remove {}` first",
            gone.name,
            left.len(),
            dead.join(" and "),
            dead.first().copied().unwrap_or_default()
        ));
    }
    Ok(())
}

/// A leader does not take itself out: the next one does.
async fn hand_over_first(inner: &Inner, member: &Seen) -> Result<(), OrderError> {
    if member.node != inner.identity.node {
        return Ok(());
    }
    match voters::transfer(inner, None).await {
        Ok(heir) => not_now(format!("{heir} takes over the lead first")),
        Err(why) => not_now(why),
    }
}

/// Writes into the membership whether an operator keeps this node from voting.
async fn mark(inner: &Inner, member: &Seen, is_demoted: bool) -> Result<(), OrderError> {
    if member.is_demoted == is_demoted {
        return Ok(());
    }
    let node = Member { address: member.address.clone(), name: member.name.clone(), is_demoted };
    let nodes = BTreeMap::from([(member.node.0, node)]);
    change_keeping(inner, ChangeMembers::SetNodes(nodes), true).await?;
    Ok(())
}

fn to_request(order: &Order, by: &Operator) -> v1::RaftOrderRequest {
    let (kind, node) = match order {
        Order::Remove(node) => (v1::RaftOrderKind::Remove, Some(*node)),
        Order::Leave(node) => (v1::RaftOrderKind::Leave, Some(*node)),
        Order::Promote(node) => (v1::RaftOrderKind::Promote, Some(*node)),
        Order::Demote(node) => (v1::RaftOrderKind::Demote, Some(*node)),
        Order::Lead(node) => (v1::RaftOrderKind::Lead, *node),
    };
    v1::RaftOrderRequest {
        kind: kind.into(),
        node: node.map_or(0, |node| node.0),
        command_id: by.command_id.0.to_be_bytes().to_vec().into(),
        author: by.author.clone(),
    }
}

/// Answers a forwarded order. `caller`: the member through which the operator asks.
pub(crate) async fn answer(
    inner: &Inner,
    request: &v1::RaftOrderRequest,
    caller: NodeId,
) -> v1::RaftOrderResponse {
    let outcome = match read(request, caller) {
        Err(why) => Outcome::Refused(why),
        Ok((order, by)) => match carry_out_or_forward(inner, &order, &by, true).await {
            Ok(()) => Outcome::Done(v1::RaftOrderDone {}),
            Err(OrderError::NotNow(why)) => Outcome::NotNow(why),
            Err(OrderError::Refused(why)) => Outcome::Refused(why),
        },
    };
    v1::RaftOrderResponse { outcome: Some(outcome) }
}

fn read(request: &v1::RaftOrderRequest, caller: NodeId) -> Result<(Order, Operator), String> {
    let node = NodeId(request.node);
    let named = || if request.node == 0 { Err("the order names no node".to_owned()) } else { Ok(node) };
    let order = match request.kind() {
        v1::RaftOrderKind::Remove => Order::Remove(named()?),
        v1::RaftOrderKind::Leave if node == caller => Order::Leave(node),
        v1::RaftOrderKind::Leave => return Err("a node may leave for itself only".to_owned()),
        v1::RaftOrderKind::Promote => Order::Promote(named()?),
        v1::RaftOrderKind::Demote => Order::Demote(named()?),
        v1::RaftOrderKind::Lead => Order::Lead((request.node != 0).then_some(node)),
        v1::RaftOrderKind::Unspecified => return Err("the order is of a newer release".to_owned()),
    };
    let id = <[u8; 16]>::try_from(&request.command_id[..]).map_err(|_| "an id has 16 bytes".to_owned())?;
    let operator = Operator {
        command_id: CommandId(u128::from_be_bytes(id)),
        node: caller,
        author: request.author.clone(),
        reason: String::new(),
    };
    Ok((order, operator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> Vec<Seen> {
        (1..)
            .zip(["kopano", "kerio", "mx1", "mx2", "mx3"])
            .map(|(node, name)| Seen::voter(node, name))
            .collect()
    }

    #[test]
    fn every_refusal_names_the_next_command() {
        let silent = |node, name| Seen { is_alive: false, ..Seen::voter(node, name) };
        let (kopano, kerio) = (Seen::voter(1, "kopano"), Seen::voter(2, "kerio"));
        let learner = Seen { is_voter: false, ..Seen::voter(3, "mx1") };
        let without = |members: &[Seen]| check_majority_without(members, &kopano);
        for (refused, command) in [
            (find(std::slice::from_ref(&kopano), NodeId(9)).map(drop), "`bannkreis cluster status`"),
            (check_may_lead(&learner), "`bannkreis cluster promote mx1`"),
            (check_room_for_a_vote(&five()), "`bannkreis cluster demote NODE`"),
            (without(&[kopano.clone(), learner]), "`bannkreis cluster promote NODE`"),
            (without(&[kopano.clone(), kerio, silent(3, "mx1")]), "`bannkreis cluster remove mx1`"),
        ] {
            let Err(OrderError::Refused(why)) = refused else { panic!("{command}: {refused:?}") };
            assert!(why.contains(command), "{why}");
        }
    }

    #[test]
    fn a_sixth_vote_is_refused_and_whose_vote_is_to_go_first_is_said() {
        let mut members = five();
        let why = check_room_for_a_vote(&members).unwrap_err().to_string();
        assert_eq!(
            why,
            "5 nodes vote already, the most there can be: `bannkreis cluster demote NODE` takes the vote of one first; \
             kopano, kerio, mx1, mx2, mx3 vote"
        );
        members[3].is_alive = false;
        let why = check_room_for_a_vote(&members).unwrap_err().to_string();
        assert!(
            why.ends_with("mx2 does not answer: `bannkreis cluster demote mx2` takes its vote first"),
            "{why}"
        );
        members[3].is_voter = false;
        assert_eq!(check_room_for_a_vote(&members), Ok(()));
    }
}
