//! `status`: how this node and its jails are.

use super::state_of;
use crate::client::{self, Client};
use crate::commands::bans::{n_bans, ports_of};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::table::{Cell, Column, Table};
use crate::text::{Style, Tone, counted, length, shown, wrapped};
use bannkreis_proto::v1::{JailStatus, NodeMode, StatusRequest, StatusResponse};
use serde_json::{Value, json};

/// Asks, and shows the answer.
///
/// # Errors
/// When there is no answer, or no such jail.
pub async fn run(client: &mut Client, jail: Option<&str>, style: &Style) -> Result<Shown, Failure> {
    let request = StatusRequest { jail: jail.unwrap_or_default().to_owned() };
    let answer = client::within(client::STATUS_TIMEOUT, client.status(request)).await;
    let answer = answer.map_err(|status| client::read_failure(&status))?;
    Ok(show(&answer, jail.is_some(), style))
}

/// Shows an answer; about one jail in detail.
#[must_use]
pub fn show(answer: &StatusResponse, about_one: bool, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    if about_one {
        for jail in &answer.jails {
            text.push_str(&one_jail(jail, style));
        }
    } else {
        text.push_str(&overview(answer, style));
    }
    let json = json!({
        "state": json::state(&state),
        "version": answer.version,
        "uptime_ms": answer.uptime_ms,
        "n_bans": answer.n_bans,
        "n_blocked": answer.n_blocked,
        "n_overrides": answer.n_overrides,
        "leader": json::text(&answer.leader),
        "n_members": answer.n_members,
        "firewall": json::text(&answer.firewall),
        "jails": answer.jails.iter().map(|jail| jail_json(jail, about_one)).collect::<Value>(),
    });
    Shown { exit: Exit::Done, text, json }
}

fn overview(answer: &StatusResponse, style: &Style) -> String {
    let state = state_of(answer.state.as_ref());
    let cluster = match (answer.n_members, answer.leader.as_str()) {
        (0 | 1, _) => "a cluster of one".to_owned(),
        (n, "") => format!("one of {n} nodes, no leader"),
        (n, leader) if leader == state.name => format!("one of {n} nodes, and their leader"),
        (n, leader) => format!("one of {n} nodes, led by {}", shown(leader)),
    };
    let witness = if state.mode() == NodeMode::Witness { "a witness, " } else { "" };
    let up = format!("bannkreisd {}, up {}", shown(&answer.version), length(answer.uptime_ms));
    let mut text = String::new();
    style.push_line(&mut text, Tone::Bold, 0, &format!("{}: {witness}{cluster}; {up}", shown(&state.name)));
    let waiting = match state.n_waiting {
        0 => String::new(),
        n => format!(", {} waiting for the cluster", n_bans(n)),
    };
    let overrides = match answer.n_overrides {
        0 => String::new(),
        n => format!(", {} of this host only", counted(n, "override", "overrides")),
    };
    let blocked = counted(answer.n_blocked, "address or prefix", "addresses and prefixes");
    let counts = format!("{}; {blocked} blocked here{waiting}{overrides}", n_bans(answer.n_bans));
    style.push_line(&mut text, Tone::Plain, 0, &counts);
    if !answer.firewall.is_empty() && state.backend != "none" {
        style.push_line(&mut text, Tone::Plain, 0, &format!("blocks with {}", shown(&answer.firewall)));
    }
    text.push('\n');
    if answer.jails.is_empty() {
        text.push_str("no jails\n");
        return text;
    }
    let mut table = Table::new(&[
        Column::Fixed("JAIL"),
        Column::Right("FAILING"),
        Column::Right("FAILURES"),
        Column::Right("BANNED"),
        Column::Right("BLOCKED"),
        Column::Wraps("PORTS"),
        Column::Wraps("NODES"),
    ]);
    for jail in &answer.jails {
        table.row_with_note(jail_row(jail), Cell::toned(Tone::Bad, trouble(jail)));
    }
    text.push_str(&table.render(style));
    text
}

