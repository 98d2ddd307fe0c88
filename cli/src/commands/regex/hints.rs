//! What the user should know beside fail2ban-regex's own output: where the daemon decides differently from
//! what was printed, and what was not tested. To standard error, so that the output itself stays the same.

use super::args::RegexArgs;
use super::lines::Lines;
use super::tally::Tally;
use crate::text::counted;
use bannkreis_core::failure::LINE_BYTES_MAX;

/// One sentence each.
#[must_use]
pub(super) fn of(tally: &Tally, lines: &Lines, args: &RegexArgs) -> Vec<String> {
    let mut hints = Vec::new();
    if args.debuggex {
        hints.push(
            "-D: no links to debuggex.com are made, because they carry the log to a stranger; copy one line and one \
             expression there, if you must"
                .to_owned(),
        );
    }
    if args.journalmatch.is_some() {
        hints.push("-m has no effect without systemd-journal".to_owned());
    }
    let (n, name) = &tally.names;
    if *n > 0 {
        let n = counted(*n, "failure names a host", "failures name hosts");
        hints.push(format!(
            "{n} and no address ({name}): this test looks no names up. -r takes them as they are"
        ));
    }
    let (n, id) = &tally.not_addresses;
    if *n > 0 && !args.raw {
        let n = counted(*n, "failure is", "failures are");
        hints.push(format!("{n} of something that is no address ({id}); there is nothing to block then"));
    }
    if tally.n_undated > 0 {
        let n = counted(tally.n_undated, "failure has", "failures have");
        hints.push(format!(
            "{n} no date that can be read; the daemon takes the time at which it reads such a line"
        ));
    }
    if tally.n_cut > 0 {
        let n = counted(tally.n_cut, "line is", "lines are");
        hints.push(format!("{n} longer than {LINE_BYTES_MAX} bytes and judged without the rest"));
    }
    if tally.n_gave_up > 0 {
        let n = counted(tally.n_gave_up, "search", "searches");
        hints.push(format!(
            "{n} took too many steps and counted as no match; an expression with look-around or \\1 is too ambiguous"
        ));
    }
    if matches!(lines, Lines::File(file) if file.is_unended) {
        hints.push(
            "what stands behind the last end of a line is not tested: it may not be whole yet".to_owned(),
        );
    }
    hints
}
