//! Finds the lines of a block that can concern anyone, without looking at lines at all.
//!
//! Every member, a filter, brings texts of which one stands in each line that it could match. Whole blocks
//! are searched for these texts at once; a line without any of them is no member's business. Not for what a
//! line means, and not for its date: a text that stands on both sides of a date which will be cut out is
//! found by [`Prefilter::at_gap`].

use crate::engine::required::{NEEDLE_BYTES_MAX, Needle};
use crate::passes::{Passes, Search};
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use std::ops::Range;

/// Members by number, as bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<u64>);

impl Members {
    fn none(n_members: usize) -> Members {
        Members(vec![0; n_members.div_ceil(64)])
    }

    /// Adds a member.
    pub fn insert(&mut self, member: usize) {
        if let Some(bits) = self.0.get_mut(member / 64) {
            *bits |= 1 << (member % 64);
        }
    }

    /// Whether this one is among them.
    #[must_use]
    #[inline]
    pub fn contains(&self, member: usize) -> bool {
        self.0.get(member / 64).is_some_and(|bits| bits & (1 << (member % 64)) != 0)
    }

    /// Makes them the same as `others`, of the same prefilter.
    #[inline]
    pub fn set_to(&mut self, others: &Members) {
        // There are few words, and a call of memcpy(3) takes longer.
        self.0.iter_mut().zip(&others.0).for_each(|(bits, more)| *bits = *more);
    }

    /// Whether any of these is among them.
    #[must_use]
    #[inline]
    pub fn has_any_of(&self, others: &Members) -> bool {
        self.0.iter().zip(&others.0).any(|(bits, more)| bits & more != 0)
    }

    /// Takes a member out.
    pub fn remove(&mut self, member: usize) {
        if let Some(bits) = self.0.get_mut(member / 64) {
            *bits &= !(1 << (member % 64));
        }
    }

    /// Calls `each` with every one that is among `these`, too, in their order.
    #[inline]
    pub fn each_of(&self, these: &Members, mut each: impl FnMut(usize)) {
        for (place, (bits, more)) in self.0.iter().zip(&these.0).enumerate() {
            let mut both = bits & more;
            while both != 0 {
                each(place * 64 + both.trailing_zeros() as usize);
                both &= both - 1;
            }
        }
    }

    fn add(&mut self, others: &Members) {
        for (bits, more) in self.0.iter_mut().zip(&others.0) {
            *bits |= more;
        }
    }
}

/// The texts of all members, ready to be looked for.
#[derive(Debug)]
pub struct Prefilter {
    n_members: usize,
    passes: Passes,
    /// Finds all texts in a few bytes; `None` when nobody brought any.
    all: Option<AhoCorasick>,
    /// Whose text it is, by the text's number.
    owners: Vec<Members>,
    /// Those that want to see every line.
    always: Members,
}

impl Prefilter {
    /// A prefilter for members with these texts; `None` for one that wants to see every line.
    #[must_use]
    pub fn new(members: &[Option<Vec<Needle>>]) -> Prefilter {
        let mut always = Members::none(members.len());
        let mut needles: Vec<&Needle> = members.iter().flatten().flatten().collect();
        needles.sort();
        needles.dedup();
        let mut owners = vec![Members::none(members.len()); needles.len()];
        for (member, wanted) in members.iter().enumerate() {
            let Some(wanted) = wanted else {
                always.insert(member);
                continue;
            };
            for needle in wanted {
                if let Ok(at) = needles.binary_search(&needle) {
                    owners[at].insert(member);
                }
            }
        }
        let texts: Vec<&[u8]> = needles.iter().map(|needle| needle.text.as_slice()).collect();
        let any_case = needles.iter().any(|needle| needle.any_case);
        let all = (!texts.is_empty()).then(|| automaton(&texts, any_case)).flatten();
        let passes = if all.is_some() { Passes::new(&needles) } else { Passes::default() };
        // Without its automaton nobody could say whose line it is.
        if all.is_none() {
            (0..members.len()).for_each(|member| always.insert(member));
        }
        Prefilter { n_members: members.len(), passes, all, owners, always }
    }

    /// Begins to look through a block. `lowered` is memory that one search hands on to the next.
    #[must_use]
    pub(crate) fn look_through<'p, 'b>(
        &'p self,
        block: &'b [u8],
        lowered: &'b mut Vec<u8>,
    ) -> Search<'p, 'b> {
        self.passes.look_through(block, lowered)
    }

