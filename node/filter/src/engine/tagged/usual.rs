//! What mostly follows a state of the tagged automaton, and the one step over all of it.
//!
//! The lines of a log are written by few programs: where the host's name begins, the same name follows, and where an
//! account ends, ` from ` does. Some texts are looked at closer for that ([`States::observe`]). What a state was
//! followed by each time becomes a run: the steps over these bytes as one. Where something else follows after all,
//! the search goes on byte by byte, so this changes how long it takes and never what it finds. Whoever writes the
//! lines may make runs useless; then they are given up.

use super::states::{DEAD, Entry, IS_MATCH, IS_RUN, IS_TELLING, IS_UNKNOWN, ROW, RUN_BYTES_MIN, States};
use super::step::{Edge, Tag};
use crate::engine::begins::begins_with;

/// Of what follows, so many bytes are looked at.
const USUAL_BYTES_MAX: usize = 64;
/// What followed so often in a row becomes a run.
const SEEN_MIN: u8 = 16;
/// When something else follows, that counts as much as so many times that the run does.
const MISS: u8 = 4;

/// What followed a state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    bytes: [u8; USUAL_BYTES_MAX],
    n_bytes: u8,
    /// So often in a row; of a run, less what it missed.
    n_seen: u8,
}

impl Default for Usual {
    fn default() -> Usual {
        Usual { bytes: [0; USUAL_BYTES_MAX], n_bytes: 0, n_seen: 0 }
    }
}

impl Usual {
    /// Takes note of what follows; whether that is usual by now.
    fn see(&mut self, behind: &[u8]) -> bool {
        let usual = &self.bytes[..usize::from(self.n_bytes)];
        let n_same = usual.iter().zip(behind).take_while(|(a, b)| a == b).count();
        if n_same < RUN_BYTES_MIN {
            let n_bytes = behind.len().min(USUAL_BYTES_MAX);
            self.bytes[..n_bytes].copy_from_slice(&behind[..n_bytes]);
            (self.n_bytes, self.n_seen) = (count(n_bytes), 1);
            return false;
        }
        self.n_bytes = count(n_same);
        self.n_seen = (self.n_seen + 1).min(SEEN_MIN);
        self.n_seen == SEEN_MIN
    }

    /// Takes note of whether the run followed; whether it is still usual.
    fn see_run(&mut self, follows: bool) -> bool {
        self.n_seen =
            if follows { (self.n_seen + 1).min(SEEN_MIN) } else { self.n_seen.saturating_sub(MISS) };
        self.n_seen > 0
    }
}

