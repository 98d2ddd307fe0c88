//! The quick way and the slow way find the same: whole blocks through the prefilter, and every filter by
//! itself, line by line; and lists of expressions by automata that know bytes, and by engines that know characters.
//!
//! Lines are mutated from lines that filters know: dates moved into the middle, words torn apart, bytes that
//! are no text, lines that are too long. The filters are our own, an administrator's for Kerio Connect, and
//! all of Debian's when somebody unpacked the package (`.ci/fail2ban-config`). Which failures are right is
//! not asked here.

mod lines;
mod modes;

use bannkreis_core::failure::{Failure, LogLine, SourceId, SourcePosition};
use bannkreis_core::log_block::{LogBlock, line_text};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::{Counts, Filter, Judged, Mode};
use bannkreis_filter::log_filters::LogFilters;
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::this_host::DirTree;
use bannkreis_filter::tree::{ConfigTree, MemoryTree};
use jiff::tz::TimeZone;
use lines::Lines;
use modes::{Came, List};
use proptest::prelude::{ProptestConfig, any, proptest};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// 2026-11-20 10:00:30 UTC.
const NOW: Timestamp = Timestamp(1_795_168_830_000);
const SOURCE: SourceId = SourceId(3);

fn filters(tree: &dyn ConfigTree) -> Vec<Filter> {
    let host = Host {
        zone: TimeZone::UTC,
        services: &|_| None,
        is_journal_instead: &|_| false,
        config_dir: String::new(),
    };
    reading::read(tree, &host).expect("well formed").jails.into_iter().map(|jail| jail.filter).collect()
}

/// Jails with filters of all kinds: with and without prefregex, dates, connections, backtracking, windows.
fn made_up() -> Vec<Filter> {
    let jails = [
        ("sshd", "filter = sshd\n"),
        ("postfix", "filter = postfix\n"),
        ("dovecot", "filter = dovecot\n"),
        (
            "plain",
            "failregex = ^\\s*\\S+ failed from <HOST>\n  (?i)refused: <HOST>$\n  ^.* denied <HOST>\\b\n",
        ),
        ("undated", "datepattern = {NONE}\nfailregex = failed from <HOST>\nignoreregex = root\n"),
        ("inside", "datepattern = \\[%%Y-%%m-%%d %%H:%%M:%%S\\]\nfailregex = ^x: error from <HOST>\n"),
        ("look", "failregex = ^(?!.*good)\\s*\\S+ (?P<q>')?\\w+(?(q)') denied <HOST>$\n"),
        ("window", "maxlines = 3\nfailregex = ^ ?\\S+ begin <HOST><SKIPLINES>.*failed\n"),
        ("apart", "maxlines = 9\ndatepattern = {NONE}\nfailregex = begin <HOST><SKIPLINES>.*has failed$\n"),
        ("cutout", "maxlines = 2\nprefregex = app <F-CONTENT>.+</F-CONTENT>$\nfailregex = ^begin <HOST>$\n"),
        ("word", "failregex = \\bgr\u{fc}n\\w* <HOST>\n  {\\S+} <HOST>\n"),
        ("latin", "logencoding = latin-1\nfailregex = failed from <HOST>\n"),
    ];
    let text: String = jails
        .iter()
        .map(|(name, options)| format!("[{name}]\nenabled = true\nport = 1\nlogpath = /x\n{options}"))
        .collect();
    filters(&MemoryTree::new("/f/").with("jail.local", &text))
}

