//! All filters of a host, by the logs that they read: judges whole blocks of lines.
//!
//! What comes out is what every filter would find by itself, line by line ([`Filter::judge`]); this is the
//! quick way there. Most lines of a block are no filter's business, and for those only the date is looked
//! at, once for all filters that read the same logs with the same formats: which of several dates in a
//! later line counts depends on it. Not for reading logs and not for counting failures.

use crate::date::dates::Dated;
use crate::date::glance::{Glance, without_end};
use crate::engine::ascii::ascii_text;
use crate::filter::{Filter, Mode, Moment};
use crate::further_texts::FurtherTexts;
use crate::judged::{Judged, NamedFailure};
use crate::passes::{Passes, Search};
use crate::prefilter::{Members, Prefilter};
use bannkreis_core::failure::{Failure, LogId, LogLine, SourceId, SourcePosition};
use bannkreis_core::log_block::{LogBlock, line_text};
use bannkreis_core::time::Timestamp;
use memchr::memchr;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A single filter that wants more lines than one in so many judges them all for a while, unsearched: to search
/// costs more than it saves.
const WANTED_ONE_IN: u64 = 2;
/// For so many blocks.
const UNSEARCHED_BLOCKS: u32 = 15;

/// The filters, and which of them reads what.
#[derive(Debug)]
pub struct LogFilters {
    filters: Vec<Filter>,
    /// What each of them reads.
    logs: Vec<BTreeSet<LogId>>,
    sources: BTreeMap<SourceId, OpenSource>,
    /// Memory that one block hands on to the next.
    scratch: Scratch,
    lowered: Vec<u8>,
}

/// A source, and how it has been of late.
#[derive(Debug)]
struct OpenSource {
    /// Sources that the same filters read have the same: a host with a thousand logs has one.
    readers: Arc<Readers>,
    /// So many blocks are not searched for texts, because nearly every line of the last one had some.
    n_unsearched: u32,
}

/// The filters that read a source.
#[derive(Debug)]
struct Readers {
    /// By their place in [`LogFilters::filters`].
    filters: Vec<usize>,
    /// Its members are the places in `filters` here.
    prefilter: Prefilter,
    /// What else must stand in a line for a member, where there is something.
    further: Vec<(usize, FurtherTexts)>,
    groups: Vec<Group>,
}

impl Readers {
    /// Those at these places.
    fn new(places: Vec<usize>, filters: &[Filter], logs: &[BTreeSet<LogId>]) -> Readers {
        // A filter's dates are those of all its logs, so only filters of the same logs share them.
        let same_dates = |a: usize, b: usize| logs[a] == logs[b] && filters[a].dates_like(&filters[b]);
        let mut groups: Vec<Group> = Vec::new();
        for (member, &place) in places.iter().enumerate() {
            match groups.iter_mut().find(|group| same_dates(group.lead, place)) {
                Some(group) => group.members.push(member),
                None => {
                    let members = vec![member];
                    let (all, with_window) = (Members::default(), Vec::new());
                    groups.push(Group { lead: place, members, all, with_window });
                }
            }
        }
        let needles: Vec<_> = places.iter().map(|&place| filters[place].all_needles()).collect();
        let further = (0..).zip(&places).zip(&needles).filter_map(|((member, &place), choices)| {
            let choices = choices.get(1..).filter(|_| !filters[place].has_window())?;
            Some((member, FurtherTexts::new(choices))).filter(|(_, further)| !further.is_empty())
        });
        let further = further.collect();
        let first: Vec<_> = needles.into_iter().map(|choices| choices.into_iter().next()).collect();
        let prefilter = Prefilter::new(&first);
        for group in &mut groups {
            group.all = prefilter.members(&group.members);
            let members = group.members.iter().map(|&member| (places[member], member));
            group.with_window = members.filter(|&(place, _)| filters[place].has_window()).collect();
        }
        Readers { filters: places, prefilter, further, groups }
    }
}

/// What is known of the line that is being judged.
#[derive(Debug, Default)]
struct Scratch {
    /// Those that the prefilter found something for, or that want to see every line.
    wanted_by: Members,
    /// Those of them that a line with its date at the beginning can concern.
    narrowed: Members,
    /// The line without its date.
    rest: String,
}

/// Filters that read the same sources with the same formats of dates.
#[derive(Debug)]
struct Group {
    /// The one that looks at the dates, by its place in [`LogFilters::filters`].
    lead: usize,
    /// By their places in [`Readers::filters`].
    members: Vec<usize>,
    /// The same.
    all: Members,
    /// Those that look at several lines at once, by their places in [`LogFilters::filters`] and in
    /// [`Readers::filters`].
    with_window: Vec<(usize, usize)>,
}

impl LogFilters {
    /// These filters, each with the logs whose lines it judges. None has a source yet.
    #[must_use]
    pub fn new(filters: Vec<(Filter, Vec<LogId>)>) -> LogFilters {
        let (filters, logs) =
            filters.into_iter().map(|(filter, logs)| (filter, BTreeSet::from_iter(logs))).unzip();
        LogFilters {
            filters,
            logs,
            sources: BTreeMap::new(),
            scratch: Scratch::default(),
            lowered: Vec::new(),
        }
    }

