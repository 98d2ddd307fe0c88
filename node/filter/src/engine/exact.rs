//! One expression with its exact meaning: the place of a match and of its groups.
//!
//! What the linear engine takes is compiled twice at most, each time when the first text comes that needs it:
//! for ASCII text as an expression about bytes, which is small and quick, and for all other text as it is.
//! Whether an expression is worth searching for is not asked here (`screen`).

use super::branches::in_branches;
use super::bytes::{at_least, for_ascii};
use super::head::{head_of, rest_behind};
use super::loosen::loosened;
use crate::pattern::{BACKTRACK_STEPS_MAX, COMPILED_BYTES_MAX};
use regex_automata::meta::{Config, Regex as ByteRegex};
use regex_syntax::hir::{Hir, HirKind};
use std::ops::Range;
use std::sync::OnceLock;

/// What one expression keeps of its automaton's states, in bytes.
const STATES_BYTES_MAX: usize = 256 * 1024;

/// An expression in Rust's syntax, and its engines as far as they were needed.
#[derive(Debug)]
pub enum Exact {
    /// For the linear engine.
    Linear {
        /// What it was written as.
        source: Source,
        /// For text that is ASCII.
        ascii: OnceLock<Option<AsciiEngine>>,
        /// For any text.
        any: OnceLock<Option<ByteRegex>>,
    },
    /// For the backtracking engine.
    Backtracking {
        /// In Rust's syntax.
        source: String,
        /// The engine.
        any: OnceLock<Option<fancy_regex::Regex>>,
    },
}

/// What an expression for the linear engine was written as, in Rust's syntax.
#[derive(Debug)]
pub enum Source {
    /// As the engine takes it.
    Linear(String),
    /// For the backtracking engine, and [`in_branches`] writes it anew.
    InBranches(String),
}

impl Source {
    /// One expression, or several of which the first that matches counts.
    fn hirs(&self) -> Option<Vec<Hir>> {
        match self {
            Source::Linear(source) => Some(vec![regex_syntax::parse(source).ok()?]),
            Source::InBranches(source) => in_branches(source),
        }
    }
}

/// What a search came to: the places of the groups that were asked for, when it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It matches here.
    Found(Vec<Option<Range<usize>>>),
    /// It does not match.
    Nothing,
    /// Nobody knows: the step limit of the backtracking engine was reached, or the engine is too big.
    GaveUp,
}

/// An expression that was read for the first time.
#[derive(Debug)]
pub struct Parsed {
    /// To search with.
    pub exact: Exact,
    /// What the screen and the prefilter know it by.
    pub reduced: Hir,
    /// Its named groups with their numbers.
    pub groups: Vec<(usize, String)>,
}

impl Exact {
    /// Reads an expression for the linear engine; `None` when that does not take it.
    #[must_use]
    pub fn linear(source: String) -> Option<Parsed> {
        let hir = regex_syntax::parse(&source).ok()?;
        let mut groups = Vec::new();
        named_groups(&hir, &mut groups);
        let source = Source::Linear(source);
        let exact = Exact::Linear { source, ascii: OnceLock::new(), any: OnceLock::new() };
        Some(Parsed { exact, reduced: at_least(&hir), groups })
    }

    /// Reads an expression for the backtracking engine that the linear one takes in branches; `None` when it
    /// does not.
    #[must_use]
    pub fn linear_in_branches(source: &str) -> Option<Parsed> {
        let branches = in_branches(source)?;
        let tree = fancy_regex::Expr::parse_tree(source).ok()?;
        let mut groups = Vec::new();
        for (name, numbers) in &tree.named_groups {
            groups.extend(numbers.iter().map(|&number| (number, name.clone())));
        }
        groups.sort_unstable();
        // Loosened it has the fewer branches, so the texts in it are longer.
        let reduced = at_least(&loosened(source).unwrap_or_else(|| Hir::alternation(branches)));
        let source = Source::InBranches(source.to_owned());
        let exact = Exact::Linear { source, ascii: OnceLock::new(), any: OnceLock::new() };
        Some(Parsed { exact, reduced, groups })
    }

    /// Reads an expression for the backtracking engine.
    ///
    /// # Errors
    /// What the engine says about it, over several lines.
    pub fn backtracking(source: String) -> Result<Parsed, String> {
        // The engine is made once to know that it takes the expression, and again when it is needed.
        let regex = backtracking_engine(&source).map_err(|error| error.to_string())?;
        let named = |(index, name): (usize, Option<&str>)| Some((index, name?.to_owned()));
        let groups = regex.capture_names().enumerate().filter_map(named).collect();
        let reduced = loosened(&source).map_or_else(
            || at_least(&regex_syntax::parse("(?s:.*)").expect("a constant expression")),
            |hir| at_least(&hir),
        );
        Ok(Parsed { exact: Exact::Backtracking { source, any: OnceLock::new() }, reduced, groups })
    }

    /// One expression, or several of which the first that matches counts, their groups numbered alike. For the
    /// backtracking engine it is one without groups that matches wherever this one does.
    #[must_use]
    pub fn hirs(&self) -> Option<Vec<Hir>> {
        match self {
            Exact::Linear { source, .. } => source.hirs(),
            Exact::Backtracking { source, .. } => {
                Some(vec![loosened(source).or_else(|| regex_syntax::parse("(?s:.*)").ok())?])
            }
        }
    }

