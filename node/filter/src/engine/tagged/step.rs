//! One step of the tagged automaton: where each thread goes over a byte, and which groups begin or end on the way.
//!
//! Made once for each state and each class of bytes. Not for what states there are (`states`).

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;

/// What assertions have to know about the byte before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Before {
    #[default]
    TextBegin,
    LineEnd,
    Word,
    Other,
}

/// How a thread came about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// The thread that it was, by its place in the state before.
    pub(super) parent: u32,
    /// Where in `tags` the slots are that got a value on the way; 0: none did.
    pub(super) tags_at: u32,
}

/// What is needed to make one transition.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) seen: Marks,
    pub(super) reached: Marks,
    pub(super) stack: Vec<(StateID, usize)>,
    pub(super) tags: Vec<u32>,
    pub(super) next: Vec<StateID>,
}

/// A set of the NFA's states that is emptied at no cost.
#[derive(Debug, Default)]
pub(super) struct Marks {
    round: u32,
    rounds: Vec<u32>,
}

impl Marks {
    pub(super) fn clear(&mut self, n_states: usize) {
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

/// Follows a thread until it takes the byte, and all that it splits into, the preferred first. Gives back which
/// expression has matched, and how.
pub(super) fn follow(
    nfa: &NFA,
    step: &mut Step,
    edges: &mut Vec<Edge>,
    all_tags: &mut Vec<u32>,
    parent: u32,
    around: Around,
) -> Option<(usize, Edge)> {
    let byte = around.byte;
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
                    return Some((pattern_id.as_usize(), edge(all_tags, parent, &step.tags)));
                }
                State::Look { look, next } => {
                    if holds(*look, around) {
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
                let edge = edge(all_tags, parent, &step.tags);
                edges.push(edge);
            }
            break;
        }
    }
    None
}

fn edge(all_tags: &mut Vec<u32>, parent: u32, tags: &[u32]) -> Edge {
    if tags.is_empty() {
        return Edge { parent, tags_at: 0 };
    }
    let tags_at = u32::try_from(all_tags.len()).unwrap_or(0);
    all_tags.extend(u32::try_from(tags.len()));
    all_tags.extend_from_slice(tags);
    Edge { parent, tags_at }
}

/// What assertions ask for: what was before, and the byte, or the end, that follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) before: Before,
    pub(super) byte: Option<u8>,
    /// That byte is part of a word.
    pub(super) is_word: bool,
}

/// Whether an assertion holds there.
fn holds(look: Look, around: Around) -> bool {
    let Around { before, byte, is_word: word_behind } = around;
    let word_before = before == Before::Word;
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
