//! One jail: from its section in jail.conf and the files above it to what runs.
//!
//! The options are read as fail2ban reads them, first those that name the filter, then, with the
//! filter's options known as `%(known/…)s`, all of them. Not for expanding logpath's wildcards and
//! not for opening logs: that is the node's.

use crate::action;
use crate::base;
use crate::date::templates::DefaultTemplates;
use crate::definition::{self, Definition, DefinitionError};
use crate::filter::{Filter, Surroundings};
use crate::ini::Place;
use crate::interpolate::{InterpolationError, Scope, Value, Vars};
use crate::merged::Merged;
use crate::parameters;
use crate::reading::Host;
use crate::tree::ConfigTree;
use crate::unsupported::{self, Remark};
use bannkreis_core::jail::{Jail, JailName, Scope as JailScope};
use std::fmt;

/// The options of a jail that have a meaning of their own; others serve `%(name)s` only.
const OPTIONS: [&str; 31] = [
    "enabled",
    "backend",
    "filter",
    "maxretry",
    "maxmatches",
    "findtime",
    "bantime",
    "bantime.increment",
    "bantime.factor",
    "bantime.formula",
    "bantime.multipliers",
    "bantime.maxtime",
    "bantime.rndtime",
    "bantime.overalljails",
    "ignorecommand",
    "ignoreself",
    "ignoreip",
    "ignorecache",
    "logtimezone",
    "logencoding",
    "logpath",
    "action",
    "usedns",
    "prefregex",
    "ignoreregex",
    "failregex",
    "maxlines",
    "datepattern",
    "journalmatch",
    "port",
    "protocol",
];

const MAX_RETRY_DEFAULT: u32 = 5;

/// A log to watch: as it is written, wildcards and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// A path with `*`, `?` and `[…]` as in glob(7).
    pub glob: String,
    /// Only what is written from now on is read, not what is there already.
    pub tail: bool,
}

/// Where a jail's lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logs {
    /// Files.
    Files(Vec<LogPath>),
    /// systemd's journal, with the matches of `journalmatch`, one per line.
    Journal(Vec<String>),
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
    /// `ignoreself`; own addresses are never blocked, whatever this says.
    pub ignore_self: bool,
    /// Its options with their origin, the filter's expressions included.
    pub settings: Vec<Setting>,
    /// What is not honoured or looks like a mistake.
    pub remarks: Vec<Remark>,
}

/// Why a jail does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailError {
    /// The jail's section.
    pub jail: String,
    /// Where the mistake is, when it is in one place.
    pub place: Option<Place>,
    /// The sentence.
    pub problem: String,
}

impl fmt::Display for JailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "jail [{}] does not run: {}", self.jail, self.problem)
    }
}

impl std::error::Error for JailError {}

/// Reads the jail of section `name`; `None` when it is not enabled.
///
/// # Errors
/// The first thing that keeps it from running; other jails are not affected.
pub fn read(
    tree: &dyn ConfigTree,
    merged: &Merged,
    name: &str,
    host: &Host<'_>,
    formats: &DefaultTemplates,
) -> Result<Option<ReadJail>, JailError> {
    let mut reader =
        Reader { jail: name, merged, extra: Vars::new(), values: Vars::new(), remarks: Vec::new() };
    let first: Vars = reader.options(&["enabled", "backend", "filter"])?;
    if !first.get("enabled").is_some_and(|value| is_true(&value.text)) {
        return Ok(None);
    }
    let from_journal = first.get("backend").is_some_and(|value| value.text.starts_with("systemd"));
    let filter_name = first.get("filter").cloned().unwrap_or_default();
    let definition = reader.definition(tree, &filter_name, from_journal)?;
    if let Some(definition) = &definition {
        let known = definition.combined(&first, true).map_err(|error| reader.definition_error(error))?;
        let known = known.into_iter().filter(|(option, _)| !option.starts_with("known/"));
        reader.extra = known.map(|(option, value)| (format!("known/{option}"), value)).collect();
    }
    reader.values = reader.options(&OPTIONS)?;
    let mut filter_values = Vars::new();
    if let Some(definition) = &definition {
        let jail_values = reader.values.clone();
        filter_values =
            definition.combined(&jail_values, false).map_err(|error| reader.definition_error(error))?;
    }
    reader.find_lost_actions();
    reader.run(&filter_name, definition.as_ref(), &filter_values, from_journal, host, formats).map(Some)
}

/// fail2ban's idea of yes.
pub(crate) fn is_true(text: &str) -> bool {
    ["1", "on", "true", "yes"].contains(&text.trim().to_lowercase().as_str())
}

/// A jail while it is read.
pub(crate) struct Reader<'a> {
    /// Its section.
    pub(crate) jail: &'a str,
    merged: &'a Merged,
    /// The filter's options, as `known/…`.
    extra: Vars,
    /// Its own options.
    pub(crate) values: Vars,
    remarks: Vec<Remark>,
}

