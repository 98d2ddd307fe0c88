//! A compiled filter: judges the lines of a log, one after the other.
//!
//! First the line's date, then the expressions in their order (`recognise`). A filter has a memory (the place of the date, the
//! connections), so each log file gets its own lines in order. Not for counting failures
//! (`bannkreis-core`) and not for `ignoreip` (the warden).

use crate::connection::{Connections, Known};
pub(crate) use crate::date::dates::Moment;
use crate::date::dates::{Dated, Dates};
use crate::date::detector::DateDetector;
use crate::date::glance::Glance;
use crate::date::templates::DefaultTemplates;
use crate::encoding::LogEncoding;
use crate::engine::required::{self, Needle};
use crate::facts::{Facts, NO_FACTS};
use crate::group_name::Name;
use crate::host_name::is_host_name;
pub use crate::judged::{Counts, Examined, Ignored, Judged, Mode, NOBODY, NamedFailure, NoMatch};
use crate::line_digest;
use crate::log_filters::RawLine;
use crate::multiline::Window;
use crate::offender;
use crate::pattern::Pattern;
use crate::pattern_list::PatternList;
use crate::recognise::Undated;
use crate::regex_tags::HostNames;
pub use crate::rules::{FilterError, Rules, Surroundings, UseDns};
use bannkreis_core::failure::{Failure, LogLine};
use bannkreis_core::jail::JailName;
use bannkreis_core::proposal::evidence_text;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use std::borrow::Cow;

/// Failures with a name wait for [`Filter::take_named`] in this number at most; more are dropped, as if
/// their name had no address.
pub const NAMED_MAX: usize = 1_000;

/// A filter at work on one jail's logs.
#[derive(Debug)]
pub struct Filter {
    jail: JailName,
    find_time_ms: u64,
    pub(crate) encoding: LogEncoding,
    /// A list of one.
    pub(crate) prefregex: Option<PatternList>,
    pub(crate) failregex: PatternList,
    pub(crate) ignoreregex: PatternList,
    datepattern: String,
    pub(crate) dates: Dates,
    pub(crate) connections: Connections,
    /// What is known of the last line that was recognised; its memory serves the next one.
    pub(crate) found: Option<Box<Facts>>,
    /// The last lines, for a filter that looks at several.
    pub(crate) window: Option<Window>,
    pub(crate) counts: Counts,
    /// `usedns` is yes or warn.
    looks_names_up: bool,
    /// See [`Filter::take_named`].
    named: Vec<NamedFailure>,
}