fn jail_row(jail: &JailStatus) -> Vec<Cell> {
    let here = |n: u64| if jail.is_here { n.to_string() } else { "-".to_owned() };
    vec![
        shown(&jail.name).into(),
        here(jail.n_failing).into(),
        here(jail.n_failures).into(),
        jail.n_banned.to_string().into(),
        here(jail.n_blocked).into(),
        ports_of(&jail.ports).into(),
        shown(&jail.nodes.join(", ")).into(),
    ]
}

/// What keeps a jail from reading, or from judging what it reads.
fn trouble(jail: &JailStatus) -> String {
    let failing = jail.sources.iter().filter(|source| !source.error.is_empty());
    let sentences = failing.map(|source| format!("{}: {}", shown(&source.name), shown(&source.error)));
    sentences.chain(given_up(jail, " given up")).collect::<Vec<_>>().join("; ")
}

/// How many searches its filter gave up, why, and what that means, if there are any; `verb` follows their number.
fn given_up(jail: &JailStatus, verb: &str) -> Option<String> {
    let searches = counted(jail.n_given_up, "search", "searches");
    let sentence = || format!("{searches}{verb} after too many steps: such a line counts as no failure");
    (jail.n_given_up > 0).then(sentence)
}

fn one_jail(jail: &JailStatus, style: &Style) -> String {
    let mut text = format!("{}\n", style.paint(Tone::Bold, &format!("jail {}", shown(&jail.name))));
    let mut line = |name: &str, value: &str| {
        for (n, part) in wrapped(value, 80).iter().enumerate() {
            let name = if n == 0 { name } else { "" };
            text.push_str(format!("  {name:<16}{part}").trim_end());
            text.push('\n');
        }
    };
    if jail.is_here {
        line("failing now", &counted(jail.n_failing, "offender", "offenders"));
        line("failures", &format!("{} since the daemon's start", jail.n_failures));
        if let Some(searches) = given_up(jail, "") {
            line("given up", &searches);
        }
        line("blocked", &format!("{} by this host's own logs, since the daemon's start", jail.n_blocked));
        let times = if jail.max_retry <= 1 {
            "the first failure".to_owned()
        } else {
            format!("{} failures within {}", jail.max_retry, length(jail.find_time_ms))
        };
        let ban_time = jail.ban_time_ms.map_or("for ever".to_owned(), |ms| format!("for {}", length(ms)));
        line("bans", &format!("{ban_time} after {times}"));
        let counted =
            if jail.is_counted_with_peers { "together with other hosts" } else { "on this host alone" };
        line("counted", counted);
    } else {
        line("", "this host does not have it");
    }
    line("ports", &ports_of(&jail.ports));
    line("nodes", &shown(&jail.nodes.join(", ")));
    for source in &jail.sources {
        let lines = format!("{}, {}", shown(&source.name), counted(source.n_lines, "line", "lines"));
        let trouble =
            if source.error.is_empty() { String::new() } else { format!(": {}", shown(&source.error)) };
        line("reads", &(lines + &trouble));
    }
    let n_more = jail.n_banned.saturating_sub(jail.banned.len() as u64);
    let more = if n_more == 0 { String::new() } else { format!(" and {n_more} more: see `bannkreis bans`") };
    line("banned", &format!("{} now", jail.n_banned));
    if !jail.banned.is_empty() {
        line("", &(shown(&jail.banned.join(" ")) + &more));
    }
    text
}

fn jail_json(jail: &JailStatus, with_banned: bool) -> Value {
    let sources = jail.sources.iter().map(
        |source| json!({ "name": source.name, "n_lines": source.n_lines, "error": json::text(&source.error) }),
    );
    let mut value = json!({
        "name": jail.name,
        "is_here": jail.is_here,
        "n_failing": jail.n_failing,
        "n_failures": jail.n_failures,
        "n_banned": jail.n_banned,
        "n_blocked": jail.n_blocked,
        "n_given_up": jail.n_given_up,
        "max_retry": jail.is_here.then_some(jail.max_retry),
        "find_time_ms": jail.is_here.then_some(jail.find_time_ms),
        "ban_time_ms": jail.ban_time_ms,
        "ports": jail.ports,
        "is_counted_with_peers": jail.is_counted_with_peers,
        "nodes": jail.nodes,
        "sources": sources.collect::<Value>(),
    });
    if with_banned {
        value["banned"] = json!(jail.banned);
    }
    value
}
