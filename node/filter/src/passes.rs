//! Finds out where in a block any of many texts stands, by a few passes of vector instructions.
//!
//! Each pass has some of the texts and knows its next place, so what it costs does not depend on how many lines a
//! block has. Texts that may be written in either case are looked for in a copy of the block in lower case. Not
//! for whose texts they are (`prefilter`).

use crate::engine::required::Needle;
use aho_corasick::packed::{Config, MatchKind as PackedKind, Searcher};
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind, Span};
use memchr::{memchr, memchr2, memchr3};
use std::ops::Range;

/// So many texts are looked for by one pass of vector instructions.
const PACKED_NEEDLES_MAX: usize = 64;
/// With more passes than this, one pass of an automaton is quicker.
const PACKED_PASSES_MAX: usize = 6;
/// Shorter texts would make the pass of all others slow.
const PACKED_BYTES_MIN: usize = 3;
/// So many single bytes are looked for at once.
const SINGLE_BYTES_MAX: usize = 3;

/// The texts, ready to be looked for.
#[derive(Debug, Default)]
pub(crate) struct Passes(Vec<Pass>);

#[derive(Debug)]
struct Pass {
    engine: Engine,
    /// It looks at the copy in lower case.
    in_lower_case: bool,
    /// What stands where the engine finds its pattern of this number.
    found: Vec<Begins>,
}

#[derive(Debug)]
enum Engine {
    Bytes(Vec<u8>),
    Packed(Searcher),
    Automaton(AhoCorasick),
}

/// The texts that begin as one that an engine looks for.
#[derive(Debug)]
struct Begins {
    /// That one, by its number among all.
    shortest: usize,
    /// The others, with what stands behind the shortest in them.
    longer: Vec<(Vec<u8>, usize)>,
    n_bytes: usize,
}

impl Passes {
    /// Passes for these texts, which are known by their places in the list.
    pub(crate) fn new(needles: &[&Needle]) -> Passes {
        let numbered = |any_case: bool| -> Vec<(usize, &[u8])> {
            let texts = needles.iter().enumerate().filter(|(_, needle)| needle.any_case == any_case);
            texts.map(|(number, needle)| (number, needle.text.as_slice())).collect()
        };
        let mut passes = Vec::new();
        for (texts, in_lower_case) in [(numbered(false), false), (numbered(true), true)] {
            let (packed, mut short) = by_beginning(texts)
                .into_iter()
                .partition::<Vec<_>, _>(|(text, _)| text.len() >= PACKED_BYTES_MIN);
            let is_single = short.iter().all(|(text, _)| text.len() == 1) && short.len() <= SINGLE_BYTES_MAX;
            if is_single && !short.is_empty() {
                let bytes = short.iter().map(|(text, _)| text[0]).collect();
                let found = std::mem::take(&mut short).into_iter().map(|(_, begins)| begins).collect();
                passes.push(Pass { engine: Engine::Bytes(bytes), in_lower_case, found });
            }
            let n_packed = packed.len().div_ceil(PACKED_NEEDLES_MAX);
            let mut rest = short;
            if n_packed > PACKED_PASSES_MAX {
                rest.extend(packed);
            } else {
                let mut packed = packed.into_iter().peekable();
                while packed.peek().is_some() {
                    let some: Vec<_> = packed.by_ref().take(PACKED_NEEDLES_MAX).collect();
                    match searcher(some.iter().map(|(text, _)| text)) {
                        Some(searcher) => {
                            let found = some.into_iter().map(|(_, begins)| begins).collect();
                            passes.push(Pass { engine: Engine::Packed(searcher), in_lower_case, found });
                        }
                        None => rest.extend(some),
                    }
                }
            }
            if !rest.is_empty()
                && let Some(automaton) = automaton(rest.iter().map(|(text, _)| text))
            {
                let found = rest.into_iter().map(|(_, begins)| begins).collect();
                passes.push(Pass { engine: Engine::Automaton(automaton), in_lower_case, found });
            }
        }
        Passes(passes)
    }

