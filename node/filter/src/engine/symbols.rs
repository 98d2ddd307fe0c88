//! Text beyond ASCII as one byte per character, and expressions about such text as expressions about these bytes.
//!
//! To a list of expressions most characters are alike: `ä` and `ö` are both letters, and no class has one without
//! the other. Characters that are in the same classes get the same byte, a symbol. So an automaton over bytes means
//! on the symbols exactly what the expressions mean on the text, and is as small as for ASCII. Not for searching
//! (`tagged`).

use regex_syntax::hir::{
    Capture, Class, ClassBytes, ClassBytesRange, ClassUnicode, Hir, HirKind, Look, Repetition,
};
use std::collections::HashMap;
use std::ops::Range;

/// The symbols are the bytes from here on; below, a byte is its own character.
const FIRST: u8 = 0x80;
/// Characters below this are looked up in a table.
const TABLE_CHARS: usize = 0x800;

/// What tells characters beyond ASCII apart for one list of expressions.
#[derive(Debug)]
pub(crate) struct Symbols {
    /// The first characters of intervals in which all are alike, in their order, and their symbols.
    intervals: Vec<(u32, u8)>,
    /// The symbols of the first characters.
    table: Box<[u8; TABLE_CHARS]>,
    /// Whether a byte stands for a part of a word.
    is_word: Box<[bool; 256]>,
}

/// A text in symbols.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    pub(crate) bytes: Vec<u8>,
    /// Behind each character beyond ASCII: the place here, and how much further it is in the text.
    shifts: Vec<(usize, usize)>,
}

impl Symbols {
    /// Those of a list; `None` when more kinds of characters are told apart than there are symbols, or when an
    /// expression is about bytes.
    pub(crate) fn of(list: &[Hir]) -> Option<Symbols> {
        let mut classes = Vec::new();
        for hir in list {
            collect(hir, &mut classes)?;
        }
        let words = words()?;
        classes.push(words.clone());
        classes.sort_by(|a, b| a.ranges().cmp(b.ranges()));
        classes.dedup();
        let mut begins = vec![u32::from(FIRST)];
        for range in classes.iter().flat_map(ClassUnicode::ranges) {
            begins.extend([u32::from(range.start()), u32::from(range.end()) + 1]);
        }
        begins.retain(|&begin| begin >= u32::from(FIRST));
        begins.sort_unstable();
        begins.dedup();
        // Which classes an interval is in.
        let mut kinds = vec![vec![0_u64; classes.len().div_ceil(64)]; begins.len()];
        for (number, class) in classes.iter().enumerate() {
            for range in class.ranges() {
                let from = begins.partition_point(|&begin| begin < u32::from(range.start()));
                let to = begins.partition_point(|&begin| begin <= u32::from(range.end()));
                for kind in kinds.get_mut(from..to)? {
                    kind[number / 64] |= 1 << (number % 64);
                }
            }
        }
        let mut symbol_of: HashMap<Vec<u64>, u8> = HashMap::new();
        let mut intervals = Vec::new();
        for (begin, kind) in begins.into_iter().zip(kinds) {
            let next = u8::try_from(usize::from(FIRST) + symbol_of.len()).ok()?;
            intervals.push((begin, *symbol_of.entry(kind).or_insert(next)));
        }
        let mut symbols =
            Symbols { intervals, table: Box::new([0; TABLE_CHARS]), is_word: Box::new([false; 256]) };
        for (code, symbol) in (0..).zip(0..TABLE_CHARS) {
            symbols.table[symbol] = symbols.of_code(code);
        }
        symbols.is_word = Box::new(std::array::from_fn(|byte| match u8::try_from(byte) {
            Ok(byte) if byte < FIRST => byte.is_ascii_alphanumeric() || byte == b'_',
            Ok(byte) => symbols.intervals.iter().any(|&(code, symbol)| symbol == byte && has(&words, code)),
            Err(_) => false,
        }));
        Some(symbols)
    }

    /// Whether a byte stands for a part of a word.
    pub(crate) fn is_word(&self) -> &[bool; 256] {
        &self.is_word
    }

