//! `%(name)s` in values: what configparser replaces when an option is read.
//!
//! Names are looked up in the given variables, then in the section, then in `[DEFAULT]`.
//! `%(section/name)s`, `%(default/name)s` and `%(known/name)s` reach further; what they fetch is
//! interpolated as if it stood in the current section. Not for `<tags>` (`tags`).

use crate::ini::{Place, Raw};
use crate::merged::{Merged, Options};
use std::collections::BTreeMap;
use std::fmt;

/// How deep values may name each other, as in configparser.
pub const DEPTH_MAX: usize = 10;
/// A value longer than this is refused: ten levels of doubling fit, an exponential joke does not.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// A value with every `%(name)s` replaced, and where its parts came from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Value {
    /// The text.
    pub text: String,
    /// The option itself first, then what it names.
    pub places: Vec<Place>,
}

/// Values that win over everything in the files: a jail's options and a filter's parameters.
pub type Vars = BTreeMap<String, Value>;

/// Why a value could not be worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterpolationError {
    /// Where the option that was asked for stands; `None` for a parameter.
    pub place: Option<Place>,
    /// The sentence.
    pub problem: String,
}

impl fmt::Display for InterpolationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl std::error::Error for InterpolationError {}

/// One section of a merged configuration, as names in it are seen.
pub struct Scope<'a> {
    /// The configuration.
    pub merged: &'a Merged,
    /// The section's name.
    pub section: &'a str,
    /// What wins over the files.
    pub vars: &'a Vars,
    /// Options that belong to the section though no file has them (`known/failregex` of a jail).
    pub extra: &'a Vars,
}

impl Scope<'_> {
    /// The value of `option`; `None` when nothing sets it.
    ///
    /// # Errors
    /// When the value names something that is not there, names itself, or has a stray `%`.
    pub fn get(&self, option: &str) -> Result<Option<Value>, InterpolationError> {
        let option = option.to_lowercase();
        let Some(raw) = self.raw(&option) else { return Ok(None) };
        let mut value = Value::default();
        let place = raw.1.clone();
        self.expand(&option, &raw.0, raw.1.as_slice(), 1, &mut value)
            .map_err(|problem| InterpolationError { place: place.into_iter().next(), problem })?;
        Ok(Some(value))
    }

    /// The uninterpolated text of a plain name, and where it stands.
    fn raw(&self, name: &str) -> Option<(String, Vec<Place>)> {
        let of_value = |value: &Value| (value.text.clone(), value.places.clone());
        let of_raw = |raw: &Raw| (raw.text.clone(), vec![raw.place.clone()]);
        let own = self.merged.section(self.section);
        self.vars
            .get(name)
            .or_else(|| self.extra.get(name))
            .map(of_value)
            .or_else(|| own.and_then(|options| options.get(name)).map(of_raw))
            .or_else(|| self.merged.defaults.get(name).map(of_raw))
    }

    /// What `%(name)s` stands for, before its own names are replaced.
    fn named(&self, name: &str) -> Option<(String, Vec<Place>)> {
        if name == "__name__" {
            return Some((self.section.to_owned(), Vec::new()));
        }
        let lower = name.to_lowercase();
        if let Some(found) = self.raw(&lower) {
            return Some(found);
        }
        let (section, option) = name.split_once('/')?;
        let option = option.to_lowercase();
        let options: Option<&Options> = match section.to_lowercase().as_str() {
            "default" => None,
            "known" => self.merged.known.get(self.section),
            _ => Some(self.merged.section(section)?),
        };
        let raw =
            options.and_then(|options| options.get(&option)).or_else(|| self.merged.defaults.get(&option))?;
        Some((raw.text.clone(), vec![raw.place.clone()]))
    }

    fn expand(
        &self,
        option: &str,
        text: &str,
        places: &[Place],
        depth: usize,
        into: &mut Value,
    ) -> Result<(), String> {
        // What names nothing is no level of its own.
        if depth > DEPTH_MAX && text.contains('%') {
            return Err(format!(
                "the value of `{option}` names itself, or names others more than {DEPTH_MAX} levels deep"
            ));
        }
        for place in places {
            if !into.places.contains(place) {
                into.places.push(place.clone());
            }
        }
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            into.text.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            if let Some(behind) = behind.strip_prefix('%') {
                into.text.push('%');
                rest = behind;
                continue;
            }
            let Some(inside) = behind.strip_prefix('(') else {
                return Err(format!(
                    "a single `%` in the value of `{option}` (at `{}`); write `%%` for a percent sign",
                    excerpt(&rest[at..])
                ));
            };
            let name = inside.find(')').filter(|&end| end > 0 && inside[end + 1..].starts_with('s'));
            let Some(end) = name else {
                return Err(format!(
                    "`{}` in the value of `{option}` is no reference; references look like %(name)s",
                    excerpt(&rest[at..])
                ));
            };
            let name = &inside[..end];
            let Some((text, places)) = self.named(name) else {
                return Err(format!(
                    "the value of `{option}` names %({name})s, and no option of that name is set; set it \
                     in the same section or in [DEFAULT]"
                ));
            };
            self.expand(option, &text, &places, depth + 1, into)?;
            if into.text.len() > VALUE_BYTES_MAX {
                return Err(format!("the value of `{option}` is longer than {VALUE_BYTES_MAX} bytes"));
            }
            rest = &inside[end + 2..];
        }
        into.text.push_str(rest);
        Ok(())
    }
}

fn excerpt(text: &str) -> &str {
    let end = text.char_indices().nth(24).map_or(text.len(), |(index, _)| index);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merged;
    use crate::tree::MemoryTree;

    fn get(text: &str, local: &str, option: &str) -> Result<String, String> {
        let tree = MemoryTree::new("").with("x.conf", text).with("x.local", local);
        let merged = merged::read(&tree, "x").expect("readable").expect("there");
        let scope = Scope { merged: &merged, section: "s", vars: &Vars::new(), extra: &Vars::new() };
        let value = scope.get(option).map_err(|error| error.to_string())?;
        Ok(value.expect("set").text)
    }

    #[test]
    fn names_are_replaced_from_section_default_and_other_sections() {
        let text = "[DEFAULT]\nlog = /l\nd = %(log)s/%(__name__)s\n[t]\nlog = /t\n[s]\nlog = /s\na = %(d)s\n\
                    b = %(t/log)s %(default/log)s 100%%\nc = %(T/x)s\ne = %(LOG)s\n";
        assert_eq!(get(text, "", "a"), Ok("/s/s".to_owned()));
        assert_eq!(get(text, "", "b"), Ok("/t /l 100%".to_owned()));
        assert_eq!(get(text, "", "e"), Ok("/s".to_owned()));
        let error = get(text, "", "c").expect_err("no such section");
        assert!(error.starts_with("x.conf:10: the value of `c` names %(T/x)s"), "{error}");
    }

    #[test]
    fn known_is_the_value_that_a_later_file_changed() {
        assert_eq!(get("[s]\na = 1\n", "[s]\na = %(known/a)s 2\n", "a"), Ok("1 2".to_owned()));
    }

    #[test]
    fn loops_and_stray_percent_signs_are_errors() {
        assert!(get("[s]\na = %(b)s\nb = %(a)s\n", "", "a").expect_err("loop").contains("names itself"));
        assert!(get("[s]\na = 5%\n", "", "a").expect_err("stray").contains("single `%`"));
        assert!(get("[s]\na = %(b\n", "", "a").expect_err("open").contains("is no reference"));
    }
}
