//! Finds the lines of a block that can concern anyone, without looking at lines at all.
//!
//! Every member, a filter, brings texts of which one stands in each line that it could match. Whole blocks
//! are searched for these texts at once; a line without any of them is no member's business. Not for what a
//! line means, and not for its date: a text that stands on both sides of a date which will be cut out is
//! found by [`Prefilter::at_gap`].

use crate::engine::required::{NEEDLE_BYTES_MAX, Needle};
use aho_corasick::packed::{Config as PackedConfig, MatchKind as PackedKind, Searcher};
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, Input, MatchKind};
use memchr::{memchr, memchr2, memchr3};
use std::ops::Range;

/// So many texts are looked for by one pass of vector instructions.
const PACKED_NEEDLES_MAX: usize = 64;
/// With more passes than this, one pass of an automaton is quicker.
const PACKED_PASSES_MAX: usize = 4;
/// Shorter texts would make the pass of all others slow.
const PACKED_BYTES_MIN: usize = 3;
/// So many single bytes are looked for at once.
const SINGLE_BYTES_MAX: usize = 3;

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
    pub fn contains(&self, member: usize) -> bool {
        self.0.get(member / 64).is_some_and(|bits| bits & (1 << (member % 64)) != 0)
    }

    /// Makes them the same as `others`, of the same prefilter.
    pub fn set_to(&mut self, others: &Members) {
        self.0.copy_from_slice(&others.0);
    }

    /// Whether any of these is among them.
    #[must_use]
    pub fn has_any_of(&self, others: &Members) -> bool {
        self.0.iter().zip(&others.0).any(|(bits, more)| bits & more != 0)
    }

    fn add(&mut self, others: &Members) {
        for (bits, more) in self.0.iter_mut().zip(&others.0) {
            *bits |= more;
        }
    }
}

#[derive(Debug)]
enum Pass {
    Bytes(Vec<u8>),
    Packed(Searcher),
    Automaton(AhoCorasick),
}

