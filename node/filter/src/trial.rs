//! A filter on the bench: one line, every expression that matches it, and all that is known then.
//!
//! `fail2ban-regex` goes through a filter differently from a server: no line is too old, and it looks for
//! every failregex that matches and not only for the first. `bannkreis regex` does the same with this.
//! The date, the connections and the expressions are the filter's own. Not for judging (`filter`), which
//! has to be fast.

use crate::date::glance::Glance;
use crate::facts::Facts;
use crate::filter::{Filter, Mode, Moment};
use crate::group_name::Name;
use crate::groups::Groups;
use crate::pattern::Pattern;
use crate::recognise::{Searches, Undated};
use crate::translate::TextEnd;
use bannkreis_core::failure::LogLine;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use std::net::IpAddr;

/// What is looked for in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thoroughness {
    /// Every failregex, and not only the first that matches.
    pub every_failregex: bool,
    /// Failures whose offender a later line may name.
    pub pending: bool,
    /// Names stand for themselves, as with `usedns = raw`.
    pub raw_names: bool,
}

/// What a line showed.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// The groups of prefregex, when there is one and it matches.
    pub prefregex: Option<Groups>,
    /// What matches and is not ignored.
    pub found: Vec<Found>,
    /// The ignoreregexes that match, from 0; one can be there for several failregexes.
    pub ignoreregex: Vec<usize>,
    /// Host names that would have to be resolved, so that nobody knows whose failure it was.
    pub names: Vec<String>,
    /// Searches that were given up.
    pub gave_up: u64,
    /// The lines before this one that a match took, of a filter that looks at several.
    pub taken: Vec<String>,
}

/// A failregex that matches.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which, from 0.
    pub failregex: usize,
    /// When the line was written; `None` without a date.
    pub at: Option<Timestamp>,
    /// Who it was; `None` when a later line may say so.
    pub id: Option<String>,
    /// The address, when the failure is counted for something else (`<F-ID>`).
    pub address: Option<String>,
    /// It is no failure by itself: `<F-NOFAIL>`, `<F-MLFGAINED>`.
    pub is_nofail: bool,
    /// Its groups, those of its connection among them.
    pub facts: Facts,
}

impl Filter {
    /// Tries the expressions on a line; `now` completes dates without a year.
    pub fn try_line(&mut self, line: &LogLine, now: Timestamp, wanted: Thoroughness) -> Tried {
        let text = self.encoding.decode(&line.text).into_owned();
        let text = text.trim_end_matches(['\r', '\n']);
        let at = Moment { now, mode: Mode::CatchingUp, written_at: line.written_at };
        let dated = self.dates.next(text, &mut Glance::new(&line.text), at);
        let mut rest = String::new();
        dated.rest_of(text, &mut rest);
        let line = Undated { line: &rest, written: text, cut: line.cut, is_telling: true, has_time: true };
        let mut tried = Tried::default();
        let mut searches = Searches::default();
        if let Some((text, end)) = self.lines(line) {
            self.try_text(line, (&text, end), (dated.at, now), wanted, &mut searches, &mut tried);
        }
        tried.gave_up = searches.gave_up;
        tried
    }

    fn try_text(
        &mut self,
        line: Undated<'_>,
        (text, end): (&str, TextEnd),
        (at, now): (Option<Timestamp>, Timestamp),
        wanted: Thoroughness,
        searches: &mut Searches,
        tried: &mut Tried,
    ) {
        if self.ignores_early() && self.is_ignored(text, end, wanted, searches, tried) {
            return;
        }
        let mut prefix = Groups::default();
        let Some(sought) = self.sought(text, end, searches, &mut prefix) else { return };
        tried.prefregex = self.prefregex.iter().flat_map(|list| list.iter()).next().map(|prefregex| {
            let mut groups = prefix.clone();
            if prefregex.has_group("content") && !groups.contains(Name::CONTENT) {
                groups.set(Name::CONTENT, Some(sought.text.trim_end_matches('\n')));
            }
            groups
        });
        for index in 0..self.failregex.len() {
            let pattern = &self.failregex[index];
            let Some(places) = searches.search(pattern, &sought.text, sought.end) else { continue };
            let mut groups = prefix.clone();
            pattern.read(&sought.text, &places, &mut groups);
            let division = self.divide(index, &sought.text, &places);
            let is_ignored = match &division {
                Some(division) => {
                    self.is_ignored(&division.matched_text(), TextEnd::Line, wanted, searches, tried)
                }
                None => self.is_ignored(&sought.text, sought.end, wanted, searches, tried),
            };
            let mut lines = vec![line.written.to_owned()];
            if let (Some(window), Some(division)) = (&mut self.window, &division) {
                window.keep_unmatched(division);
                lines = division.written();
                tried.taken.clone_from(&lines);
                if let Some(own) = tried.taken.iter().rposition(|taken| taken == line.written) {
                    tried.taken.remove(own);
                }
            }
            if !is_ignored {
                let mut facts = Facts::of(groups);
                facts.set_lines(lines);
                self.note(index, facts, at, now, wanted, tried);
            }
            // The lines of a window belong to the first failregex that takes them.
            if !wanted.every_failregex || division.is_some() {
                break;
            }
        }
    }

