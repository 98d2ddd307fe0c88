//! The order in which a filter's expressions are tried on a line, and what is known when one matches.
//!
//! The order is fail2ban's: early ignoreregex, prefregex, failregex in order, ignoreregex on what failregex
//! saw, then what is known of the line's connection. Not for the line's date (`filter`) and not for whom
//! the facts blame (`offender`).

use crate::connection::Facts;
use crate::filter::Filter;
use crate::judged::{Ignored, Judged, NoMatch};
use crate::multiline::Division;
use crate::offender;
use crate::pattern::{Groups, Pattern, Search, value_of};
use crate::translate::TextEnd;
use bannkreis_core::time::Timestamp;
use std::sync::Arc;

/// A line as the expressions get it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undated<'l> {
    /// Without its date, and without a line end.
    pub(crate) rest: &'l str,
    /// As it was written.
    pub(crate) written: &'l str,
    /// It goes on behind what we have of it.
    pub(crate) cut: bool,
    /// It may have one of the texts that a match needs.
    pub(crate) is_telling: bool,
    /// There is a time that its failure would count for.
    pub(crate) has_time: bool,
}

/// What failregex sees.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) text: String,
    pub(crate) end: TextEnd,
    /// What prefregex found besides.
    pub(crate) prefix: Groups,
}

/// Searches, and counts what was given up.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    pub(crate) gave_up: u64,
}

impl Searches {
    pub(crate) fn search(&mut self, pattern: &Pattern, text: &str, end: TextEnd) -> Option<Groups> {
        match pattern.search(text, end) {
            Search::Found(groups) => Some(groups),
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
    /// Finds the failregex that matches, and what is known then.
    pub(crate) fn recognise(
        &mut self,
        line: Undated<'_>,
        now: Timestamp,
    ) -> Result<(usize, Arc<Facts>), Judged> {
        let mut searches = Searches::default();
        let outcome = self.recognise_counting(line, now, &mut searches);
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
    ) -> Result<(usize, Arc<Facts>), Judged> {
        let (text, end) = self.lines(line).ok_or(Judged::NoMatch(NoMatch::Failregex))?;
        if self.ignores_early() {
            self.unless_ignored(&text, end, searches)?;
        }
        let sought = self.sought(text, end, searches).ok_or(Judged::NoMatch(NoMatch::Prefregex))?;
        let (index, groups) = self
            .failregex
            .first(&sought.text, sought.end, &mut searches.gave_up)
            .ok_or(Judged::NoMatch(NoMatch::Failregex))?;
        let division = self.divide(index, &sought.text, &groups);
        let ignored = match &division {
            Some(division) => self.unless_ignored(&division.matched_text(), TextEnd::Line, searches),
            None => self.unless_ignored(&sought.text, sought.end, searches),
        };
        if ignored.is_ok() && !line.has_time {
            return Err(Judged::Ignored(Ignored::NoDate));
        }
        let mut facts = Facts::of(sought.prefix, groups);
        if let (Some(window), Some(division)) = (&mut self.window, division) {
            window.keep_unmatched(&division);
            facts = facts.with_lines(division.written());
        }
        ignored?;
        let Some(id) = facts.group("mlfid").map(str::to_owned) else { return Ok((index, Arc::new(facts))) };
        let facts = self.connections.merge(&id, facts, now);
        if facts.has("nofail") {
            return Err(Judged::Ignored(Ignored::NoFail));
        }
        if !offender::is_named(&facts) {
            self.connections.wait(&id);
            return Err(Judged::Ignored(Ignored::Pending));
        }
        Ok((index, facts))
    }

    /// The line as its filter looks at it: alone, or with the lines before it. In a window there is no
    /// place for a line that was cut: an end anchor would match there.
    pub(crate) fn lines(&mut self, line: Undated<'_>) -> Option<(String, TextEnd)> {
        match &mut self.window {
            Some(_) if line.cut => None,
            Some(window) => Some((window.with(line.rest, line.written, line.is_telling), TextEnd::Line)),
            None if line.cut => Some((line.rest.to_owned(), TextEnd::Cut)),
            None => Some((with_line_end(line.rest), TextEnd::Line)),
        }
    }

    /// fail2ban looks at the whole line early only when that is cheap.
    pub(crate) fn ignores_early(&self) -> bool {
        self.ignoreregex.len() + 2 < self.failregex.len()
    }

    fn unless_ignored(&mut self, text: &str, end: TextEnd, searches: &mut Searches) -> Result<(), Judged> {
        let found = self.ignoreregex.first(text, end, &mut searches.gave_up);
        found.map_or(Ok(()), |(index, _)| Err(Judged::Ignored(Ignored::Ignoreregex(index))))
    }

    /// What failregex sees of `text`: all, or what prefregex cuts out of it; `None` when prefregex does
    /// not match.
    pub(crate) fn sought(&mut self, text: String, end: TextEnd, searches: &mut Searches) -> Option<Sought> {
        let Some(prefregex) = &mut self.prefregex else {
            return Some(Sought { text, end, prefix: Groups::new() });
        };
        let (_, mut prefix) = prefregex.first(&text, end, &mut searches.gave_up)?;
        let content = value_of(&prefix, "content").map(str::to_owned);
        prefix.retain(|(name, _)| name.as_ref() != "content");
        let Some(content) = content else { return Some(Sought { text, end, prefix }) };
        if let Some(window) = &mut self.window {
            window.cut_to(&content);
        }
        if end == TextEnd::Cut && text.ends_with(&content) {
            return Some(Sought { text: content, end, prefix });
        }
        Some(Sought { text: with_line_end(&content), end: TextEnd::Line, prefix })
    }

    /// The lines of the window that a match of the failregex `index` takes.
    pub(crate) fn divide(&self, index: usize, text: &str, groups: &Groups) -> Option<Division> {
        let window = self.window.as_ref()?;
        let place = self.failregex[index].place(text)?;
        let is_skipped = |name: &str| name.starts_with("skiplines");
        let skipped: String = groups
            .iter()
            .filter(|(name, _)| is_skipped(name))
            .filter_map(|(_, value)| value.as_deref())
            .collect();
        Some(window.divide(text, place, &skipped))
    }
}
