//! Reduces an expression about characters to expressions about bytes, which make automata a hundredth of
//! the size.
//!
//! [`for_ascii`] means the same on text that is ASCII, and is not to be used on any other. [`at_least`]
//! matches wherever the expression does, on any text in UTF-8, and may match more: it does not tell one
//! character beyond ASCII from another.

use regex_syntax::hir::{Capture, Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look, Repetition};

/// The expression as it is on ASCII text, groups and all.
#[must_use]
pub fn for_ascii(hir: &Hir) -> Hir {
    reduce(hir, Reduction::Ascii)
}

/// An expression without groups that matches at least where `hir` does.
#[must_use]
pub fn at_least(hir: &Hir) -> Hir {
    reduce(hir, Reduction::AtLeast)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reduction {
    Ascii,
    AtLeast,
}

fn reduce(hir: &Hir, reduction: Reduction) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(|part| reduce(part, reduction)).collect();
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if reduction == Reduction::Ascii && !literal.0.is_ascii() => Hir::fail(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(class) => reduced_class(class, reduction),
        HirKind::Look(look) => reduced_look(*look, reduction),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            min: repetition.min,
            max: repetition.max,
            greedy: repetition.greedy,
            sub: Box::new(reduce(&repetition.sub, reduction)),
        }),
        HirKind::Capture(capture) if reduction == Reduction::AtLeast => reduce(&capture.sub, reduction),
        HirKind::Capture(capture) => Hir::capture(Capture {
            index: capture.index,
            name: capture.name.clone(),
            sub: Box::new(reduce(&capture.sub, reduction)),
        }),
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
    }
}

fn reduced_class(class: &Class, reduction: Reduction) -> Hir {
    let mut ascii = ClassBytes::empty();
    let mut has_more = false;
    match class {
        Class::Unicode(class) => {
            for range in class.ranges() {
                if range.start().is_ascii() {
                    let end = range.end().min('\x7f');
                    ascii.push(ClassBytesRange::new(range.start() as u8, end as u8));
                }
                has_more |= !range.end().is_ascii();
            }
        }
        Class::Bytes(class) => {
            for range in class.ranges() {
                if range.start().is_ascii() {
                    ascii.push(ClassBytesRange::new(range.start(), range.end().min(0x7f)));
                }
                has_more |= !range.end().is_ascii();
            }
        }
    }
    let ascii = Hir::class(Class::Bytes(ascii));
    if has_more && reduction == Reduction::AtLeast {
        Hir::alternation(vec![ascii, beyond_ascii()])
    } else {
        ascii
    }
}

/// Any one character beyond ASCII, in text that is UTF-8.
fn beyond_ascii() -> Hir {
    let bytes = |from, to| Hir::class(Class::Bytes(ClassBytes::new([ClassBytesRange::new(from, to)])));
    let more = || bytes(0x80, 0xbf);
    Hir::alternation(vec![
        Hir::concat(vec![bytes(0xc2, 0xdf), more()]),
        Hir::concat(vec![bytes(0xe0, 0xef), more(), more()]),
        Hir::concat(vec![bytes(0xf0, 0xf4), more(), more(), more()]),
    ])
}

fn reduced_look(look: Look, reduction: Reduction) -> Hir {
    let ascii = match look {
        Look::WordUnicode => Look::WordAscii,
        Look::WordUnicodeNegate => Look::WordAsciiNegate,
        Look::WordStartUnicode => Look::WordStartAscii,
        Look::WordEndUnicode => Look::WordEndAscii,
        Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
        Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
        other => return Hir::look(other),
    };
    match reduction {
        Reduction::Ascii => Hir::look(ascii),
        // Next to a character beyond ASCII nobody knows.
        Reduction::AtLeast => Hir::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_automata::meta::Regex;

    fn parsed(expression: &str) -> Hir {
        regex_syntax::parse(expression).expect("an expression")
    }

    fn compiled(hir: &Hir) -> Regex {
        let config = Regex::config().utf8_empty(false);
        Regex::builder().configure(config).build_from_hir(hir).expect("compiles")
    }

    #[test]
    fn on_ascii_nothing_changes() {
        for expression in
            [r"\w+ \d\b", r"(?i)straße|kiss", r"[^\[]\s.", r"é|e", r"^\b{start-half}x$", r"\W{2}"]
        {
            let (exact, ascii) =
                (regex::Regex::new(expression).expect("compiles"), compiled(&for_ascii(&parsed(expression))));
            for text in ["abc 1", "KISS", "x", "e", "[ ]", "a\nb", "", "--", "strasse 5x", "a  "] {
                let found = ascii.find(text).map(|found| found.range());
                assert_eq!(found, exact.find(text).map(|found| found.range()), "{expression} {text:?}");
            }
        }
    }

    #[test]
    fn on_other_text_no_match_is_lost() {
        for expression in [r"\w+ \d\b", r"(?i)straße|kiss", r"^[^\[]+$", r"é", r"\bä\B", r"\S{3}\s\S"] {
            let (exact, more) =
                (regex::Regex::new(expression).expect("compiles"), compiled(&at_least(&parsed(expression))));
            for text in ["äöü 1", "\u{212a}iss", "Stra\u{1e9e}e", "ä", "é", "€\u{2003}x", "𝄞𝄞𝄞 x", "xäö"]
            {
                assert!(!exact.is_match(text) || more.is_match(text), "{expression} {text:?}");
            }
        }
    }
}