    /// Filters that all read one source.
    #[must_use]
    pub fn of_one(source: SourceId, filters: Vec<Filter>) -> LogFilters {
        let log = LogId(0);
        let mut one = LogFilters::new(filters.into_iter().map(|filter| (filter, vec![log])).collect());
        one.open(source, &[log]);
        one
    }

    /// From now on lines of `source` come, and they are those of these logs.
    pub fn open(&mut self, source: SourceId, logs: &[LogId]) {
        let mut places: Vec<usize> =
            self.sources.remove(&source).map_or_else(Vec::new, |known| known.readers.filters.clone());
        let of_these = |place: &usize| logs.iter().any(|log| self.logs[*place].contains(log));
        places.extend((0..self.filters.len()).filter(of_these));
        places.sort_unstable();
        places.dedup();
        let known = self.sources.values().find(|known| known.readers.filters == places);
        let readers = match known {
            Some(known) => Arc::clone(&known.readers),
            None => Arc::new(Readers::new(places, &self.filters, &self.logs)),
        };
        self.sources.insert(source, OpenSource { readers, n_unsearched: 0 });
    }

    /// No more lines of this source come.
    pub fn close(&mut self, source: SourceId) {
        self.sources.remove(&source);
    }

    /// The filters in the order in which they were given.
    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// The failures since the last call whose offender has only a name so far: see [`Filter::take_named`].
    pub fn take_named(&mut self) -> Vec<NamedFailure> {
        self.filters.iter_mut().flat_map(Filter::take_named).collect()
    }

    /// Judges a block at `now`, this host's wall clock. `found` gets the failures in the order of the lines;
    /// in one line, filters that look at dates alike come together. Says how many lines there were.
    pub fn judge_block(
        &mut self,
        block: &LogBlock<'_>,
        now: Timestamp,
        mut found: impl FnMut(Failure),
    ) -> u64 {
        self.judge_lines(block, now, &mut found)
    }

    // Not as part of a program that is compiled to be small.
    #[inline(never)]
    fn judge_lines(&mut self, block: &LogBlock<'_>, now: Timestamp, found: &mut dyn FnMut(Failure)) -> u64 {
        let Some(OpenSource { readers, n_unsearched }) = self.sources.get_mut(&block.source) else {
            return memchr::memchr_iter(b'\n', block.bytes).count() as u64;
        };
        let is_searched = readers.filters.len() > 1 || *n_unsearched == 0;
        let mut search = if is_searched {
            readers.prefilter.look_through(block.bytes, &mut self.lowered)
        } else {
            Passes::pass_over(block.bytes)
        };
        // When each line is looked at anyway, they are all taken for text at once.
        let text_of_all = if is_searched { None } else { ascii_text(block.bytes) };
        let mut work = Work::new(&mut self.filters, readers, &mut self.scratch, now);
        let mut n_lines = 0;
        let mut start = 0;
        while start < block.bytes.len() {
            let length = memchr(b'\n', &block.bytes[start..]).unwrap_or(block.bytes.len() - start);
            let end = start + length;
            let (text, cut) = line_text(&block.bytes[start..end]);
            let ascii = text_of_all.and_then(|all| all.get(start..=end)).filter(|_| text.len() == length);
            let line = RawLine {
                source: block.source,
                position: SourcePosition(block.position.0 + start as u64),
                replayed: start < block.replayed_bytes,
                written_at: None,
                text,
                ascii,
                cut,
                is_telling: true,
            };
            work.line(line, &mut search, &(start..end), found);
            n_lines += 1;
            start = end + 1;
        }
        let is_busy = work.n_wanted * WANTED_ONE_IN > n_lines;
        *n_unsearched = match is_searched {
            true if is_busy => UNSEARCHED_BLOCKS,
            true => 0,
            false => n_unsearched.saturating_sub(1),
        };
        for &place in &readers.filters {
            self.filters[place].counts.lines += n_lines;
        }
        n_lines
    }

    /// Judges one line, as [`LogFilters::judge_block`] does.
    pub fn judge_line(&mut self, line: &LogLine, now: Timestamp, mut found: impl FnMut(Failure)) {
        let Some(OpenSource { readers, .. }) = self.sources.get(&line.source) else { return };
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
        let mut search = readers.prefilter.look_through(raw.text, &mut self.lowered);
        let mut work = Work::new(&mut self.filters, readers, &mut self.scratch, now);
        work.line(raw, &mut search, &(0..raw.text.len()), &mut found);
        for &place in &readers.filters {
            self.filters[place].counts.lines += 1;
        }
    }
}

/// A line as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawLine<'b> {
    pub(crate) source: SourceId,
    pub(crate) position: SourcePosition,
    pub(crate) replayed: bool,
    pub(crate) written_at: Option<Timestamp>,
    pub(crate) text: &'b [u8],
    /// The same with its line end, where it is known already that it is ASCII and that nothing else ends it.
    pub(crate) ascii: Option<&'b str>,
    pub(crate) cut: bool,
    /// Its filter has a text that may stand in it, or wants to see every line.
    pub(crate) is_telling: bool,
}

