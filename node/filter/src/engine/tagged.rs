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

use super::screen::from_line_begin;
use regex_automata::nfa::thompson::{Compiler, Config, NFA, State, WhichCaptures};
use regex_automata::util::look::{Look, LookSet};
use regex_automata::util::primitives::StateID;
use regex_syntax::hir::Hir;
use std::collections::HashMap;
use std::ops::Range;

/// The expressions of one list, without states, take so much memory at most.
const NFA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The states of one automaton take about so much memory at most; then they are forgotten and made anew.
pub const STATES_BYTES_MAX: usize = 512 * 1024;
/// An automaton through which fewer bytes of text went before it had to forget its states is given a rest.
const WORTH_BYTES_MIN: usize = 256 * 1024;
/// It rests until so much text has gone the other way, in bytes.
const REST_BYTES: usize = 1024 * 1024;
/// In the table: nobody knows yet. Otherwise where the next state's row begins, times two, plus one when a match
/// ends before the byte.
const UNKNOWN: u32 = u32::MAX;
/// The row of the state without threads.
const DEAD: u32 = 0;
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
    nfa: NFA,
    /// The class of each byte.
    classes: Box<[u8; 256]>,
    /// How many there are; the last one is the end of the text.
    n_classes: usize,
    /// A row of the table has two to this power of places.
    row_bits: u32,
    looks: LookSet,
    made: Made,
    /// How much text went through since the states were forgotten last, in bytes.
    n_bytes: usize,
    /// So much text goes the other way before this automaton is used again, in bytes.
    rest_bytes: usize,
    /// The places in the table that the last search came through, one for each byte of the text.
    path: Vec<u32>,
    /// What the last search found, by the engine's slots.
    slots: Vec<usize>,
    step: Step,
}

/// The states made so far.
#[derive(Debug, Default)]
struct Made {
    states: Vec<Threads>,
    /// Where in `table` the row of a state begins.
    rows: HashMap<Threads, u32>,
    /// The next state, by state and class; a row has room for a power of two of classes.
    table: Vec<u32>,
    /// Where in `edges` those of this transition begin, in the same order.
    edges_at: Vec<u32>,
    /// One for each thread of the state that a transition leads to; before them, when a match ends there, the
    /// thread that matched.
    edges: Vec<Edge>,
    /// Slots, each list with its length before it; the first is the list of none.
    tags: Vec<u32>,
    /// Which expression a transition with a match has matched.
    matched: HashMap<u32, usize>,
    size: usize,
}

/// What the PikeVM has in hand between two bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Threads {
    /// The NFA's states before anything is done that takes no byte, the preferred ones first.
    threads: Box<[StateID]>,
    before: Before,
}

/// What assertions have to know about the byte before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Before {
    #[default]
    TextBegin,
    LineEnd,
    Word,
    Other,
}

/// How a thread came about.
#[derive(Clone, Copy, Debug)]
struct Edge {
    /// The thread that it was, by its place in the state before.
    parent: u32,
    /// Where in `tags` the slots are that got a value on the way; 0: none did.
    tags_at: u32,
}

/// What is needed to make one transition.
#[derive(Debug, Default)]
struct Step {
    seen: Marks,
    reached: Marks,
    stack: Vec<(StateID, usize)>,
    tags: Vec<u32>,
    next: Vec<StateID>,
}

/// A set of the NFA's states that is emptied at no cost.
#[derive(Debug, Default)]
struct Marks {
    round: u32,
    rounds: Vec<u32>,
}

impl Marks {
    fn clear(&mut self, n_states: usize) {
        if self.rounds.len() != n_states || self.round == u32::MAX {
            self.rounds = vec![0; n_states];
            self.round = 0;
        }
        self.round += 1;
    }

    /// Whether it was not there before.
    fn insert(&mut self, id: StateID) -> bool {
        std::mem::replace(&mut self.rounds[id.as_usize()], self.round) != self.round
    }
}

impl Tagged {
    /// An automaton for expressions that are ASCII; `None` when they are too big, or have an assertion that is
    /// not known here.
    #[must_use]
    pub fn new(expressions: &[Hir]) -> Option<Tagged> {
        let anchored: Vec<Hir> = expressions.iter().map(from_line_begin).collect();
        let config =
            Config::new().utf8(false).which_captures(WhichCaptures::All).nfa_size_limit(Some(NFA_BYTES_MAX));
        let nfa = Compiler::new().configure(config).build_many_from_hir(&anchored).ok()?;
        let looks = nfa.look_set_any();
        if looks.contains_anchor_crlf() || looks.contains_word_unicode() {
            return None;
        }
        let classes = nfa.byte_classes();
        let mut class_of = Box::new([0; 256]);
        for byte in 0..=u8::MAX {
            class_of[usize::from(byte)] = classes.get(byte);
        }
        let n_classes = classes.alphabet_len();
        let row_bits = n_classes.next_power_of_two().trailing_zeros();
        let slots = vec![NOWHERE; nfa.group_info().slot_len()];
        let mut tagged = Tagged {
            nfa,
            classes: class_of,
            n_classes,
            row_bits,
            looks,
            made: Made::default(),
            n_bytes: 0,
            rest_bytes: 0,
            path: Vec::new(),
            slots,
            step: Step::default(),
        };
        tagged.forget();
        Some(tagged)
    }

