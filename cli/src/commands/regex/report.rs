//! What `bannkreis regex` prints at its end: fail2ban-regex's blocks, line by line, so that both outputs can
//! be laid side by side; and the same as JSON.
//!
//! Hints are not here: they go to standard error.

use super::args::RegexArgs;
use super::tally::{Hits, LINES_SHOWN, Lines, Tally, Wanted};
use super::{date_names, python};
use crate::text::shown;
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::Filter;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// How many lines are few enough to be printed.
fn few(args: &RegexArgs) -> usize {
    args.maxlines().unwrap_or(LINES_SHOWN)
}

/// Which lines have to be kept for what will be printed.
#[must_use]
pub(super) fn wanted(args: &RegexArgs) -> Wanted {
    let n_kept = |all: bool, none: bool| match (all, none) {
        (true, _) => usize::MAX,
        (_, true) => 0,
        _ => few(args),
    };
    Wanted {
        matched: n_kept(args.print_all_matched, true),
        missed: n_kept(args.print_all_missed, args.print_no_missed),
        ignored: n_kept(args.print_all_ignored, args.print_no_ignored),
        offenders: (args.verbosity() > 0).then_some(few(args)),
    }
}

/// The whole of it. `seconds` is how long it took.
#[must_use]
pub(super) fn text(
    tally: &Tally,
    filter: &Filter,
    args: &RegexArgs,
    seconds: f64,
    zone: &TimeZone,
) -> String {
    let mut page = "\nResults\n=======\n".to_owned();
    let is_verbose = args.verbosity() > 0;
    if let Some(prefregex) = filter.prefregex() {
        page.push_str(&format!("\nPrefregex: {} total\n", tally.n_prefregex));
        let mut lines = vec![as_fail2ban_writes(prefregex)];
        lines.extend(tally.prefix_groups.iter().map(|groups| {
            let entries =
                groups.iter().map(|(name, value)| (name.as_str(), python::optional(value.as_deref())));
            format!("    {}", python::dictionary(entries))
        }));
        if tally.n_prefregex > tally.prefix_groups.len() as u64 && is_verbose {
            lines.push("    ...".to_owned());
        }
        push_list(&mut page, None, &lines);
    }
    push_hits(&mut page, "Failregex", &tally.failregex, is_verbose, zone);
    push_hits(&mut page, "Ignoreregex", &tally.ignoreregex, is_verbose, zone);
    push_dates(&mut page, filter, is_verbose, args.verbose_date);
    page.push_str(&format!(
        "\nLines: {} lines, {} ignored, {} matched, {} missed\n[processed in {seconds:.2} sec]\n\n",
        tally.n_tested, tally.ignored.n, tally.matched.n, tally.missed.n
    ));
    if args.print_all_matched {
        push_lines(&mut page, "matched", &tally.matched, true, args);
    }
    if !args.print_no_ignored {
        push_lines(&mut page, "ignored", &tally.ignored, args.print_all_ignored, args);
    }
    if !args.print_no_missed {
        push_lines(&mut page, "missed", &tally.missed, args.print_all_missed, args);
    }
    page
}

/// Its pattern of an IPv6 address has a look behind that changes nothing, and that ours leaves out.
fn as_fail2ban_writes(expression: &str) -> String {
    expression.replace("(?:[0-9a-fA-F]{1,4}|:)", "(?:[0-9a-fA-F]{1,4}|(?<=:):)")
}

fn push_list(page: &mut String, header: Option<&str>, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    if let Some(header) = header {
        page.push_str(&format!("|- {header}\n"));
    }
    for line in lines {
        page.push_str(&format!("|  {}\n", shown(line)));
    }
    page.push_str("`-\n");
}

fn push_hits(page: &mut String, title: &str, hits: &[Hits], is_verbose: bool, zone: &TimeZone) {
    let mut lines = Vec::new();
    for (n, hits) in hits.iter().enumerate().filter(|(_, hits)| hits.n > 0 || is_verbose) {
        lines.push(format!("{:>2}) [{}] {}", n + 1, hits.n, hits.written));
        for (id, at, is_one_of_several) in &hits.offenders {
            let several = if *is_one_of_several { " (multiple regex matched)" } else { "" };
            lines.push(format!("    {}  {}{several}", id.as_deref().unwrap_or("None"), spoken(*at, zone)));
        }
        let n_more = hits.n.saturating_sub(hits.offenders.len() as u64);
        if is_verbose && !hits.offenders.is_empty() && n_more > 0 {
            lines.push(format!("    ... and {n_more} more"));
        }
    }
    let total: u64 = hits.iter().map(|hits| hits.n).sum();
    page.push_str(&format!("\n{title}: {total} total\n"));
    push_list(page, Some(" #) [# of hits] regular expression"), &lines);
}

fn push_dates(page: &mut String, filter: &Filter, is_verbose: bool, with_expressions: bool) {
    let mut lines = Vec::new();
    for (format, n) in filter.date_formats().filter(|(_, n)| *n > 0 || is_verbose) {
        lines.push(format!("[{n}] {}", date_names::shown(&format.name)));
        if with_expressions {
            lines.push(format!("    # weight: {:.3}, pattern: {}", format.weight, format.name));
        }
    }
    page.push_str("\nDate template hits:\n");
    push_list(page, Some("[# of hits] date format"), &lines);
}

/// `Sun Nov 22 10:00:00 2026`, as ctime(3) has it.
fn spoken(at: Timestamp, zone: &TimeZone) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(zone.clone()).strftime("%a %b %d %H:%M:%S %Y").to_string()
}

fn push_lines(page: &mut String, kind: &str, lines: &Lines, all: bool, args: &RegexArgs) {
    if lines.n == 0 {
        return;
    }
    let header = format!("{}{} line(s):", kind[..1].to_uppercase(), &kind[1..]);
    if lines.n >= few(args) as u64 && !all {
        page.push_str(&format!(
            "{header} too many to print.  Use --print-all-{kind} to print all {} lines\n",
            lines.n
        ));
        return;
    }
    let mut kept: Vec<String> = lines.kept.iter().map(|line| line.trim_end().to_owned()).collect();
    let n_more = lines.n.saturating_sub(kept.len() as u64);
    if n_more > 0 {
        kept.push(format!("... and {n_more} more, which are not kept; -o msg prints any number"));
    }
    push_list(page, Some(&header), &kept);
}

/// The same for programs.
#[must_use]
pub(super) fn json(tally: &Tally, filter: &Filter, args: &RegexArgs) -> Value {
    let hits = |all: &[Hits]| -> Value {
        all.iter().map(|hits| json!({ "expression": hits.written, "n_hits": hits.n })).collect()
    };
    let lines =
        |lines: &Lines, is_wanted: bool| json!({ "n": lines.n, "lines": is_wanted.then_some(&lines.kept) });
    let formats = filter.date_formats().filter(|(_, n)| *n > 0);
    json!({
        "exit_code": 0,
        "prefregex": filter.prefregex().map(|expression| json!({ "expression": expression, "n_hits": tally.n_prefregex })),
        "failregex": hits(&tally.failregex),
        "ignoreregex": hits(&tally.ignoreregex),
        "date_formats": formats.map(|(format, n)| json!({ "format": format.name, "n_hits": n })).collect::<Value>(),
        "n_lines": tally.n_tested,
        "matched": lines(&tally.matched, args.print_all_matched),
        "ignored": lines(&tally.ignored, !args.print_no_ignored),
        "missed": lines(&tally.missed, !args.print_no_missed),
    })
}
