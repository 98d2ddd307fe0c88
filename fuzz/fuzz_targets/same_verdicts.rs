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
    let host = Host { zone: TimeZone::UTC, services: &|_| None, config_dir: String::new() };
    let reading = reading::read(&tree, &host).expect("well formed");
    reading.jails.into_iter().map(|jail| jail.filter).collect()
}

fn sorted(mut found: Vec<Failure>) -> Vec<Failure> {
    found.sort_by(|a, b| (a.position, &a.jail).cmp(&(b.position, &b.jail)));
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let mut log = text.to_vec();
    log.push(b'\n');
    let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();

    let mut alone = filters();
    let mut slow = Vec::new();
    let mut start = 0;
    for raw in &lines {
        let (text, cut) = line_text(&raw[..raw.len() - 1]);
        let position = SourcePosition(start as u64);
        let line =
            LogLine { source: SOURCE, position, received_at: NOW, text: text.to_vec(), cut, replayed: false };
        for filter in &mut alone {
            if let Judged::Failure(failure) = filter.judge(&line, NOW, Mode::Following) {
                slow.push(failure);
            }
        }
        start += raw.len();
    }

    let mut together = LogFilters::new(filters().into_iter().map(|filter| (filter, vec![SOURCE])).collect());
    let mut quick = Vec::new();
    let mut start = 0;
    for some in lines.chunks(usize::from(first) + 1) {
        let bytes = some.concat();
        let block = LogBlock {
            source: SOURCE,
            position: SourcePosition(start as u64),
            received_at: NOW,
            bytes: &bytes,
            replayed_bytes: 0,
        };
        together.judge_block(&block, NOW, |failure| quick.push(failure));
        start += bytes.len();
    }
    assert_eq!(sorted(quick), sorted(slow));
});
