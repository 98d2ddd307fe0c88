//! One compiled expression: prefregex, failregex or ignoreregex.
//!
//! The linear engine takes everything it can. What needs look-around, back-references or
//! conditionals goes to the backtracking engine with a step limit, so that no line can stop us.

use crate::regex_tags::{self, HostNames};
use crate::translate::{Dialect, TextEnd, is_possessive, translate};
use std::sync::{Arc, OnceLock};

/// A compiled expression may be this big; a bigger one is refused.
pub const COMPILED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The backtracking engine gives a line up after so many steps; the line then does not match, and
/// that is counted.
pub const BACKTRACK_STEPS_MAX: usize = 100_000;

/// The groups of one match: names in the order of the expression; `None` for what took no part.
pub type Groups = Vec<(Arc<str>, Option<String>)>;

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// It matches, with these groups.
    Found(Groups),
    /// It does not.
    Nothing,
    /// The backtracking engine reached [`BACKTRACK_STEPS_MAX`].
    GaveUp,
}

/// An expression that compiles.
#[derive(Debug)]
pub struct Pattern {
    written: String,
    python: String,
    whole: Engine,
    /// The same for a line that was cut, made when the first such line comes.
    cut: OnceLock<Option<Engine>>,
    names: Vec<Arc<str>>,
    merged: Vec<Merged>,
}

#[derive(Debug)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(fancy_regex::Regex),
}

/// `<F-ALT_USER_1>` or `<F-TUPLE_ID_1>`: a group whose value belongs to another name.
#[derive(Debug)]
struct Merged {
    group: Arc<str>,
    into: Arc<str>,
    joined: bool,
}

impl Pattern {
    /// Compiles `written`, an expression in Python's syntax with fail2ban's tags.
    ///
    /// # Errors
    /// A phrase that says what the engine does not take.
    pub fn new(written: &str, names: HostNames) -> Result<Pattern, String> {
        if written.trim_start().is_empty() {
            return Err("it is empty".to_owned());
        }
        let python = regex_tags::resolve(written, names);
        if let Some(name) = doubled_group(&python) {
            return Err(format!(
                "it has two groups named `{name}`; <HOST> and its kind may stand there only once"
            ));
        }
        let whole = Engine::new(&python, TextEnd::Line)?;
        let names = whole.group_names();
        let mut merged: Vec<Merged> = names.iter().filter_map(merged_group).collect();
        merged.sort_by(|a, b| (a.joined, &a.group).cmp(&(b.joined, &b.group)));
        Ok(Pattern { written: written.to_owned(), python, whole, cut: OnceLock::new(), names, merged })
    }

    /// As it stands in the configuration, tags and all.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether the expression needs the backtracking engine.
    #[must_use]
    pub fn is_backtracking(&self) -> bool {
        matches!(self.whole, Engine::Backtracking(_))
    }

    /// Whether it has a group of this name.
    #[must_use]
    pub fn has_group(&self, name: &str) -> bool {
        self.names.iter().any(|other| other.as_ref() == name)
    }

    /// Searches `text`, which ends as `end` says: with `\n`, or in the middle of a line.
    #[must_use]
    pub fn search(&self, text: &str, end: TextEnd) -> Search {
        let engine = match end {
            TextEnd::Line => &self.whole,
            TextEnd::Cut => {
                // What compiled once compiles with its end anchors taken out, size limit apart.
                match self.cut.get_or_init(|| Engine::new(&self.python, TextEnd::Cut).ok()) {
                    Some(engine) => engine,
                    None => return Search::GaveUp,
                }
            }
        };
        match engine.search(text, &self.names) {
            Search::Found(mut groups) => {
                self.merge(&mut groups);
                Search::Found(groups)
            }
            other => other,
        }
    }

    fn merge(&self, groups: &mut Groups) {
        for merged in &self.merged {
            let Some(value) = value_of(groups, &merged.group).map(str::to_owned) else { continue };
            let target = groups.iter_mut().find(|(name, _)| *name == merged.into);
            match target {
                Some((_, Some(before))) if merged.joined => {
                    before.push(' ');
                    before.push_str(&value);
                }
                Some((_, before)) if before.as_deref().is_none_or(str::is_empty) => *before = Some(value),
                Some(_) => {}
                None => groups.push((Arc::clone(&merged.into), Some(value))),
            }
        }
    }
}

/// The value of a group that took part and is not empty.
#[must_use]
pub fn value_of<'a>(groups: &'a Groups, name: &str) -> Option<&'a str> {
    let (_, value) = groups.iter().find(|(other, _)| other.as_ref() == name)?;
    value.as_deref().filter(|value| !value.is_empty())
}

