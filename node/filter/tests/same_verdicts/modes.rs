//! What an expression means on text, asked of engines that know characters: the other side of the automata over bytes
//! by which lists of expressions are really searched.
//!
//! The expressions are read anew, each for itself, and compiled for Unicode text as they stand. Not for filters as a
//! whole, and not for which lines are asked about: a fuzz target uses this as well.

use bannkreis_filter::filter::Filter;
use bannkreis_filter::pattern::{COMPILED_BYTES_MAX, Pattern, Places};
use bannkreis_filter::pattern_list::PatternList;
use bannkreis_filter::regex_tags::HostNames;
use bannkreis_filter::translate::{Dialect, TextEnd, translate};
use std::sync::OnceLock;

/// A list in both modes.
pub(crate) struct List {
    bytes: PatternList,
    /// Each expression by itself: for whole texts, and for those that were cut.
    unicode: Vec<[OnceLock<Unicode>; 2]>,
    /// How whole texts end.
    end: TextEnd,
}

/// An expression in an engine for characters.
enum Unicode {
    Linear(regex::Regex),
    Backtracking(fancy_regex::Regex),
}

/// What a list came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// The first expression that matches, and where its named groups are.
    Found(usize, Places),
    Nothing,
    /// Somebody gave up: whatever is found then is not compared.
    GaveUp,
}

impl Unicode {
    fn new(python: &str, end: TextEnd) -> Unicode {
        let linear = translate(python, Dialect::Linear, end).ok();
        let linear = linear
            .and_then(|source| regex::RegexBuilder::new(&source).size_limit(COMPILED_BYTES_MAX).build().ok());
        if let Some(linear) = linear.filter(|_| !bannkreis_filter::translate::is_possessive(python)) {
            return Unicode::Linear(linear);
        }
        let source = translate(python, Dialect::Backtracking, end).expect("the filter took it");
        Unicode::Backtracking(fancy_regex::Regex::new(&source).expect("the filter took it"))
    }

    fn search(&self, text: &str) -> Result<Option<Places>, fancy_regex::Error> {
        match self {
            Unicode::Linear(regex) => {
                let names = regex.capture_names().enumerate().filter(|(_, name)| name.is_some());
                Ok(regex.captures(text).map(|captures| {
                    names.map(|(number, _)| captures.get(number).map(|found| found.range())).collect()
                }))
            }
            Unicode::Backtracking(regex) => {
                let names = regex.capture_names().enumerate().filter(|(_, name)| name.is_some());
                Ok(regex.captures(text)?.map(|captures| {
                    names.map(|(number, _)| captures.get(number).map(|found| found.range())).collect()
                }))
            }
        }
    }
}

impl List {
    /// These, for single lines.
    pub(crate) fn new(written: &[&str]) -> List {
        List::of(written, TextEnd::Line, |written| Pattern::new(written, HostNames::Allowed))
    }

    /// The same for texts of several lines.
    pub(crate) fn over_lines(written: &[&str]) -> List {
        List::of(written, TextEnd::EachLine, |written| Pattern::over_lines(written, HostNames::Allowed))
    }

    fn of(written: &[&str], end: TextEnd, compiled: impl Fn(&str) -> Result<Pattern, String>) -> List {
        let patterns: Vec<Pattern> =
            written.iter().map(|written| compiled(written).expect("it compiles")).collect();
        let unicode = patterns.iter().map(|_| [OnceLock::new(), OnceLock::new()]).collect();
        List { bytes: PatternList::new(patterns), unicode, end }
    }

    /// What the automata find, which know bytes.
    pub(crate) fn by_bytes(&mut self, text: &str, is_cut: bool) -> Came {
        let end = if is_cut { TextEnd::Cut } else { self.end };
        let mut gave_up = 0;
        match self.bytes.first(text, end, &mut gave_up) {
            _ if gave_up > 0 => Came::GaveUp,
            Some(index) => Came::Found(index, self.bytes.places().clone()),
            None => Came::Nothing,
        }
    }

    /// What expressions find that know characters, one after the other.
    pub(crate) fn by_characters(&self, text: &str, is_cut: bool) -> Came {
        let end = if is_cut { TextEnd::Cut } else { self.end };
        for (index, (pattern, engines)) in self.bytes.iter().zip(&self.unicode).enumerate() {
            let engine = engines[usize::from(is_cut)].get_or_init(|| Unicode::new(pattern.python(), end));
            match engine.search(text) {
                Ok(None) => {}
                Ok(Some(places)) => return Came::Found(index, places),
                Err(_) => return Came::GaveUp,
            }
        }
        Came::Nothing
    }

    /// Compares the two; what was found, if both agree on something.
    pub(crate) fn compare(&mut self, text: &str, is_cut: bool) -> Came {
        let (bytes, characters) = (self.by_bytes(text, is_cut), self.by_characters(text, is_cut));
        if bytes != Came::GaveUp && characters != Came::GaveUp {
            let written: Vec<&str> = self.bytes.iter().map(Pattern::written).collect();
            assert_eq!(bytes, characters, "{text:?}, cut: {is_cut}, {written:#?}");
        }
        bytes
    }
}

/// The lists of a filter: what a line must look like, what is a failure, what is ignored.
pub(crate) fn lists(filter: &Filter) -> Vec<List> {
    let prefregex: Vec<&str> = filter.prefregex().into_iter().collect();
    let (failregex, ignoreregex) = (filter.failregexes().collect(), filter.ignoreregexes().collect());
    let all: [Vec<&str>; 3] = [prefregex, failregex, ignoreregex];
    all.iter().filter(|list| !list.is_empty()).map(|list| List::new(list)).collect()
}