    fn is_ignored(
        &self,
        text: &str,
        end: TextEnd,
        wanted: Thoroughness,
        searches: &mut Searches,
        tried: &mut Tried,
    ) -> bool {
        let mut is_ignored = false;
        for (index, pattern) in self.ignoreregex.iter().enumerate() {
            if searches.search(pattern, text, end).is_some() {
                tried.ignoreregex.push(index);
                is_ignored = true;
                if !wanted.every_failregex {
                    break;
                }
            }
        }
        is_ignored
    }

    /// Joins a match with its connection and notes what is known then.
    fn note(
        &mut self,
        failregex: usize,
        facts: Facts,
        at: Option<Timestamp>,
        now: Timestamp,
        wanted: Thoroughness,
        tried: &mut Tried,
    ) {
        let mut line = Box::new(facts);
        let known = self.connections.merge(&mut line, now);
        let facts =
            known.map_or_else(|| (*line).clone(), |known| self.connections.facts(known, &line).clone());
        let is_nofail = facts.has(Name::NOFAIL);
        if known.is_some() && is_nofail && !wanted.every_failregex {
            return;
        }
        let (id, address) = match offender(&facts, wanted.raw_names) {
            Offender::Known { id, address } => (Some(id), address),
            Offender::Name(name) => {
                tried.names.push(name);
                return;
            }
            Offender::Unknown => {
                if let Some(known) = known {
                    self.connections.wait(known);
                }
                if !wanted.pending {
                    return;
                }
                (None, None)
            }
        };
        tried.found.push(Found { failregex, at, id, address, is_nofail, facts });
    }

    /// A line as text, as its encoding has it.
    #[must_use]
    pub fn text_of<'l>(&self, line: &'l LogLine) -> std::borrow::Cow<'l, str> {
        self.encoding.decode(&line.text)
    }

    /// `prefregex` as the engine gets it, in Python's syntax.
    #[must_use]
    pub fn prefregex(&self) -> Option<&str> {
        self.prefregex.iter().flat_map(|list| list.iter()).next().map(Pattern::python)
    }

    /// The failregexes as they are written, all names and parameters replaced.
    pub fn failregexes(&self) -> impl Iterator<Item = &str> {
        self.failregex.iter().map(Pattern::written)
    }

    /// The ignoreregexes as they are written, all names and parameters replaced.
    pub fn ignoreregexes(&self) -> impl Iterator<Item = &str> {
        self.ignoreregex.iter().map(Pattern::written)
    }

    /// The formats of dates in the order in which they are tried now, and how often each was found.
    pub fn date_formats(&self) -> impl Iterator<Item = (&crate::date::template::Template, u64)> {
        self.dates.formats()
    }
}

enum Offender {
    Known { id: String, address: Option<String> },
    Name(String),
    Unknown,
}

/// Whom the facts name, in fail2ban's order: an address, else a name, and above both what `<F-ID>` holds.
fn offender(facts: &Facts, raw_names: bool) -> Offender {
    let fid = facts.group("fid");
    let address = ["ip4", "ip6"].iter().find_map(|group| facts.group(group));
    let Some(text) = address.or_else(|| facts.group("dns")).or(fid) else { return Offender::Unknown };
    let is_name = address.is_none() && facts.group("dns").is_some();
    if is_name && !raw_names {
        return match text.parse::<IpAddr>() {
            Ok(address) => Offender::Known { id: Subnet::host(address).to_string(), address: None },
            Err(_) => Offender::Name(text.to_owned()),
        };
    }
    let spelled = if is_name { text.to_owned() } else { spelled(text, facts.group("cidr")) };
    match fid {
        Some(fid) if fid != text => {
            Offender::Known { id: spelled_id(fid, raw_names), address: Some(spelled) }
        }
        Some(fid) if address.is_none() => Offender::Known { id: spelled_id(fid, raw_names), address: None },
        _ => Offender::Known { id: spelled, address: None },
    }
}

/// The one spelling of an address or a subnet; other text stays as it is.
fn spelled(text: &str, prefix: Option<&str>) -> String {
    let Ok(address) = text.parse::<IpAddr>() else { return text.to_owned() };
    let subnet = prefix.and_then(|digits| Subnet::new(address, digits.parse().ok()?));
    subnet.unwrap_or_else(|| Subnet::host(address)).to_string()
}

/// What `<F-ID>` holds can be an address in brackets or a subnet.
fn spelled_id(fid: &str, raw: bool) -> String {
    if raw {
        return fid.to_owned();
    }
    let bare = fid.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(fid);
    bare.parse::<Subnet>().map_or_else(|_| bare.to_owned(), |subnet| subnet.to_string())
}