/// The texts of all members, ready to be looked for.
#[derive(Debug)]
pub struct Prefilter {
    n_members: usize,
    passes: Vec<Pass>,
    /// Finds all texts of one line; `None` when nobody brought any.
    all: Option<AhoCorasick>,
    /// Whose text it is, by the text's number in `all`.
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
        let passes = if all.is_some() { passes(&needles) } else { Vec::new() };
        // Without its automaton nobody could say whose line it is.
        if all.is_none() {
            (0..members.len()).for_each(|member| always.insert(member));
        }
        Prefilter { n_members: members.len(), passes, all, owners, always }
    }

    /// Begins to look through a block.
    #[must_use]
    pub fn look_through<'p, 'b>(&'p self, block: &'b [u8]) -> Search<'p, 'b> {
        let next = self.passes.iter().map(|pass| first_in(pass, block, 0)).collect();
        Search { prefilter: self, block, next }
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

    /// Adds the members whose texts stand in this line.
    pub fn who_wants(&self, line: &[u8], members: &mut Members) {
        let Some(all) = &self.all else { return };
        if self.n_members == 1 {
            members.insert(0);
            return;
        }
        for found in all.find_overlapping_iter(line) {
            members.add(&self.owners[found.pattern().as_usize()]);
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

/// A block that is being looked through, from its beginning to its end.
#[derive(Debug)]
pub struct Search<'p, 'b> {
    prefilter: &'p Prefilter,
    block: &'b [u8],
    /// Where each pass found the next text.
    next: Vec<usize>,
}

impl Search<'_, '_> {
    /// Whether a text begins in `line`, a range of the block that begins behind all that were asked before.
    pub fn is_in(&mut self, line: &Range<usize>) -> bool {
        let mut is_in = false;
        for (pass, next) in self.prefilter.passes.iter().zip(&mut self.next) {
            if *next < line.start {
                *next = first_in(pass, self.block, line.start);
            }
            is_in |= *next < line.end;
        }
        is_in
    }
}

fn passes(needles: &[&Needle]) -> Vec<Pass> {
    let mut passes = Vec::new();
    let texts = |wanted: &dyn Fn(&Needle) -> bool| -> Vec<&[u8]> {
        needles.iter().filter(|needle| wanted(needle)).map(|needle| needle.text.as_slice()).collect()
    };
    let is_packed = |needle: &Needle| !needle.any_case && needle.text.len() >= PACKED_BYTES_MIN;
    let mut single = texts(&|needle| !needle.any_case && needle.text.len() == 1);
    let mut others = texts(&|needle| !is_packed(needle) && (needle.any_case || needle.text.len() > 1));
    let packed = texts(&is_packed);
    if single.len() > SINGLE_BYTES_MAX {
        others.append(&mut single);
    }
    if !single.is_empty() {
        passes.push(Pass::Bytes(single.concat()));
    }
    let searchers: Option<Vec<Searcher>> = packed.chunks(PACKED_NEEDLES_MAX).map(searcher).collect();
    match searchers {
        Some(searchers) if searchers.len() <= PACKED_PASSES_MAX => {
            passes.extend(searchers.into_iter().map(Pass::Packed));
        }
        _ => others.extend(packed),
    }
    let any_case = needles.iter().any(|needle| needle.any_case);
    if !others.is_empty() {
        passes.extend(automaton(&others, any_case).map(Pass::Automaton));
    }
    passes
}

fn searcher(texts: &[&[u8]]) -> Option<Searcher> {
    PackedConfig::new().match_kind(PackedKind::LeftmostFirst).builder().extend(texts).build()
}

fn automaton(texts: &[&[u8]], any_case: bool) -> Option<AhoCorasick> {
    AhoCorasickBuilder::new()
        .ascii_case_insensitive(any_case)
        .match_kind(MatchKind::Standard)
        .build(texts)
        .ok()
}

/// Where in the block, from `at` on, a text of this pass begins first; the block's length when none does.
fn first_in(pass: &Pass, block: &[u8], at: usize) -> usize {
    let behind = &block[at..];
    let found = match pass {
        Pass::Bytes(bytes) => match bytes.as_slice() {
            [a] => memchr(*a, behind),
            [a, b] => memchr2(*a, *b, behind),
            [a, b, c, ..] => memchr3(*a, *b, *c, behind),
            [] => None,
        },
        Pass::Packed(searcher) => searcher.find(behind).map(|found| found.start()),
        // Of several that overlap, this kind ends first; the line is the same, for no text has a line end.
        Pass::Automaton(automaton) => automaton.find(Input::new(behind)).map(|found| found.start()),
    };
    found.map_or(block.len(), |offset| at + offset)
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
        prefilter.who_wants(line.as_bytes(), &mut members);
        (0..prefilter.n_members).filter(|&member| members.contains(member)).collect()
    }

    #[test]
    fn lines_are_found_and_go_to_those_that_want_them() {
        let prefilter = Prefilter::new(&[needles(&["failed", "{"]), needles(&["~login failed", "ai"]), None]);
        assert!(prefilter.nobody().has_any_of(&prefilter.members(&[0, 2])));
        assert!(!prefilter.nobody().has_any_of(&prefilter.members(&[0, 1])));
        let block = b"nothing\nhas failed\n{\nLOGIN FAILED\nmail\n\n";
        let mut search = prefilter.look_through(block);
        let mut start = 0;
        let mut found = Vec::new();
        for line in block.split_inclusive(|&byte| byte == b'\n') {
            found.push(search.is_in(&(start..start + line.len())));
            start += line.len();
        }
        assert_eq!(found, [false, true, true, true, true, false]);
        assert_eq!(wanted_by(&prefilter, "has failed"), [0, 1, 2]);
        assert_eq!(wanted_by(&prefilter, "{"), [0, 2]);
        assert_eq!(wanted_by(&prefilter, "Login Failed"), [0, 1, 2]);
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
            assert!(prefilter.look_through(block.as_bytes()).is_in(&(0..block.len())), "{n}");
            assert_eq!(wanted_by(&prefilter, &block), [0]);
        }
        let prefilter = Prefilter::new(&[None]);
        assert!(!prefilter.look_through(b"x\n").is_in(&(0..2)));
        assert_eq!(wanted_by(&prefilter, "x"), [0]);
    }
}