fn count(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

impl States {
    /// Goes through a text as far as the states are known, and takes note of what follows where.
    pub(super) fn observe(&mut self, text: &[u8]) {
        let (mut next, mut position) = (self.first, 0);
        loop {
            if next & IS_UNKNOWN != 0 {
                return;
            }
            let mut row = next & ROW;
            if next & IS_RUN != 0 {
                let run = self.runs[row as usize];
                let follows = begins_with(&text[position..], self.text_of(run.from, run.n_bytes));
                row = run.otherwise;
                if row != DEAD && !self.usual_at(row).see_run(follows) {
                    self.give_up_run(row);
                }
                if follows {
                    (next, position) = (run.step.next, position + run.n_bytes as usize);
                    continue;
                }
            } else if row != DEAD && self.usual_at(row).see(&text[position..]) {
                self.make_run(row);
                *self.usual_at(row) = Usual { n_seen: SEEN_MIN, ..Usual::default() };
                if self.run_of.contains_key(&row) {
                    next = self.to(row);
                    continue;
                }
            }
            let Some(&byte) = text.get(position).filter(|_| row != DEAD) else { return };
            (next, position) = (self.table[self.at(row, byte) as usize].next, position + 1);
        }
    }

    fn text_of(&self, from: u32, n_bytes: u32) -> &[u8] {
        &self.run_bytes[from as usize..][..n_bytes as usize]
    }

    /// Makes one step of the steps over what usually follows the state of `row`, as far as they are known.
    fn make_run(&mut self, row: u32) {
        let Usual { bytes, n_bytes, .. } = *self.usual_at(row);
        let bytes = &bytes[..usize::from(n_bytes)];
        // Where each thread comes from, and past which tags.
        let mut ways: Vec<(u32, Vec<Tag>)> =
            (0..).zip(0..self.n_threads(row)).map(|(n, _)| (n, Vec::new())).collect();
        let (mut end, mut n_bytes) = (row, 0);
        while let Some(&byte) = bytes.get(n_bytes) {
            let Entry { next, edges_at } = self.table[self.at(end, byte) as usize];
            let behind = &bytes[n_bytes + 1..];
            let (to, n_more) = match next {
                _ if next & (IS_UNKNOWN | IS_MATCH) != 0 => break,
                _ if next & IS_RUN != 0 => {
                    let run = self.runs[(next & ROW) as usize];
                    match run.otherwise {
                        DEAD if begins_with(behind, self.text_of(run.from, run.n_bytes)) => {
                            (self.row_of(run.step.next), run.n_bytes as usize)
                        }
                        DEAD => break,
                        row => (row, 0),
                    }
                }
                _ => (next & ROW, 0),
            };
            if to == DEAD {
                break;
            }
            if edges_at != 0 {
                let edges = &self.edges[edges_at as usize..][..self.n_threads(to)];
                ways = edges.iter().map(|edge| go_on(&ways, *edge, &self.tags, n_bytes)).collect();
            }
            n_bytes += 1 + n_more;
            end = to;
        }
        if n_bytes < RUN_BYTES_MIN {
            return;
        }
        let is_as_before = |(place, (from, tags)): (u32, &(u32, Vec<Tag>))| *from == place && tags.is_empty();
        let moves = !(0..).zip(&ways).all(is_as_before);
        let mut edges_at = 0;
        if moves {
            edges_at = u32::try_from(self.edges.len()).unwrap_or(0);
            let n_tags = self.tags.len();
            self.edges.extend(ways.iter().map(|(from, tags)| Edge::past(*from, tags, &mut self.tags)));
            self.size += ways.len() * size_of::<Edge>() + (self.tags.len() - n_tags) * size_of::<Tag>();
        }
        let before = self.to(row);
        self.add_run(row, &bytes[..n_bytes], Entry { next: self.to(end), edges_at }, row);
        self.redirect(before, self.to(row));
    }

    /// Goes byte by byte again behind the state of `row`.
    fn give_up_run(&mut self, row: u32) {
        let before = self.to(row);
        self.run_of.remove(&row);
        self.redirect(before, self.to(row));
    }

    /// The row of the state behind a step.
    fn row_of(&self, next: u32) -> u32 {
        if next & IS_RUN == 0 { next & ROW } else { self.runs[(next & ROW) as usize].otherwise }
    }

    /// All steps that lead to `before` lead to `after`.
    fn redirect(&mut self, before: u32, after: u32) {
        let steps = self.table.iter_mut().map(|entry| &mut entry.next);
        let steps = steps.chain(self.runs.iter_mut().map(|run| &mut run.step.next)).chain([&mut self.first]);
        let is_it = |next: u32| next & !(IS_MATCH | IS_TELLING) == before & !IS_TELLING;
        for next in steps.filter(|next| is_it(**next)) {
            let is_match = *next & IS_MATCH;
            *next = after | if is_match == 0 { 0 } else { IS_TELLING | IS_MATCH };
        }
    }
}

/// The way of a thread that came over one more byte, `offset` bytes behind the first.
fn go_on(ways: &[(u32, Vec<Tag>)], edge: Edge, all_tags: &[Tag], offset: usize) -> (u32, Vec<Tag>) {
    let (from, mut tags) = ways[edge.parent as usize].clone();
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    tags.extend(edge.tags(all_tags).iter().map(|tag| Tag { offset: tag.offset + offset, ..*tag }));
    (from, tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bytes::for_ascii;
    use crate::engine::tagged::{Tagged, Tagging};
    use proptest::prelude::proptest;
    use regex_syntax::hir::Hir;
    use std::array::from_fn;

    const LISTS: [&[&str]; 6] = [
        &[r"^(?P<a>\S+ )?sshd\[\d+\]: (?P<b>.+)$"],
        &[r"^Invalid user (?P<a>.*?) from (?P<b>\d+)(?: port \d+)?$", r"^Invalid (?P<c>\S+)"],
        &[r"user (?P<a>x*)(?P<b>\w*) from", r"(?P<c>from )+(?P<d>.)", r"\bmx1\b(?P<e>)"],
        &[r"(?P<a>(?:ab)+?)(?P<b>c|abc)", r"(?:(?P<c>a)|(?P<d>b))*(?P<e>c?)d", ""],
        &[r"(?m)^(?P<a>mx1)$", r"from\B(?P<b> )", r"(?P<c>\S+) (?P<d>\S+) (?P<e>\S+)$"],
        &[r"^(?:(?P<a>user)|(?P<b>from)|(?P<c> )|(?P<d>\d))*port"],
    ];
    const PIECES: [&str; 12] =
        ["mx1 sshd[", "1", "27", "]: ", "Invalid user ", "x", " from ", " port ", "abab", "c", "\n", "d"];

    fn text_of(pieces: &[usize]) -> String {
        pieces.iter().map(|&piece| PIECES[piece]).collect()
    }

    proptest! {
        #[test]
        fn what_is_usual_changes_nothing(
            list in 0..LISTS.len(),
            taught in proptest::collection::vec(proptest::collection::vec(0..PIECES.len(), 0..8), 1..5),
            others in proptest::collection::vec(proptest::collection::vec(0..PIECES.len(), 0..8), 1..5),
        ) {
            let words = from_fn(|byte| u8::try_from(byte).is_ok_and(|byte| byte.is_ascii_alphanumeric()));
            let hirs: Vec<Hir> =
                LISTS[list].iter().map(|e| for_ascii(&regex_syntax::parse(e).expect("reads"))).collect();
            let mut tagged = Tagged::new(&hirs, &words).expect("small");
            let texts: Vec<String> = taught.iter().chain(&others).map(|pieces| text_of(pieces)).collect();
            // One text is usual after the other: what was learned from one is given up for the next.
            for taught in &texts[..taught.len()] {
                for _ in 0..2 * SEEN_MIN {
                    tagged.search(taught.as_bytes());
                    tagged.states.observe(taught.as_bytes());
                }
                for text in &texts {
                    let mut plain = Tagged::new(&hirs, &words).expect("small");
                    let found = plain.search(text.as_bytes());
                    assert_eq!(tagged.search(text.as_bytes()), found, "{text:?} after {taught:?}");
                    if let Tagging::Found { expression, .. } = found {
                        for slots in plain.states.slots_of[expression].clone() {
                            assert_eq!(tagged.slots[slots.clone()], plain.slots[slots], "{text:?} after {taught:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_follows_each_time_is_one_step_until_something_else_does() {
        let words = from_fn(|byte| u8::try_from(byte).is_ok_and(|byte| byte.is_ascii_alphanumeric()));
        let hirs = [for_ascii(&regex_syntax::parse(r"^(?P<a>\S*) (?P<b>[a-z]*) \d").expect("reads"))];
        let mut tagged = Tagged::new(&hirs, &words).expect("small");
        let mut see = |text: &str, times: u8| {
            for _ in 0..times {
                tagged.search(text.as_bytes());
                tagged.states.observe(text.as_bytes());
            }
            let n_runs = tagged.states.run_of.len();
            (n_runs, tagged.search(text.as_bytes()), tagged.place_in(2), tagged.place_in(4))
        };
        let found = |end| Tagging::Found { expression: 0, end };
        assert_eq!(see("host name 1", SEEN_MIN), (1, found(11), Some(0..4), Some(5..9)));
        assert_eq!(see("host nominal 1", 2).0, 1);
        let (n_runs, ..) = see("o n 1", SEEN_MIN / 2);
        assert_eq!(n_runs, 0, "given up");
        assert_eq!(see("host name 1", 2 * SEEN_MIN), (1, found(11), Some(0..4), Some(5..9)));
    }
}