impl Filter {
    /// Compiles `rules`. `formats` are shared by all filters of a configuration.
    ///
    /// # Errors
    /// The first expression that does not compile or names no offender.
    pub fn new(
        rules: &Rules,
        surroundings: Surroundings,
        formats: &DefaultTemplates,
    ) -> Result<Filter, FilterError> {
        let names = if rules.use_dns == UseDns::No { HostNames::Refused } else { HostNames::Allowed };
        let compile = |option: &'static str, written: &String| {
            // As in fail2ban, only failregex is told of the lines inside a window.
            let over_lines = option == "failregex" && rules.max_lines > 1;
            let compiled = if over_lines { Pattern::over_lines } else { Pattern::new };
            compiled(written, names).map_err(|why| FilterError {
                option,
                problem: format!(
                    "{option} `{written}` does not compile: {why}; correct it, and try it with `bannkreis regex \
                     LINE REGEX`"
                ),
            })
        };
        let all = |option, list: &[String]| -> Result<Vec<Pattern>, FilterError> {
            list.iter().map(|written| compile(option, written)).collect()
        };
        let prefregex = rules.prefregex.as_ref().map(|written| compile("prefregex", written)).transpose()?;
        let failregex = all("failregex", &rules.failregex)?;
        let ignoreregex = all("ignoreregex", &rules.ignoreregex)?;
        for pattern in &failregex {
            if !offender::can_name(pattern) && !prefregex.iter().any(offender::can_name) {
                return Err(FilterError {
                    option: "failregex",
                    problem: format!(
                        "failregex `{}` does not say where the offender stands; put <HOST> there",
                        pattern.written()
                    ),
                });
            }
        }
        let dates = DateDetector::new(&rules.datepattern, formats)
            .map_err(|problem| FilterError { option: "datepattern", problem })?;
        Ok(Filter {
            jail: surroundings.jail,
            find_time_ms: surroundings.find_time_ms,
            encoding: surroundings.encoding,
            prefregex: prefregex.map(|prefregex| PatternList::new(vec![prefregex])),
            failregex: PatternList::new(failregex),
            ignoreregex: PatternList::new(ignoreregex),
            datepattern: rules.datepattern.clone(),
            dates: Dates::new(dates, surroundings.zone),
            connections: Connections::default(),
            found: None,
            window: (rules.max_lines > 1).then(|| Window::new(rules.max_lines)),
            counts: Counts::default(),
            looks_names_up: matches!(rules.use_dns, UseDns::Yes | UseDns::Warn),
            named: Vec::new(),
        })
    }

    /// The failures since the last call whose offender has only a name so far: with `usedns = yes` or `warn`
    /// somebody may look it up. To the filter, such a line is [`Ignored::NotAnAddress`].
    pub fn take_named(&mut self) -> Vec<NamedFailure> {
        std::mem::take(&mut self.named)
    }

    /// The jail that its failures belong to.
    #[must_use]
    pub fn jail(&self) -> &JailName {
        &self.jail
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Its expressions that need the backtracking engine, as written.
    pub fn backtracking(&self) -> impl Iterator<Item = &str> {
        self.prefregex
            .iter()
            .flat_map(|prefregex| prefregex.iter())
            .chain(self.failregex.iter())
            .chain(self.ignoreregex.iter())
            .filter(|pattern| pattern.is_backtracking())
            .map(Pattern::written)
    }

    /// Judges a line at `now`, this host's wall clock.
    pub fn judge(&mut self, line: &LogLine, now: Timestamp, mode: Mode) -> Judged {
        self.examine(line, now, mode).judged
    }

    /// Judges a line, and says how it came about.
    pub fn examine(&mut self, line: &LogLine, now: Timestamp, mode: Mode) -> Examined {
        self.counts.lines += 1;
        let text = self.encoding.decode(&line.text);
        let text = text.trim_end_matches(['\r', '\n']);
        let at = Moment { now, mode, written_at: line.written_at };
        let dated = self.dates.next(text, &mut Glance::new(&line.text), at);
        let raw = RawLine {
            source: line.source,
            position: line.position,
            replayed: line.replayed,
            written_at: line.written_at,
            text: &line.text,
            ascii: None,
            cut: line.cut,
            is_telling: true,
        };
        let mut rest = String::new();
        dated.rest_of(text, &mut rest);
        let (judged, recognised) = self.judge_dated(raw, text, &rest, &dated, at);
        let (failregex, facts) = match recognised {
            Some((index, known)) => (Some(index), facts_of(self.facts(known))),
            None => (None, Vec::new()),
        };
        Examined { judged, failregex, date: dated.written, facts }
    }

    /// Judges a line whose date was looked for already: `rest` is `text` without it, and a line end. Says also
    /// which failregex matches, and where [`Filter::facts`] has what is known then.
    pub(crate) fn judge_dated(
        &mut self,
        line: RawLine<'_>,
        text: &str,
        rest: &str,
        dated: &Dated,
        at: Moment,
    ) -> (Judged, Option<(usize, Known)>) {
        self.counts.odd_dates += u64::from(dated.is_odd);
        if self.is_too_old(dated, at) {
            return (Judged::Ignored(Ignored::TooOld), None);
        }
        let now = at.now;
        let undated = Undated {
            line: rest,
            written: text,
            cut: line.cut,
            is_telling: line.is_telling,
            has_time: dated.at.is_some(),
        };
        let (index, known) = match self.recognise(undated, now) {
            Err(judged) => return (judged, None),
            Ok(recognised) => recognised,
        };
        let judged = self.failure(line, (text, rest), known, dated, now);
        match &judged {
            Judged::Failure(_) => self.counts.failures += 1,
            Judged::Ignored(Ignored::NotAnAddress(_)) => self.counts.not_addresses += 1,
            _ => {}
        }
        (judged, Some((index, known)))
    }

    /// Texts of which one stands in every line that can be a failure, or in one of the lines that can be one
    /// together; `None` when any line can.
    #[must_use]
    pub fn needles(&self) -> Option<Vec<Needle>> {
        self.all_needles().into_iter().next()
    }

    /// The same, and more such texts, the best first: one of each stands in every line that can be a failure.
    #[must_use]
    pub fn all_needles(&self) -> Vec<Vec<Needle>> {
        // What prefregex cuts out of a window changes the window, whether it comes to a match or not.
        if self.window.is_some() && self.prefregex.is_some() {
            return Vec::new();
        }
        let prefregex = self.prefregex.iter().flat_map(|list| list.iter()).next();
        let mut all = prefregex.map_or_else(Vec::new, |prefregex| required::all_needles(prefregex.reduced()));
        // What prefregex puts together of several groups stands in no line.
        if prefregex.is_none_or(|prefregex| !prefregex.puts_together()) {
            all.extend(self.failregex.needles());
        }
        all.sort_by_key(|needles| std::cmp::Reverse(required::quality(needles)));
        all
    }

    /// Whether it looks at several lines at once: then it takes note of each ([`Filter::take_note`]).
    #[must_use]
    pub(crate) fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// Whether a line that has none of [`Filter::needles`] can be a failure with those before it.
    #[must_use]
    pub(crate) fn awaits_more(&self) -> bool {
        self.window.as_ref().is_some_and(Window::is_telling)
    }

    /// Takes note of a line that can be no failure, neither by itself nor with those before it, but perhaps
    /// with those behind it. `rest` is `text` without its date.
    pub(crate) fn take_note(&mut self, cut: bool, text: &str, rest: &str, dated: &Dated, at: Moment) {
        if !cut
            && !self.is_too_old(dated, at)
            && let Some(window) = &mut self.window
        {
            window.note(rest, text, false);
        }
    }

    fn is_too_old(&self, dated: &Dated, at: Moment) -> bool {
        at.mode == Mode::CatchingUp && dated.at.is_some_and(|date| date < at.now.minus_ms(self.find_time_ms))
    }

    /// Whether it looks at dates as `other` does.
    #[must_use]
    pub(crate) fn dates_like(&self, other: &Filter) -> bool {
        self.datepattern == other.datepattern
            && self.encoding == other.encoding
            && self.dates.zone() == other.dates.zone()
    }

    fn failure(
        &mut self,
        line: RawLine<'_>,
        (text, rest): (&str, &str),
        known: Known,
        dated: &Dated,
        now: Timestamp,
    ) -> Judged {
        let Some(at) = dated.at else { return Judged::Ignored(Ignored::NoDate) };
        let facts = self.connections.facts(known, self.found.as_deref().unwrap_or(&NO_FACTS));
        let failure = |offender| Failure {
            jail: self.jail.clone(),
            offender,
            at: at.min(now),
            evidence: evidence_text(&evidence(facts, text)),
            line: line_digest::of(rest, text[..dated.cut.start].trim_start().is_empty()),
            user: facts.get(Name::USER).filter(|user| !user.is_empty()).map(evidence_text),
            source: line.source,
            position: line.position,
            replayed: line.replayed,
        };
        let name = match offender::of(facts) {
            Ok(offender) => return Judged::Failure(failure(offender)),
            Err(name) => name,
        };
        if self.looks_names_up
            && facts.get(Name::DNS) == Some(name)
            && is_host_name(name)
            && self.named.len() < NAMED_MAX
        {
            self.named.push(NamedFailure { name: name.to_owned(), failure: failure(Subnet::host(NOBODY)) });
        }
        Judged::Ignored(Ignored::NotAnAddress(evidence_text(name)))
    }
}

/// The line, or the lines when there are several.
fn evidence<'l>(facts: &'l Facts, text: &'l str) -> Cow<'l, str> {
    let mut lines = facts.lines();
    let Some(first) = lines.next() else { return Cow::Borrowed(text) };
    let joined = lines.fold(first.to_owned(), |joined, line| joined + " | " + line);
    Cow::Owned(joined)
}

/// Every group that took part, in the order of the expressions.
fn facts_of(facts: &Facts) -> Vec<(String, String)> {
    facts.groups().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}
