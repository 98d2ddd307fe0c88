//! A compiled filter: judges the lines of a log, one after the other.
//!
//! The order of the tests is fail2ban's: date, early ignoreregex, prefregex, failregex in order,
//! ignoreregex on what failregex saw. A filter has a memory (the place of the date, the
//! connections), so each log file gets its own lines in order. Not for counting failures
//! (`bannkreis-core`) and not for `ignoreip` (the warden).

use crate::connection::{Connections, Facts};
use crate::date::convert::Zone;
use crate::date::detector::DateDetector;
use crate::date::templates::DefaultTemplates;
use crate::encoding::LogEncoding;
pub use crate::judged::{Counts, Examined, Ignored, Judged, Mode, NoMatch};
use crate::pattern::{Groups, Pattern, Search, value_of};
use crate::regex_tags::HostNames;
use crate::translate::TextEnd;
use bannkreis_core::failure::{Failure, LogLine};
use bannkreis_core::jail::JailName;
use bannkreis_core::proposal::evidence_text;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{MINUTE_MS, SECOND_MS, Timestamp};
use std::fmt;
use std::net::IpAddr;

/// A date further from now than this is taken as now while a log is followed.
pub const DATE_SKEW_MAX_MS: u64 = MINUTE_MS;

/// What a filter is made of, all tags and names replaced.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rules {
    /// `prefregex`.
    pub prefregex: Option<String>,
    /// `failregex`, one per line of the option.
    pub failregex: Vec<String>,
    /// `ignoreregex`, one per line of the option.
    pub ignoreregex: Vec<String>,
    /// `datepattern`; empty for the default formats.
    pub datepattern: String,
    /// `usedns`.
    pub use_dns: UseDns,
}

/// `usedns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseDns {
    /// Names would be resolved.
    Yes,
    /// Names would be resolved with a warning.
    #[default]
    Warn,
    /// `<HOST>` matches addresses only.
    No,
    /// Names are taken as they are.
    Raw,
}

/// Which expression does not compile, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// `prefregex`, `failregex`, `ignoreregex` or `datepattern`.
    pub option: &'static str,
    /// The sentence.
    pub problem: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for FilterError {}

/// A filter at work on one jail's logs.
#[derive(Debug)]
pub struct Filter {
    jail: JailName,
    find_time_ms: u64,
    zone: Zone,
    encoding: LogEncoding,
    prefregex: Option<Pattern>,
    failregex: Vec<Pattern>,
    ignoreregex: Vec<Pattern>,
    dates: DateDetector,
    last_date: Option<Timestamp>,
    connections: Connections,
    counts: Counts,
}

