//! What a jail's options say, before anybody asks what they mean: one section of jail.conf and the files
//! above it, with the filter's options below.
//!
//! The options are read as fail2ban reads them: first those that name the filter, then, with the filter's
//! options known as `%(known/…)s`, all of them. Not for the meaning of a value (`jail_config`).

use crate::action;
use crate::action_text::{self, ActionText};
use crate::base;
use crate::definition::{Definition, DefinitionError, FILTER_OPTIONS, Kind};
use crate::ini::Place;
use crate::interpolate::{InterpolationError, Scope, Value, Vars};
use crate::merged::{self, Merged, ReadError};
use crate::parameters;
use crate::tree::ConfigTree;
use crate::unsupported::{self, Remark};
use std::fmt;
use std::sync::Arc;

/// The options of a jail that have a meaning of their own; others serve `%(name)s` only.
pub const OPTIONS: [&str; 35] = [
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
    "skip_if_nologs",
    "systemd_if_nologs",
    "port",
    "protocol",
    // Ours, not fail2ban's, which takes no notice of it.
    "scope",
    "reach",
];

/// Options that fail2ban's own jail.conf offers to `%(name)s` in actions, though not every action asks.
const FOR_ACTIONS: [&str; 14] = [
    "port",
    "protocol",
    "chain",
    "mode",
    "banaction",
    "banaction_allports",
    "blocktype",
    "returntype",
    "destemail",
    "sender",
    "sendername",
    "mta",
    "name",
    "fail2ban_agent",
];

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

/// An enabled jail in its own words: every option as text with all names and tags replaced.
#[derive(Clone, Debug)]
pub struct JailText {
    /// Its section.
    pub name: String,
    /// The filter as the jail names it, with its parameters.
    pub filter: Value,
    /// The files that the filter was read from.
    pub filter_files: Vec<String>,
    /// Its lines come from systemd's journal.
    pub from_journal: bool,
    /// What the jail sets, or `[DEFAULT]` for it.
    pub options: Vars,
    /// What the filter sets and the jail does not.
    pub filter_options: Vars,
    /// Its actions.
    pub actions: Vec<ActionText>,
    /// What is not honoured or looks like a mistake.
    pub remarks: Vec<Remark>,
    merged: Arc<Merged>,
}

impl JailText {
    /// Reads the jail of section `name`; `None` when it is not enabled. `is_journal_instead` is told a `logpath`: see
    /// [`crate::reading::Host`].
    ///
    /// # Errors
    /// The first thing that can not be read: other jails are not affected.
    pub fn read(
        tree: &dyn ConfigTree,
        merged: &Arc<Merged>,
        name: &str,
        is_journal_instead: &dyn Fn(&str) -> bool,
    ) -> Result<Option<JailText>, JailError> {
        let mut jail = JailText {
            name: name.to_owned(),
            filter: Value::default(),
            filter_files: Vec::new(),
            from_journal: false,
            options: Vars::new(),
            filter_options: Vars::new(),
            actions: Vec::new(),
            remarks: Vec::new(),
            merged: Arc::clone(merged),
        };
        let mut known = Vars::new();
        let first = jail.read_options(&["enabled", "backend", "filter"], &known)?;
        match first.get("enabled") {
            Some(value) if is_true(&value.text) => {}
            Some(value) if !value.text.trim().is_empty() && !is_false(&value.text) => {
                let place = value.places.last().cloned();
                let problem =
                    format!("enabled = `{}` is neither yes nor no; write true or false", value.text);
                return Err(JailError { jail: jail.name, place, problem });
            }
            _ => return Ok(None),
        }
        jail.from_journal = first.get("backend").is_some_and(|value| value.text.starts_with("systemd"));
        jail.filter = first.get("filter").cloned().unwrap_or_default();
        let mut definition = jail.definition(tree)?;
        if jail.takes_the_journal(&first, definition.as_ref(), is_journal_instead) {
            jail.from_journal = true;
            definition = jail.definition(tree)?;
        }
        if let Some(definition) = &definition {
            jail.filter_files = definition.files().map(str::to_owned).collect();
            jail.remarks.extend(definition.remarks().cloned());
            let all = definition.combined(&first, true).map_err(|error| jail.definition_error(error))?;
            let all = all.into_iter().filter(|(option, _)| !option.starts_with("known/"));
            known = all.map(|(option, value)| (format!("known/{option}"), value)).collect();
        }
        jail.options = jail.read_options(&OPTIONS, &known)?;
        if let Some(definition) = &definition {
            jail.filter_options =
                definition.combined(&jail.options, false).map_err(|error| jail.definition_error(error))?;
        }
        jail.settle_both();
        jail.read_actions(tree)?;
        jail.find_lost_actions();
        jail.find_unread_options();
        Ok(Some(jail))
    }

