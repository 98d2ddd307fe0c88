//! One compiled expression: prefregex, failregex or ignoreregex.
//!
//! The linear engine takes everything it can. What needs look-around, back-references or
//! conditionals goes to the backtracking engine with a step limit, so that no line can stop us.

use crate::engine::exact::{Exact, Outcome, Parsed};
use crate::group_name::{Name, OTHER_NAMES_MAX};
use crate::groups::Groups;
use crate::joined_groups::JoinedGroups;
use crate::regex_tags::{self, HostNames};
use crate::translate::{Dialect, TextEnd, is_possessive, translate};
use regex_syntax::hir::Hir;
use std::ops::Range;
use std::sync::OnceLock;

/// A compiled expression may be this big; a bigger one is refused.
pub const COMPILED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The backtracking engine gives a line up after so many steps; the line then does not match, and
/// that is counted.
pub const BACKTRACK_STEPS_MAX: usize = 100_000;

/// Where the named groups of one match are, in the order of the expression; `None` for what took no part.
pub type Places = Vec<Option<Range<usize>>>;

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// It matches, with its groups here: see [`Pattern::read`].
    Found(Places),
    /// It does not.
    Nothing,
    /// The backtracking engine reached [`BACKTRACK_STEPS_MAX`].
    GaveUp,
}

/// What prefregex cuts out of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// This part of it.
    At(Range<usize>),
    /// Several groups, put together.
    Text(String),
}

/// An expression that compiles.
#[derive(Debug)]
pub struct Pattern {
    written: String,
    python: String,
    whole: Exact,
    /// The same for a line that was cut, made when the first such line comes.
    cut: OnceLock<Option<Exact>>,
    reduced: Hir,
    /// The groups with a name, by number and by name.
    numbers: Vec<usize>,
    names: Vec<Name>,
    merged: JoinedGroups,
}

impl Pattern {
    /// Compiles `written`, an expression in Python's syntax with fail2ban's tags.
    ///
    /// # Errors
    /// A phrase that says what the engine does not take.
    pub fn new(written: &str, names: HostNames) -> Result<Pattern, String> {
        Pattern::compile(written, names, TextEnd::Line)
    }

