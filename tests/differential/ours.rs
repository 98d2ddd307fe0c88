//! Our side: what `bannkreis regex` finds in a log, in the form of the oracle's answers.
//!
//! The way through the library is the command's own, without its printing.

use crate::oracle::{Answer, LineAnswer};
use crate::{Case, NOW_SECONDS};
use bannkreis_cli::args::{Cli, Command};
use bannkreis_cli::commands::regex::args::RegexArgs;
use bannkreis_cli::commands::regex::testing::Testing;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{SECOND_MS, Timestamp};
use bannkreis_filter::filter::{Judged, Mode};
use bannkreis_filter::trial::{Found, Tried};
use clap::Parser;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What becomes of the log.
pub(crate) fn answer(case: &Case, log: &Path, config: &Path) -> Answer {
    let now = Timestamp(NOW_SECONDS * SECOND_MS);
    let mut testing = match Testing::open(&arguments(case, log, config), now, &TimeZone::UTC) {
        Ok(testing) => testing,
        Err(why) => return Answer::Refused(why),
    };
    let mut lines = Vec::new();
    while let Some((_, tried)) = testing.next_line().expect("the log is readable") {
        lines.push(line_answer(&tried, case.every));
    }
    Answer::Lines(lines)
}

/// Where the daemon, which stops at the first failregex and has its short cuts, decides otherwise than the
/// test says: the line and both decisions.
pub(crate) fn daemon_differs(case: &Case, log: &Path, config: &Path) -> Vec<String> {
    let now = Timestamp(NOW_SECONDS * SECOND_MS);
    let open = || Testing::open(&arguments(case, log, config), now, &TimeZone::UTC);
    let (Ok(mut testing), Ok(mut daemon)) = (open(), open()) else { return Vec::new() };
    let mut differing = Vec::new();
    while let Some((line, tried)) = testing.next_line().expect("the log is readable") {
        let judged = daemon.filter.judge(&line, now, Mode::CatchingUp);
        let said = tried.found.first().filter(|found| found.at.is_some()).and_then(|found| {
            let text = found.address.as_deref().or(found.id.as_deref())?;
            text.parse::<Subnet>().ok()
        });
        let done = match &judged {
            Judged::Failure(failure) => Some(failure.offender),
            _ => None,
        };
        if said != done {
            let line = line.text.escape_ascii();
            differing.push(format!("{} {line}\n    said {said:?}, judged {judged:?}", case.filter));
        }
    }
    differing
}

fn arguments(case: &Case, log: &Path, config: &Path) -> RegexArgs {
    let (log, config) = (log.display().to_string(), config.display().to_string());
    let mut typed = vec!["bannkreis", "regex", "-c", &config, "-e", case.encoding, &log, &case.filter];
    typed.extend(&case.options);
    if !case.every {
        typed.extend(["-o", "row"]);
    }
    match Cli::try_parse_from(typed).expect("arguments of fail2ban-regex").command {
        Command::Regex(arguments) => *arguments,
        _ => unreachable!("regex was typed"),
    }
}

fn line_answer(tried: &Tried, every: bool) -> LineAnswer {
    let is_nofail = tried.found.iter().any(|found| found.is_nofail);
    LineAnswer {
        found: tried.found.iter().filter(|found| !found.is_nofail).map(value_of).collect(),
        is_ignored: every && (is_nofail || !tried.ignoreregex.is_empty()),
        error: None,
    }
}

fn value_of(found: &Found) -> Value {
    let mut data: Map<String, Value> =
        found.facts.groups().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let users: Vec<&str> = found.facts.users().collect();
    if !users.is_empty() {
        data.insert("users".to_owned(), json!(users));
    }
    if let Some(address) = &found.address {
        data.insert("ip".to_owned(), json!(address));
    }
    json!({
        "failregex": found.failregex,
        "id": found.id,
        "at": found.at.map(|at| at.0),
        "data": data,
        "matches": found.facts.lines().collect::<Vec<_>>(),
    })
}
