//! The lines of a log mostly begin as the line before: with the same second. What was found in one of them
//! is found in the next one too, as long as the format looked at nothing that differs.
//!
//! Not for choosing a format (`detector`); this only knows when the choice and the meaning are the same.

use super::detector::FoundDate;
use super::template::Template;
use crate::engine::bytes::for_ascii;
use crate::engine::screen::Screen;
use bannkreis_core::time::{MINUTE_MS, Timestamp};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures};
use regex_automata::{Anchored, Input};
use std::ops::Range;
use std::sync::Arc;

/// A date with what stands before it is at most this long, or it is looked for in each line.
const BEGIN_BYTES_MAX: usize = 64;
/// The states of a format's automaton take so much memory at most.
const STATES_BYTES_MAX: usize = 256 * 1024;

/// A line's beginning, and what was found there.
#[derive(Debug)]
pub(super) struct Repeated {
    begin: Vec<u8>,
    pub(super) found: FoundDate,
    now: Timestamp,
}

impl Repeated {
    /// Notes what `template`, which has won before, found in `line`; `None` when another line that begins
    /// alike could be read differently.
    pub(super) fn new(
        reach: &mut Reach,
        template: &Arc<Template>,
        line: &str,
        whole: &Range<usize>,
        found: &FoundDate,
        now: Timestamp,
    ) -> Option<Repeated> {
        // What lies ahead of now may be taken for last year later on.
        found.at.filter(|&at| at <= now)?;
        if !template.at_line_begin || whole.start > 0 {
            return None;
        }
        let n_bytes = reach.of(template, line.as_bytes())?;
        let begin = line.as_bytes().get(..n_bytes)?;
        let is_told_by_itself = whole.end < n_bytes && !begin.contains(&b'\r') && !begin.contains(&b'\n');
        is_told_by_itself.then(|| Repeated { begin: begin.to_vec(), found: found.clone(), now })
    }

    /// Whether the same is found in a line that begins with `line`. In the same minute, because a date that
    /// leaves out the year or the day means another one later.
    pub(super) fn holds(&self, line: &[u8], now: Timestamp) -> bool {
        self.now <= now && self.now.0 / MINUTE_MS == now.0 / MINUTE_MS && line.starts_with(&self.begin)
    }
}

/// How far a format looks into a line before it has decided.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// That of the format that was asked about last, where there can be one.
    template: Option<Arc<Template>>,
    automaton: Option<(DFA, Cache)>,
}

impl Reach {
    /// How many bytes of `line`, all of them ASCII, `template` looks at; `None` when nobody knows.
    fn of(&mut self, template: &Arc<Template>, line: &[u8]) -> Option<usize> {
        if !self.template.as_ref().is_some_and(|known| Arc::ptr_eq(known, template)) {
            self.template = Some(Arc::clone(template));
            self.automaton = automaton(template);
        }
        let (dfa, cache) = self.automaton.as_mut()?;
        let input = Input::new(line).anchored(Anchored::Yes);
        let mut state = dfa.start_state_forward(cache, &input).ok()?;
        for (at, &byte) in line.iter().take(BEGIN_BYTES_MAX).enumerate() {
            if !byte.is_ascii() {
                return None;
            }
            state = dfa.next_state(cache, state, byte).ok()?;
            if state.is_dead() {
                return Some(at + 1);
            }
        }
        None
    }
}

/// All formats in one automaton; `None` when one of them can not be read.
pub(super) fn screen<'t>(templates: impl Iterator<Item = &'t Template>) -> Option<Screen> {
    Screen::new(&templates.map(Template::reduced).collect::<Option<Vec<_>>>()?).ok()
}

fn automaton(template: &Template) -> Option<(DFA, Cache)> {
    let hir = for_ascii(&template.linear()?);
    let config = Config::new().utf8(false).which_captures(WhichCaptures::None);
    let nfa = Compiler::new().configure(config).build_from_hir(&hir).ok()?;
    let config = DFA::config().cache_capacity(STATES_BYTES_MAX).skip_cache_capacity_check(true);
    let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
    let cache = dfa.create_cache();
    Some((dfa, cache))
}
