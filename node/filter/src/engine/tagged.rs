//! One automaton for a whole list of expressions that says which is the first to match, and where its groups
//! are, in one pass over the text and one back.
//!
//! Its states are what the PikeVM has in hand between two bytes (Russ Cox, "Regular Expression Matching: the
//! Virtual Machine Approach"): threads in the order of preference. They are made when a text first needs them.
//! Each step remembers from which thread each thread comes, and which groups begin or end on the way, so the
//! way of the thread that matched is walked back and the groups' places read off. The meaning is that of the
//! engine's own leftmost-first search. Only for text and expressions that are ASCII ([`for_ascii`]).
//!
//! [`for_ascii`]: super::bytes::for_ascii

mod states;

use regex_syntax::hir::Hir;
use states::{DEAD, Edge, STATES_BYTES_MAX, States, UNKNOWN};
use std::ops::Range;

/// An automaton through which fewer bytes of text went before it had to forget its states is given a rest.
const WORTH_BYTES_MIN: usize = 256 * 1024;
/// It rests until so much text has gone the other way, in bytes.
const REST_BYTES: usize = 1024 * 1024;
/// A group that takes no part.
const NOWHERE: usize = usize::MAX;

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagging {
    /// None of the expressions matches.
    Nothing,
    /// This one is the first that matches, and its match ends here. [`Tagged::place`] has its groups.
    Found {
        /// By its place in the list that the automaton was made of.
        expression: usize,
        /// The end in the text.
        end: usize,
    },
    /// Nobody knows: this text needs too many states.
    GaveUp,
}

/// The automaton of a list.
#[derive(Debug)]
pub struct Tagged {
    states: States,
    /// How much text went through since the states were forgotten last, in bytes.
    n_bytes: usize,
    /// So much text goes the other way before this automaton is used again, in bytes.
    rest_bytes: usize,
    /// The places in the table that the last search came through, one for each byte of the text.
    path: Vec<u32>,
    /// What the last search found, by the engine's slots.
    slots: Vec<usize>,
}

impl Tagged {
    /// An automaton for expressions that are ASCII; `None` when they are too big, or have an assertion that is
    /// not known here.
    #[must_use]
    pub fn new(expressions: &[Hir]) -> Option<Tagged> {
        let states = States::new(expressions)?;
        let slots = vec![NOWHERE; states.nfa.group_info().slot_len()];
        Some(Tagged { states, n_bytes: 0, rest_bytes: 0, path: Vec::new(), slots })
    }

    /// Searches `text`, which must be ASCII.
    pub fn search(&mut self, text: &str) -> Tagging {
        if self.rest_bytes > 0 {
            self.rest_bytes = self.rest_bytes.saturating_sub(text.len());
            return Tagging::GaveUp;
        }
        if self.states.size > STATES_BYTES_MAX {
            self.rest_bytes = if self.n_bytes < WORTH_BYTES_MIN { REST_BYTES } else { 0 };
            self.states.forget();
            self.n_bytes = 0;
            return Tagging::GaveUp;
        }
        self.n_bytes += text.len();
        match self.run(text.as_bytes()) {
            None => Tagging::GaveUp,
            Some(None) => Tagging::Nothing,
            Some(Some((at, end))) => {
                self.walk_back(at, end);
                let expression = self.states.matched.get(&at).copied().unwrap_or_default();
                Tagging::Found { expression, end }
            }
        }
    }

    /// Where the group of this number of this expression was in the last search, which found that expression.
    #[must_use]
    pub fn place(&self, expression: usize, group: usize) -> Option<Range<usize>> {
        let expression = regex_automata::PatternID::new(expression).ok()?;
        let slot = self.states.nfa.group_info().slot(expression, group)?;
        let (start, end) = (*self.slots.get(slot)?, *self.slots.get(slot + 1)?);
        (start != NOWHERE && end != NOWHERE).then_some(start..end)
    }

    /// Goes through the text: the transition before which the match ends, and where that is. `None`: too many
    /// states.
    fn run(&mut self, text: &[u8]) -> Option<Option<(u32, usize)>> {
        if self.path.len() < text.len() {
            self.path.resize(text.len(), 0);
        }
        let mut row = self.states.first_row();
        let mut last = None;
        for (position, &byte) in text.iter().enumerate() {
            let at = row + u32::from(self.states.classes[usize::from(byte)]);
            let mut next = self.states.table[at as usize];
            if next == UNKNOWN {
                next = self.states.make(row, Some(byte), at)?;
            }
            if next & 1 == 1 {
                last = Some((at, position));
            }
            self.path[position] = at;
            row = next >> 1;
            if row == DEAD {
                return Some(last);
            }
        }
        // The end's class is the last.
        let at = row + u32::try_from(self.states.n_classes - 1).ok()?;
        let mut next = self.states.table[at as usize];
        if next == UNKNOWN {
            next = self.states.make(row, None, at)?;
        }
        Some(if next & 1 == 1 { Some((at, text.len())) } else { last })
    }