    fn read_options(&self, options: &[&str], known: &Vars) -> Result<Vars, JailError> {
        let none = Vars::new();
        let scope = Scope { merged: &self.merged, section: &self.name, vars: &none, extra: known };
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

    /// Whether it reads the journal without being told so: what it looks for is only there.
    fn takes_the_journal(
        &self,
        first: &Vars,
        definition: Option<&Definition>,
        is_journal_instead: &dyn Fn(&str) -> bool,
    ) -> bool {
        let backend = first.get("backend").map(|value| value.text.trim()).unwrap_or_default();
        if !["", "auto"].contains(&backend) {
            return false;
        }
        // A mistake in them is told of where they are read for good.
        let own = ["logpath", "journalmatch", "systemd_if_nologs"];
        let own = self.read_options(&own, &Vars::new()).unwrap_or_default();
        let of_filter =
            definition.and_then(|definition| definition.combined(first, false).ok()).unwrap_or_default();
        let is_set =
            |options: &Vars| options.get("journalmatch").is_some_and(|value| !value.text.trim().is_empty());
        let logs = own.get("logpath").map(|value| value.text.as_str()).unwrap_or_default();
        !own.get("systemd_if_nologs").is_some_and(|value| is_false(&value.text))
            && (is_set(&own) || is_set(&of_filter))
            && is_journal_instead(logs)
    }

    fn definition(&self, tree: &dyn ConfigTree) -> Result<Option<Definition>, JailError> {
        if self.filter.text.trim().is_empty() {
            return Ok(None);
        }
        let named = parameters::parse(&self.filter.text)
            .map_err(|why| self.error("filter", format!("filter: {why}")))?;
        let logtype = if self.from_journal { "journal" } else { "file" };
        Definition::read(tree, Kind::Filter { logtype }, &named)
            .map(Some)
            .map_err(|error| self.definition_error(error))
    }

    /// What the jail sets and the filter's own parameters or `[Init]` set as well: expressions and matches add
    /// up; of the rest the last one holds that fail2ban's server is told.
    fn settle_both(&mut self) {
        for option in FILTER_OPTIONS {
            let Some(filters) = self.filter_options.get(option) else { continue };
            let Some(own) = self.options.get_mut(option) else { continue };
            match option {
                "failregex" | "ignoreregex" | "journalmatch" => {
                    own.text = format!("{}\n{}", filters.text, own.text);
                    own.places.extend(filters.places.iter().cloned());
                }
                "usedns" | "maxlines" | "prefregex" => *own = filters.clone(),
                _ => {}
            }
        }
    }

    fn read_actions(&mut self, tree: &dyn ConfigTree) -> Result<(), JailError> {
        let found = action_text::read(tree, self).map_err(|why| self.error("action", why))?;
        for (action, problem) in found {
            if let Some(sentence) = problem.and_then(|problem| action::unread(&action.named, &problem)) {
                self.remark("action", sentence);
            }
            self.remarks.extend(action.remarks.iter().cloned());
            self.actions.push(action);
        }
        Ok(())
    }

    /// An error about an option.
    pub(crate) fn error(&self, option: &str, problem: String) -> JailError {
        JailError { jail: self.name.clone(), place: self.place(option), problem }
    }

    fn interpolation_error(&self, error: InterpolationError) -> JailError {
        JailError { jail: self.name.clone(), place: error.place, problem: error.problem }
    }

    /// An error in a filter's or an action's file.
    pub(crate) fn definition_error(&self, error: DefinitionError) -> JailError {
        match error {
            DefinitionError::Interpolation(error) => self.interpolation_error(error),
            DefinitionError::Read(ReadError::Ini(error)) => {
                JailError { jail: self.name.clone(), place: Some(error.place), problem: error.problem }
            }
            other => self.error("filter", other.to_string()),
        }
    }

    /// The line to look at for `option`: the user's own where there is one.
    pub(crate) fn place(&self, option: &str) -> Option<Place> {
        let places = self.options.get(option).map(|value| value.places.as_slice()).unwrap_or_default();
        let users = places.iter().find(|place| !place.file.starts_with(base::SHOWN_AS));
        let set = || merged::place_of(&self.merged, &self.name, option);
        users.or_else(|| places.first()).or_else(set).cloned()
    }

    /// Notes a sentence about an option.
    pub(crate) fn remark(&mut self, option: &str, sentence: String) {
        let place = self.place(option);
        self.remarks.push(Remark { place, sentence });
    }

    /// The text of an option that is set to something.
    #[must_use]
    pub fn text(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(|value| value.text.trim()).filter(|text| !text.is_empty())
    }

    /// The value of one of the filter's options: the jail's own stands above the filter's.
    #[must_use]
    pub fn filter_value(&self, option: &str) -> Option<&Value> {
        self.options
            .get(option)
            .or_else(|| self.filter_options.get(option))
            .filter(|value| !value.text.trim().is_empty())
    }

    /// An error about one of the filter's options, at the line that sets it.
    pub(crate) fn error_in(&self, option: &str, problem: String) -> JailError {
        let place = self.filter_value(option).and_then(|value| value.places.first()).cloned();
        JailError { jail: self.name.clone(), place: place.or_else(|| self.place("filter")), problem }
    }

    /// An option of this jail that can only be an action without indentation.
    fn find_lost_actions(&mut self) {
        let Some(options) = self.merged.section(&self.name) else { return };
        for (option, raw) in options {
            if let Some(sentence) = unsupported::lost_indentation(option, &raw.text) {
                self.remarks.push(Remark { place: Some(raw.place.clone()), sentence });
            }
        }
    }

    /// An option of the user's in this section that means nothing and that no other value names.
    fn find_unread_options(&mut self) {
        let Some(options) = self.merged.section(&self.name) else { return };
        let values = self.options.values().chain(self.filter_options.values());
        let used: Vec<&Place> = values.flat_map(|value| &value.places).collect();
        let named = |option: &str| {
            let reference = format!("/{option})s");
            let everything = self.merged.sections.iter().flat_map(|(_, options)| options.values());
            everything.chain(self.merged.defaults.values()).any(|raw| raw.text.contains(&reference))
        };
        let remarks: Vec<Remark> = options
            .iter()
            .filter(|(option, raw)| {
                !OPTIONS.contains(&option.as_str())
                    && !FOR_ACTIONS.contains(&option.as_str())
                    && !option.starts_with('_')
                    && unsupported::lost_indentation(option, &raw.text).is_none()
                    && !raw.place.file.starts_with(base::SHOWN_AS)
                    && !used.contains(&&raw.place)
                    && !named(option)
            })
            .map(|(option, raw)| Remark {
                place: Some(raw.place.clone()),
                sentence: unsupported::unread_option(option, &OPTIONS),
            })
            .collect();
        self.remarks.extend(remarks);
    }
}

/// fail2ban's idea of yes.
pub(crate) fn is_true(text: &str) -> bool {
    ["1", "on", "true", "yes"].contains(&text.trim().to_lowercase().as_str())
}

/// And of no.
fn is_false(text: &str) -> bool {
    ["0", "off", "false", "no"].contains(&text.trim().to_lowercase().as_str())
}
