//! One format of dates: an expression, what its match means, and where in a line it may stand.

use super::tokens;
use crate::engine::bytes::at_least;
use crate::engine::loosen::loosened;
use crate::translate::{Dialect, TextEnd, translate};
use regex::Regex;
use regex_syntax::hir::Hir;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

/// The fields of a date as they stand in the line, and where: names such as `Y`, `m`, `z`.
pub type Fields<'l> = Vec<(char, &'l str)>;

/// A date in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<'l> {
    /// What the whole expression matched.
    pub whole: Range<usize>,
    /// The date itself, which is cut out of the line.
    pub date: Range<usize>,
    /// Its parts; for [`Kind::Epoch`] and [`Kind::Tai64n`] one part named `s`.
    pub fields: Fields<'l>,
}

/// What the matched text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Named fields, as in strptime(3).
    Fields,
    /// Seconds since 1970; `long`: 13 digits are milliseconds, 16 are microseconds.
    Epoch {
        /// `LEPOCH`.
        long: bool,
    },
    /// An external TAI64N label (D. J. Bernstein): `@` and 24 hexadecimal digits.
    Tai64n,
}

/// One format.
#[derive(Debug)]
pub struct Template {
    /// What it is called in messages; equal names are equal formats.
    pub name: String,
    /// What its match means.
    pub kind: Kind,
    /// It matches only at the line's beginning or end, so the first such match is final.
    pub anchored: bool,
    /// It matches only at the line's beginning.
    pub at_line_begin: bool,
    /// How much a hit counts when templates compete for the front of the list.
    pub weight: f64,
    expression: String,
    compiled: OnceLock<Result<Engine, String>>,
}

#[derive(Debug)]
enum Engine {
    Linear(Regex, Vec<Option<char>>),
    Backtracking(fancy_regex::Regex, Vec<Option<char>>),
}

static NO_WORD_BEGIN: LazyLock<Regex> =
    LazyLock::new(|| known(r"^\(*(?:\(\?\w+\))?(?:\^|\(*\*\*|\((?:\?:)?\^)"));
static NO_WORD_END: LazyLock<Regex> = LazyLock::new(|| known(r"(?:^|[^\\])(?:\$\)?|\\b|\\s|\*\*\)*)$"));
static STARS_BEGIN: LazyLock<Regex> = LazyLock::new(|| known(r"^(\(*(?:\(\?\w+\))?\(*)\*\*"));
static STARS_END: LazyLock<Regex> = LazyLock::new(|| known(r"(^|[^\\])\*\*(\)*)$"));
static GLOBAL_FLAGS: LazyLock<Regex> = LazyLock::new(|| known(r"\(\?[a-z]+\)"));
static EPOCH_KEYWORD: LazyLock<Regex> = LazyLock::new(|| known(r"(?i)\{L?EPOCH\}"));

fn known(expression: &str) -> Regex {
    Regex::new(expression).expect("a constant expression")
}

/// How the expression for an epoch begins that need not stand at the line's beginning.
const EPOCH_ANYWHERE: &str = "(?:^(?P<s>";

/// What stands before the date.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Anything,
    WordBoundary,
    /// The line's beginning, with up to two characters that are no letters skipped.
    Line,
}

