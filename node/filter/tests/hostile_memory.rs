//! What hostile lines cost besides time: memory, and automata that are built on the first line of a kind.
//!
//! Memory is the whole process's, so this is a file of its own with one test: nothing else may run beside it. What is
//! found in such lines is not asked here (`hostile`), nor how quick a release is (`benches`).

use bannkreis_core::failure::{LINE_BYTES_MAX, LogLine, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::{Filter, Mode};
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;
use std::ops::Range;
use std::time::{Duration, Instant};

const NOW: Timestamp = Timestamp(1_795_168_830_000);
/// What a filter takes, once lines of all kinds have come: its automata, which have bounds of their own.
const FILTER_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// So much may be lost to what the allocator does not give back.
const SLACK_BYTES: u64 = 1024 * 1024;
/// With lines of all kinds so often, every filter knows as many connections as it may.
const ROUNDS_UNTIL_FULL: u64 = 24;
/// The lines that fill them are no longer than that: there are many of them.
const SHORTER_BYTES: usize = 4 * 1024;
/// A leak of a hundred bytes for each line and filter is seen in so many.
const ROUNDS_MORE: u64 = 10;
/// For a filter to judge its first line of a kind. Measured: 70 ms, unoptimised.
const FIRST_TIME_MAX: Duration = Duration::from_secs(3);

/// `#` stands for a number that is in no other line: of a process, of a connection, of an account.
const HEADS: [&str; 6] = [
    "Nov 20 10:00:00 h sshd[#]: Failed password for ",
    "Nov 20 10:00:00 h sshd[#]: Invalid user # from 192.0.2.7 port 22 ",
    "Nov 20 10:00:00 h dovecot: imap-login: Disconnected (auth failed, 1 attempts): user=<#>, ",
    "Nov 20 10:00:00 h postfix/smtpd[#]: NOQUEUE: reject: RCPT from ",
    "[Fri Nov 20 10:00:00 2026] [error] [pid #] [client 192.0.2.1] user ",
    "192.0.2.1 - - [20/Nov/2026:10:00:00 +0000] \"GET /#",
];
const PIECES: [&str; 16] = [
    "A ",
    "a: ",
    " from ",
    "::1:",
    "1.1.",
    "]' [",
    "äß",
    "字\u{2003}",
    "user=<#>, ",
    "# ",
    "failed",
    "\"",
    "(",
    "\0",
    "rhost=",
    "192.0.2.1",
];
/// What ends lines.
const TAILS: [&str; 3] = ["", " from 192.0.2.5 port 22", ": authentication failure"];

/// Our own jails, all of them on.
fn our_filters() -> Vec<Filter> {
    let user = MemoryTree::new("/f/").with("jail.local", "[DEFAULT]\nenabled = true\n");
    let host = Host {
        zone: TimeZone::UTC,
        services: &|_| None,
        is_journal_instead: &|_| false,
        config_dir: String::new(),
    };
    reading::read(&user, &host).expect("well formed").jails.into_iter().map(|jail| jail.filter).collect()
}

/// What of this process is in memory: VmRSS of proc_pid_status(5).
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// A line of nearly so many bytes: the same piece over and over, or, mixed, one after the other.
fn text(number: u64, n_bytes: usize, is_mixed: bool) -> String {
    let of = |all: &[&'static str], n: u64| all[usize::try_from(n).expect("small") % all.len()];
    let n_heads = HEADS.len() as u64;
    let mut text = of(&HEADS, number).to_owned();
    for n in 0.. {
        let step = if is_mixed { n * (1 + number % 7) + n * n / 5 } else { 0 };
        let piece = of(&PIECES, number / n_heads + step);
        if text.len() + piece.len() + 30 > n_bytes {
            break;
        }
        text.push_str(piece);
    }
    let mut text = (text + of(&TAILS, number)).replace('#', &number.to_string());
    // The numbers have made it longer.
    text.truncate(text.floor_char_boundary(n_bytes));
    text
}

/// Judges lines, whole or cut; the longest that one took a filter.
fn judge(filters: &mut [Filter], texts: impl Iterator<Item = String>, cut: bool) -> Duration {
    let mut longest = Duration::ZERO;
    for text in texts {
        let line = LogLine {
            source: SourceId(0),
            position: SourcePosition(0),
            received_at: NOW,
            written_at: None,
            text: text.into_bytes(),
            cut,
            replayed: false,
        };
        for filter in &mut *filters {
            let began = Instant::now();
            let _ = filter.judge(&line, NOW, Mode::Following);
            longest = longest.max(began.elapsed());
        }
    }
    longest
}

#[test]
fn hostile_lines_cost_no_more_memory_the_more_of_them_come() {
    let mut filters = our_filters();
    let n_kinds = (HEADS.len() * PIECES.len()) as u64;
    let texts = |rounds: Range<u64>, n_bytes, is_mixed| {
        (rounds.start * n_kinds..rounds.end * n_kinds).map(move |number| text(number, n_bytes, is_mixed))
    };
    let ready = resident_bytes();
    let most = ready + filters.len() as u64 * FILTER_BYTES_MAX + SLACK_BYTES;

    let whole = judge(&mut filters, texts(0..1, LINE_BYTES_MAX, false), false);
    let cut = judge(&mut filters, texts(0..1, LINE_BYTES_MAX, false), true);
    assert!(whole.max(cut) < FIRST_TIME_MAX, "{whole:?} and, cut, {cut:?} for a first line");
    let known = resident_bytes();
    assert!(known < most, "{ready} bytes, {known} with lines of each kind");

    // Each line has other numbers in it than all before: the tables of connections fill up.
    judge(&mut filters, texts(1..ROUNDS_UNTIL_FULL, SHORTER_BYTES, false), false);
    let full = resident_bytes();
    assert!(full < most, "{ready} bytes, {full} with full tables");
    judge(
        &mut filters,
        texts(ROUNDS_UNTIL_FULL..ROUNDS_UNTIL_FULL + ROUNDS_MORE, SHORTER_BYTES, false),
        false,
    );
    let more = resident_bytes();
    assert!(more < full + SLACK_BYTES, "{full} bytes with full tables, {more} after more lines");

    // No two lines alike.
    judge(&mut filters, texts(0..2, LINE_BYTES_MAX, true), false);
    judge(&mut filters, texts(2..4, LINE_BYTES_MAX, true), true);
    let mixed = resident_bytes();
    assert!(mixed < most, "{ready} bytes, {mixed} with mixed lines");
}
