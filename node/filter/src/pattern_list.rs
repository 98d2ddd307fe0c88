//! A list of expressions of which the first that matches counts: failregex, ignoreregex.
//!
//! One automaton says in one pass which is the first that matches, and where its groups are. Where there is none,
//! and on a line that was cut, another one says which is the first that may match, and only from there on
//! expressions are searched for exactly, in order. So a line that matches none costs one pass, however long the list
//! is.

use crate::engine::ascii::is_ascii;
use crate::engine::bytes::for_ascii;
use crate::engine::head::{head_of, rest_behind};
use crate::engine::required::{self, Needle};
use crate::engine::screen::{Possible, Screen};
use crate::engine::symbols::{Mapped, Symbols};
use crate::engine::tagged::{Tagged, Tagging};
use crate::groups::Groups;
use crate::pattern::{Pattern, Places, Search};
use crate::translate::TextEnd;
use regex_syntax::hir::Hir;
use std::ops::{Deref, Range};

/// The list, in its order.
#[derive(Debug)]
pub struct PatternList {
    patterns: Vec<Pattern>,
    /// Made when the first line comes; `None` when there is nothing to gain from it.
    screen: Option<Option<Screen>>,
    /// Made when the first line comes; `None` when it would be too big.
    tagged: Option<Option<Tags>>,
    /// Where the groups of the last match are.
    places: Places,
    /// Memory that one match hands on to the next.
    own: Groups,
}

/// What [`Tagged`] needs to know of a list.
#[derive(Debug)]
struct Tags {
    automaton: Tagged,
    /// What the automaton sees of text beyond ASCII; `None` when it is for ASCII only.
    symbols: Option<Symbols>,
    mapped: Mapped,
    /// What each of the automaton's expressions is.
    expressions: Vec<Tag>,
    /// The automaton stops before the group of this number, which takes the rest of the line.
    last_group: Option<usize>,
}

/// One expression of [`Tagged`].
#[derive(Debug)]
struct Tag {
    /// The pattern that it belongs to, by its place in the list.
    pattern: usize,
    /// Where the automaton keeps the pattern's named groups, in their order.
    slots: Vec<Option<usize>>,
    /// Which of them takes the rest of the line, when the automaton stops before it.
    last: Option<usize>,
}

impl PatternList {
    /// A list of these.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>) -> PatternList {
        PatternList { patterns, screen: None, tagged: None, places: Places::new(), own: Groups::NONE }
    }

    /// The first that matches `text`; [`PatternList::read`] has its groups. `gave_up` grows by those that were
    /// given up.
    pub fn first(&mut self, text: &str, end: TextEnd, gave_up: &mut u64) -> Option<usize> {
        if self.patterns.is_empty() {
            return None;
        }
        if end != TextEnd::Cut
            && let Some(tags) = self.tagged.get_or_insert_with(|| Tags::of(&self.patterns))
        {
            match tags.first(&self.patterns, text, &mut self.places) {
                Tried::Nothing => return None,
                Tried::Found(index) => return Some(index),
                Tried::Unknown => {}
            }
        }
        let (index, places) = self.first_on_any_text(text, end, gave_up)?;
        self.places = places;
        Some(index)
    }

    /// Where the groups of the expression are that was found last.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Reads the groups of the expression `index`, which was found last, in `text`: see [`Pattern::read`].
    pub fn read(&mut self, index: usize, text: &str, groups: &mut Groups) {
        self.patterns[index].read_over(text, &self.places, &mut self.own, groups);
    }

    fn first_on_any_text(&mut self, text: &str, end: TextEnd, gave_up: &mut u64) -> Option<(usize, Places)> {
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

/// What a word is made of in ASCII.
static ASCII_WORDS: [bool; 256] = {
    let mut words = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        words[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    words
};

enum Tried {
    Nothing,
    Found(usize),
    /// The other way has to be gone.
    Unknown,
}

impl Tags {
    fn of(patterns: &[Pattern]) -> Option<Tags> {
        let (mut hirs, mut of_pattern): (Vec<Hir>, Vec<usize>) = (Vec::new(), Vec::new());
        for (index, pattern) in patterns.iter().enumerate() {
            let more = pattern.hirs()?;
            of_pattern.extend(more.iter().map(|_| index));
            hirs.extend(more);
        }
        let symbols = Symbols::of(&hirs);
        let reduced =
            |symbols: &Symbols| hirs.iter().map(|hir| symbols.reduced(hir)).collect::<Option<Vec<_>>>();
        let of_symbols = symbols.and_then(|symbols| Some((reduced(&symbols)?, symbols)));
        let (expressions, symbols) = of_symbols.map_or_else(
            || (hirs.iter().map(for_ascii).collect(), None),
            |(expressions, symbols)| (expressions, Some(symbols)),
        );
        Tags::with(patterns, expressions, &of_pattern, symbols)
    }

    fn with(
        patterns: &[Pattern],
        mut expressions: Vec<Hir>,
        of_pattern: &[usize],
        symbols: Option<Symbols>,
    ) -> Option<Tags> {
        let mut last_group = None;
        if let [expression] = expressions.as_mut_slice()
            && let Some((head, group)) = head_of(expression, symbols.as_ref())
        {
            (*expression, last_group) = (head, Some(group));
        }
        let is_word = symbols.as_ref().map_or(&ASCII_WORDS, Symbols::is_word);
        let automaton = Tagged::new(&expressions, is_word)?;
        let tag = |(expression, &index): (usize, &usize)| {
            let numbers = patterns[index].numbers();
            Tag {
                pattern: index,
                slots: numbers.iter().map(|&number| automaton.slot(expression, number)).collect(),
                last: last_group.and_then(|last| numbers.iter().position(|&number| number == last)),
            }
        };
        let expressions = of_pattern.iter().enumerate().map(tag).collect();
        Some(Tags { automaton, symbols, mapped: Mapped::default(), expressions, last_group })
    }

    fn first(&mut self, patterns: &[Pattern], text: &str, places: &mut Places) -> Tried {
        let is_mapped = !is_ascii(text.as_bytes());
        let bytes = match &self.symbols {
            _ if !is_mapped => text.as_bytes(),
            None => return Tried::Unknown,
            Some(symbols) => {
                symbols.map(text, &mut self.mapped);
                &self.mapped.bytes
            }
        };
        let in_text = |place: Range<usize>| if is_mapped { self.mapped.place(place) } else { place };
        let (expression, end) = match self.automaton.search(bytes) {
            Tagging::Nothing => return Tried::Nothing,
            Tagging::GaveUp => return Tried::Unknown,
            Tagging::Found { expression, end } => (expression, end),
        };
        let tag = &self.expressions[expression];
        let rest = match self.last_group {
            None => None,
            Some(_) => match rest_behind(text, in_text(end..end).end) {
                None => return Tried::Unknown,
                rest => rest,
            },
        };
        if patterns[tag.pattern].is_backtracking() {
            return Tried::Unknown;
        }
        places.clear();
        places.extend(tag.slots.iter().map(|slot| self.automaton.place_in((*slot)?).map(in_text)));
        if let Some(last) = tag.last {
            places[last] = rest;
        }
        Tried::Found(tag.pattern)
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
) -> Option<(usize, Places)> {
    for (index, pattern) in patterns.iter().enumerate().skip(from) {
        if index > from
            && let Some(screen) = screen.as_deref_mut()
            && !screen.may_match(index, text)
        {
            continue;
        }
        match pattern.search(text, end) {
            Search::Found(places) => return Some((index, places)),
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
        let mut first = |text: &str| list.first(&format!("{text}\n"), TextEnd::Line, &mut gave_up);
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
