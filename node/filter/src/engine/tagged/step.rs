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
    /// Where in the list of tags those begin that were passed on the way, in their order.
    pub(super) tags_from: u32,
    pub(super) n_tags: u32,
}

/// A slot that gets a value on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub(super) slot: u32,
    /// So far behind the beginning of the step, in bytes.
    pub(super) offset: u32,
}

impl Edge {
    /// From this thread, past no tag.
    pub(super) fn from(parent: u32) -> Edge {
        Edge { parent, tags_from: 0, n_tags: 0 }
    }

    /// From this thread, past these tags, which are added to all.
    pub(super) fn past(parent: u32, tags: &[Tag], all_tags: &mut Vec<Tag>) -> Edge {
        if tags.is_empty() {
            return Edge::from(parent);
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let edge = Edge { parent, tags_from: count(all_tags.len()), n_tags: count(tags.len()) };
        all_tags.extend_from_slice(tags);
        edge
    }

    /// Its tags, in their order.
    pub(super) fn tags(self, all_tags: &[Tag]) -> &[Tag] {
        &all_tags[self.tags_from as usize..][..self.n_tags as usize]
    }
}

/// What is needed to make one transition.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) seen: Marks,
    pub(super) reached: Marks,
    pub(super) stack: Vec<(StateID, usize)>,
    pub(super) tags: Vec<Tag>,
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
    all_tags: &mut Vec<Tag>,
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
                    return Some((pattern_id.as_usize(), Edge::past(parent, &step.tags, all_tags)));
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
                    let slot = u32::try_from(slot.as_usize()).unwrap_or(u32::MAX);
                    step.tags.push(Tag { slot, offset: 0 });
                    id = *next;
                    continue;
                }
            };
            if let Some(next) = taken
                && step.reached.insert(next)
            {
                step.next.push(next);
                edges.push(Edge::past(parent, &step.tags, all_tags));
            }
            break;
        }
    }
    None
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
