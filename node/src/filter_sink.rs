//! From lines to failures: runs every jail's filter over the lines that its sources read, on the
//! source's own thread, and hands the failures to the warden.

use crate::borders::{Clock, LineSink};
use crate::event_loop::LoopHandle;
use bannkreis_core::event::Event;
use bannkreis_core::failure::{Failure, LogLine, SourceId, SourcePosition};
use bannkreis_filter::filter::{Filter, Judged, Mode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Failures that go to the warden at once while a large block is read.
const FAILURES_PER_EVENT_MAX: usize = 1_000;

/// The filters of all jails, by the sources that they read.
pub struct FilterSink {
    filters: Vec<Filter>,
    by_source: BTreeMap<SourceId, Vec<usize>>,
    failures: Vec<Failure>,
    events: LoopHandle,
    clock: Arc<dyn Clock>,
}

impl FilterSink {
    /// A sink for `filters`, each with the sources whose lines it judges.
    #[must_use]
    pub fn new(
        filters: Vec<(Filter, Vec<SourceId>)>,
        events: LoopHandle,
        clock: Arc<dyn Clock>,
    ) -> FilterSink {
        let mut by_source: BTreeMap<SourceId, Vec<usize>> = BTreeMap::new();
        let mut all = Vec::with_capacity(filters.len());
        for (filter, sources) in filters {
            for source in sources {
                by_source.entry(source).or_default().push(all.len());
            }
            all.push(filter);
        }
        FilterSink { filters: all, by_source, failures: Vec::new(), events, clock }
    }

    fn hand_over(&mut self) {
        if !self.failures.is_empty() {
            self.events.send(Event::Failures(std::mem::take(&mut self.failures)));
        }
    }
}

impl LineSink for FilterSink {
    fn line(&mut self, line: &LogLine) {
        let Some(filters) = self.by_source.get(&line.source) else { return };
        let mode = if line.replayed { Mode::CatchingUp } else { Mode::Following };
        let now = self.clock.wall();
        for &n in filters {
            if let Judged::Failure(failure) = self.filters[n].judge(line, now, mode)
                && !crate::sabotage::is("filter")
            {
                self.failures.push(failure);
            }
        }
        if self.failures.len() >= FAILURES_PER_EVENT_MAX {
            self.hand_over();
        }
    }

    fn end_of_batch(&mut self, source: SourceId, read_up_to: SourcePosition) {
        self.hand_over();
        self.events.send(Event::ReadUpTo { source, position: read_up_to });
    }
}