    /// The expression about symbols.
    pub(crate) fn reduced(&self, hir: &Hir) -> Option<Hir> {
        let all = |parts: &[Hir]| parts.iter().map(|part| self.reduced(part)).collect::<Option<Vec<_>>>();
        Some(match hir.kind() {
            HirKind::Empty => Hir::empty(),
            HirKind::Literal(literal) => {
                let mut mapped = Mapped::default();
                self.map(std::str::from_utf8(&literal.0).ok()?, &mut mapped);
                Hir::literal(mapped.bytes)
            }
            HirKind::Class(Class::Unicode(class)) => Hir::class(Class::Bytes(self.reduced_class(class))),
            HirKind::Class(Class::Bytes(class)) => Hir::class(Class::Bytes(class.clone())),
            HirKind::Look(look) => Hir::look(reduced_look(*look)?),
            HirKind::Repetition(repetition) => Hir::repetition(Repetition {
                min: repetition.min,
                max: repetition.max,
                greedy: repetition.greedy,
                sub: Box::new(self.reduced(&repetition.sub)?),
            }),
            HirKind::Capture(capture) => Hir::capture(Capture {
                index: capture.index,
                name: capture.name.clone(),
                sub: Box::new(self.reduced(&capture.sub)?),
            }),
            HirKind::Concat(parts) => Hir::concat(all(parts)?),
            HirKind::Alternation(parts) => Hir::alternation(all(parts)?),
        })
    }

    fn reduced_class(&self, class: &ClassUnicode) -> ClassBytes {
        let ascii = class.ranges().iter().filter(|range| range.start().is_ascii());
        let ascii =
            ascii.map(|range| ClassBytesRange::new(range.start() as u8, range.end().min('\x7f') as u8));
        let beyond = self.intervals.iter().filter(|&&(code, _)| has(class, code));
        ClassBytes::new(ascii.chain(beyond.map(|&(_, symbol)| ClassBytesRange::new(symbol, symbol))))
    }

    /// Writes `text` in symbols.
    pub(crate) fn map(&self, text: &str, mapped: &mut Mapped) {
        mapped.bytes.clear();
        mapped.shifts.clear();
        let mut rest = text;
        let mut shift = 0;
        while let Some(at) = rest.bytes().position(|byte| !byte.is_ascii()) {
            mapped.bytes.extend_from_slice(&rest.as_bytes()[..at]);
            let mut chars = rest[at..].chars();
            let Some(c) = chars.next() else { break };
            mapped.bytes.push(self.of_char(c));
            shift += c.len_utf8() - 1;
            mapped.shifts.push((mapped.bytes.len(), shift));
            rest = chars.as_str();
        }
        mapped.bytes.extend_from_slice(rest.as_bytes());
    }

    fn of_char(&self, c: char) -> u8 {
        let code = u32::from(c);
        self.table.get(code as usize).copied().unwrap_or_else(|| self.of_code(code))
    }

    fn of_code(&self, code: u32) -> u8 {
        let behind = self.intervals.partition_point(|&(begin, _)| begin <= code);
        behind.checked_sub(1).and_then(|at| self.intervals.get(at)).map_or(0, |&(_, symbol)| symbol)
    }
}

impl Mapped {
    /// Where in the text that is which stands here among the symbols.
    pub(crate) fn place(&self, place: Range<usize>) -> Range<usize> {
        let in_text = |at: usize| {
            let n_before = self.shifts.partition_point(|&(behind, _)| behind <= at);
            at + n_before.checked_sub(1).map_or(0, |last| self.shifts[last].1)
        };
        in_text(place.start)..in_text(place.end)
    }
}

fn words() -> Option<ClassUnicode> {
    let Class::Unicode(words) = (match regex_syntax::parse(r"\w").ok()?.into_kind() {
        HirKind::Class(class) => class,
        _ => return None,
    }) else {
        return None;
    };
    Some(words)
}

/// Whether a class has the character of this code.
fn has(class: &ClassUnicode, code: u32) -> bool {
    let at = class.ranges().partition_point(|range| u32::from(range.end()) < code);
    class.ranges().get(at).is_some_and(|range| u32::from(range.start()) <= code)
}

/// All that an expression tells characters apart by.
fn collect(hir: &Hir, classes: &mut Vec<ClassUnicode>) -> Option<()> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let beyond = std::str::from_utf8(&literal.0).ok()?.chars().filter(|c| !c.is_ascii());
            let alone = |c| ClassUnicode::new([regex_syntax::hir::ClassUnicodeRange::new(c, c)]);
            classes.extend(beyond.map(alone));
        }
        HirKind::Class(Class::Unicode(class)) => classes.push(class.clone()),
        HirKind::Class(Class::Bytes(class)) if !class.is_ascii() => return None,
        HirKind::Empty | HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => {}
        HirKind::Repetition(repetition) => collect(&repetition.sub, classes)?,
        HirKind::Capture(capture) => collect(&capture.sub, classes)?,
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            for part in parts {
                collect(part, classes)?;
            }
        }
    }
    Some(())
}

