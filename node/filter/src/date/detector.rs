//! Finds the date of a line among several formats, as fail2ban does: with a memory.
//!
//! The format and place of the last date are tried first. When a date stands elsewhere, all
//! formats compete: one at the line's beginning wins at once, others by the shortest distance from
//! it. Formats that win move to the front. This state decides which of several dates in a line is
//! taken for its own, so it is kept as fail2ban keeps it.

use super::convert::{self, Zone};
use super::glance::Glance;
use super::last_place::LastPlace;
use super::repeated::{NoDate, Reach, Repeated};
use super::runs;
use super::template::{Hit, Template};
use super::templates::DefaultTemplates;
use bannkreis_core::time::{MINUTE_MS, Timestamp};
use std::ops::Range;
use std::sync::Arc;

/// A format that has not been used for so long loses its place to one that is.
const UNUSED_MS: u64 = 5 * MINUTE_MS;
/// After so many lines in a row without a date, the next ones are not expected to have one.
const MISSED_BEFORE_SCREEN: usize = 16;
const NOWHERE: usize = usize::MAX;

#[derive(Debug)]
struct Candidate {
    template: Arc<Template>,
    /// How often it won.
    hits: u64,
    /// How often it matched, winning or not.
    matched: u64,
    last_used: Timestamp,
    /// Where it stood when it last won.
    distance: usize,
}

impl Candidate {
    #[expect(clippy::cast_precision_loss, reason = "a weight, compared only")]
    fn weight(&self) -> f64 {
        self.hits as f64 * self.template.weight / self.distance.max(1) as f64
    }
}

/// A date that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDate {
    /// The text to cut out of the line; empty when the filter has no dates.
    pub cut: Range<usize>,
    /// What it means; `None` when there is no such time.
    pub at: Option<Timestamp>,
}

/// Finds the dates of one log's lines.
#[derive(Debug)]
pub struct DateDetector {
    candidates: Vec<Candidate>,
    last_index: usize,
    last_place: LastPlace,
    first_unused: usize,
    /// The last line's date, when lines that begin as it does need not be looked at.
    repeated: Option<Repeated>,
    reach: Reach,
    /// So many lines in a row had no date.
    n_missed: usize,
    /// All formats at once, made when many lines have none.
    no_date: Option<NoDate>,
}

impl DateDetector {
    /// A detector for a `datepattern`: one pattern per line, or nothing for the default formats.
    ///
    /// # Errors
    /// A sentence that names the pattern and what is wrong with it.
    pub fn new(datepattern: &str, defaults: &DefaultTemplates) -> Result<DateDetector, String> {
        let mut templates: Vec<Arc<Template>> = Vec::new();
        for pattern in datepattern.lines().map(str::trim).filter(|pattern| !pattern.is_empty()) {
            let upper = pattern.to_uppercase();
            let error = |why: String| format!("datepattern `{pattern}`: {why}");
            let more = match upper.as_str() {
                "{DEFAULT}" => defaults.all(),
                "{^LN-BEG}" => defaults.at_line_begin(),
                "{NONE}" => vec![Arc::new(Template::new("{UNB}^").map_err(error)?)],
                upper if upper.contains("{DATE}") => defaults.within(pattern).map_err(error)?,
                _ => {
                    let template = Template::new(pattern).map_err(error)?;
                    template.check().map_err(error)?;
                    if templates.iter().any(|other| other.name == template.name) {
                        return Err(error("it stands there twice; keep one of them".to_owned()));
                    }
                    // A pattern that is a default format, too, is that format, with its weight.
                    let all = defaults.all();
                    let same = all.into_iter().find(|other| other.name == template.name);
                    vec![same.unwrap_or_else(|| Arc::new(template))]
                }
            };
            for template in more {
                if !templates.iter().any(|other| other.name == template.name) {
                    templates.push(template);
                }
            }
        }
        if templates.is_empty() {
            templates = defaults.all();
        }
        let candidate = |template| Candidate {
            template,
            hits: 0,
            matched: 0,
            last_used: Timestamp::ZERO,
            distance: NOWHERE,
        };
        Ok(DateDetector {
            candidates: templates.into_iter().map(candidate).collect(),
            last_index: NOWHERE,
            last_place: LastPlace::default(),
            first_unused: 0,
            repeated: None,
            reach: Reach::default(),
            n_missed: 0,
            no_date: None,
        })
    }

    /// The formats in the order in which they are tried now, and how often each has won.
    pub fn formats(&self) -> impl Iterator<Item = (&Template, u64)> {
        self.candidates.iter().map(|candidate| (candidate.template.as_ref(), candidate.hits))
    }

