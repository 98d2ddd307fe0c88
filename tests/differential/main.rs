//! The differential test: the same logs for `bannkreis regex` and for fail2ban's own classes, line by line.
//!
//! The logs are made of fail2ban's sample lines, changed by chance: hostile names of users, odd dates, other
//! encodings, control characters, lines that are cut and joined. Which lines match, by which expression, who
//! it was and when must be the same. Where they differ on purpose, `known` has the reason. Not for lines as
//! they stand in the samples: those are the conformance tests'.
//!
//! It needs an unpacked fail2ban (`.ci/fail2ban-config`) in `BANNKREIS_FAIL2BAN_DIR` and python3. The seeds
//! are fixed; `BANNKREIS_DIFFERENTIAL_ROUNDS=50` makes more logs, `BANNKREIS_DIFFERENTIAL_SEED=7` only one
//! round, and `BANNKREIS_DIFFERENTIAL_FILTER=sshd` only logs for that filter.

mod compare;
mod known;
mod logs;
mod mutate;
mod oracle;
mod ours;

use compare::{Difference, differences};
use oracle::Oracle;

/// 2026-11-22 12:00:00 UTC: the time at which both sides read.
const NOW_SECONDS: u64 = 1_795_348_800;
/// Rounds without a setting: a few seconds.
const ROUNDS: u64 = 1;
/// In one round there is a log for each filter of so many.
const FILTERS_PER_LOG: u64 = 6;
/// So many differences are printed.
const SHOWN_MAX: usize = 20;

/// A log for a filter.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    /// With its parameters.
    filter: String,
    encoding: &'static str,
    /// What else `fail2ban-regex` is told.
    options: Vec<&'static str>,
    /// Every failregex, as without `-o`, and not only the first that matches.
    every: bool,
    log: Vec<u8>,
}

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("BANNKREIS_DIFFERENTIAL_{name}")).ok()
}

/// fail2ban's classes, or a line that says why not.
fn oracle() -> Option<Oracle> {
    match Oracle::start() {
        Ok(oracle) => Some(oracle),
        Err(why) => {
            #[expect(clippy::print_stdout, reason = "how a test says that it can not run: CONTRIBUTING.md")]
            {
                println!("SKIPPED: {why}");
            }
            None
        }
    }
}

/// What differs in one log.
fn found_in(oracle: &mut Oracle, case: &Case) -> Vec<Difference> {
    let dir = tempfile::tempdir().expect("a directory for the log");
    let log = dir.path().join("log");
    std::fs::write(&log, &case.log).expect("the log is written");
    differences(case, &ours::answer(case, &log, &oracle.config), &oracle.answer(case, &log))
}

/// The same minus what is known.
fn unexplained(oracle: &mut Oracle, case: &Case) -> Vec<Difference> {
    let mut found = found_in(oracle, case);
    found.retain(|difference| !known::explains(difference));
    found
}

/// A difference with as few lines before its own as still show it.
fn smallest(oracle: &mut Oracle, case: &Case, difference: Difference) -> Difference {
    let mut smallest = difference;
    let mut n_dropped = smallest.lines.len() - 1;
    while n_dropped > 0 {
        let mut at = 0;
        while at + 1 < smallest.lines.len() {
            let end = (at + n_dropped).min(smallest.lines.len() - 1);
            let fewer = [&smallest.lines[..at], &smallest.lines[end..]].concat();
            let log: Vec<u8> = fewer.iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect();
            let case = Case { log, ..case.clone() };
            match found_in(oracle, &case).into_iter().find(|found| found.lines.len() == fewer.len()) {
                Some(found) => smallest = found,
                None => at = end,
            }
        }
        n_dropped /= 2;
    }
    smallest
}

#[test]
fn both_find_the_same_in_generated_logs() {
    let Some(mut oracle) = oracle() else { return };
    let rounds = setting("ROUNDS").and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let only: Option<u64> = setting("SEED").and_then(|n| n.parse().ok());
    let filters = setting("FILTER");
    let samples = logs::samples(&oracle.sample_logs);
    assert!(samples.len() > 60, "only {} filters have samples", samples.len());
    let dir = tempfile::tempdir().expect("a directory for the log");
    let mut daemon_differs = Vec::new();
    let (mut shown, mut n_logs, mut n_lines, mut n_differences) = (Vec::new(), 0, 0, 0);
    for round in only.map_or(0..rounds, |seed| seed..seed + 1) {
        for (n, sample) in samples.iter().enumerate() {
            let is_wanted = match &filters {
                Some(only) => *only == sample.file,
                None => (n as u64 + round).is_multiple_of(FILTERS_PER_LOG),
            };
            if !is_wanted {
                continue;
            }
            let case = logs::case(sample, round);
            n_logs += 1;
            n_lines += case.log.iter().filter(|&&byte| byte == b'\n').count();
            let found = unexplained(&mut oracle, &case);
            let path = dir.path().join("log");
            std::fs::write(&path, &case.log).expect("the log is written");
            daemon_differs.extend(ours::daemon_differs(
                &Case { every: false, ..case.clone() },
                &path,
                &oracle.config,
            ));
            n_differences += found.len();
            // The others of the same log mostly follow from the first.
            if let Some(first) = found.into_iter().next().filter(|_| shown.len() < SHOWN_MAX) {
                shown.push(smallest(&mut oracle, &case, first).to_string());
            }
        }
    }
    assert!(daemon_differs.is_empty(), "the daemon decides otherwise:\n{}", daemon_differs.join("\n"));
    assert!(
        n_differences == 0,
        "{n_differences} differences in {n_lines} lines of {n_logs} logs; the first:\n{}",
        shown.join("\n")
    );
}

#[test]
fn what_is_known_to_differ_still_does() {
    let Some(mut oracle) = oracle() else { return };
    for known in known::ALL {
        let case = known.case();
        let found = found_in(&mut oracle, &case);
        assert!(!found.is_empty(), "this passes now, so take it off the list: {}", known.reason);
        let unexplained: Vec<String> =
            found.iter().filter(|found| !known::explains(found)).map(ToString::to_string).collect();
        assert!(unexplained.is_empty(), "{}:\n{}", known.reason, unexplained.join("\n"));
    }
}