    /// Does not look through a block in which nearly every line has a text anyway.
    pub(crate) fn pass_over<'b>(block: &'b [u8]) -> Search<'static, 'b> {
        Search { passes: &[], block, lowered: &[], next: Vec::new(), is_everywhere: true }
    }

    /// Begins to look through a block. `lowered` is memory that one search hands on to the next.
    pub(crate) fn look_through<'p, 'b>(
        &'p self,
        block: &'b [u8],
        lowered: &'b mut Vec<u8>,
    ) -> Search<'p, 'b> {
        if self.0.iter().any(|pass| pass.in_lower_case) {
            lower(block, lowered);
        }
        let mut search = Search { passes: &self.0, block, lowered, next: Vec::new(), is_everywhere: false };
        search.next = self.0.iter().map(|pass| search.next_of(pass, 0..block.len())).collect();
        search
    }
}

/// A block that is being looked through, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Search<'p, 'b> {
    passes: &'p [Pass],
    block: &'b [u8],
    lowered: &'b [u8],
    /// What each pass found next: where, and which of its patterns.
    next: Vec<(usize, usize)>,
    /// Nothing is searched, and every line is said to have a text.
    is_everywhere: bool,
}

impl Search<'_, '_> {
    /// Whether any text stands in `line`, a range of the block that begins behind all that were asked before.
    pub(crate) fn is_in(&mut self, line: &Range<usize>) -> bool {
        let mut is_in = self.is_everywhere;
        for (number, pass) in self.passes.iter().enumerate() {
            if self.next[number].0 < line.start {
                self.next[number] = self.next_of(pass, line.start..self.block.len());
            }
            is_in |= self.next[number].0 < line.end;
        }
        is_in
    }

    /// Calls `found` with the number of each text that stands in `line`, a range of the block that begins behind
    /// all that were asked before; more than once when it stands there more than once.
    pub(crate) fn in_line(&mut self, line: &Range<usize>, mut found: impl FnMut(usize)) {
        for (number, pass) in self.passes.iter().enumerate() {
            let (mut at, mut pattern) = self.next[number];
            if at >= line.end {
                continue;
            }
            if at < line.start {
                (at, pattern) = self.next_of(pass, line.start..self.block.len());
            }
            let text = self.text(pass);
            while at < line.end {
                let begins = &pass.found[pattern];
                let behind = &text[..line.end][(at + begins.n_bytes).min(line.end)..];
                if at + begins.n_bytes <= line.end {
                    found(begins.shortest);
                    for (more, needle) in &begins.longer {
                        if behind.starts_with(more) {
                            found(*needle);
                        }
                    }
                }
                (at, pattern) = self.next_of(pass, at + 1..self.block.len());
            }
            self.next[number] = (at, pattern);
        }
    }

    fn text(&self, pass: &Pass) -> &[u8] {
        if pass.in_lower_case { self.lowered } else { self.block }
    }

    /// Where in this part of the block a text of this pass begins first, and which pattern; behind the block when
    /// none does.
    fn next_of(&self, pass: &Pass, part: Range<usize>) -> (usize, usize) {
        let text = self.text(pass);
        let found = match &pass.engine {
            Engine::Bytes(bytes) => {
                let behind = &text[part.start..];
                let offset = match bytes.as_slice() {
                    [a] => memchr(*a, behind),
                    [a, b] => memchr2(*a, *b, behind),
                    [a, b, c, ..] => memchr3(*a, *b, *c, behind),
                    [] => None,
                };
                offset.map(|offset| {
                    let at = part.start + offset;
                    (at, bytes.iter().position(|&byte| byte == text[at]).unwrap_or_default())
                })
            }
            Engine::Packed(searcher) => searcher
                .find_in(text, Span { start: part.start, end: part.end })
                .map(|found| (found.start(), found.pattern().as_usize())),
            Engine::Automaton(automaton) => automaton
                .find(aho_corasick::Input::new(text).span(part.start..part.end))
                .map(|found| (found.start(), found.pattern().as_usize())),
        };
        found.unwrap_or((text.len(), 0))
    }
}

/// Writes `block` in lower case into `lowered`, eight bytes at once: the node is compiled to be small, and then no
/// loop is made of vector instructions by itself.
fn lower(block: &[u8], lowered: &mut Vec<u8>) {
    lowered.clear();
    lowered.extend_from_slice(block);
    let (words, rest) = lowered.as_chunks_mut::<8>();
    for word in words {
        *word = lower_word(u64::from_le_bytes(*word)).to_le_bytes();
    }
    rest.make_ascii_lowercase();
}