/// What a filter needs to know besides its rules.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The jail that its failures belong to.
    pub jail: JailName,
    /// `findtime` in ms.
    pub find_time_ms: u64,
    /// How dates without a zone are read.
    pub zone: Zone,
    /// `logencoding`.
    pub encoding: LogEncoding,
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
            Pattern::new(written, names).map_err(|why| FilterError {
                option,
                problem: format!("{option} `{written}` does not compile: {why}"),
            })
        };
        let all = |option, list: &[String]| -> Result<Vec<Pattern>, FilterError> {
            list.iter().map(|written| compile(option, written)).collect()
        };
        let prefregex = rules.prefregex.as_ref().map(|written| compile("prefregex", written)).transpose()?;
        let failregex = all("failregex", &rules.failregex)?;
        let ignoreregex = all("ignoreregex", &rules.ignoreregex)?;
        for pattern in &failregex {
            if !names_offender(pattern) && !prefregex.as_ref().is_some_and(names_offender) {
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
            zone: surroundings.zone,
            encoding: surroundings.encoding,
            prefregex,
            failregex,
            ignoreregex,
            dates,
            last_date: None,
            connections: Connections::default(),
            counts: Counts::default(),
        })
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
            .chain(&self.failregex)
            .chain(&self.ignoreregex)
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
        let mut examined = Examined {
            judged: Judged::NoMatch(NoMatch::Failregex),
            failregex: None,
            date: None,
            facts: Vec::new(),
        };
        let dated = self.dated(text, now, mode);
        examined.date = dated.written;
        let at = match (dated.at, mode) {
            (Some(at), Mode::Following) if differs(at, now) => {
                self.counts.odd_dates += 1;
                self.last_date = Some(now);
                Some(now)
            }
            (Some(at), Mode::CatchingUp) if at < now.minus_ms(self.find_time_ms) => {
                examined.judged = Judged::Ignored(Ignored::TooOld);
                return examined;
            }
            (at, _) => at,
        };
        let end = if line.cut { TextEnd::Cut } else { TextEnd::Line };
        let mut buffer = dated.rest;
        if end == TextEnd::Line {
            buffer.push('\n');
        }
        let outcome = self.recognise(&buffer, end, now);
        examined.judged = match outcome {
            Err(judged) => judged,
            Ok((index, facts)) => {
                examined.failregex = Some(index);
                examined.facts = facts_of(&facts);
                self.failure(line, text, &facts, at.map(|at| at.min(now)), now)
            }
        };
        match &examined.judged {
            Judged::Failure(_) => self.counts.failures += 1,
            Judged::Ignored(Ignored::NotAnAddress(_)) => self.counts.not_addresses += 1,
            _ => {}
        }
        examined
    }

    /// Finds the line's date and cuts it out; fills in a date when there is none.
    fn dated(&mut self, text: &str, now: Timestamp, mode: Mode) -> Dated {
        let recent = self.last_date.filter(|&last| last > now.minus_ms(MINUTE_MS));
        let Some(found) = self.dates.find(text, now, &self.zone) else {
            let at = recent.or((mode == Mode::Following).then_some(now));
            return Dated { rest: text.to_owned(), written: None, at };
        };
        if let Some(at) = found.at {
            self.last_date = Some(at);
            let rest = [&text[..found.cut.start], &text[found.cut.end..]].concat();
            return Dated { rest, written: Some(at), at: Some(at) };
        }
        // An empty date belongs to a filter without dates; one that means nothing (30 February) is
        // cut out, unless the date of the line before it stands in for it.
        let at = recent.or((mode == Mode::Following || found.cut.is_empty()).then_some(now));
        let rest = if recent.is_some() {
            text.to_owned()
        } else {
            [&text[..found.cut.start], &text[found.cut.end..]].concat()
        };
        Dated { rest, written: None, at }
    }

    /// Finds the failregex that matches, and what is known then.
    fn recognise(&mut self, line: &str, end: TextEnd, now: Timestamp) -> Result<(usize, Facts), Judged> {
        let mut gave_up = 0;
        let outcome = self.recognise_counting(line, end, now, &mut gave_up);
        self.counts.gave_up += gave_up;
        match outcome {
            Err(Judged::NoMatch(_)) if gave_up > 0 => Err(Judged::NoMatch(NoMatch::GaveUp)),
            outcome => outcome,
        }
    }

    fn recognise_counting(
        &mut self,
        line: &str,
        end: TextEnd,
        now: Timestamp,
        gave_up: &mut u64,
    ) -> Result<(usize, Facts), Judged> {
        let mut search = |pattern: &Pattern, text: &str, end: TextEnd| match pattern.search(text, end) {
            Search::Found(groups) => Some(groups),
            Search::Nothing => None,
            Search::GaveUp => {
                *gave_up += 1;
                None
            }
        };
        let ignored = |text: &str, end, search: &mut dyn FnMut(&Pattern, &str, TextEnd) -> Option<Groups>| {
            let index = self.ignoreregex.iter().position(|pattern| search(pattern, text, end).is_some());
            index.map_or(Ok(()), |index| Err(Judged::Ignored(Ignored::Ignoreregex(index))))
        };
        // fail2ban looks at the whole line early only when that is cheap.
        if self.ignoreregex.len() + 2 < self.failregex.len() {
            ignored(line, end, &mut search)?;
        }
        let mut prefix_groups = Groups::new();
        let mut content = None;
        if let Some(prefregex) = &self.prefregex {
            prefix_groups = search(prefregex, line, end).ok_or(Judged::NoMatch(NoMatch::Prefregex))?;
            content = value_of(&prefix_groups, "content").map(|content| {
                let reaches_cut = end == TextEnd::Cut && line.ends_with(content);
                let end = if reaches_cut { TextEnd::Cut } else { TextEnd::Line };
                (if reaches_cut { content.to_owned() } else { format!("{content}\n") }, end)
            });
            prefix_groups.retain(|(name, _)| name.as_ref() != "content");
        }
        let (text, end) = content.as_ref().map_or((line, end), |(text, end)| (text.as_str(), *end));
        let mut found = None;
        for (index, pattern) in self.failregex.iter().enumerate() {
            if let Some(groups) = search(pattern, text, end) {
                found = Some((index, groups));
                break;
            }
        }
        let (index, groups) = found.ok_or(Judged::NoMatch(NoMatch::Failregex))?;
        ignored(text, end, &mut search)?;
        let facts = Facts::of(prefix_groups, groups);
        let Some(id) = facts.group("mlfid").map(str::to_owned) else { return Ok((index, facts)) };
        let facts = self.connections.merge(&id, facts, now);
        if facts.has("nofail") {
            return Err(Judged::Ignored(Ignored::NoFail));
        }
        let has_offender = ["fid", "ip4", "ip6", "dns"].iter().any(|name| facts.group(name).is_some());
        if !has_offender {
            self.connections.wait(&id);
            return Err(Judged::Ignored(Ignored::Pending));
        }
        Ok((index, facts))
    }

    fn failure(
        &self,
        line: &LogLine,
        text: &str,
        facts: &Facts,
        at: Option<Timestamp>,
        now: Timestamp,
    ) -> Judged {
        let Some(at) = at else { return Judged::Ignored(Ignored::NoDate) };
        let offender = match offender(facts) {
            Ok(offender) => offender,
            Err(text) => return Judged::Ignored(Ignored::NotAnAddress(evidence_text(text))),
        };
        Judged::Failure(Failure {
            jail: self.jail.clone(),
            offender,
            at: at.min(now),
            evidence: evidence_text(text),
            user: facts.group("user").filter(|user| !user.is_empty()).map(evidence_text),
            source: line.source,
            position: line.position,
            replayed: line.replayed,
        })
    }
}

