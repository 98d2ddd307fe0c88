//! Counting and ban times beside fail2ban's own: generated failures and options are given to the classes of
//! the unpacked Debian package and to ours, and every decision must be the same.
//!
//! `BANNKREIS_FAIL2BAN_DIR` names the package's etc/fail2ban; nothing of it is installed or started. Not for
//! what differs on purpose (docs/migrating-from-fail2ban.md): bans known to be of one offence, offenders let
//! go, and a random part of the ban time.

use bannkreis_core::event_id::LineDigest;
use bannkreis_core::failure::{Failure, SourceId, SourcePosition};
use bannkreis_core::jail::{BanPolicy, Jail, JailName, Ports, Scope};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::tally::{Tally, weight_of_known};
use bannkreis_core::time::{BanTime, Timestamp};
use bannkreis_filter::growth::{self, GrowthOptions};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Generated jails; each gets some dozens of failures.
const JAILS: u64 = 400;
/// When the failures begin, in seconds.
const BEGIN_S: u64 = 1_700_000_000;

/// Asks fail2ban's classes; one line per answer. `None`: there is no package, or no Python that can run it.
fn fail2ban(questions: &str) -> Result<Vec<String>, String> {
    let directory = std::env::var_os("BANNKREIS_FAIL2BAN_DIR")
        .ok_or("BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package")?;
    let packages = PathBuf::from(directory).join("../../usr/lib/python3/dist-packages");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fail2ban/counting.py");
    // Python would write its compiled files into the unpacked package.
    let mut python = Command::new("python3")
        .arg("-B")
        .args([&script, &packages])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("python3 does not start: {error}"))?;
    let mut stdin = python.stdin.take().expect("it was asked for");
    let text = questions.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = python.wait_with_output().expect("python3 ends");
    writer.join().expect("the writer ends").expect("python3 reads its questions");
    assert!(output.status.success(), "counting.py fails: see above");
    Ok(String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect())
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.below(values.len() as u64)).expect("an index")]
    }
}

fn jail(max_retry: u32, find_time_s: u64) -> Jail {
    Jail {
        name: JailName::new("jail").expect("a name"),
        max_retry,
        find_time_ms: find_time_s * 1_000,
        policy: BanPolicy::fixed(BanTime::Ms(600_000)),
        ports: Ports::tcp(&[25]),
        max_matches: 3,
        scope: Scope::Cluster,
        counts_bans: false,
        reach: None,
        ignore: Vec::new(),
    }
}

