//! `allow add`, `allow remove` and `allow list`: the cluster's allow list.

use super::{outcome, state_of};
use crate::args::{AllowAddArgs, AllowRemoveArgs};
use crate::client::{self, Client, GRACE};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::table::{Cell, Column, Table};
use crate::text::{Style, Tone, counted, length, shown};
use crate::works_from;
use bannkreis_core::time::BanTime;
use bannkreis_proto::v1::{
    AllowInfo, AllowRequest, CommandResponse, CommandResult, DisallowRequest, ListAllowedRequest, NodeState,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Has entries put on the list, and shows what came of it.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn add(client: &mut Client, args: &AllowAddArgs, style: &Style) -> Result<Shown, Failure> {
    super::check_n_targets(args.targets.len())?;
    let id = args.waiting.id.map_or_else(outcome::new_command_id, Ok)?;
    let request = AllowRequest {
        targets: args.targets.iter().map(ToString::to_string).collect(),
        allow_ms: args.length.and_then(|length| match length {
            BanTime::Ms(ms) => Some(ms),
            BanTime::Forever => None,
        }),
        note: args.note.clone().unwrap_or_default(),
        wait_ms: args.waiting.wait,
        command_id: format!("{id:032x}"),
        force: args.force,
    };
    let limit = Duration::from_millis(args.waiting.wait) + GRACE;
    let answer = client::within(limit, client.allow(request)).await;
    answer.map(|answer| show_added(&answer, style)).map_err(|status| client::write_failure(&status, id))
}

/// Has entries taken off the list, and shows what came of it.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn remove(client: &mut Client, args: &AllowRemoveArgs, style: &Style) -> Result<Shown, Failure> {
    super::check_n_targets(args.targets.len())?;
    let id = args.waiting.id.map_or_else(outcome::new_command_id, Ok)?;
    let request = DisallowRequest {
        targets: args.targets.iter().map(ToString::to_string).collect(),
        reason: args.reason.clone().unwrap_or_default(),
        wait_ms: args.waiting.wait,
        command_id: format!("{id:032x}"),
        force: args.force,
        works_from: works_from::addresses(),
    };
    let limit = Duration::from_millis(args.waiting.wait) + GRACE;
    let answer = client::within(limit, client.disallow(request)).await;
    answer.map(|answer| show_removed(&answer, style)).map_err(|status| client::write_failure(&status, id))
}

/// Asks for the list, and shows it.
///
/// # Errors
/// When there is no answer, or it breaks off.
pub async fn list(client: &mut Client, style: &Style) -> Result<Shown, Failure> {
    let asked = client::within(client::ANSWER_TIMEOUT, client.list_allowed(ListAllowedRequest {})).await;
    let mut stream = asked.map_err(|status| client::read_failure(&status))?;
    let (mut answered, mut entries) = (NodeState::default(), Vec::new());
    while let Some(part) = stream.message().await.map_err(|status| client::read_failure(&status))? {
        if let Some(told) = part.state {
            answered = told;
        }
        entries.extend(part.entries);
    }
    Ok(show_list(&answered, &entries, style))
}

/// Shows what came of `allow add`.
#[must_use]
pub fn show_added(answer: &CommandResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let done = |result: &CommandResult| match result.n_affected {
        0 => "allowed".to_owned(),
        n => format!("allowed ({} lifted)", counted(n, "ban", "bans")),
    };
    let of_wider = "its packets pass, although it is part of the ban of";
    outcome::show_with(of_wider, "allow add", &state, &answer.results, &answer.enforcement, done, style)
}

/// Shows what came of `allow remove`.
#[must_use]
pub fn show_removed(answer: &CommandResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let done = |_: &CommandResult| "not allowed any more; bans that it lifted do not come back".to_owned();
    let of_wider = "banned as part of";
    outcome::show_with(of_wider, "allow remove", &state, &answer.results, &answer.enforcement, done, style)
}

/// Shows the list.
#[must_use]
pub fn show_list(answered: &NodeState, entries: &[AllowInfo], style: &Style) -> Shown {
    let mut text = state::lines(answered, style);
    if entries.is_empty() {
        text.push_str("nothing is allowed: `bannkreis allow add TARGET` makes an entry\n");
    } else {
        let mut table = Table::new(&[
            Column::Fixed("SUBNET"),
            Column::Fixed("LEFT"),
            Column::Wraps("BY"),
            Column::Fixed("THROUGH"),
            Column::Wraps("NOTE"),
        ]);
        for entry in entries {
            table.row(row(entry, answered.now_ms));
        }
        text.push_str(&table.render(style));
    }
    let json = json!({
        "state": json::state(answered),
        "entries": entries.iter().map(entry_json).collect::<Value>(),
    });
    Shown { exit: Exit::Done, text, json }
}

fn row(entry: &AllowInfo, now_ms: u64) -> Vec<Cell> {
    let left = entry.until_ms.map_or("for ever".to_owned(), |end| length(end.saturating_sub(now_ms)));
    let note = if entry.note.is_empty() { Cell::toned(Tone::Plain, "-") } else { shown(&entry.note).into() };
    vec![
        shown(&entry.subnet).into(),
        left.into(),
        shown(&entry.author).into(),
        shown(&entry.node).into(),
        note,
    ]
}

fn entry_json(entry: &AllowInfo) -> Value {
    json!({
        "subnet": entry.subnet,
        "note": json::text(&entry.note),
        "author": entry.author,
        "node": entry.node,
        "until_ms": entry.until_ms,
    })
}
