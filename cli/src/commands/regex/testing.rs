//! One test on its way: the filter and the log that were typed, line by line.
//!
//! Whoever wants to know more of each line than the output shows uses this directly; the test against
//! fail2ban's own classes does. Not for counting and printing.

use super::args::RegexArgs;
use super::lines::{self, Lines};
use super::subject;
use crate::args::CONFIG_DIR_DEFAULT;
use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::jail::JailName;
use bannkreis_core::time::Timestamp;
use bannkreis_filter::date::convert::Zone;
use bannkreis_filter::date::templates::DefaultTemplates;
use bannkreis_filter::date::zones;
use bannkreis_filter::encoding::LogEncoding;
use bannkreis_filter::filter::{Filter, Surroundings, UseDns};
use bannkreis_filter::trial::{Thoroughness, Tried};
use jiff::tz::TimeZone;
use std::ffi::OsStr;
use std::path::Path;

/// What the jail is called that a filter is tested for; no output names it.
const JAIL: &str = "regex";
/// What stands in the output when nobody names an encoding; logs are UTF-8.
const ENCODING_DEFAULT: &str = "UTF-8";

/// Logging levels that fail2ban knows; a number is one as well.
const LOG_LEVELS: [&str; 10] =
    ["critical", "error", "warning", "notice", "info", "debug", "msg", "trace", "tracedebug", "heavydebug"];

/// A filter on a log.
#[derive(Debug)]
pub struct Testing {
    /// The filter, which remembers what it has seen.
    pub filter: Filter,
    /// What the user is told first: whole lines.
    pub announced: Vec<String>,
    /// What looks like a mistake.
    pub hints: Vec<String>,
    pub(super) lines: Lines,
    wanted: Thoroughness,
    now: Timestamp,
}

impl Testing {
    /// Reads the filter and opens the log. `now` completes dates without a year; times without a zone are of
    /// `zone`, if nothing else was typed.
    ///
    /// # Errors
    /// A sentence that says what is missing or wrong.
    pub fn open(args: &RegexArgs, now: Timestamp, zone: &TimeZone) -> Result<Testing, String> {
        let (log, regex, ignoreregex) = positional(args)?;
        if let Some(level) = &args.log_level {
            check_log_level(level)?;
        }
        let config_dir = args.config.as_deref().unwrap_or(Path::new(CONFIG_DIR_DEFAULT));
        if args.config.is_some() && !config_dir.is_dir() {
            return Err(format!("-c: {} is no directory", config_dir.display()));
        }
        let mut subject = subject::read(regex, args, config_dir)?;
        if let Some(ignoreregex) = ignoreregex {
            subject.add_ignoreregex(ignoreregex);
        }
        let raw_names = args.raw || subject.rules.use_dns == UseDns::Raw;
        let filter = Filter::new(&subject.rules, surroundings(args, zone)?, &DefaultTemplates::new())
            .map_err(|error| error.to_string())?;
        let encoding = args.encoding.as_deref().unwrap_or(ENCODING_DEFAULT);
        let opened = lines::open(log, encoding, subject.maxlines.is_some_and(|n| n > 1))?;
        let is_statistic = args.out.is_none();
        Ok(Testing {
            filter,
            announced: subject.announced.into_iter().chain(opened.announced).collect(),
            hints: subject.hints.into_iter().chain(opened.hint).collect(),
            lines: opened.lines,
            wanted: Thoroughness {
                every_failregex: !args.no_check_all && is_statistic,
                pending: is_statistic,
                raw_names,
            },
            now,
        })
    }

    /// The next line that is tested, and what it showed; `None` behind the last.
    ///
    /// # Errors
    /// A sentence, when the log can not be read on.
    pub fn next_line(&mut self) -> Result<Option<(LogLine, Tried)>, String> {
        loop {
            let line = self.lines.next().map_err(|error| format!("the log can not be read on: {error}"))?;
            let Some(line) = line else { return Ok(None) };
            // Comments and empty lines are no lines of a log, in fail2ban-regex too.
            if line.text.is_empty() || line.text.starts_with(b"#") {
                continue;
            }
            let line = LogLine {
                source: SourceId(0),
                position: SourcePosition(0),
                received_at: self.now,
                written_at: None,
                text: line.text,
                cut: line.cut,
                replayed: true,
            };
            let tried = self.filter.try_line(&line, self.now, self.wanted);
            return Ok(Some((line, tried)));
        }
    }
}

/// LOG, REGEX and IGNOREREGEX.
fn positional(args: &RegexArgs) -> Result<(&OsStr, &str, Option<&str>), String> {
    let text = |n: usize| -> Result<Option<&str>, String> {
        args.positional
            .get(n)
            .map(|typed| {
                typed.to_str().ok_or_else(|| format!("{} is no UTF-8 text", typed.to_string_lossy()))
            })
            .transpose()
    };
    let exclusive = [
        (args.print_no_missed && args.print_all_missed, "missed"),
        (args.print_no_ignored && args.print_all_ignored, "ignored"),
    ];
    if let Some((_, kind)) = exclusive.iter().find(|(both, _)| *both) {
        return Err(format!("--print-no-{kind} and --print-all-{kind} are mutually exclusive"));
    }
    match (args.positional.first(), text(1)?, text(2)?) {
        (Some(log), Some(regex), ignoreregex) if args.positional.len() <= 3 => Ok((log, regex, ignoreregex)),
        _ => Err("provide both <LOG> and <REGEX>, and after them perhaps [IGNOREREGEX]; see bannkreis regex --help"
            .to_owned()),
    }
}

fn check_log_level(typed: &str) -> Result<(), String> {
    if LOG_LEVELS.contains(&typed.to_lowercase().as_str()) || typed.parse::<u32>().is_ok() {
        return Ok(());
    }
    Err(format!("-l: there is no level {typed}; write one of {}", LOG_LEVELS.join(", ")))
}

fn surroundings(args: &RegexArgs, zone: &TimeZone) -> Result<Surroundings, String> {
    let log_offset_minutes = match &args.timezone {
        None => None,
        Some(typed) => Some(
            zones::offset_minutes(&typed.to_uppercase())
                .ok_or_else(|| format!("--timezone {typed} is no zone; write e.g. UTC, UTC+0100 or CET"))?,
        ),
    };
    let encoding = match &args.encoding {
        None => LogEncoding::default(),
        Some(name) => LogEncoding::from_name(name).ok_or_else(|| {
            format!("-e: the encoding {name} is not known; there are UTF-8, ascii and latin-1")
        })?,
    };
    Ok(Surroundings {
        jail: JailName::new(JAIL).map_err(|error| error.to_string())?,
        find_time_ms: u64::MAX,
        zone: Zone { local: zone.clone(), log_offset_minutes },
        encoding,
    })
}
