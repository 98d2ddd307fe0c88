//! Any bytes as a log: whole blocks through the prefilter and every filter by itself find the same.
//!
//! The first byte says how many lines a block has. Not for what is right: see the tests of node/filter.
#![no_main]

use bannkreis_core::failure::{Failure, LogLine, SourceId, SourcePosition};
use bannkreis_core::log_block::{LogBlock, line_text};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::{Filter, Judged, Mode};
use bannkreis_filter::log_filters::LogFilters;
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

/// 2026-11-20 10:00:30 UTC.
const NOW: Timestamp = Timestamp(1_795_168_830_000);
const SOURCE: SourceId = SourceId(0);
const JAILS: &str = "
[sshd]
enabled = true
logpath = /x
[inside]
enabled = true
port = 1
logpath = /x
datepattern = \\[%%Y-%%m-%%d %%H:%%M:%%S\\]
failregex = ^x: error from <HOST>
[plain]
enabled = true
port = 1
logpath = /x
failregex = ^\\s*\\S+ failed from <HOST>
            (?i)refused: <HOST>$
            ^(?!.*good)\\s*\\S+ (?P<q>')?\\w+(?(q)') denied <HOST>$
";

fn filters() -> Vec<Filter> {
    let tree = MemoryTree::new("/f/").with("jail.local", JAILS);
    let host = Host { zone: TimeZone::UTC, services: &|_| None, is_journal_instead: &|_| false, config_dir: String::new() };
    let reading = reading::read(&tree, &host).expect("well formed");
    reading.jails.into_iter().map(|jail| jail.filter).collect()
}

fn sorted(mut found: Vec<Failure>) -> Vec<Failure> {
    found.sort_by(|a, b| (a.position, &a.jail).cmp(&(b.position, &b.jail)));
    found
}

/// Both ways to the same failures. They outlive an input: to read the jails takes longer than to judge it.
struct Both {
    alone: Vec<Filter>,
    together: LogFilters,
    /// Where the next input begins in what both take for one long log.
    start: u64,
}

impl Both {
    fn new() -> Both {
        let together = LogFilters::of_one(SOURCE, filters());
        Both { alone: filters(), together, start: 0 }
    }

    /// What the filters find each by itself, line by line, and what they find together, `n_together` lines at
    /// a time.
    fn judge(&mut self, log: &[u8], n_together: usize) -> [Vec<Failure>; 2] {
        let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
        let mut slow = Vec::new();
        let mut start = self.start;
        for raw in &lines {
            let (text, cut) = line_text(&raw[..raw.len() - 1]);
            let position = SourcePosition(start);
            let line = LogLine {
                source: SOURCE,
                position,
                received_at: NOW,
                written_at: None,
                text: text.to_vec(),
                cut,
                replayed: false,
            };
            for filter in &mut self.alone {
                if let Judged::Failure(failure) = filter.judge(&line, NOW, Mode::Following) {
                    slow.push(failure);
                }
            }
            start += raw.len() as u64;
        }
        let mut quick = Vec::new();
        let mut start = self.start;
        for some in lines.chunks(n_together) {
            let bytes = some.concat();
            let position = SourcePosition(start);
            let block =
                LogBlock { source: SOURCE, position, received_at: NOW, bytes: &bytes, replayed_bytes: 0 };
            self.together.judge_block(&block, NOW, |failure| quick.push(failure));
            start += bytes.len() as u64;
        }
        self.start = start;
        [sorted(slow), sorted(quick)]
    }
}

thread_local! {
    static BOTH: RefCell<Both> = RefCell::new(Both::new());
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let (log, n_together) = ([text, b"\n"].concat(), usize::from(first) + 1);
    BOTH.with_borrow_mut(|both| {
        let [slow, quick] = both.judge(&log, n_together);
        if slow != quick {
            let [slow, quick] = Both::new().judge(&log, n_together);
            assert_eq!(quick, slow, "this input by itself");
            panic!(
                "only after the inputs before it: the state of dates or of lines that belong together differs"
            );
        }
    });
});
