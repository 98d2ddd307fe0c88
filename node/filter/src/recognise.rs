//! The order in which a filter's expressions are tried on a line, and what is known when one matches.
//!
//! The order is fail2ban's: early ignoreregex, prefregex, failregex in order, ignoreregex on what failregex
//! saw, then what is known of the line's connection. Not for the line's date (`filter`) and not for whom
//! the facts blame (`offender`).

use crate::connection::Known;
use crate::facts::{Facts, NO_FACTS};
use crate::filter::Filter;
use crate::group_name::Name;
use crate::groups::Groups;
use crate::judged::{Ignored, Judged, NoMatch};
use crate::multiline::Division;
use crate::offender;
use crate::pattern::{Content, Pattern, Places, Search};
use crate::translate::TextEnd;
use bannkreis_core::time::Timestamp;
use std::borrow::Cow;

/// A line as the expressions get it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undated<'l> {
    /// Without its date, and with a line end.
    pub(crate) line: &'l str,
    /// As it was written.
    pub(crate) written: &'l str,
    /// It goes on behind what we have of it.
    pub(crate) cut: bool,
    /// It may have one of the texts that a match needs.
    pub(crate) is_telling: bool,
    /// There is a time that its failure would count for.
    pub(crate) has_time: bool,
}

impl<'l> Undated<'l> {
    fn rest(self) -> &'l str {
        self.line.strip_suffix('\n').unwrap_or(self.line)
    }
}

/// What failregex sees.
#[derive(Debug)]
pub(crate) struct Sought<'t> {
    pub(crate) text: Cow<'t, str>,
    pub(crate) end: TextEnd,
}

/// Searches, and counts what was given up.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    pub(crate) gave_up: u64,
}

impl Searches {
    pub(crate) fn search(&mut self, pattern: &Pattern, text: &str, end: TextEnd) -> Option<Places> {
        match pattern.search(text, end) {
            Search::Found(places) => Some(places),
            Search::Nothing => None,
            Search::GaveUp => {
                self.gave_up += 1;
                None
            }
        }
    }
}

fn with_line_end(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    line
}

impl Filter {
    /// Finds the failregex that matches, and where [`Filter::facts`] has what is known then.
    pub(crate) fn recognise(&mut self, line: Undated<'_>, now: Timestamp) -> Result<(usize, Known), Judged> {
        let mut searches = Searches::default();
        let mut found = self.found.take().unwrap_or_default();
        let outcome = self.recognise_counting(line, now, &mut searches, &mut found);
        self.found = Some(found);
        self.counts.gave_up += searches.gave_up;
        match outcome {
            Err(Judged::NoMatch(_)) if searches.gave_up > 0 => Err(Judged::NoMatch(NoMatch::GaveUp)),
            outcome => outcome,
        }
    }

    fn recognise_counting(
        &mut self,
        line: Undated<'_>,
        now: Timestamp,
        searches: &mut Searches,
        found: &mut Box<Facts>,
    ) -> Result<(usize, Known), Judged> {
        let (text, end) = self.lines(line).ok_or(Judged::NoMatch(NoMatch::Failregex))?;
        if self.ignores_early() {
            self.unless_ignored(&text, end, searches)?;
        }
        found.clear();
        let sought = self
            .sought(&text, end, searches, found.groups_mut())
            .ok_or(Judged::NoMatch(NoMatch::Prefregex))?;
        let index = self
            .failregex
            .first(&sought.text, sought.end, &mut searches.gave_up)
            .ok_or(Judged::NoMatch(NoMatch::Failregex))?;
        let division = self.divide(index, &sought.text, self.failregex.places());
        let ignored = match &division {
            Some(division) => self.unless_ignored(&division.matched_text(), TextEnd::Line, searches),
            None => self.unless_ignored(&sought.text, sought.end, searches),
        };
        if ignored.is_ok() && !line.has_time {
            return Err(Judged::Ignored(Ignored::NoDate));
        }
        self.failregex.read(index, &sought.text, found.groups_mut());
        if let (Some(window), Some(division)) = (&mut self.window, division) {
            window.keep_unmatched(&division);
            found.set_lines(division.written());
        }
        ignored?;
        let Some(known) = self.connections.merge(found, now) else { return Ok((index, Known::Line)) };
        let facts = self.connections.facts(known, found);
        if facts.has(Name::NOFAIL) {
            return Err(Judged::Ignored(Ignored::NoFail));
        }
        if !offender::is_named(facts) {
            self.connections.wait(known);
            return Err(Judged::Ignored(Ignored::Pending));
        }
        Ok((index, known))
    }

