//! One jail: from what its options say (`jail_text`) to what runs.
//!
//! Not for expanding logpath's wildcards and not for opening logs: that is the node's.

use crate::action;
use crate::action_text::ActionText;
use crate::container_path::ContainerPath;
use crate::date::templates::DefaultTemplates;
use crate::definition;
use crate::filter::{Filter, Surroundings, UseDns};
use crate::ignore_command::IgnoreCommand;
use crate::ini::Place;
use crate::interpolate::Value;
pub use crate::jail_text::JailError;
use crate::jail_text::{JailText, is_true};
use crate::journal::Journal;
use crate::journal_match::JournalMatch;
use crate::reading::Host;
use crate::syslog_path::SyslogPath;
use crate::unsupported::{self, Remark};
use bannkreis_core::jail::{Jail, JailName, Scope};

const MAX_RETRY_DEFAULT: u32 = 5;
/// The filter of jails whose failures are bans.
const RECIDIVE: &str = "recidive";

/// A log to watch: as it is written, wildcards and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// A path with `*`, `?` and `[…]` as in glob(7).
    pub glob: String,
    /// Only what is written from now on is read, not what is there already.
    pub tail: bool,
}

impl LogPath {
    /// Whether it is a log of this host's files by their own names, and not of containers or of messages.
    #[must_use]
    pub fn is_path(&self) -> bool {
        !ContainerPath::is_one(&self.glob) && !self.is_syslog()
    }

    /// Whether it is a log of messages that others send: no file is there for it.
    #[must_use]
    pub fn is_syslog(&self) -> bool {
        SyslogPath::is_one(&self.glob)
    }
}

/// What `logpath` says, one log for each of its lines.
#[must_use]
pub fn log_paths(text: &str) -> Vec<LogPath> {
    let path = |line: &str| match line.rsplit_once(' ') {
        Some((glob, "tail")) => LogPath { glob: glob.trim().to_owned(), tail: true },
        Some((glob, "head")) => LogPath { glob: glob.trim().to_owned(), tail: false },
        _ => LogPath { glob: line.to_owned(), tail: false },
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(path).collect()
}

/// Where a jail's lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logs {
    /// Files.
    Files(Vec<LogPath>),
    /// Entries of systemd's journal.
    Journal(Journal, JournalMatch),
}

/// Where the value of an option came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The option.
    pub option: String,
    /// Its value, everything replaced.
    pub value: String,
    /// The line that sets it first, then the lines whose values are parts of it.
    pub places: Vec<Place>,
}

/// A jail that can run.
#[derive(Debug)]
pub struct ReadJail {
    /// What the warden needs.
    pub jail: Jail,
    /// What judges its lines.
    pub filter: Filter,
    /// The filter's name as the jail gives it, with its parameters.
    pub filter_name: String,
    /// The files that the filter was read from.
    pub filter_files: Vec<String>,
    /// What it reads.
    pub logs: Logs,
    /// `backend = polling`: its files are looked at again and again.
    pub is_polled: bool,
    /// What becomes of names that stand where an address should be.
    pub use_dns: UseDns,
    /// `ignoreself`; own addresses are never blocked, whatever this says.
    pub ignore_self: bool,
    /// Names in `ignoreip`; its addresses are in `jail`.
    pub ignore_names: Vec<String>,
    /// `ignorecommand`.
    pub ignore_command: Option<IgnoreCommand>,
    /// Its actions.
    pub actions: Vec<ActionText>,
    /// Its options with their origin, the filter's expressions included.
    pub settings: Vec<Setting>,
    /// What is not honoured or looks like a mistake.
    pub remarks: Vec<Remark>,
}

impl ReadJail {
    /// The line that says which logs it reads.
    #[must_use]
    pub fn log_place(&self) -> Option<&Place> {
        self.settings.iter().find(|setting| setting.option == "logpath")?.places.first()
    }
}

/// Makes a jail of what its options say.
///
/// # Errors
/// The first thing that keeps it from running; other jails are not affected.
pub fn read(mut text: JailText, host: &Host<'_>, formats: &DefaultTemplates) -> Result<ReadJail, JailError> {
    let name = JailName::new(&text.name).map_err(|error| JailError {
        jail: text.name.clone(),
        place: None,
        problem: error.to_string(),
    })?;
    let rules = text.rules()?;
    let max_retry = text.number("maxretry", MAX_RETRY_DEFAULT);
    let max_matches = text.number("maxmatches", max_retry);
    let closed =
        action::closed(&text.name, &text.actions, host.services).map_err(|why| text.error("action", why))?;
    for sentence in closed.remarks {
        text.remark("action", sentence);
    }
    let (ignore, ignore_names) = text.ignored();
    let counts_bans = text.filter.text.split('[').next().is_some_and(|filter| filter.trim() == RECIDIVE);
    let jail = Jail {
        name: name.clone(),
        max_retry,
        find_time_ms: text.find_time()?,
        policy: text.policy()?,
        ports: closed.ports,
        max_matches,
        // Each node counts the cluster's bans itself.
        scope: if counts_bans { Scope::Local } else { text.scope()? },
        counts_bans,
        reach: text.reach()?,
        ignore,
    };
    let ignore_command = text.ignore_command()?;
    let ignore_self = text.text("ignoreself").is_none_or(is_true);
    if !ignore_self {
        text.remark("ignoreself", unsupported::ignoreself_off());
    }
    let logs = text.logs()?;
    let is_polled = text.text("backend") == Some("polling");
    let surroundings = Surroundings {
        jail: name,
        find_time_ms: jail.find_time_ms,
        zone: text.zone(host)?,
        encoding: text.encoding(),
    };
    let filter = Filter::new(&rules, surroundings, formats)
        .map_err(|error| text.error_in(error.option, error.problem))?;
    Ok(ReadJail {
        jail,
        filter,
        filter_name: text.filter.text.clone(),
        filter_files: text.filter_files.clone(),
        logs,
        is_polled,
        use_dns: rules.use_dns,
        ignore_self,
        ignore_names,
        ignore_command,
        settings: settings(&text),
        actions: text.actions,
        remarks: text.remarks,
    })
}

fn settings(text: &JailText) -> Vec<Setting> {
    let of = |(option, value): (&String, &Value)| Setting {
        option: option.clone(),
        value: value.text.clone(),
        places: value.places.clone(),
    };
    let from_filter = text
        .filter_options
        .iter()
        .filter(|(option, _)| definition::FILTER_OPTIONS.contains(&option.as_str()))
        .filter(|(option, _)| !text.options.contains_key(*option));
    text.options.iter().chain(from_filter).map(of).collect()
}
