//! An expression with conditionals, written so that the linear engine takes it, with the same meaning to
//! the last group.
//!
//! `(a)?b(?(1)c|d)` is `(a)bc|bd`: what comes before a choice may be repeated in each of its branches, and
//! the order of the branches stays the order in which they are tried. And `(?:(?! from ).)*`, where the same
//! ` from ` or the end follows, is a repetition that can end in one place only. Everything else that needs
//! backtracking is left to it.

use fancy_regex::{Assertion, Expr, LookAround};
use regex_syntax::hir::{Capture, Dot, Hir, HirKind, Look, Repetition};
use std::collections::BTreeSet;
use std::iter::once;

/// An expression with more branches than this stays with the backtracking engine.
const BRANCHES_MAX: usize = 16;

/// The branches of the expression in the order in which they are tried, its named groups numbered as they
/// were, without their names. `None` when it has no such branches.
#[must_use]
pub fn in_branches(expression: &str) -> Option<Vec<Hir>> {
    let tree = Expr::parse_tree(expression).ok()?;
    let mut writer =
        Writer { named: tree.named_groups.values().flatten().copied().collect(), asked: BTreeSet::new() };
    asked_for(&tree.expr, &mut writer.asked);
    let branches = writer.branches(&tree.expr, 0, &BTreeSet::new())?;
    branches.iter().map(|branch| writer.joined(&branch.items)).collect()
}

/// One way through an expression.
#[derive(Clone, Debug, Default)]
struct Branch {
    items: Vec<Item>,
    /// The groups that took part so far.
    matched: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Item {
    Hir(Hir),
    Open,
    Close(usize),
    /// `$`: may stand only where nothing follows.
    End(Hir),
    /// Any text of one line in which this text does not begin.
    Without(String),
}

struct Writer {
    /// The groups whose places are wanted.
    named: BTreeSet<usize>,
    /// The groups that conditionals ask for.
    asked: BTreeSet<usize>,
}

impl Writer {
    /// All ways through `expr`, the preferred ones first. `n_before`: so many groups stand before it.
    fn branches(&self, expr: &Expr, n_before: usize, matched: &BTreeSet<usize>) -> Option<Vec<Branch>> {
        let single = |item: Item| Some(vec![Branch { items: vec![item], matched: matched.clone() }]);
        match expr {
            Expr::Concat(parts) => {
                let mut all = vec![Branch { items: Vec::new(), matched: matched.clone() }];
                let mut n_before = n_before;
                for part in parts {
                    let mut longer = Vec::new();
                    for branch in &all {
                        for more in self.branches(part, n_before, &branch.matched)? {
                            let items = branch.items.iter().cloned().chain(more.items).collect();
                            longer.push(Branch { items, matched: more.matched });
                        }
                    }
                    if longer.len() > BRANCHES_MAX {
                        return None;
                    }
                    all = longer;
                    n_before += n_groups(part)?;
                }
                Some(all)
            }
            Expr::Group(inside) => {
                let number = n_before + 1;
                let mut all = self.branches(inside, number, matched)?;
                for branch in &mut all {
                    branch.items.insert(0, Item::Open);
                    branch.items.push(Item::Close(number));
                    branch.matched.insert(number);
                }
                Some(all)
            }
            Expr::Conditional { condition, true_branch, false_branch } => match condition.as_ref() {
                Expr::BackrefExistsCondition { group, relative_recursion_level: None } => {
                    if matched.contains(group) {
                        self.branches(true_branch, n_before, matched)
                    } else {
                        self.branches(false_branch, n_before + n_groups(true_branch)?, matched)
                    }
                }
                _ => None,
            },
            Expr::LookAround(inside, LookAround::LookAhead) => {
                let end = parsed(r"\n?\z", false)?;
                if self.plain(inside, n_before)? == end { single(Item::End(end)) } else { None }
            }
            Expr::Repeat { child, lo: 0, hi: usize::MAX, .. } if excluded(child).is_some() => {
                single(Item::Without(excluded(child)?))
            }
            Expr::Alt(parts) if self.is_special(expr, n_before)? => {
                let mut all = Vec::new();
                let mut n_before = n_before;
                for part in parts {
                    all.extend(self.branches(part, n_before, matched)?);
                    n_before += n_groups(part)?;
                }
                Some(all)
            }
            Expr::Repeat { child, lo: 0, hi: 1, greedy } if self.is_special(expr, n_before)? => {
                let mut all = self.branches(child, n_before, matched)?;
                let nothing = Branch { items: Vec::new(), matched: matched.clone() };
                all.insert(if *greedy { all.len() } else { 0 }, nothing);
                Some(all)
            }
            // Which round of a repetition a group belongs to is not followed here.
            _ if self.is_asked(expr, n_before)? => None,
            _ => single(Item::Hir(self.plain(expr, n_before)?)),
        }
    }

