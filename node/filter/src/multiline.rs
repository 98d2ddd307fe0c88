//! The window of a filter that looks at several lines at once (`maxlines`).
//!
//! The last lines, their dates cut out, are searched as one text. What matches leaves the window, except
//! the lines that `<SKIPLINES>` stepped over: a later match may need them, so that failures which are
//! interwoven in the log are told apart. Which lines leave is fail2ban's rule. Not for searching
//! (`recognise`).

use std::collections::VecDeque;
use std::ops::Range;

/// At most so many lines are looked at at once; a greater `maxlines` means this many.
pub const WINDOW_LINES_MAX: usize = 100;
/// The lines of a window are together at most this long; the oldest go first.
pub const WINDOW_BYTES_MAX: usize = 64 * 1024;

/// A line in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowLine {
    /// As it was written: what is shown to people.
    written: String,
    /// Without its date: what the expressions see.
    rest: Rest,
    /// One of the texts that a match needs may stand in it.
    is_telling: bool,
}

/// What a line is without its date.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    /// What was written from here on.
    From(usize),
    /// Another text: something was cut out of its middle.
    Other(String),
}

impl Default for Rest {
    fn default() -> Rest {
        Rest::From(0)
    }
}

impl WindowLine {
    #[inline]
    fn rest(&self) -> &str {
        match &self.rest {
            Rest::From(start) => &self.written[*start..],
            Rest::Other(rest) => rest,
        }
    }
}

/// The last lines of a log.
#[derive(Debug)]
pub struct Window {
    lines: VecDeque<WindowLine>,
    /// What the lines are together without their dates.
    n_bytes: usize,
    n_telling: usize,
    lines_max: usize,
    /// What prefregex cut out at the last line. The next line finds this in the window and nothing else.
    content: Option<String>,
}

/// The lines of a window after a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    matched: Vec<WindowLine>,
    unmatched: Vec<WindowLine>,
}

impl Division {
    /// The matched lines as one text, for `ignoreregex`.
    #[must_use]
    pub fn matched_text(&self) -> String {
        joined(&self.matched)
    }

    /// The matched lines as they were written.
    #[must_use]
    pub fn written(&self) -> Vec<String> {
        self.matched.iter().map(|line| line.written.clone()).collect()
    }
}

impl Window {
    /// An empty window for `maxlines` lines, at most [`WINDOW_LINES_MAX`].
    #[must_use]
    pub fn new(maxlines: usize) -> Window {
        Window {
            lines: VecDeque::new(),
            n_bytes: 0,
            n_telling: 0,
            lines_max: maxlines.clamp(1, WINDOW_LINES_MAX),
            content: None,
        }
    }

    /// Takes the next line, `rest` without its date, and gives the text of all lines. `is_telling` is false
    /// when it has none of the texts that a match needs.
    #[must_use]
    pub fn with(&mut self, rest: &str, written: &str, is_telling: bool) -> String {
        self.note(rest, written, is_telling);
        joined(&self.lines)
    }

    /// Takes the next line as [`Window::with`] does, when nobody wants the text.
    pub fn note(&mut self, rest: &str, written: &str, is_telling: bool) {
        if let Some(content) = self.content.take() {
            self.fill([WindowLine { written: content, rest: Rest::From(0), is_telling: true }]);
        }
        self.n_bytes += rest.len();
        self.n_telling += usize::from(is_telling);
        let mut spare = None;
        while self.lines.len() >= self.lines_max || self.n_bytes > WINDOW_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.n_bytes -= oldest.rest().len();
            self.n_telling -= usize::from(oldest.is_telling);
            spare = Some(oldest);
        }
        // Nearly every line comes when another one leaves, and takes over its memory.
        let mut line = spare.unwrap_or_default();
        line.written.clear();
        line.written.push_str(written);
        line.rest = if written.ends_with(rest) {
            Rest::From(written.len() - rest.len())
        } else {
            Rest::Other(rest.to_owned())
        };
        line.is_telling = is_telling;
        self.lines.push_back(line);
    }

    /// Whether one of its lines may have a text that a match needs.
    #[must_use]
    #[inline]
    pub fn is_telling(&self) -> bool {
        self.n_telling > 0
    }

    fn fill(&mut self, lines: impl IntoIterator<Item = WindowLine>) {
        self.lines.clear();
        self.lines.extend(lines);
        self.n_bytes = self.lines.iter().map(|line| line.rest().len()).sum();
        self.n_telling = self.lines.iter().filter(|line| line.is_telling).count();
    }

    /// Notes that prefregex cut `content` out of the window.
    pub fn cut_to(&mut self, content: &str) {
        self.content = Some(content.to_owned());
    }

    /// Which lines belong to a match at `place` of `text`, the window's or prefregex's, when its
    /// `<SKIPLINES>` stepped over `skipped`.
    #[must_use]
    pub fn divide(&self, text: &str, place: Range<usize>, skipped: &str) -> Division {
        if self.lines.len() <= 1 {
            return Division { matched: self.lines.iter().cloned().collect(), unmatched: Vec::new() };
        }
        let count = |end: usize| text.as_bytes()[..end].iter().filter(|&&byte| byte == b'\n').count();
        let reach = |end: usize| count(end.min(text.len())).min(self.lines.len());
        // A match that begins with a line's end begins on the next line, and one that ends behind a line's
        // end ends on that line.
        let first = reach(place.start + 1);
        let behind = (reach(place.end.saturating_sub(1)) + 1).clamp(first, self.lines.len());
        let some = |lines: Range<usize>| self.lines.range(lines).cloned();
        let mut matched: Vec<WindowLine> = some(first..behind).collect();
        let mut unmatched: Vec<WindowLine> = some(0..first).collect();
        let mut from = 0;
        for skipped in skipped.split_terminator('\n') {
            if let Some(at) = matched[from..].iter().position(|line| line.rest() == skipped) {
                unmatched.push(matched.remove(from + at));
                from += at;
            }
        }
        unmatched.extend(some(behind..self.lines.len()));
        Division { matched, unmatched }
    }

    /// Lets the matched lines go.
    pub fn keep_unmatched(&mut self, division: &Division) {
        self.fill(division.unmatched.iter().cloned());
        self.content = None;
    }
}

