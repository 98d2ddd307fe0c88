//! One automaton for a whole list of expressions that says which is the first to match, and where its groups
//! are, in one pass over the text and one back.
//!
//! Its states are what the PikeVM has in hand between two bytes (Russ Cox, "Regular Expression Matching: the
//! Virtual Machine Approach"): threads in the order of preference. They are made when a text first needs them.
//! Each step remembers from which thread each thread comes, and which groups begin or end on the way, so the
//! way of the thread that matched is walked back and the groups' places read off. Most steps leave every thread
//! where it was in the order and begin no group: those are not noted, and nobody goes back over them. What mostly
//! follows a state is one step (`usual`). The meaning is that of the engine's own leftmost-first search. Only for
//! expressions about bytes, and text of such bytes: what is ASCII, or what `symbols` made of other text.

mod states;
mod step;
mod usual;

use super::begins::begins_with;
use regex_syntax::hir::Hir;
use states::{DEAD, Entry, IS_MATCH, IS_RUN, IS_TELLING, IS_UNKNOWN, ROW, STATES_BYTES_MAX, States};
use std::ops::Range;
use step::Edge;

/// An automaton through which fewer bytes of text went before it had to forget its states is given a rest.
const WORTH_BYTES_MIN: usize = 256 * 1024;
/// It rests until so much text has gone the other way, in bytes.
const REST_BYTES: usize = 1024 * 1024;
/// Of so many texts one is looked at closer, for what mostly follows where.
const OBSERVED_ONE_IN: u32 = 64;
/// A group that takes no part.
const NOWHERE: usize = usize::MAX;

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagging {
    /// None of the expressions matches.
    Nothing,
    /// This one is the first that matches, and its match ends here. [`Tagged::place_in`] has its groups.
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
    /// So many texts ago one was looked at closer.
    n_unobserved: u32,
    /// The steps of the last search that moved a thread or began a group; room for one at each byte.
    path: Vec<Step>,
    /// What the last search found, by the engine's slots: those of the expression that it found.
    slots: Vec<usize>,
}

/// A step that has to be gone back.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Where its edges begin.
    edges_at: u32,
    /// Where in the text it begins.
    position: u32,
}

/// Where a match ends.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The edges of the transition before which it ends.
    edges_at: u32,
    /// The end in the text.
    position: usize,
    /// So many steps of the path lead there.
    n_steps: usize,
}

impl Tagged {
    /// An automaton for expressions about bytes, of which `is_word` says which are part of a word; `None` when they
    /// are too big, or have an assertion that is not known here.
    #[must_use]
    pub fn new(expressions: &[Hir], is_word: &[bool; 256]) -> Option<Tagged> {
        let states = States::new(expressions, is_word)?;
        let slots = vec![NOWHERE; states.nfa.group_info().slot_len()];
        Some(Tagged { states, n_bytes: 0, rest_bytes: 0, n_unobserved: 0, path: Vec::new(), slots })
    }

    /// Searches `text`.
    pub fn search(&mut self, text: &[u8]) -> Tagging {
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
        self.n_unobserved += 1;
        if self.n_unobserved >= OBSERVED_ONE_IN {
            self.n_unobserved = 0;
            self.states.observe(text);
        }
        match self.run(text) {
            None => Tagging::GaveUp,
            Some(None) => Tagging::Nothing,
            Some(Some(end)) => {
                let expression = self.walk_back(end);
                Tagging::Found { expression, end: end.position }
            }
        }
    }

    /// Where the places of a group are kept, by its number and that of its expression; to be asked once for
    /// [`Tagged::place_in`].
    #[must_use]
    pub fn slot(&self, expression: usize, group: usize) -> Option<usize> {
        let expression = regex_automata::PatternID::new(expression).ok()?;
        self.states.nfa.group_info().slot(expression, group)
    }

    /// Where the group of this slot was in the last search, which found its expression.
    #[must_use]
    pub fn place_in(&self, slot: usize) -> Option<Range<usize>> {
        let (start, end) = (*self.slots.get(slot)?, *self.slots.get(slot + 1)?);
        (start != NOWHERE && end != NOWHERE).then_some(start..end)
    }

    /// Goes through the text: where the match ends, if there is one. `None`: too many states.
    fn run(&mut self, text: &[u8]) -> Option<Option<End>> {
        if self.path.len() < text.len() {
            self.path.resize(text.len(), Step::default());
        }
        let mut way = Way { next: self.states.first, position: 0, n_steps: 0, last: None };
        while way.go_on(&self.states, &mut self.path, text) {
            // The byte over which nobody has gone yet is taken back.
            way.position -= 1;
            let (row, byte) = (way.next & ROW, text[way.position]);
            let at = self.states.at(row, byte);
            self.states.make(row, Some(byte), at)?;
            way.next = row;
        }
        if way.next & ROW == DEAD {
            return Some(way.last);
        }
        // The end's class is the last.
        let at = way.next + u32::try_from(self.states.n_classes - 1).ok()?;
        let mut entry = self.states.table[at as usize];
        if entry.next & IS_UNKNOWN != 0 {
            entry = self.states.make(way.next, None, at)?;
        }
        let end = End { edges_at: entry.edges_at, position: text.len(), n_steps: way.n_steps };
        Some(if entry.next & IS_MATCH != 0 { Some(end) } else { way.last })
    }