impl Reader<'_> {
    fn options(&self, options: &[&str]) -> Result<Vars, JailError> {
        let none = Vars::new();
        let scope = Scope { merged: self.merged, section: self.jail, vars: &none, extra: &self.extra };
        let mut values = Vars::new();
        for &option in options {
            match scope.get(option) {
                Ok(Some(value)) => {
                    values.insert(option.to_owned(), value);
                }
                Ok(None) => {}
                // These two are read for people only; a jail that never uses them may leave holes.
                Err(_) if option == "port" || option == "protocol" => {}
                Err(error) => return Err(self.interpolation_error(error)),
            }
        }
        Ok(values)
    }

    pub(crate) fn error(&self, option: &str, problem: String) -> JailError {
        JailError { jail: self.jail.to_owned(), place: self.place(option), problem }
    }

    fn interpolation_error(&self, error: InterpolationError) -> JailError {
        JailError { jail: self.jail.to_owned(), place: error.place, problem: error.problem }
    }

    fn definition_error(&self, error: DefinitionError) -> JailError {
        match error {
            DefinitionError::Interpolation(error) => self.interpolation_error(error),
            DefinitionError::Read(crate::merged::ReadError::Ini(error)) => {
                JailError { jail: self.jail.to_owned(), place: Some(error.place), problem: error.problem }
            }
            other => self.error("filter", other.to_string()),
        }
    }

    /// The line to look at for `option`: the user's own where there is one.
    pub(crate) fn place(&self, option: &str) -> Option<Place> {
        let places = self.values.get(option).map(|value| value.places.as_slice()).unwrap_or_default();
        let users = places.iter().find(|place| !place.file.starts_with(base::SHOWN_AS));
        let set = || crate::merged::place_of(self.merged, self.jail, option);
        users.or_else(|| places.first()).or_else(set).cloned()
    }

    pub(crate) fn remark(&mut self, option: &str, sentence: String) {
        let place = self.place(option);
        self.remarks.push(Remark { place, sentence });
    }

    /// The text of an option that is set to something.
    pub(crate) fn text(&self, option: &str) -> Option<&str> {
        self.values.get(option).map(|value| value.text.trim()).filter(|text| !text.is_empty())
    }

    fn definition(
        &self,
        tree: &dyn ConfigTree,
        filter: &Value,
        from_journal: bool,
    ) -> Result<Option<Definition>, JailError> {
        if filter.text.trim().is_empty() {
            return Ok(None);
        }
        let named =
            parameters::parse(&filter.text).map_err(|why| self.error("filter", format!("filter: {why}")))?;
        let logtype = if from_journal { "journal" } else { "file" };
        Definition::read(tree, &named, logtype).map(Some).map_err(|error| self.definition_error(error))
    }

    /// An option of this jail, or of no jail, that can only be an action without indentation.
    fn find_lost_actions(&mut self) {
        let Some(options) = self.merged.section(self.jail) else { return };
        for (option, raw) in options {
            if let Some(sentence) = unsupported::lost_indentation(option, &raw.text) {
                self.remarks.push(Remark { place: Some(raw.place.clone()), sentence });
            }
        }
    }

    fn run(
        mut self,
        filter_name: &Value,
        definition: Option<&Definition>,
        filter_values: &Vars,
        from_journal: bool,
        host: &Host<'_>,
        formats: &DefaultTemplates,
    ) -> Result<ReadJail, JailError> {
        let name = JailName::new(self.jail).map_err(|error| JailError {
            jail: self.jail.to_owned(),
            place: None,
            problem: error.to_string(),
        })?;
        for option in ["ignorecommand", "ignorecache"] {
            let value = self.text(option).unwrap_or_default().to_owned();
            if let Some(sentence) = unsupported::option_without_effect(option, &value) {
                self.remark(option, sentence);
            }
        }
        let rules = self.rules(filter_values)?;
        let max_retry = self.number("maxretry", MAX_RETRY_DEFAULT);
        let max_matches = self.number("maxmatches", max_retry);
        let actions = action::read(self.jail, self.text("action").unwrap_or_default(), host.services)
            .map_err(|why| self.error("action", why))?;
        for sentence in actions.remarks {
            self.remark("action", sentence);
        }
        let jail = Jail {
            name: name.clone(),
            max_retry,
            find_time_ms: self.find_time()?,
            policy: self.policy()?,
            ports: actions.ports,
            max_matches,
            scope: JailScope::Cluster,
            ignore: self.ignored(),
        };
        let logs = self.logs(from_journal, filter_values);
        let surroundings = Surroundings {
            jail: name,
            find_time_ms: jail.find_time_ms,
            zone: self.zone(host)?,
            encoding: self.encoding(),
        };
        let filter = Filter::new(&rules, surroundings, formats)
            .map_err(|error| self.error_in(error.option, filter_values, error.problem))?;
        if let Some(usedns) = self
            .text("usedns")
            .map(str::to_owned)
            .filter(|_| rules.failregex.iter().any(|r| r.contains("<DNS>")))
        {
            self.remark("usedns", unsupported::names_not_resolved(&usedns));
        }
        let filter_files = definition.map(|d| d.files().map(str::to_owned).collect()).unwrap_or_default();
        Ok(ReadJail {
            jail,
            filter,
            filter_name: filter_name.text.clone(),
            filter_files,
            logs,
            ignore_self: self.text("ignoreself").is_none_or(is_true),
            settings: self.settings(filter_values),
            remarks: self.remarks,
        })
    }

    fn settings(&self, filter_values: &Vars) -> Vec<Setting> {
        let of = |(option, value): (&String, &Value)| Setting {
            option: option.clone(),
            value: value.text.clone(),
            places: value.places.clone(),
        };
        let from_filter = filter_values.iter().filter(|(option, _)| {
            definition::OPTIONS.contains(&option.as_str()) && !self.values.contains_key(*option)
        });
        self.values.iter().chain(from_filter).map(of).collect()
    }
}
