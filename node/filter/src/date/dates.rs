//! The date of each line of a log, with what stands in for it when there is none.
//!
//! All jails that read the same logs with the same formats share one of these: the date of a line does not
//! depend on who asks. Its memory is that of fail2ban's filter, so it has to see every line of its logs in
//! their order, also those that nobody judges.

use super::convert::Zone;
use super::detector::DateDetector;
use super::glance::Glance;
use super::template::Template;
use crate::judged::Mode;
use bannkreis_core::time::{MINUTE_MS, SECOND_MS, Timestamp};
use std::ops::Range;

/// A date further from now than this is taken as now while a log is followed.
pub const DATE_SKEW_MAX_MS: u64 = MINUTE_MS;

/// When a line is judged.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// This host's wall clock.
    pub now: Timestamp,
    /// Whether the log is followed.
    pub mode: Mode,
    /// When the line was written, where its source knows that: see [`bannkreis_core::failure::LogLine::written_at`].
    pub written_at: Option<Timestamp>,
}

/// The dates of one log, or of several that a jail reads.
#[derive(Debug)]
pub struct Dates {
    detector: DateDetector,
    zone: Zone,
    last: Option<Timestamp>,
}

/// Where a line's date stands, and which time counts for the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    /// What is cut out of the line; empty when nothing is.
    pub cut: Range<usize>,
    /// The date that stands in it.
    pub written: Option<Timestamp>,
    /// That, or what stands in for it.
    pub at: Option<Timestamp>,
    /// What stands in the line is far from now, and the log is followed: now stands in for it.
    pub is_odd: bool,
}

impl Dated {
    /// Writes into `rest` what stands in `text` beside its date, and a line end.
    pub fn rest_of(&self, text: &str, rest: &mut String) {
        rest.clear();
        rest.push_str(&text[..self.cut.start]);
        rest.push_str(&text[self.cut.end..]);
        rest.push('\n');
    }
}

impl Dates {
    /// No line has been seen yet.
    #[must_use]
    pub fn new(detector: DateDetector, zone: Zone) -> Dates {
        Dates { detector, zone, last: None }
    }

    /// The formats in the order in which they are tried now, and how often each has won.
    pub fn formats(&self) -> impl Iterator<Item = (&Template, u64)> {
        self.detector.formats()
    }

    /// How dates without a zone are read.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Looks at the date of a line that nobody judges; `None` when that takes [`Dates::next`]. Only what is
    /// common is decided here: a line that begins as the one before it did, and logs without dates. So the
    /// date, if there is one, begins where the line begins.
    #[must_use]
    #[inline]
    pub fn pass(&mut self, line: &Glance<'_>, moment: Moment) -> Option<Dated> {
        let Moment { now, mode, .. } = moment;
        let text = line.bytes();
        // What is cut out of the middle of a line may make a new text of its two halves.
        if self.detector.repeats(text, now).is_none_or(|found| found.cut.start != 0) {
            if !self.detector.repeats_none(text) && !self.detector.has_none(line.ascii()?, line) {
                return None;
            }
            let at = self.stand_in(moment);
            return Some(Dated { cut: 0..0, written: None, at, is_odd: false });
        }
        let found = self.detector.repeat(now);
        let written = found.at?;
        let is_odd = mode == Mode::Following && differs(written, now);
        let at = Some(if is_odd { now } else { written });
        self.last = at;
        Some(Dated { cut: found.cut, written: Some(written), at, is_odd })
    }

    /// The date of the next line. `text` is what the line of `glance` is in the log's encoding, without its end.
    pub fn next(&mut self, text: &str, glance: &mut Glance<'_>, moment: Moment) -> Dated {
        let Moment { now, mode, .. } = moment;
        let mut dated = self.as_written(text, glance, moment);
        if let Some(at) = dated.at
            && mode == Mode::Following
            && differs(at, now)
        {
            self.last = Some(now);
            dated.at = Some(now);
            dated.is_odd = true;
        }
        dated
    }

    fn as_written(&mut self, text: &str, glance: &mut Glance<'_>, moment: Moment) -> Dated {
        let Moment { now, mode, written_at } = moment;
        let Some(found) = self.detector.find(text, glance, now, &self.zone) else {
            return Dated { cut: 0..0, written: None, at: self.stand_in(moment), is_odd: false };
        };
        if let Some(at) = found.at {
            self.last = Some(at);
            return Dated { cut: found.cut, written: Some(at), at: Some(at), is_odd: false };
        }
        // An empty date belongs to a filter without dates; one that means nothing (30 February) is
        // cut out, unless the date of the line before it stands in for it.
        let recent = written_at.or_else(|| self.recent(now));
        let at = recent.or((mode == Mode::Following || found.cut.is_empty()).then_some(now));
        let cut = if recent.is_some() { 0..0 } else { found.cut };
        Dated { cut, written: None, at, is_odd: false }
    }

    #[inline]
    fn recent(&self, now: Timestamp) -> Option<Timestamp> {
        self.last.filter(|&last| last > now.minus_ms(MINUTE_MS))
    }

    /// What counts for a line without a date.
    #[inline]
    fn stand_in(&self, Moment { now, mode, written_at }: Moment) -> Option<Timestamp> {
        written_at.or_else(|| self.recent(now)).or((mode == Mode::Following).then_some(now))
    }
}

/// More than a minute apart, in whole seconds as fail2ban counts.
#[inline]
fn differs(at: Timestamp, now: Timestamp) -> bool {
    at.ms_since(now).max(now.ms_since(at)) / SECOND_MS > DATE_SKEW_MAX_MS / SECOND_MS
}
