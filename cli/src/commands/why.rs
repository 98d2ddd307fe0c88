//! `why`: everything known about one address, in the user's words.

use super::bans::{ports_of, remarks};
use super::history::{ended_json, ending, span};
use super::{outcome, state_of};
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, counted, length, listed, shown};
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::v1::{
    BanInfo, BanKind, Closing, EndedBan, NodeState, WhyBan, WhyEvidence, WhyPast, WhyProtection, WhyRequest,
    WhyResponse,
};
use serde_json::{Value, json};

/// Asks, and shows the answer.
///
/// # Errors
/// When there is no answer.
pub async fn run(client: &mut Client, target: Subnet, style: &Style) -> Result<Shown, Failure> {
    let request = WhyRequest { target: target.to_string() };
    let answer = client::within(client::ANSWER_TIMEOUT, client.why(request)).await;
    answer.map(|answer| show(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &WhyResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut page = Page { text: state::lines(&state, style), style, now_ms: state.now_ms };
    page.headline(answer, &state);
    for ban in &answer.bans {
        page.ban(ban);
    }
    page.inside(answer);
    for protection in &answer.protections {
        page.protection(protection, &state);
    }
    for failures in &answer.failures {
        let so_far = counted(u64::from(failures.n_failures), "failure", "failures");
        let told = match failures.told_by.as_slice() {
            [] => String::new(),
            others => format!(" and {} told by {}", failures.n_told, listed(others)),
        };
        page.line(
            0,
            &format!(
                "{}: {so_far} in jail {} on this host so far{told}, the last at {}; {} would ban",
                shown(&failures.subnet),
                shown(&failures.jail),
                style.time(failures.last_ms),
                failures.max_retry,
            ),
        );
    }
    for ended in &answer.ended {
        page.ended(ended);
    }
    if answer.has_more_ended {
        page.line(0, &format!("and more that are over: see `bannkreis history {}`", shown(&answer.target)));
    }
    for past in answer.past.iter().filter(|past| !is_told(answer, past)) {
        let times = counted(u64::from(past.n_bans), "time", "times");
        let when = format!("from {} to {}", style.time(past.last_since_ms), style.time(past.last_end_ms));
        let (subnet, jail) = (shown(&past.subnet), shown(&past.jail));
        page.line(0, &format!("{subnet}: was banned {times} before in jail {jail}, last {when}"));
    }
    if let Some(lifted_ms) = answer.lifted_ms {
        page.line(
            0,
            &format!("it was let go at {}: what it did before counts no more", style.time(lifted_ms)),
        );
    }
    if answer.bans.iter().any(|why| kind_of(why) == BanKind::Ban) {
        page.text.push_str(&outcome::enforcement_lines(&answer.enforcement, style));
        page.text.push_str(&outcome::overriding_lines(&state, &answer.enforcement, style));
    } else if answer.is_blocked_here && !answer.bans.is_empty() {
        let name = shown(&state.name);
        let others = "the cluster's ban list does not hold it, and what other nodes do is not known here";
        page.line(0, &format!("enforced on {name}: {others}"));
    }
    if !answer.lift_command.is_empty() {
        page.line(0, "to lift all of it:");
        page.text.push_str(&format!("    {}\n", shown(&answer.lift_command)));
    }
    Shown { exit: Exit::Done, text: page.text, json: to_json(answer, &state) }
}

struct Page<'s> {
    text: String,
    style: &'s Style,
    now_ms: u64,
}

impl Page<'_> {
    fn line(&mut self, indent: usize, line: &str) {
        self.toned(Tone::Plain, indent, line);
    }

    fn toned(&mut self, tone: Tone, indent: usize, line: &str) {
        self.style.push_line(&mut self.text, tone, indent, line);
    }

    fn headline(&mut self, answer: &WhyResponse, state: &NodeState) {
        let is_banned = answer.bans.iter().any(|why| kind_of(why) == BanKind::Ban);
        let name = shown(&state.name);
        let (tone, what) = match (is_banned, answer.is_blocked_here) {
            (true, true) => (Tone::Bad, format!("is banned, and blocked on {name}")),
            (true, false) => (Tone::Warn, format!("is banned, but not blocked on {name}")),
            (false, true) => (Tone::Warn, format!("is not banned, but blocked on {name}")),
            (false, false) if answer.n_inside > 0 => (Tone::Good, "is not banned as a whole".to_owned()),
            (false, false) => (Tone::Good, "is not banned".to_owned()),
        };
        self.toned(tone, 0, &format!("{} {what}", shown(&answer.target)));
    }

    fn ban(&mut self, why: &WhyBan) {
        let Some(ban) = &why.ban else { return };
        let subnet = shown(&ban.subnet);
        let what = match ban.kind() {
            BanKind::OverrideBlock | BanKind::OverrideRelease => remarks(ban),
            _ => format!("jail {}", shown(&ban.jail)),
        };
        self.toned(Tone::Bold, 0, &format!("{subnet}: {what}"));
        let since = ban.since_ms.map(|ms| format!("since {}, ", self.style.time(ms))).unwrap_or_default();
        self.line(2, &format!("{since}{}", self.style.until(ban.until_ms, self.now_ms)));
        self.how_often_and_what(ban);
        for closing in &why.elsewhere {
            let nodes: Vec<String> = closing.nodes.iter().map(|node| shown(node)).collect();
            let (ports, reach) = (ports_of(&closing.ports), shown(&closing.reach));
            self.line(2, &format!("and {ports} on {} (reach = {reach})", listed(&nodes)));
        }
        if let Some(evidence) = &why.evidence {
            self.evidence(evidence);
        } else if ban.kind() == BanKind::Ban {
            self.line(2, "the lines that led to it are not kept on this node");
        }
        let others: Vec<String> = ban
            .origins
            .iter()
            .filter(|origin| why.evidence.as_ref().is_none_or(|evidence| evidence.node != origin.name))
            .map(|origin| origin.name.clone())
            .collect();
        if !others.is_empty() {
            let also = if why.evidence.is_some() { "also " } else { "" };
            self.line(2, &format!("{also}asked for by {}", listed(&others)));
        }
        if !matches!(ban.kind(), BanKind::OverrideBlock | BanKind::OverrideRelease) {
            let remarks = remarks(ban);
            if !remarks.is_empty() {
                self.toned(Tone::Warn, 2, &remarks);
            }
        }
        if !ban.lift_command.is_empty() {
            let is_override = matches!(ban.kind(), BanKind::OverrideBlock | BanKind::OverrideRelease);
            let what = if is_override { "to take it back" } else { "to lift it" };
            self.line(2, &format!("{what}: {}", shown(&ban.lift_command)));
        }
    }

    fn how_often_and_what(&mut self, ban: &BanInfo) {
        if ban.count > 1 {
            self.line(2, &format!("ban number {} of this offender in this jail", ban.count));
        }
        if !ban.ports.is_empty() {
            self.line(2, &format!("closes {}", ports_of(&ban.ports)));
        }
    }

    fn evidence(&mut self, evidence: &WhyEvidence) {
        for (indent, line) in evidence_lines(evidence, self.style) {
            self.line(indent, &line);
        }
    }

    fn ended(&mut self, ended: &EndedBan) {
        let (subnet, jail) = (shown(&ended.subnet), shown(&ended.jail));
        self.toned(Tone::Bold, 0, &format!("{subnet}: was banned in jail {jail}"));
        self.line(2, &format!("{}; {}", span(ended, self.style), ending(ended)));
        if ended.count > 1 {
            self.line(2, &format!("ban number {} of this offender in this jail", ended.count));
        }
        match &ended.evidence {
            Some(evidence) => self.evidence(evidence),
            None => self.line(2, "the lines that led to it are not kept on this node"),
        }
        let others: Vec<&String> = ended
            .origins
            .iter()
            .filter(|origin| ended.evidence.as_ref().is_none_or(|evidence| evidence.node != **origin))
            .collect();
        if !others.is_empty() {
            let also = if ended.evidence.is_some() { "also " } else { "" };
            self.line(2, &format!("{also}asked for by {}", listed(&others)));
        }
    }

    fn inside(&mut self, answer: &WhyResponse) {
        if answer.n_inside == 0 {
            return;
        }
        self.toned(Tone::Bold, 0, &format!("{} inside it:", counted(answer.n_inside, "ban", "bans")));
        for ban in &answer.inside {
            let left = ban.until_ms.map_or("for ever".to_owned(), |end| {
                format!("{} left", length(end.saturating_sub(self.now_ms)))
            });
            let remarks = remarks(ban);
            let remarks = if remarks.is_empty() { remarks } else { format!("; {remarks}") };
            let jail =
                if ban.jail.is_empty() { String::new() } else { format!("jail {}, ", shown(&ban.jail)) };
            self.line(2, &format!("{}: {jail}{left}{remarks}", shown(&ban.subnet)));
        }
        let n_more = answer.n_inside.saturating_sub(answer.inside.len() as u64);
        if n_more > 0 {
            self.line(2, &format!("and {}: see `bannkreis bans`", counted(n_more, "more ban", "more bans")));
        }
    }

    fn protection(&mut self, protection: &WhyProtection, state: &NodeState) {
        let where_from = if protection.is_this_host_only {
            format!("{} blocks nothing from", shown(&state.name))
        } else {
            "no node blocks".to_owned()
        };
        let author = match protection.author.as_str() {
            "" => String::new(),
            author => format!(", says {}", shown(author)),
        };
        let note = if protection.note.is_empty() {
            String::new()
        } else {
            format!(" ({})", shown(&protection.note))
        };
        let until = match protection.until_ms {
            Some(end) => format!(", until {}", self.style.time(end)),
            None => String::new(),
        };
        let (subnet, what) = (shown(&protection.subnet), shown(&protection.what));
        self.toned(Tone::Good, 0, &format!("{where_from} {subnet}: it {what}{author}{note}{until}"));
    }
}

