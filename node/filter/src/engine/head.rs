//! What stands before the last group of an expression that takes the rest of the line, as prefregex mostly
//! does: `^head(?P<content>.+)$`.
//!
//! Where the head ends, that group begins; nobody has to look at the rest of the line.

use super::bytes::for_ascii;
use super::symbols::Symbols;
use memchr::memchr;
use regex_syntax::hir::{Hir, HirKind};
use std::ops::Range;

/// The head of `hir`, made by [`for_ascii`] or of these symbols, and the number of the group behind it; `None` when
/// the expression ends otherwise.
#[must_use]
pub(crate) fn head_of(hir: &Hir, symbols: Option<&Symbols>) -> Option<(Hir, usize)> {
    let reduced = |expression| {
        let hir = regex_syntax::parse(expression).ok()?;
        symbols.map_or_else(|| Some(for_ascii(&hir)), |symbols| symbols.reduced(&hir))
    };
    let (end, rest) = (reduced(r"x\n?\z")?, reduced(".+")?);
    let (HirKind::Concat(parts), HirKind::Concat(end)) = (hir.kind(), end.kind()) else { return None };
    let (head, behind) = parts.split_at_checked(parts.len().checked_sub(end.len())?)?;
    let (HirKind::Capture(capture), behind) = behind.split_first().map(|(first, b)| (first.kind(), b))?
    else {
        return None;
    };
    let fits = *capture.sub == rest && behind == &end[1..] && !head.is_empty();
    fits.then(|| (Hir::concat(head.to_vec()), capture.index as usize))
}

/// Where the rest of the line is when the head ends at `end`; `None` when the expression may match otherwise
/// or not at all.
#[must_use]
pub fn rest_behind(text: &str, end: usize) -> Option<Range<usize>> {
    let line_end = text.strip_suffix('\n').unwrap_or(text).len();
    let rest = text.as_bytes().get(end..line_end).filter(|rest| !rest.is_empty())?;
    memchr(b'\n', rest).is_none().then_some(end..line_end)
}

#[cfg(test)]
mod tests {
    use crate::engine::exact::{Exact, Outcome};

    #[test]
    fn the_rest_of_the_line_is_found_as_the_whole_expression_finds_it() {
        let head =
            Exact::linear(r"^(?P<a>x*\s*)(?:(?P<b>y):)?(?P<rest>.+)(?:\n?\z)".to_owned()).expect("linear");
        let same = regex::Regex::new(r"^(?P<a>x*\s*)(?:(?P<b>y):)?(?P<rest>.+)(?:\n?\z)").expect("compiles");
        for text in ["", "\n", "x", "xx\n", "x y:z\n", "x y:\n", "x  \n", " \n", "x a\nb\n", "x a\n\n", "y:y"]
        {
            let places = |groups: &[usize]| {
                let found = same.captures(text)?;
                Some(
                    groups
                        .iter()
                        .map(|&group| found.get(group).map(|place| place.range()))
                        .collect::<Vec<_>>(),
                )
            };
            let found = match head.exact.search(text, &[0, 1, 2, 3]) {
                Outcome::Found(places) => Some(places),
                _ => None,
            };
            assert_eq!(found, places(&[0, 1, 2, 3]), "{text:?}");
        }
    }
}