    /// Searches `text`, which must be ASCII.
    pub fn search(&mut self, text: &str) -> Tagging {
        if self.rest_bytes > 0 {
            self.rest_bytes = self.rest_bytes.saturating_sub(text.len());
            return Tagging::GaveUp;
        }
        if self.made.size > STATES_BYTES_MAX {
            self.rest_bytes = if self.n_bytes < WORTH_BYTES_MIN { REST_BYTES } else { 0 };
            self.forget();
            return Tagging::GaveUp;
        }
        self.n_bytes += text.len();
        match self.run(text.as_bytes()) {
            None => Tagging::GaveUp,
            Some(None) => Tagging::Nothing,
            Some(Some((at, end))) => {
                self.walk_back(at, end);
                let expression = self.made.matched.get(&at).copied().unwrap_or_default();
                Tagging::Found { expression, end }
            }
        }
    }

    /// Where the group of this number of this expression was in the last search, which found that expression.
    #[must_use]
    pub fn place(&self, expression: usize, group: usize) -> Option<Range<usize>> {
        let expression = regex_automata::PatternID::new(expression).ok()?;
        let slot = self.nfa.group_info().slot(expression, group)?;
        let (start, end) = (*self.slots.get(slot)?, *self.slots.get(slot + 1)?);
        (start != NOWHERE && end != NOWHERE).then_some(start..end)
    }

