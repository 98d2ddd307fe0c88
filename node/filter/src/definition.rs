//! One file of filter.d or action.d with its parameters: `[Definition]` and `[Init]` become the options of
//! a filter or an action.
//!
//! A value is looked for in the parameters of `filter = name[…]`, then in `[Init]`, then in
//! `[Definition]`; the jail's own options stand above all and are mixed in by `jail_text`. Not for
//! compiling expressions (`pattern`) and not for what an action closes (`action`).

use crate::interpolate::{InterpolationError, Scope, Value, Vars};
use crate::merged::{self, Merged, ReadError};
use crate::parameters::Named;
use crate::tags;
use crate::tree::ConfigTree;
use crate::unsupported::Remark;
use std::collections::BTreeMap;
use std::fmt;

/// The options that make a filter; all others in a filter file are parts of these.
pub const FILTER_OPTIONS: [&str; 7] =
    ["usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch"];

/// The options that make an action.
pub const ACTION_OPTIONS: [&str; 13] = [
    "actionstart",
    "actionstart_on_demand",
    "actionstop",
    "actionflush",
    "actionreload",
    "actioncheck",
    "actionrepair",
    "actionrepair_on_unban",
    "actionban",
    "actionprolong",
    "actionreban",
    "actionunban",
    "norestored",
];

/// Tags of actions that are known only when somebody is banned.
const TAGS_OF_A_BAN: [&str; 5] = ["matches", "ipmatches", "ipjailmatches", "timeout", "bantime"];

/// What a file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A filter. `logtype` is what it is told when it does not decide itself: `file` or `journal`.
    Filter {
        /// `file` or `journal`.
        logtype: &'a str,
    },
    /// An action of this jail.
    Action {
        /// The jail.
        jail: &'a str,
    },
}

impl Kind<'_> {
    fn word(self) -> &'static str {
        match self {
            Kind::Filter { .. } => "filter",
            Kind::Action { .. } => "action",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Kind::Filter { .. } => &FILTER_OPTIONS,
            Kind::Action { .. } => &ACTION_OPTIONS,
        }
    }
}

/// Why a filter or an action can not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefinitionError {
    /// There is no file for it.
    Missing {
        /// `filter` or `action`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A file of it is malformed or unreadable.
    Read(ReadError),
    /// A value names something that is not there.
    Interpolation(InterpolationError),
    /// A `<tag>` leads back to itself.
    Tags(String),
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefinitionError::Missing { kind, name } => write!(
                f,
                "there is no {kind} `{name}`: neither {kind}.d/{name}.conf nor {kind}.d/{name}.local exists, \
                 and none is built in; write one, or correct the name in `{kind} = …`"
            ),
            DefinitionError::Read(error) => error.fmt(f),
            DefinitionError::Interpolation(error) => error.fmt(f),
            DefinitionError::Tags(problem) => problem.fmt(f),
        }
    }
}

impl std::error::Error for DefinitionError {}

/// Such a file, read but not yet combined with a jail.
#[derive(Debug)]
pub struct Definition {
    /// `filter` or `action`.
    kind: &'static str,
    options: &'static [&'static str],
    name: String,
    merged: Merged,
    /// Tags that are not replaced.
    kept_tags: &'static [&'static str],
    /// Parameters, then what `[Init]` sets beside them.
    init: Vars,
}

impl Definition {
    /// Reads the filter or action that `named` names.
    ///
    /// # Errors
    /// When there is none of that name, or it is malformed.
    pub fn read(tree: &dyn ConfigTree, kind: Kind<'_>, named: &Named) -> Result<Definition, DefinitionError> {
        let word = kind.word();
        let merged = merged::read(tree, &format!("{word}.d/{}", named.name))
            .map_err(DefinitionError::Read)?
            .ok_or_else(|| DefinitionError::Missing { kind: word, name: named.name.clone() })?;
        let value = |text: &str| Value { text: text.to_owned(), places: Vec::new() };
        let mut init: Vars = named.parameters.iter().map(|(key, text)| (key.clone(), value(text))).collect();
        match kind {
            Kind::Filter { logtype } => {
                let decides =
                    merged.section("Definition").is_some_and(|options| options.contains_key("logtype"));
                if !decides && init.get("logtype").is_none_or(|value| value.text.is_empty()) {
                    init.insert("logtype".to_owned(), value(logtype));
                }
            }
            Kind::Action { jail } => {
                init.entry("name".to_owned()).or_insert_with(|| value(jail));
                init.entry("actname".to_owned()).or_insert_with(|| value(&action_name(named, jail)));
            }
        }
        let kept_tags: &[&str] = if word == "action" { &TAGS_OF_A_BAN } else { &[] };
        let mut definition = Definition {
            kind: word,
            options: kind.options(),
            name: named.name.clone(),
            merged,
            kept_tags,
            init,
        };
        definition.read_init()?;
        Ok(definition)
    }