    /// The same for a text of several lines, each ended by `\n`: `^` and `$` match at every one of them.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn over_lines(written: &str, names: HostNames) -> Result<Pattern, String> {
        Pattern::compile(written, names, TextEnd::EachLine)
    }

    fn compile(written: &str, names: HostNames, end: TextEnd) -> Result<Pattern, String> {
        if written.trim_start().is_empty() {
            return Err("it is empty".to_owned());
        }
        let python = regex_tags::resolve(written, names);
        if let Some(name) = doubled_group(&python) {
            return Err(format!(
                "it has two groups named `{name}`; <HOST> and its kind may stand there only once"
            ));
        }
        let Parsed { exact, reduced, groups } = parse(&python, end)?;
        let too_many = || format!("it names groups, and more than {OTHER_NAMES_MAX} names are known already");
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for (number, name) in groups {
            numbers.push(number);
            names.push(Name::of(&name).ok_or_else(too_many)?);
        }
        let merged = JoinedGroups::of(&names).ok_or_else(too_many)?;
        Ok(Pattern {
            written: written.to_owned(),
            python,
            whole: exact,
            cut: OnceLock::new(),
            reduced,
            numbers,
            names,
            merged,
        })
    }

    /// As it stands in the configuration, tags and all.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// In Python's syntax, the tags replaced.
    #[must_use]
    pub fn python(&self) -> &str {
        &self.python
    }

    /// Whether the expression needs the backtracking engine.
    #[must_use]
    pub fn is_backtracking(&self) -> bool {
        matches!(self.whole, Exact::Backtracking { .. })
    }

    /// Whether it has a group of this name.
    #[must_use]
    pub fn has_group(&self, name: &str) -> bool {
        self.names.iter().any(|other| other.as_str() == name)
    }

    /// Searches `text`, which ends as `end` says: with `\n`, or in the middle of a line.
    #[must_use]
    pub fn search(&self, text: &str, end: TextEnd) -> Search {
        let exact = match end {
            TextEnd::Line | TextEnd::EachLine => &self.whole,
            TextEnd::Cut => {
                // What compiled once compiles with its end anchors taken out, size limit apart.
                match self.cut.get_or_init(|| Some(parse(&self.python, TextEnd::Cut).ok()?.exact)) {
                    Some(exact) => exact,
                    None => return Search::GaveUp,
                }
            }
        };
        match exact.search(text, &self.numbers) {
            Outcome::Found(places) => Search::Found(places),
            Outcome::Nothing => Search::Nothing,
            Outcome::GaveUp => Search::GaveUp,
        }
    }

    /// Reads the groups of a match at `places` of `text` into `groups`, where they replace what has the same
    /// name.
    pub fn read(&self, text: &str, places: &Places, groups: &mut Groups) {
        self.read_over(text, places, &mut Groups::default(), groups);
    }

    /// The same, with memory that one match hands on to the next.
    pub(crate) fn read_over(&self, text: &str, places: &Places, own: &mut Groups, groups: &mut Groups) {
        if self.merged.is_empty() {
            self.read_plain(text, places, None, groups);
            return;
        }
        own.clear();
        self.read_plain(text, places, None, own);
        self.merged.join(own);
        for (name, value) in own.entries() {
            groups.set(name, value);
        }
    }

    /// The same of a prefregex: `content` is not among the groups, but given back when it is not empty.
    pub fn read_prefix(&self, text: &str, places: &Places, groups: &mut Groups) -> Option<Content> {
        if self.merged.is_empty() {
            self.read_plain(text, places, Some(Name::CONTENT), groups);
            let at = self.names.iter().position(|&name| name == Name::CONTENT)?;
            return places.get(at)?.clone().filter(|place| !place.is_empty()).map(Content::At);
        }
        self.read(text, places, groups);
        let content = groups.value(Name::CONTENT).map(|content| Content::Text(content.to_owned()));
        groups.remove(Name::CONTENT);
        content
    }

    fn read_plain(&self, text: &str, places: &Places, except: Option<Name>, groups: &mut Groups) {
        for (&name, place) in self.names.iter().zip(places) {
            if Some(name) != except {
                groups.set(name, place.clone().and_then(|place| text.get(place)));
            }
        }
    }

    /// Whether the value of a group is put together from several.
    pub(crate) fn puts_together(&self) -> bool {
        !self.merged.is_empty()
    }

    /// The numbers of its named groups, in the order of [`Places`].
    pub(crate) fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// As it is on text that ends with a line: see [`Exact::hirs`].
    pub(crate) fn hirs(&self) -> Option<Vec<Hir>> {
        self.whole.hirs()
    }

    /// Where in `text` the first match is, for whoever needs more than its groups.
    #[must_use]
    pub fn place(&self, text: &str) -> Option<Range<usize>> {
        match self.whole.search(text, &[0]) {
            Outcome::Found(places) => places.into_iter().next().flatten(),
            Outcome::Nothing | Outcome::GaveUp => None,
        }
    }

    /// The expression without groups, in bytes, that matches wherever this one does.
    #[must_use]
    pub fn reduced(&self) -> &Hir {
        &self.reduced
    }
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

/// Reads an expression for the engine that takes it.
fn parse(python: &str, end: TextEnd) -> Result<Parsed, String> {
    if !is_possessive(python)
        && let Some(parsed) = Exact::linear(translate(python, Dialect::Linear, end)?)
    {
        return Ok(parsed);
    }
    let source = translate(python, Dialect::Backtracking, end)?;
    if !is_possessive(python)
        && let Some(parsed) = Exact::linear_in_branches(&source)
    {
        return Ok(parsed);
    }
    Exact::backtracking(source).map_err(|error| reason(&error))
}

/// What an engine finds wrong. They explain themselves over several lines with a drawing, of which the last has the
/// reason, and count positions in the expression as it was given to them, which nobody has written.
fn reason(error: &str) -> String {
    let last = error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(error);
    match last.strip_prefix("Parsing error at position ").and_then(|rest| rest.split_once(": ")) {
        Some((_, why)) => why.to_owned(),
        None => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(written: &str, text: &str) -> Option<Groups> {
        let pattern = Pattern::new(written, HostNames::Allowed).expect("compiles");
        match pattern.search(text, TextEnd::Line) {
            Search::Found(places) => {
                let mut groups = Groups::default();
                pattern.read(text, &places, &mut groups);
                Some(groups)
            }
            _ => None,
        }
    }

    fn group(written: &str, text: &str, name: &str) -> Option<String> {
        found(written, text)?.value(Name::of(name)?).map(str::to_owned)
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
        assert!(backtracking("^(?P<q>['`])<HOST>(?P=q)$"));
        assert!(!backtracking("(?P<q>')?<HOST>(?(q)')$"));
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