/// Adds 32 to each byte from `A` to `Z`.
fn lower_word(word: u64) -> u64 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let behind_z = low + EACH * (0x7f - b'Z' as u64);
    let is_upper = (from_a & !behind_z) & !word & (EACH * 0x80);
    word + (is_upper >> 2)
}

/// The texts of which none begins as another one, each with those that begin so.
fn by_beginning(mut texts: Vec<(usize, &[u8])>) -> Vec<(Vec<u8>, Begins)> {
    texts.sort_by(|a, b| a.1.cmp(b.1));
    let mut all: Vec<(Vec<u8>, Begins)> = Vec::new();
    for (number, text) in texts {
        // Sorted, whatever begins as a text stands behind it.
        match all.last_mut() {
            Some((shortest, begins)) if text.starts_with(shortest) => {
                begins.longer.push((text[shortest.len()..].to_vec(), number));
            }
            _ => {
                let begins = Begins { shortest: number, longer: Vec::new(), n_bytes: text.len() };
                all.push((text.to_vec(), begins));
            }
        }
    }
    all
}

fn searcher<'t>(texts: impl Iterator<Item = &'t Vec<u8>>) -> Option<Searcher> {
    Config::new().match_kind(PackedKind::LeftmostFirst).builder().extend(texts).build()
}

fn automaton<'t>(texts: impl Iterator<Item = &'t Vec<u8>>) -> Option<AhoCorasick> {
    AhoCorasickBuilder::new().match_kind(MatchKind::LeftmostFirst).build(texts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(text: &str) -> Needle {
        Needle { text: text.trim_start_matches('~').as_bytes().to_vec(), any_case: text.starts_with('~') }
    }

    /// Compares with a look at every place.
    fn check(texts: &[&str], block: &str) {
        let needles: Vec<Needle> = texts.iter().map(|text| needle(text)).collect();
        let passes = Passes::new(&needles.iter().collect::<Vec<_>>());
        let mut lowered = Vec::new();
        let mut search = passes.look_through(block.as_bytes(), &mut lowered);
        let mut start = 0;
        for line in block.split_inclusive('\n') {
            let mut found = Vec::new();
            let is_in = search.is_in(&(start..start + line.len()));
            search.in_line(&(start..start + line.len()), |number| found.push(number));
            found.sort_unstable();
            found.dedup();
            let stands = |needle: &Needle| {
                let text = String::from_utf8_lossy(&needle.text).into_owned();
                if needle.any_case { line.to_ascii_lowercase().contains(&text) } else { line.contains(&text) }
            };
            let expected: Vec<usize> = (0..needles.len()).filter(|&n| stands(&needles[n])).collect();
            assert_eq!(found, expected, "{texts:?} in {line:?}");
            assert_eq!(is_in, !found.is_empty());
            start += line.len();
        }
    }

    #[test]
    fn lower_case_is_that_of_ascii() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).chain(*b"aB@[`{zZA").collect();
        let mut lowered = vec![1];
        for from in 0..9 {
            lower(&all[from..], &mut lowered);
            assert_eq!(lowered, all[from..].to_ascii_lowercase());
        }
    }

    #[test]
    fn every_text_is_found_wherever_others_overlap_it() {
        let block = "nothing\nauthentication failure\nhas failed{\nLOGIN failed\nmail ailed\n\n\
                     authentication fail\naaaa\nxaxab\nuser Failed\nab\n";
        check(&["authentication ", "ation failure", "authentication failure", "fail", "failed"], block);
        check(&["~login f", "~login failed", "~failed", "ailed", "{", "}"], block);
        check(&["a", "aa", "aaa", "xax", "axa", "ab"], block);
        check(&["{", "a", "b", "c", "d"], block);
        check(&["~a", "~ab", "zz"], block);
        check(&[], block);
        let many: Vec<String> = (0..450).map(|n| format!("t{n:03}")).chain(["fail".to_owned()]).collect();
        for n in [1, 63, 64, 65, 300, 450] {
            let texts: Vec<&str> = many[450 - n..].iter().map(String::as_str).collect();
            let block = format!("{block}t{:03} t449 t4\nt44\n9 t447t448\n", 450 - n);
            check(&texts, &block);
        }
    }
}
