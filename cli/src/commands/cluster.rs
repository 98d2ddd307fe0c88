//! `cluster status` and `cluster join`.

use super::state_of;
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::table::{Cell, Column, Table};
use crate::text::{Style, Tone, counted, length, listed, shown};
use bannkreis_proto::v1::{
    ClusterStatusRequest, ClusterStatusResponse, Decision, JoinRequest, JoinResponse, MemberStatus,
};
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A node that joins takes over the other cluster's bans before it answers.
const JOIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Clocks this far from cluster time are shown as trouble, in ms.
const CLOCK_AHEAD_WARN_MS: u64 = 5_000;

/// Asks how the cluster is, and shows the answer.
///
/// # Errors
/// When there is no answer.
pub async fn status(client: &mut Client, style: &Style) -> Result<Shown, Failure> {
    let answer = client::within(client::STATUS_TIMEOUT, client.cluster_status(ClusterStatusRequest {})).await;
    answer.map(|answer| show_status(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// The token that was typed, or stands in a file; empty when there is none.
///
/// # Errors
/// When the file can not be read.
pub fn token(typed: Option<&str>, file: Option<&Path>) -> Result<String, Failure> {
    let Some(file) = file else { return Ok(typed.unwrap_or_default().trim().to_owned()) };
    let read = if file == Path::new("-") {
        io::read_to_string(io::stdin().lock())
    } else {
        std::fs::read_to_string(file)
    };
    let text = read.map_err(|error| {
        Failure::new(
            Exit::Refused,
            format!("the token can not be read from {}: {error}; name another file", file.display()),
        )
    })?;
    Ok(text.trim().to_owned())
}

/// Makes the node join another cluster, and shows the answer. `token` may be empty.
///
/// # Errors
/// When there is no answer, or it is refused.
pub async fn join(
    client: &mut Client,
    address: &str,
    token: String,
    style: &Style,
) -> Result<Shown, Failure> {
    let request = JoinRequest { address: address.to_owned(), token };
    let answer = client::within(JOIN_TIMEOUT, client.join(request)).await;
    answer.map(|answer| show_join(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Shows how the cluster is.
#[must_use]
pub fn show_status(answer: &ClusterStatusResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    text.push_str(&format!("cluster {}\n", shown(&answer.cluster_id)));
    let leader = answer.members.iter().find(|member| member.is_leader);
    let leader = leader.map_or("no leader".to_owned(), |member| format!("led by {}", shown(&member.name)));
    let n_voters = answer.members.iter().filter(|member| json::role(member.role()) == "voter").count();
    text.push_str(&format!(
        "{leader}; {} of {} must agree; term {}, generation {}, level {}\n\n",
        answer.n_quorum,
        counted(n_voters as u64, "voter", "voters"),
        answer.term,
        answer.generation,
        answer.level
    ));
    let mut table = Table::new(&[
        Column::Fixed("NODE"),
        Column::Fixed("ROLE"),
        Column::Fixed("HEARD"),
        Column::Right("APPLIED"),
        Column::Right("ENFORCED"),
        Column::Wraps("ADDRESS"),
        Column::Wraps("JAILS"),
    ]);
    for member in &answer.members {
        table.row_with_note(row(member), Cell::toned(Tone::Warn, remarks(member)));
    }
    text.push_str(&table.render(style));
    if !answer.decisions.is_empty() {
        text.push('\n');
    }
    for decision in &answer.decisions {
        let [about, step, why] = [&decision.about, &decision.step, &decision.why].map(|part| shown(part));
        let line = format!("{about}: {}: {why}", step.replace('_', " "));
        style.push_line(&mut text, Tone::Plain, 0, &line);
    }
    if !answer.advice.is_empty() {
        text.push('\n');
    }
    for advice in &answer.advice {
        style.push_line(&mut text, Tone::Warn, 0, &shown(advice));
    }
    let json = json!({
        "state": json::state(&state),
        "cluster_id": answer.cluster_id,
        "generation": answer.generation,
        "term": answer.term,
        "leader_id": json::text(&answer.leader_id),
        "level": answer.level,
        "n_quorum": answer.n_quorum,
        "members": answer.members.iter().map(member_json).collect::<Value>(),
        "decisions": answer.decisions.iter().map(decision_json).collect::<Value>(),
        "advice": answer.advice,
    });
    Shown { exit: Exit::Done, text, json }
}

fn decision_json(decision: &Decision) -> Value {
    json!({ "about": decision.about, "step": decision.step, "why": decision.why })
}

fn row(member: &MemberStatus) -> Vec<Cell> {
    let heard = match (member.is_self, member.heard_ms_ago) {
        (true, _) => Cell::from("this node"),
        (false, Some(ms)) if member.is_reachable => Cell::from(format!("{} ago", length(ms))),
        (false, Some(ms)) => Cell::toned(Tone::Bad, format!("{} ago", length(ms))),
        (false, None) => Cell::toned(Tone::Bad, "never"),
    };
    let role = if member.is_leader { "leader" } else { json::role(member.role()) };
    vec![
        shown(&member.name).into(),
        role.into(),
        heard,
        position(&member.applied).into(),
        position(&member.enforced).into(),
        shown(&member.address).into(),
        shown(&member.jails.join(", ")).into(),
    ]
}

fn position(position: &str) -> String {
    if position.is_empty() { "?".to_owned() } else { shown(position) }
}

fn remarks(member: &MemberStatus) -> String {
    let mut remarks = Vec::new();
    if !member.is_self && !member.is_reachable {
        remarks.push("not reachable".to_owned());
    }
    if member.is_witness {
        remarks.push("witness: votes only".to_owned());
    }
    if member.is_untrusted {
        remarks.push("not trusted: its bans were undone".to_owned());
    }
    if let Some(ahead) = member.clock_ahead_ms.filter(|ahead| ahead.unsigned_abs() >= CLOCK_AHEAD_WARN_MS) {
        let direction = if ahead > 0 { "ahead" } else { "behind" };
        remarks.push(format!("clock {} {direction}", length(ahead.unsigned_abs())));
    }
    if member.n_overrides > 0 {
        remarks.push(counted(member.n_overrides, "override", "overrides"));
    }
    if !member.pending.is_empty() {
        remarks.push(format!("own addresses to be confirmed: {}", listed(&member.pending)));
    }
    remarks.join("; ")
}

fn member_json(member: &MemberStatus) -> Value {
    json!({
        "node_id": member.node_id,
        "name": member.name,
        "address": member.address,
        "role": json::role(member.role()),
        "is_witness": member.is_witness,
        "is_self": member.is_self,
        "is_leader": member.is_leader,
        "is_reachable": member.is_reachable,
        "heard_ms_ago": member.heard_ms_ago,
        "applied": json::text(&member.applied),
        "enforced": json::text(&member.enforced),
        "clock_ahead_ms": member.clock_ahead_ms,
        "n_overrides": member.n_overrides,
        "jails": member.jails,
        "addresses": member.addresses,
        "pending": member.pending,
        "is_untrusted": member.is_untrusted,
    })
}

/// Shows what came of joining.
#[must_use]
pub fn show_join(answer: &JoinResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    text.push_str(&style.paint(
        Tone::Good,
        &format!(
            "{} is one of {} of the cluster {} now\n",
            shown(&state.name),
            counted(u64::from(answer.n_members), "node", "nodes"),
            shown(&answer.cluster_id)
        ),
    ));
    let json = json!({
        "state": json::state(&state),
        "cluster_id": answer.cluster_id,
        "n_members": answer.n_members,
    });
    Shown { exit: Exit::Done, text, json }
}