    /// Whether a conditional asks for a group inside.
    fn is_asked(&self, expr: &Expr, n_before: usize) -> Option<bool> {
        Some(self.asked.range(n_before + 1..n_before + 1 + n_groups(expr)?).next().is_some())
    }

    /// Whether there is something in it that a way through it has to know; `None` when nobody can say.
    fn is_special(&self, expr: &Expr, n_before: usize) -> Option<bool> {
        Some(self.is_asked(expr, n_before)? || self.plain(expr, n_before).is_none())
    }

    /// What the linear engine takes as it is.
    fn plain(&self, expr: &Expr, n_before: usize) -> Option<Hir> {
        Some(match expr {
            Expr::Empty => Hir::empty(),
            Expr::Any { newline: true, crlf: false } => Hir::dot(Dot::AnyChar),
            Expr::Any { newline: false, crlf: false } => Hir::dot(Dot::AnyCharExceptLF),
            Expr::Assertion(Assertion::StartText) => Hir::look(Look::Start),
            Expr::Assertion(Assertion::EndText) => Hir::look(Look::End),
            Expr::Literal { val, casei } => parsed(&regex_syntax::escape(val), *casei)?,
            Expr::Delegate { inner, casei } => parsed(inner, *casei)?,
            Expr::Concat(parts) => Hir::concat(self.all_plain(parts, n_before)?),
            Expr::Alt(parts) => Hir::alternation(self.all_plain(parts, n_before)?),
            Expr::Group(inside) => self.captured(n_before + 1, self.plain(inside, n_before + 1)?),
            Expr::Repeat { child, lo, hi, greedy } => Hir::repetition(Repetition {
                min: u32::try_from(*lo).ok()?,
                max: if *hi == usize::MAX { None } else { Some(u32::try_from(*hi).ok()?) },
                greedy: *greedy,
                sub: Box::new(self.plain(child, n_before)?),
            }),
            _ => return None,
        })
    }

    fn all_plain(&self, parts: &[Expr], mut n_before: usize) -> Option<Vec<Hir>> {
        let mut all = Vec::new();
        for part in parts {
            all.push(self.plain(part, n_before)?);
            n_before += n_groups(part)?;
        }
        Some(all)
    }

    fn captured(&self, number: usize, inside: Hir) -> Hir {
        match u32::try_from(number) {
            Ok(index) if self.named.contains(&number) => {
                Hir::capture(Capture { index, name: None, sub: Box::new(inside) })
            }
            _ => inside,
        }
    }

