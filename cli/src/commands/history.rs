//! `history`: what was and is, the newest first: bans that are over, bans that hold, operators' commands.
//!
//! How an ended ban is told stands here for `why` as well. Not for the list of what holds now: that is `bans`.

use super::bans::since_ms;
use super::state_of;
use super::why::{evidence_json, evidence_lines};
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::table::{Cell, Column, Table};
use crate::text::{Style, Tone, counted, length, listed, shown};
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::v1::history_entry::Entry;
use bannkreis_proto::v1::{
    BanEnding, CommandOutcome, EndedBan, GivenCommand, HistoryEntry, HistoryRequest, HistoryResponse,
    NodeState, WhyBan, WhyEvidence,
};
use serde_json::{Value, json};

/// What to ask for.
///
/// # Errors
/// When `since` is neither a time nor a length of time.
pub fn request(
    target: Option<Subnet>,
    jail: Option<&JailName>,
    since: Option<&str>,
    limit: u32,
    style: &Style,
) -> Result<HistoryRequest, Failure> {
    Ok(HistoryRequest {
        target: target.map(|target| target.to_string()).unwrap_or_default(),
        jail: jail.map(ToString::to_string).unwrap_or_default(),
        since_ms: since.map(|text| since_ms(text, style)).transpose()?.unwrap_or(0),
        limit,
    })
}