    /// Its parameters, and what `[Init]` sets beside them, nothing replaced yet.
    #[must_use]
    pub fn parameters(&self) -> &Vars {
        &self.init
    }

    /// The files that it was read from.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.merged.files.iter().map(AsRef::as_ref)
    }

    /// What looks like a mistake in how its files include others.
    pub fn remarks(&self) -> impl Iterator<Item = &Remark> {
        self.merged.remarks.iter()
    }

    /// Takes the own options of `[Init]` as parameters that were not given.
    fn read_init(&mut self) -> Result<(), DefinitionError> {
        let Some(options) = self.merged.section("Init") else { return Ok(()) };
        let none = Vars::new();
        let scope = Scope { merged: &self.merged, section: "Init", vars: &none, extra: &none };
        let mut found = Vec::new();
        for option in options.keys() {
            if let Some(value) = scope.get(option).map_err(DefinitionError::Interpolation)? {
                found.push((option.clone(), value));
            }
        }
        for (option, value) in found {
            self.init.insert(format!("known/{option}"), value.clone());
            self.init.entry(option).or_insert(value);
        }
        Ok(())
    }

    /// Every option of the filter with all names and tags replaced. What `jail` sets is left out,
    /// because it stands above the filter. With `all`, the parts are included, for
    /// `%(known/part)s` in the jail.
    ///
    /// # Errors
    /// When a value names something that is not there or contains itself.
    pub fn combined(&self, jail: &Vars, all: bool) -> Result<Vars, DefinitionError> {
        let mut vars = jail.clone();
        vars.extend(self.init.iter().map(|(option, value)| (option.to_lowercase(), value.clone())));
        let none = Vars::new();
        let with_vars = Scope { merged: &self.merged, section: "Definition", vars: &vars, extra: &none };
        let plain = Scope { merged: &self.merged, section: "Definition", vars: &none, extra: &none };
        let mut values: Vars = Vars::new();
        let failed = DefinitionError::Interpolation;
        // As in fail2ban, [DEFAULT] alone makes no definition.
        let is_defined = self.merged.section("Definition").is_some();
        for &option in self.options.iter().filter(|_| is_defined) {
            if !vars.contains_key(option)
                && let Some(value) = with_vars.get(option).map_err(failed)?
            {
                values.insert(option.to_owned(), value);
            }
        }
        if all && let Some(options) = self.merged.section("Definition") {
            for option in options.keys() {
                if !values.contains_key(option)
                    && let Some(value) = plain.get(option).map_err(failed)?
                {
                    values.insert(option.clone(), value);
                }
            }
        }
        values.extend(self.init.iter().map(|(option, value)| (option.clone(), value.clone())));
        self.with_tags_replaced(values, &with_vars)
    }

    fn with_tags_replaced(&self, mut values: Vars, scope: &Scope<'_>) -> Result<Vars, DefinitionError> {
        let conditional = values.keys().filter_map(|name| Some(name.split_once('?')?.0.to_owned()));
        let kept: Vec<String> = conditional.chain(self.kept_tags.iter().map(|&tag| tag.to_owned())).collect();
        let mut texts: BTreeMap<String, String> =
            values.iter().map(|(name, value)| (name.clone(), value.text.clone())).collect();
        let mut cache: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut elsewhere = |tag: &str| -> Result<Option<String>, String> {
            if let Some(known) = cache.get(tag) {
                return Ok(known.clone());
            }
            let found = self.elsewhere(tag, scope).map_err(|error| error.to_string())?;
            cache.insert(tag.to_owned(), found.clone());
            Ok(found)
        };
        tags::substitute(&mut texts, &kept, &mut elsewhere)
            .map_err(|problem| DefinitionError::Tags(format!("{} `{}`: {problem}", self.kind, self.name)))?;
        for (name, text) in texts {
            if let Some(value) = values.get_mut(&name) {
                value.text = text;
            }
        }
        Ok(values)
    }

    /// What an option of `[Definition]` was before a later file changed it, with the names in it taken from
    /// what the others were. As in fail2ban, `[DEFAULT]` answers too as soon as a second file has the section.
    fn known(&self, option: &str) -> Result<Option<String>, InterpolationError> {
        let Some(known) = self.merged.known.get("Definition") else { return Ok(None) };
        let before = known.iter().map(|(name, raw)| {
            (name.clone(), Value { text: raw.text.clone(), places: vec![raw.place.clone()] })
        });
        let (before, none) = (before.collect(), Vars::new());
        let scope = Scope { merged: &self.merged, section: "KNOWN/Definition", vars: &none, extra: &before };
        Ok(scope.get(option)?.map(|value| value.text))
    }

    /// A tag that is none of the filter's own options: an option of `[Definition]`, or
    /// `section/option`.
    fn elsewhere(&self, tag: &str, scope: &Scope<'_>) -> Result<Option<String>, InterpolationError> {
        let none = Vars::new();
        if let Some((section, option)) = tag.split_once('/')
            && !section.is_empty()
            && !option.is_empty()
        {
            let section = match section.to_lowercase().as_str() {
                "known" => match self.known(option)? {
                    Some(text) => return Ok(Some(text)),
                    None => "Definition",
                },
                "default" => "DEFAULT",
                _ => section,
            };
            if section == "DEFAULT" || self.merged.section(section).is_some() {
                let far = Scope { merged: &self.merged, section, vars: &none, extra: &none };
                if let Some(value) = far.get(option)? {
                    return Ok(Some(value.text));
                }
            }
        }
        if self.merged.section("Definition").is_none() {
            return Ok(None);
        }
        Ok(scope.get(tag)?.map(|value| value.text))
    }
}