    /// The date of `line`, when it has one. `glance` is the same line, and what others found out about it.
    #[must_use]
    pub fn find(
        &mut self,
        line: &str,
        glance: &mut Glance<'_>,
        now: Timestamp,
        zone: &Zone,
    ) -> Option<FoundDate> {
        if self.repeats(line.as_bytes(), now).is_some() {
            return Some(self.repeat(now));
        }
        if self.has_none(line, glance) {
            return None;
        }
        if let Some(found) = self.find_again(line, glance, now, zone) {
            return Some(found);
        }
        let Some((index, hit)) = self.choose(line) else {
            self.n_missed += 1;
            return None;
        };
        self.n_missed = 0;
        let at = if hit.date.is_empty() {
            None
        } else {
            convert::to_timestamp(self.candidates[index].template.kind, &hit, now, zone)
        };
        let found = FoundDate { cut: hit.date.clone(), at };
        let is_settled = index == self.last_index;
        let whole = hit.whole.clone();
        self.remember(index, line, hit.whole, now);
        self.repeated = None;
        if is_settled {
            let template = &self.candidates[index].template;
            self.repeated = Repeated::new(&mut self.reach, template, line, &whole, &found, now);
            if template.at_line_begin {
                glance.note(template, zone, whole, &found, self.repeated.as_ref());
            }
        }
        Some(found)
    }

    /// What the last format finds in this line, when that is final and somebody else has found it already.
    fn find_again(
        &mut self,
        line: &str,
        glance: &Glance<'_>,
        now: Timestamp,
        zone: &Zone,
    ) -> Option<FoundDate> {
        let index = self.last_index;
        let candidate =
            self.candidates.get_mut(index).filter(|candidate| candidate.template.at_line_begin)?;
        let (whole, found, repeated) = glance.known(&candidate.template, zone)?;
        candidate.matched += 1;
        self.n_missed = 0;
        self.remember(index, line, whole, now);
        self.repeated = repeated;
        Some(found)
    }

    /// What would be found in a line that begins with this, when it begins as the last one did.
    #[must_use]
    #[inline]
    pub fn repeats(&self, line: &[u8], now: Timestamp) -> Option<&FoundDate> {
        self.repeated.as_ref().filter(|repeated| repeated.holds(line, now)).map(|repeated| &repeated.found)
    }

    /// Whether it is certain that there is no date in this line. Asked of logs whose lines have had none
    /// for a while; all formats are tried in one pass. `glance` is the same line.
    #[must_use]
    pub fn has_none(&mut self, line: &str, glance: &Glance<'_>) -> bool {
        if self.n_missed < MISSED_BEFORE_SCREEN {
            return false;
        }
        let templates = self.candidates.iter().map(|candidate| candidate.template.as_ref());
        let has_row = |length| match glance.ascii() {
            Some(_) => glance.has_row(length),
            None => runs::has_row(line.as_bytes(), length),
        };
        self.no_date.get_or_insert_with(|| NoDate::of(templates)).is_certain(line, has_row)
    }

    /// The same of a line that begins as the last one did that had none: then nothing else has to be looked at.
    #[must_use]
    #[inline]
    pub fn repeats_none(&self, line: &[u8]) -> bool {
        self.n_missed >= MISSED_BEFORE_SCREEN
            && self.no_date.as_ref().is_some_and(|no_date| no_date.repeats(line))
    }

    /// Takes note of a line that [`DateDetector::repeats`] the last one.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[inline]
    pub fn repeat(&mut self, now: Timestamp) -> FoundDate {
        let candidate = &mut self.candidates[self.last_index];
        candidate.hits += 1;
        candidate.matched += 1;
        candidate.last_used = now;
        self.repeated.as_ref().expect("the last line had a date").found.clone()
    }