impl RawLine<'_> {
    /// Judged at `now`: old lines are caught up with.
    fn moment(&self, now: Timestamp) -> Moment {
        let mode = if self.replayed { Mode::CatchingUp } else { Mode::Following };
        Moment { now, mode, written_at: self.written_at }
    }
}

struct Work<'w> {
    filters: &'w mut [Filter],
    readers: &'w Readers,
    scratch: &'w mut Scratch,
    now: Timestamp,
    /// So many lines were wanted by the first filter.
    n_wanted: u64,
}

impl<'w> Work<'w> {
    fn new(
        filters: &'w mut [Filter],
        readers: &'w Readers,
        scratch: &'w mut Scratch,
        now: Timestamp,
    ) -> Work<'w> {
        scratch.wanted_by = readers.prefilter.nobody().clone();
        scratch.narrowed = scratch.wanted_by.clone();
        Work { filters, readers, scratch, now, n_wanted: 0 }
    }

    /// Judges a line that stands at `place` of the block that is searched.
    fn line(
        &mut self,
        line: RawLine<'_>,
        search: &mut Search<'_, '_>,
        place: &Range<usize>,
        found: &mut dyn FnMut(Failure),
    ) {
        let Scratch { wanted_by, narrowed, .. } = &mut *self.scratch;
        wanted_by.set_to(self.readers.prefilter.nobody());
        self.readers.prefilter.who_wants(search, place, wanted_by);
        narrowed.set_to(wanted_by);
        self.n_wanted += u64::from(wanted_by.contains(0));
        for (member, further) in &self.readers.further {
            if wanted_by.contains(*member) && !further.are_in(line.text) {
                narrowed.remove(*member);
            }
        }
        let mut glance = Glance::new(line.text);
        if let Some(ascii) = line.ascii {
            glance = Glance::of_ascii(ascii.strip_suffix('\n').unwrap_or(ascii));
        }
        for group in &self.readers.groups {
            let is_wanted = self.scratch.narrowed.has_any_of(&group.all)
                || group.with_window.iter().any(|&(place, _)| self.filters[place].awaits_more());
            let passed = if is_wanted {
                None
            } else {
                self.filters[group.lead].dates.pass(&glance, line.moment(self.now))
            };
            match passed {
                Some(dated) if !group.with_window.is_empty() => self.note(group, line, &glance, &dated),
                Some(_) => {}
                None => self.in_group(group, line, &mut glance, found),
            }
        }
    }

    /// Shows a line that nobody judges to those that look at several lines at once.
    fn note(&mut self, group: &Group, line: RawLine<'_>, glance: &Glance<'_>, dated: &Dated) {
        let decoded = self.decoded(group, glance);
        let text = without_end(&decoded);
        let at = line.moment(self.now);
        for &(place, _) in &group.with_window {
            self.filters[place].take_note(line.cut, text, &text[dated.cut.end..], dated, at);
        }
    }

    fn decoded<'l>(&self, group: &Group, line: &Glance<'l>) -> Cow<'l, str> {
        line.ascii().map_or_else(|| self.filters[group.lead].encoding.decode(line.bytes()), Cow::Borrowed)
    }

    /// Looks at the line's date, and lets those judge the line that want it.
    fn in_group(
        &mut self,
        group: &Group,
        line: RawLine<'_>,
        glance: &mut Glance<'_>,
        found: &mut dyn FnMut(Failure),
    ) {
        let decoded = self.decoded(group, glance);
        let text = without_end(&decoded);
        let dated = self.filters[group.lead].dates.next(text, glance, line.moment(self.now));
        let Scratch { wanted_by, narrowed, rest } = &mut *self.scratch;
        self.readers.prefilter.at_gap(text, &dated.cut, wanted_by);
        let wanted_by = if dated.cut.start == 0 { narrowed } else { wanted_by };
        let at = line.moment(self.now);
        rest.clear();
        let filters = &mut *self.filters;
        // What stands behind the date is mostly the rest of the line as it lies in the block.
        let behind = line.ascii.filter(|_| dated.cut.start == 0).and_then(|ascii| ascii.get(dated.cut.end..));
        let mut judge = |member: usize, is_telling: bool| {
            if behind.is_none() && rest.is_empty() {
                dated.rest_of(text, rest);
            }
            let rest = behind.unwrap_or(rest);
            let filter = &mut filters[self.readers.filters[member]];
            if !is_telling && !filter.awaits_more() {
                filter.take_note(line.cut, text, &rest[..rest.len() - 1], &dated, at);
                return;
            }
            let line = RawLine { is_telling, ..line };
            let (judged, _) = filter.judge_dated(line, text, rest, &dated, at);
            if let Judged::Failure(failure) = judged {
                found(failure);
            }
        };
        let mut windows = group.with_window.iter().map(|&(_, member)| member).peekable();
        wanted_by.each_of(&group.all, |member| {
            while let Some(window) = windows.next_if(|&window| window <= member) {
                if window < member {
                    judge(window, false);
                }
            }
            judge(member, true);
        });
        windows.for_each(|window| judge(window, false));
    }
}
