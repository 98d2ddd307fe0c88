//! Orders about members: `cluster remove`, `promote`, `demote`, `transfer-leader`, `leave`, and `trust`.

use super::{outcome, state_of};
use crate::args::{ClusterCommand, TrustArgs};
use crate::client::{self, Client, GRACE};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, counted, shown};
use bannkreis_proto::v1::{
    CommandResponse, CommandResult, LeaveRequest, LeaveResponse, MemberOrder, OrderMemberRequest,
    OrderMemberResponse, TrustRequest,
};
use serde_json::json;
use std::time::Duration;

/// A node that leaves takes its bans along before it answers.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(120);

/// The order in a command, if it is one: what, and about whom.
#[must_use]
pub fn order_in(command: &ClusterCommand) -> Option<(MemberOrder, &str)> {
    match command {
        ClusterCommand::Remove { node } => Some((MemberOrder::Remove, node)),
        ClusterCommand::Promote { node } => Some((MemberOrder::Promote, node)),
        ClusterCommand::Demote { node } => Some((MemberOrder::Demote, node)),
        ClusterCommand::TransferLeader { node } => {
            Some((MemberOrder::TransferLeader, node.as_deref().unwrap_or_default()))
        }
        _ => None,
    }
}

/// Has an order carried out, and shows what came of it.
///
/// # Errors
/// When there is no answer, or it is refused.
pub async fn order(
    client: &mut Client,
    order: MemberOrder,
    node: &str,
    style: &Style,
) -> Result<Shown, Failure> {
    let request =
        OrderMemberRequest { order: order.into(), node: node.to_owned(), ..OrderMemberRequest::default() };
    let answer = client::within(client::ANSWER_TIMEOUT, client.order_member(request)).await;
    answer.map(|answer| show_order(order, &answer, style)).map_err(|status| client::read_failure(&status))
}

/// Makes the node leave its cluster, and shows what came of it.
///
/// # Errors
/// When there is no answer, or it is refused.
pub async fn leave(client: &mut Client, force: bool, style: &Style) -> Result<Shown, Failure> {
    let request = LeaveRequest { force, ..LeaveRequest::default() };
    let answer = client::within(LEAVE_TIMEOUT, client.leave(request)).await;
    answer.map(|answer| show_leave(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Has a node trusted again, and shows what came of it.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn trust(client: &mut Client, args: &TrustArgs, style: &Style) -> Result<Shown, Failure> {
    let id = args.waiting.id.map_or_else(outcome::new_command_id, Ok)?;
    let request = TrustRequest {
        node: args.node.clone(),
        reason: args.reason.clone().unwrap_or_default(),
        wait_ms: args.waiting.wait,
        command_id: format!("{id:032x}"),
    };
    let limit = Duration::from_millis(args.waiting.wait) + GRACE;
    let answer = client::within(limit, client.trust(request)).await;
    answer.map(|answer| show_trust(&answer, style)).map_err(|status| client::write_failure(&status, id))
}

/// Shows what came of trusting a node again.
#[must_use]
pub fn show_trust(answer: &CommandResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let done = |result: &CommandResult| {
        match result.n_affected {
        0 => "was trusted all along".to_owned(),
        _ => "trusted again; what it brings in from now on is shared. What was undone stays undone, and what it has blocked \
              meanwhile it keeps to itself"
            .to_owned(),
    }
    };
    outcome::show("cluster trust", &state, &answer.results, &answer.enforcement, done, style)
}

/// Shows what came of an order.
#[must_use]
pub fn show_order(order: MemberOrder, answer: &OrderMemberResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    let (name, leader) = (shown(&answer.name), shown(&answer.leader));
    let voters = counted(u64::from(answer.n_voters), "voter", "voters");
    let done = match order {
        MemberOrder::Remove => format!(
            "{name} is no member any more, and its key is out; {} left, {voters}",
            counted(u64::from(answer.n_members), "node", "nodes")
        ),
        MemberOrder::Promote => format!("{name} votes; {voters} now"),
        MemberOrder::Demote => {
            format!("{name} does not vote until it is promoted; {voters} now")
        }
        MemberOrder::TransferLeader | MemberOrder::Unspecified if leader.is_empty() => {
            "the leader has handed over; nobody leads yet".to_owned()
        }
        MemberOrder::TransferLeader | MemberOrder::Unspecified => format!("{leader} leads now"),
    };
    text.push_str(&style.paint(Tone::Good, &format!("{done}\n")));
    if order == MemberOrder::Remove {
        text.push_str(
            "If the host still runs: `bannkreis cluster leave --force` on it makes it a node of its own again\n",
        );
    }
    let json = json!({
        "state": json::state(&state),
        "node_id": json::text(&answer.node_id),
        "name": json::text(&answer.name),
        "leader": json::text(&answer.leader),
        "n_voters": answer.n_voters,
        "n_members": answer.n_members,
    });
    Shown { exit: Exit::Done, text, json }
}

/// Shows what came of leaving.
#[must_use]
pub fn show_leave(answer: &LeaveResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    text.push_str(&style.paint(
        Tone::Good,
        &format!(
            "{} has left the cluster {} and goes on alone, with {}\n",
            shown(&state.name),
            shown(&answer.left_cluster_id),
            counted(answer.n_bans, "ban", "bans")
        ),
    ));
    let json = json!({
        "state": json::state(&state),
        "left_cluster_id": answer.left_cluster_id,
        "cluster_id": answer.cluster_id,
        "n_bans": answer.n_bans,
    });
    Shown { exit: Exit::Done, text, json }
}