/// One generated jail: the questions about it, and our answers.
fn generated_jail(numbers: &mut Numbers, questions: &mut String, answers: &mut Vec<String>) {
    let (max_retry, find_time_s) = (numbers.of(&[1, 2, 3, 5, 10]), numbers.of(&[10, 60, 600, 3_600]));
    let increments = numbers.below(2) == 1;
    let jail = jail(max_retry, find_time_s);
    writeln!(questions, "jail {max_retry} {find_time_s} {}", u8::from(increments)).expect("a String");
    let mut tally = Tally::default();
    let mut bans: BTreeMap<Subnet, (u32, Timestamp)> = BTreeMap::new();
    let (mut latest_ms, mut now_ms) = (BEGIN_S * 1_000, BEGIN_S * 1_000);
    for n in 0..20 + numbers.below(40) {
        // Most steps are whole seconds, where rounding meets exact halves; some go back a little.
        let step_ms = match numbers.below(10) {
            0 => numbers.below(find_time_s * 3) * 1_000,
            1 => numbers.below(find_time_s * 1_000),
            2..=5 => {
                find_time_s * 1_000 * (1 + numbers.below(8)) / (2 * u64::from(max_retry)) / 1_000 * 1_000
            }
            _ => numbers.below(find_time_s / 4 + 1) * 1_000,
        };
        now_ms = if numbers.below(10) == 0 { now_ms - step_ms / 4 } else { now_ms + step_ms };
        latest_ms = latest_ms.max(now_ms);
        if numbers.below(12) == 0 {
            writeln!(questions, "forget {}", seconds(latest_ms)).expect("a String");
            tally.forget_old(Timestamp(latest_ms), |_| jail.find_time_ms);
            answers.push(tally.n_offenders(&jail.name).to_string());
            continue;
        }
        let address = format!("192.0.2.{}", 1 + numbers.below(2));
        writeln!(questions, "failure {address} {}", seconds(now_ms)).expect("a String");
        let offender: Subnet = address.parse().expect("an address");
        let failure = Failure {
            jail: jail.name.clone(),
            offender,
            at: Timestamp(now_ms),
            evidence: "line".to_owned(),
            line: LineDigest::default(),
            user: None,
            source: SourceId(0),
            position: SourcePosition(n),
            replayed: false,
        };
        let (n_bans, banned_at) = bans.get(&offender).copied().unwrap_or_default();
        let is_known = increments && failure.at > banned_at;
        let weight = if is_known { weight_of_known(n_bans, max_retry) } else { 1 };
        let full = tally.add(&jail, offender, &failure, weight, None);
        if let Some(count) = &full {
            bans.insert(offender, (n_bans + 1, count.last));
        }
        answers.push(format!("{} {}", u8::from(full.is_some()), tally.n_offenders(&jail.name)));
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// Fails at the first answer that differs, with the question.
fn compare(questions: &str, ours: &[String], theirs: &[String], is_same: impl Fn(&str, &str) -> bool) {
    let asked: Vec<&str> =
        questions.lines().filter(|line| !line.starts_with("jail ") && !line.starts_with("growth ")).collect();
    assert_eq!(asked.len(), theirs.len(), "fail2ban gave another number of answers");
    for (n, ((question, ours), theirs)) in asked.iter().zip(ours).zip(theirs).enumerate() {
        assert!(is_same(ours, theirs), "question {n}, `{question}`: fail2ban says {theirs}, we say {ours}");
    }
}

#[test]
fn generated_failures_are_counted_as_fail2ban_counts_them() {
    let (mut questions, mut ours) = (String::new(), Vec::new());
    let mut numbers = Numbers(1);
    for _ in 0..JAILS {
        generated_jail(&mut numbers, &mut questions, &mut ours);
    }
    let n_bans = ours.iter().filter(|answer| answer.starts_with("1 ")).count();
    assert!(n_bans > 1_000, "only {n_bans} bans in the generated failures");
    match fail2ban(&questions) {
        Ok(theirs) => compare(&questions, &ours, &theirs, |ours, theirs| ours == theirs),
        Err(why) => println!("SKIPPED: {why}"),
    }
}

#[test]
fn ban_times_grow_as_fail2bans_do() {
    let cases: [(u64, &[(&str, &str)]); 9] = [
        (600, &[]),
        (600, &[("factor", "2")]),
        (600, &[("factor", "0.5")]),
        (600, &[("maxtime", "1d")]),
        (90, &[("multipliers", "1 2 4 8 16 32 64")]),
        (600, &[("multipliers", "1 5 30 60 300 720 1440 2880"), ("factor", "1.5")]),
        (600, &[("multipliers", "3")]),
        (3_600, &[("maxtime", "5w"), ("factor", "24")]),
        (
            600,
            &[
                ("formula", "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)"),
                ("factor", "2.0 / 2.885385"),
            ],
        ),
    ];
    let (mut questions, mut ours) = (String::new(), Vec::new());
    let name = JailName::new("jail").expect("a name");
    let offender: Subnet = "192.0.2.1".parse().expect("an address");
    for (ban_time_s, options) in cases {
        let json: Vec<String> =
            options.iter().map(|(name, value)| format!("\"{name}\": \"{value}\"")).collect();
        writeln!(
            questions,
            "growth {ban_time_s} {{\"increment\": \"true\"{}{}}}",
            if json.is_empty() { "" } else { ", " },
            json.join(", ")
        )
        .expect("a String");
        let option = |wanted: &str| {
            options.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        let options = GrowthOptions {
            factor: option("factor"),
            formula: option("formula"),
            multipliers: option("multipliers"),
            maxtime: option("maxtime"),
            rndtime: None,
            overall_jails: false,
        };
        let growth = growth::table(ban_time_s * 1_000, &options).expect("options that fail2ban knows");
        let policy = BanPolicy { ban_time: BanTime::Ms(ban_time_s * 1_000), growth: Some(growth) };
        for n_before in [1, 2, 3, 4, 5, 8, 10, 15, 19, 20] {
            writeln!(questions, "bantime {n_before}").expect("a String");
            let BanTime::Ms(ms) = policy.ban_time_for(offender, &name, n_before) else {
                panic!("a ban time that grows has an end")
            };
            ours.push(seconds(ms));
        }
    }
    match fail2ban(&questions) {
        // Ours are whole milliseconds.
        Ok(theirs) => compare(&questions, &ours, &theirs, |ours, theirs| {
            let number = |text: &str| text.parse::<f64>().expect("a number");
            (number(ours) - number(theirs)).abs() <= 0.001
        }),
        Err(why) => println!("SKIPPED: {why}"),
    }
}
