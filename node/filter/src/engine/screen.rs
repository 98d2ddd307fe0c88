//! One automaton for a whole list of expressions: which is the first of them that may match?
//!
//! It is built state by state while text goes through it, in a memory of fixed size. What it costs does
//! not depend on how many expressions there are, as long as few of them match.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{Compiler, Config as NfaConfig, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind, PatternID};
use regex_syntax::hir::{Dot, Hir, Look, Repetition};

/// The states of one automaton take so much memory at most; then they are forgotten and built anew.
pub const STATES_BYTES_MAX: usize = 1024 * 1024;
/// An automaton that forgets its states so often is not worth going on with in this text; then every
/// expression is searched for by itself.
const FORGOTTEN_MAX: usize = 2;
/// The expressions of one list, as an automaton without states, take so much memory at most.
const NFA_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What the automaton says about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Possible {
    /// None of the expressions matches.
    None,
    /// Those before this one do not match; this one may.
    From(usize),
}

/// The automaton of a list.
#[derive(Debug)]
pub struct Screen {
    dfa: DFA,
    cache: Cache,
}

impl Screen {
    /// An automaton for expressions that [`at_least`](super::bytes::at_least) made.
    ///
    /// # Errors
    /// A phrase, when they are too big.
    pub fn new(reduced: &[Hir]) -> Result<Screen, String> {
        let anchored: Vec<Hir> = reduced.iter().map(from_line_begin).collect();
        let config = NfaConfig::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_BYTES_MAX));
        let nfa =
            Compiler::new().configure(config).build_many_from_hir(&anchored).map_err(|e| e.to_string())?;
        let config = DFA::config()
            .match_kind(MatchKind::LeftmostFirst)
            .starts_for_each_pattern(true)
            .cache_capacity(STATES_BYTES_MAX)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(FORGOTTEN_MAX))
            .minimum_bytes_per_state(Some(10));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).map_err(|e| e.to_string())?;
        let cache = dfa.create_cache();
        Ok(Screen { dfa, cache })
    }

    /// The first expression, by its place in the list, that may match `text`.
    #[must_use]
    pub fn first(&mut self, text: &str) -> Possible {
        let input = Input::new(text).anchored(Anchored::Yes);
        match self.dfa.try_search_fwd(&mut self.cache, &input) {
            Ok(None) => Possible::None,
            Ok(Some(found)) => Possible::From(found.pattern().as_usize()),
            Err(_) => Possible::From(0),
        }
    }

    /// Behind how many bytes of `text`, all of them ASCII and none a line's end, it is certain that nothing matches
    /// whatever follows; `None` when it is not behind so many as `n_bytes_max`.
    #[must_use]
    pub fn dies_behind(&mut self, text: &str, n_bytes_max: usize) -> Option<usize> {
        let input = Input::new(text).anchored(Anchored::Yes);
        let mut state = self.dfa.start_state_forward(&mut self.cache, &input).ok()?;
        for (at, &byte) in text.as_bytes().iter().take(n_bytes_max).enumerate() {
            if !byte.is_ascii() || byte == b'\r' || byte == b'\n' {
                return None;
            }
            state = self.dfa.next_state(&mut self.cache, state, byte).ok()?;
            if state.is_match() {
                return None;
            }
            if state.is_dead() {
                return Some(at + 1);
            }
        }
        None
    }

    /// Whether expression `index` may match `text`.
    #[must_use]
    pub fn may_match(&mut self, index: usize, text: &str) -> bool {
        let Ok(pattern) = PatternID::new(index) else { return true };
        let input = Input::new(text).anchored(Anchored::Pattern(pattern));
        !matches!(self.dfa.try_search_fwd(&mut self.cache, &input), Ok(None))
    }

    /// What it holds in memory now, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.dfa.memory_usage() + self.cache.memory_usage()
    }
}

/// Written so that it matches from the text's beginning: then the first expression that matches anywhere
/// is the automaton's first choice, as it is fail2ban's.
pub(super) fn from_line_begin(reduced: &Hir) -> Hir {
    // Reduced once more it would match less: what stands for the bytes of one character would become characters.
    if reduced.properties().look_set_prefix().contains(Look::Start) {
        return reduced.clone();
    }
    let skipped = Repetition { min: 0, max: None, greedy: false, sub: Box::new(Hir::dot(Dot::AnyByte)) };
    Hir::concat(vec![Hir::repetition(skipped), reduced.clone()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bytes::at_least;

    #[test]
    fn the_first_of_the_list_wins_wherever_it_stands() {
        let list = ["from (x|y)$", "^login", "failed", "^a.*z"]
            .map(|e| at_least(&regex_syntax::parse(e).expect("reads")));
        let mut screen = Screen::new(&list).expect("small");
        for (text, first) in [
            ("login failed from y", Possible::From(0)),
            ("login failed from z", Possible::From(1)),
            ("it failed", Possible::From(2)),
            ("a failed z", Possible::From(2)),
            ("a ä z", Possible::From(3)),
            ("b z", Possible::None),
        ] {
            assert_eq!(screen.first(text), first, "{text}");
        }
        let begun = [r"^a\d", "^abc$"].map(|e| at_least(&regex_syntax::parse(e).expect("reads")));
        let mut begun = Screen::new(&begun).expect("small");
        for (text, n_bytes) in [
            ("b", Some(1)),
            ("axx", Some(2)),
            ("a1", None),
            ("a1x", None),
            ("abcd", Some(4)),
            ("ab", None),
            ("ä", None),
        ] {
            assert_eq!(begun.dies_behind(text, 9), n_bytes, "{text}");
        }
        assert_eq!((begun.dies_behind("abcd", 3), screen.dies_behind("b", 9)), (None, None));
        assert!(screen.may_match(2, "login failed") && !screen.may_match(3, "login failed"));
        assert!(screen.memory_bytes() < STATES_BYTES_MAX + 64 * 1024);
    }
}