    /// From the end of a match back to the beginning; says which expression it is that matches.
    fn walk_back(&mut self, end: End) -> usize {
        let edges_from = end.edges_at as usize;
        let expression = self.states.edges[edges_from - 2].parent as usize;
        for slots in &self.states.slots_of[expression] {
            self.slots[slots.clone()].fill(NOWHERE);
        }
        let States { edges, tags, .. } = &self.states;
        let mut note = |edge: Edge, position| {
            for tag in edge.tags(tags).iter().rev() {
                // Going back, what is seen first was written last.
                let place = &mut self.slots[tag.slot as usize];
                if *place == NOWHERE {
                    *place = position + tag.offset as usize;
                }
            }
        };
        let mut edge = edges[edges_from - 1];
        note(edge, end.position);
        for step in self.path[..end.n_steps].iter().rev() {
            edge = edges[(step.edges_at + edge.parent) as usize];
            if edge.n_tags != 0 {
                note(edge, step.position as usize);
            }
        }
        expression
    }
}

/// How far a search has come.
#[derive(Debug)]
struct Way {
    /// The row, or something telling, as in [`Entry::next`].
    next: u32,
    position: usize,
    /// So many steps of the path lead here.
    n_steps: usize,
    last: Option<End>,
}

impl Way {
    /// Goes on as far as the states are known; whether the last step has to be made. Where no thread is left, the
    /// row is [`DEAD`].
    fn go_on(&mut self, states: &States, path: &mut [Step], text: &[u8]) -> bool {
        let (classes, table) = (&*states.classes, states.table.as_slice());
        let Way { mut next, mut position, mut n_steps, .. } = *self;
        loop {
            // What comes next is known as soon as this load is done: the rest does not hold it up.
            while let Some(&byte) = text.get(position)
                && let Some(&Entry { next: behind, edges_at }) =
                    table[usize::from(classes[usize::from(byte)])..].get(next as usize)
            {
                #[expect(clippy::cast_possible_truncation, reason = "a text is a line, or a few")]
                let step = Step { edges_at, position: position as u32 };
                path[n_steps] = step;
                // No branch: which steps move a thread is hard to foresee.
                n_steps += usize::from(edges_at != 0);
                next = behind;
                position += 1;
            }
            if next & IS_TELLING == 0 || next & IS_UNKNOWN != 0 {
                break;
            }
            if next & IS_MATCH != 0 {
                // Steps before which something matches are part of the path.
                let Step { edges_at, position } = path[n_steps - 1];
                self.last = Some(End { edges_at, position: position as usize, n_steps: n_steps - 1 });
            }
            if next & IS_RUN == 0 {
                next &= ROW;
                if next == DEAD {
                    break;
                }
                continue;
            }
            let run = states.runs[(next & ROW) as usize];
            let awaited = &states.run_bytes[run.from as usize..][..run.n_bytes as usize];
            if begins_with(&text[position..], awaited) {
                if run.step.edges_at != 0 {
                    #[expect(clippy::cast_possible_truncation, reason = "a text is a line, or a few")]
                    let step = Step { edges_at: run.step.edges_at, position: position as u32 };
                    path[n_steps] = step;
                    n_steps += 1;
                }
                position += awaited.len();
                next = run.step.next;
            } else {
                next = run.otherwise;
                if next == DEAD {
                    break;
                }
            }
        }
        (self.next, self.position, self.n_steps) = (next, position, n_steps);
        next & IS_UNKNOWN != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bytes::for_ascii;
    use regex_automata::meta::Regex;
    use std::array::from_fn;

    /// What a text may be put together from.
    const PIECES: [&str; 13] = ["a", "ab", "b", "c", "d", "x", "xx", "z", " ", "\n", "from ", "1", "-"];

    fn words() -> [bool; 256] {
        from_fn(|byte| u8::try_from(byte).is_ok_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    }

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
            let mut tagged = Tagged::new(&hirs, &words()).expect("small");
            let mut n_found = 0;
            for text in &texts() {
                let first = engines.iter().enumerate().find_map(|(n, engine)| {
                    let mut captures = engine.create_captures();
                    engine.captures(text, &mut captures);
                    captures.is_match().then_some((n, captures))
                });
                let Some((expression, captures)) = first else {
                    assert_eq!(
                        tagged.search(text.as_bytes()),
                        Tagging::Nothing,
                        "{expressions:?} on {text:?}"
                    );
                    continue;
                };
                let end = captures.get_match().map_or(0, |found| found.end());
                assert_eq!(tagged.search(text.as_bytes()), Tagging::Found { expression, end }, "{text:?}");
                for group in 1..captures.group_len() {
                    let place = captures.get_group(group).map(|span| span.range());
                    let slot = tagged.slot(expression, group).expect("known");
                    assert_eq!(tagged.place_in(slot), place, "{expressions:?} on {text:?}");
                }
                n_found += 1;
            }
            assert!(n_found > 0);
        }
    }

    #[test]
    fn a_text_that_needs_too_many_states_is_given_up_and_memory_stays_bounded() {
        // Two to the twelfth states, when a text asks for them.
        let mut tagged = Tagged::new(&hirs(&[r"(?P<a>a[ab]{12}c)", "d"]), &words()).expect("small");
        let mut n = 1_u32;
        let mut n_given_up = 0;
        for _ in 0..200 {
            let text: String = (0..2_000)
                .map(|_| {
                    n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if n >> 31 == 0 { 'a' } else { 'b' }
                })
                .collect();
            n_given_up += u32::from(tagged.search(text.as_bytes()) == Tagging::GaveUp);
            assert!(tagged.states.size <= 3 * STATES_BYTES_MAX);
        }
        assert!(n_given_up > 100, "{n_given_up}");
        assert!(tagged.rest_bytes > 0, "it rests");
        tagged.search(" ".repeat(REST_BYTES).as_bytes());
        assert_eq!(tagged.search(b"d"), Tagging::Found { expression: 1, end: 1 });
    }
}
