//! The states of the tagged automaton: what the PikeVM has in hand between two bytes, made when a text needs it.
//!
//! Not for going through a text: that is the automaton's (`tagged`).

use super::super::screen::from_line_begin;
use super::step::{Around, Before, Edge, Step, Tag, follow};
use super::usual::Usual;
use regex_automata::nfa::thompson::{Compiler, Config, NFA, State, WhichCaptures};
use regex_automata::util::look::LookSet;
use regex_automata::util::primitives::StateID;
use regex_syntax::hir::Hir;
use std::collections::HashMap;
use std::ops::Range;

/// The expressions of one list, without states, take so much memory at most.
const NFA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The states of one automaton take about so much memory at most; then they are forgotten and made anew.
pub(super) const STATES_BYTES_MAX: usize = 512 * 1024;
/// In [`Entry::next`]: there is more to a step than to go to the next row. Such a number is no place in the table.
pub(super) const IS_TELLING: u32 = 1 << 31;
/// A match ends before the byte.
pub(super) const IS_MATCH: u32 = 1 << 30;
/// Instead of a row there is a [`Run`].
pub(super) const IS_RUN: u32 = 1 << 29;
/// Nobody knows yet where the step leads; instead of the row that it leads to there is that from which it comes.
pub(super) const IS_UNKNOWN: u32 = 1 << 28;
/// The row, or the run, in an entry of the table.
pub(super) const ROW: u32 = IS_UNKNOWN - 1;
/// The row of the state without threads.
pub(super) const DEAD: u32 = 0;

/// A text that every thread of a state goes on with is worth being compared as a whole from this length on.
pub(super) const RUN_BYTES_MIN: usize = 4;
/// Longer ones are compared in parts.
const RUN_BYTES_MAX: usize = 64;

/// The bytes that logs have most of: what a row has for them lies together in memory.
const COMMON: &[u8] = b"0123456789. :=-[]()etaoinsrldcumhpfgybwvkxjqz";

/// A step over one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where the row of the next state begins in the table, or something telling.
    pub(super) next: u32,
    /// Where in `edges` those of the step begin, in the order of the threads that it leads to; 0 when all of them
    /// are where they were in the order before, no group begins or ends, and nothing matches.
    pub(super) edges_at: u32,
}

/// A step over a whole text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Where in `run_bytes` the text begins.
    pub(super) from: u32,
    pub(super) n_bytes: u32,
    /// Where it leads.
    pub(super) step: Entry,
    /// The row to go on from when something else follows: [`DEAD`] when all threads wait for the text, the
    /// state's own when the text is only what mostly follows (`usual`).
    pub(super) otherwise: u32,
}

/// The states made so far, and how to make more.
#[derive(Debug)]
pub(super) struct States {
    pub(super) nfa: NFA,
    /// The class of each byte.
    pub(super) classes: Box<[u8; 256]>,
    /// How many there are; the last one is the end of the text.
    pub(super) n_classes: usize,
    looks: LookSet,
    /// Which bytes are part of a word.
    is_word: Box<[bool; 256]>,
    states: Vec<Threads>,
    /// Where in `table` the row of a state begins.
    rows: HashMap<Threads, u32>,
    /// What begins at a state, where one does: its place in `runs`.
    pub(super) run_of: HashMap<u32, u32>,
    pub(super) runs: Vec<Run>,
    /// Their texts, one after the other.
    pub(super) run_bytes: Vec<u8>,
    /// The steps, by state and class.
    pub(super) table: Vec<Entry>,
    /// Where a text begins, as in [`Entry::next`].
    pub(super) first: u32,
    /// One for each thread of the state that a transition leads to; before them, when a match ends there, the
    /// thread that matched, and before that the expression, as if it were a thread.
    pub(super) edges: Vec<Edge>,
    /// Of all edges.
    pub(super) tags: Vec<Tag>,
    /// What mostly follows, by state.
    pub(super) usual: Vec<Usual>,
    /// The slots of each expression.
    pub(super) slots_of: Vec<[Range<usize>; 2]>,
    /// What all of this takes in memory, in bytes, about.
    pub(super) size: usize,
    step: Step,
}

/// What the PikeVM has in hand between two bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Threads {
    /// The NFA's states before anything is done that takes no byte, the preferred ones first.
    threads: Box<[StateID]>,
    before: Before,
}