struct Dated {
    /// The line without its date.
    rest: String,
    /// The date that stands in it.
    written: Option<Timestamp>,
    /// That, or what stands in for it.
    at: Option<Timestamp>,
}

/// More than a minute apart, in whole seconds as fail2ban counts.
fn differs(at: Timestamp, now: Timestamp) -> bool {
    at.ms_since(now).max(now.ms_since(at)) / SECOND_MS > DATE_SKEW_MAX_MS / SECOND_MS
}

fn names_offender(pattern: &Pattern) -> bool {
    ["fid", "ip4", "ip6", "dns", "mlfid"].iter().any(|name| pattern.has_group(name))
}

/// Who it was: an address where there is one, else what stands in its place.
fn offender(facts: &Facts) -> Result<Subnet, &str> {
    let text = ["ip4", "ip6", "fid", "dns"].iter().find_map(|name| facts.group(name)).unwrap_or("");
    let address: IpAddr = text.parse().map_err(|_| text)?;
    match facts.group("cidr").filter(|cidr| !cidr.is_empty()) {
        None => Ok(Subnet::host(address)),
        Some(cidr) => cidr.parse().ok().and_then(|length| Subnet::new(address, length)).ok_or(text),
    }
}

fn facts_of(facts: &Facts) -> Vec<(String, String)> {
    ["mlfid", "fid", "ip4", "ip6", "dns", "cidr", "fport", "user", "nofail"]
        .iter()
        .filter_map(|&name| Some((name.to_owned(), facts.group(name)?.to_owned())))
        .collect()
}
