//! Searches that filters gave up, because a line drove one of their expressions to its limit of steps: who gave up how
//! many, for `bannkreis status`, and now and then a warning in the daemon's log.
//!
//! Such a line is no failure, so somebody who can write such lines is not seen by that expression: people must hear of
//! it. Not for the limit itself (`bannkreis_filter::pattern`), and not for what else keeps a jail from reading.

use bannkreis_core::jail::JailName;
use bannkreis_filter::pattern::BACKTRACK_STEPS_MAX;
use std::sync::atomic::{AtomicU64, Ordering};

/// One jail is warned of at most once in so long, in ms; the next warning has the sum.
pub const WARN_EVERY_MS: u64 = 600_000;

/// The filters of a node, with what each has given up. Written by the sources' thread, read by whoever is asked.
#[derive(Debug, Default)]
pub struct GivenUp {
    filters: Vec<OfFilter>,
}

#[derive(Debug)]
struct OfFilter {
    jail: JailName,
    /// As the jail gives it.
    name: String,
    n_searches: AtomicU64,
    /// How many of them were told.
    n_told: AtomicU64,
    /// When that was, in ms of CLOCK_BOOTTIME and one more; 0: never.
    told_at: AtomicU64,
}

impl GivenUp {
    /// Of filters by these names, each with its jail; nothing is given up yet.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (JailName, String)>) -> GivenUp {
        let of_filter = |(jail, name)| OfFilter {
            jail,
            name,
            n_searches: AtomicU64::new(0),
            n_told: AtomicU64::new(0),
            told_at: AtomicU64::new(0),
        };
        GivenUp { filters: names.into_iter().map(of_filter).collect() }
    }

    /// The filters have given up so many searches by now, each in its place. `boottime_ms` as in
    /// [`crate::borders::Clock`].
    pub fn note(&self, n_searches: impl IntoIterator<Item = u64>, boottime_ms: u64) {
        for (of_filter, n) in self.filters.iter().zip(n_searches) {
            of_filter.n_searches.store(n, Ordering::Relaxed);
            of_filter.warn(n, boottime_ms);
        }
    }

    /// How many searches each jail gave up, where there are any.
    pub fn by_jail(&self) -> Vec<(JailName, u64)> {
        let n_searches = |of_filter: &OfFilter| of_filter.n_searches.load(Ordering::Relaxed);
        let all = self.filters.iter().map(|of_filter| (of_filter.jail.clone(), n_searches(of_filter)));
        all.filter(|(_, n)| *n > 0).collect()
    }
}

impl OfFilter {
    fn warn(&self, n: u64, boottime_ms: u64) {
        let told_at = self.told_at.load(Ordering::Relaxed);
        let is_too_soon =
            told_at > 0 && boottime_ms.saturating_add(1) < told_at.saturating_add(WARN_EVERY_MS);
        let n_new = n.saturating_sub(self.n_told.load(Ordering::Relaxed));
        if n_new == 0 || is_too_soon {
            return;
        }
        self.n_told.store(n, Ordering::Relaxed);
        self.told_at.store(boottime_ms.saturating_add(1), Ordering::Relaxed);
        let searches = if n_new == 1 { "search" } else { "searches" };
        tracing::warn!(
            "[{}] filter {} gave up {n_new} {searches} after {BACKTRACK_STEPS_MAX} steps: such lines count as no \
             failure. `bannkreis regex LOG FILTER` finds them; an expression with look-around or \\1 is too ambiguous",
            self.jail,
            self.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::log_of;
    use bannkreis_core::failure::{SourceId, SourcePosition};
    use bannkreis_core::log_block::LogBlock;
    use bannkreis_core::time::Timestamp;
    use bannkreis_filter::log_filters::LogFilters;
    use bannkreis_filter::reading::{self, Host};
    use bannkreis_filter::tree::MemoryTree;
    use jiff::tz::TimeZone;

    /// 2026-11-20 10:00:30 UTC.
    const NOW: Timestamp = Timestamp(1_795_168_830_000);
    const SOURCE: SourceId = SourceId(1);

    /// Two jails whose filter reads the same log: one expression that a line can drive to its limit, and a plain one.
    fn filters() -> (LogFilters, GivenUp) {
        let jail = |name: &str, regex: &str| {
            format!("[{name}]\nenabled = true\nlogpath = /x\nfilter = {name}-lines\nfailregex = {regex}\n")
        };
        let ambiguous = r"^\s*(?!ok)(?P<w>\w)(?:(?:\w+\s?)+(?=\w))+(?P=w)! <HOST>$";
        let jails = jail("words", ambiguous) + &jail("plain", r"^\s*failed: <HOST>$");
        let tree = MemoryTree::new("/f/")
            .with("jail.local", &jails)
            .with("filter.d/words-lines.conf", "[Definition]\nfailregex =\n")
            .with("filter.d/plain-lines.conf", "[Definition]\nfailregex =\n");
        let host = Host {
            zone: TimeZone::UTC,
            services: &|_| None,
            is_journal_instead: &|_| false,
            config_dir: String::new(),
        };
        let reading = reading::read(&tree, &host).expect("well formed");
        assert_eq!(reading.errors, []);
        let names: Vec<_> =
            reading.jails.iter().map(|jail| (jail.jail.name.clone(), jail.filter_name.clone())).collect();
        let filters = reading.jails.into_iter().map(|jail| jail.filter).collect();
        (LogFilters::of_one(SOURCE, filters), GivenUp::new(names))
    }

    fn judge(filters: &mut LogFilters, given_up: &GivenUp, line: &str, boottime_ms: u64) {
        let bytes = format!("{line}\n");
        let block = LogBlock {
            source: SOURCE,
            position: SourcePosition(0),
            received_at: NOW,
            bytes: bytes.as_bytes(),
            replayed_bytes: 0,
        };
        filters.judge_block(&block, NOW, |failure| panic!("no failure: {failure:?}"));
        given_up.note(filters.filters().iter().map(|filter| filter.counts().gave_up), boottime_ms);
    }

    #[test]
    fn what_a_filter_gives_up_is_counted_and_warned_of_now_and_then() {
        let (mut filters, given_up) = filters();
        let hostile = format!("Nov 20 10:00:00 {}b! 192.0.2.5", "ab ".repeat(2_000));
        let harmless = "Nov 20 10:00:00 ok";
        let log = log_of(|| {
            judge(&mut filters, &given_up, harmless, 0);
            assert_eq!(given_up.by_jail(), []);
            for n in 0..3 {
                judge(&mut filters, &given_up, &hostile, n);
            }
        });
        let [(jail, n)] = &given_up.by_jail()[..] else { panic!("{:?}", given_up.by_jail()) };
        assert_eq!((jail.as_str(), *n), ("words", 3));
        // The first is told at once, the others when the time has come.
        let [first] = &log[..] else { panic!("{log:?}") };
        assert!(
            first.contains(" WARN [words] filter words-lines gave up 1 search after 100000 steps"),
            "{first}"
        );
        let later = log_of(|| {
            judge(&mut filters, &given_up, harmless, WARN_EVERY_MS - 1);
            judge(&mut filters, &given_up, harmless, WARN_EVERY_MS);
            judge(&mut filters, &given_up, harmless, 3 * WARN_EVERY_MS);
        });
        let [second] = &later[..] else { panic!("{later:?}") };
        assert!(second.contains("[words] filter words-lines gave up 2 searches"), "{second}");
    }
}
