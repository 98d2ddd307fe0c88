//! What `ban`, `unban` and other orders to the cluster have in common: an outcome per target, where it is enforced, and a random id so
//! that asking again is not doing it again.

use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, counted, listed, shown};
use bannkreis_proto::v1::{CommandOutcome, CommandResult, EnforcementState, NodeEnforcement, NodeState};
use serde_json::json;
use std::fs::File;
use std::io::Read;

/// An id for a new command.
///
/// # Errors
/// When the system has no randomness.
pub fn new_command_id() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    // random(4): never blocks, and fit for keys once the system is up.
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).map_err(|error| {
        Failure::new(Exit::Refused, format!("no id can be made for this command: /dev/urandom: {error}"))
    })?;
    Ok(u128::from_le_bytes(bytes))
}

/// The exit code of several results: what an operator must act on first.
fn exit_of(results: &[CommandResult], enforcement: &[NodeEnforcement]) -> Exit {
    let any = |wanted: CommandOutcome| results.iter().any(|result| result.outcome() == wanted);
    let is_missing = |node: &NodeEnforcement| {
        matches!(node.state(), EnforcementState::Behind | EnforcementState::Unreachable)
    };
    if any(CommandOutcome::Unknown) || any(CommandOutcome::Unspecified) {
        Exit::Unknown
    } else if any(CommandOutcome::Refused) || any(CommandOutcome::NotNow) {
        Exit::Refused
    } else if any(CommandOutcome::Done) && enforcement.iter().any(is_missing) {
        Exit::NotEverywhere
    } else {
        Exit::Done
    }
}

/// Shows what came of a command: `done` says it of one result that was done, `name` is the command's own.
pub(crate) fn show(
    name: &str,
    answered: &NodeState,
    results: &[CommandResult],
    enforcement: &[NodeEnforcement],
    done: impl Fn(&CommandResult) -> String,
    style: &Style,
) -> Shown {
    show_with("still banned as part of", name, answered, results, enforcement, done, style)
}

/// The same; `of_wider` says what a wider ban that stands means for the target.
pub(crate) fn show_with(
    of_wider: &str,
    name: &str,
    answered: &NodeState,
    results: &[CommandResult],
    enforcement: &[NodeEnforcement],
    done: impl Fn(&CommandResult) -> String,
    style: &Style,
) -> Shown {
    let exit = exit_of(results, enforcement);
    let mut text = state::lines(answered, style);
    for result in results {
        let (tone, line) = line_of(result, &done);
        style.push_line(&mut text, tone, 0, &line);
        for ban in &result.remaining {
            let what = if ban.is_wider { of_wider } else { "still banned:" };
            let (subnet, jail) = (shown(&ban.subnet), shown(&ban.jail));
            let until = style.until(ban.until_ms, answered.now_ms);
            let line = format!("{what} {subnet} in jail {jail}, {until}; to lift that:");
            style.push_line(&mut text, Tone::Plain, 2, &line);
            // Never broken: it is there to be cut and pasted.
            text.push_str(&format!("      {}\n", shown(&ban.lift_command)));
        }
        let n_more = result.n_remaining.saturating_sub(result.remaining.len() as u64);
        if n_more > 0 {
            text.push_str(&format!(
                "  and {}: see `bannkreis bans`\n",
                counted(n_more, "more ban", "more bans")
            ));
        }
    }
    if results.iter().any(|result| result.outcome() == CommandOutcome::Done) {
        text.push_str(&enforcement_lines(enforcement, style));
    }
    // The ids count on from the first one, so that is the one to repeat all of it with.
    if let (Exit::Unknown, Some(first)) = (exit, results.first()) {
        let id = shown(&first.command_id);
        let line = format!(
            "repeat `bannkreis {name}` with --id {id} and the same arguments: it is done at most once"
        );
        style.push_line(&mut text, Tone::Warn, 0, &line);
    }
    let json = json!({
        "exit_code": exit.code(),
        "state": json::state(answered),
        "results": json::results(results),
        "enforcement": json::enforcement(enforcement),
    });
    Shown { exit, text, json }
}

fn line_of(result: &CommandResult, done: &impl Fn(&CommandResult) -> String) -> (Tone, String) {
    let target = if result.target.is_empty() { "all" } else { &result.target };
    let (target, why, id) = (shown(target), shown(&result.why), shown(&result.command_id));
    match result.outcome() {
        CommandOutcome::Done if why.is_empty() => (Tone::Good, format!("{target}: {}", done(result))),
        CommandOutcome::Done => (Tone::Good, format!("{target}: {}: {why}", done(result))),
        CommandOutcome::Refused => (Tone::Bad, format!("{target}: refused: {why}")),
        CommandOutcome::NotNow => {
            (Tone::Bad, format!("{target}: not done: {why}. Nothing was changed; try again later"))
        }
        CommandOutcome::Unknown | CommandOutcome::Unspecified => {
            (Tone::Warn, format!("{target}: unknown, id {id}: {why}"))
        }
    }
}

/// Whose operators decided something for their host alone, which goes before the ban list there. What of that the
/// answering node itself has, it says in its own words.
pub(crate) fn overriding_lines(answered: &NodeState, nodes: &[NodeEnforcement], style: &Style) -> String {
    let others = nodes.iter().filter(|node| node.n_overrides > 0 && node.node_id != answered.node_id);
    let mut text = String::new();
    for node in others {
        let (name, n) = (shown(&node.name), counted(node.n_overrides, "override", "overrides"));
        let line =
            format!("{name} has {n} of its own, which go first there: `bannkreis bans` on {name} lists them");
        style.push_line(&mut text, Tone::Plain, 0, &line);
    }
    text
}

/// Who enforces, and who does not yet.
pub(crate) fn enforcement_lines(nodes: &[NodeEnforcement], style: &Style) -> String {
    let names = |wanted: EnforcementState| -> Vec<&str> {
        nodes.iter().filter(|node| node.state() == wanted).map(|node| node.name.as_str()).collect()
    };
    let enforced = names(EnforcementState::Enforced);
    let mut text = String::new();
    let mut line = |tone, line: &str| style.push_line(&mut text, tone, 0, line);
    if !enforced.is_empty() {
        line(Tone::Plain, &format!("enforced on {}", listed(&enforced)));
    }
    let behind = names(EnforcementState::Behind);
    if !behind.is_empty() {
        line(Tone::Warn, &format!("not yet enforced on {}", listed(&behind)));
    }
    let unreachable = names(EnforcementState::Unreachable);
    if !unreachable.is_empty() {
        let rest = "not reachable: enforced there when the connection is back";
        line(Tone::Warn, &format!("not enforced on {}: {rest}", listed(&unreachable)));
    }
    let others = names(EnforcementState::NotEnforcing);
    if !others.is_empty() {
        line(
            Tone::Plain,
            &format!("{} blocks nothing: a witness, an observer, or without a firewall", listed(&others)),
        );
    }
    text
}
