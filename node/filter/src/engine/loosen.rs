//! An expression that needs backtracking, loosened until the linear engine takes it: look-around is left
//! out, a back-reference may be anything, a conditional may go either way.
//!
//! The result matches at least where the expression does. Not for finding the match itself.

use fancy_regex::{Assertion, Expr, LookAround};
use regex_syntax::hir::{Dot, Hir, Look, Repetition};

/// The loosened expression; `None` when it can not be read.
#[must_use]
pub fn loosened(expression: &str) -> Option<Hir> {
    let tree = Expr::parse_tree(expression).ok()?;
    Some(loose(&tree.expr, true))
}

/// `is_tail`: nothing follows that could look at the text behind it.
fn loose(expr: &Expr, is_tail: bool) -> Hir {
    match expr {
        Expr::Empty | Expr::KeepOut | Expr::BackrefExistsCondition { .. } => Hir::empty(),
        Expr::Any { newline: true, .. } => Hir::dot(Dot::AnyChar),
        Expr::Any { newline: false, .. } => Hir::dot(Dot::AnyCharExceptLF),
        Expr::Assertion(assertion) => asserted(assertion),
        Expr::Literal { val, casei } => parsed(&regex_syntax::escape(val), *casei),
        Expr::Delegate { inner, casei } => parsed(inner, *casei),
        Expr::Concat(parts) => {
            let last = parts.len().saturating_sub(1);
            Hir::concat(parts.iter().enumerate().map(|(n, part)| loose(part, is_tail && n == last)).collect())
        }
        Expr::Alt(parts) => Hir::alternation(parts.iter().map(|part| loose(part, is_tail)).collect()),
        Expr::Group(inside) => loose(inside, is_tail),
        Expr::AtomicGroup(inside) => loose(inside, is_tail),
        // `$` was written as a look-ahead; at the end of all it may as well be taken for what it looks at.
        Expr::LookAround(inside, LookAround::LookAhead) if is_tail => loose(inside, true),
        Expr::LookAround(..) => Hir::empty(),
        Expr::Repeat { child, lo, hi, greedy } => {
            let bound = |n: usize| u32::try_from(n).ok();
            Hir::repetition(Repetition {
                min: bound(*lo).unwrap_or(0),
                max: if *hi == usize::MAX { None } else { bound(*hi) },
                greedy: *greedy,
                sub: Box::new(loose(child, false)),
            })
        }
        Expr::Conditional { condition, true_branch, false_branch } => Hir::alternation(vec![
            Hir::concat(vec![loose(condition, false), loose(true_branch, is_tail)]),
            loose(false_branch, is_tail),
        ]),
        _ => anything(),
    }
}

fn asserted(assertion: &Assertion) -> Hir {
    match assertion {
        Assertion::StartText => Hir::look(Look::Start),
        Assertion::EndText => Hir::look(Look::End),
        Assertion::StartLine { crlf: false } => Hir::look(Look::StartLF),
        Assertion::EndLine { crlf: false } => Hir::look(Look::EndLF),
        _ => Hir::empty(),
    }
}

fn parsed(expression: &str, any_case: bool) -> Hir {
    let flags = if any_case { "(?i)" } else { "" };
    regex_syntax::parse(&format!("{flags}{expression}")).unwrap_or_else(|_| anything())
}

fn anything() -> Hir {
    let any = Box::new(Hir::dot(Dot::AnyChar));
    Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub: any })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_matches_when_loosened_and_the_words_stay() {
        for (expression, texts) in [
            (r"^(?!x)failed (?P<q>')?\w+(?('q')') from", vec!["failed 'a' from", "failed b from"]),
            (r"(?P<a>\w)-(?P=a)(?=\n?\z)", vec!["x-x", "y y-y\n"]),
            (r"^(?:(?! from ).)*? from (?=\d)", vec!["a b from 1"]),
            (r"a++b(?>c|cd)e", vec!["aabce"]),
            (r"x(?=yz)y", vec!["xyz"]),
        ] {
            let exact = fancy_regex::Regex::new(expression).expect("compiles");
            let loose = loosened(expression).expect("readable");
            let loose = regex_automata::meta::Regex::builder().build_from_hir(&loose).expect("compiles");
            for text in texts {
                assert!(exact.is_match(text).expect("quick") && loose.is_match(text), "{expression} {text}");
            }
            assert!(!loose.is_match("failure"), "{expression}");
        }
    }
}
