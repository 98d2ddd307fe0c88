//! From lines to failures: runs every jail's filter over the lines that its sources read, on the
//! source's own thread, and hands the failures to the warden.

use crate::borders::{Clock, LineSink};
use crate::event_loop::LoopHandle;
use crate::given_up::GivenUp;
use crate::second_look::SecondLook;
use bannkreis_core::event::Event;
use bannkreis_core::failure::{Failure, LogId, LogLine, SourceId, SourcePosition};
use bannkreis_core::log_block::LogBlock;
use bannkreis_filter::filter::Filter;
use bannkreis_filter::log_filters::LogFilters;
use std::sync::Arc;

/// Failures that go to the warden at once while a large block is read.
const FAILURES_PER_EVENT_MAX: usize = 1_000;

/// The filters of all jails, by the logs that they read.
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
    /// A sink for `filters`, each with the logs whose lines it judges; `given_up` knows them in the same order.
    #[must_use]
    pub fn new(
        filters: Vec<(Filter, Vec<LogId>)>,
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
    fn open(&mut self, source: SourceId, logs: &[LogId]) {
        self.filters.open(source, logs);
    }

    fn low_trust(&mut self, source: SourceId) {
        self.failures.events.send(Event::LowTrust { source });
    }

    fn place_known_better(&mut self, source: SourceId) {
        self.failures.events.send(Event::PlaceKnownBetter { source });
    }

    fn close(&mut self, source: SourceId) {
        self.filters.close(source);
        self.failures.second_look.close(source);
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::borders::Names;
    use crate::config::jails;
    use crate::event_loop::EventQueue;
    use crate::source::{Sources, SyslogPlan};
    use crate::startup;
    use bannkreis_core::time::{Now, Timestamp};
    use jiff::civil;
    use jiff::tz::TimeZone;
    use std::collections::BTreeMap;
    use std::fs;
    use std::net::IpAddr;
    use std::time::Duration;

    /// Nothing takes longer, on the slowest machine.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// The end of the day on which the lines were written.
    struct Evening;

    impl Clock for Evening {
        fn wall(&self) -> Timestamp {
            milliseconds("2026-11-20T23:00:00Z".parse().expect("a time"))
        }
        fn boottime_ms(&self) -> u64 {
            1_000_000
        }
        fn now(&self) -> Now {
            Now::known(self.wall(), self.wall())
        }
    }

    struct NoNames;

    impl Names for NoNames {
        fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
            Err(format!("{name} is not asked for"))
        }
    }

    fn milliseconds(at: jiff::Timestamp) -> Timestamp {
        Timestamp(u64::try_from(at.as_millisecond()).expect("after 1970"))
    }

    /// The failures that come in time, until there are so many.
    fn failures(queue: &EventQueue, n: usize) -> Vec<Failure> {
        let mut found = Vec::new();
        while found.len() < n
            && let Some(event) = queue.next_event(DEADLINE)
        {
            if let Event::Failures(failures) = event {
                found.extend(failures);
            }
        }
        found
    }

    /// From the files of the configuration and the log to what the warden is told.
    #[test]
    fn logtimezone_decides_when_a_line_was_written_in_the_jail_that_has_it() {
        let zones = [
            ("here", ""),
            ("utc", "logtimezone = UTC\n"),
            ("east", "logtimezone = UTC+0530\n"),
            ("west", "logtimezone = -0330\n"),
            ("named", "logtimezone = CET\n"),
        ];
        let directory = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| directory.path().join(name);
        let log = at("door.log");
        let jail_of = |(name, option): (&str, &str)| {
            format!(
                "[{name}]\nenabled = true\nfilter = door\nfindtime = 2d\nlogpath = {}\n{option}",
                log.display()
            )
        };
        fs::write(at("jail.local"), zones.map(jail_of).concat()).expect("written");
        fs::create_dir(at("filter.d")).expect("made");
        fs::write(at("filter.d/door.conf"), "[Definition]\nfailregex = refused <HOST>$\n").expect("written");
        let lines = "2026-11-20 10:00:00 refused 192.0.2.7\n2026-11-20T10:00:00+02:00 refused 192.0.2.8\n";
        fs::write(&log, lines).expect("written");

        let loaded = jails::load(directory.path()).expect("well formed");
        assert_eq!((loaded.jails.len(), loaded.warnings), (5, Vec::new()));
        let store = startup::open_store(directory.path()).expect("it can be opened");
        let reading = startup::logs_of(loaded.jails, Vec::new(), &store, true);
        let (events, queue) = LoopHandle::new();
        let tell = events.clone();
        let clock: Arc<dyn Clock> = Arc::new(Evening);
        let second_look = SecondLook::new(
            Vec::new(),
            Arc::new(NoNames),
            Arc::new(move |event| tell.send(event)),
            clock.clone(),
        );
        let sink = FilterSink::new(reading.filters, Arc::default(), second_look, events, clock.clone());
        let sources =
            Sources::start(reading.logs, SyslogPlan::default(), reading.beginnings, Box::new(sink), clock)
                .expect("started");
        let found = failures(&queue, 2 * zones.len());
        sources.stop();

        let when = |text: &str| milliseconds(text.parse().expect("a time"));
        let local = "2026-11-20T10:00:00".parse::<civil::DateTime>().expect("a time");
        let local =
            milliseconds(local.to_zoned(TimeZone::system()).expect("there is such a time").timestamp());
        let at = |offender: [u8; 4]| -> BTreeMap<&str, Timestamp> {
            let of = |failure: &&Failure| failure.offender.address() == IpAddr::from(offender);
            found.iter().filter(of).map(|failure| (failure.jail.as_str(), failure.at)).collect()
        };
        let expected = [
            ("here", local),
            ("utc", when("2026-11-20T10:00:00Z")),
            ("east", when("2026-11-20T04:30:00Z")),
            ("west", when("2026-11-20T13:30:00Z")),
            ("named", when("2026-11-20T09:00:00Z")),
        ];
        assert_eq!(at([192, 0, 2, 7]), BTreeMap::from(expected));
        // A line that names its zone is from then, whatever the jail says.
        let own = zones.map(|(name, _)| (name, when("2026-11-20T08:00:00Z")));
        assert_eq!(at([192, 0, 2, 8]), BTreeMap::from(own));
    }
}
