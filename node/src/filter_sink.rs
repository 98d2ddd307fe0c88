//! From lines to failures: runs every jail's filter over the lines that its sources read, on the
//! source's own thread, and hands the failures to the warden.

use crate::borders::{Clock, LineSink};
use crate::event_loop::LoopHandle;
use crate::given_up::GivenUp;
use crate::second_look::SecondLook;
use bannkreis_core::event::Event;
use bannkreis_core::failure::{Failure, LogLine, SourceId, SourcePosition};
use bannkreis_core::log_block::LogBlock;
use bannkreis_filter::filter::Filter;
use bannkreis_filter::log_filters::LogFilters;
use std::sync::Arc;

/// Failures that go to the warden at once while a large block is read.
const FAILURES_PER_EVENT_MAX: usize = 1_000;

/// The filters of all jails, by the sources that they read.
pub struct FilterSink {
    filters: LogFilters,
    failures: Failures,
    given_up: Arc<GivenUp>,
    clock: Arc<dyn Clock>,
}

/// What was found and is not yet handed over.
struct Failures {
    found: Vec<Failure>,
    second_look: SecondLook,
    events: LoopHandle,
}

impl FilterSink {
    /// A sink for `filters`, each with the sources whose lines it judges; `given_up` knows them in the same order.
    #[must_use]
    pub fn new(
        filters: Vec<(Filter, Vec<SourceId>)>,
        given_up: Arc<GivenUp>,
        second_look: SecondLook,
        events: LoopHandle,
        clock: Arc<dyn Clock>,
    ) -> FilterSink {
        let failures = Failures { found: Vec::new(), second_look, events };
        FilterSink { filters: LogFilters::new(filters), failures, given_up, clock }
    }
}

impl Failures {
    fn push(&mut self, failure: Failure) {
        if crate::sabotage::is("filter") {
            return;
        }
        // What must be asked about comes to the warden by itself.
        self.found.extend(self.second_look.look(failure));
        if self.found.len() >= FAILURES_PER_EVENT_MAX {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if !self.found.is_empty() {
            self.events.send(Event::Failures(std::mem::take(&mut self.found)));
        }
    }
}

impl LineSink for FilterSink {
    fn line(&mut self, line: &LogLine) {
        let now = self.clock.wall();
        self.filters.judge_line(line, now, |failure| self.failures.push(failure));
    }

    fn block(&mut self, block: &LogBlock<'_>) {
        let now = self.clock.wall();
        self.filters.judge_block(block, now, |failure| self.failures.push(failure));
    }

    fn end_of_batch(&mut self, source: SourceId, read_up_to: SourcePosition) {
        self.failures.hand_over();
        let gave_up = self.filters.filters().iter().map(|filter| filter.counts().gave_up);
        self.given_up.note(gave_up, self.clock.boottime_ms());
        for named in self.filters.take_named() {
            self.failures.second_look.look_up(named);
        }
        self.failures.second_look.read_up_to(source, read_up_to);
    }
}