/// Asks, and shows the answer.
///
/// # Errors
/// When there is no answer.
pub async fn run(client: &mut Client, request: HistoryRequest, style: &Style) -> Result<Shown, Failure> {
    let answer = client::within(client::ANSWER_TIMEOUT, client.history(request)).await;
    answer.map(|answer| show(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &HistoryResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    let columns = [
        Column::Fixed("TIME"),
        Column::Fixed("WHAT"),
        Column::Wraps("ADDRESS"),
        Column::Wraps("JAIL"),
        Column::Wraps("BY"),
    ];
    let mut table = Table::new(&columns);
    for entry in &answer.entries {
        let (cells, note) = row(entry, &state, style);
        table.row_with_note(cells, note);
    }
    if table.is_empty() && answer.past.is_empty() {
        let about =
            if answer.target.is_empty() { String::new() } else { format!(" of {}", shown(&answer.target)) };
        let kept = length(answer.retention_ms);
        let line = format!("nothing is known{about}; what is over is kept for {kept}");
        style.push_line(&mut text, Tone::Plain, 0, &line);
    } else if !table.is_empty() {
        text.push_str(&table.render(style));
    }
    for past in &answer.past {
        let times = counted(u64::from(past.n_bans), "time", "times");
        let when = format!("from {} to {}", style.time(past.last_since_ms), style.time(past.last_end_ms));
        let (subnet, jail) = (shown(&past.subnet), shown(&past.jail));
        let line = format!(
            "{subnet}: was banned {times} in jail {jail}, last {when}; this node knows no more of it, a node that \
             was a member then does"
        );
        style.push_line(&mut text, Tone::Plain, 0, &line);
    }
    if answer.has_more {
        style.push_line(&mut text, Tone::Plain, 0, "and older ones: see --limit");
    }
    Shown { exit: Exit::Done, text, json: to_json(answer, &state) }
}

fn row(entry: &HistoryEntry, state: &NodeState, style: &Style) -> (Vec<Cell>, Cell) {
    let time = style.time(entry.at_ms);
    match &entry.entry {
        Some(Entry::Live(live)) => live_row(live, time, state, style),
        Some(Entry::Ended(ended)) => {
            let what = if ended.ending() == BanEnding::Expired { "ban ended" } else { ending_word(ended) };
            let cells = cells(
                time,
                Cell::toned(Tone::Plain, what),
                &ended.subnet,
                &ended.jail,
                &ended.origins.join(", "),
            );
            let mut note = format!("{}; {}", span(ended, style), ending(ended));
            if let Some(evidence) = &ended.evidence {
                note.push_str(&format!("\n{}", because(evidence, style).join("\n")));
            }
            (cells, Cell::from(note))
        }
        Some(Entry::Given(given)) => {
            let author = format!("{} on {}", given.author, given.node);
            let tone = if given.outcome() == CommandOutcome::Refused { Tone::Warn } else { Tone::Plain };
            let cells = cells(time, Cell::toned(Tone::Plain, "command"), &given.subnet, &given.jail, &author);
            (cells, Cell::toned(tone, command(given)))
        }
        None => (cells(time, Cell::toned(Tone::Warn, "unknown"), "", "", ""), Cell::default()),
    }
}

fn live_row(live: &WhyBan, time: String, state: &NodeState, style: &Style) -> (Vec<Cell>, Cell) {
    let ban = live.ban.clone().unwrap_or_default();
    let origins: Vec<String> = ban.origins.iter().map(|origin| origin.name.clone()).collect();
    let cells = cells(time, Cell::toned(Tone::Bad, "banned"), &ban.subnet, &ban.jail, &origins.join(", "));
    let mut note = style.until(ban.until_ms, state.now_ms);
    if let Some(evidence) = &live.evidence {
        note.push_str(&format!("\n{}", because(evidence, style).join("\n")));
    }
    (cells, Cell::from(note))
}

fn cells(time: String, what: Cell, subnet: &str, jail: &str, by: &str) -> Vec<Cell> {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { shown(text) };
    vec![time.into(), what, or_dash(subnet).into(), or_dash(jail).into(), or_dash(by).into()]
}

/// What a ban was for, one line each.
fn because(evidence: &WhyEvidence, style: &Style) -> Vec<String> {
    evidence_lines(evidence, style).into_iter().map(|(_, line)| line).collect()
}

fn ending_word(ended: &EndedBan) -> &'static str {
    match ended.ending() {
        BanEnding::Expired => "ban ended",
        BanEnding::Late => "ban late",
        _ => "ban lifted",
    }
}

/// From when until when, and how long that was.
pub(crate) fn span(ended: &EndedBan, style: &Style) -> String {
    let (since, end) = (ended.since_ms, ended.end_ms);
    format!("from {} to {} ({})", style.time(since), style.time(end), length(end.saturating_sub(since)))
}

/// How a ban ended, by whom and why.
pub(crate) fn ending(ended: &EndedBan) -> String {
    let reason = if ended.reason.is_empty() { "no reason given".to_owned() } else { shown(&ended.reason) };
    let by = format!("by {} on {}: {reason}", shown(&ended.ended_by), shown(&ended.ended_on));
    match ended.ending() {
        BanEnding::Expired => "its time was over".to_owned(),
        BanEnding::Lifted => format!("lifted {by}"),
        BanEnding::Allowed => format!("lifted because it was allowed {by}"),
        BanEnding::ByNode => format!("lifted with all that its node had brought in {by}"),
        BanEnding::OwnAddress => {
            format!("lifted because {} announced it as its own address", shown(&ended.ended_on))
        }
        BanEnding::Late => {
            format!("over before the cluster could agree on it: only {} blocked", listed(&ended.origins))
        }
        BanEnding::Unspecified => "how it ended is not known".to_owned(),
    }
}

fn command(given: &GivenCommand) -> String {
    let outcome = match given.outcome() {
        CommandOutcome::Refused => format!("refused: {}", shown(&given.why)),
        _ => format!("done, {}", counted(given.n_affected, "change", "changes")),
    };
    let reason = if given.reason.is_empty() { String::new() } else { format!(" ({})", shown(&given.reason)) };
    format!("{}{reason}: {outcome}", shown(&given.what))
}

fn to_json(answer: &HistoryResponse, state: &NodeState) -> Value {
    let entry = |entry: &HistoryEntry| {
        let (kind, mut fields) = match &entry.entry {
            Some(Entry::Live(live)) => {
                let mut ban = live.ban.as_ref().map_or_else(|| json!({}), json::ban);
                ban["evidence"] = live.evidence.as_ref().map_or(Value::Null, evidence_json);
                // What kind of ban it is stands in `bans`; here all are the cluster's.
                ("banned", ban)
            }
            Some(Entry::Ended(ended)) => ("ended", ended_json(ended)),
            Some(Entry::Given(given)) => ("command", given_json(given)),
            None => ("unknown", json!({})),
        };
        fields["kind"] = Value::from(kind);
        fields["at_ms"] = Value::from(entry.at_ms);
        fields
    };
    json!({
        "state": json::state(state),
        "target": json::text(&answer.target),
        "entries": answer.entries.iter().map(entry).collect::<Value>(),
        "has_more": answer.has_more,
        "past": json::past(&answer.past),
        "retention_ms": answer.retention_ms,
    })
}

/// An ended ban, for programs.
pub(crate) fn ended_json(ended: &EndedBan) -> Value {
    let ending = match ended.ending() {
        BanEnding::Expired => "expired",
        BanEnding::Lifted => "lifted",
        BanEnding::Allowed => "allowed",
        BanEnding::ByNode => "by_node",
        BanEnding::OwnAddress => "own_address",
        BanEnding::Late => "late",
        BanEnding::Unspecified => "unknown",
    };
    json!({
        "subnet": ended.subnet,
        "jail": ended.jail,
        "since_ms": ended.since_ms,
        "end_ms": ended.end_ms,
        "count": ended.count,
        "origins": ended.origins,
        "evidence": ended.evidence.as_ref().map_or(Value::Null, evidence_json),
        "ending": ending,
        "ended_on": json::text(&ended.ended_on),
        "ended_by": json::text(&ended.ended_by),
        "reason": json::text(&ended.reason),
    })
}

fn given_json(given: &GivenCommand) -> Value {
    let outcome = if given.outcome() == CommandOutcome::Refused { "refused" } else { "done" };
    json!({
        "author": given.author,
        "node": given.node,
        "reason": json::text(&given.reason),
        "command": given.command,
        "what": given.what,
        "subnet": json::text(&given.subnet),
        "jail": json::text(&given.jail),
        "outcome": outcome,
        "n_affected": given.n_affected,
        "why": json::text(&given.why),
        "command_id": given.command_id,
    })
}