impl Template {
    /// The format that `pattern` describes: fields with `%`, or `EPOCH`, `LEPOCH`, `TAI64N`,
    /// or `{EPOCH}` inside an expression; `{^LN-BEG}` and `{UNB}` in front.
    ///
    /// # Errors
    /// A phrase that says what is wrong with it.
    pub fn new(pattern: &str) -> Result<Template, String> {
        let upper = pattern.to_uppercase();
        if EPOCH_KEYWORD.is_match(pattern) {
            let long = upper.contains("LEPOCH");
            let digits = format!("(?P<s>{})", epoch_digits(long));
            let expression = EPOCH_KEYWORD.replace_all(pattern, |_: &regex::Captures<'_>| digits.clone());
            return Template::build(
                pattern,
                Kind::Epoch { long },
                &format!("({expression})"),
                Begin::WordBoundary,
                true,
            );
        }
        let (line_begin, bare) = match upper.strip_prefix("{^LN-BEG}").or_else(|| upper.strip_prefix('^')) {
            Some(bare) => (true, bare),
            None => (false, upper.as_str()),
        };
        let begin = if line_begin { Begin::Line } else { Begin::Anything };
        match bare {
            "EPOCH" | "LEPOCH" => {
                let long = bare == "LEPOCH";
                let digits = epoch_digits(long);
                let expression = if line_begin {
                    format!("((?P<s>{digits}))")
                } else {
                    // At the line's beginning, behind a bracket there, or in an audit record.
                    format!(r"{EPOCH_ANYWHERE}{digits})|^\[(?P<s__1>{digits})|\baudit\((?P<s__2>{digits}))")
                };
                Template::build(
                    &format!("{}{bare}", if line_begin { "{^LN-BEG}" } else { "" }),
                    Kind::Epoch { long },
                    &expression,
                    begin,
                    true,
                )
            }
            "TAI64N" => {
                let name = if line_begin { "{^LN-BEG}TAI64N" } else { "TAI64N" };
                Template::build(name, Kind::Tai64n, "((?P<s>@[0-9a-f]{24}))", begin, true)
            }
            _ => Template::from_fields(pattern),
        }
    }

    fn from_fields(pattern: &str) -> Result<Template, String> {
        let (begin, end, bare) = match (pattern.strip_prefix("{UNB}"), pattern.strip_prefix("{^LN-BEG}")) {
            (Some(bare), _) => (Begin::Anything, false, bare),
            (None, Some(bare)) => (Begin::Line, true, bare),
            (None, None) => (Begin::WordBoundary, true, pattern),
        };
        let mut expression = tokens::expand(bare)?;
        if tokens::has_letters(bare) {
            expression.insert_str(0, "(?i)");
        }
        Template::build(pattern, Kind::Fields, &expression, begin, end)
    }

    fn build(name: &str, kind: Kind, expression: &str, begin: Begin, end: bool) -> Result<Template, String> {
        let mut expression = expression.trim().to_owned();
        let flags =
            GLOBAL_FLAGS.find(&expression).map(|found| (found.range(), found.as_str().replace('u', "")));
        if let Some((range, _)) = &flags {
            expression.replace_range(range.clone(), "");
        }
        let bound_begin = begin != Begin::Anything && !NO_WORD_BEGIN.is_match(&expression);
        let bound_end = end && !NO_WORD_END.is_match(&expression);
        let is_epoch_anywhere = expression.starts_with(EPOCH_ANYWHERE);
        if !has_plain_group(&expression) && !is_epoch_anywhere {
            expression = grouped(&expression);
        }
        let starts_line = ["^", "(^", "(?:^"]
            .iter()
            .any(|start| expression.strip_prefix(start).is_some_and(|rest| !rest.starts_with('|')))
            && !is_epoch_anywhere;
        let ends_line = !bound_end
            && (expression.ends_with('$') || expression.ends_with("$)"))
            && !expression.ends_with(r"\$")
            && !expression.ends_with("|$)");
        match begin {
            Begin::Line if bound_begin => expression.insert_str(0, r"^(?:\W{0,2})?"),
            _ if bound_begin => expression.insert_str(0, r"(?:\b{start-half}|\b)"),
            _ => {}
        }
        if bound_end {
            expression.push_str(r"(?:\b{end-half}|\b)");
        }
        let expression = STARS_END.replace(&STARS_BEGIN.replace(&expression, "$1"), "$1$2").into_owned();
        let at_line_begin = starts_line || (begin == Begin::Line && bound_begin);
        let flags = flags.map(|(_, flags)| flags).filter(|flags| flags != "(?)").unwrap_or_default();
        let template = Template {
            name: name.to_owned(),
            kind,
            anchored: at_line_begin || ends_line,
            at_line_begin,
            weight: 1.0,
            expression: format!("{flags}{expression}"),
            compiled: OnceLock::new(),
        };
        Ok(template)
    }

    /// Compiles now what would be compiled at the first use.
    ///
    /// # Errors
    /// A phrase that says what the engine does not take.
    pub fn check(&self) -> Result<(), String> {
        self.engine().as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn engine(&self) -> &Result<Engine, String> {
        self.compiled.get_or_init(|| {
            // The boundaries that were put in are for the engine as they are; braces would not
            // survive a translation, so only what a person wrote differently is translated.
            let linear = keep_boundaries(&self.expression, Dialect::Linear)?;
            if let Ok(regex) = Regex::new(&linear) {
                let letters = regex.capture_names().map(field_letter).collect();
                return Ok(Engine::Linear(regex, letters));
            }
            let fancy = keep_boundaries(&self.expression, Dialect::Backtracking)?;
            let regex = fancy_regex::RegexBuilder::new(&fancy)
                .backtrack_limit(crate::pattern::BACKTRACK_STEPS_MAX)
                .build()
                .map_err(|error| error.to_string())?;
            let letters = regex.capture_names().map(field_letter).collect();
            Ok(Engine::Backtracking(regex, letters))
        })
    }

    /// The expression as the linear engine reads it, when that takes it.
    pub(crate) fn linear(&self) -> Option<Hir> {
        regex_syntax::parse(&keep_boundaries(&self.expression, Dialect::Linear).ok()?).ok()
    }

    /// The expression in bytes that matches wherever this one does.
    pub(crate) fn reduced(&self) -> Option<Hir> {
        let loose = || loosened(&keep_boundaries(&self.expression, Dialect::Backtracking).ok()?);
        self.linear().or_else(loose).map(|hir| at_least(&hir))
    }

    /// The first match in `line` within `window`; text outside it counts for boundaries before
    /// the window only, as with Python's `pos` and `endpos`.
    #[must_use]
    pub fn search<'l>(&self, line: &'l str, window: Range<usize>) -> Option<Hit<'l>> {
        let text = &line[..window.end];
        match self.engine().as_ref().ok()? {
            Engine::Linear(regex, letters) => {
                let captures = regex.captures_at(text, window.start)?;
                self.hit(letters, |n| captures.get(n).map(|m| (m.range(), m.as_str())))
            }
            Engine::Backtracking(regex, letters) => {
                let captures = regex.captures_from_pos(text, window.start).ok()??;
                self.hit(letters, |n| captures.get(n).map(|m| (m.range(), m.as_str())))
            }
        }
    }

