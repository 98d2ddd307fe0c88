//! Our filters beside fail2ban-regex, the program, on logs that nobody wrote: both must find the same
//! failures in the same lines.
//!
//! `BANNKREIS_CONFORMANCE_SEED` makes other logs, `BANNKREIS_CONFORMANCE_FILTERS` names the filters, or is
//! `all`.

use crate::judging::{THOROUGH, ZONE, zone};
use crate::mutation::{self, Numbers};
use crate::package::Package;
use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::Filter;
use bannkreis_filter::trial::Thoroughness;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The filters whose language is the richest, and which together are looked at quickly.
const FILTERS: [&str; 12] = [
    "apache-auth",
    "asterisk",
    "dovecot",
    "exim",
    "mongodb-auth",
    "mysqld-auth",
    "named-refused",
    "nginx-http-auth",
    "roundcube-auth",
    "sendmail-reject[mode=extra]",
    "slapd",
    "sshd[mode=aggressive]",
];
const LINES: usize = 250;
/// Longer than a run of the program takes.
const RUN_SECONDS_MAX: f64 = 300.0;
/// What a row says of a failure: for whom it counts, its address, when, the account, and its line.
const ROW: &str = "<fid>\u{241f}<ip>\u{241f}<time>\u{241f}<F-USER>\u{241f}<msg>";
/// The filters that look at several lines at once, and what ends a line for Python inside their window: a
/// line with one of these is never found again there. We do find it.
const MULTI_LINE: [&str; 4] = ["ejabberd-auth", "guacamole", "mongodb-auth", "slapd"];
const ENDS_LINE: [char; 4] = ['\r', '\u{1c}', '\u{85}', '\u{2028}'];

#[test]
fn generated_logs_are_judged_as_fail2ban_regex_judges_them() {
    let Some(package) = Package::find() else {
        println!("SKIPPED: BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package");
        return;
    };
    if let Err(why) = package.run_regex(&["--version"]) {
        println!("SKIPPED: fail2ban-regex does not run here: {why}");
        return;
    }
    let seed = std::env::var("BANNKREIS_CONFORMANCE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let filters = match std::env::var("BANNKREIS_CONFORMANCE_FILTERS").as_deref() {
        Ok("all") => package.filters().into_iter().filter(|name| !name.starts_with("zzz-")).collect(),
        Ok(names) => names.split_whitespace().map(str::to_owned).collect(),
        Err(_) => FILTERS.map(str::to_owned).to_vec(),
    };
    let mut failures = 0;
    let mut different = Vec::new();
    for filter in filters {
        match compare(&package, &filter, seed) {
            Ok(found) => failures += found,
            Err(difference) => different.push(format!("{filter}, seed {seed}: {difference}")),
        }
    }
    println!("{failures} failures found by both");
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// How many failures both find, or the first difference.
fn compare(package: &Package, filter: &str, seed: u64) -> Result<usize, String> {
    let name = filter.split('[').next().unwrap_or(filter);
    let samples: Vec<String> =
        package.sample(name).into_iter().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let mut log = mutation::log(&samples, LINES, &mut Numbers::of(seed));
    if MULTI_LINE.contains(&name) {
        for line in &mut log {
            *line = String::from_utf8_lossy(line).replace(ENDS_LINE, "").into_bytes();
        }
    }
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = directory.path().join("log");
    let bytes: Vec<u8> = log.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
    std::fs::write(&path, bytes).map_err(|error| error.to_string())?;
    let theirs = package.run_regex(&["--raw", "-o", ROW, &path.to_string_lossy(), filter])?;
    let ours = rows(&mut package.compile(filter, "", zone())[0], &log);
    let theirs: Vec<Row> = theirs.split_terminator('\n').map(Row::read).collect::<Result<_, _>>()?;
    for (n, (number, row)) in ours.iter().enumerate() {
        if theirs.get(n).is_none_or(|their| !row.says_the_same_as(their)) {
            let line = String::from_utf8_lossy(&log[*number]);
            let theirs = theirs.get(n);
            return Err(format!(
                "row {n}, line {}: {line:?}\n   ours {row:?}\n theirs {theirs:?}",
                number + 1
            ));
        }
    }
    match theirs.get(ours.len()) {
        Some(row) => Err(format!("theirs only: {row:?}")),
        None => Ok(ours.len()),
    }
}

/// A line of a failure.
#[derive(Debug)]
struct Row {
    /// For whom it counts, its address, the account, the line.
    texts: [String; 4],
    /// Seconds since 1970; `None` when the line has no date.
    at: Option<f64>,
}

impl Row {
    fn read(row: &str) -> Result<Row, String> {
        let parts: Vec<&str> = row.splitn(5, '\u{241f}').collect();
        let [id, address, at, user, line] = parts[..] else { return Err(format!("not a row: {row:?}")) };
        let at = at.parse().map_err(|error| format!("{row:?}: {error}"))?;
        Ok(Row { texts: [id, address, user, line].map(str::to_owned), at: Some(at) })
    }

    /// For a line without a date the program shows the time of its own run.
    fn says_the_same_as(&self, theirs: &Row) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let at = theirs.at.unwrap_or_default();
        let is_now = |at: f64| (now - at).abs() < RUN_SECONDS_MAX;
        let same_time =
            self.at.map_or_else(|| is_now(at), |own| (own - at).abs() < 0.001 || is_now(own) && is_now(at));
        let [id, address, user, line] = &self.texts;
        let [their_id, their_address, their_user, their_line] = &theirs.texts;
        // An address may be written in more than one way.
        let same = |ours: &str, theirs: &str| {
            ours == theirs || ours.parse::<IpAddr>().is_ok_and(|address| theirs.parse() == Ok(address))
        };
        // In front of a line without a date the program may show the date of the line before it.
        let same_line = their_line.ends_with(line);
        same(id, their_id) && same(address, their_address) && user == their_user && same_line && same_time
    }
}