    /// The groups with these numbers in the first match.
    #[must_use]
    pub fn search(&self, text: &str, groups: &[usize]) -> Outcome {
        match self {
            Exact::Linear { source, ascii, any } if text.is_ascii() => {
                let Some(regex) = ascii.get_or_init(|| AsciiEngine::new(source)) else {
                    return search_any(any, source, text, groups);
                };
                regex.search(text, groups)
            }
            Exact::Linear { source, any, .. } => search_any(any, source, text, groups),
            Exact::Backtracking { source, any } => {
                let Some(regex) = any.get_or_init(|| backtracking_engine(source).ok()) else {
                    return Outcome::GaveUp;
                };
                match regex.captures(text) {
                    Err(_) => Outcome::GaveUp,
                    Ok(None) => Outcome::Nothing,
                    Ok(Some(captures)) => {
                        let place = |&group: &usize| captures.get(group).map(|found| found.range());
                        Outcome::Found(groups.iter().map(place).collect())
                    }
                }
            }
        }
    }
}

fn search_any(any: &OnceLock<Option<ByteRegex>>, source: &Source, text: &str, groups: &[usize]) -> Outcome {
    let Some(regex) = any.get_or_init(|| any_engine(source)) else { return Outcome::GaveUp };
    places(regex, text, groups)
}

fn places(regex: &ByteRegex, text: &str, groups: &[usize]) -> Outcome {
    let mut captures = regex.create_captures();
    regex.captures(text, &mut captures);
    if !captures.is_match() {
        return Outcome::Nothing;
    }
    let place = |&group: &usize| captures.get_group(group).map(|span| span.range());
    Outcome::Found(groups.iter().map(place).collect())
}

fn any_engine(source: &Source) -> Option<ByteRegex> {
    let config = Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX));
    ByteRegex::builder().configure(config).build_many_from_hir(&source.hirs()?).ok()
}

/// An expression as it is on ASCII text.
#[derive(Debug)]
pub struct AsciiEngine {
    whole: ByteRegex,
    /// What stands before the group that takes the rest of the line, and the group's number.
    head: Option<(ByteRegex, usize)>,
}

impl AsciiEngine {
    fn new(source: &Source) -> Option<AsciiEngine> {
        let hirs: Vec<Hir> = source.hirs()?.iter().map(for_ascii).collect();
        let head = match hirs.as_slice() {
            [hir] => head_of(hir, None).and_then(|(head, group)| Some((ascii_regex(&[head])?, group))),
            _ => None,
        };
        Some(AsciiEngine { whole: ascii_regex(&hirs)?, head })
    }

    fn search(&self, text: &str, groups: &[usize]) -> Outcome {
        let Some((head, last)) = &self.head else { return places(&self.whole, text, groups) };
        let mut captures = head.create_captures();
        head.captures(text, &mut captures);
        let Some(found) = captures.get_match() else { return Outcome::Nothing };
        let Some(rest) = rest_behind(text, found.end()) else { return places(&self.whole, text, groups) };
        let place = |&group: &usize| match group {
            0 => Some(found.start()..text.len()),
            group if group == *last => Some(rest.clone()),
            group => captures.get_group(group).map(|span| span.range()),
        };
        Outcome::Found(groups.iter().map(place).collect())
    }
}

fn ascii_regex(hirs: &[Hir]) -> Option<ByteRegex> {
    let config = Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(COMPILED_BYTES_MAX))
        .hybrid_cache_capacity(STATES_BYTES_MAX)
        .dfa(false);
    ByteRegex::builder().configure(config).build_many_from_hir(hirs).ok()
}

fn backtracking_engine(source: &str) -> Result<fancy_regex::Regex, fancy_regex::Error> {
    fancy_regex::RegexBuilder::new(source)
        .backtrack_limit(BACKTRACK_STEPS_MAX)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .build()
}

fn named_groups(hir: &Hir, groups: &mut Vec<(usize, String)>) {
    match hir.kind() {
        HirKind::Capture(capture) => {
            if let Some(name) = &capture.name {
                groups.push((capture.index as usize, name.to_string()));
            }
            named_groups(&capture.sub, groups);
        }
        HirKind::Repetition(repetition) => named_groups(&repetition.sub, groups),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            for part in parts {
                named_groups(part, groups);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_and_other_text_are_found_alike() {
        let parsed = Exact::linear(r"user (?P<user>\w+) (?P<n>\d)?x".to_owned()).expect("linear");
        let numbers: Vec<usize> = parsed.groups.iter().map(|&(number, _)| number).collect();
        assert_eq!(parsed.groups.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["user", "n"]);
        assert_eq!(parsed.exact.search("a user bob x", &numbers), Outcome::Found(vec![Some(7..10), None]));
        assert_eq!(
            parsed.exact.search("ä user böb 1x", &numbers),
            Outcome::Found(vec![Some(8..12), Some(13..14)])
        );
        assert_eq!(parsed.exact.search("ä user", &numbers), Outcome::Nothing);
    }

    #[test]
    fn backtracking_has_an_end() {
        let parsed = Exact::backtracking(r"^(?:(?:\w+\s?)+(?=\w))+(?P<w>!)\1$".to_owned()).expect("readable");
        assert_eq!(parsed.exact.search(&"ab ".repeat(200), &[1]), Outcome::GaveUp);
        assert!(Exact::linear("(?=x)".to_owned()).is_none());
        assert!(Exact::backtracking("(?=x".to_owned()).is_err());
    }
}
