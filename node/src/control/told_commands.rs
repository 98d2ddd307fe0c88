//! Operators' commands of the past, in words.
//!
//! Not for carrying them out, nor for finding them.

use super::settings;
use bannkreis_core::change::Outcome;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::history::{GivenCommand, HistoryEntry};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::JailName;
use bannkreis_core::time::{BanTime, Timestamp};
use bannkreis_proto::v1;

/// A command for people; `name` says what a node is called.
pub(super) fn given_command(given: &GivenCommand, name: &dyn Fn(NodeId) -> String) -> v1::GivenCommand {
    let entry = HistoryEntry::Given(given.clone());
    let (outcome, n_affected, why) = match &given.outcome {
        Outcome::Done { n_affected } => (v1::CommandOutcome::Done, u64::from(*n_affected), String::new()),
        Outcome::Refused { why } => (v1::CommandOutcome::Refused, 0, why.clone()),
    };
    let by = given.op.operator();
    let (command, what) = words(given, name);
    v1::GivenCommand {
        author: by.map(|by| by.author.clone()).unwrap_or_default(),
        node: by.map(|by| name(by.node)).unwrap_or_default(),
        reason: by.map(|by| by.reason.clone()).unwrap_or_default(),
        command: command.to_owned(),
        what,
        subnet: entry.subnet().map(|subnet| subnet.to_string()).unwrap_or_default(),
        jail: entry.jail().map(JailName::to_string).unwrap_or_default(),
        outcome: outcome.into(),
        n_affected,
        why,
        command_id: by.map(|by| by.command_id.to_string()).unwrap_or_default(),
    }
}

/// The command in one word, and all of it as a part of a sentence.
fn words(given: &GivenCommand, name: &dyn Fn(NodeId) -> String) -> (&'static str, String) {
    let in_jail = |jail: Option<&JailName>| jail.map(|jail| format!(" in jail {jail}")).unwrap_or_default();
    match &given.op {
        Op::OperatorBan { target, jail, ban_time, force, .. } => {
            let length = match ban_time {
                BanTime::Ms(ms) => format!("for {}", length(*ms)),
                BanTime::Forever => "for ever".to_owned(),
            };
            let force = if *force { ", forced" } else { "" };
            ("ban", format!("ban {target}{} {length}{force}", in_jail(Some(jail))))
        }
        Op::Unban { selection, .. } => {
            let what = match selection {
                UnbanSelection::Target { target, jail } => format!("{target}{}", in_jail(jail.as_ref())),
                UnbanSelection::All { jail } => format!("all{}", in_jail(jail.as_ref())),
                UnbanSelection::ByNode { node, since } if *since == Timestamp::ZERO => {
                    format!("everything that {} has brought in, and trust it no longer", name(*node))
                }
                UnbanSelection::ByNode { node, since } => {
                    let since = length(given.at.ms_since(*since));
                    format!(
                        "what {} has brought in within {since} before, and trust it no longer",
                        name(*node)
                    )
                }
            };
            ("unban", format!("unban {what}"))
        }
        Op::Allow { entry, .. } => {
            let note = if entry.note.is_empty() { String::new() } else { format!(" ({})", entry.note) };
            let until = match entry.until.end() {
                None => String::new(),
                Some(end) => format!(" for {}", length(end.ms_since(given.at))),
            };
            ("allow", format!("allow {}{note}{until}", entry.subnet))
        }
        Op::Disallow { subnet, .. } => ("disallow", format!("take {subnet} off the allow list")),
        Op::Import { .. } => {
            let [n_bans, n_allow, n_histories] = given.n_imported;
            let what = [
                counted(n_bans, "ban", "bans"),
                counted(n_allow, "allow entry", "allow entries"),
                counted(n_histories, "history", "histories"),
            ];
            let what: Vec<String> = what.into_iter().flatten().collect();
            let what = if what.is_empty() { "nothing".to_owned() } else { what.join(", ") };
            ("import", format!("take over {what}"))
        }
        Op::Trust { node, .. } => ("trust", format!("trust {} again", name(*node))),
        Op::Revoke { node, keeps_key: true, .. } => {
            ("remove", format!("let {} leave the cluster", name(*node)))
        }
        Op::Revoke { node, .. } => ("remove", format!("take {} out of the cluster", name(*node))),
        Op::Token { expires, .. } if *expires == Timestamp::ZERO => {
            ("token", "take a join token back, or use it up".to_owned())
        }
        Op::Token { expires, .. } => {
            ("token", format!("make a join token for {}", length(expires.ms_since(given.at))))
        }
        Op::Settings { fields, .. } => {
            let fields: Vec<String> = fields.iter().map(settings::assignment).collect();
            let what = if fields.is_empty() { "nothing".to_owned() } else { fields.join(", ") };
            ("settings", format!("set {what}"))
        }
        Op::Forget { .. } => ("forget", "forget what is over about somebody".to_owned()),
        Op::Ban(_) | Op::Tick { .. } | Op::Sweep | Op::NodeSeen(_) | Op::RaiseLevel { .. } => {
            ("unknown", "unknown".to_owned())
        }
    }
}

fn counted(n: u32, one: &str, many: &str) -> Option<String> {
    (n > 0).then(|| format!("{n} {}", if n == 1 { one } else { many }))
}

/// A length of time as it is typed: `90m`, `1d`.
fn length(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let whole = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    match whole {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}