/// What an action is called in its jail: its file's name, told apart by its parameter `name`.
fn action_name(named: &Named, jail: &str) -> String {
    match named.parameter("name") {
        None => named.name.clone(),
        Some(name) if name == jail => named.name.clone(),
        Some(name) => match name.strip_prefix(jail) {
            Some(rest) => format!("{}{rest}", named.name),
            None => format!("{}-{name}", named.name),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters;
    use crate::tree::MemoryTree;

    fn combined(text: &str, filter: &str) -> Result<Vars, String> {
        let tree = MemoryTree::new("").with("filter.d/f.conf", text).with(
            "filter.d/c.conf",
            "[DEFAULT]\nlogtype = file\n_daemon = d\n[lt_file]\np = <_daemon>:\n[lt_journal]\np = j\n",
        );
        let named = parameters::parse(filter).expect("well formed");
        let kind = Kind::Filter { logtype: "journal" };
        let definition = Definition::read(&tree, kind, &named).map_err(|error| error.to_string())?;
        definition.combined(&Vars::new(), true).map_err(|error| error.to_string())
    }

    const FILTER: &str = "[INCLUDES]\nbefore = c.conf\n[DEFAULT]\n_daemon = sshd\n[Init]\nlevel = 1\n[Definition]\n\
                          re-a = ^A <HOST>$\nre-b = ^B <level>\nmode = a\n\
                          failregex = <re-<mode>>\n            <lt_<logtype>/p> <F-USER>.</F-USER>\n";

    #[test]
    fn tags_parameters_and_init_make_the_expressions() {
        let values = combined(FILTER, "f").expect("well formed");
        assert_eq!(values["failregex"].text, "^A <HOST>$\nj <F-USER>.</F-USER>");
        let values = combined(FILTER, "f[mode=b, logtype=file]").expect("well formed");
        assert_eq!(values["failregex"].text, "^B 1\nsshd: <F-USER>.</F-USER>");
        let values = combined(FILTER, "f[mode=b, level=7, logtype=file]").expect("well formed");
        assert_eq!(values["failregex"].text, "^B 7\nsshd: <F-USER>.</F-USER>");
        assert_eq!(values["known/level"].text, "1");
        assert_eq!(values["failregex"].places[0].to_string(), "filter.d/f.conf:11");
    }

    #[test]
    fn a_filter_that_is_not_there_is_named() {
        let error = combined(FILTER, "nosuch").expect_err("missing");
        assert!(error.contains("there is no filter `nosuch`"), "{error}");
    }
}
