//! The lines of a log mostly begin as the line before: with the same second. What was found in one of them
//! is found in the next one too, as long as the format looked at nothing that differs.
//!
//! Not for choosing a format (`detector`); this only knows when the choice and the meaning are the same.

use super::detector::FoundDate;
use super::runs::{self, RUN_BYTES_MIN};
use super::template::Template;
use crate::engine::begins::begins_with;
use crate::engine::bytes::for_ascii;
use crate::engine::screen::{Possible, Screen};
use bannkreis_core::time::{MINUTE_MS, Timestamp};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures};
use regex_automata::{Anchored, Input};
use std::ops::Range;
use std::sync::Arc;

/// A date with what stands before it is at most this long, or it is looked for in each line.
const BEGIN_BYTES_MAX: usize = 64;
/// After so many lines that could not be told by their beginning no other one is tried to be.
const UNTOLD_MAX: usize = 64;
/// The states of a format's automaton take so much memory at most.
const STATES_BYTES_MAX: usize = 256 * 1024;

/// A line's beginning, and what was found there.
#[derive(Clone, Debug)]
pub(super) struct Repeated {
    begin: Arc<[u8]>,
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
        is_told_by_itself.then(|| Repeated { begin: begin.into(), found: found.clone(), now })
    }

    /// Whether the same is found in a line that begins with `line`. In the same minute, because a date that
    /// leaves out the year or the day means another one later.
    #[inline]
    pub(super) fn holds(&self, line: &[u8], now: Timestamp) -> bool {
        self.now <= now && self.now.0 / MINUTE_MS == now.0 / MINUTE_MS && begins_with(line, &self.begin)
    }
}

/// All formats at once, for logs whose lines have no date.
#[derive(Debug)]
pub(super) struct NoDate {
    /// `None` when one of the formats can not be read.
    screen: Option<Screen>,
    /// In a line that begins so is no date, whatever follows.
    begin: Option<Vec<u8>>,
    /// So many lines in a row could not be told by their beginning.
    n_untold: usize,
    /// A line with a date has so many digits in a row at least: see `runs`.
    row: usize,
}

impl NoDate {
    pub(super) fn of<'t>(templates: impl Iterator<Item = &'t Template>) -> NoDate {
        let reduced: Option<Vec<_>> = templates.map(Template::reduced).collect();
        let row = reduced.iter().flatten().map(runs::required).min().unwrap_or(0);
        let screen = reduced.and_then(|reduced| Screen::new(&reduced).ok());
        NoDate { screen, begin: None, n_untold: 0, row }
    }

    /// Whether a line that begins so has no date for certain, as the line before it had none.
    #[inline]
    pub(super) fn repeats(&self, line: &[u8]) -> bool {
        self.begin.as_ref().is_some_and(|begin| begins_with(line, begin))
    }

    /// Whether it is certain that there is no date in this line. `has_row` says whether so many digits stand in a row
    /// in it.
    pub(super) fn is_certain(&mut self, line: &str, has_row: impl FnOnce(usize) -> bool) -> bool {
        if self.repeats(line.as_bytes()) {
            return true;
        }
        let Some(screen) = &mut self.screen else { return false };
        if self.row >= RUN_BYTES_MIN && !has_row(self.row) {
            return true;
        }
        if self.n_untold < UNTOLD_MAX {
            let n_bytes = screen.dies_behind(line, BEGIN_BYTES_MAX);
            self.begin = n_bytes.map(|n_bytes| line.as_bytes()[..n_bytes].to_vec());
            if self.begin.is_some() {
                self.n_untold = 0;
                return true;
            }
            self.n_untold += 1;
        }
        screen.first(line) == Possible::None
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

fn automaton(template: &Template) -> Option<(DFA, Cache)> {
    let hir = for_ascii(&template.linear()?);
    let config = Config::new().utf8(false).which_captures(WhichCaptures::None);
    let nfa = Compiler::new().configure(config).build_from_hir(&hir).ok()?;
    let config = DFA::config().cache_capacity(STATES_BYTES_MAX).skip_cache_capacity_check(true);
    let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
    let cache = dfa.create_cache();
    Some((dfa, cache))
}