    fn try_at<'l>(&mut self, index: usize, line: &'l str, window: Range<usize>) -> Option<Hit<'l>> {
        let candidate = &mut self.candidates[index];
        let hit = candidate.template.search(line, window)?;
        candidate.matched += 1;
        Some(hit)
    }

    fn choose<'l>(&mut self, line: &'l str) -> Option<(usize, Hit<'l>)> {
        let mut best: Option<(usize, Hit<'l>)> = None;
        let mut tried = NOWHERE;
        let last = self.last_index;
        if last < self.candidates.len() {
            let anchored = self.candidates[last].template.anchored;
            let window = if anchored { None } else { self.last_place.in_line(line) };
            if window.is_none() {
                tried = last;
            }
            if let Some(hit) = self.try_at(last, line, window.unwrap_or(0..line.len())) {
                let same = hit.whole == (self.last_place.start..self.last_place.end);
                if anchored || same || self.candidates.len() == 1 {
                    return Some((last, hit));
                }
                best = Some((last, hit));
            }
        }
        for index in 0..self.candidates.len() {
            if index == tried {
                continue;
            }
            let Some(hit) = self.try_at(index, line, 0..line.len()) else { continue };
            let candidate = &self.candidates[index];
            let distance = hit.whole.start;
            let next_unused = self.candidates.get(index + 1).is_none_or(|next| next.matched == 0);
            let is_last = index + 1 == self.candidates.len();
            let final_match = is_last
                || candidate.template.anchored
                || (distance == 0 && candidate.hits > 0 && next_unused)
                || (distance <= candidate.distance && distance <= self.last_place.start);
            if final_match {
                return Some((index, hit));
            }
            if best.as_ref().is_none_or(|(_, other)| distance < other.whole.start) {
                best = Some((index, hit));
            }
        }
        best
    }

    fn remember(&mut self, index: usize, line: &str, whole: Range<usize>, now: Timestamp) {
        let candidate = &mut self.candidates[index];
        candidate.hits += 1;
        candidate.last_used = now;
        candidate.distance = whole.start;
        if self.first_unused == index {
            self.first_unused += 1;
        }
        self.last_place = LastPlace::of(line, whole);
        self.last_index =
            if index > 0 && index != self.last_index { self.move_forward(index) } else { index };
    }

    /// Moves a winner towards the front when it outweighs what stands there; its new index.
    fn move_forward(&mut self, index: usize) -> usize {
        let candidate = &self.candidates[index];
        let (weight, stale) = (candidate.weight(), candidate.last_used.minus_ms(UNUSED_MS));
        let outweighs = |target: usize| {
            let other = &self.candidates[target];
            weight > other.weight() || stale > other.last_used
        };
        let mut target = if self.first_unused < index { self.first_unused } else { index / 2 };
        if !outweighs(target) {
            if target == index - 1 || !outweighs(index - 1) {
                return index;
            }
            target = index - 1;
        }
        let candidate = self.candidates.remove(index);
        self.candidates.insert(target, candidate);
        while self.candidates.get(self.first_unused).is_some_and(|candidate| candidate.hits > 0) {
            self.first_unused += 1;
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    const NOW: Timestamp = Timestamp(1_795_168_830_000);

    fn cuts(datepattern: &str, lines: &[&str]) -> Vec<Option<String>> {
        let mut detector = DateDetector::new(datepattern, &DefaultTemplates::new()).expect("a pattern");
        let zone = Zone::local(TimeZone::UTC);
        lines
            .iter()
            .map(|line| {
                let found = detector.find(line, &mut Glance::new(line.as_bytes()), NOW, &zone)?;
                Some(line[found.cut].to_owned())
            })
            .collect()
    }

    #[test]
    fn the_default_formats_find_the_usual_dates() {
        for (line, date) in [
            ("Nov 20 10:00:01 mx1 x", "Nov 20 10:00:01"),
            ("[Fri Nov 20 10:00:01.123456 2026] [x] y", "Fri Nov 20 10:00:01.123456 2026"),
            ("2026-11-20T10:00:01.5+01:00 mx1 x", "2026-11-20T10:00:01.5+01:00"),
            ("192.0.2.1 - - [20/Nov/2026:10:00:01 +0100] \"GET\"", "20/Nov/2026:10:00:01 +0100"),
            ("1795168801 x", "1795168801"),
            ("@4000000043d7bd2d3a8f3a44 x", "@4000000043d7bd2d3a8f3a44"),
            ("261120 10:00:01 x", "261120 10:00:01"),
            ("Nov 20, 2026 10:00:01 AM x", "Nov 20, 2026 10:00:01 AM"),
        ] {
            assert_eq!(cuts("", &[line]), [Some(date.to_owned())], "{line}");
        }
        assert_eq!(cuts("", &["no date here"]), [None]);
    }

    #[test]
    fn a_date_in_the_text_does_not_displace_the_one_at_the_beginning() {
        let lines = ["Nov 20 10:00:01 a", "Nov 20 10:00:02 b 2026-01-01 00:00:00", "Nov 20 10:00:03 c"];
        let dates: Vec<_> = cuts("", &lines).into_iter().flatten().collect();
        assert_eq!(dates, ["Nov 20 10:00:01", "Nov 20 10:00:02", "Nov 20 10:00:03"]);
    }

    #[test]
    fn patterns_may_be_keywords() {
        assert_eq!(cuts("{NONE}", &["Nov 20 10:00:01 a"]), [Some(String::new())]);
        assert_eq!(cuts("{^LN-BEG}", &["x y Nov 20 10:00:01 a"]), [None]);
        assert_eq!(
            cuts(r"^<\d+>{DATE}", &["<13>Nov 20 10:00:01 a"]),
            [Some("<13>Nov 20 10:00:01".to_owned())]
        );
        let epoch = DateDetector::new("{^LN-BEG}Epoch", &DefaultTemplates::new()).expect("a pattern");
        assert!(epoch.formats().all(|(format, _)| format.weight > 1.0), "a default format keeps its weight");
        assert!(DateDetector::new("%Q", &DefaultTemplates::new()).is_err());
        assert!(DateDetector::new("%Y\n%Y", &DefaultTemplates::new()).is_err());
    }
}