fn kerio() -> Vec<Filter> {
    filters(&DirTree::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/samples/kerio")))
}

/// Every filter by itself, line by line.
fn one_by_one(filters: &mut [Filter], log: &[u8], replayed_bytes: usize) -> Vec<Failure> {
    let mut found = Vec::new();
    let mut start = 0;
    for raw in log.split_inclusive(|&byte| byte == b'\n') {
        let (text, cut) = line_text(&raw[..raw.len() - 1]);
        let replayed = start < replayed_bytes;
        let position = SourcePosition(start as u64);
        let line = LogLine {
            source: SOURCE,
            position,
            received_at: NOW,
            written_at: None,
            text: text.to_vec(),
            cut,
            replayed,
        };
        let mode = if replayed { Mode::CatchingUp } else { Mode::Following };
        for filter in &mut *filters {
            if let Judged::Failure(failure) = filter.judge(&line, NOW, mode) {
                found.push(failure);
            }
        }
        start += raw.len();
    }
    found
}

/// In blocks that end at every `lines_per_block`-th line.
fn in_blocks(filters: &mut LogFilters, log: &[u8], lines_per_block: usize, replayed: usize) -> Vec<Failure> {
    let mut found = Vec::new();
    let mut start = 0;
    let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
    for some in lines.chunks(lines_per_block) {
        let n_bytes: usize = some.iter().map(|line| line.len()).sum();
        let block = LogBlock {
            source: SOURCE,
            position: SourcePosition(start as u64),
            received_at: NOW,
            bytes: &log[start..start + n_bytes],
            replayed_bytes: replayed.saturating_sub(start),
        };
        let n_lines = filters.judge_block(&block, NOW, |failure| found.push(failure));
        assert_eq!(n_lines, some.len() as u64);
        start += n_bytes;
    }
    // In one line the filters come in another order: those with the same dates together.
    found.sort_by(|a, b| (a.position, &a.jail).cmp(&(b.position, &b.jail)));
    found
}

fn compare(
    alone: &mut [Filter],
    together: &mut LogFilters,
    log: &[u8],
    lines_per_block: usize,
    replayed: usize,
) {
    let mut slow = one_by_one(alone, log, replayed);
    slow.sort_by(|a, b| (a.position, &a.jail).cmp(&(b.position, &b.jail)));
    let quick = in_blocks(together, log, lines_per_block, replayed);
    let text = || String::from_utf8_lossy(log).into_owned();
    assert_eq!(quick, slow, "{}", text());
    // What was given up or had an odd date is counted only of lines that were looked at.
    let of = |counts: Counts| (counts.lines, counts.failures, counts.not_addresses);
    for (a, b) in alone.iter().zip(together.filters()) {
        assert_eq!(of(b.counts()), of(a.counts()), "[{}]\n{}", a.jail(), text());
    }
}

/// A log that begins with the lines of `known` that are failures to `filter`, so that it is busy for a while.
fn log_of_a_busy(filter: &mut Filter, known: Vec<Vec<u8>>, seed: u64) -> Vec<u8> {
    let mut log = Vec::new();
    for text in &known {
        let mut line = text.clone();
        line.push(b'\n');
        if !one_by_one(std::slice::from_mut(filter), &line, 0).is_empty() {
            log.extend(line.repeat(4));
        }
    }
    log.extend(Lines::new(seed, known).log(40));
    log
}

fn together(filters: Vec<Filter>) -> LogFilters {
    LogFilters::of_one(SOURCE, filters)
}

/// What filters look at of the lines of a log: each without its date, and some of them cut.
fn texts(log: &[u8]) -> Vec<(String, bool)> {
    let date = regex::Regex::new(
        r"(?x)\[?(?:[A-Z][a-z]{2}\ )?[A-Z][a-z]{2}\ [\ \d]\d\ \d\d:\d\d:\d\d(?:(?:\.\d+)?\ \d{4}\])?
          | \[?\d{4}-\d\d-\d\d[T\ ]\d\d:\d\d:\d\d\]?(?:[.,]\d+)?(?:\+\d\d:\d\d)?
          | \[?\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\ \+\d{4}\]?",
    );
    let date = date.expect("well formed");
    let of_line = |(n, raw): (usize, &[u8])| {
        let (text, cut) = line_text(&raw[..raw.len() - 1]);
        let text = date.replace(&String::from_utf8_lossy(text), "").into_owned();
        let cut = cut || n % 7 == 0;
        if cut { (text, true) } else { (text + "\n", false) }
    };
    log.split_inclusive(|&byte| byte == b'\n').enumerate().map(of_line).collect()
}

/// How often the lists find something in the lines of a log, by bytes and by characters alike.
fn compare_modes(lists: &mut [List], log: &[u8]) -> usize {
    let texts = texts(log);
    let found = |list: &mut List| {
        let found = texts.iter().filter(|(text, cut)| matches!(list.compare(text, *cut), Came::Found(..)));
        found.count()
    };
    lists.iter_mut().map(found).sum()
}

/// Expressions that tell letters from what is none.
const LETTERS: [&str; 3] = [r"\bgrün\w* <HOST>$", r"^(?P<user>\w+)\W<ADDR>$", r"(?i)kiss <HOST>$"];

fn lists_of(filters: &[Filter]) -> Vec<List> {
    filters.iter().flat_map(modes::lists).collect()
}

/// Made once for all tests of a thread: to compile them takes longer than to search with them.
fn with_lists<T>(ask: impl FnOnce(&mut Vec<List>) -> T) -> T {
    thread_local! {
        static LISTS: RefCell<Vec<List>> = RefCell::new({
            let mut lists = lists_of(&made_up());
            lists.extend(lists_of(&kerio()));
            lists.push(List::new(&LETTERS));
            lists.push(List::over_lines(&["begin <HOST><SKIPLINES>.*has failed$", r"^\W*(?P<n>\d+) gr\w+ <HOST>"]));
            lists
        });
    }
    LISTS.with_borrow_mut(ask)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn our_own_filters_find_the_same(seed in any::<u64>(), lines_per_block in 1_usize..60) {
        let mut lines = Lines::new(seed, lines::known());
        let log = lines.log(60);
        let replayed = if seed % 3 == 0 { log.len() / 2 } else { 0 };
        compare(&mut made_up(), &mut together(made_up()), &log, lines_per_block, replayed);
    }

    #[test]
    fn an_administrators_filters_find_the_same(seed in any::<u64>(), lines_per_block in 1_usize..60) {
        let log = Lines::new(seed, lines::known()).log(60);
        compare(&mut kerio(), &mut together(kerio()), &log, lines_per_block, 0);
    }

    #[test]
    fn expressions_find_the_same_by_bytes_and_by_characters(seed in any::<u64>()) {
        let log = Lines::new(seed, lines::known()).log(60);
        with_lists(|lists| compare_modes(lists, &log));
    }

    #[test]
    fn a_busy_filter_finds_the_same_by_itself(seed in any::<u64>(), lines_per_block in 1_usize..20) {
        let all = made_up().into_iter().zip(made_up()).zip(made_up());
        for ((mut alone, by_itself), mut asked) in all {
            let log = log_of_a_busy(&mut asked, lines::known(), seed);
            compare(std::slice::from_mut(&mut alone), &mut together(vec![by_itself]), &log, lines_per_block, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Texts that are no lines of any log, but made of what expressions tell apart.
    #[test]
    fn any_text_means_the_same_by_bytes_and_by_characters(
        text in r"([ -~]|[äßſK²٣\u{2003}é𝄞\n]){0,30}(from|gr[üu]ne|failed|begin|denied) ?(192\.0\.2\.1|::1|hö.st)?\PC{0,8}",
        cut in any::<bool>(),
    ) {
        with_lists(|lists| {
            for list in lists {
                list.compare(&text, cut);
                list.compare(&(text.clone() + "\n"), false);
            }
        });
    }
}

#[test]
fn letters_beyond_ascii_are_letters_by_bytes_too() {
    let mut list = List::new(&LETTERS);
    for (text, expected) in [
        ("x grüne 192.0.2.1", Some(0)),
        ("- xägrüne 192.0.2.1", None),
        ("- x٣grüne 192.0.2.1", None),
        ("€grünés 192.0.2.1", Some(0)),
        ("é字٣€192.0.2.1", Some(1)),
        ("é字٣\u{2003}::1", Some(1)),
        ("ein \u{212a}iſs 192.0.2.1", Some(2)),
    ] {
        let index = match list.compare(&format!("{text}\n"), false) {
            Came::Found(index, _) => Some(index),
            _ => None,
        };
        assert_eq!(index, expected, "{text}");
    }
}

/// Debian's configuration with every jail enabled.
struct Enabled(DirTree);

impl ConfigTree for Enabled {
    fn read(&self, path: &str) -> Result<Option<String>, String> {
        let all = "[DEFAULT]\nenabled = true\nblocklist_de_apikey = k\ncfemail = a@b.example\ncfapikey = k\n";
        if path == "jail.local" { Ok(Some(all.to_owned())) } else { self.0.read(path) }
    }

    fn list(&self, directory: &str) -> Vec<String> {
        self.0.list(directory)
    }

    fn shown(&self, path: &str) -> String {
        self.0.shown(path)
    }
}

#[test]
fn debians_filters_find_the_same() {
    let Some(config) = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").filter(|dir| !dir.is_empty()) else {
        println!("SKIPPED: BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package");
        return;
    };
    let config = PathBuf::from(config);
    let tree = Enabled(DirTree::new(&config));
    let (mut alone, mut quick) = (filters(&tree), together(filters(&tree)));
    let mut known = lines::known();
    known.extend(lines::of_fail2ban(&config));
    for round in 0..4 {
        let log = Lines::new(round, known.clone()).log(100);
        compare(&mut alone, &mut quick, &log, 50, if round == 3 { log.len() } else { 0 });
    }
}

#[test]
fn debians_expressions_find_the_same_by_bytes_and_by_characters() {
    let Some(config) = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").filter(|dir| !dir.is_empty()) else {
        println!("SKIPPED: BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package");
        return;
    };
    let config = PathBuf::from(config);
    let mut lists = lists_of(&filters(&Enabled(DirTree::new(&config))));
    let mut known = lines::known();
    known.extend(lines::of_fail2ban(&config));
    let log = Lines::new(1, known).log(300);
    let n_found = compare_modes(&mut lists, &log);
    assert!(n_found > 300, "something is found: {n_found}");
}