    fn joined(&self, items: &[Item]) -> Option<Hir> {
        let mut open: Vec<Vec<Hir>> = vec![Vec::new()];
        for (at, item) in items.iter().enumerate() {
            let behind = &items[at + 1..];
            let hir = match item {
                Item::Hir(hir) => hir.clone(),
                Item::End(hir) if behind.iter().all(|item| matches!(item, Item::Close(_))) => hir.clone(),
                Item::End(_) => return None,
                Item::Without(text) => without(text, behind)?,
                Item::Open => {
                    open.push(Vec::new());
                    continue;
                }
                Item::Close(number) => self.captured(*number, Hir::concat(open.pop()?)),
            };
            open.last_mut()?.push(hir);
        }
        Some(Hir::concat(open.pop()?))
    }
}

/// Text in which `excluded` does not begin, as it can be written when that itself or the end follows.
///
/// The words between the first character of `excluded` and its next one must not be what stands between them
/// in `excluded`. So its first character has to be its last one, too, and to stand nowhere else in it.
fn without(excluded: &str, behind: &[Item]) -> Option<Hir> {
    let bound = excluded.chars().next()?;
    let word = excluded.strip_prefix(bound)?.strip_suffix(bound)?;
    if word.contains([bound, '\n']) || bound == '\n' || word.is_empty() {
        return None;
    }
    let quoted = |c: char| regex_syntax::escape(&c.to_string());
    let other = format!(r"[^{}\n]", quoted(bound));
    let not_the_word = word.chars().rev().fold(format!("{other}+"), |rest, c| {
        format!(r"(?:[^{}\n{}]{other}*|{}{rest})?", quoted(bound), quoted(c), quoted(c))
    });
    let b = quoted(bound);
    let words = format!("{other}*(?:{b}{not_the_word})*");
    let mut next = behind.iter().filter(|item| !matches!(item, Item::Open | Item::Close(_))).peekable();
    if let Some(Item::End(_)) = next.peek() {
        return parsed(&format!("{words}(?:{b}{})?", regex_syntax::escape(word)), false);
    }
    let mut follows = Vec::new();
    for item in next {
        match item {
            Item::Hir(hir) => match hir.kind() {
                HirKind::Literal(literal) => follows.extend_from_slice(&literal.0),
                _ => break,
            },
            _ => break,
        }
    }
    follows.starts_with(excluded.as_bytes()).then(|| parsed(&words, false))?
}

/// The text `x` of `(?!x).`
fn excluded(expr: &Expr) -> Option<String> {
    let Expr::Concat(parts) = expr else { return None };
    match parts.as_slice() {
        [Expr::LookAround(text, LookAround::LookAheadNeg), Expr::Any { newline: false, crlf: false }] => {
            literal(text)
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal { val, casei: false } => Some(val.clone()),
        Expr::Concat(parts) => parts.iter().map(literal).collect(),
        _ => None,
    }
}

fn parsed(expression: &str, any_case: bool) -> Option<Hir> {
    let flags = if any_case { "(?i)" } else { "" };
    regex_syntax::parse(&format!("{flags}{expression}")).ok()
}

/// How many groups an expression has; `None` for what is left to backtracking anyway.
fn n_groups(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Group(inside) => Some(1 + n_groups(inside)?),
        Expr::Concat(parts) | Expr::Alt(parts) => parts.iter().map(n_groups).sum(),
        Expr::Repeat { child, .. } => n_groups(child),
        Expr::LookAround(inside, _) => n_groups(inside),
        Expr::Conditional { condition, true_branch, false_branch } => {
            once(condition).chain([true_branch, false_branch]).map(|part| n_groups(part)).sum()
        }
        Expr::Empty
        | Expr::Any { .. }
        | Expr::Assertion(_)
        | Expr::Literal { .. }
        | Expr::Delegate { .. }
        | Expr::BackrefExistsCondition { .. } => Some(0),
        _ => None,
    }
}

fn asked_for(expr: &Expr, asked: &mut BTreeSet<usize>) {
    if let Expr::BackrefExistsCondition { group, .. } = expr {
        asked.insert(*group);
    }
    match expr {
        Expr::Group(inside) => asked_for(inside, asked),
        Expr::Concat(parts) | Expr::Alt(parts) => parts.iter().for_each(|part| asked_for(part, asked)),
        Expr::Repeat { child, .. } => asked_for(child, asked),
        Expr::Conditional { condition, true_branch, false_branch } => {
            for part in [condition, true_branch, false_branch] {
                asked_for(part, asked);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::exact::{Exact, Outcome};

    /// What a line may be put together from.
    const PIECES: [&str; 14] =
        ["", "x", " from ", " from", "from ", " fro", "mm", " ", "'", "invalid ", ": ", "1", "\n", "ä"];

    fn same(expression: &str, texts: &[String]) {
        let branches = Exact::linear_in_branches(expression).expect("the linear engine takes it");
        let backtracking = Exact::backtracking(expression.to_owned()).expect("reads");
        let mut groups = backtracking.groups.clone();
        groups.sort_unstable();
        assert_eq!(branches.groups, groups, "{expression}");
        let numbers: Vec<usize> = groups.iter().map(|&(number, _)| number).collect();
        let mut n_found = 0;
        for text in texts {
            let found = branches.exact.search(text, &numbers);
            n_found += usize::from(found != Outcome::Nothing);
            assert_eq!(found, backtracking.exact.search(text, &numbers), "{expression} on {text:?}");
        }
        assert!(n_found > 0, "{expression} matches none of the texts");
    }

    #[test]
    fn branches_mean_the_same() {
        let mut texts = vec![String::new()];
        let mut longer = texts.clone();
        for _ in 0..4 {
            longer = longer.iter().flat_map(|t| PIECES.map(|piece| format!("{t}{piece}"))).collect();
            texts.extend(longer.iter().step_by(3).cloned());
        }
        for expression in [
            r"(?P<q>')?(?P<w>\w+)(?('q')'|x)(?=\n?\z)",
            r"(?P<a>x)?(?P<b>\S+)?? (?('a')1|(?('b') |'))",
            r"^(?P<i>invalid )?(?P<user>(?P<u>\S+)|(?('i')(?:(?! from ).)*?|[^:]+)) from (?P<h>\S+)(?('u'): |(?:(?:(?! from ).)*)(?=\n?\z))",
            r"(?:(?P<x>x)|1)(?P<r>(?:(?! from ).)*)(?=\n?\z)",
            r"^(?P<r>(?:(?! from ).)*) from (?P<h>\S+)",
        ] {
            same(expression, &texts);
        }
    }

    #[test]
    fn what_has_another_meaning_is_left_alone() {
        for expression in [
            r"(?P<a>x)(?P=a)",
            r"(?:(?P<a>x)|1)*(?('a')y)",
            r"(?!x)y",
            r"(?=x)y",
            r"(?:(?!abb).)*abb",
            r"(?:(?! from ).)* fro",
            r"(?:(?! from ).)*",
            r"(?>x|xy)z",
        ] {
            assert!(in_branches(expression).is_none(), "{expression}");
        }
    }
}