    /// What is known when a line was recognised.
    pub(crate) fn facts(&self, known: Known) -> &Facts {
        self.connections.facts(known, self.found.as_deref().unwrap_or(&NO_FACTS))
    }

    /// The line as its filter looks at it: alone, or with the lines before it. In a window there is no
    /// place for a line that was cut: an end anchor would match there.
    pub(crate) fn lines<'l>(&mut self, line: Undated<'l>) -> Option<(Cow<'l, str>, TextEnd)> {
        match &mut self.window {
            Some(_) if line.cut => None,
            Some(window) => {
                let text = window.with(line.rest(), line.written, line.is_telling);
                Some((Cow::Owned(text), TextEnd::Line))
            }
            None if line.cut => Some((Cow::Borrowed(line.rest()), TextEnd::Cut)),
            None => Some((Cow::Borrowed(line.line), TextEnd::Line)),
        }
    }

    /// fail2ban looks at the whole line early only when that is cheap.
    pub(crate) fn ignores_early(&self) -> bool {
        self.ignoreregex.len() + 2 < self.failregex.len()
    }

    fn unless_ignored(&mut self, text: &str, end: TextEnd, searches: &mut Searches) -> Result<(), Judged> {
        let found = self.ignoreregex.first(text, end, &mut searches.gave_up);
        found.map_or(Ok(()), |index| Err(Judged::Ignored(Ignored::Ignoreregex(index))))
    }

    /// What failregex sees of `text`: all, or what prefregex cuts out of it, whose other groups come to `prefix`;
    /// `None` when prefregex does not match.
    pub(crate) fn sought<'t>(
        &mut self,
        text: &'t str,
        end: TextEnd,
        searches: &mut Searches,
        prefix: &mut Groups,
    ) -> Option<Sought<'t>> {
        let Some(prefregex) = &mut self.prefregex else {
            return Some(Sought { text: Cow::Borrowed(text), end });
        };
        let index = prefregex.first(text, end, &mut searches.gave_up)?;
        let content = prefregex[index].read_prefix(text, prefregex.places(), prefix);
        let (content, behind) = match content {
            None => return Some(Sought { text: Cow::Borrowed(text), end }),
            Some(Content::At(place)) => {
                (Cow::Borrowed(text.get(place.clone())?), text.get(place.start..=place.end))
            }
            Some(Content::Text(content)) => (Cow::Owned(content), None),
        };
        if let Some(window) = &mut self.window {
            window.cut_to(&content);
        }
        if end == TextEnd::Cut && text.ends_with(content.as_ref()) {
            return Some(Sought { text: content, end });
        }
        // Most take the rest of the line, and the line end stands behind it already.
        let text = match behind.filter(|more| more.ends_with('\n')) {
            Some(more) => Cow::Borrowed(more),
            None => Cow::Owned(with_line_end(&content)),
        };
        Some(Sought { text, end: TextEnd::Line })
    }

    /// The lines of the window that a match of the failregex `index` takes, whose groups are at `places`.
    pub(crate) fn divide(&self, index: usize, text: &str, places: &Places) -> Option<Division> {
        let window = self.window.as_ref()?;
        let pattern = &self.failregex[index];
        let place = pattern.place(text)?;
        let mut groups = Groups::default();
        pattern.read(text, places, &mut groups);
        let is_skipped = |name: &str| name.starts_with("skiplines");
        let skipped: String =
            groups.iter().filter(|(name, _)| is_skipped(name)).filter_map(|(_, value)| value).collect();
        Some(window.divide(text, place, &skipped))
    }
}