fn joined<'l>(lines: impl IntoIterator<Item = &'l WindowLine>) -> String {
    lines.into_iter().flat_map(|line| [line.rest(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(maxlines: usize, lines: &[&str]) -> (Window, String) {
        let mut window = Window::new(maxlines);
        let text = lines.iter().fold(String::new(), |_, line| window.with(line, line, true));
        (window, text)
    }

    #[test]
    fn only_the_last_lines_are_there() {
        assert_eq!(window(2, &["a", "b", "c"]).1, "b\nc\n");
        assert_eq!(window(0, &["a", "b"]).1, "b\n");
        let long = "x".repeat(WINDOW_BYTES_MAX / 2);
        let (window, text) = window(1_000, &["a", &long, &long, &long]);
        assert_eq!((window.lines.len(), text.len()), (2, WINDOW_BYTES_MAX + 2));
        let (window, text) = self::window(1_000, &vec!["x"; 2 * WINDOW_LINES_MAX]);
        assert_eq!((window.lines.len(), text.len()), (WINDOW_LINES_MAX, 2 * WINDOW_LINES_MAX));
    }

    #[test]
    fn it_knows_while_a_telling_line_is_there() {
        let mut window = Window::new(2);
        for (line, is_telling, expected) in
            [("a", false, false), ("b", true, true), ("c", false, true), ("d", false, false)]
        {
            window.note(line, line, is_telling);
            assert_eq!(window.is_telling(), expected, "{line}");
        }
        assert_eq!(window.with("e", "e", true), "d\ne\n");
        let division = window.divide("d\ne\n", 2..3, "");
        window.keep_unmatched(&division);
        assert!(!window.is_telling());
    }

    #[test]
    fn a_match_takes_its_lines_and_leaves_those_it_stepped_over() {
        let (mut window, text) = window(10, &["old", "begin 1", "begin 2", "end 1", "new"]);
        let place = text.find("begin 1").expect("there")..text.find("new").expect("there");
        let division = window.divide(&text, place, "begin 2\n");
        assert_eq!(division.matched_text(), "begin 1\nend 1\n");
        window.keep_unmatched(&division);
        assert_eq!(window.with("end 2", "end 2", true), "old\nbegin 2\nnew\nend 2\n");
    }

    #[test]
    fn line_ends_belong_to_the_line_that_they_end() {
        let (window, text) = window(10, &["a", "b", "c"]);
        for (place, matched) in [(0..1, "a\n"), (0..2, "a\n"), (1..3, "b\n"), (2..5, "b\nc\n"), (5..6, "")] {
            let division = window.divide(&text, place.clone(), "");
            assert_eq!(division.matched_text(), matched, "{place:?}");
        }
    }

    #[test]
    fn what_prefregex_cut_out_is_what_the_next_line_finds() {
        let (mut window, _) = window(3, &["x: a", "x: b"]);
        window.cut_to("b");
        assert_eq!(window.with("x: c", "x: c", true), "b\nx: c\n");
    }
}
