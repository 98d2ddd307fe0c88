//! The parts of answers that several commands show, as JSON.
//!
//! The shape is a promise, written down in docs/cli-json.md: fields are added, never renamed or removed.
//! Times are milliseconds since the Unix epoch, `null` where something has no end or is not known.

use bannkreis_proto::v1::{
    BanInfo, BanKind, CommandOutcome, CommandResult, EnforcementState, MemberRole, NodeEnforcement, NodeMode,
    NodeState, WhyPast,
};
use serde_json::{Value, json};

/// `null` for an empty text.
#[must_use]
pub fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::from(text) }
}

/// What every answer begins with.
#[must_use]
pub fn state(state: &NodeState) -> Value {
    let mode = match state.mode() {
        NodeMode::Enforce => "enforce",
        NodeMode::Observe => "observe",
        NodeMode::Witness => "witness",
        NodeMode::Unspecified => "unknown",
    };
    json!({
        "node_id": state.node_id,
        "name": state.name,
        "now_ms": state.now_ms,
        "now_is_estimated": state.now_is_estimated,
        "no_quorum_since_ms": state.no_quorum_since_ms,
        "unreachable": state.unreachable,
        "n_waiting": state.n_waiting,
        "mode": mode,
        "backend": state.backend,
        "applied": text(&state.applied),
        "enforced": text(&state.enforced),
        "warnings": state.warnings,
        "halted": text(&state.halted),
        "apart": text(&state.apart),
    })
}

/// A ban or block.
#[must_use]
pub fn ban(ban: &BanInfo) -> Value {
    let origins = ban
        .origins
        .iter()
        .map(|origin| json!({ "node_id": origin.node_id, "name": origin.name, "until_ms": origin.until_ms }));
    json!({
        "subnet": ban.subnet,
        "jail": text(&ban.jail),
        "kind": kind(ban.kind()),
        "since_ms": ban.since_ms,
        "until_ms": ban.until_ms,
        "count": ban.count,
        "ports": ban.ports,
        "origins": origins.collect::<Value>(),
        "damped_by": text(&ban.damped_by),
        "not_blocked_here": text(&ban.not_blocked_here),
        "note": text(&ban.note),
        "lift_command": text(&ban.lift_command),
    })
}

/// The word for a kind of block.
#[must_use]
pub fn kind(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Unspecified => "unknown",
        BanKind::Ban => "ban",
        BanKind::Waiting => "waiting",
        BanKind::Local => "local",
        BanKind::Notice => "notice",
        BanKind::OverrideBlock => "override_block",
        BanKind::OverrideRelease => "override_release",
    }
}

/// Where something is enforced.
#[must_use]
pub fn enforcement(nodes: &[NodeEnforcement]) -> Value {
    let entry = |node: &NodeEnforcement| {
        let state = match node.state() {
            EnforcementState::Unspecified => "unknown",
            EnforcementState::Enforced => "enforced",
            EnforcementState::Behind => "behind",
            EnforcementState::Unreachable => "unreachable",
            EnforcementState::NotEnforcing => "not_enforcing",
        };
        json!({
            "node_id": node.node_id,
            "name": node.name,
            "state": state,
            "enforced": text(&node.enforced),
            "n_overrides": node.n_overrides,
        })
    };
    nodes.iter().map(entry).collect()
}

/// What came of an operator's command, one entry per target.
#[must_use]
pub fn results(results: &[CommandResult]) -> Value {
    let entry = |result: &CommandResult| {
        let outcome = match result.outcome() {
            CommandOutcome::Done => "done",
            CommandOutcome::Refused => "refused",
            CommandOutcome::NotNow => "not_now",
            CommandOutcome::Unknown | CommandOutcome::Unspecified => "unknown",
        };
        let remaining = result.remaining.iter().map(|ban| {
            json!({
                "subnet": ban.subnet,
                "jail": ban.jail,
                "until_ms": ban.until_ms,
                "is_wider": ban.is_wider,
                "lift_command": ban.lift_command,
            })
        });
        json!({
            "target": text(&result.target),
            "command_id": result.command_id,
            "outcome": outcome,
            "n_affected": result.n_affected,
            "why": text(&result.why),
            "remaining": remaining.collect::<Value>(),
            "n_remaining": result.n_remaining,
        })
    };
    results.iter().map(entry).collect()
}

/// The word for a member's part in the Raft log.
#[must_use]
pub fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
        MemberRole::Unspecified => "unknown",
    }
}

/// Bans that are over, as far as the ban list remembers them.
#[must_use]
pub fn past(past: &[WhyPast]) -> Value {
    let past = past.iter().map(|past| {
        json!({
            "subnet": past.subnet,
            "jail": past.jail,
            "n_bans": past.n_bans,
            "last_since_ms": past.last_since_ms,
            "last_end_ms": past.last_end_ms,
        })
    });
    past.collect()
}
