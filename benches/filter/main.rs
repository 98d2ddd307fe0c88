//! Lines per CPU-second of all filters that read a log, beside fail2ban's own classes in the same run.
//!
//! Each measurement is a process of its own: this program starts itself with a log and a configuration, and
//! takes the CPU time of the whole process from the kernel. fail2ban's classes are those of Debian's package,
//! unpacked by `.ci/fail2ban-config`; without it only our own side is measured, and that is said.

mod logs;
mod reading;
mod worst;

use bannkreis_benches::fail2ban;
use bannkreis_core::failure::{SourceId, SourcePosition};
use bannkreis_core::log_block::LogBlock;
use bannkreis_core::time::Timestamp;
use bannkreis_filter::log_filters::LogFilters;
use logs::Kind;
use reading::Jails;
use std::io::{self, Read, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// As the node's sources read.
const BLOCK_BYTES: usize = 256 * 1024;
/// 2026-11-20 20:00:00 UTC: all made-up logs are older.
pub(crate) const NOW: Timestamp = Timestamp(1_795_204_800_000);

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["judge", jails, log] => judge(jails, Path::new(log)),
        ["ready"] => ready(),
        ["worst"] => worst::print(),
        _ => all(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the benchmark failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One mixture of lines, who reads it, and what is aimed at.
struct Case {
    what: &'static str,
    jails: &'static str,
    kind: Kind,
    hostile: f64,
    n_lines: u32,
    /// fail2ban gets so many.
    n_lines_fail2ban: u32,
    aim: &'static str,
}

const CASES: [Case; 7] = [
    Case {
        what: "ten Kerio jails, 0.1 % hostile",
        jails: "kerio",
        kind: Kind::Kerio,
        hostile: 0.001,
        n_lines: 4_000_000,
        n_lines_fail2ban: 20_000,
        aim: "1,000 x fail2ban",
    },
    Case {
        what: "ten Kerio jails, 10 % hostile",
        jails: "kerio",
        kind: Kind::Kerio,
        hostile: 0.1,
        n_lines: 1_000_000,
        n_lines_fail2ban: 10_000,
        aim: "1 M",
    },
    Case {
        what: "ten Kerio jails, 10 % hostile, no line ASCII",
        jails: "kerio",
        kind: Kind::KerioUmlauts,
        hostile: 0.1,
        n_lines: 1_000_000,
        n_lines_fail2ban: 0,
        aim: "a third of ASCII",
    },
    Case {
        what: "stock sshd, 85 % hostile",
        jails: "sshd",
        kind: Kind::Sshd,
        hostile: 0.85,
        n_lines: 4_000_000,
        n_lines_fail2ban: 20_000,
        aim: "2 M",
    },
    Case {
        what: "stock sshd, 85 % hostile, few lines ASCII",
        jails: "sshd",
        kind: Kind::SshdUmlauts,
        hostile: 0.85,
        n_lines: 2_000_000,
        n_lines_fail2ban: 0,
        aim: "a third of ASCII",
    },
    Case {
        what: "all stock jails, 0.1 % hostile",
        jails: "all",
        kind: Kind::Mail,
        hostile: 0.001,
        n_lines: 4_000_000,
        n_lines_fail2ban: 2_000,
        aim: "1 M",
    },
    Case {
        what: "all stock jails, 10 % hostile",
        jails: "all",
        kind: Kind::Mail,
        hostile: 0.1,
        n_lines: 2_000_000,
        n_lines_fail2ban: 0,
        aim: "",
    },
];

fn all() -> Result<()> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench-filter");
    std::fs::create_dir_all(&directory)?;
    let only = std::env::args().nth(1).unwrap_or_default();
    say(&format!(
        "{:<46} {:>12} {:>10} {:>9}  {}",
        "lines per CPU-second", "bannkreis", "fail2ban", "ratio", "aim"
    ));
    for (n, case) in CASES.iter().enumerate().filter(|(_, case)| case.what.contains(&only)) {
        if case.jails != "kerio" && fail2ban::config_dir().is_none() {
            say(&format!(
                "SKIPPED: {}: Debian's fail2ban is not unpacked; run .ci/fail2ban-config",
                case.what
            ));
            continue;
        }
        let log = directory.join(format!("{n}.log"));
        std::fs::write(&log, logs::log(case.kind, case.n_lines, case.hostile))?;
        let seconds =
            cpu_seconds_of(Command::new(std::env::current_exe()?).args(["judge", case.jails]).arg(&log))?;
        let ours = f64::from(case.n_lines) / seconds;
        let theirs = fail2bans(case, &directory)?;
        let (shown, ratio) = match theirs {
            Some(theirs) => (format!("{theirs:.0}"), format!("{:.0}", ours / theirs)),
            None => (String::new(), String::new()),
        };
        say(&format!("{:<46} {ours:>12.0} {shown:>10} {ratio:>9}  {}", case.what, case.aim));
    }
    if only.is_empty() && fail2ban::config_dir().is_some() {
        for part in ["ready", "worst"] {
            Command::new(std::env::current_exe()?).arg(part).status()?;
        }
    }
    Ok(())
}

/// What fail2ban does with all jails of this case, each of which reads the log by itself.
fn fail2bans(case: &Case, directory: &Path) -> Result<Option<f64>> {
    let Some(installed) = fail2ban::config_dir().filter(|_| case.n_lines_fail2ban > 0) else {
        return Ok(None);
    };
    let log = directory.join("fail2ban.log");
    std::fs::write(&log, logs::log(case.kind, case.n_lines_fail2ban, case.hostile))?;
    let jails = Jails::named(case.jails)?;
    let config = jails.written_for_fail2ban(directory)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("filter/lines.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(fail2ban::modules_dir(&installed))
        .arg(config)
        .arg(&log)
        .args(jails.names()?)
        .output()?;
    if !output.status.success() {
        return Err(format!("fail2ban: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let seconds: f64 = text.lines().filter_map(|line| line.split(' ').nth(3)?.parse::<f64>().ok()).sum();
    Ok(Some(f64::from(case.n_lines_fail2ban) / seconds))
}

/// Judges a log: what a measured process does.
fn judge(jails: &str, log: &Path) -> Result<()> {
    let mut filters = LogFilters::of_one(SourceId(0), Jails::named(jails)?.filters()?);
    let mut n_failures = 0_u64;
    let mut n_lines = 0;
    let mut file = std::fs::File::open(log)?;
    let mut buffer = vec![0; BLOCK_BYTES];
    let (mut position, mut n_kept) = (0, 0);
    loop {
        let n_read = file.read(&mut buffer[n_kept..])?;
        let n_bytes = n_kept + n_read;
        let Some(end) = memchr::memrchr(b'\n', &buffer[..n_bytes]) else { break };
        let block = LogBlock {
            source: SourceId(0),
            position: SourcePosition(position),
            received_at: NOW,
            bytes: &buffer[..=end],
            replayed_bytes: 0,
        };
        n_lines += filters.judge_block(&block, NOW, |_| n_failures += 1);
        position += end as u64 + 1;
        buffer.copy_within(end + 1..n_bytes, 0);
        n_kept = n_bytes - end - 1;
    }
    if std::env::var_os("BENCH_TELL").is_some() {
        say(&format!("{n_lines} lines, {n_failures} failures, {} kB", rss_kilobytes()));
        for filter in filters.filters().iter().filter(|filter| filter.counts().failures > 0) {
            say(&format!("  {} {:?}", filter.jail(), filter.counts()));
        }
    }
    Ok(())
}

/// How long it takes until all stock jails are ready, and what they take then.
fn ready() -> Result<()> {
    let before = rss_kilobytes();
    let started = Instant::now();
    let filters = Jails::named("all")?.filters()?;
    let elapsed = started.elapsed();
    let n_jails = filters.len();
    let filters = LogFilters::of_one(SourceId(0), filters);
    let linked = started.elapsed();
    say(&format!(
        "\nall {n_jails} stock jails: read in {:.3} s, ready in {:.3} s (aim 1); {:.1} MB resident, {:.1} before (aim 60)",
        elapsed.as_secs_f64(),
        linked.as_secs_f64(),
        rss_kilobytes() as f64 / 1e3,
        before as f64 / 1e3,
    ));
    if std::env::var_os("BENCH_TELL").is_some() {
        for filter in filters.filters().iter().filter(|filter| filter.needles().is_none()) {
            say(&format!("  [{}] has to see every line", filter.jail()));
        }
    }
    Ok(())
}

/// Runs a process and says what CPU time it took, user and system, by proc(5).
fn cpu_seconds_of(command: &mut Command) -> Result<f64> {
    let before = children_ticks()?;
    let status = command.status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok((children_ticks()? - before) as f64 / 100.0)
}

/// CPU time of all children that have ended, in hundredths of a second.
fn children_ticks() -> io::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // cutime and cstime are the fields 16 and 17; the first one here is field 3.
    Ok(behind_name.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn rss_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

pub(crate) fn say(text: &str) {
    // With nobody reading there is nothing to be done.
    let _ = writeln!(stdout(), "{text}");
}