    fn hit<'l>(
        &self,
        letters: &[Option<char>],
        group: impl Fn(usize) -> Option<(Range<usize>, &'l str)>,
    ) -> Option<Hit<'l>> {
        let whole = group(0)?.0;
        let named = |n: usize| Some((letters[n]?, group(n)?));
        let parts = (1..letters.len()).filter_map(named);
        // Of the three places of an epoch only the digits are the match, as if the rest were
        // look-around.
        if matches!(self.kind, Kind::Epoch { .. }) && self.expression.starts_with(EPOCH_ANYWHERE) {
            let (_, (range, digits)) = parts.into_iter().next()?;
            return Some(Hit { whole: range.clone(), date: range, fields: vec![('s', digits)] });
        }
        let date = group(1).map_or(whole.start..whole.start, |(range, _)| range);
        let fields = parts.map(|(letter, (_, text))| (letter, text)).collect();
        Some(Hit { whole, date, fields })
    }
}

fn epoch_digits(long: bool) -> &'static str {
    if long { r"\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?" } else { r"\d{10,11}\b(?:\.\d{3,6})?" }
}

/// The field that a group holds; groups of one letter are fields, others are the user's business.
fn field_letter(group: Option<&str>) -> Option<char> {
    let mut letters = tokens::plain_name(group?).chars();
    let letter = letters.next()?;
    letters.next().is_none().then_some(letter)
}

/// Whether there is a group without `?` behind its parenthesis.
fn has_plain_group(expression: &str) -> bool {
    let bytes = expression.as_bytes();
    (0..bytes.len()).any(|at| {
        bytes[at] == b'('
            && bytes.get(at + 1) != Some(&b'?')
            && (at == 0 || bytes[at - 1] != b'\\')
            && !expression[..at].ends_with("(?")
    })
}

/// The whole expression as group 1, anchors outside, for the linear engine where that can be.
fn grouped(expression: &str) -> String {
    let (begin, rest) = match expression.strip_prefix('^') {
        Some(rest) => ("^", rest),
        None => ("", expression),
    };
    let (rest, end) = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => (rest, "$"),
        _ => (rest, ""),
    };
    let linear = tokens::without_back_reference(rest);
    format!("{begin}({}){end}", linear.as_deref().unwrap_or(rest))
}