    /// Nobody yet, but for those that want to see every line.
    #[must_use]
    pub fn nobody(&self) -> &Members {
        &self.always
    }

    /// These members.
    #[must_use]
    pub fn members(&self, members: &[usize]) -> Members {
        let mut these = Members::none(self.n_members);
        members.iter().for_each(|&member| these.insert(member));
        these
    }

    /// Adds the members whose texts stand in this line, which `search` has not come to yet.
    pub(crate) fn who_wants(&self, search: &mut Search<'_, '_>, line: &Range<usize>, members: &mut Members) {
        if self.n_members > 1 {
            search.in_line(line, |needle| members.add(&self.owners[needle]));
        } else if search.is_in(line) {
            members.insert(0);
        }
    }

    /// Adds the members one of whose texts comes about when `cut` is cut out of `line`.
    pub fn at_gap(&self, line: &str, cut: &Range<usize>, members: &mut Members) {
        let Some(all) = &self.all else { return };
        if cut.start == 0 || cut.end >= line.len() {
            return;
        }
        let (before, behind) = (&line.as_bytes()[..cut.start], &line.as_bytes()[cut.end..]);
        let before = &before[before.len().saturating_sub(NEEDLE_BYTES_MAX - 1)..];
        let behind = &behind[..behind.len().min(NEEDLE_BYTES_MAX - 1)];
        let joined = [before, behind].concat();
        for found in all.find_overlapping_iter(&joined) {
            if found.start() < before.len() && found.end() > before.len() {
                members.add(&self.owners[found.pattern().as_usize()]);
            }
        }
    }
}

fn automaton(texts: &[&[u8]], any_case: bool) -> Option<AhoCorasick> {
    AhoCorasickBuilder::new()
        .ascii_case_insensitive(any_case)
        .match_kind(MatchKind::Standard)
        .build(texts)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(texts: &[&str]) -> Option<Vec<Needle>> {
        let needle = |text: &&str| Needle {
            text: text.trim_start_matches('~').as_bytes().to_vec(),
            any_case: text.starts_with('~'),
        };
        Some(texts.iter().map(needle).collect())
    }

    fn wanted_by(prefilter: &Prefilter, line: &str) -> Vec<usize> {
        let mut members = prefilter.nobody().clone();
        let mut lowered = Vec::new();
        let mut search = prefilter.look_through(line.as_bytes(), &mut lowered);
        prefilter.who_wants(&mut search, &(0..line.len()), &mut members);
        (0..prefilter.n_members).filter(|&member| members.contains(member)).collect()
    }

    #[test]
    fn lines_are_found_and_go_to_those_that_want_them() {
        let prefilter = Prefilter::new(&[needles(&["failed", "{"]), needles(&["~login failed", "ai"]), None]);
        assert!(prefilter.nobody().has_any_of(&prefilter.members(&[0, 2])));
        assert!(!prefilter.nobody().has_any_of(&prefilter.members(&[0, 1])));
        assert_eq!(wanted_by(&prefilter, "has failed"), [0, 1, 2]);
        assert_eq!(wanted_by(&prefilter, "{"), [0, 2]);
        assert_eq!(wanted_by(&prefilter, "Login Failed"), [1, 2]);
        assert_eq!(wanted_by(&prefilter, "nothing"), [2]);
    }

    #[test]
    fn what_a_date_keeps_apart_is_found_where_it_is_cut_out() {
        let prefilter = Prefilter::new(&[needles(&["x: error"]), needles(&["other"])]);
        let line = "x:2026-11-20 error";
        let mut members = prefilter.nobody().clone();
        prefilter.at_gap(line, &(2..12), &mut members);
        assert!(members.contains(0) && !members.contains(1));
        let mut members = prefilter.nobody().clone();
        prefilter.at_gap(line, &(0..12), &mut members);
        assert!(!members.contains(0));
    }

    #[test]
    fn many_texts_and_none() {
        let many: Vec<String> = (0..400).map(|n| format!("text{n:03}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for n in [1, 64, 65, 400] {
            let prefilter = Prefilter::new(&[needles(&many[..n]), needles(&["zzz"])]);
            let block = format!("a text{:03}\n", n - 1);
            assert_eq!(wanted_by(&prefilter, &block), [0]);
        }
        let prefilter = Prefilter::new(&[None]);
        assert_eq!(wanted_by(&prefilter, "x"), [0]);
    }
}