/// Where words begin and end is told by [`Symbols::is_word`] then.
fn reduced_look(look: Look) -> Option<Look> {
    Some(match look {
        Look::WordUnicode => Look::WordAscii,
        Look::WordUnicodeNegate => Look::WordAsciiNegate,
        Look::WordStartUnicode => Look::WordStartAscii,
        Look::WordEndUnicode => Look::WordEndAscii,
        Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
        Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
        Look::Start | Look::End | Look::StartLF | Look::EndLF => look,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tagged::{Tagged, Tagging};
    use proptest::prelude::{any, proptest};
    use regex_automata::meta::Regex;

    const LISTS: [&[&str]; 6] = [
        &[r"^(?P<a>\w+) (?P<b>\d)\b", r"(?P<c>\S+)\s(?P<d>.)$"],
        &[r"(?i)stra(?P<e>ß|ss)e(?P<f>.*?)kiss", r"\B(?P<g>ä+|é)"],
        &[r"(?P<h>[^\[a-z]+)\[", r"^\b{start-half}(?P<i>x)\b{end-half}", r"(?P<j>\W{2})"],
        &[r"(?P<k>[α-ω]+)(?P<l>[\u{410}-\u{44f}]?)", r"(?P<m>\p{Lu})\b"],
        &[r"from (?P<n>\[?[\w\-.^_]*\w\]?)(?: port \d+)?\s*$", r"^(?:(?P<o>.)x)+"],
        &[r"(?m)^(?P<p>\S*)$", r"(?P<q>ſ|\u{212a})", r"(?P<r>[[:ascii:]]+)(?P<s>\u{10ffff})"],
    ];
    const PIECES: [&str; 24] = [
        "ä",
        "ß",
        "é",
        "x",
        " ",
        "1",
        "[",
        "\u{661}",
        "\u{2003}",
        "𝄞",
        "K",
        "\u{212a}",
        "s",
        "ſ",
        "kiss",
        "stra",
        "e",
        "α",
        "Я",
        "from ",
        " port ",
        "-",
        "\n",
        "\u{10ffff}",
    ];

    fn check(list: &[&str], text: &str) {
        let hirs: Vec<Hir> = list.iter().map(|e| regex_syntax::parse(e).expect("reads")).collect();
        let symbols = Symbols::of(&hirs).expect("few kinds");
        let reduced: Vec<Hir> = hirs.iter().map(|hir| symbols.reduced(hir).expect("about text")).collect();
        let mut tagged = Tagged::new(&reduced, symbols.is_word()).expect("small");
        let mut mapped = Mapped::default();
        symbols.map(text, &mut mapped);
        let first = hirs.iter().enumerate().find_map(|(n, hir)| {
            let engine = Regex::builder().build_from_hir(hir).expect("compiles");
            let mut captures = engine.create_captures();
            engine.captures(text, &mut captures);
            captures.is_match().then_some((n, captures))
        });
        let Some((expression, captures)) = first else {
            assert_eq!(tagged.search(&mapped.bytes), Tagging::Nothing, "{list:?} on {text:?}");
            return;
        };
        let found = tagged.search(&mapped.bytes);
        assert!(
            matches!(found, Tagging::Found { expression: n, .. } if n == expression),
            "{list:?} on {text:?}"
        );
        for group in 1..captures.group_len() {
            let slot = tagged.slot(expression, group).expect("known");
            let place = tagged.place_in(slot).map(|place| mapped.place(place));
            let expected = captures.get_group(group).map(|span| span.range());
            assert_eq!(place, expected, "{list:?} on {text:?}");
        }
    }

    #[test]
    fn characters_that_no_class_tells_apart_have_the_same_symbol() {
        let hirs = [r"\w+é\d", r"[α-ω]"].map(|e| regex_syntax::parse(e).expect("reads"));
        let symbols = Symbols::of(&hirs).expect("few kinds");
        let of = |c| symbols.of_char(c);
        assert_eq!((of('ä'), of('ß')), (of('Я'), of('字')));
        assert!(of('é') != of('ä') && of('α') != of('ä') && of('€') != of('ä') && of('\u{661}') != of('1'));
        assert_eq!((of('€'), of('€')), (of('\u{2003}'), of('𝄞')));
        assert!(Symbols::of(&[regex_syntax::parse(r"(?-u:\b)x").expect("reads")]).is_some());
        assert!(symbols.reduced(&regex_syntax::parse(r"(?-u:\b)x").expect("reads")).is_none());
    }

    proptest! {
        #[test]
        fn what_is_found_in_symbols_is_what_the_expression_finds(
            list in 0..LISTS.len(),
            pieces in proptest::collection::vec(0..PIECES.len(), 0..12),
            other in any::<Option<char>>(),
        ) {
            let mut text: String = pieces.iter().map(|&piece| PIECES[piece]).collect();
            text.extend(other);
            check(LISTS[list], &text);
        }
    }
}