impl States {
    /// For expressions about bytes, of which `is_word` says which are part of a word; `None` when they are too big,
    /// or have an assertion that is not known here.
    pub(super) fn new(expressions: &[Hir], is_word: &[bool; 256]) -> Option<States> {
        let anchored: Vec<Hir> = expressions.iter().map(from_line_begin).collect();
        let config =
            Config::new().utf8(false).which_captures(WhichCaptures::All).nfa_size_limit(Some(NFA_BYTES_MAX));
        let nfa = Compiler::new().configure(config).build_many_from_hir(&anchored).ok()?;
        let looks = nfa.look_set_any();
        if looks.contains_anchor_crlf() || looks.contains_word_unicode() {
            return None;
        }
        let (class_of, n_classes) = classes_of(&nfa, is_word)?;
        let slots_of = (0..expressions.len()).map(|expression| slots_of(&nfa, expression)).collect();
        let mut states = States {
            nfa,
            classes: class_of,
            n_classes,
            looks,
            is_word: Box::new(*is_word),
            states: Vec::new(),
            rows: HashMap::new(),
            run_of: HashMap::new(),
            runs: Vec::new(),
            run_bytes: Vec::new(),
            table: Vec::new(),
            first: DEAD,
            edges: Vec::new(),
            tags: Vec::new(),
            usual: Vec::new(),
            slots_of,
            size: 0,
            step: Step::default(),
        };
        states.forget();
        Some(states)
    }

    /// Where in the table the step from a row over a byte stands.
    pub(super) fn at(&self, row: u32, byte: u8) -> u32 {
        row + u32::from(self.classes[usize::from(byte)])
    }

    /// Forgets all states.
    pub(super) fn forget(&mut self) {
        self.states.clear();
        self.rows.clear();
        self.run_of.clear();
        self.runs.clear();
        self.run_bytes.clear();
        self.table.clear();
        self.edges.clear();
        self.tags.clear();
        self.usual.clear();
        self.size = 0;
        // No step has its edges at 0.
        self.edges.push(Edge::from(0));
        let nobody = Threads::default();
        let start = Threads { threads: Box::new([self.nfa.start_anchored()]), before: Before::TextBegin };
        self.row(nobody);
        self.first = self.row(start);
    }

    /// The row of a state, which is made when it is new.
    fn row(&mut self, threads: Threads) -> u32 {
        if let Some(row) = self.rows.get(&threads) {
            return *row;
        }
        let row = u32::try_from(self.table.len()).unwrap_or(DEAD);
        let length = self.table.len() + self.n_classes;
        self.size += 2 * (threads.threads.len() * size_of::<StateID>() + size_of::<Threads>())
            + size_of::<Usual>()
            + size_of::<Entry>() * self.n_classes;
        self.table.resize(length, Entry { next: IS_TELLING | IS_UNKNOWN | row, edges_at: 0 });
        self.states.push(threads.clone());
        self.usual.push(Usual::default());
        let run = self.run_from(&threads.threads);
        self.rows.insert(threads, row);
        if let Some((bytes, behind)) = run {
            let before = self.before(bytes.last().copied());
            let behind = self.row(Threads { threads: behind, before });
            self.add_run(row, &bytes, Entry { next: self.to(behind), edges_at: 0 }, DEAD);
        }
        row
    }

    /// Notes the text that follows a state; the number of the run.
    pub(super) fn add_run(&mut self, row: u32, bytes: &[u8], step: Entry, otherwise: u32) -> u32 {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let run = count(self.runs.len());
        self.run_of.insert(row, run);
        self.size += size_of::<Run>() + bytes.len();
        let from = count(self.run_bytes.len());
        self.runs.push(Run { from, n_bytes: count(bytes.len()), step, otherwise });
        self.run_bytes.extend(bytes);
        run
    }

    /// What a step to this row has in [`Entry::next`].
    pub(super) fn to(&self, row: u32) -> u32 {
        match self.run_of.get(&row) {
            Some(run) => IS_TELLING | IS_RUN | run,
            None if row == DEAD => IS_TELLING | DEAD,
            None => row,
        }
    }

    /// How many threads the state of this row has.
    pub(super) fn n_threads(&self, row: u32) -> usize {
        self.states[row as usize / self.n_classes].threads.len()
    }

    /// What mostly follows the state of this row.
    pub(super) fn usual_at(&mut self, row: u32) -> &mut Usual {
        &mut self.usual[row as usize / self.n_classes]
    }

    /// The text that all these threads wait for, and where they are behind it.
    fn run_from(&self, threads: &[StateID]) -> Option<(Vec<u8>, Box<[StateID]>)> {
        let mut threads: Box<[StateID]> = threads.into();
        let mut next = threads.clone();
        let mut bytes = Vec::new();
        while bytes.len() < RUN_BYTES_MAX {
            let mut awaited = None;
            for (thread, next) in threads.iter().zip(&mut next) {
                match self.nfa.state(*thread) {
                    State::ByteRange { trans }
                        if trans.start == trans.end && awaited.is_none_or(|byte| byte == trans.start) =>
                    {
                        (awaited, *next) = (Some(trans.start), trans.next);
                    }
                    _ => awaited = None,
                }
                if awaited.is_none() {
                    break;
                }
            }
            // Of two threads that come to the same place the second is given up.
            let is_double = (1..next.len()).any(|at| next[..at].contains(&next[at]));
            let Some(byte) = awaited.filter(|_| !is_double) else { break };
            bytes.push(byte);
            threads.copy_from_slice(&next);
        }
        (bytes.len() >= RUN_BYTES_MIN).then_some((bytes, threads))
    }