fn merged_group(group: &Arc<str>) -> Option<Merged> {
    let (joined, rest) = match group.strip_prefix("alt_") {
        Some(rest) => (false, rest),
        None => (true, group.strip_prefix("tuple_")?),
    };
    let into = match rest.rsplit_once('_') {
        Some((name, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => rest,
    };
    Some(Merged { group: Arc::clone(group), into: Arc::from(regex_tags::group_name(into)), joined })
}

/// The first group name that comes twice. The backtracking engine would take that.
fn doubled_group(python: &str) -> Option<&str> {
    let mut seen: Vec<&str> = Vec::new();
    for (at, _) in python.match_indices("(?P<") {
        let escapes = python[..at].bytes().rev().take_while(|&byte| byte == b'\\').count();
        let behind = &python[at + 4..];
        let name = &behind[..behind.find('>')?];
        if escapes % 2 == 0 {
            if seen.contains(&name) {
                return Some(name);
            }
            seen.push(name);
        }
    }
    None
}

impl Engine {
    fn new(python: &str, end: TextEnd) -> Result<Engine, String> {
        if !is_possessive(python) {
            let linear = translate(python, Dialect::Linear, end)?;
            if let Ok(regex) = regex::RegexBuilder::new(&linear).size_limit(COMPILED_BYTES_MAX).build() {
                return Ok(Engine::Linear(regex));
            }
        }
        let fancy = translate(python, Dialect::Backtracking, end)?;
        fancy_regex::RegexBuilder::new(&fancy)
            .backtrack_limit(BACKTRACK_STEPS_MAX)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map(Engine::Backtracking)
            .map_err(|error| last_line(&error.to_string()))
    }

    fn group_names(&self) -> Vec<Arc<str>> {
        match self {
            Engine::Linear(regex) => regex.capture_names().flatten().map(Arc::from).collect(),
            Engine::Backtracking(regex) => regex.capture_names().flatten().map(Arc::from).collect(),
        }
    }

    fn search(&self, text: &str, names: &[Arc<str>]) -> Search {
        match self {
            Engine::Linear(regex) => match regex.captures(text) {
                None => Search::Nothing,
                Some(captures) => {
                    let value = |name: &Arc<str>| captures.name(name).map(|m| m.as_str().to_owned());
                    Search::Found(names.iter().map(|name| (Arc::clone(name), value(name))).collect())
                }
            },
            Engine::Backtracking(regex) => match regex.captures(text) {
                Err(_) => Search::GaveUp,
                Ok(None) => Search::Nothing,
                Ok(Some(captures)) => {
                    let value = |name: &Arc<str>| captures.name(name).map(|m| m.as_str().to_owned());
                    Search::Found(names.iter().map(|name| (Arc::clone(name), value(name))).collect())
                }
            },
        }
    }
}

/// The engines explain themselves over several lines with a drawing; the last one has the reason.
fn last_line(error: &str) -> String {
    error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(error).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(written: &str, text: &str) -> Option<Groups> {
        let pattern = Pattern::new(written, HostNames::Allowed).expect("compiles");
        match pattern.search(text, TextEnd::Line) {
            Search::Found(groups) => Some(groups),
            _ => None,
        }
    }

    fn group(written: &str, text: &str, name: &str) -> Option<String> {
        value_of(&found(written, text)?, name).map(str::to_owned)
    }

    #[test]
    fn host_finds_addresses_of_both_families_and_names() {
        let written = r"from \[?<HOST>\]?(?::\d+)?$";
        for (text, name, value) in [
            ("from 192.0.2.1\n", "ip4", "192.0.2.1"),
            ("from ::ffff:192.0.2.1\n", "ip4", "192.0.2.1"),
            ("from [2001:db8::1]\n", "ip6", "2001:db8::1"),
            ("from host.example\n", "dns", "host.example"),
        ] {
            assert_eq!(group(written, text, name).as_deref(), Some(value), "{text}");
        }
    }

    #[test]
    fn the_dollar_matches_before_the_final_new_line_only() {
        assert!(found("a$", "a\n").is_some());
        assert!(found("a$", "a\n\n").is_none());
        assert!(found("^a<HOST>$", "a192.0.2.1 \n").is_none());
    }

    #[test]
    fn alternatives_fill_an_empty_group() {
        let written =
            "u=<F-USER>.*?</F-USER> a=<F-ALT_USER_1>.*?</F-ALT_USER_1> b=<F-ALT_USER_2>.*</F-ALT_USER_2>";
        assert_eq!(group(written, "u=x a=y b=z", "user").as_deref(), Some("x"));
        assert_eq!(group(written, "u= a=y b=z", "user").as_deref(), Some("y"));
        assert_eq!(group(written, "u= a= b=z", "user").as_deref(), Some("z"));
    }

    #[test]
    fn only_what_needs_it_backtracks() {
        let backtracking =
            |written| Pattern::new(written, HostNames::Allowed).expect("compiles").is_backtracking();
        assert!(!backtracking("^x <HOST>$"));
        assert!(backtracking("^(?!x)<HOST>$"));
        assert!(backtracking("(?P<q>')?<HOST>(?(q)')$"));
    }

    #[test]
    fn a_second_host_and_a_broken_expression_are_refused_with_a_reason() {
        for written in ["<HOST> <HOST>", "(", "[a", "  "] {
            let Err(error) = Pattern::new(written, HostNames::Allowed) else { panic!("{written} is taken") };
            assert!(!error.is_empty() && !error.contains('\n'), "{written}: {error}");
        }
    }

    #[test]
    fn at_a_cut_no_end_matches() {
        let pattern = Pattern::new("from <HOST>$", HostNames::Allowed).expect("compiles");
        assert_eq!(pattern.search("from 192.0.2.1", TextEnd::Cut), Search::Nothing);
        let open = Pattern::new("from <HOST> ", HostNames::Allowed).expect("compiles");
        assert!(matches!(open.search("from 192.0.2.1 x", TextEnd::Cut), Search::Found(_)));
        let look = Pattern::new("(?!x)from <HOST>$", HostNames::Allowed).expect("compiles");
        assert_eq!(look.search("from 192.0.2.1", TextEnd::Cut), Search::Nothing);
    }
}