/// What our filter finds, as rows with the number of their line.
fn rows(filter: &mut Filter, log: &[Vec<u8>]) -> Vec<(usize, Row)> {
    let wanted = Thoroughness { every_failregex: false, ..THOROUGH };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let now = Timestamp(u64::try_from(since.as_millis()).expect("in range"));
    let mut rows = Vec::new();
    for (number, text) in log.iter().enumerate() {
        let trimmed = text.trim_ascii_end();
        let is_comment = text.starts_with(b"#") || (trimmed.is_empty() && text.iter().all(|b| *b == b'\r'));
        if is_comment {
            continue;
        }
        let line = LogLine {
            source: SourceId(0),
            position: SourcePosition(0),
            received_at: now,
            written_at: None,
            text: text.clone(),
            cut: false,
            replayed: true,
        };
        for found in filter.try_line(&line, now, wanted).found.iter().filter(|found| !found.is_nofail) {
            let id = found.id.clone().unwrap_or_default();
            let address = found.address.clone().unwrap_or_else(|| id.clone());
            let user = found.facts.group("user").unwrap_or_default();
            for written in found.facts.lines() {
                let texts = [id.as_str(), &address, user, written].map(str::to_owned);
                let at = found.at.map(|at| Duration::from_millis(at.0).as_secs_f64());
                rows.push((number, Row { texts, at }));
            }
        }
    }
    rows
}

impl Package {
    /// Runs fail2ban-regex of the package with its own filters; what it prints.
    fn run_regex(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("python3")
            .args(["-W", "ignore"])
            .arg(self.program("fail2ban-regex"))
            .arg("-c")
            .arg(self.configuration())
            .args(arguments)
            .env("PYTHONPATH", self.python_path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", ZONE)
            .output()
            .map_err(|error| format!("python3: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
