//! The texts of which one must stand in whatever an expression matches.
//!
//! Of all the choices that an expression offers, the one is taken whose rarest text is the easiest to find
//! and the least likely to stand in other lines. Only ASCII: such a text is the same bytes in a line as in
//! the log, whatever the encoding does to the rest.

use regex_syntax::hir::{Class, Hir, HirKind};

/// A choice with more texts than this costs more than it saves.
pub const NEEDLES_MAX: usize = 64;
/// Of a longer text the beginning is as good.
pub const NEEDLE_BYTES_MAX: usize = 24;

/// A choice that is no better than this stands in nearly every line: a blank, a digit, a letter.
const QUALITY_MIN: usize = 64;

/// A text to look for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needle {
    /// Its bytes, in lower case when `any_case`.
    pub text: Vec<u8>,
    /// Letters may stand in either case.
    pub any_case: bool,
}

/// One of these stands in everything that `hir`, made by [`super::bytes::at_least`], matches; `None` when
/// there is no such choice worth looking for.
#[must_use]
pub fn needles(hir: &Hir) -> Option<Vec<Needle>> {
    worth_it(required(hir)?)
}

/// Several such choices, of all of which one stands in everything that `hir` matches, the best first.
#[must_use]
pub fn all_needles(hir: &Hir) -> Vec<Vec<Needle>> {
    let choices = match hir.kind() {
        HirKind::Concat(parts) => choices_of(parts),
        _ => required(hir).into_iter().collect(),
    };
    let mut choices: Vec<_> = choices.into_iter().filter_map(worth_it).collect();
    choices.sort_by_key(|choice| std::cmp::Reverse(quality(choice)));
    choices
}

fn worth_it(mut needles: Vec<Needle>) -> Option<Vec<Needle>> {
    needles.sort();
    needles.dedup();
    (needles.len() <= NEEDLES_MAX && quality(&needles) >= QUALITY_MIN).then_some(needles)
}

/// How well a choice tells lines apart; more is better.
#[must_use]
pub fn quality(needles: &[Needle]) -> usize {
    let rarity = |needle: &Needle| needle.text.iter().map(|&byte| byte_rarity(byte)).sum::<usize>().min(40);
    let rarest = needles.iter().map(rarity).min().unwrap_or(0);
    // Every further text to look for is one more that other lines may have.
    (rarest * 16).saturating_sub(needles.len())
}

/// Punctuation that logs have little of tells more than letters, and these more than blanks and digits.
fn byte_rarity(byte: u8) -> usize {
    match byte {
        b'{' | b'}' | b'~' | b'^' | b'`' | b'\\' | b'|' | b'$' | b'!' | b'*' | b'#' | b';' => 9,
        b'<' | b'>' | b'"' | b'\'' | b'@' | b'%' | b'&' | b'?' | b'+' => 4,
        b'A'..=b'Z' | b'j' | b'k' | b'q' | b'v' | b'w' | b'x' | b'z' => 4,
        b' ' | b'.' | b':' | b'-' | b'0'..=b'9' => 2,
        _ => 3,
    }
}

fn required(hir: &Hir) -> Option<Vec<Needle>> {
    if let Some(text) = exact(hir) {
        return (!text.is_empty()).then(|| vec![needle(&text)]);
    }
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(required(part)?);
                if all.len() > NEEDLES_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => choices_of(parts).into_iter().max_by_key(|choice| quality(choice)),
        _ => None,
    }
}

/// Of each of these one text stands in what the parts match one after the other.
fn choices_of(parts: &[Hir]) -> Vec<Vec<Needle>> {
    let mut choices: Vec<Vec<Needle>> = Vec::new();
    let mut run: Vec<Letter> = Vec::new();
    let end_run = |run: &mut Vec<Letter>, choices: &mut Vec<Vec<Needle>>| {
        if !run.is_empty() {
            choices.push(vec![needle(run)]);
            run.clear();
        }
    };
    for part in parts {
        match exact(part) {
            Some(text) => run.extend(text),
            None => {
                end_run(&mut run, &mut choices);
                choices.extend(required(part));
            }
        }
    }
    end_run(&mut run, &mut choices);
    choices
}

/// A byte, and whether it may be of the other case.
type Letter = (u8, bool);

/// The one text that `hir` matches, its case apart.
fn exact(hir: &Hir) -> Option<Vec<Letter>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(Vec::new()),
        HirKind::Literal(literal) if literal.0.is_ascii() && !literal.0.contains(&b'\n') => {
            Some(literal.0.iter().map(|&byte| (byte, false)).collect())
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            match (bytes.next(), bytes.next(), bytes.next()) {
                (Some(byte), None, None) if byte.is_ascii() && byte != b'\n' => Some(vec![(byte, false)]),
                (Some(upper), Some(lower), None) if upper != lower && upper.eq_ignore_ascii_case(&lower) => {
                    Some(vec![(lower, true)])
                }
                _ => None,
            }
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(exact(part)?);
            }
            Some(all)
        }
        _ => None,
    }
}

fn needle(letters: &[Letter]) -> Needle {
    let letters = &letters[..letters.len().min(NEEDLE_BYTES_MAX)];
    let any_case = letters.iter().any(|&(_, any_case)| any_case);
    let text = letters.iter().map(|&(byte, _)| if any_case { byte.to_ascii_lowercase() } else { byte });
    Needle { text: text.collect(), any_case }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bytes::at_least;

    fn of(expression: &str) -> Option<Vec<(String, bool)>> {
        let hir = at_least(&regex_syntax::parse(expression).expect("an expression"));
        let shown = |needle: Needle| (String::from_utf8_lossy(&needle.text).into_owned(), needle.any_case);
        Some(needles(&hir)?.into_iter().map(shown).collect())
    }

    #[test]
    fn the_most_telling_text_is_taken() {
        for (expression, texts) in [
            (r"^\w+ from \d+ failed: (?:a|b)", vec![(" failed: ", false)]),
            (r"(?:User|Account) \w+$", vec![("Account", false), ("User", false)]),
            (r"x*(?:ab){2,}", vec![("ab", false)]),
            (r"\d+\(\s*\)\s*\{", vec![("{", false)]),
            // An `s` in any case may be a long s, a `k` the sign for Kelvin.
            (r"(?i)login failed", vec![("login failed", true)]),
            (r"(?i)mail is", vec![("mail i", true)]),
        ] {
            let expected: Vec<(String, bool)> =
                texts.into_iter().map(|(text, any_case)| (text.to_owned(), any_case)).collect();
            assert_eq!(of(expression), Some(expected), "{expression}");
        }
        for expression in [r"\d+", r"(?:a|\d)", "x*", r"\n", r"\d+ \d+", "(?:ab|x)"] {
            assert_eq!(of(expression), None, "{expression}");
        }
    }
}