    /// Goes through the text: the transition before which the match ends, and where that is. `None`: too many
    /// states.
    fn run(&mut self, text: &[u8]) -> Option<Option<(u32, usize)>> {
        if self.path.len() < text.len() {
            self.path.resize(text.len(), 0);
        }
        let mut row = 1 << self.row_bits;
        let mut last = None;
        for (position, &byte) in text.iter().enumerate() {
            let at = row + u32::from(self.classes[usize::from(byte)]);
            let mut next = self.made.table[at as usize];
            if next == UNKNOWN {
                next = self.make(row, Some(byte), at)?;
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
        let at = row + u32::try_from(self.n_classes - 1).ok()?;
        let mut next = self.made.table[at as usize];
        if next == UNKNOWN {
            next = self.make(row, None, at)?;
        }
        Some(if next & 1 == 1 { Some((at, text.len())) } else { last })
    }

    /// From the match that ends before the transition `at`, at `end`, back to the beginning.
    fn walk_back(&mut self, at: u32, end: usize) {
        self.slots.fill(NOWHERE);
        let Made { edges, edges_at, tags, .. } = &self.made;
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

    fn forget(&mut self) {
        self.made = Made::default();
        self.n_bytes = 0;
        self.made.tags.push(0);
        let nobody = Threads::default();
        let start = Threads { threads: Box::new([self.nfa.start_anchored()]), before: Before::TextBegin };
        self.row(nobody);
        self.row(start);
    }

    /// The row of a state, which is made when it is new.
    fn row(&mut self, threads: Threads) -> u32 {
        if let Some(row) = self.made.rows.get(&threads) {
            return *row;
        }
        let row = u32::try_from(self.made.table.len()).unwrap_or(DEAD);
        let length = self.made.table.len() + (1 << self.row_bits);
        self.made.size += 2 * (threads.threads.len() * size_of::<StateID>() + size_of::<Threads>())
            + ((2 * size_of::<u32>()) << self.row_bits);
        self.made.table.resize(length, UNKNOWN);
        self.made.edges_at.resize(length, 0);
        self.made.states.push(threads.clone());
        self.made.rows.insert(threads, row);
        row
    }

    /// Makes the transition from the state of `row` over `byte`, or over the end; `None` when there is no room
    /// left.
    #[cold]
    fn make(&mut self, row: u32, byte: Option<u8>, at: u32) -> Option<u32> {
        if self.made.size > 2 * STATES_BYTES_MAX {
            return None;
        }
        let from = self.made.states[(row >> self.row_bits) as usize].clone();
        let n_states = self.nfa.states().len();
        let step = &mut self.step;
        step.seen.clear(n_states);
        step.reached.clear(n_states);
        step.next.clear();
        let edges_from = self.made.edges.len();
        let mut matched = None;
        for (parent, &thread) in (0..).zip(&from.threads) {
            step.stack.clear();
            step.stack.push((thread, 0));
            step.tags.clear();
            matched = follow(&self.nfa, step, &mut self.made, parent, from.before, byte);
            if matched.is_some() {
                break;
            }
        }
        let is_match = matched.is_some();
        if let Some((expression, edge)) = matched {
            // Whatever is less preferred than a match is given up; the match stands before the threads.
            self.made.edges.insert(edges_from, edge);
            self.made.matched.insert(at, expression);
        }
        self.made.size += (self.made.edges.len() - edges_from) * size_of::<Edge>();
        let threads: Box<[StateID]> = self.step.next.as_slice().into();
        let before = if threads.is_empty() { Before::TextBegin } else { self.before(byte) };
        let next = self.row(Threads { threads, before });
        let entry = next * 2 + u32::from(is_match);
        self.made.table[at as usize] = entry;
        self.made.edges_at[at as usize] = u32::try_from(edges_from + usize::from(is_match)).ok()?;
        Some(entry)
    }

    /// What the assertions of these expressions have to know about a byte that was read.
    fn before(&self, byte: Option<u8>) -> Before {
        match byte {
            Some(byte) if self.looks.contains_word() && is_word(byte) => Before::Word,
            Some(b'\n') if self.looks.contains_anchor_lf() => Before::LineEnd,
            _ => Before::Other,
        }
    }
}

/// Follows a thread until it takes the byte, and all that it splits into, the preferred first. Gives back which
/// expression has matched, and how.
fn follow(
    nfa: &NFA,
    step: &mut Step,
    made: &mut Made,
    parent: u32,
    before: Before,
    byte: Option<u8>,
) -> Option<(usize, Edge)> {
    while let Some((mut id, n_tags)) = step.stack.pop() {
        step.tags.truncate(n_tags);
        while step.seen.insert(id) {
            let taken = match nfa.state(id) {
                State::ByteRange { trans } => {
                    byte.filter(|&byte| trans.matches_byte(byte)).map(|_| trans.next)
                }
                State::Sparse(sparse) => byte.and_then(|byte| sparse.matches_byte(byte)),
                State::Dense(dense) => byte.and_then(|byte| dense.matches_byte(byte)),
                State::Fail => None,
                State::Match { pattern_id } => {
                    return Some((pattern_id.as_usize(), edge(made, parent, &step.tags)));
                }
                State::Look { look, next } => {
                    if holds(*look, before, byte) {
                        id = *next;
                        continue;
                    }
                    None
                }
                State::Union { alternates } => {
                    let Some((first, others)) = alternates.split_first() else { break };
                    step.stack.extend(others.iter().rev().map(|&other| (other, step.tags.len())));
                    id = *first;
                    continue;
                }
                State::BinaryUnion { alt1, alt2 } => {
                    step.stack.push((*alt2, step.tags.len()));
                    id = *alt1;
                    continue;
                }
                State::Capture { next, slot, .. } => {
                    step.tags.push(u32::try_from(slot.as_usize()).unwrap_or(u32::MAX));
                    id = *next;
                    continue;
                }
            };
            if let Some(next) = taken
                && step.reached.insert(next)
            {
                step.next.push(next);
                let edge = edge(made, parent, &step.tags);
                made.edges.push(edge);
            }
            break;
        }
    }
    None
}

fn edge(made: &mut Made, parent: u32, tags: &[u32]) -> Edge {
    if tags.is_empty() {
        return Edge { parent, tags_at: 0 };
    }
    let tags_at = u32::try_from(made.tags.len()).unwrap_or(0);
    made.tags.extend(u32::try_from(tags.len()));
    made.tags.extend_from_slice(tags);
    made.size += (tags.len() + 1) * size_of::<u32>();
    Edge { parent, tags_at }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether an assertion holds between what was before and the byte, or the end, that follows.
fn holds(look: Look, before: Before, byte: Option<u8>) -> bool {
    let (word_before, word_behind) = (before == Before::Word, byte.is_some_and(is_word));
    match look {
        Look::Start => before == Before::TextBegin,
        Look::End => byte.is_none(),
        Look::StartLF => matches!(before, Before::TextBegin | Before::LineEnd),
        Look::EndLF => byte.is_none_or(|byte| byte == b'\n'),
        Look::WordAscii => word_before != word_behind,
        Look::WordAsciiNegate => word_before == word_behind,
        Look::WordStartAscii => !word_before && word_behind,
        Look::WordEndAscii => word_before && !word_behind,
        Look::WordStartHalfAscii => !word_before,
        Look::WordEndHalfAscii => !word_behind,
        // Not in what `Tagged::new` takes.
        _ => false,
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
            assert!(tagged.made.size <= 3 * STATES_BYTES_MAX);
        }
        assert!(n_given_up > 100, "{n_given_up}");
        assert!(tagged.rest_bytes > 0, "it rests");
        tagged.search(&" ".repeat(REST_BYTES));
        assert_eq!(tagged.search("d"), Tagging::Found { expression: 1, end: 1 });
    }
}