    /// From the match that ends before the transition `at`, at `end`, back to the beginning.
    fn walk_back(&mut self, at: u32, end: usize) {
        self.slots.fill(NOWHERE);
        let States { edges, edges_at, tags, .. } = &self.states;
        let mut note = |edge: Edge, position| {
            let list = edge.tags_at as usize;
            for &slot in tags[list + 1..][..tags[list] as usize].iter().rev() {
                // Going back, what is seen first was written last.
                let place = &mut self.slots[slot as usize];
                if *place == NOWHERE {
                    *place = position;
                }
            }
        };
        let mut edge = edges[edges_at[at as usize] as usize - 1];
        note(edge, end);
        for (position, &at) in self.path[..end].iter().enumerate().rev() {
            edge = edges[(edges_at[at as usize] + edge.parent) as usize];
            if edge.tags_at != 0 {
                note(edge, position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bytes::for_ascii;
    use regex_automata::meta::Regex;

    /// What a text may be put together from.
    const PIECES: [&str; 13] = ["a", "ab", "b", "c", "d", "x", "xx", "z", " ", "\n", "from ", "1", "-"];

    fn texts() -> Vec<String> {
        let mut texts = vec![String::new()];
        let mut longer = texts.clone();
        for _ in 0..4 {
            longer = longer.iter().flat_map(|text| PIECES.map(|piece| format!("{text}{piece}"))).collect();
            texts.extend(longer.iter().step_by(5).cloned());
        }
        texts
    }

    fn hirs(expressions: &[&str]) -> Vec<Hir> {
        expressions.iter().map(|e| for_ascii(&regex_syntax::parse(e).expect("reads"))).collect()
    }

    #[test]
    fn it_finds_what_the_engine_finds_in_the_first_expression_that_matches() {
        for expressions in [
            &[r"(?P<l>a|ab)(?P<m>c|bcd)(?P<n>d*)"][..],
            &[r"^(?P<a>x*)z(?P<b>a)?\n?\z", r"(?P<w>\bfrom\b) (?P<h>\d+)", r"(?m)^b(?P<c>.*)$"],
            &[r"(?P<o>(?:a*)*)(?P<p>b)", r"^(?:(?P<v>a)|(?P<u>x))+", r"\B(?P<r>.)\B"],
            &[r"(?P<q>x+?)(?P<r>x*)z?", r"(?:(?P<s>a)|b)*c", "", "a"],
            &[r"a$", r"(?m)(?P<t>^)a$", r"(?:(?P<k>\d)| )+?$", r"(?:)(?P<e>)"],
        ] {
            let hirs = hirs(expressions);
            let engines: Vec<Regex> = hirs
                .iter()
                .map(|hir| {
                    let config = Regex::config().utf8_empty(false);
                    Regex::builder().configure(config).build_from_hir(hir).expect("compiles")
                })
                .collect();
            let mut tagged = Tagged::new(&hirs).expect("small");
            let mut n_found = 0;
            for text in &texts() {
                let first = engines.iter().enumerate().find_map(|(n, engine)| {
                    let mut captures = engine.create_captures();
                    engine.captures(text, &mut captures);
                    captures.is_match().then_some((n, captures))
                });
                let Some((expression, captures)) = first else {
                    assert_eq!(tagged.search(text), Tagging::Nothing, "{expressions:?} on {text:?}");
                    continue;
                };
                let end = captures.get_match().map_or(0, |found| found.end());
                assert_eq!(tagged.search(text), Tagging::Found { expression, end }, "{text:?}");
                for group in 1..captures.group_len() {
                    let place = captures.get_group(group).map(|span| span.range());
                    assert_eq!(tagged.place(expression, group), place, "{expressions:?} on {text:?}");
                }
                n_found += 1;
            }
            assert!(n_found > 0);
        }
    }

    #[test]
    fn a_text_that_needs_too_many_states_is_given_up_and_memory_stays_bounded() {
        // Two to the twelfth states, when a text asks for them.
        let mut tagged = Tagged::new(&hirs(&[r"(?P<a>a[ab]{12}c)", "d"])).expect("small");
        let mut n = 1_u32;
        let mut n_given_up = 0;
        for _ in 0..200 {
            let text: String = (0..2_000)
                .map(|_| {
                    n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if n >> 31 == 0 { 'a' } else { 'b' }
                })
                .collect();
            n_given_up += u32::from(tagged.search(&text) == Tagging::GaveUp);
            assert!(tagged.states.size <= 3 * STATES_BYTES_MAX);
        }
        assert!(n_given_up > 100, "{n_given_up}");
        assert!(tagged.rest_bytes > 0, "it rests");
        tagged.search(&" ".repeat(REST_BYTES));
        assert_eq!(tagged.search("d"), Tagging::Found { expression: 1, end: 1 });
    }
}