    /// Makes the transition from the state of `row` over `byte`, or over the end; `None` when there is no room
    /// left.
    #[cold]
    pub(super) fn make(&mut self, row: u32, byte: Option<u8>, at: u32) -> Option<Entry> {
        if self.size > STATES_BYTES_MAX {
            return None;
        }
        let from = self.states[row as usize / self.n_classes].clone();
        let n_states = self.nfa.states().len();
        let step = &mut self.step;
        step.seen.clear(n_states);
        step.reached.clear(n_states);
        step.next.clear();
        let (edges_from, tags_from) = (self.edges.len(), self.tags.len());
        let mut matched = None;
        for (parent, &thread) in (0..).zip(&from.threads) {
            step.stack.clear();
            step.stack.push((thread, 0));
            step.tags.clear();
            let around = Around {
                before: from.before,
                byte,
                is_word: byte.is_some_and(|byte| self.is_word[usize::from(byte)]),
            };
            matched = follow(&self.nfa, step, &mut self.edges, &mut self.tags, parent, around);
            if matched.is_some() {
                break;
            }
        }
        let is_match = matched.is_some();
        if let Some((expression, edge)) = matched {
            // Whatever is less preferred than a match is given up; the match stands before the threads.
            let expression = Edge::from(u32::try_from(expression).ok()?);
            self.edges.splice(edges_from..edges_from, [expression, edge]);
        }
        let threads_from = edges_from + if is_match { 2 } else { 0 };
        let threads: Box<[StateID]> = self.step.next.as_slice().into();
        let before = if threads.is_empty() { Before::TextBegin } else { self.before(byte) };
        let row = self.row(Threads { threads, before });
        let is_as_before = |(place, edge): (u32, &Edge)| edge.parent == place && edge.n_tags == 0;
        let moves = is_match || !(0..).zip(&self.edges[threads_from..]).all(is_as_before);
        if !moves {
            self.edges.truncate(edges_from);
        }
        self.size += (self.edges.len() - edges_from) * size_of::<Edge>();
        self.size += (self.tags.len() - tags_from) * size_of::<Tag>();
        let next = self.to(row) | if is_match { IS_TELLING | IS_MATCH } else { 0 };
        let edges_at = if moves { u32::try_from(threads_from).ok()? } else { 0 };
        let entry = Entry { next, edges_at };
        self.table[at as usize] = entry;
        Some(entry)
    }

    /// What the assertions of these expressions have to know about a byte that was read.
    fn before(&self, byte: Option<u8>) -> Before {
        match byte {
            Some(byte) if self.looks.contains_word() && self.is_word[usize::from(byte)] => Before::Word,
            Some(b'\n') if self.looks.contains_anchor_lf() => Before::LineEnd,
            _ => Before::Other,
        }
    }
}

/// The slots of an expression: of the whole match, and of its groups.
fn slots_of(nfa: &NFA, expression: usize) -> [Range<usize>; 2] {
    let info = nfa.group_info();
    let whole = 2 * expression..2 * expression + 2;
    let Ok(pattern) = regex_automata::PatternID::new(expression) else { return [whole, 0..0] };
    let n_groups = info.group_len(pattern);
    let groups = match (info.slot(pattern, 1), info.slot(pattern, n_groups.saturating_sub(1))) {
        (Some(first), Some(last)) if n_groups > 1 => first..last + 2,
        _ => 0..0,
    };
    [whole, groups]
}

/// The class of each byte, and how many classes there are, the end of the text among them. Bytes that no expression
/// tells apart may still differ in whether they are part of a word.
fn classes_of(nfa: &NFA, is_word: &[bool; 256]) -> Option<(Box<[u8; 256]>, usize)> {
    let mut kinds: Vec<(u8, bool)> = Vec::new();
    let mut class_of = Box::new([0; 256]);
    for byte in COMMON.iter().copied().chain(0..=u8::MAX) {
        let kind = (nfa.byte_classes().get(byte), is_word[usize::from(byte)]);
        let class = kinds.iter().position(|&other| other == kind).unwrap_or_else(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        class_of[usize::from(byte)] = u8::try_from(class).ok()?;
    }
    Some((class_of, kinds.len() + 1))
}