/// What led to a ban, line by line, each with how far it is set in.
pub(crate) fn evidence_lines(evidence: &WhyEvidence, style: &Style) -> Vec<(usize, String)> {
    let node = shown(&evidence.node);
    let mut lines = Vec::new();
    if evidence.author.is_empty() {
        let failures = counted(u64::from(evidence.n_failures), "failure", "failures");
        let with = match evidence.contributors.as_slice() {
            [] => String::new(),
            others => format!(", counted together with {}", listed(others)),
        };
        lines.push((2, format!("{failures} on {node}{with}")));
    } else {
        let reason = if evidence.reason.is_empty() { "no reason given" } else { &evidence.reason };
        lines.push((2, format!("by {} on {node}: {}", shown(&evidence.author), shown(reason))));
    }
    let told = evidence.lines.iter();
    lines.extend(told.map(|line| (4, format!("{}  {}", style.time(line.at_ms), shown(&line.text)))));
    lines
}

/// What led to a ban, for programs.
pub(crate) fn evidence_json(evidence: &WhyEvidence) -> Value {
    json!({
        "node": evidence.node,
        "n_failures": evidence.n_failures,
        "contributors": evidence.contributors,
        "lines": evidence.lines.iter()
            .map(|line| json!({ "at_ms": line.at_ms, "text": line.text })).collect::<Value>(),
        "author": json::text(&evidence.author),
        "reason": json::text(&evidence.reason),
    })
}