/// Translates, but leaves Rust's own half boundaries alone.
fn keep_boundaries(expression: &str, dialect: Dialect) -> Result<String, String> {
    const HALVES: [&str; 2] = [r"(?:\b{start-half}|\b)", r"(?:\b{end-half}|\b)"];
    let python = [r"(?=^|\b|\W)", r"(?=\b|\W|$)"];
    let (mut core, mut front, mut back) = (expression, "", "");
    let flags_end = if core.starts_with("(?i)") { 4 } else { 0 };
    let flags = &core[..flags_end];
    core = &core[flags_end..];
    if let Some(rest) = core.strip_prefix(HALVES[0]) {
        (core, front) = (rest, if dialect == Dialect::Linear { HALVES[0] } else { python[0] });
    }
    if let Some(rest) = core.strip_suffix(HALVES[1]) {
        (core, back) = (rest, if dialect == Dialect::Linear { HALVES[1] } else { python[1] });
    }
    Ok(format!("{flags}{front}{}{back}", translate(core, dialect, TextEnd::Line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date<'l>(pattern: &str, line: &'l str) -> Option<&'l str> {
        let template = Template::new(pattern).expect("a pattern");
        template.check().expect("compiles");
        Some(&line[template.search(line, 0..line.len())?.date])
    }

    #[test]
    fn dates_stand_at_word_boundaries_or_at_the_beginning() {
        assert_eq!(date("%H:%M:%S", "x 10:20:30 y"), Some("10:20:30"));
        assert_eq!(date("%H:%M:%S", "x10:20:30y"), None);
        assert_eq!(date("{UNB}%H:%M:%S", "x10:20:30y"), Some("10:20:30"));
        assert_eq!(date("{^LN-BEG}%H:%M:%S", "[10:20:30] y"), Some("10:20:30"));
        assert_eq!(date("{^LN-BEG}%H:%M:%S", "ab 10:20:30 y"), None);
        assert_eq!(
            date(r"^\[%d/%b/%Y %H:%M:%S\]", "[09/nov/2026 10:20:30] x"),
            Some("[09/nov/2026 10:20:30]")
        );
        assert_eq!(date(r"^\[(%d/%b/%Y)\]", "[09/Nov/2026] x"), Some("09/Nov/2026"));
    }

    #[test]
    fn epochs_stand_at_the_beginning_behind_a_bracket_or_in_audit_records() {
        for line in
            ["1700000000 x", "[1700000000] x", "[1700000000 x", "type=A msg=audit(1700000000.123:45): x"]
        {
            assert!(date("EPOCH", line).is_some_and(|date| date.starts_with("1700000000")), "{line}");
        }
        for line in
            ["x 1700000000 y", "(1700000000 x", "xaudit(1700000000): x", "17000000000000 x", "1700000000x"]
        {
            assert_eq!(date("EPOCH", line), None, "{line}");
        }
        assert_eq!(date("LEPOCH", "1700000000123 x"), Some("1700000000123"));
        assert_eq!(date("LEPOCH", "audit(1700000000.123:45) x"), Some("1700000000"));
        assert_eq!(date(r"^time={EPOCH}\b", "time=1700000000 x"), Some("time=1700000000"));
    }

    #[test]
    fn anchored_templates_are_known_as_such() {
        let anchored = |pattern| Template::new(pattern).expect("a pattern").anchored;
        assert!(anchored("{^LN-BEG}%H:%M:%S") && anchored("^%H:%M") && anchored("%H:%M$"));
        assert!(anchored("{^LN-BEG}EPOCH") && anchored("{UNB}^"));
        assert!(anchored("^at {EPOCH}") && anchored("^at {LEPOCH}"));
        assert!(!anchored("%H:%M:%S") && !anchored("EPOCH") && !anchored("LEPOCH") && !anchored("TAI64N"));
    }

    #[test]
    fn nothing_is_cut_when_a_filter_has_no_dates() {
        assert_eq!(date("{UNB}^", "2026-11-20 10:00:00 x"), Some(""));
    }
}
