//! The two answers side by side: the lines on which they differ, and in what.
//!
//! Whether a difference is a mistake is not decided here.

use crate::Case;
use crate::oracle::{Answer, LineAnswer};
use serde_json::{Value, json};
use std::fmt;

/// So much of a line is printed.
const LINE_CHARS_MAX: usize = 600;

/// A line on which the two differ.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) seed: u64,
    pub(crate) filter: String,
    /// How the log was tested besides.
    pub(crate) options: String,
    /// The line, and the lines before it.
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) ours: LineAnswer,
    pub(crate) theirs: LineAnswer,
}

impl Difference {
    /// The line itself.
    pub(crate) fn line(&self) -> &[u8] {
        self.lines.last().map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (seed {}, {}, line {})", self.filter, self.seed, self.options, self.lines.len())?;
        for line in &self.lines {
            let line: String = line.escape_ascii().to_string().chars().take(LINE_CHARS_MAX).collect();
            writeln!(f, "    line      {line}")?;
        }
        writeln!(f, "    bannkreis {}", shown(&self.ours))?;
        writeln!(f, "    fail2ban  {}", shown(&self.theirs))
    }
}

fn shown(answer: &LineAnswer) -> String {
    if let Some(error) = &answer.error {
        return format!("fails: {error}");
    }
    let found: Vec<String> = answer.found.iter().map(ToString::to_string).collect();
    let ignored = if answer.is_ignored { "ignored " } else { "" };
    format!("{ignored}[{}]", found.join(", "))
}

/// The differences, in the order of the log.
pub(crate) fn differences(case: &Case, ours: &Answer, theirs: &Answer) -> Vec<Difference> {
    let (ours, theirs) = match (ours, theirs) {
        (Answer::Lines(ours), Answer::Lines(theirs)) => (ours, theirs),
        // Hanging is what it does and we must not: nothing to compare with.
        (_, Answer::Hung) | (Answer::Refused(_), Answer::Refused(_)) => return Vec::new(),
        (Answer::Refused(why), _) => panic!("{}: only bannkreis refuses this filter: {why}", case.filter),
        (_, Answer::Refused(why)) => panic!("{}: only fail2ban refuses this filter: {why}", case.filter),
        (Answer::Hung, _) => panic!("{}: bannkreis hangs", case.filter),
    };
    let lines = tested_lines(&case.log);
    assert_eq!(
        (ours.len(), theirs.len()),
        (lines.len(), lines.len()),
        "{} (seed {}): so many lines were tested",
        case.filter,
        case.seed
    );
    let mut found = Vec::new();
    for (n, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let (ours, theirs) = (plain(ours), plain(theirs));
        if ours != theirs {
            found.push(Difference {
                seed: case.seed,
                filter: case.filter.clone(),
                options: format!("{} {} every {}", case.encoding, case.options.join(" "), case.every),
                lines: lines[..=n].iter().map(|line| line.to_vec()).collect(),
                ours,
                theirs,
            });
        }
    }
    found
}

/// The lines of a log that either side tests.
fn tested_lines(log: &[u8]) -> Vec<&[u8]> {
    let ended = log.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines = log[..ended].split(|&byte| byte == b'\n').map(|line| {
        let n_kept = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
        &line[..n_kept]
    });
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).collect()
}

/// An address as Rust spells it; the C library writes those below ::/96 with dots.
fn spelled(id: &Value) -> Value {
    let address = id.as_str().and_then(|id| id.parse::<std::net::IpAddr>().ok());
    address.map_or_else(|| id.clone(), |address| json!(address.to_string()))
}

/// Notes of fail2ban's own beside the groups.
const NOTES: [&str; 1] = ["mlfpending"];

/// An answer without what is spelled differently and means the same: milliseconds, groups that took no part.
fn plain(answer: &LineAnswer) -> LineAnswer {
    let found = answer.found.iter().filter(|found| found["is_nofail"] != json!(true)).map(|found| {
        let at = match &found["at"] {
            Value::Number(at) if at.is_f64() => json!(at.as_f64().map(milliseconds)),
            Value::Number(at) if found.get("is_nofail").is_some() => json!(at.as_i64().map(|seconds| seconds * 1_000)),
            at => at.clone(),
        };
        let data: serde_json::Map<String, Value> = found["data"]
            .as_object()
            .map(|data| data.iter().filter(|(key, value)| !value.is_null() && !NOTES.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect())
            .unwrap_or_default();
        json!({ "failregex": found["failregex"], "id": spelled(&found["id"]), "at": at, "data": data, "matches": found["matches"] })
    });
    LineAnswer { found: found.collect(), is_ignored: answer.is_ignored, error: answer.error.clone() }
}

/// A time of fail2ban's, in seconds, as we keep it: it has microseconds, of which we keep the whole milliseconds.
#[allow(clippy::cast_possible_truncation, reason = "times of logs are far below 2^53 microseconds")]
fn milliseconds(seconds: f64) -> i64 {
    ((seconds * 1_000_000.0).round() as i64).div_euclid(1_000)
}