/// Whether all of it was told already, with what led to it.
fn is_told(answer: &WhyResponse, past: &WhyPast) -> bool {
    let is_last = |ended: &EndedBan| {
        ended.subnet == past.subnet && ended.jail == past.jail && ended.end_ms == past.last_end_ms
    };
    answer.ended.iter().any(is_last)
}

fn kind_of(why: &WhyBan) -> BanKind {
    why.ban.as_ref().map_or(BanKind::Unspecified, BanInfo::kind)
}

fn to_json(answer: &WhyResponse, state: &NodeState) -> Value {
    let bans = answer.bans.iter().map(|why| {
        let mut ban = why.ban.as_ref().map_or(Value::Null, json::ban);
        let closing = |closing: &Closing| {
            json!({ "ports": closing.ports, "nodes": closing.nodes, "reach": closing.reach })
        };
        ban["elsewhere"] = why.elsewhere.iter().map(closing).collect();
        ban["evidence"] = why.evidence.as_ref().map_or(Value::Null, evidence_json);
        ban
    });
    let protections = answer.protections.iter().map(|protection| {
        json!({
            "subnet": protection.subnet,
            "what": protection.what,
            "is_this_host_only": protection.is_this_host_only,
            "author": json::text(&protection.author),
            "note": json::text(&protection.note),
            "until_ms": protection.until_ms,
        })
    });
    let failures = answer.failures.iter().map(|failures| {
        json!({
            "subnet": failures.subnet,
            "jail": failures.jail,
            "n_failures": failures.n_failures,
            "n_told": failures.n_told,
            "told_by": failures.told_by,
            "max_retry": failures.max_retry,
            "last_ms": failures.last_ms,
        })
    });
    json!({
        "state": json::state(state),
        "target": answer.target,
        "is_banned": answer.bans.iter().any(|why| kind_of(why) == BanKind::Ban),
        "is_blocked_here": answer.is_blocked_here,
        "bans": bans.collect::<Value>(),
        "inside": answer.inside.iter().map(json::ban).collect::<Value>(),
        "n_inside": answer.n_inside,
        "protections": protections.collect::<Value>(),
        "failures": failures.collect::<Value>(),
        "past": json::past(&answer.past),
        "ended": answer.ended.iter().map(ended_json).collect::<Value>(),
        "has_more_ended": answer.has_more_ended,
        "lifted_ms": answer.lifted_ms,
        "enforcement": json::enforcement(&answer.enforcement),
        "lift_command": json::text(&answer.lift_command),
    })
}
