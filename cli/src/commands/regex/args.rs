//! What can be typed after `bannkreis regex`: fail2ban-regex's own options, with its letters and its words.
//!
//! Only what is typed; what it means is in the modules beside.

use clap::{ArgAction, Args};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
LOG:
  a file                 the log to read
  a text                 one line of a log, or several
  systemd-journal        not yet: write the lines to a file first

REGEX:
  a filter               its name, perhaps with parameters: sshd[mode=aggressive]
  a file                 a filter file, read with what it includes: filter.d/sshd.conf
  a text                 a failregex

IGNOREREGEX:
  a text                 an ignoreregex. The filter's own are applied in any case.

Exit codes are fail2ban-regex's: 0 when the test was made, whatever came out, 255 when it was not.";

/// What `regex` was called with.
#[derive(Clone, Debug, Default, Args)]
#[command(override_usage = "bannkreis regex [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]", after_help = AFTER_HELP)]
// What is typed twice counts as it was typed last, as in fail2ban-regex.
#[command(args_override_self = true)]
pub struct RegexArgs {
    /// LOG, REGEX and perhaps IGNOREREGEX: see below.
    #[arg(value_name = "LOG REGEX IGNOREREGEX", hide = true)]
    pub positional: Vec<OsString>,
    /// The directory with filter.d.
    #[arg(short = 'c', long = "config", alias = "config-dir", value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// How dates are written, in place of the filter's datepattern.
    #[arg(short, long, value_name = "PATTERN", allow_hyphen_values = true)]
    pub datepattern: Option<String>,
    /// The zone of times that name none: UTC+0100, CET.
    #[arg(long, visible_alias = "TZ", value_name = "ZONE", allow_hyphen_values = true)]
    pub timezone: Option<String>,
    /// The encoding of LOG.
    #[arg(short, long, value_name = "ENCODING")]
    pub encoding: Option<String>,
    /// Take names of hosts as they are, in place of an address.
    #[arg(short, long)]
    pub raw: bool,
    /// With `no`, `<HOST>` matches addresses only.
    #[arg(long, value_name = "yes|warn|no|raw")]
    pub usedns: Option<String>,
    /// How many lines an expression sees at once, in place of the filter's maxlines; also how many lines are
    /// printed before they are too many.
    #[arg(short = 'L', long, value_name = "N", allow_negative_numbers = true)]
    pub maxlines: Option<i64>,
    /// For systemd-journal.
    #[arg(short = 'm', long, value_name = "MATCHES", allow_hyphen_values = true)]
    pub journalmatch: Option<String>,
    /// Taken for fail2ban's sake; what would be logged is printed anyway.
    #[arg(short = 'l', long = "log-level", value_name = "LEVEL", allow_hyphen_values = true)]
    pub log_level: Option<String>,
    /// Show every expression and format, hit or not, and each offender; twice: the filter's options too.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// The same as a number.
    #[arg(long, value_name = "N", overrides_with = "verbose", allow_negative_numbers = true)]
    pub verbosity: Option<i64>,
    /// Show what each format of dates looks for.
    #[arg(long = "verbose-date", visible_alias = "VD")]
    pub verbose_date: bool,
    /// fail2ban's links to debuggex.com: there are none here.
    #[arg(short = 'D', long)]
    pub debuggex: bool,
    /// Stop at the first failregex that matches, as the daemon does.
    #[arg(long = "no-check-all")]
    pub no_check_all: bool,
    /// Print nothing but this of each failure: id, fid, ip, msg, row, a group (user, host, ip4, mlfid, …), or
    /// a text with `<tags>`.
    #[arg(short, long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub out: Option<String>,
    /// Print no missed lines.
    #[arg(long)]
    pub print_no_missed: bool,
    /// Print no ignored lines.
    #[arg(long)]
    pub print_no_ignored: bool,
    /// Print all matched lines.
    #[arg(long)]
    pub print_all_matched: bool,
    /// Print all missed lines, however many.
    #[arg(long)]
    pub print_all_missed: bool,
    /// Print all ignored lines, however many.
    #[arg(long)]
    pub print_all_ignored: bool,
    /// Taken for fail2ban's sake, without effect.
    #[arg(short = 't', long = "log-traceback")]
    pub log_traceback: bool,
    /// Taken for fail2ban's sake, without effect.
    #[arg(long)]
    pub full_traceback: bool,
}

impl RegexArgs {
    /// How much is shown, from 0.
    #[must_use]
    pub fn verbosity(&self) -> i64 {
        self.verbosity.unwrap_or(i64::from(self.verbose))
    }

    /// How many lines an expression sees at once, if that was typed.
    #[must_use]
    pub fn maxlines(&self) -> Option<usize> {
        self.maxlines.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0)
    }
}
