//! The line that costs most: what nested quantifiers make slow elsewhere, as long as a line can be, for every
//! stock filter. And what the first such line costs more than those after it, in time and in memory.

use crate::reading::Jails;
use crate::{NOW, Result, rss_kilobytes, say};
use bannkreis_core::failure::{LINE_BYTES_MAX, LogLine, SourceId, SourcePosition};
use bannkreis_filter::filter::{Filter, Mode};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

const HEADS: [&str; 7] = [
    "Nov 20 10:00:00 h sshd[1]: Failed password for ",
    "Nov 20 10:00:00 h smtp: ",
    "Nov 20 10:00:00 h dovecot: imap-login: Disconnected: ",
    "Nov 20 10:00:00 h postfix/smtpd[1]: NOQUEUE: reject: RCPT from ",
    "[Fri Nov 20 10:00:00 2026] [error] [client 192.0.2.1] user ",
    "2026-11-20 10:00:00 SMTP Server: Authentication failed for user ",
    "192.0.2.1 - - [20/Nov/2026:10:00:00 +0000] \"GET /",
];
const PIECES: [&str; 12] =
    ["A ", "a: ", " from ", "::1:", "1.1.", " ", "]' [", "11:11:", "\u{e4}", "<>", "(,", "user=<x>, "];
const TAILS: [&str; 3] = ["", " from 192.0.2.5 port 22", ": test no match"];

/// How often each line is judged.
const TIMES: usize = 5;

/// Every line that is judged, for one filter.
fn texts() -> impl Iterator<Item = (String, String)> {
    let heads = HEADS.iter().flat_map(|head| PIECES.iter().map(move |piece| (head, piece)));
    heads.flat_map(|(head, piece)| {
        TAILS.iter().map(move |tail| {
            let n = (LINE_BYTES_MAX - head.len() - tail.len()) / piece.len();
            (format!("{head}{}{tail}", piece.repeat(n)), format!("{head}{piece:?}...{tail}"))
        })
    })
}

/// What one line cost a filter.
struct Cost {
    /// The first time, when automata may have to be built for it.
    first: f64,
    /// The best of the others.
    best: f64,
    line: String,
}

/// Prints the costliest lines, and what memory they cost. All filters judge all lines, one time after the other: the
/// first time automata are built, so it is told apart, and of the others the best one counts.
pub(crate) fn print() -> Result<()> {
    let mut filters = Jails::named("all")?.filters()?;
    let mut resident = vec![rss_kilobytes()];
    let mut costs: Vec<Cost> = Vec::new();
    for time in 0..TIMES {
        let mut n = 0;
        for filter in &mut filters {
            for (text, line) in texts() {
                let milliseconds = judged_in(filter, &text);
                if time == 0 {
                    let line = format!("[{}] {line}", filter.jail());
                    costs.push(Cost { first: milliseconds, best: f64::INFINITY, line });
                } else {
                    costs[n].best = costs[n].best.min(milliseconds);
                }
                n += 1;
            }
        }
        resident.push(rss_kilobytes());
    }
    let gave_up: u64 = filters.iter().map(|filter| filter.counts().gave_up).sum();
    say(&format!(
        "\nworst of {} lines of 16 KiB, in ms on a processor (aim 10); {gave_up} searches given up:",
        costs.len()
    ));
    tell(&mut costs, |cost| cost.best);
    let all_first: f64 = costs.iter().map(|cost| cost.first - cost.best).sum();
    say(&format!("the first time, when automata are built ({:.2} s for all of them):", all_first / 1e3));
    tell(&mut costs, |cost| cost.first);
    let resident: Vec<String> =
        resident.iter().map(|kilobytes| format!("{:.1}", *kilobytes as f64 / 1e3)).collect();
    say(&format!("MB resident before, and after each time: {}", resident.join(", ")));
    Ok(())
}

fn tell(costs: &mut [Cost], which: impl Fn(&Cost) -> f64) {
    costs.sort_by(|a, b| which(b).total_cmp(&which(a)));
    for cost in costs.iter().take(5) {
        say(&format!("  {:.2}  {}", which(cost), cost.line));
    }
}

fn judged_in(filter: &mut Filter, text: &str) -> f64 {
    let line = LogLine {
        source: SourceId(0),
        position: SourcePosition(0),
        received_at: NOW,
        written_at: None,
        text: text.as_bytes().to_vec(),
        cut: false,
        replayed: false,
    };
    let before = on_processor();
    let _ = filter.judge(&line, NOW, Mode::Following);
    (on_processor() - before).as_secs_f64() * 1_000.0
}

/// For how long this thread has had a processor: what others do meanwhile is no cost of a line.
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
