//! The line that costs most: what nested quantifiers make slow elsewhere, as long as a line can be, for every
//! stock filter.

use crate::reading::Jails;
use crate::{NOW, Result, say};
use bannkreis_core::failure::{LINE_BYTES_MAX, LogLine, SourceId, SourcePosition};
use bannkreis_filter::filter::{Filter, Mode};
use std::time::Instant;

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

/// Prints the costliest lines. Each is judged three times; the first time may build automata, so the best
/// of the three counts, and the worst first time is told beside.
pub(crate) fn print() -> Result<()> {
    let mut worst: Vec<(f64, String)> = Vec::new();
    let (mut first_time, mut gave_up) = (0.0_f64, 0);
    for mut filter in Jails::named("all")?.filters()? {
        for head in HEADS {
            for piece in PIECES {
                for tail in TAILS {
                    let n = (LINE_BYTES_MAX - head.len() - tail.len()) / piece.len();
                    let text = format!("{head}{}{tail}", piece.repeat(n));
                    let milliseconds: Vec<f64> = (0..3).map(|_| judged_in(&mut filter, &text)).collect();
                    first_time = first_time.max(milliseconds[0]);
                    let best = milliseconds.iter().copied().fold(f64::INFINITY, f64::min);
                    worst.push((best, format!("[{}] {head}{piece:?}...{tail}", filter.jail())));
                }
            }
        }
        gave_up += filter.counts().gave_up;
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    say(&format!("\nworst of {} lines of 16 KiB, in ms (aim 10); {gave_up} searches given up;", worst.len()));
    say(&format!("{first_time:.1} when the automata are built as well"));
    for (milliseconds, line) in worst.iter().take(5) {
        say(&format!("  {milliseconds:.2}  {line}"));
    }
    Ok(())
}

fn judged_in(filter: &mut Filter, text: &str) -> f64 {
    let line = LogLine {
        source: SourceId(0),
        position: SourcePosition(0),
        received_at: NOW,
        text: text.as_bytes().to_vec(),
        cut: false,
        replayed: false,
    };
    let started = Instant::now();
    let _ = filter.judge(&line, NOW, Mode::Following);
    started.elapsed().as_secs_f64() * 1_000.0
}
