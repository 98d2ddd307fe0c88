//! A list of expressions of which the first that matches counts: failregex, ignoreregex.
//!
//! One automaton says in one pass which is the first that may match, and only from there on expressions are
//! searched for exactly, in order. So a line that matches none costs one pass, however long the list is.

use crate::engine::required::{self, Needle};
use crate::engine::screen::{Possible, Screen};
use crate::pattern::{Groups, Pattern, Search};
use crate::translate::TextEnd;
use std::ops::Deref;

/// The list, in its order.
#[derive(Debug)]
pub struct PatternList {
    patterns: Vec<Pattern>,
    /// Made when the first line comes; `None` when there is nothing to gain from it.
    screen: Option<Option<Screen>>,
}

impl PatternList {
    /// A list of these.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>) -> PatternList {
        PatternList { patterns, screen: None }
    }

    /// The first that matches `text`, with its groups. `gave_up` grows by those that were given up.
    pub fn first(&mut self, text: &str, end: TextEnd, gave_up: &mut u64) -> Option<(usize, Groups)> {
        let Some(screen) = self.screen.get_or_insert_with(|| screen_of(&self.patterns)) else {
            return first_from(&self.patterns, 0, None, text, end, gave_up);
        };
        match screen.first(text) {
            Possible::None => None,
            Possible::From(index) => first_from(&self.patterns, index, Some(screen), text, end, gave_up),
        }
    }

    /// Texts of which one stands in every line that one of the list matches; `None` when lines can match
    /// without any.
    #[must_use]
    pub fn needles(&self) -> Option<Vec<Needle>> {
        let mut all = Vec::new();
        for pattern in &self.patterns {
            all.extend(required::needles(pattern.reduced())?);
        }
        all.sort();
        all.dedup();
        Some(all)
    }
}

impl Deref for PatternList {
    type Target = [Pattern];

    fn deref(&self) -> &[Pattern] {
        &self.patterns
    }
}

fn screen_of(patterns: &[Pattern]) -> Option<Screen> {
    // A single expression without backtracking is its own screen.
    if patterns.is_empty() || (patterns.len() == 1 && !patterns[0].is_backtracking()) {
        return None;
    }
    let reduced: Vec<_> = patterns.iter().map(|pattern| pattern.reduced().clone()).collect();
    Screen::new(&reduced).ok()
}

fn first_from(
    patterns: &[Pattern],
    from: usize,
    mut screen: Option<&mut Screen>,
    text: &str,
    end: TextEnd,
    gave_up: &mut u64,
) -> Option<(usize, Groups)> {
    for (index, pattern) in patterns.iter().enumerate().skip(from) {
        if index > from
            && let Some(screen) = screen.as_deref_mut()
            && !screen.may_match(index, text)
        {
            continue;
        }
        match pattern.search(text, end) {
            Search::Found(groups) => return Some((index, groups)),
            Search::Nothing => {}
            Search::GaveUp => *gave_up += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regex_tags::HostNames;

    fn list(written: &[&str]) -> PatternList {
        let compiled = |written: &&str| Pattern::new(written, HostNames::Allowed).expect("compiles");
        PatternList::new(written.iter().map(compiled).collect())
    }

    #[test]
    fn the_first_that_matches_counts_wherever_it_stands() {
        let mut list = list(&["from <HOST>$", "^login", "^(?!ok)f.*d", r"\bwörd\b", r"^\S \d$"]);
        let mut gave_up = 0;
        let mut first = |text: &str| {
            list.first(&format!("{text}\n"), TextEnd::Line, &mut gave_up).map(|(index, _)| index)
        };
        assert_eq!(first("login failed from 192.0.2.1"), Some(0));
        assert_eq!(first("login failed from 192.0.2.1 x"), Some(1));
        assert_eq!(first("failed"), Some(2));
        assert_eq!(first("a wörd"), Some(3));
        assert_eq!(first("ä 1"), Some(4));
        assert_eq!(first("a wörds"), None);
        assert_eq!(first("ok failed"), None);
        assert_eq!(gave_up, 0);
    }
}
